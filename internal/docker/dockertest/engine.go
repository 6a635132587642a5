// Package dockertest is a Docker engine for tests: it answers what the agent asks, on a socket of its own, and does what a test tells it.
package dockertest

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// TB is what the engine needs of a test.
type TB interface {
	Helper()
	Cleanup(f func())
	TempDir() string
	Fatal(args ...any)
}

// Container is one of the engine's.
type Container struct {
	ID, Name, Image, Driver, LogPath string
	Labels, LogOptions               map[string]string
	Env                              []string
	TTY                              bool
	Created                          time.Time
	NetworkMode                      string
	Networks                         []Network

	// For an inspection.
	PID                              int // 42 when it is 0
	Restarts                         int
	CgroupParent, UpperDir, StoredBy string

	health   string
	listed   string // state in the list, where it isn't what the rest says
	paused   bool
	exitCode int
	running  bool
	started  time.Time
	finished time.Time
	log      []Message
	changed  chan struct{} // closed and made anew with every change
}

// Network is one that a container is on.
type Network struct {
	Name, ID, IPv4, Gateway string
	Aliases                 []string
}

// Message is an entry of a log. A text without line end is a part of a line.
type Message struct {
	Stderr bool
	Time   int64
	Text   string
}

// Engine speaks enough of the API. Its methods may be called at any time.
type Engine struct {
	t      TB
	socket string

	mu         sync.Mutex // guards what follows
	server     *httptest.Server
	containers map[string]*Container
	events     []json.RawMessage
	eventTimes []int64
	changed    chan struct{}
	down       chan struct{} // closed by Down
	requests   []string
	// version is the API version that the engine speaks.
	version string
	// logError, when set, is what is answered to a request for logs.
	logError string
	// afterFirst has the engine send everything behind the first message that is new enough, as newer ones do.
	afterFirst bool
	lists      int
	// muted has the engine forget those who follow a log.
	muted bool
	// skips has streams that follow leave out messages that are written meanwhile, as one does that comes late to a rotation.
	skips func(m Message) bool
	// rereads has readings that don't follow give something else than what is there.
	rereads func(since int64, log []Message) []Message
	info    map[string]any
	// podman has it say that it is one.
	podman bool
	// joining is called while the engine connects a container to a network.
	joining func()
}

// New returns an engine that answers. It is closed with the test.
func New(t TB) *Engine {
	t.Helper()
	e := &Engine{
		t: t, socket: filepath.Join(t.TempDir(), "d.sock"), containers: map[string]*Container{}, changed: make(chan struct{}), version: "1.41",
	}
	e.Up()
	t.Cleanup(e.Down)
	return e
}

// Socket is the path of the engine's socket.
func (e *Engine) Socket() string { return e.socket }

// Up has the engine answer.
func (e *Engine) Up() {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "unix", e.socket)
	if err != nil {
		e.t.Fatal(err)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(e.serve), ReadHeaderTimeout: time.Minute}}
	s.Start()
	e.mu.Lock()
	e.server, e.down = s, make(chan struct{})
	e.mu.Unlock()
}

// Down breaks all connections and removes the socket. Events that nobody has read are forgotten, as by an engine that is restarted.
func (e *Engine) Down() {
	e.mu.Lock()
	s := e.server
	e.server = nil
	if s != nil {
		close(e.down)
	}
	e.events, e.eventTimes = nil, nil
	e.mu.Unlock()
	if s != nil {
		_ = s.Listener.Close()
		s.CloseClientConnections()
		s.Close()
	}
}

// Forget has the engine tell nobody of what has happened so far. One that connects is else told of the last two seconds, some time after it has
// taken the list.
func (e *Engine) Forget() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := range e.eventTimes {
		e.eventTimes[i] = math.MinInt64
	}
}

// Set changes how the engine behaves.
func (e *Engine) Set(version, logError string, afterFirst bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.version, e.logError, e.afterFirst = version, logError, afterFirst
}

// Mute has streams that follow give nothing, and not end either.
func (e *Engine) Mute(on bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.muted = on
}

// Podman has the engine answer as Podman's does.
func (e *Engine) Podman() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.podman = true
}

// SetInfo changes fields of what the engine says of itself.
func (e *Engine) SetInfo(fields map[string]any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.info = fields
}

// Requests are the methods and paths that were asked for.
func (e *Engine) Requests() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.requests)
}

// Lists is how often the containers were listed.
func (e *Engine) Lists() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.lists
}

// Create makes a container.
func (e *Engine) Create(c Container) { e.create(c, false) }

// CreateQuietly makes a container that no event tells of.
func (e *Engine) CreateQuietly(c Container) { e.create(c, true) }

