// Package tail follows log files through growth, rotation, truncation and restarts, and gives their lines by the chunk.
//
// A Log follows one path together with the files that were rotated away from it. It reads with pread into memory that its
// caller brings, so a log that is idle costs a descriptor and no buffer, and one goroutine can serve thousands. A half line is not
// kept: it stays in the file and is read again once its end is there. The offset after each line is known, so that a position is
// always the start of something that nobody has taken yet.
//
// The usual loop of a reader of one path:
//
//	w := tail.NewWatcher(tail.WatcherOptions{})
//	defer w.Close()
//	l := tail.Open(tail.Options{Path: path, Resume: resume, Watcher: w})
//	defer l.Close()
//	buf := make([]byte, tail.BufferSize(0))
//	for {
//		chunk, err := l.Next(ctx, buf)
//		if err != nil {
//			return err // ctx's, io.EOF after Finish, or why the file can't be read
//		}
//		for line, ok := chunk.Next(); ok; line, ok = chunk.Next() {
//			... // line lies in buf: it stays as it is until the next read into buf
//		}
//		... // once ConsumeLogs has returned nil:
//		book.Set(key, chunk.Position())
//	}
package tail

import (
	"time"

	"github.com/hermod-agent/hermod/pipeline/positions"
)

// DefaultMaxLine is the longest line in bytes that is given whole when Options.MaxLine is 0. It is also Loki's limit.
const DefaultMaxLine = 256 << 10

// Start says where the first reading of a file begins for which no position is known.
type Start uint8

// Where to begin.
const (
	// Beginning reads what stands at the path from its first byte.
	Beginning Start = iota
	// End reads what is written from now on.
	End
	// Oldest reads the rotated generations that lie beside the path too, oldest first, and then what stands at the path.
	Oldest
)

// Loss is how bytes were destroyed before they could be read.
type Loss uint8

// How bytes are lost.
const (
	// Truncated: the file was truncated, and no copy beside it holds them.
	Truncated Loss = iota
	// Deleted: the file was deleted while it was parked.
	Deleted
)

// Options of a Log.
type Options struct {
	// Path to follow. It need not exist yet.
	Path string
	// MaxLine is the length in bytes at which a line is cut; 0 means DefaultMaxLine.
	MaxLine int
	// Resume holds where earlier readings of this path stopped: the current file and those rotated away from it, in any order. A file
	// that was renamed since is looked for in the same folder and read to its end first; what was born after it follows.
	Resume []positions.Position
	// Start is where to begin when no position is known. It counts for what exists when the log is opened: a file that
	// comes later is always read from its beginning.
	Start Start
	// Since is set for a path that was not there before that time: generations beside it that were born since are read too.
	Since time.Time
	// Linger is how long a file that was rotated away or deleted is kept open after it last grew, because some writers go
	// on writing to it for a while; 0 means 10 s. While nothing has been written to its successor it is kept in any case.
	Linger time.Duration
	// Watcher wakes Next when something changed; without one Next looks every 250 ms.
	Watcher *Watcher
	// Wake is called beside, for a reader that serves many logs with Read. It must not block. It may be nil.
	Wake func()
	// Hold says that what has come to stand at the path is not to be opened yet, if no position is known for it; it is asked again soon. It is called amid
	// a read and may call other logs, but not this one. It may be nil.
	Hold func() bool
	// Lost is told how many bytes were seen in a file and were destroyed before they could be read, and how. It is called amid a read and must
	// not call the log. It may be nil.
	Lost func(how Loss, bytes int64)
	// Begun is told that the reading of a file begins of which the registry's book knew nothing, and when the file was made; where the filesystem doesn't
	// say, when it was last written to. It is called amid a read and must not call the log. It may be nil.
	Begun func(born time.Time)
	// Registry is shared by the logs of one input, so that no file is read under two paths. It may be nil.
	Registry *Registry
}

// BufferSize is a good length for the memory that Read and Next are given: a quarter of a mebibyte, or more for longer lines.
// maxLine is Options.MaxLine.
func BufferSize(maxLine int) int {
	if maxLine <= 0 {
		maxLine = DefaultMaxLine
	}
	return max(256<<10, maxLine+(4<<10))
}
