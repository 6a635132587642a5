package docker

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
)

// guard is the only way from this package to the engine. Whoever may write to the engine's socket is root on the machine, so nothing
// but reading leaves the agent, whatever the code above asks for and however the library below changes. Where the user permits it, a guard
// lets the agent's own container be joined to networks too, and no other.
type guard struct {
	next http.RoundTripper
	base string // path before the API's own, of a proxy
	// own is the id of this process' container where it may join that to networks and take it off again; else empty.
	own string
}

var _ http.RoundTripper = (*guard)(nil)

// allowed are the paths without their version. The paths of a container hold its id or name.
var allowed = regexp.MustCompile(`^(?:/v[0-9]+\.[0-9]+)?(?:/_ping|/version|/info|/events|/containers/json|/containers/[a-zA-Z0-9][a-zA-Z0-9_.-]*/(?:json|logs))$`)

// joining are the paths of the two requests that change something: a network, by its id, takes in a container or lets it go.
var joining = regexp.MustCompile(`^/v[0-9]+\.[0-9]+/networks/[0-9a-f]{64}/(connect|disconnect)$`)

// RoundTrip passes GET requests for the allowed paths on, and HEAD for the ping.
func (g *guard) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := g.check(r); err != nil {
		if r.Body != nil {
			_ = r.Body.Close()
		}
		return nil, err
	}
	return g.next.RoundTrip(r)
}

func (g *guard) check(r *http.Request) error {
	path, inBase := strings.CutPrefix(r.URL.Path, g.base)
	switch {
	case r.Method == http.MethodPost && g.own != "" && inBase && g.joins(r, path):
		return nil
	case r.Method != http.MethodGet && (r.Method != http.MethodHead || path != "/_ping"):
	case !inBase || r.URL.EscapedPath() != r.URL.Path || !allowed.MatchString(path):
	case r.Body != nil && r.Body != http.NoBody:
	case r.Header.Get("Upgrade") != "":
	default:
		return nil
	}
	return fmt.Errorf("refused to send %s %s to Docker: the agent only reads", r.Method, r.URL.Path)
}

// joins says whether a request joins this process' container to a network, or takes it off one, and does nothing else. The body is compared to
// the byte.
func (g *guard) joins(r *http.Request, path string) bool {
	m := joining.FindStringSubmatch(path)
	if m == nil || !containerID.MatchString(g.own) || r.URL.EscapedPath() != r.URL.Path || r.URL.RawQuery != "" || r.Header.Get("Upgrade") != "" || r.Body == nil {
		return false
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<10))
	_ = r.Body.Close()
	r.Body = io.NopCloser(bytes.NewReader(body))
	r.GetBody, r.ContentLength = nil, int64(len(body))
	if m[1] == "connect" {
		return err == nil && (bytes.Equal(body, connectBody(g.own, "bridge")) || bytes.Equal(body, connectBody(g.own, "other")))
	}
	return err == nil && bytes.Equal(body, disconnectBody(g.own))
}

// containerID is the whole id of a container.
var containerID = regexp.MustCompile(`^[0-9a-f]{64}$`)