func (e *Engine) create(c Container, quiet bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if c.Created.IsZero() {
		c.Created = time.Now()
	}
	if c.Driver == "" {
		c.Driver = "json-file"
	}
	c.changed = make(chan struct{})
	e.containers[c.ID] = &c
	if !quiet {
		e.tell(&c, "create")
	}
}

// Start starts a container.
func (e *Engine) Start(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.containers[id]
	c.running, c.started = true, time.Now()
	e.tell(c, "start")
}

// Die ends a container.
func (e *Engine) Die(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.containers[id]
	c.running, c.finished = false, time.Now()
	e.tell(c, "die")
	close(c.changed)
	c.changed = make(chan struct{})
}

// End ends a container with an exit code.
func (e *Engine) End(id string, code int) {
	e.mu.Lock()
	e.containers[id].exitCode = code
	e.mu.Unlock()
	e.Die(id)
}

// Pause stops a container's processes, or lets them go on.
func (e *Engine) Pause(id string, on bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.containers[id]
	c.paused = on
	if on {
		e.tell(c, "pause")
	} else {
		e.tell(c, "unpause")
	}
}

// Health is the result of a container's health check.
func (e *Engine) Health(id, status string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.containers[id]
	c.health = status
	e.tell(c, "health_status: "+status)
}

// Quietly changes what the list says of a container's state and health, and no event tells.
func (e *Engine) Quietly(id, state, health string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.containers[id]
	c.listed, c.health = state, health
}

// OOM kills a process of a container for want of memory.
func (e *Engine) OOM(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.tell(e.containers[id], "oom")
}

// Destroy removes a container.
func (e *Engine) Destroy(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.containers[id]
	c.running = false
	delete(e.containers, id)
	e.tell(c, "destroy")
	close(c.changed)
	c.changed = make(chan struct{})
}

// Rename gives a container another name.
func (e *Engine) Rename(id, name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.containers[id]
	c.Name = name
	e.tell(c, "rename")
}

// Write appends to a container's log.
func (e *Engine) Write(id string, messages ...Message) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.containers[id]
	c.log = append(c.log, messages...)
	close(c.changed)
	c.changed = make(chan struct{})
}

// Rotate forgets the first n messages of a container's log.
func (e *Engine) Rotate(id string, n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.containers[id].log = slices.Clone(e.containers[id].log[n:])
}

func (e *Engine) tell(c *Container, action string) { e.tellWith(c, action, nil) }

func (e *Engine) tellWith(c *Container, action string, more map[string]string) {
	attributes := map[string]string{"name": c.Name, "image": c.Image}
	maps.Copy(attributes, more)
	if action == "die" {
		attributes["exitCode"] = strconv.Itoa(c.exitCode)
	}
	for k, v := range c.Labels {
		attributes[k] = v
	}
	now := time.Now().UnixNano()
	b, _ := json.Marshal(map[string]any{
		"status": action, "id": c.ID, "Type": "container", "Action": action, "Actor": map[string]any{"ID": c.ID, "Attributes": attributes},
		"scope": "local", "time": now / 1e9, "timeNano": now,
	})
	e.events, e.eventTimes = append(e.events, b), append(e.eventTimes, now)
	close(e.changed)
	e.changed = make(chan struct{})
}

func (e *Engine) serve(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	e.requests = append(e.requests, r.Method+" "+r.URL.Path)
	version := e.version
	if e.podman {
		w.Header().Set("Libpod-Api-Version", "5.8.6")
	}
	e.mu.Unlock()
	w.Header().Set("Api-Version", version)
	path := r.URL.Path
	if rest, ok := strings.CutPrefix(path, "/v"); ok {
		asked, tail, _ := strings.Cut(rest, "/")
		if asked != version {
			fail(w, http.StatusBadRequest, "client version "+asked+" is too new. Maximum supported API version is "+version)
			return
		}
		path = "/" + tail
	}
	switch {
	case path == "/_ping":
		_, _ = w.Write([]byte("OK"))
	case path == "/info":
		info := map[string]any{
			"Name": "box", "ServerVersion": "20.10.24", "DockerRootDir": "/nowhere", "LoggingDriver": "json-file", "SystemTime": time.Now().Format(time.RFC3339Nano),
			"Driver": "overlay2", "CgroupDriver": "cgroupfs", "DriverStatus": [][2]string{{"Backing Filesystem", "extfs"}},
		}
		e.mu.Lock()
		maps.Copy(info, e.info)
		e.mu.Unlock()
		answer(w, info)
	case path == "/events":
		e.serveEvents(w, r)
	case path == "/containers/json":
		e.serveList(w, r)
	case strings.HasSuffix(path, "/json"):
		e.serveInspect(w, strings.Split(path, "/")[2])
	case strings.HasPrefix(path, "/networks/") && r.Method == http.MethodPost:
		e.serveJoin(w, r, strings.Split(path, "/"))
	case strings.HasSuffix(path, "/logs"):
		e.serveLogs(w, r, strings.Split(path, "/")[2])
	default:
		fail(w, http.StatusNotFound, "page not found")
	}
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func fail(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"message": message})
}

