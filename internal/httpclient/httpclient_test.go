package httpclient

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hermod-agent/hermod/internal/porttest"
	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
)

const canary = "s3cr3t-canary"

func parse(t *testing.T, s string) config.URL {
	t.Helper()
	u, err := config.ParseURL(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func client(t *testing.T, u string, cfg Config) *Client {
	t.Helper()
	c, err := New(parse(t, u), cfg, Options{Name: "test", UserAgent: "hermod/test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// echo answers with the request's headers and body.
func echo(t *testing.T) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		user, pass, _ := r.BasicAuth()
		fmt.Fprintf(w, "%s %s|%s|%s|%s|%s|%s|%s", r.Method, r.URL.Path, r.Header.Get("Authorization")+user+pass, r.Header.Get("X-Key"),
			r.Header.Get("User-Agent"), r.Header.Get("X-Scope-Orgid"), r.Header.Get("Host"), body)
	}))
	t.Cleanup(s.Close)
	return s
}

func TestRequestsCarryWhatTheConfigSays(t *testing.T) {
	s := echo(t)
	for name, c := range map[string]struct {
		cfg  Config
		want string
	}{
		"nothing": {Config{}, "POST /push|||hermod/test|team|"},
		"basic":   {Config{BasicAuth: &BasicAuth{Username: "me", Password: config.NewSecret(canary)}}, "me" + canary},
		"bearer":  {Config{BearerToken: config.NewSecret(canary)}, "Bearer " + canary},
		"headers": {Config{Headers: map[string]config.Secret{"x-key": config.NewSecret(canary)}}, "|" + canary + "|"},
	} {
		t.Run(name, func(t *testing.T) {
			reply, err := client(t, s.URL+"/push", c.cfg).Post(t.Context(), http.Header{"X-Scope-Orgid": {"team"}}, []byte("body"))
			if err != nil {
				t.Fatal(err)
			}
			if got := string(reply.Body); reply.Status != 200 || !strings.Contains(got, c.want) || !strings.HasSuffix(got, "|body") {
				t.Errorf("%d %s", reply.Status, got)
			}
		})
	}
	// Credentials in the URL.
	with := strings.Replace(s.URL, "http://", "http://me:"+canary+"@", 1)
	if reply, err := client(t, with, Config{}).Post(t.Context(), nil, nil); err != nil || !strings.Contains(string(reply.Body), "me"+canary) {
		t.Errorf("%v", err)
	}
}

func TestSecretFilesAreReadAgain(t *testing.T) {
	s := echo(t)
	file := filepath.Join(t.TempDir(), "token")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("one\n")
	c := client(t, s.URL, Config{BearerToken: config.NewSecretFile(file)})
	get := func() (string, error) {
		reply, err := c.Post(t.Context(), nil, nil)
		if err != nil {
			return "", err
		}
		return string(reply.Body), nil
	}
	if got, err := get(); err != nil || !strings.Contains(got, "Bearer one|") {
		t.Fatalf("%s %v", got, err)
	}
	write("other\n")
	deadline := time.Now().Add(time.Minute)
	for {
		if got, err := get(); err == nil && strings.Contains(got, "Bearer other|") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the new token is not used")
		}
		time.Sleep(50 * time.Millisecond)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := get(); err != nil {
			explained, permanent := c.Explain(err)
			if !permanent || !strings.Contains(explained.Error(), file) {
				t.Errorf("%v, permanent %v", explained, permanent)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a file that is gone is no fault")
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	followed := false
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { followed = true }))
	defer other.Close()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL+"/there?token="+canary, http.StatusTemporaryRedirect)
	}))
	defer s.Close()
	c := client(t, s.URL, Config{BasicAuth: &BasicAuth{Username: "me", Password: config.NewSecret(canary)}})
	reply, err := c.Post(t.Context(), nil, []byte("x"))
	if err != nil || reply.Status != 307 || followed {
		t.Fatalf("%+v %v followed %v", reply, err, followed)
	}
	got := c.ExplainStatus(reply.Status, "", reply.Header.Get("Location")).Error()
	if !strings.Contains(got, other.URL+"/there") || strings.Contains(got, canary) {
		t.Error(got)
	}
}

// tlsServer is a server with a certificate that only caFile trusts.
func tlsServer(t *testing.T, change func(*tls.Config)) (s *httptest.Server, caFile string) {
	t.Helper()
	s = httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	s.TLS = &tls.Config{}
	if change != nil {
		change(s.TLS)
	}
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.StartTLS()
	t.Cleanup(s.Close)
	caFile = filepath.Join(t.TempDir(), "ca.pem")
	pemText := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(caFile, pemText, 0o600); err != nil {
		t.Fatal(err)
	}
	return s, caFile
}

