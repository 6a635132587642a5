package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/hermod-agent/hermod/pipeline/graph"
)

type fakeAgent struct {
	status  graph.Status
	report  string
	err     error
	reloads int
}

func (a *fakeAgent) Status() graph.Status { return a.status }
func (a *fakeAgent) Reload(context.Context) (string, error) {
	a.reloads++
	return a.report, a.err
}

func newServer(a *fakeAgent) *Server {
	registry := prometheus.NewRegistry()
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "hermod_test", Help: "A value."}, func() float64 { return 7 }))
	return New(Options{Agent: a, Gatherer: registry, Log: slog.New(slog.DiscardHandler), Address: "127.0.0.1:12345"})
}

func ask(s *Server, method, path string, change func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://127.0.0.1:12345"+path, nil)
	r.RemoteAddr = "127.0.0.1:40000"
	r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, net.Addr(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 12345})))
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

func TestPathsAnswer(t *testing.T) {
	s := newServer(&fakeAgent{status: calm()})
	for path, want := range map[string]string{
		"/": "Everything flows.", "/-/healthy": "healthy\n", "/-/ready": "ready\n", "/metrics": "hermod_test 7\n", "/api/graph": `"address": "input.host"`,
	} {
		if w := ask(s, "GET", path, nil); w.Code != 200 || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %d %q", path, w.Code, w.Body)
		}
		if w := ask(s, "HEAD", path, nil); w.Code != 200 {
			t.Errorf("HEAD %s: %d", path, w.Code)
		}
		if w := ask(s, "POST", path, nil); w.Code != http.StatusMethodNotAllowed {
			t.Errorf("POST %s: %d", path, w.Code)
		}
	}
	for _, path := range []string{"/nothing", "/-/", "/api/"} {
		if w := ask(s, "GET", path, nil); w.Code != 404 {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

func TestThePageComesWithAPolicyThatAllowsItsStyleOnly(t *testing.T) {
	w := ask(newServer(&fakeAgent{status: calm()}), "GET", "/?refresh=10", nil)
	policy := w.Header().Get("Content-Security-Policy")
	if !strings.HasPrefix(policy, "default-src 'none'; style-src 'sha256-") || strings.Contains(policy, "unsafe") || strings.Contains(policy, "script-src") {
		t.Errorf("policy %q", policy)
	}
	if w.Header().Get("Refresh") != "10" || w.Header().Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%v", w.Header())
	}
	for _, bad := range []string{"0", "-1", "x", "1;url=http://evil"} {
		if w := ask(newServer(&fakeAgent{status: calm()}), "GET", "/?refresh="+strings.ReplaceAll(bad, ";", "%3B"), nil); w.Header().Get("Refresh") != "" {
			t.Errorf("refresh=%s is taken", bad)
		}
	}
}

func TestReadyTellsWhatItWaitsFor(t *testing.T) {
	a := &fakeAgent{status: calm()}
	a.status.Ready, a.status.NotReady = false, []string{"input.host has not completed a cycle", "evil\x1b[2J"}
	w := ask(newServer(a), "GET", "/-/ready", nil)
	if want := "not ready\ninput.host has not completed a cycle\nevil\\x1b[2J\n"; w.Code != 503 || w.Body.String() != want {
		t.Errorf("%d %q", w.Code, w.Body)
	}
}

func TestTheGraphIsAStatusWithTrends(t *testing.T) {
	w := ask(newServer(&fakeAgent{status: calm()}), "GET", "/api/graph", nil)
	var r Report
	d := json.NewDecoder(w.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		t.Fatal(err)
	}
	if r.Host != "nas" || len(r.Nodes) != 5 || r.Nodes[0].Details[1].Unread != -1 || r.Trends == nil && len(r.Trends) != 0 {
		t.Errorf("%+v", r)
	}
}

func TestReloadAnswers(t *testing.T) {
	a := &fakeAgent{status: calm(), report: "Warning: nobody takes from input.x\n"}
	s := newServer(a)
	if w := ask(s, "POST", "/-/reload", nil); w.Code != 200 || w.Body.String() != "reloaded\n"+a.report {
		t.Errorf("%d %q", w.Code, w.Body)
	}
	a.report, a.err = "Error: no such type\n", errors.New("1 error")
	if w := ask(s, "POST", "/-/reload", nil); w.Code != 400 || !strings.Contains(w.Body.String(), a.report) {
		t.Errorf("%d %q", w.Code, w.Body)
	}
	a.report, a.err = "", errors.New("port in use")
	if w := ask(s, "POST", "/-/reload", nil); w.Code != 400 || !strings.Contains(w.Body.String(), "port in use") {
		t.Errorf("%d %q", w.Code, w.Body)
	}
	if a.reloads != 3 {
		t.Errorf("%d reloads", a.reloads)
	}
	if w := ask(s, "GET", "/-/reload", nil); w.Code != http.StatusMethodNotAllowed || a.reloads != 3 {
		t.Errorf("GET: %d", w.Code)
	}
}

func TestReloadIsRefusedToForeignPages(t *testing.T) {
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	host := func(h string) func(*http.Request) { return func(r *http.Request) { r.Host = h } }
	for name, c := range map[string]struct {
		change func(*http.Request)
		code   int
	}{
		"no origin":              {nil, 200},
		"localhost":              {host("localhost:12345"), 200},
		"localhost, no port":     {host("localhost"), 200},
		"IPv6 loopback":          {host("[::1]:12345"), 200},
		"same origin":            {header("Origin", "http://127.0.0.1:12345"), 200},
		"other origin":           {header("Origin", "http://evil.example"), 403},
		"other port":             {header("Origin", "http://127.0.0.1:8080"), 403},
		"null origin":            {header("Origin", "null"), 403},
		"empty origin":           {header("Origin", ""), 403},
		"origin that is no URL":  {header("Origin", "http://%zz"), 403},
		"cross-site by browser":  {header("Sec-Fetch-Site", "cross-site"), 403},
		"same-site by browser":   {header("Sec-Fetch-Site", "same-site"), 403},
		"same-origin by browser": {header("Sec-Fetch-Site", "same-origin"), 200},
		"rebound name":           {host("evil.example:12345"), 403},
		"rebound name and origin": {func(r *http.Request) {
			r.Host = "evil.example:12345"
			r.Header.Set("Origin", "http://evil.example:12345")
		}, 403},
		"loopback in a name":    {host("127.0.0.1.evil.example"), 403},
		"other address":         {host("192.168.1.2:12345"), 403},
		"no host":               {host(""), 403},
		"localhost as a suffix": {host("evil.localhost.example"), 403},
	} {
		a := &fakeAgent{status: calm()}
		if w := ask(newServer(a), "POST", "/-/reload", c.change); w.Code != c.code || (a.reloads == 1) != (c.code == 200) {
			t.Errorf("%s: %d after %d reloads, want %d", name, w.Code, a.reloads, c.code)
		}
	}
}

func TestReloadUnderTheListenAddress(t *testing.T) {
	a := &fakeAgent{status: calm()}
	s := New(Options{Agent: a, Gatherer: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler), Address: "nas:12345"})
	if w := ask(s, "POST", "/-/reload", func(r *http.Request) { r.Host = "nas:12345" }); w.Code != 200 {
		t.Errorf("the listen address as host: %d", w.Code)
	}
	s = New(Options{Agent: a, Gatherer: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler), Address: "0.0.0.0:12345"})
	came := func(r *http.Request) {
		ctx := context.WithValue(r.Context(), http.LocalAddrContextKey, net.Addr(&net.TCPAddr{IP: net.IPv4(10, 1, 2, 3), Port: 12345}))
		*r = *r.WithContext(ctx)
		r.Host = "10.1.2.3:12345"
	}
	if w := ask(s, "POST", "/-/reload", came); w.Code != 200 {
		t.Errorf("the address of the connection as host: %d", w.Code)
	}
}

