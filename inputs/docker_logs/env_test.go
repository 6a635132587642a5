package dockerlogs

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"testing"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/logs"
	"github.com/hermod-agent/hermod/pipeline/positions"
)

// taken is a record as a consumer got it.
type taken struct {
	labels string
	time   int64
	line   string
}

// sink keeps what it is given.
type sink struct {
	mu      sync.Mutex
	records []taken
	fail    func() error
	wake    chan struct{}
}

func newSink() *sink { return &sink{wake: make(chan struct{}, 1)} }

func (s *sink) ConsumeLogs(ctx context.Context, b *logs.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.fail != nil {
		if err := s.fail(); err != nil {
			return err
		}
	}
	for _, r := range b.Records {
		s.records = append(s.records, taken{r.Stream.Labels.String(), r.Time, string(r.Line)})
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return nil
}

func (s *sink) all() []taken {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]taken(nil), s.records...)
}

// lockedBuffer is a log that tests read.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// newEnv makes what the engine of the agent would give. The book outlives it when it is given.
func newEnv(t testing.TB, s *sink, book *positions.Book) (*component.Env, *lockedBuffer) {
	t.Helper()
	out := &lockedBuffer{}
	log := slog.New(slog.NewTextHandler(out, nil))
	if book == nil {
		book = newBook(t)
	}
	return &component.Env{
		Address: "input.docker_logs.test", Type: "docker_logs", Name: "test", Log: log, Status: component.NewStatus(log), Losses: &component.Losses{},
		Streams: logs.NewRegistry(), Logs: s, Positions: book, Host: component.Host{Rootfs: "/"}, Pool: component.NewPool(), Version: "test",
	}, out
}

func newBook(t testing.TB) *positions.Book {
	t.Helper()
	store, err := positions.Open("", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return store.Book("input.docker_logs.test")
}
