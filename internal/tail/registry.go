package tail

import (
	"sync"

	"github.com/hermod-agent/hermod/pipeline/positions"
)

// Registry knows what files the logs of one input read, so that a file that two globs match, or that was renamed to a name which
// a glob matches too, is read once. It finds the position of a file by its identity in the input's book, where each file has a position under
// Chunk.Key. It is safe for concurrent use.
type Registry struct {
	book    *positions.Book
	folders folders

	mu     sync.Mutex // guards owners
	owners map[fileID]*Log
}

// NewRegistry returns a registry over an input's book.
func NewRegistry(book *positions.Book) *Registry {
	return &Registry{book: book, owners: map[fileID]*Log{}}
}

// claim makes l the reader of a file, or returns who is.
func (r *Registry) claim(id fileID, l *Log) (owner *Log) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if owner := r.owners[id]; owner != nil {
		return owner
	}
	r.owners[id] = l
	return l
}

func (r *Registry) release(id fileID) {
	r.mu.Lock()
	delete(r.owners, id)
	r.mu.Unlock()
}

// owned says that another log than l reads the file.
func (r *Registry) owned(id fileID, l *Log) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	owner := r.owners[id]
	return owner != nil && owner != l
}

// forget drops the position of a file that was deleted and read to its end.
func (r *Registry) forget(key string) { r.book.Delete(key) }