func TestProfilesAreForThisMachineOnly(t *testing.T) {
	s := newServer(&fakeAgent{status: calm()})
	if w := ask(s, "GET", "/debug/pprof/", nil); w.Code != 200 || !strings.Contains(w.Body.String(), "goroutine") {
		t.Errorf("%d", w.Code)
	}
	if w := ask(s, "GET", "/debug/pprof/goroutine?debug=1", nil); w.Code != 200 || !strings.Contains(w.Body.String(), "goroutine profile") {
		t.Errorf("%d", w.Code)
	}
	for name, change := range map[string]func(*http.Request){
		"remote client": func(r *http.Request) { r.RemoteAddr = "10.0.0.9:1" },
		"rebound name":  func(r *http.Request) { r.Host = "evil.example" },
		"arrived at another address": func(r *http.Request) {
			*r = *r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, net.Addr(&net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 1})))
		},
	} {
		if w := ask(s, "GET", "/debug/pprof/cmdline", change); w.Code != 403 {
			t.Errorf("%s: %d", name, w.Code)
		}
	}
	open := New(Options{Agent: &fakeAgent{}, Gatherer: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler), Address: "0.0.0.0:12345"})
	if w := ask(open, "GET", "/debug/pprof/", nil); w.Code != 403 {
		t.Errorf("open listener: %d", w.Code)
	}
}

func TestServeEndsWithItsContext(t *testing.T) {
	defer goleak.VerifyNone(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- newServer(&fakeAgent{status: calm()}).Serve(ctx, l) }()
	client := &http.Client{Timeout: time.Minute}
	resp, err := client.Get("http://" + l.Addr().String() + "/-/healthy")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if string(body) != "healthy\n" {
		t.Errorf("%q", body)
	}
	client.CloseIdleConnections()
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("Serve goes on")
	}
	if _, err := client.Get("http://" + l.Addr().String() + "/-/healthy"); err == nil {
		t.Error("the listener is still open")
	}
}

func TestAnOpenListenerIsWarnedOf(t *testing.T) {
	serve := func(contained bool, address string) string {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Skip(err)
		}
		var log bytes.Buffer
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		s := New(Options{Agent: &fakeAgent{}, Gatherer: prometheus.NewRegistry(), Log: slog.New(slog.NewTextHandler(&log, nil)), Address: address, Contained: contained})
		if err := s.Serve(ctx, l); err != nil {
			t.Error(err)
		}
		return log.String()
	}
	if log := serve(false, "0.0.0.0:0"); !strings.Contains(log, "level=WARN") || !strings.Contains(log, "without TLS or a password") {
		t.Errorf("%q", log)
	}
	if log := serve(true, "0.0.0.0:0"); log != "" {
		t.Errorf("in a container: %q", log)
	}
	if log := serve(false, "127.0.0.1:0"); log != "" {
		t.Errorf("on loopback: %q", log)
	}
}
