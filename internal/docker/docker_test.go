package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hermod-agent/hermod/internal/docker/dockertest"
	"github.com/hermod-agent/hermod/pipeline/component"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type neverAsked struct{ t *testing.T }

func (n neverAsked) RoundTrip(r *http.Request) (*http.Response, error) {
	n.t.Errorf("%s %s went out", r.Method, r.URL)
	return nil, errors.New("no")
}

type answers struct{}

func (answers) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 200, Body: http.NoBody, Request: r}, nil
}

func TestNothingButReadingLeavesTheAgent(t *testing.T) {
	const id = "3b588ac0f8180f233c5751ec751c289de50c523799f9fa6001703c2ca715f7e7"
	for _, path := range []string{"/_ping", "/v1.41/version", "/info", "/v1.41/events?since=5.000000001", "/v1.41/containers/json?all=1", "/v1.41/containers/" + id + "/json", "/v1.40/containers/web_1.a-b/logs?follow=1"} {
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://docker"+path, http.NoBody)
		resp, err := (&guard{next: answers{}}).RoundTrip(r)
		if err != nil {
			t.Errorf("GET %s: %v", path, err)
			continue
		}
		_ = resp.Body.Close()
	}
	r, _ := http.NewRequestWithContext(t.Context(), http.MethodHead, "http://docker/_ping", nil)
	if resp, err := (&guard{next: answers{}}).RoundTrip(r); err != nil {
		t.Errorf("HEAD /_ping: %v", err)
	} else {
		_ = resp.Body.Close()
	}

	type request struct{ method, url string }
	refused := []request{
		{"HEAD", "/info"}, {"HEAD", "/v1.41/containers/json"}, {"OPTIONS", "/_ping"}, {"CONNECT", "/info"}, {"get", "/info"},
		{"GET", "/"}, {"GET", ""}, {"GET", "/v1.41"}, {"GET", "/v1.41/"}, {"GET", "/images/json"}, {"GET", "/v1.41/containers/" + id}, {"GET", "/v1.41/containers/" + id + "/archive?path=/etc/shadow"},
		{"GET", "/v1.41/containers/" + id + "/export"}, {"GET", "/v1.41/containers/" + id + "/attach/ws"}, {"GET", "/v1.41/containers/" + id + "/top"}, {"GET", "/v1.41/secrets"}, {"GET", "/v1.41/configs"},
		{"GET", "/v1.41/containers/a/b/json"}, {"GET", "/v1.41/containers/../images/json"}, {"GET", "/v1.41/containers/../secrets/x/json"}, {"GET", "/v1.41/containers/..%2Fsecrets/json"}, {"GET", "/v1.41/containers/x%2F..%2F..%2Fimages/json"},
		{"GET", "/v1.41/containers//json"}, {"GET", "/v1.41/containers/./json"}, {"GET", "/v1.41/containers/" + id + "/json/"}, {"GET", "/v1.41/exec/" + id + "/json"}, {"GET", "/v1.41x/info"}, {"GET", "//info"}, {"GET", "/info/../containers/create"},
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "CONNECT", "TRACE"} {
		for _, path := range []string{"/_ping", "/info", "/containers/json", "/v1.41/containers/create", "/v1.41/containers/" + id + "/kill", "/v1.41/containers/" + id + "/json", "/v1.41/containers/" + id + "/logs", "/v1.41/build", "/v1.41/events"} {
			refused = append(refused, request{method, path})
		}
	}
	for _, q := range refused {
		u, err := url.Parse("http://docker" + q.url)
		if err != nil {
			t.Fatal(err)
		}
		r := (&http.Request{Method: q.method, URL: u, Header: http.Header{}}).WithContext(t.Context())
		if resp, err := (&guard{next: neverAsked{t}}).RoundTrip(r); err == nil {
			_ = resp.Body.Close()
			t.Errorf("%s %s was passed on", q.method, q.url)
		}
	}
	r, _ = http.NewRequestWithContext(t.Context(), http.MethodGet, "http://docker/info", strings.NewReader("body"))
	if resp, err := (&guard{next: neverAsked{t}}).RoundTrip(r); err == nil {
		_ = resp.Body.Close()
		t.Error("a body was passed on")
	}
	r, _ = http.NewRequestWithContext(t.Context(), http.MethodGet, "http://docker/info", http.NoBody)
	r.Header.Set("Upgrade", "h2c")
	if resp, err := (&guard{next: neverAsked{t}}).RoundTrip(r); err == nil {
		_ = resp.Body.Close()
		t.Error("an upgrade was passed on")
	}
}

