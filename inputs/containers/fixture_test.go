package containers

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recording is a machine as record-v1 or record-v2 found it: its files, what its engine answered, and the page of cAdvisor.
type recording struct {
	root     string // a folder that holds the files
	socket   string // of an engine that answers the same
	cadvisor []byte
}

// loadRecording unpacks testdata/NAME.txtar.
func loadRecording(t testing.TB, name string) recording {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name + ".txtar")
	if err != nil {
		t.Fatal(err)
	}
	r := recording{root: t.TempDir()}
	answers := map[string][]byte{}
	for name, content := range unpack(data) {
		switch {
		case name == "cadvisor":
			r.cadvisor = content
		case strings.HasPrefix(name, "docker/"):
			path, _, _ := strings.Cut(strings.TrimPrefix(name, "docker"), "?")
			answers[path] = content
		default:
			put(t, filepath.Join(r.root, name), string(content))
		}
	}
	r.socket = serve(t, answers)
	return r
}

// unpack parts a recording into its files.
func unpack(data []byte) map[string][]byte {
	out := map[string][]byte{}
	name := ""
	for line := range bytes.Lines(data) {
		if h := strings.TrimSuffix(string(line), "\n"); strings.HasPrefix(h, "-- ") && strings.HasSuffix(h, " --") {
			name = h[3 : len(h)-3]
			out[name] = []byte{}
			continue
		}
		out[name] = append(out[name], line...)
	}
	return out
}

func put(t testing.TB, path, content string) {
	t.Helper()
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, []byte(content), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// serve is an engine that gives recorded answers and has no events.
func serve(t testing.TB, answers map[string][]byte) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "d.sock")
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Api-Version", "1.41")
		path := strings.TrimPrefix(r.URL.Path, "/v1.41")
		if path == "/events" {
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
			return
		}
		if body, ok := answers[path]; ok {
			w.Write(body)
		} else if path != "/_ping" {
			w.WriteHeader(http.StatusNotFound)
		}
	})}}
	s.Start()
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return socket
}

func testEnv() *component.Env {
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	return &component.Env{
		Address: "input.containers.a", Type: "containers", Name: "a", Log: log, Status: component.NewStatus(log), Losses: new(component.Losses),
		Series: metrics.NewRegistry(), Pool: component.NewPool(), Version: "test",
		Host: component.Host{Procfs: "/proc", Sysfs: "/sys", Rootfs: "/"},
	}
}

// config is that of an input over a folder and an engine.
func (r recording) config() Config {
	c := defaults()
	c.Endpoint = "unix://" + r.socket
	c.Procfs, c.Sysfs, c.Rootfs = r.root+"/proc", r.root+"/sys", r.root
	c.FSInterval = 0
	return c
}

// start opens an input; it is stopped with the test.
func start(t testing.TB, env *component.Env, c Config) *input {
	t.Helper()
	if errs := c.Validate(); len(errs) > 0 {
		t.Fatal(errs)
	}
	in, err := open(env, &c)
	if err == nil {
		err = in.Start(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := in.Stop(context.Background()); err != nil {
			t.Error(err)
		}
		if in.reader.open != 0 {
			t.Errorf("%d files are still open", in.reader.open)
		}
	})
	return in
}

// reach waits until the engine has told of its containers: on a busy machine an attempt to connect may come to nothing, and a collection then
// says so.
func reach(t testing.TB, in *input) {
	t.Helper()
	if in.engine.Synced() {
		return
	}
	deadline := time.After(5 * time.Minute)
	for !in.engine.Synced() || in.engine.Err() != nil {
		select {
		case <-in.sub.C():
		case <-deadline:
			t.Fatalf("the engine can't be reached: %v", in.engine.Err())
		}
	}
}

// cycles runs collections of one input.
type cycles struct {
	t     testing.TB
	in    *input
	batch metrics.Batch
	now   int64
}

func newCycles(t testing.TB, in *input) *cycles { return &cycles{t: t, in: in, now: 1_800_000_000_000} }

// run collects and gives the samples by their series.
func (c *cycles) run() map[string]float64 {
	c.t.Helper()
	reach(c.t, c.in)
	out, err := c.try()
	if err != nil {
		c.t.Fatal(err)
	}
	return out
}

func (c *cycles) try() (map[string]float64, error) { return c.after(15 * time.Second) }

// after collects when so much time of the agent's clock has passed.
func (c *cycles) after(d time.Duration) (map[string]float64, error) {
	c.t.Helper()
	c.now += d.Milliseconds()
	c.batch.Begin(&metrics.Source{}, c.batch.Cycle+1, c.now)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	err := c.in.Collect(ctx, &c.batch)
	return c.samples(), err
}

// samples are those of the batch by their series.
func (c *cycles) samples() map[string]float64 {
	c.t.Helper()
	out := map[string]float64{}
	for _, s := range c.batch.Samples {
		key := s.Series.Labels().String()
		if _, twice := out[key]; twice {
			c.t.Errorf("twice in one collection: %s", key)
		}
		out[key] = s.Value
	}
	return out
}

// until collects until what is waited for is so: what the engine tells takes a moment, and no more than that passes on the agent's clock,
// for which a kill that the engine tells half a minute after the kernel is another one.
func (c *cycles) until(what string, cond func(map[string]float64) bool) map[string]float64 {
	c.t.Helper()
	const pause = 5 * time.Millisecond
	deadline := time.Now().Add(time.Minute)
	for passed := 15 * time.Second; ; passed = pause {
		out, _ := c.after(passed)
		if cond(out) {
			return out
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("waited in vain until %s", what)
		}
		time.Sleep(pause) // the engine's events come by another goroutine
	}
}

// value is that of the one series of a family that has all these labels.
func value(t testing.TB, out map[string]float64, name string, labels ...string) float64 {
	t.Helper()
	v, n := 0.0, 0
	for key, x := range out {
		if has(key, name, labels...) {
			v, n = x, n+1
		}
	}
	if n != 1 {
		t.Errorf("%d series %s%v", n, name, labels)
	}
	return v
}

func count(out map[string]float64, name string, labels ...string) int {
	n := 0
	for key := range out {
		if has(key, name, labels...) {
			n++
		}
	}
	return n
}

func has(key, name string, labels ...string) bool {
	if name != "" && !strings.Contains(key, fmt.Sprintf("__name__=%q", name)) {
		return false
	}
	for i := 0; i < len(labels); i += 2 {
		if !strings.Contains(key, fmt.Sprintf("%s=%q", labels[i], labels[i+1])) {
			return false
		}
	}
	return true
}
