package prometheus

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/crypto/bcrypt"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// serve starts and runs the output; stop ends it and returns what Run returned.
func (b *bench) serve(t *testing.T) (stop func() error) {
	t.Helper()
	if err := b.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- b.Run(ctx) }()
	stopped := false
	stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		select {
		case err := <-ran:
			return errors.Join(err, b.Stop(context.Background()))
		case <-time.After(time.Minute):
			return errors.New("run doesn't return")
		}
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return stop
}

func fetch(client *http.Client, request *http.Request) (int, string, error) {
	response, err := client.Do(request)
	if err != nil {
		return 0, "", err
	}
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, string(body), errors.Join(err, response.Body.Close())
}

func get(t *testing.T, client *http.Client, url string, change func(*http.Request)) (int, string, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(r)
	}
	return fetch(client, r)
}

func TestThePageIsServedUntilTheEnd(t *testing.T) {
	defer goleak.VerifyNone(t)
	b, _ := threeInputs(t)
	stop := b.serve(t)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	url := "http://" + b.address.String() + "/metrics"
	code, body, err := get(t, client, url, nil)
	if err != nil || code != http.StatusOK {
		t.Fatalf("%d %v", code, err)
	}
	parsePage(t, body, false)
	if d := b.env.Status.Details(); len(d) != 1 || d[0].Name != url || d[0].State != "scraped" || d[0].Last.IsZero() || !strings.Contains(d[0].Note, "1 scrapes") {
		t.Errorf("the row on the status page is %+v", d)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if _, _, err := get(t, client, url, nil); err == nil {
		t.Error("it is still served after the end")
	}
}

func TestAStopLetsScrapesEndWithWhatThereIs(t *testing.T) {
	defer goleak.VerifyNone(t)
	waiting := make(chan struct{})
	source := hostSource("nas")
	b := newBench(t, func(env *component.Env, _ *Config) {
		env.Inputs = func() []*metrics.Source { return []*metrics.Source{source} }
		env.Pull = func(ctx context.Context, _ time.Duration, _ string) []component.Pulled {
			close(waiting)
			<-ctx.Done()
			return []component.Pulled{{Source: source}}
		}
	})
	b.feed(t, source, 1, func(batch *metrics.Batch) {
		batch.Set(b.env.Series.New(&metrics.Desc{Name: "m", Kind: metrics.Gauge}), 1)
	})
	stop := b.serve(t)
	type answer struct {
		code int
		body string
		err  error
	}
	answers := make(chan answer, 1)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+b.address.String()+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set(timeoutHeader, "300")
	go func() {
		code, body, err := fetch(client, request)
		answers <- answer{code, body, err}
	}()
	<-waiting
	if err := stop(); err != nil {
		t.Error(err)
	}
	if a := <-answers; a.err != nil || a.code != http.StatusOK || !strings.Contains(a.body, "\nm 1\n") {
		t.Errorf("the scrape under way got %d %v\n%s", a.code, a.err, a.body)
	}
}

func TestRunServesAgainAfterAFault(t *testing.T) {
	b := newBench(t, nil)
	if err := b.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.config.Listen = b.address.String()
	if err := b.l.Close(); err != nil { // the listener dies below the server
		t.Fatal(err)
	}
	if err := b.Run(t.Context()); err == nil || !strings.Contains(err.Error(), b.config.Listen) {
		t.Fatalf("run on a dead listener returns %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- b.Run(ctx) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	deadline := time.Now().Add(time.Minute)
	for {
		code, _, err := get(t, client, "http://"+b.config.Listen+"/metrics", nil)
		if code == http.StatusOK {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("not served again: %d %v", code, err)
		}
	}
	cancel()
	if err := <-ran; err != nil {
		t.Error(err)
	}
}

func TestAStartWithoutRunGivesThePortBack(t *testing.T) {
	b := newBench(t, nil)
	if err := b.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := b.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	var l net.ListenConfig
	again, err := l.Listen(t.Context(), "tcp", b.address.String())
	if err != nil {
		t.Fatal(err)
	}
	_ = again.Close()
}

func TestAPortInUseSaysWhoMayHoldItAndWhatToDo(t *testing.T) {
	first := newBench(t, nil)
	first.serve(t)
	second := newBench(t, func(_ *component.Env, c *Config) { c.Listen = first.address.String() })
	err := second.Start(t.Context())
	if !errors.Is(err, syscall.EADDRINUSE) {
		t.Fatalf("got %v", err)
	}
	remedy, what := component.Remedy(err)
	if !strings.Contains(what, first.address.String()) || !strings.Contains(remedy, "ss -ltnp") || !strings.Contains(remedy, "listen") {
		t.Errorf("it says %q and %q", what, remedy)
	}
	err = explainListen("0.0.0.0:9100", component.WithRemedy(syscall.EADDRINUSE, "the engine's remedy"))
	remedy, what = component.Remedy(err)
	if !strings.Contains(what, "node_exporter") || strings.Contains(err.Error(), "the engine's remedy") || remedy == "" {
		t.Errorf("for 9100 it says %q and %q", what, remedy)
	}
}

func writeFile(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// certificate writes a certificate for 127.0.0.1 and its key, and returns a pool that trusts it.
func certificate(t *testing.T) (certFile, keyFile string, pool *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "nas"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(certPEM)
	return writeFile(t, "cert.pem", string(certPEM)), writeFile(t, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))), pool
}

func TestWebConfigGuardsThePage(t *testing.T) {
	defer goleak.VerifyNone(t)
	cert, key, pool := certificate(t)
	hash, err := bcrypt.GenerateFromPassword([]byte("right"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	path := writeFile(t, "web.yml", "tls_server_config:\n  cert_file: "+cert+"\n  key_file: "+key+"\nbasic_auth_users:\n  scraper: "+string(hash)+"\n")
	b := newBench(t, func(_ *component.Env, c *Config) { c.WebConfig = path })
	if !b.tls || !b.auth {
		t.Errorf("tls %v, auth %v", b.tls, b.auth)
	}
	stop := b.serve(t)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}}
	url := "https://" + b.address.String()
	for _, path := range []string{"/metrics", "/sd", "/"} {
		for password, want := range map[string]int{"right": http.StatusOK, "wrong": http.StatusUnauthorized, "": http.StatusUnauthorized} {
			code, _, err := get(t, client, url+path, func(r *http.Request) {
				if password != "" {
					r.SetBasicAuth("scraper", password)
				}
			})
			if err != nil || code != want {
				t.Errorf("%s with password %q: %d %v, want %d", path, password, code, err, want)
			}
		}
	}
	if d := b.env.Status.Details(); len(d) != 1 || d[0].Name != url+"/metrics" {
		t.Errorf("the row on the status page is %+v", d)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestFaultyWebConfigsAreToldAtOpen(t *testing.T) {
	for name, c := range map[string]struct{ path, says string }{
		"missing":    {filepath.Join(t.TempDir(), "none.yml"), "doesn't exist"},
		"a folder":   {t.TempDir(), "is not a file"},
		"unknown":    {writeFile(t, "a.yml", "tls_server_confg: {}\n"), "tls_server_confg"},
		"plain text": {writeFile(t, "b.yml", "basic_auth_users:\n  x: plain\n"), "bcrypt"},
		"no cert":    {writeFile(t, "c.yml", "tls_server_config:\n  cert_file: /nowhere\n  key_file: /nowhere\n"), "/nowhere"},
		"large":      {writeFile(t, "d.yml", strings.Repeat("#", maxWebConfig+1)), "at most"},
		"binary":     {writeFile(t, "e.yml", "\x00\xff\xfe"), "faulty"},
	} {
		b := defaults()
		b.WebConfig = c.path
		_, err := open(newBench(t, nil).env, &b)
		var attr *config.AttrError
		if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), c.path) || !errors.As(err, &attr) || attr.Attr != "web_config" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestThePageIsToldByAnAddressThatCanBeOpened(t *testing.T) {
	for listen, want := range map[string]string{
		"0.0.0.0:9100":   "http://127.0.0.1:9100/metrics: listening on all addresses",
		"[::]:9100":      "http://127.0.0.1:9100/metrics: listening on all addresses",
		"127.0.0.1:9100": "http://127.0.0.1:9100/metrics: listening",
		"[::1]:9100":     "http://[::1]:9100/metrics: listening",
	} {
		b := newBench(t, nil)
		address, err := net.ResolveTCPAddr("tcp", listen)
		if err != nil {
			t.Fatal(err)
		}
		b.mu.Lock()
		b.address = address
		b.mu.Unlock()
		rows := b.details()
		if len(rows) != 1 || rows[0].Name+": "+rows[0].State != want {
			t.Errorf("%s is told as %+v", listen, rows)
		}
	}
}

func TestAnExposedPageIsNoted(t *testing.T) {
	for _, c := range []struct {
		listen    string
		tls, auth bool
		noted     bool
	}{
		{"127.0.0.1:9100", false, false, false}, {"localhost:9100", false, false, false}, {"[::1]:9100", false, false, false}, {"127.8.8.8:1", false, false, false},
		{"unix:/run/x", false, false, false}, {":9100", false, false, true}, {"0.0.0.0:9100", false, false, true}, {"[::]:9100", false, false, true},
		{"nas:9100", false, false, true}, {"0.0.0.0:9100", true, false, true}, {"0.0.0.0:9100", false, true, true}, {"0.0.0.0:9100", true, true, false},
	} {
		b := newBench(t, nil)
		b.config.Listen, b.tls, b.auth = c.listen, c.tls, c.auth
		err := b.exposed()
		if (err != nil) != c.noted {
			t.Errorf("%+v: %v", c, err)
		}
		if remedy, _ := component.Remedy(err); err != nil && !strings.Contains(remedy, "web_config") {
			t.Errorf("%+v: no remedy in %v", c, err)
		}
	}
}

func TestConfigsThatCantWorkAreRefused(t *testing.T) {
	good := defaults()
	if faults := good.Validate(); len(faults) != 0 {
		t.Errorf("the defaults are refused: %v", faults)
	}
	for name, change := range map[string]func(*Config){
		"listen: port alone":     func(c *Config) { c.Listen = "9100" },
		"listen: no port":        func(c *Config) { c.Listen = "127.0.0.1" },
		"listen: port too large": func(c *Config) { c.Listen = "127.0.0.1:99999" },
		"listen: named port":     func(c *Config) { c.Listen = "127.0.0.1:http" },
		"listen: empty":          func(c *Config) { c.Listen = "" },
		"listen: unix":           func(c *Config) { c.Listen = "unix:" },
		"path: relative":         func(c *Config) { c.Path = "metrics" },
		"path: root":             func(c *Config) { c.Path = "/" },
		"path: sd":               func(c *Config) { c.Path = "/sd" },
		"path: query":            func(c *Config) { c.Path = "/m?x=1" },
		"max_requests":           func(c *Config) { c.MaxRequests = 0 },
		"scrape_timeout":         func(c *Config) { c.ScrapeTimeout = 0 },
		"external_address":       func(c *Config) { c.ExternalAddress = "https://nas:9100/" },
	} {
		c := defaults()
		change(&c)
		faults := c.Validate()
		attr, _, _ := strings.Cut(name, ":")
		var fault *config.AttrError
		if len(faults) != 1 || !errors.As(faults[0], &fault) || fault.Attr != attr {
			t.Errorf("%s: %v", name, faults)
		}
	}
	if got := good.ListenAddresses(); len(got) != 1 || got[0] != "127.0.0.1:9100" {
		t.Errorf("listen addresses %q", got)
	}
}