// The client library could do anything; through the guard it can't.
func TestTheLibraryCannotWrite(t *testing.T) {
	fake := dockertest.New(t)
	c, err := connect(t.Context(), endpoint(fake), "test")
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	fake.Create(dockertest.Container{ID: "web", Name: "web"})
	before := len(fake.Requests())
	_, killErr := c.moby.ContainerKill(t.Context(), "web", mobyKill)
	_, removeErr := c.moby.ContainerRemove(t.Context(), "web", mobyRemove)
	if killErr == nil || removeErr == nil {
		t.Errorf("kill: %v, remove: %v", killErr, removeErr)
	}
	if now := fake.Requests(); len(now) != before {
		t.Errorf("requests went out: %v", now[before:])
	}
}

func endpoint(e *dockertest.Engine) Endpoint { return Endpoint{Network: "unix", Address: e.Socket()} }

func TestParseEndpoint(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct {
		in   string
		env  map[string]string
		want string
		err  string
	}{
		{in: "", want: "unix:///var/run/docker.sock"},
		{in: "", env: map[string]string{"DOCKER_HOST": "unix:///run/user/1000/docker.sock"}, want: "unix:///run/user/1000/docker.sock"},
		{in: "unix:///a/b.sock", env: map[string]string{"DOCKER_HOST": "tcp://x:1"}, want: "unix:///a/b.sock"},
		{in: "", env: map[string]string{"DOCKER_HOST": "tcp://proxy:2375"}, want: "tcp://proxy:2375"},
		{in: "tcp://nas", want: "tcp://nas:2375"},
		{in: "tcp://[::1]:2375/docker", want: "tcp://[::1]:2375/docker"},
		{in: "https://nas", want: "tcp://nas:2376"},
		{in: "", env: map[string]string{"DOCKER_HOST": "ssh://nas"}, err: "ssh"},
		{in: "npipe:////./pipe/docker", err: "is not the address"},
		{in: "docker.sock", err: "is not the address"},
		{in: "unix://", err: "no absolute path"},
		{in: "tcp://", err: "no host"},
		{in: "tcp://nas", env: map[string]string{"DOCKER_CERT_PATH": dir}, err: "certificate"},
	} {
		got, err := ParseEndpoint(tt.in, func(k string) (string, bool) { v, ok := tt.env[k]; return v, ok })
		if tt.err != "" {
			remedy, _ := component.Remedy(err)
			if err == nil || !strings.Contains(err.Error(), tt.err) || remedy == "" {
				t.Errorf("%q %v: error %v", tt.in, tt.env, err)
			}
			continue
		}
		if err != nil || got.String() != tt.want {
			t.Errorf("%q %v: %s, %v; want %s", tt.in, tt.env, got, err, tt.want)
		}
	}
}

func TestFaultsOfTheSocketSayWhatToDo(t *testing.T) {
	dir := t.TempDir()
	why := func(path string) string {
		e := Endpoint{Network: "unix", Address: path}
		_, err := HostName(t.Context(), e)
		remedy, _ := component.Remedy(err)
		if remedy == "" {
			t.Errorf("%s: no remedy in %v", path, err)
		}
		return fmt.Sprint(err)
	}
	if got := why(filepath.Join(dir, "none.sock")); !strings.Contains(got, "-v /var/run/docker.sock:/var/run/docker.sock:ro") || !strings.Contains(got, "DOCKER_HOST") {
		t.Errorf("no socket: %s", got)
	}
	if got := why(dir); !strings.Contains(got, "not a socket") {
		t.Errorf("a folder: %s", got)
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", filepath.Join(dir, "dead.sock"))
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = l.Close()
	if got := why(filepath.Join(dir, "dead.sock")); !strings.Contains(got, "nobody listens") {
		t.Errorf("a dead socket: %s", got)
	}

	path := filepath.Join(dir, "closed.sock")
	l, err = (&net.ListenConfig{}).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_ = os.Chmod(path, 0o660)
	for gid, want := range map[int]string{4242: "--group-add 4242", 0: "as root"} {
		if os.Getuid() == 0 {
			_ = os.Chown(path, 0, gid)
		} else if gid != os.Getgid() {
			continue
		}
		got := explainSocket(Endpoint{Network: "unix", Address: path}, &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.EACCES)})
		if !strings.Contains(got.Error(), want) || !strings.Contains(got.Error(), fmt.Sprintf("group %d", gid)) {
			t.Errorf("group %d: %v", gid, got)
		}
	}
}

