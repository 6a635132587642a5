package discover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hermod-agent/hermod/internal/docker/dockertest"
	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var upDesc = metrics.Desc{Name: "fake_up", Help: "Up.", Kind: metrics.Gauge}

// rig is a fleet of fake servers over an engine.
type rig struct {
	t      *testing.T
	engine *dockertest.Engine
	env    *component.Env
	fleet  *Fleet
	cycle  uint64

	mu      sync.Mutex // guards what follows
	found   []Found
	stopped []string
	collect map[string]func(ctx context.Context) error // by container
}

// server gives fake_up 1 and its secret's length, unless the test says otherwise.
type server struct {
	rig  *rig
	f    Found
	env  *component.Env
	up   *metrics.Series
	size *metrics.Series
}

func (s *server) Collect(ctx context.Context, b *metrics.Batch) error {
	s.rig.mu.Lock()
	collect := s.rig.collect[s.f.Container]
	s.rig.mu.Unlock()
	if collect != nil {
		if err := collect(ctx); err != nil {
			b.Set(s.up, 0)
			return err
		}
	}
	b.Set(s.up, 1)
	secret, err := s.f.Secret.Reveal()
	b.Set(s.size, float64(len(secret)))
	return err
}

func (s *server) Stop(context.Context) error {
	s.rig.mu.Lock()
	defer s.rig.mu.Unlock()
	s.rig.stopped = append(s.rig.stopped, s.f.Container)
	return nil
}

