package redis

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hermod-agent/hermod/pipeline/config"
)

// The library would begin with HELLO, and tell its name and version.
func TestNothingIsSaidButOurOwnWords(t *testing.T) {
	a := answers()
	a["AUTH exporter x"], a["READONLY"] = "+OK\r\n", "+OK\r\n"
	s := newServer(t, a)
	r := newRig(t, s.listener.Addr().String(), func(c *Config) {
		c.User, c.Password, c.IsCluster, c.PingOnConnect = "exporter", config.NewSecret("x"), true, false
	})
	want := []string{"AUTH exporter x", "CLIENT SETNAME hermod", "READONLY", "INFO ALL", "INFO"}
	for range 2 {
		if _, err := r.collect(); err != nil {
			t.Fatal(err)
		}
		want = append(want, "INFO ALL", configGet, "LATENCY LATEST", "LATENCY HISTOGRAM", "SLOWLOG LEN", "SLOWLOG GET 1")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Equal(s.asked, want) {
		t.Errorf("asked %q", s.asked)
	}
	if len(s.conns) != 1 {
		t.Errorf("%d connections", len(s.conns))
	}
}

// The library gives up a connection on which it has read more than it waits for.
func TestAnAnswerTooManyIsNoFault(t *testing.T) {
	a := answers()
	a["SLOWLOG GET 1"] += "+and one more\r\n"
	s := newServer(t, a)
	r := newRig(t, s.listener.Addr().String(), nil)
	for range 3 {
		lines, err := r.collect()
		if err != nil || !has(lines, "slowlog_last_id{} 41") || !has(lines, "uptime_in_seconds{} 9") {
			t.Fatalf("%v %q", err, lines)
		}
	}
	if n := s.count("CLIENT SETNAME hermod"); n != 3 {
		t.Errorf("%d connections", n)
	}
}

func TestAnAttemptIsMadeOnce(t *testing.T) {
	s := newServer(t, map[string]string{"INFO ALL": "-LOADING Redis is loading the dataset in memory\r\n", "INFO": "-LOADING Redis is loading the dataset in memory\r\n"})
	r := newRig(t, s.listener.Addr().String(), nil)
	if _, err := r.collect(); err == nil || !strings.Contains(err.Error(), "is loading its data (LOADING)") {
		t.Error(err)
	}
	if n := s.count("INFO"); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

func TestACollectionThatIsCalledOffEndsAtOnce(t *testing.T) {
	_, r := hanging(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, err := r.collectBy(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// What comes of a reply is bounded; the words say what to do.
func TestAnAnswerThatIsTooLargeIsTold(t *testing.T) {
	for _, header := range []string{"$9223372036854775807\r\n", "*9223372036854775807\r\n", "$99999999999\r\n"} {
		a := answers()
		a["SLOWLOG LEN"] = header
		r := newRig(t, newServer(t, a).listener.Addr().String(), nil)
		if lines, err := r.collect(); err == nil || !strings.Contains(err.Error(), "the answer has more than 64 MiB") || !has(lines, "up{} 0") {
			t.Errorf("%q: %v", header, err)
		}
	}
}

func BenchmarkConnect(b *testing.B) {
	s := newServer(b, answers())
	r := newRig(b, s.listener.Addr().String(), nil)
	b.ReportAllocs()
	for b.Loop() {
		if err := r.connect(b.Context()); err != nil {
			b.Fatal(err)
		}
		r.hangUp()
	}
}