func (e *Engine) serveEvents(w http.ResponseWriter, r *http.Request) {
	since := parseSince(r.URL.Query().Get("since"))
	flusher, _ := w.(http.Flusher)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	flusher.Flush()
	for next := 0; ; {
		e.mu.Lock()
		var out []json.RawMessage
		for ; next < len(e.events); next++ {
			if e.eventTimes[next] >= since {
				out = append(out, e.events[next])
			}
		}
		changed, down := e.changed, e.down
		e.mu.Unlock()
		for _, b := range out {
			_, _ = w.Write(b)
			_, _ = w.Write([]byte("\n"))
		}
		flusher.Flush()
		select {
		case <-changed:
		case <-down:
			return
		case <-r.Context().Done():
			return
		}
	}
}

func (c *Container) state() string {
	switch {
	case c.running && c.paused:
		return "paused"
	case c.running:
		return "running"
	case c.started.IsZero():
		return "created"
	}
	return "exited"
}

func (e *Engine) serveList(w http.ResponseWriter, r *http.Request) {
	var filters map[string][]string
	_ = json.Unmarshal([]byte(r.URL.Query().Get("filters")), &filters)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lists++
	out := []map[string]any{}
	for _, c := range e.containers {
		if slices.ContainsFunc(filters["label"], func(l string) bool { k, v, _ := strings.Cut(l, "="); return c.Labels[k] != v }) {
			continue
		}
		state, status := c.state(), ""
		if c.listed != "" {
			state = c.listed
		}
		if c.running {
			status = "Up 5 minutes"
			switch {
			case c.health == "starting":
				status += " (health: starting)"
			case c.health != "":
				status += " (" + c.health + ")"
			}
		}
		out = append(out, map[string]any{"Id": c.ID, "Names": []string{"/" + c.Name}, "Image": c.Image, "State": state, "Status": status, "Labels": c.Labels})
	}
	answer(w, out)
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return "0001-01-01T00:00:00Z"
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// find looks for a container by its id or name. The lock is held.
func (e *Engine) find(ref string) *Container {
	if c := e.containers[ref]; c != nil {
		return c
	}
	for _, c := range e.containers {
		if c.Name == ref {
			return c
		}
	}
	return nil
}

func (e *Engine) serveInspect(w http.ResponseWriter, id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.find(id)
	if c == nil {
		fail(w, http.StatusNotFound, "No such container: "+id)
		return
	}
	networks := map[string]any{}
	for _, n := range c.Networks {
		ip := n.IPv4
		if !c.running {
			ip = ""
		}
		networks[n.Name] = map[string]any{"NetworkID": n.ID, "IPAddress": ip, "Gateway": n.Gateway, "Aliases": n.Aliases}
	}
	pid, mode := c.PID, c.NetworkMode
	if pid == 0 {
		pid = 42
	}
	if mode == "" {
		mode = "default"
	}
	if !c.running {
		pid = 0
	}
	state := map[string]any{
		"Status": c.state(), "Running": c.running, "Pid": pid, "ExitCode": c.exitCode, "StartedAt": stamp(c.started), "FinishedAt": stamp(c.finished),
	}
	if c.health != "" {
		state["Health"] = map[string]any{"Status": c.health}
	}
	answer(w, map[string]any{
		"Id": c.ID, "Name": "/" + c.Name, "Created": stamp(c.Created), "LogPath": c.LogPath,
		"RestartCount": c.Restarts, "State": state,
		"Config":          map[string]any{"Image": c.Image, "Tty": c.TTY, "Labels": c.Labels, "Env": c.Env},
		"HostConfig":      map[string]any{"NetworkMode": mode, "CgroupParent": c.CgroupParent, "LogConfig": map[string]any{"Type": c.Driver, "Config": c.LogOptions}},
		"GraphDriver":     map[string]any{"Name": c.StoredBy, "Data": map[string]string{"UpperDir": c.UpperDir}},
		"NetworkSettings": map[string]any{"Networks": networks},
	})
}

func parseSince(s string) int64 {
	sec, frac, _ := strings.Cut(s, ".")
	a, _ := strconv.ParseInt(sec, 10, 64)
	b, _ := strconv.ParseInt(frac, 10, 64)
	return a*1e9 + b
}

// Frame is how the engine sends a message of a container without TTY.
func Frame(m Message) []byte {
	text := time.Unix(0, m.Time).UTC().Format("2006-01-02T15:04:05.000000000Z") + " " + m.Text
	b := make([]byte, 8, 8+len(text))
	b[0] = 1
	if m.Stderr {
		b[0] = 2
	}
	binary.BigEndian.PutUint32(b[4:], uint32(len(text)))
	return append(b, text...)
}

// Skip has streams that follow leave out messages that are written from now on, while they do; nil none.
func (e *Engine) Skip(skips func(m Message) bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.skips = skips
}

// Reread has readings that don't follow give something else than what is there, as one does while the log is rotated; nil what is there.
func (e *Engine) Reread(rereads func(since int64, log []Message) []Message) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.rereads = rereads
}

