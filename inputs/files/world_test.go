package files

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
	"github.com/hermod-agent/hermod/pipeline/logs"
	"github.com/hermod-agent/hermod/pipeline/positions"
)

// patience bounds every wait.
const patience = 2 * time.Minute

// sink takes batches and remembers their lines.
type sink struct {
	mu     sync.Mutex
	lines  map[string][]string // by filename
	all    []string
	times  []int64
	labels map[string]labels.Labels
	err    error // what ConsumeLogs returns instead of taking
	block  bool
	came   chan struct{} // holds one: a batch was taken
}

func newSink() *sink {
	return &sink{lines: map[string][]string{}, labels: map[string]labels.Labels{}, came: make(chan struct{}, 1)}
}

func (s *sink) ConsumeLogs(ctx context.Context, b *logs.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.block {
		s.mu.Unlock()
		<-ctx.Done()
		s.mu.Lock()
		return ctx.Err()
	}
	if s.err != nil {
		return s.err
	}
	for _, r := range b.Records {
		name := r.Stream.Labels.Get("filename")
		s.lines[name] = append(s.lines[name], string(r.Line))
		s.labels[name] = r.Stream.Labels
		s.all = append(s.all, string(r.Line))
		s.times = append(s.times, r.Time)
	}
	select {
	case s.came <- struct{}{}:
	default:
	}
	return nil
}

func (s *sink) of(name string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.lines[name])
}

func (s *sink) total() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.all)
}

// world is a folder, an agent's store, and the input in it.
type world struct {
	*testing.T
	dir   string
	cfg   Config
	store *positions.Store
	sink  *sink
	env   *component.Env
	in    *Input
	end   func() // ends the run
	ended chan error

	autosave bool          // until saves as the engine does beside
	copyWait time.Duration // that of the input
	slack    time.Duration // of the input; 0 is what it has by itself
}

func newWorld(t *testing.T, patterns ...string) *world {
	w := &world{T: t, dir: t.TempDir(), cfg: defaults(), sink: newSink(), copyWait: patience}
	w.cfg.PollInterval = config.Duration(20 * time.Millisecond)
	for _, p := range patterns {
		w.cfg.Paths = append(w.cfg.Paths, filepath.Join(w.dir, p))
	}
	w.openStore()
	t.Cleanup(func() {
		if w.end != nil {
			w.stop()
		}
		w.store.Close()
	})
	return w
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func (w *world) openStore() {
	w.Helper()
	store, err := positions.Open(filepath.Join(w.dir, ".data", "positions"), quiet())
	if err != nil {
		w.Fatal(err)
	}
	w.store = store
}

// start runs the input and waits until it is ready.
func (w *world) start() *world {
	w.Helper()
	w.open()
	w.run()
	w.until("ready", w.env.Status.IsReady)
	return w
}

func (w *world) open() {
	w.Helper()
	for _, err := range w.cfg.Validate() {
		w.Fatal(err)
	}
	w.env = &component.Env{
		Address: "input.files.test", Log: quiet(), Status: component.NewStatus(quiet()), Losses: &component.Losses{},
		Streams: logs.NewRegistry().With(labels.FromStrings("job", "test")), Logs: w.sink, Positions: w.store.Book("input.files.test"),
	}
	in, err := open(w.env, &w.cfg)
	if err != nil {
		w.Fatal(err)
	}
	w.in = in
	in.settleLimit, in.copyWait = patience, w.copyWait // a busy machine may take its time
	if w.slack != 0 {
		in.slack = w.slack
	}
}

func (w *world) run() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.in.Run(ctx) }()
	w.ended, w.end = ended, cancel
}

// stop ends the run without saving.
func (w *world) stop() {
	w.Helper()
	w.end()
	w.end = nil
	select {
	case err := <-w.ended:
		if err != nil {
			w.Error(err)
		}
	case <-time.After(patience):
		w.Fatal("Run didn't end")
	}
}

func (w *world) save() {
	w.Helper()
	if n, moved := w.env.Positions.Note(); moved {
		if err := w.store.Save(n); err != nil {
			w.Fatal(err)
		}
	}
}

// saveAt saves once a position has this offset: what was taken is noted a moment later.
func (w *world) saveAt(offset int64) {
	w.Helper()
	w.until("the position is noted", func() bool {
		noted := false
		w.env.Positions.Each(func(_ string, p positions.Position) bool {
			noted = noted || p.Offset == offset
			return true
		})
		return noted
	})
	w.save()
}

// kill ends the run and forgets what was not saved.
func (w *world) kill() {
	w.Helper()
	w.stop()
	w.store.Close()
	w.openStore()
}

// old saves positions that are younger than a file, by more than what the input allows for.
func (w *world) old(name string) {
	w.Helper()
	w.slack = time.Nanosecond
	w.until("another second", func() bool {
		w.env.Positions.Set(firstScan, positions.Position{})
		info, err := os.Stat(w.path(name))
		updated := int64(0)
		w.env.Positions.Each(func(_ string, p positions.Position) bool { updated = max(updated, p.Updated); return true })
		return err == nil && info.ModTime().Before(time.Unix(updated, 0))
	})
	w.save()
}

// restart ends the run in good order and starts it again.
func (w *world) restart() {
	w.Helper()
	w.stop()
	w.save()
	w.store.Close()
	w.openStore()
	w.start()
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

func (w *world) append(name, text string) {
	w.Helper()
	f, err := os.OpenFile(w.path(name), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err == nil {
		_, err = f.WriteString(text)
		f.Close()
	}
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) mkdir(name string) {
	w.Helper()
	if err := os.MkdirAll(w.path(name), 0o700); err != nil {
		w.Fatal(err)
	}
}

func (w *world) rename(from, to string) {
	w.Helper()
	if err := os.Rename(w.path(from), w.path(to)); err != nil {
		w.Fatal(err)
	}
}

// until waits for a condition, and saves where the input waits for that.
func (w *world) until(what string, ok func() bool) {
	w.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if w.autosave {
			w.save()
		}
		select {
		case <-w.sink.came:
		case <-tick.C:
		case <-w.env.Positions.Urgent():
			w.save()
		case <-deadline:
			w.Fatalf("no %s after %s; lines: %.500q, faults: %v", what, patience, w.sink.lines, w.env.Status.Faults())
		}
	}
}

// want waits until exactly these lines have come from a file.
func (w *world) want(name string, lines ...string) {
	w.Helper()
	w.until(fmt.Sprintf("lines %q of %s", lines, name), func() bool { return slices.Equal(w.sink.of(w.path(name)), lines) })
}

func (w *world) fault(key string) *component.Fault {
	for _, f := range w.env.Status.Faults() {
		if f.Key == key {
			return &f
		}
	}
	return nil
}

func (w *world) restartStopped() {
	w.Helper()
	w.store.Close()
	w.openStore()
	w.start()
}