func TestTLS(t *testing.T) {
	s, ca := tlsServer(t, nil)
	strict, strictCA := tlsServer(t, func(c *tls.Config) { c.ClientAuth = tls.RequireAnyClientCert })
	plain := echo(t)
	for name, c := range map[string]struct {
		url  string
		tls  *TLS
		want string // in the error
	}{
		"unknown authority": {s.URL, nil, "ca_file"},
		"trusted":           {s.URL, &TLS{CAFile: ca}, ""},
		"wrong name":        {s.URL, &TLS{CAFile: ca, ServerName: "elsewhere.test"}, "server_name"},
		"right name":        {s.URL, &TLS{CAFile: ca, ServerName: "example.com"}, ""},
		"not checked":       {s.URL, &TLS{InsecureSkipVerify: true}, ""},
		"no client cert":    {strict.URL, &TLS{CAFile: strictCA}, "cert_file"},
		"not TLS":           {strings.Replace(plain.URL, "http:", "https:", 1), nil, "http://"},
	} {
		t.Run(name, func(t *testing.T) {
			cl := client(t, c.url, Config{TLS: c.tls})
			_, err := cl.Post(t.Context(), nil, []byte("x"))
			if c.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			explained, permanent := cl.Explain(err)
			if remedy, _ := component.Remedy(explained); !permanent || !strings.Contains(remedy, c.want) {
				t.Errorf("%v -> %v, permanent %v", err, explained, permanent)
			}
		})
	}
	if _, err := New(parse(t, s.URL), Config{TLS: &TLS{CAFile: "/nowhere/ca.pem"}}, Options{}); err == nil || !strings.Contains(err.Error(), "/nowhere/ca.pem") {
		t.Errorf("a missing ca_file: %v", err)
	}
	// Plain HTTP to a TLS port is answered with 400, which says nothing about what was sent.
	cl := client(t, strings.Replace(s.URL, "https:", "http:", 1), Config{})
	reply, err := cl.Post(t.Context(), nil, []byte("x"))
	if err != nil || !SpeaksTLS(reply.Status, reply.Body) {
		t.Errorf("%+v %v", reply, err)
	}
	if SpeaksTLS(400, []byte("entry too old")) {
		t.Error("an ordinary 400 counts as a server that wants https")
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	closed := "http://" + porttest.Reserve(t) + "/push"
	release := make(chan struct{})
	hang := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	defer hang.Close()
	defer close(release)
	drop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			conn.Close()
		}
	}))
	defer drop.Close()

	for name, c := range map[string]struct{ url, want string }{
		"refused": {closed, "connection refused"},
		"hangs":   {hang.URL, "in time"},
		"drops":   {drop.URL, "closed the connection"},
	} {
		t.Run(name, func(t *testing.T) {
			u := strings.Replace(c.url, "http://", "http://me:"+canary+"@", 1) + "?token=" + canary
			cl := client(t, u, Config{})
			timeout := time.Minute
			if name == "hangs" {
				timeout = 100 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			defer cancel()
			_, err := cl.Post(ctx, nil, []byte("x"))
			if err == nil {
				t.Fatal("no error")
			}
			explained, permanent := cl.Explain(err)
			if remedy, _ := component.Remedy(explained); permanent || remedy == "" || !strings.Contains(explained.Error(), c.want) {
				t.Errorf("%v, permanent %v", explained, permanent)
			}
			if strings.Contains(explained.Error(), canary) {
				t.Errorf("a secret is shown: %v", explained)
			}
		})
	}
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"no such host": {&net.OpError{Op: "dial", Err: &net.DNSError{Name: "loki", IsNotFound: true}}, `host "loki"`},
		"name server":  {&net.DNSError{Name: "loki", Err: "i/o timeout", IsTimeout: true}, "name server"},
		"proxy":        {&net.OpError{Op: "proxyconnect", Err: errors.New("refused")}, "proxy_url"},
		"other":        {errors.New("strange"), "strange"},
	} {
		wrapped := &url.Error{Op: "Post", URL: "http://x?token=" + canary, Err: c.err}
		explained, _ := explain(wrapped, parse(t, "http://loki:3100/push?token="+canary), false)
		if got := explained.Error(); !strings.Contains(got, c.want) || strings.Contains(got, canary) {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestStatusesSayWhatToDo(t *testing.T) {
	c := client(t, "http://me:"+canary+"@loki:3100/push", Config{})
	b := client(t, "http://loki:3100/push", Config{BasicAuth: &BasicAuth{Username: "bob", Password: config.NewSecret(canary)}})
	for _, x := range []struct {
		client *Client
		status int
		want   string
	}{
		{c, 401, `user "me"`}, {b, 401, `user "bob"`}, {b, 401, "basic_auth"}, {b, 403, "tenant"}, {c, 404, "path"}, {c, 405, "path"},
		{c, 407, "proxy_url"}, {c, 429, "limits"}, {c, 500, "log"}, {c, 503, "log"}, {c, 415, "kind of server"}, {c, 418, "URL"},
	} {
		err := x.client.ExplainStatus(x.status, "its words", "")
		remedy, what := component.Remedy(err)
		if !strings.Contains(err.Error(), x.want) || remedy == "" || !strings.Contains(what, "its words") || !strings.Contains(what, fmt.Sprint(x.status)) {
			t.Errorf("%d: %v", x.status, err)
		}
		if strings.Contains(err.Error(), canary) {
			t.Errorf("a secret is shown: %v", err)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	good := Config{
		BasicAuth: &BasicAuth{Username: "me", Password: config.NewSecret("x")},
		Headers:   map[string]config.Secret{"X-Key": config.NewSecret("x")},
		TLS:       &TLS{CertFile: "a", KeyFile: "b", MinVersion: "1.3"}, ProxyURL: parse(t, "http://proxy:3128"),
	}
	if errs := append(append(good.Validate(), good.BasicAuth.Validate()...), good.TLS.Validate()...); len(errs) > 0 {
		t.Error(errs)
	}
	bad := Config{
		BasicAuth: &BasicAuth{Username: "a:b"}, BearerToken: config.NewSecret("x"),
		Headers:  map[string]config.Secret{"Content-Type": {}, "authorization": {}, "a b": {}},
		TLS:      &TLS{CertFile: "a", MinVersion: "2"},
		ProxyURL: parse(t, "ftp://proxy:3128"),
	}
	if errs := append(append(bad.Validate(), bad.BasicAuth.Validate()...), bad.TLS.Validate()...); len(errs) != 8 {
		t.Errorf("%d errors: %v", len(errs), errs)
	}
	for _, u := range []config.URL{{}, parse(t, "ftp://x/")} {
		if _, err := New(u, Config{}, Options{}); err == nil {
			t.Errorf("%s is taken", u)
		}
	}
}

func TestWarnings(t *testing.T) {
	for _, c := range []struct {
		url  string
		cfg  Config
		want int
	}{
		{"http://loki:3100/", Config{}, 0},
		{"http://loki:3100/", Config{BearerToken: config.NewSecret("x")}, 1},
		{"http://127.0.0.1:3100/", Config{BearerToken: config.NewSecret("x")}, 0},
		{"https://loki:3100/", Config{BearerToken: config.NewSecret("x")}, 0},
		{"https://loki:3100/", Config{TLS: &TLS{InsecureSkipVerify: true}}, 1},
	} {
		status := component.NewStatus(slog.New(slog.DiscardHandler))
		client(t, c.url, c.cfg).Warn(status)
		if got := status.Faults(); len(got) != c.want {
			t.Errorf("%s: %+v", c.url, got)
		}
	}
}

// Whatever lies between, Close reaches the connections.
func TestCloseClosesTheKeptConnections(t *testing.T) {
	for name, cfg := range map[string]Config{
		"nothing": {},
		"all":     {Headers: map[string]config.Secret{"X-Key": config.NewSecret("x")}, BasicAuth: &BasicAuth{Username: "me", Password: config.NewSecret("x")}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, get := range []bool{true, false} {
				ended := make(chan struct{})
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { l.Close() })
				go func() {
					defer close(ended)
					c, err := l.Accept()
					if err != nil {
						return
					}
					defer c.Close()
					in := bufio.NewReader(c)
					r, err := http.ReadRequest(in)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, r.Body)
					_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
					_, _ = in.ReadByte() // until the other side closes
				}()
				c := client(t, "http://"+l.Addr().String(), cfg)
				if get {
					_, err = c.Get(t.Context(), nil, 100)
				} else {
					_, err = c.Post(t.Context(), nil, []byte("x"))
				}
				if err != nil {
					t.Fatal(err)
				}
				select {
				case <-ended:
					t.Fatal("the connection was not kept")
				default:
				}
				c.Close()
				select {
				case <-ended:
				case <-time.After(time.Minute):
					t.Fatal("the connection is still open")
				}
			}
		})
	}
}
