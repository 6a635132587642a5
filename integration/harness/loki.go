//go:build integration

package harness

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/grafana/loki/pkg/push"

	"github.com/hermod-agent/hermod/integration/lines"
)

// Loki takes what a real one takes by POST /loki/api/v1/push and counts it.
type Loki struct {
	*backend

	mu      sync.Mutex // guards what follows
	streams map[string]*stream
	records int
	came    map[string]arrival // of each numbered text the last
	old     []string
}

type arrival struct {
	at   time.Time
	time time.Time // that the entry bears: when it was read, or when Docker had it
	safe bool      // it must not come again
}

// stream is what came under one label set.
type stream struct {
	labels  map[string]string
	entries map[entry]int
	newest  int64
	late    int
}

type entry struct {
	time int64 // ns
	line string
}

// NewLoki starts one that lives as long as the test.
func NewLoki(t testing.TB) *Loki {
	return newLoki(t, func(l *Loki) func(r *http.Request, body []byte) error { return l.push })
}

func newLoki(t testing.TB, take func(l *Loki) func(r *http.Request, body []byte) error) *Loki {
	l := &Loki{streams: map[string]*stream{}, came: map[string]arrival{}}
	l.backend = newBackend(t, take(l))
	return l
}

// URL is where to push.
func (l *Loki) URL() string { return l.base() + "/loki/api/v1/push" }

func (l *Loki) push(r *http.Request, body []byte) error {
	if r.Method != http.MethodPost || r.URL.Path != "/loki/api/v1/push" {
		return fmt.Errorf("%s %s is not where Loki takes logs", r.Method, r.URL.Path)
	}
	if got := r.Header.Get("Content-Type"); got != "application/x-protobuf" {
		return fmt.Errorf("content type %q", got)
	}
	raw, err := snappy.Decode(nil, body)
	if err != nil {
		return fmt.Errorf("the body is no snappy block: %w", err)
	}
	var request push.PushRequest
	if err := request.Unmarshal(raw); err != nil {
		return fmt.Errorf("the body is no push request: %w", err)
	}
	if len(request.Streams) == 0 {
		return errNoStreams
	}
	type parsed struct {
		labels  map[string]string
		entries []push.Entry
	}
	streams := make([]parsed, 0, len(request.Streams))
	for _, s := range request.Streams {
		ls, err := parseLabels(s.Labels)
		if err != nil {
			return fmt.Errorf("labels %q: %w", s.Labels, err)
		}
		if len(ls) == 0 || len(s.Entries) == 0 {
			return fmt.Errorf("a stream of %d entries with labels %q", len(s.Entries), s.Labels)
		}
		streams = append(streams, parsed{ls, s.Entries})
	}
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range streams {
		key := fmt.Sprint(p.labels)
		s := l.streams[key]
		if s == nil {
			s = &stream{labels: p.labels, entries: map[entry]int{}}
			l.streams[key] = s
		}
		for _, e := range p.entries {
			at := e.Timestamp.UnixNano()
			if at < s.newest {
				s.late++
			}
			s.newest = max(s.newest, at)
			s.entries[entry{at, e.Line}]++
			l.records++
			if !lines.Unique(e.Line) {
				continue
			}
			before := l.came[e.Line]
			if before.safe {
				l.old = append(l.old, fmt.Sprintf("%.40q, last %v ago", e.Line, now.Sub(before.at).Round(time.Millisecond)))
			}
			l.came[e.Line] = arrival{at: now, time: e.Timestamp, safe: before.safe}
		}
	}
	return nil
}

// Safe says that the numbered lines which last came within that time must not come again, and how many they are. Those that bear an earlier time are
// left out: somebody who ran before may have read them, and what came now may have lain on disk since.
func (l *Loki) Safe(from, until time.Time) (lines int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for text, came := range l.came {
		if came.at.After(from) && came.time.After(from) && came.at.Before(until) {
			came.safe = true
			l.came[text] = came
			lines++
		}
	}
	return lines
}

// TooOld are the numbered lines that came again although they were safe.
func (l *Loki) TooOld() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.old...)
}

// Records is how many entries were taken in all.
func (l *Loki) Records() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.records
}

// Streams are the label sets that came, those that hold all of match.
func (l *Loki) Streams(match map[string]string) []map[string]string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []map[string]string
	for _, s := range l.streams {
		if holds(s.labels, match) {
			out = append(out, maps.Clone(s.labels))
		}
	}
	return out
}

func holds(have, want map[string]string) bool {
	for name, value := range want {
		if have[name] != value {
			return false
		}
	}
	return true
}

// Tally is what came of one source.
type Tally struct {
	Texts  map[string]int // how often each text came
	Total  int            // entries
	Stored int            // entries that Loki would keep: those that differ in stream, time or text
	Late   int            // entries older than one before them in the same stream
}

// Tally sums the streams that hold all of match.
func (l *Loki) Tally(match map[string]string) Tally {
	l.mu.Lock()
	defer l.mu.Unlock()
	tally := Tally{Texts: map[string]int{}}
	for _, s := range l.streams {
		if !holds(s.labels, match) {
			continue
		}
		tally.Late += s.late
		tally.Stored += len(s.entries)
		for e, n := range s.entries {
			tally.Texts[e.line] += n
			tally.Total += n
		}
	}
	return tally
}

// Compare says how the texts differ from those wanted: how many are missing, how many came too often and how many were never written,
// with a few of each.
func (t Tally) Compare(want map[string]int) (missing, repeated, unknown int, examples []string) {
	note := func(kind, text string, got, want int) {
		if len(examples) < 10 {
			examples = append(examples, fmt.Sprintf("%s: %.60q (%d bytes) came %d times of %d", kind, text, len(text), got, want))
		}
	}
	for _, text := range slices.Sorted(maps.Keys(want)) {
		switch got, n := t.Texts[text], want[text]; {
		case got < n:
			missing += n - got
			note("missing", text, got, n)
		case got > n:
			repeated += got - n
			note("repeated", text, got, n)
		}
	}
	for text, n := range t.Texts {
		if _, ok := want[text]; !ok {
			unknown += n
			note("never written", text, n, 0)
		}
	}
	return missing, repeated, unknown, examples
}

// parseLabels reads {a="b", c="d"} as strictly as Loki does: valid names, quoted values, no name twice.
func parseLabels(text string) (map[string]string, error) {
	rest, ok := strings.CutPrefix(text, "{")
	if !ok {
		return nil, errors.New("no opening brace")
	}
	out := map[string]string{}
	for {
		name, after, ok := strings.Cut(rest, "=")
		if name = strings.TrimSpace(name); !ok || !validName(name) {
			return nil, fmt.Errorf("a label name is expected at %q", rest)
		}
		quoted, err := strconv.QuotedPrefix(after)
		if err != nil {
			return nil, fmt.Errorf("the value of %s is not quoted", name)
		}
		value, err := strconv.Unquote(quoted)
		if err != nil {
			return nil, err
		}
		if _, twice := out[name]; twice {
			return nil, fmt.Errorf("the name %s stands twice", name)
		}
		out[name] = value
		rest = after[len(quoted):]
		if rest == "}" {
			return out, nil
		}
		if rest, ok = strings.CutPrefix(rest, ","); !ok {
			return nil, fmt.Errorf("a comma or a closing brace is expected at %q", rest)
		}
	}
}

// validName is what Prometheus allowed before any UTF-8 was: Loki still asks for it.
func validName(name string) bool {
	for i, c := range []byte(name) {
		if c != '_' && (c|0x20 < 'a' || c|0x20 > 'z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != ""
}