func (e *Engine) serveLogs(w http.ResponseWriter, r *http.Request, id string) {
	since := parseSince(r.URL.Query().Get("since"))
	follow := r.URL.Query().Get("follow") == "1"
	flusher, _ := w.(http.Flusher)
	e.mu.Lock()
	c, logError, afterFirst := e.containers[id], e.logError, e.afterFirst
	e.mu.Unlock()
	switch {
	case c == nil:
		fail(w, http.StatusNotFound, "No such container: "+id)
		return
	case logError != "":
		fail(w, http.StatusInternalServerError, logError)
		return
	case r.URL.Query().Get("timestamps") != "1" || r.URL.Query().Get("stdout") != "1" || r.URL.Query().Get("stderr") != "1":
		fail(w, http.StatusBadRequest, fmt.Sprintf("unexpected query %q", r.URL.RawQuery))
		return
	}
	w.WriteHeader(http.StatusOK)
	flusher.Flush()
	found := false
	first := 0
	if tail, err := strconv.Atoi(r.URL.Query().Get("tail")); err == nil {
		e.mu.Lock()
		first = max(0, len(c.log)-tail)
		e.mu.Unlock()
	}
	beginning := true
	for next := first; ; beginning = false {
		e.mu.Lock()
		messages := slices.Clone(c.log[min(next, len(c.log)):])
		next = len(c.log)
		rereads := e.rereads
		muted := follow && e.muted
		var skips func(Message) bool
		if follow && !beginning {
			skips = e.skips
		}
		follow := follow && (c.running || muted)
		changed, down := c.changed, e.down
		e.mu.Unlock()
		if muted {
			messages = nil
		}
		if rereads != nil && r.URL.Query().Get("follow") != "1" && r.URL.Query().Get("tail") == "" {
			messages = rereads(since, messages)
		}
		for _, m := range messages {
			if skips != nil && skips(m) {
				continue
			}
			if m.Time < since && (!found || !afterFirst) {
				continue
			}
			found = true
			b := Frame(m)
			if c.TTY {
				b = b[8:]
			}
			_, _ = w.Write(b)
		}
		flusher.Flush()
		if !follow {
			return
		}
		select {
		case <-changed:
		case <-down:
			return
		case <-r.Context().Done():
			return
		}
	}
}

// serveJoin connects a container to a network that others are on, or disconnects it.
func (e *Engine) serveJoin(w http.ResponseWriter, r *http.Request, path []string) {
	var body struct {
		Container      string
		EndpointConfig struct{ Aliases []string }
	}
	_ = json.NewDecoder(r.Body).Decode(&body)
	e.mu.Lock()
	defer e.mu.Unlock()
	if hook := e.joining; hook != nil && path[len(path)-1] == "connect" {
		defer func() { // connected already, and not answered
			e.mu.Unlock()
			hook()
			e.mu.Lock()
		}()
	}
	c := e.find(body.Container)
	var network *Network
	for _, other := range e.containers {
		for i := range other.Networks {
			if other.Networks[i].ID == path[2] {
				network = &other.Networks[i]
			}
		}
	}
	if c == nil || network == nil || len(path) != 4 {
		fail(w, http.StatusNotFound, "network or container not found")
		return
	}
	i := slices.IndexFunc(c.Networks, func(n Network) bool { return n.ID == path[2] })
	switch {
	case path[3] == "connect" && i >= 0:
		fail(w, http.StatusForbidden, "endpoint with name "+c.Name+" already exists in network "+network.Name)
	case path[3] == "connect":
		c.Networks = append(c.Networks, Network{Name: network.Name, ID: network.ID, IPv4: "127.0.0.1", Aliases: body.EndpointConfig.Aliases})
	case i < 0:
		fail(w, http.StatusForbidden, "container "+c.Name+" is not connected to network "+network.Name)
	default:
		c.Networks = slices.Delete(slices.Clone(c.Networks), i, i+1)
	}
}

// WhileJoining has something done while the engine connects a container to a network, before it says so.
func (e *Engine) WhileJoining(do func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.joining = do
}

// NetworksOf are the names of the networks that a container is on.
func (e *Engine) NetworksOf(id string) []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []string
	for _, n := range e.containers[id].Networks {
		out = append(out, n.Name)
	}
	return out
}

// Kill sends a signal to a container, which doesn't end by that alone.
func (e *Engine) Kill(id, signal string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.tellWith(e.containers[id], "kill", map[string]string{"signal": signal})
}
