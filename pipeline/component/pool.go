package component

import (
	"io"
	"sync"
)

// Pool shares values by name between components: what is to exist once a process (a Docker client) and what is to outlive a reload
// (the queue of an output's address: the successor acquires it before the predecessor releases it). A value is closed when its last
// user has released it. It is safe for concurrent use.
type Pool struct {
	mu      sync.Mutex // guards entries and their counts; held while a value is made, so that it is made once
	entries map[string]*entry
}

type entry struct {
	value io.Closer
	users int
}

// NewPool returns an empty pool.
func NewPool() *Pool { return &Pool{entries: map[string]*entry{}} }

// Acquire returns the value under key and makes it when nobody holds it. The caller calls release once it is done; calling it again
// does nothing.
func Acquire[T io.Closer](p *Pool, key string, make func() (T, error)) (value T, release func() error, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.entries[key]
	if e == nil {
		v, err := make()
		if err != nil {
			return value, nil, err
		}
		e = &entry{value: v}
		p.entries[key] = e
	}
	e.users++
	var once sync.Once
	release = func() error {
		var err error
		once.Do(func() {
			p.mu.Lock()
			e.users--
			last := e.users == 0
			if last {
				delete(p.entries, key)
			}
			p.mu.Unlock()
			if last {
				err = e.value.Close()
			}
		})
		return err
	}
	return e.value.(T), release, nil
}