func TestAnEngineThatIsTooOldIsNamed(t *testing.T) {
	fake := dockertest.New(t)
	fake.Set("1.24", "", false)
	_, err := HostName(t.Context(), endpoint(fake))
	if err == nil || !strings.Contains(err.Error(), "1.24") {
		t.Errorf("got %v", err)
	}
	if remedy, _ := component.Remedy(err); !strings.Contains(remedy, "19.03") {
		t.Errorf("remedy %q of %v", remedy, err)
	}
}

func TestHostName(t *testing.T) {
	fake := dockertest.New(t)
	if name, err := HostName(t.Context(), endpoint(fake)); err != nil || name != "box" {
		t.Errorf("%q, %v", name, err)
	}
}

// A reply that was recorded from an engine 20.10.
func TestTheEnvironmentOfAContainerIsNotKept(t *testing.T) {
	b, err := os.ReadFile("testdata/inspect.json")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), "canary-secret") {
		t.Fatal("the recorded reply has no secret in it")
	}
	var i inspected
	if err := json.Unmarshal(b, &i); err != nil {
		t.Fatal(err)
	}
	c := i.container()
	if s := fmt.Sprintf("%+v %+v", i, c); strings.Contains(s, "canary") || strings.Contains(s, "PASSWORD") {
		t.Errorf("the environment is kept: %s", s)
	}
	if c.Name != "dl-rec" || c.Image != "debian:bookworm-slim" || c.Project() != "lottery" || c.Service() != "web" || !c.Running || c.PID == 0 ||
		c.LogDriver != "json-file" || c.LogOptions["max-size"] != "10m" || !strings.HasSuffix(c.LogPath, c.ID+"-json.log") || c.Created.IsZero() ||
		c.Started.IsZero() || !c.Finished.IsZero() || c.NetworkMode != "default" || c.TTY || !c.EverStarted() {
		t.Errorf("got %+v", c)
	}
	var l []summary
	b, _ = os.ReadFile("testdata/list.json")
	if err := json.Unmarshal(b, &l); err != nil || len(l) != 1 || l[0].name() != "dl-rec" || !l[0].running() || l[0].ID != c.ID {
		t.Errorf("list: %+v, %v", l, err)
	}
}

func TestTheOwnContainerIsFound(t *testing.T) {
	a, b := strings.Repeat("a1", 32), strings.Repeat("b2", 32)
	for name, tt := range map[string]struct {
		mounts, cgroup, hostname string
		a, b                     bool
	}{
		"on the machine itself": {
			mounts: "41 30 0:36 / /var/lib/docker/containers/" + a + "/mounts/shm rw shared:1 - tmpfs shm rw\n36 30 8:1 / / rw - ext4 /dev/sda rw\n",
			cgroup: "1:name=systemd:/user.slice\n", hostname: "box",
		},
		"its hostname file": {
			mounts: "900 800 8:1 /var/lib/docker/containers/" + a + "/hostname /etc/hostname rw,relatime - ext4 /dev/sda rw\n",
			cgroup: "0::/\n", hostname: "web", a: true,
		},
		"another folder of Docker, and all others below a mounted root": {
			mounts: "899 800 0:36 / /rootfs/var/lib/docker/containers/" + b + "/mounts/shm rw - tmpfs shm rw\n900 800 8:1 /volume1/@docker/containers/" + a + "/resolv.conf /etc/resolv.conf rw - ext4 /dev/sda rw\n",
			a:      true,
		},
		"cgroup v1":       {cgroup: "12:memory:/docker/" + a + "\n1:name=systemd:/docker/" + a + "\n", a: true},
		"systemd's slice": {cgroup: "0::/system.slice/docker-" + a + ".scope\n", a: true},
		"host name":       {hostname: a[:12], a: true},
		"host network":    {hostname: "box"},
	} {
		o := Own{}.from([]byte(tt.mounts), []byte(tt.cgroup), tt.hostname)
		if o.Is(a) != tt.a || o.Is(b) != tt.b {
			t.Errorf("%s: %v %v", name, o.Is(a), o.Is(b))
		}
	}
}

