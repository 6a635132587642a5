package component

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Status is where a component says how it is. The engine shows it on the page, in `hermod status` and in /api/graph. It is safe for
// concurrent use.
type Status struct {
	log *slog.Logger

	mu     sync.Mutex // guards what follows
	ready  bool
	faults map[string]*Fault
	well   time.Time // when the last fault or note went
	detail func() []Detail
}

// Fault is something that is wrong, from the first time it was seen until it is gone.
type Fault struct {
	Key    string    `json:"key"` // what it is about: a file, a container, a URL; "" for the component as a whole
	What   string    `json:"what"`
	Remedy string    `json:"remedy,omitempty"`
	Since  time.Time `json:"since"`
	Last   time.Time `json:"last"`
	Count  uint64    `json:"count"`
	// Note marks a warning: something that the user should know while everything works.
	Note bool `json:"note,omitempty"`
}

// Detail is a row below a component: one for each file or container that a log input follows.
type Detail struct {
	Name   string    `json:"name"`
	State  string    `json:"state"`          // following, waiting, ended, failing, ...
	Via    string    `json:"via,omitempty"`  // the path in use: a file, or the Docker API
	Unread int64     `json:"unread"`         // bytes; -1 when that can't be known
	Last   time.Time `json:"last,omitzero"`  // time of the newest record
	Note   string    `json:"note,omitempty"` // what is wrong, or worth knowing
}

// NewStatus returns a status that logs each fault once when it comes and once when it goes.
func NewStatus(log *slog.Logger) *Status { return &Status{log: log, faults: map[string]*Fault{}} }

// Ready says that a log input has opened its sources. It need not be said by metrics inputs: they are ready after a cycle.
func (s *Status) Ready() {
	s.mu.Lock()
	s.ready = true
	s.mu.Unlock()
}

// IsReady says whether Ready was called.
func (s *Status) IsReady() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ready
}

// Fault says that something is wrong with what key names, or, with nil, that it is right again. The first one and a change of its
// text are logged; repeats are counted.
func (s *Status) Fault(key string, err error) { s.set(key, err, false) }

// Note is Fault for something that the user should know while everything works.
func (s *Status) Note(key string, err error) { s.set(key, err, true) }

func (s *Status) set(key string, err error, note bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.faults[key]
	if err == nil {
		if f != nil {
			delete(s.faults, key)
			s.well = time.Now()
			s.log.Info("recovered", "what", key, "was", f.What, "for", time.Since(f.Since).Round(time.Second))
		}
		return
	}
	remedy, what := Remedy(err)
	now := time.Now()
	if f == nil {
		f = &Fault{Key: key, Since: now}
		s.faults[key] = f
	}
	if f.What != what {
		level := slog.LevelError
		if note {
			level = slog.LevelWarn
		}
		args := []any{"err", what}
		if key != "" {
			args = append(args, "what", key)
		}
		if remedy != "" {
			args = append(args, "remedy", remedy)
		}
		msg := "fault"
		if note {
			msg = "note"
		}
		s.log.Log(context.Background(), level, msg, args...)
	}
	f.What, f.Remedy, f.Last, f.Note = what, remedy, now, note
	f.Count++
}

// Faults returns what is wrong now, faults before notes, oldest first.
func (s *Status) Faults() []Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Fault, 0, len(s.faults))
	for _, f := range s.faults {
		out = append(out, *f)
	}
	slices.SortFunc(out, func(a, b Fault) int {
		if a.Note != b.Note {
			if b.Note {
				return -1
			}
			return 1
		}
		if c := a.Since.Compare(b.Since); c != 0 {
			return c
		}
		return strings.Compare(a.Key, b.Key)
	})
	return out
}

// WellSince is when the last fault or note went; zero when there never was one.
func (s *Status) WellSince() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.well
}

// Detail sets the function that gives the rows below the component. It is called when somebody looks.
func (s *Status) Detail(rows func() []Detail) {
	s.mu.Lock()
	s.detail = rows
	s.mu.Unlock()
}

// Details returns the rows below the component.
func (s *Status) Details() []Detail {
	s.mu.Lock()
	rows := s.detail
	s.mu.Unlock()
	if rows == nil {
		return nil
	}
	return rows()
}

// Losses counts, by reason, what a component had to give up: records that no consumer will get. The reasons are short words with
// underscores (rejected_too_old, line_too_long, queue_full, output_removed). It is safe for concurrent use.
type Losses struct {
	counts sync.Map // reason -> *atomic.Uint64
}

// Add counts n records or samples under reason.
func (l *Losses) Add(reason string, n int) {
	if n <= 0 {
		return
	}
	c, ok := l.counts.Load(reason)
	if !ok {
		c, _ = l.counts.LoadOrStore(reason, new(atomic.Uint64))
	}
	c.(*atomic.Uint64).Add(uint64(n))
}

// Counts returns the counts by reason.
func (l *Losses) Counts() map[string]uint64 {
	out := map[string]uint64{}
	l.counts.Range(func(k, v any) bool {
		out[k.(string)] = v.(*atomic.Uint64).Load()
		return true
	})
	return out
}
