package files

import (
	"container/list"

	"golang.org/x/sys/unix"
)

// descriptors bounds the files that an input holds open: those of the sources that were not read from for longest are parked. It belongs to the
// goroutine of Run.
type descriptors struct {
	limit int
	held  int
	used  list.List // of *source that hold some, least recently used first
}

// newDescriptors takes the configured limit, or half of what the process may open where that is less.
func newDescriptors(limit int) *descriptors {
	var may unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &may); err == nil && may.Cur/2 < uint64(limit) { //nolint:gosec // at least 1
		limit = max(1, int(may.Cur/2)) //nolint:gosec // less than limit
	}
	return &descriptors{limit: limit}
}

// touch counts anew what a source holds that was just used, and parks others when that is too much.
func (d *descriptors) touch(s *source) {
	d.count(s)
	for n := d.used.Len(); d.held > d.limit && n > 1; n-- {
		oldest := d.used.Front().Value.(*source)
		if oldest == s {
			break
		}
		oldest.log.Park()
		d.count(oldest)
	}
}

// count counts a source anew and makes it the one used last.
func (d *descriptors) count(s *source) {
	n := s.log.Descriptors()
	d.held += n - s.held
	s.held = n
	switch {
	case n == 0 && s.place != nil:
		d.used.Remove(s.place)
		s.place = nil
	case n > 0 && s.place == nil:
		s.place = d.used.PushBack(s)
	case n > 0:
		d.used.MoveToBack(s.place)
	}
}
