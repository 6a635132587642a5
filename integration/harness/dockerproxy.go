//go:build integration

package harness

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"
)

// DockerProxy is a proxy for the engine's socket, of the kind that people put before it: it listens on TCP and lets reading alone pass.
type DockerProxy struct {
	address string

	mu      sync.Mutex // guards what follows
	passed  int
	refused []string
}

// NewDockerProxy starts one on loopback that lives as long as the test.
func NewDockerProxy(t testing.TB) *DockerProxy {
	t.Helper()
	p := &DockerProxy{}
	onward := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: "docker"})
	onward.FlushInterval = -1 // events and logs are to come as they happen
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", DockerSocket)
	}}
	onward.Transport = transport
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.address = l.Addr().String()
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reads := r.Method == http.MethodGet || r.Method == http.MethodHead
		p.mu.Lock()
		if reads {
			p.passed++
		} else {
			p.refused = append(p.refused, r.Method+" "+r.URL.Path)
		}
		p.mu.Unlock()
		if !reads {
			http.Error(w, "only reading is allowed", http.StatusForbidden)
			return
		}
		onward.ServeHTTP(w, r)
	})}
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("the proxy of the socket: %v", err)
		}
	}()
	t.Cleanup(func() {
		server.Close()
		<-served
		transport.CloseIdleConnections()
	})
	return p
}

// URL is what DOCKER_HOST is set to.
func (p *DockerProxy) URL() string { return "tcp://" + p.address }

// Requests are how many came through, and those that didn't.
func (p *DockerProxy) Requests() (passed int, refused []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.passed, append([]string(nil), p.refused...)
}