// watch subscribes and gathers what is told until the test ends.
type watch struct {
	t      *testing.T
	engine *Engine
	sub    *Subscription
	now    map[string]Container
	told   map[string]int
}

func newWatch(t *testing.T, fake *dockertest.Engine, reconcile time.Duration) *watch {
	e := New(Options{Endpoint: endpoint(fake), Reconcile: reconcile, Retry: 10 * time.Millisecond})
	t.Cleanup(func() { _ = e.Close() })
	return &watch{t: t, engine: e, sub: e.Subscribe(), now: map[string]Container{}, told: map[string]int{}}
}

func (w *watch) until(what string, cond func() bool) {
	w.t.Helper()
	deadline := time.After(time.Minute)
	for {
		for _, c := range w.sub.Take() {
			w.now[c.ID] = c
			w.told[c.ID]++
		}
		if cond() {
			return
		}
		select {
		case <-w.sub.C():
		case <-deadline:
			w.t.Fatalf("not within a minute: %s; %+v; engine: %v", what, w.now, w.engine.Err())
		}
	}
}

func TestContainersAreFollowedFromTheListThroughEvents(t *testing.T) {
	fake := dockertest.New(t)
	fake.Create(dockertest.Container{ID: "old", Name: "old", Image: "i:1", Labels: map[string]string{"a": "b"}, Env: []string{"SECRET=x"}})
	fake.Start("old")
	w := newWatch(t, fake, time.Hour)
	w.until("the list", w.engine.Synced)
	w.until("the container of the list", func() bool { return w.now["old"].Running })
	if c := w.now["old"]; !c.Inspected || c.Image != "i:1" || c.Labels["a"] != "b" || c.LogDriver != "json-file" {
		t.Errorf("got %+v", c)
	}
	if i := w.engine.Info(); i.Name != "box" || i.Ahead != 0 {
		t.Errorf("info %+v", i)
	}

	fake.Create(dockertest.Container{ID: "new", Name: "new", Driver: "local", TTY: true})
	w.until("created", func() bool { return w.now["new"].Inspected })
	if c := w.now["new"]; c.EverStarted() {
		t.Error("it never ran")
	}
	fake.Start("new")
	w.until("started", func() bool { return w.now["new"].Running })
	starts := w.now["new"].Starts
	fake.Die("new")
	w.until("ended", func() bool { return !w.now["new"].Running })
	fake.Start("new")
	fake.Die("new")
	fake.Start("new")
	w.until("started twice more", func() bool { c := w.now["new"]; return c.Running && c.Starts >= starts+2 })
	fake.Rename("new", "newer")
	w.until("renamed", func() bool { return w.now["new"].Name == "newer" })
	fake.Die("new")
	fake.Destroy("new")
	w.until("gone", func() bool { return w.now["new"].Gone })
	if c := w.now["new"]; c.Running || !c.Inspected || !c.TTY {
		t.Errorf("got %+v", c)
	}
	if lists := fake.Lists(); lists != 1 {
		t.Errorf("%d lists", lists)
	}
}

func TestTheListMendsWhatEventsMissed(t *testing.T) {
	fake := dockertest.New(t)
	w := newWatch(t, fake, 20*time.Millisecond)
	w.until("the list", w.engine.Synced)
	fake.CreateQuietly(dockertest.Container{ID: "quiet", Name: "quiet"})
	w.until("found", func() bool { return w.now["quiet"].Inspected })
}

