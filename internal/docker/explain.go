package docker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"strconv"
	"strings"
	"syscall"

	"github.com/hermod-agent/hermod/pipeline/component"
)

// explain says why the engine at e can't be reached and what to do about it. It looks at the socket itself: the causes of err are lost
// on their way through the client library.
func explain(ctx context.Context, e Endpoint, err error) error {
	if remedy, _ := component.Remedy(err); remedy != "" {
		return err
	}
	conn, dialErr := (&net.Dialer{}).DialContext(ctx, e.Network, e.Address)
	if dialErr == nil {
		_ = conn.Close()
		return explainAnswer(e, err)
	}
	if e.Network == "unix" {
		return explainSocket(e, dialErr)
	}
	return component.WithRemedy(fmt.Errorf("no Docker engine at %s: %w", e, dialErr),
		"check the address and that the engine listens there, or unset DOCKER_HOST to use its socket")
}

func explainSocket(e Endpoint, err error) error {
	path := e.Address
	if st, statErr := os.Stat(path); statErr == nil && st.Mode()&os.ModeSocket == 0 {
		return component.WithRemedy(fmt.Errorf("%s is not a socket", path),
			"mount the socket itself: a missing one is made as a folder by docker run -v; set DOCKER_HOST if Docker listens elsewhere")
	}
	switch {
	case errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENOTDIR):
		return component.WithRemedy(fmt.Errorf("no Docker socket at %s", path),
			"in a container add -v /var/run/docker.sock:/var/run/docker.sock:ro to docker run; elsewhere start Docker, or set DOCKER_HOST")
	case errors.Is(err, os.ErrPermission):
		st, statErr := os.Stat(path)
		if statErr != nil {
			return component.WithRemedy(fmt.Errorf("the Docker socket %s can't be reached by user %d: %w", path, os.Getuid(), statErr),
				"let this user enter the folders on the way to it, or run the agent as root")
		}
		gid, owner := 0, ""
		if sys, ok := st.Sys().(*syscall.Stat_t); ok {
			gid = int(sys.Gid)
			owner = fmt.Sprintf(": it belongs to group %d", gid)
			if g, err := user.LookupGroupId(strconv.Itoa(gid)); err == nil {
				owner += " (" + g.Name + ")"
			}
		}
		remedy := fmt.Sprintf("add --group-add %d to docker run, or that group to the agent's user, or run the agent as root", gid)
		if gid == 0 || st.Mode().Perm()&0o060 != 0o060 {
			remedy = "run the agent as root (--user 0 in docker run), or give the socket a group of its own"
		}
		return component.WithRemedy(fmt.Errorf("user %d may not use the Docker socket %s%s", os.Getuid(), path, owner), remedy)
	case errors.Is(err, syscall.ECONNREFUSED):
		return component.WithRemedy(fmt.Errorf("nobody listens on the Docker socket %s", path),
			"start Docker (systemctl start docker); if the agent runs in a container and Docker was started anew, mount the folder of the socket or restart the container")
	}
	return component.WithRemedy(fmt.Errorf("connect to the Docker socket %s: %w", path, err), "check that Docker runs and that this is its socket")
}

// explainAnswer is for an engine that takes connections.
func explainAnswer(e Endpoint, err error) error {
	var api *Error
	text := err.Error()
	switch {
	case errors.As(err, &api) && (api.Status == 403 || api.Status == 401):
		return component.WithRemedy(err, "the proxy before Docker refuses it: allow GET on /containers, /events, /info, /version and /_ping "+
			"(CONTAINERS=1, EVENTS=1, INFO=1 for docker-socket-proxy)")
	case strings.Contains(text, "minimum supported API version"), strings.Contains(text, "is too new"), strings.Contains(text, "is too old"):
		return component.WithRemedy(fmt.Errorf("docker at %s: %w", e, err), "the agent needs Docker 19.03 (API 1.40) or newer: update Docker")
	case strings.Contains(text, "malformed HTTP"), strings.Contains(text, "HTTP/1.x transport connection broken"):
		return component.WithRemedy(fmt.Errorf("%s: %w", e, errNotHTTP), "check the address; for an engine with TLS set DOCKER_CERT_PATH and DOCKER_TLS_VERIFY")
	}
	return component.WithRemedy(fmt.Errorf("docker at %s: %w", e, err), "see whether docker ps answers, and what the engine's own log says")
}