func newRig(t *testing.T) *rig {
	t.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	r := &rig{t: t, engine: dockertest.New(t), collect: map[string]func(context.Context) error{}}
	r.env = &component.Env{
		Address: "input.fake", Type: "fake", Log: log, Status: component.NewStatus(log), Series: metrics.NewRegistry(), Timeout: 10 * time.Second,
		Pool: component.NewPool(), Docker: component.Docker{Endpoint: "unix://" + r.engine.Socket()},
	}
	var err error
	r.fleet, err = New(Options{
		Env: r.env, Port: 99, Labels: []string{"user"}, Secrets: map[string]config.Secret{"db": config.NewSecret("hunter2")}, Up: &upDesc,
		Open: func(env *component.Env, f Found) (Server, error) {
			if f.Labels["user"] == "nobody" {
				return nil, component.WithRemedy(errors.New("nobody is no user"), "take another one")
			}
			r.mu.Lock()
			r.found = append(r.found, f)
			r.mu.Unlock()
			return &server{rig: r, f: f, env: env, up: env.Series.New(&upDesc), size: env.Series.New(&metrics.Desc{Name: "fake_secret", Kind: metrics.Gauge})}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := r.fleet.Stop(ctx); err != nil {
			t.Error(err)
		}
		if err := r.fleet.Stop(ctx); err != nil {
			t.Errorf("a second time: %v", err)
		}
	})
	return r
}

// run starts a container with labels of the input.
func (r *rig) run(name string, labels ...string) {
	all := map[string]string{}
	for i := 0; i < len(labels); i += 2 {
		all[labels[i]] = labels[i+1]
	}
	r.engine.Create(dockertest.Container{ID: "id-of-" + name, Name: name, Labels: all})
	r.engine.Start("id-of-" + name)
}

// patience bounds every wait.
const patience = 20 * time.Second

// values collects once: values by series, without __name__ and quotes.
func (r *rig) values() map[string]float64 {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	return r.valuesUntil(ctx)
}

// valuesUntil is values for a collection that ends with ctx.
func (r *rig) valuesUntil(ctx context.Context) map[string]float64 {
	r.t.Helper()
	r.cycle++
	var b metrics.Batch
	b.Begin(&metrics.Source{Address: "input.fake"}, r.cycle, 1)
	if err := r.fleet.Collect(ctx, &b); err != nil {
		r.t.Fatal(err)
	}
	out := map[string]float64{}
	for i := range b.Samples {
		s := b.Samples[i].Series
		key := s.Name() + " " + s.Get("instance")
		if _, twice := out[key]; twice {
			r.t.Errorf("%s stands twice", key)
		}
		out[key] = b.Samples[i].Value
	}
	return out
}

// await collects until the values are as wanted.
func (r *rig) await(want string) {
	r.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		got := render(r.values())
		if got == want {
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("got %s, want %s", got, want)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func render(values map[string]float64) string {
	var out []string
	for k, v := range values {
		if strings.HasPrefix(k, "fake_up ") {
			out = append(out, fmt.Sprintf("%s=%v", strings.TrimPrefix(k, "fake_up "), v))
		}
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func (r *rig) fault(key string) (what, remedy string) {
	for _, f := range r.env.Status.Faults() {
		if f.Key == key {
			return f.What, f.Remedy
		}
	}
	return "", ""
}

func TestContainersComeAndGoByTheirLabels(t *testing.T) {
	r := newRig(t)
	r.run("plain")
	r.run("other", "hermod.fakes.port", "1", "hermod.logs", "off")
	r.run("one", "hermod.fake.port", "7", "hermod.fake.user", "u", "hermod.fake.secret", "db")
	r.engine.Create(dockertest.Container{ID: "never", Name: "never", Labels: map[string]string{"hermod.fake.port": "1"}})
	r.run("oneoff", "hermod.fake.port", "1", "com.docker.compose.oneoff", "True")
	r.await("one:7=1")
	if got := r.values(); got["fake_secret one:7"] != 7 {
		t.Errorf("%v", got)
	}
	if f := r.found[0]; f.Address.String() != "container://one:7" || f.Labels["user"] != "u" || len(f.Labels) != 1 {
		t.Errorf("%+v", f)
	}
	r.run("two", "hermod.fake.user", "u")
	r.await("one:7=1 two:99=1")
	r.engine.Rename("id-of-two", "zwei")
	r.await("one:7=1 zwei:99=1")
	r.engine.Die("id-of-one")
	r.await("one:7=1 zwei:99=1") // it is the server that says what it can't reach
	r.engine.Destroy("id-of-one")
	r.await("zwei:99=1")
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Equal(r.stopped, []string{"two", "one"}) {
		t.Errorf("stopped: %v", r.stopped)
	}
}

func TestOneThatFailsIsAFaultOfItsOwn(t *testing.T) {
	r := newRig(t)
	r.run("a", "hermod.fake.port", "1")
	r.run("b", "hermod.fake.port", "2")
	r.run("c", "hermod.fake.port", "3")
	r.await("a:1=1 b:2=1 c:3=1") // all are found
	refused := component.WithRemedy(errors.New("refused"), "let us in")
	r.mu.Lock()
	r.collect["b"] = func(context.Context) error { return refused }
	r.collect["c"] = func(context.Context) error { panic("oops") }
	r.mu.Unlock()
	r.await("a:1=1 b:2=0")
	if what, remedy := r.fault("b:2"); what != "refused" || remedy != "let us in" {
		t.Errorf("%q, %q", what, remedy)
	}
	if what, _ := r.fault("c:3"); what != "panic: oops" {
		t.Errorf("%q", what)
	}
	r.mu.Lock()
	clear(r.collect)
	r.mu.Unlock()
	r.await("a:1=1 b:2=1 c:3=1")
	if n := len(r.env.Status.Faults()); n != 0 {
		t.Errorf("%v", r.env.Status.Faults())
	}
}

func TestOneThatHangsHoldsUpNobodyAndIsDown(t *testing.T) {
	r := newRig(t)
	r.run("a", "hermod.fake.port", "1")
	r.run("b", "hermod.fake.port", "2")
	r.run("c", "hermod.fake.port", "3")
	r.await("a:1=1 b:2=1 c:3=1")
	release := make(chan struct{})
	calls := make(chan string, 100)
	a := r.fleet.members["id-of-a"].status
	rounds := 0
	r.mu.Lock()
	r.collect["a"] = func(context.Context) error {
		rounds++
		a.Note("round", fmt.Errorf("round %d", rounds))
		return nil
	}
	for _, name := range []string{"b", "c"} {
		r.collect[name] = func(context.Context) error { calls <- name; <-release; return nil }
	}
	r.mu.Unlock()
	for round := 1; round <= 3; round++ {
		// The time is over once what a gave was taken, and the others are waited for.
		ctx, over := context.WithTimeout(t.Context(), patience)
		waited := make(chan struct{})
		go func() {
			defer close(waited)
			defer over()
			for want := fmt.Sprintf("round %d", round); ctx.Err() == nil; time.Sleep(time.Millisecond) {
				if what, _ := r.fault("a:1 round"); what == want {
					return
				}
			}
		}()
		if got := render(r.valuesUntil(ctx)); got != "a:1=1 b:2=0 c:3=0" {
			t.Errorf("got %s", got)
		}
		<-waited
	}
	for range 2 { // they may not have got there before the time was over
		<-calls
	}
	if n := len(calls); n != 0 {
		t.Errorf("servers that hang were called %d times more", n)
	}
	if what, remedy := r.fault("b:2"); !strings.Contains(what, "has not returned") || remedy == "" {
		t.Errorf("%q, %q", what, remedy)
	}
	r.mu.Lock()
	clear(r.collect)
	r.mu.Unlock()
	close(release)
	r.await("a:1=1 b:2=1 c:3=1")
}

func TestLabelsThatSayTooMuchAreFaults(t *testing.T) {
	r := newRig(t)
	r.run("a", "hermod.fake.port", "x")
	r.run("b", "hermod.fake.secret", "root")
	r.run("c", "hermod.fake.usr", "x")
	r.run("d", "hermod.fake.password_file", "/etc/shadow")
	r.run("e", "hermod.fake.address", "evil:1")
	r.run("f", "hermod.fake.user", "nobody")
	r.run("g", "hermod.fake.user", "u")
	r.await("a:99=0 b:99=0 c:99=0 d:99=0 e:99=0 f:99=0 g:99=1")
	for key, want := range map[string]string{
		"a:99": `the label hermod.fake.port of the container a is "x" and no port`,
		"b:99": `names the secret "root", which the agent doesn't offer`,
		"c:99": `did you mean "user"`,
		"d:99": "means nothing",
		"e:99": "means nothing",
		"f:99": "nobody is no user",
	} {
		if what, remedy := r.fault(key); !strings.Contains(what, want) || remedy == "" {
			t.Errorf("%s: %q, remedy %q", key, what, remedy)
		}
	}
}

func TestWhatServersTellOfThemselvesIsToldOfTheInput(t *testing.T) {
	r := newRig(t)
	r.run("a", "hermod.fake.port", "1")
	r.await("a:1=1")
	m := r.fleet.members["id-of-a"]
	m.status.Note("tls", errors.New("not checked"))
	r.values()
	if what, _ := r.fault("a:1 tls"); what != "not checked" {
		t.Errorf("%v", r.env.Status.Faults())
	}
	m.status.Note("tls", nil)
	r.values()
	if n := len(r.env.Status.Faults()); n != 0 {
		t.Errorf("%v", r.env.Status.Faults())
	}
	if rows := r.env.Status.Details(); len(rows) != 1 || rows[0].Name != "a:1" || rows[0].State != "collected" {
		t.Errorf("%+v", rows)
	}
}

func TestWithoutDockerTheInputIsDownAndSaysWhy(t *testing.T) {
	r := newRig(t)
	r.run("a", "hermod.fake.port", "1")
	r.await("a:1=1")
	r.engine.Down()
	deadline := time.Now().Add(patience)
	for {
		var b metrics.Batch
		b.Begin(&metrics.Source{}, 1, 1)
		err := r.fleet.Collect(t.Context(), &b)
		if err != nil {
			if remedy, _ := component.Remedy(err); remedy == "" || len(b.Samples) != 2 {
				t.Errorf("%v, %d samples", err, len(b.Samples))
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("it isn't told that Docker is gone")
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func TestCheckTriesEachContainer(t *testing.T) {
	r := newRig(t)
	r.run("a", "hermod.fake.port", "1")
	r.run("b", "hermod.fake.port", "x")
	deadline := time.Now().Add(patience)
	for {
		var got []string
		r.fleet.Check(t.Context(), func(f component.Finding) { got = append(got, fmt.Sprintf("%s|%s|%v", f.What, f.Detail, f.Err)) })
		want := []string{
			"look for containers with labels hermod.fake.*|2 found|<nil>",
			"a:1|2 series|<nil>",
			`b:99||the label hermod.fake.port of the container b is "x" and no port: write a number between 1 and 65535: the port inside the container`,
		}
		if slices.Equal(got, want) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("got:\n%s", strings.Join(got, "\n"))
		}
	}
}

func TestSecretsWithoutDiscoveryMeanNothing(t *testing.T) {
	c := Config{Secrets: map[string]config.Secret{"x": config.NewSecret("y")}}
	if errs := c.Validate(); len(errs) != 1 {
		t.Errorf("%v", errs)
	}
	c.Discover = true
	if errs := c.Validate(); len(errs) != 0 {
		t.Errorf("%v", errs)
	}
}
