package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/client"
)

// maxAnswer bounds what is read of an answer that isn't a stream.
const maxAnswer = 64 << 20

// conn speaks to one engine with the API version that was agreed on. A new one is made for each session, because an engine that was
// restarted may be another version.
type conn struct {
	endpoint  Endpoint
	http      *http.Client
	transport *http.Transport
	userAgent string
	moby      *client.Client
	version   string
	podman    atomic.Bool // an answer said that it is Podman's
}

// connect pings the engine and agrees on the API version.
func connect(ctx context.Context, e Endpoint, userAgent string) (*conn, error) {
	return connectAs(ctx, e, userAgent, "")
}

// connectAs is connect for a connection that may also join the container own to networks.
func connectAs(ctx context.Context, e Endpoint, userAgent, own string) (*conn, error) {
	t := e.transport()
	c := &conn{endpoint: e, transport: t, userAgent: userAgent, http: &http.Client{
		Transport:     &guard{next: t, base: e.Base, own: own},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	m, err := client.New(client.WithHost(e.String()), client.WithScheme(e.scheme()), client.WithHTTPClient(c.http),
		client.WithUserAgent(userAgent), client.WithAPIVersion(e.APIVersion))
	if err != nil {
		return nil, err
	}
	c.moby = m
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if _, err := m.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true}); err != nil {
		c.close()
		return nil, err
	}
	c.version = m.ClientVersion()
	return c, nil
}

// close drops idle connections; open streams go on until their context ends.
func (c *conn) close() { c.transport.CloseIdleConnections() }

// get asks for a path and returns the answer's body. The caller closes it.
func (c *conn) get(ctx context.Context, path string, query url.Values) (io.ReadCloser, error) {
	u := url.URL{Scheme: c.endpoint.scheme(), Host: c.endpoint.host(), Path: c.endpoint.Base + "/v" + c.version + path, RawQuery: query.Encode()}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return nil, err
	}
	r.Header.Set("User-Agent", c.userAgent)
	resp, err := c.http.Do(r)
	if err != nil {
		// The URL says nothing to a reader, and the path is named by the caller.
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err
		}
		return nil, err
	}
	if resp.Header.Get("Libpod-Api-Version") != "" {
		c.podman.Store(true)
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer func() { _ = resp.Body.Close() }()
	return nil, answerError(resp)
}

func answerError(resp *http.Response) error {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	var m struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(body, &m) != nil {
		m.Message = strings.TrimSpace(string(body[:min(len(body), 512)]))
	}
	return &Error{Status: resp.StatusCode, Message: m.Message}
}

func (c *conn) decode(ctx context.Context, path string, query url.Values, into any) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	body, err := c.get(ctx, path, query)
	if err != nil {
		return fmt.Errorf("ask Docker for %s: %w", path, err)
	}
	defer func() { _ = body.Close() }()
	if err := json.NewDecoder(io.LimitReader(body, maxAnswer)).Decode(into); err != nil {
		return fmt.Errorf("read Docker's answer to %s: %w", path, err)
	}
	return nil
}

// Info is what the agent wants to know of an engine.
type Info struct {
	Name          string // of its machine
	ServerVersion string
	DockerRootDir string
	LoggingDriver string // the default one
	CgroupDriver  string // cgroupfs or systemd
	Driver        string // of storage: overlay2, btrfs, ...
	DriverStatus  [][2]string
	SystemTime    string
	// Podman says that it is Podman's compatible API.
	Podman bool `json:"-"`
	// Ahead is how far the engine's clock is ahead of ours; 0 when they differ by less than two seconds.
	Ahead time.Duration `json:"-"`
}

// ContainerdStore says whether images and layers lie in containerd's store, which is Docker's own since version 29, and not in that of a
// graph driver.
func (i *Info) ContainerdStore() bool {
	for _, s := range i.DriverStatus {
		if s[0] == "driver-type" && strings.HasPrefix(s[1], "io.containerd.snapshotter.") {
			return true
		}
	}
	return false
}

func (c *conn) info(ctx context.Context) (Info, error) {
	var i Info
	if err := c.decode(ctx, "/info", nil, &i); err != nil {
		return Info{}, err
	}
	i.Podman = c.podman.Load()
	if t := parseTime(i.SystemTime); !t.IsZero() {
		if d := time.Until(t); d.Abs() > 2*time.Second {
			i.Ahead = d
		}
	}
	return i, nil
}

// summary is a container as the list shows it.
type summary struct {
	ID     string `json:"Id"`
	Names  []string
	State  string
	Status string // for people: "Up 5 minutes (healthy)"
}

func (s *summary) name() string {
	for _, n := range s.Names { // a linked container has further names with a slash in them
		if n = strings.TrimPrefix(n, "/"); !strings.Contains(n, "/") {
			return n
		}
	}
	return ""
}

// running says whether there are processes: a paused container counts, one that waits for its next restart doesn't.
func (s *summary) running() bool { return s.State == "running" || s.State == "paused" }

// health is what the list says of the health checks; known is false where it says nothing, as of a container that isn't running.
func (s *summary) health() (status string, known bool) {
	switch {
	case !s.running():
		return "", false
	case strings.Contains(s.Status, "(healthy)"):
		return "healthy", true
	case strings.Contains(s.Status, "(unhealthy)"):
		return "unhealthy", true
	case strings.Contains(s.Status, "(health: starting)"):
		return "starting", true
	}
	return "", s.Status != "" && s.State == "running" // a paused one doesn't tell
}

func (c *conn) list(ctx context.Context) ([]summary, error) {
	var l []summary
	err := c.decode(ctx, "/containers/json", url.Values{"all": {"1"}}, &l)
	return l, err
}

// listLabelled lists the containers that have all of the labels ("name=value"), stopped ones too.
func (c *conn) listLabelled(ctx context.Context, labels []string) ([]summary, error) {
	filters, err := json.Marshal(map[string][]string{"label": labels})
	if err != nil {
		return nil, err
	}
	var l []summary
	err = c.decode(ctx, "/containers/json", url.Values{"all": {"1"}, "filters": {string(filters)}}, &l)
	return l, err
}

func (c *conn) inspect(ctx context.Context, id string) (Container, error) {
	var i inspected
	if err := c.decode(ctx, "/containers/"+id+"/json", nil, &i); err != nil {
		return Container{}, err
	}
	return i.container(), nil
}

// events opens the stream of what happens to containers. Execs, which health checks make all the time, are left out by the engine.
func (c *conn) events(ctx context.Context, since time.Time) client.EventsResult {
	return c.moby.Events(ctx, client.EventsListOptions{
		Since: strconv.FormatInt(since.Unix(), 10) + "." + fmt.Sprintf("%09d", since.Nanosecond()),
		Filters: make(client.Filters).Add("type", string(events.ContainerEventType)).Add("event", string(events.ActionCreate),
			string(events.ActionStart), string(events.ActionKill), string(events.ActionDie), string(events.ActionDestroy), string(events.ActionRename),
			string(events.ActionPause), string(events.ActionUnPause), string(events.ActionOOM), string(events.ActionHealthStatus)),
	})
}
