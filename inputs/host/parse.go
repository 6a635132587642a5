package host

import (
	"fmt"
	"strconv"

	"github.com/hermod-agent/hermod/internal/pseudofile"
)

// parseNumber reads a value that may be negative or have a fraction. Digits alone, which is nearly every value, take the short way.
func parseNumber(b []byte) (float64, bool) {
	if n, ok := pseudofile.ParseUint(b); ok {
		return float64(n), true
	}
	v, err := strconv.ParseFloat(string(b), 64)
	return v, err == nil
}

// lineError says which line of which file could not be understood.
type lineError struct {
	path string
	line int // from 1
	text string
	why  string
}

func (e *lineError) Error() string {
	return fmt.Sprintf("%s line %d: %s: %q", e.path, e.line, e.why, e.text)
}

// badLine makes a lineError; text is cut to a length that can be shown.
func badLine(path string, line int, text []byte, why string) error {
	const most = 120
	if len(text) > most {
		text = text[:most]
	}
	return &lineError{path: path, line: line, text: string(text), why: why}
}

// firstError keeps the first of several faults, so that the lines after a bad one are still read.
func firstError(kept *error, err error) {
	if *kept == nil {
		*kept = err
	}
}

// memo finds what is kept for a key that stands at the same place of a file in nearly every cycle, without hashing it.
type memo[V any] struct {
	at  []*remembered[V] // by place
	all map[string]*remembered[V]
}

type remembered[V any] struct {
	key   string
	value V
}

// maxPlaces bounds the list by place; what lies behind is looked up by key.
const maxPlaces = 4096

// get returns the value for key, which stands at place, and makes it when it is new.
func (m *memo[V]) get(place int, key []byte, make func(key string) V) *V {
	if place < len(m.at) && m.at[place] != nil && string(key) == m.at[place].key {
		return &m.at[place].value
	}
	r := m.all[string(key)]
	if r == nil {
		if m.all == nil {
			m.all = map[string]*remembered[V]{}
		}
		k := string(key)
		r = &remembered[V]{key: k, value: make(k)}
		m.all[k] = r
	}
	if place < maxPlaces {
		for place >= len(m.at) {
			m.at = append(m.at, nil)
		}
		m.at[place] = r
	}
	return &r.value
}