func TestStateIsKeptWhileTheEngineIsAway(t *testing.T) {
	fake := dockertest.New(t)
	for _, id := range []string{"a", "b"} {
		fake.Create(dockertest.Container{ID: id, Name: id})
		fake.Start(id)
	}
	w := newWatch(t, fake, time.Hour)
	w.until("both", func() bool { return w.engine.Synced() && w.now["a"].Running && w.now["b"].Running })
	fake.Down()
	w.until("the fault", func() bool { return w.engine.Err() != nil })
	if remedy, _ := component.Remedy(w.engine.Err()); remedy == "" {
		t.Errorf("no remedy: %v", w.engine.Err())
	}
	if w.now["a"].Gone || w.now["b"].Gone || !w.engine.Synced() {
		t.Error("the state was lost")
	}
	// While the engine is away one container vanishes, one starts anew, one is born.
	starts := w.now["b"].Starts
	fake.Destroy("a")
	fake.Die("b")
	time.Sleep(5 * time.Millisecond)
	fake.Start("b")
	fake.Create(dockertest.Container{ID: "c", Name: "c"})
	fake.Up()
	w.until("reconnected", func() bool { return w.engine.Err() == nil && w.now["a"].Gone && w.now["c"].Inspected })
	w.until("the start", func() bool { return w.now["b"].Running && w.now["b"].Starts > starts })
}

func TestASlowSubscriberGetsTheNewestStateOnce(t *testing.T) {
	fake := dockertest.New(t)
	w := newWatch(t, fake, time.Hour)
	w.until("the list", w.engine.Synced)
	fake.Create(dockertest.Container{ID: "x", Name: "x"})
	w.until("created", func() bool { return w.now["x"].Inspected })
	other := w.engine.Subscribe()
	defer other.Close()
	if all := other.Take(); len(all) != 1 || all[0].ID != "x" {
		t.Errorf("a new subscription begins with %+v", all)
	}
	told := w.told["x"]
	for range 50 {
		fake.Start("x")
		fake.Die("x")
	}
	fake.Destroy("x")
	w.until("gone", func() bool { return w.now["x"].Gone })
	w.engine.Synced() // waits for the lock under which both are told
	got := other.Take()
	if len(got) != 1 || !got[0].Gone || got[0].Starts != 50 {
		t.Errorf("after %d tellings to a quick one, a slow one gets %+v", w.told["x"]-told, got)
	}
}

func TestRemovedContainersDoNotPileUp(t *testing.T) {
	e := New(Options{Endpoint: Endpoint{Network: "unix", Address: filepath.Join(t.TempDir(), "none")}})
	defer func() { _ = e.Close() }()
	s := &Subscription{engine: e, wake: make(chan struct{}, 1), changed: map[string]*Container{}}
	for i := range maxGone + 10 {
		s.put(Container{ID: fmt.Sprint(i), Gone: true})
	}
	if all := s.Take(); len(all) != maxGone || s.Missed() != 10 || all[0].ID != "10" {
		t.Errorf("%d kept, %d missed", len(all), s.Missed())
	}
}

func TestLogsAskForNanoseconds(t *testing.T) {
	fake := dockertest.New(t)
	fake.Create(dockertest.Container{ID: "x", Name: "x"})
	fake.Write("x", dockertest.Message{Time: 1_000_000_000_000_000_001, Text: "a\n"}, dockertest.Message{Time: 1_000_000_000_000_000_002, Text: "b\n"})
	w := newWatch(t, fake, time.Hour)
	w.until("the list", w.engine.Synced)
	body, err := w.engine.Logs(t.Context(), "x", LogOptions{Since: 1_000_000_000_000_000_002})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = body.Close() }()
	b, err := io.ReadAll(body)
	if err != nil || string(b[8:]) != "2001-09-09T01:46:40.000000002Z b\n" {
		t.Errorf("%q, %v", b, err)
	}
	_, err = w.engine.Logs(t.Context(), "none", LogOptions{})
	var answer *Error
	if !errors.As(err, &answer) || !answer.NotFound() || !strings.Contains(err.Error(), "No such container") {
		t.Errorf("got %v", err)
	}
	for _, r := range fake.Requests() {
		if method, _, _ := strings.Cut(r, " "); method != http.MethodGet && r != "HEAD /_ping" {
			t.Errorf("request %s", r)
		}
	}
}

func TestThePoolSharesOneEngine(t *testing.T) {
	fake := dockertest.New(t)
	p := component.NewPool()
	a, releaseA, err := Acquire(p, Options{Endpoint: endpoint(fake)})
	if err != nil {
		t.Fatal(err)
	}
	b, releaseB, _ := Acquire(p, Options{Endpoint: endpoint(fake)})
	if a != b {
		t.Error("two engines for one endpoint")
	}
	s1, s2 := a.Subscribe(), b.Subscribe()
	deadline := time.Now().Add(time.Minute)
	for !a.Synced() && time.Now().Before(deadline) {
		<-s1.C()
	}
	streams := func() int {
		return len(slices.DeleteFunc(fake.Requests(), func(r string) bool { return !strings.HasSuffix(r, "/events") }))
	}
	for streams() == 0 && time.Now().Before(deadline) { // it is asked for beside the list
		time.Sleep(time.Millisecond)
	}
	s1.Close()
	s2.Close()
	if err := errors.Join(releaseA(), releaseB()); err != nil {
		t.Error(err)
	}
	if n := streams(); n != 1 {
		t.Errorf("%d event streams", n)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := HostName(ctx, Endpoint{Network: "unix", Address: "/nonexistent/sock"}); err == nil {
		t.Error("no error")
	}
}

func TestHealthPausesKillsAndEndsAreFollowed(t *testing.T) {
	fake := dockertest.New(t)
	fake.Create(dockertest.Container{ID: "web", Name: "web", StoredBy: "overlay2", UpperDir: "/layers/web/diff", CgroupParent: "shop.slice"})
	fake.Start("web")
	w := newWatch(t, fake, time.Hour)
	w.until("it runs", func() bool { return w.now["web"].State == "running" })
	if c := w.now["web"]; c.Driver != "overlay2" || c.UpperDir != "/layers/web/diff" || c.CgroupParent != "shop.slice" || c.Health != "" {
		t.Errorf("%+v", c)
	}
	fake.Health("web", "unhealthy")
	w.until("its check fails", func() bool { return w.now["web"].Health == "unhealthy" })
	fake.Pause("web", true)
	w.until("it pauses", func() bool { return w.now["web"].State == "paused" && w.now["web"].Running })
	fake.Pause("web", false)
	w.until("it goes on", func() bool { return w.now["web"].State == "running" })
	fake.OOM("web")
	fake.OOM("web")
	w.until("two kills", func() bool { return w.now["web"].OOMs == 2 })
	fake.End("web", 137)
	w.until("it ends", func() bool {
		c := w.now["web"]
		return c.State == "exited" && c.ExitCode == 137 && !c.Running && c.PID == 0
	})
	fake.Start("web")
	w.until("it runs again, and its kills are still known", func() bool {
		c := w.now["web"]
		return c.State == "running" && c.OOMs == 2 && c.Starts >= 1 && c.PID != 0
	})
}

func TestTheListSaysWhatFollowsAnEndAndWhatNoEventTold(t *testing.T) {
	fake := dockertest.New(t)
	fake.Create(dockertest.Container{ID: "web", Name: "web"})
	fake.Start("web")
	w := newWatch(t, fake, 20*time.Millisecond)
	w.until("it runs", func() bool { return w.now["web"].State == "running" })
	fake.Quietly("web", "", "healthy")
	w.until("its health", func() bool { return w.now["web"].Health == "healthy" })
	fake.Die("web")
	fake.Quietly("web", "restarting", "")
	w.until("it waits for its restart", func() bool { return w.now["web"].State == "restarting" && !w.now["web"].Running })
}

// Docker 29, and 20.10.
func TestTheStoreOfImagesIsKnown(t *testing.T) {
	for text, want := range map[string]bool{
		`{"Driver":"overlayfs","DriverStatus":[["driver-type","io.containerd.snapshotter.v1"]]}`:           true,
		`{"Driver":"overlay2","DriverStatus":[["Backing Filesystem","extfs"],["Supports d_type","true"]]}`: false,
		`{"Driver":"btrfs","DriverStatus":[["Build Version","Btrfs v4.0"],["Library Version","101"]]}`:     false,
		`{"Driver":"vfs","DriverStatus":null}`:                                                             false,
	} {
		var i Info
		if err := json.Unmarshal([]byte(text), &i); err != nil || i.ContainerdStore() != want {
			t.Errorf("%s: %v, %v", text, i.ContainerdStore(), err)
		}
	}
	// Without a graph driver the answer has another part, and the driver beside it.
	var i inspected
	if err := json.Unmarshal([]byte(`{"Id":"a","Driver":"overlayfs","Storage":{"RootFS":{"Snapshot":{"Name":"overlayfs"}}}}`), &i); err != nil {
		t.Fatal(err)
	}
	if c := i.container(); c.Driver != "overlayfs" || c.UpperDir != "" {
		t.Errorf("%+v", c)
	}
}
