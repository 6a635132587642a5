package nginx

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func registry() *metrics.Registry { return metrics.NewRegistry() }

func begin(cycle uint64) *metrics.Batch {
	b := new(metrics.Batch)
	b.Begin(&metrics.Source{Address: "input.nginx", Type: "nginx", Job: "nginx", Instance: "x", Interval: 15 * time.Second}, cycle, 1767323045000)
	return b
}

func testEnv() *component.Env {
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	return &component.Env{Address: "input.nginx", Type: "nginx", Log: log, Status: component.NewStatus(log), Series: registry(), Version: "test", Pool: component.NewPool()}
}

func mustOpen(t testing.TB, url string, change ...func(*Config)) *input {
	t.Helper()
	c := defaults()
	var err error
	if c.URL, err = config.ParseURL(url); err != nil {
		t.Fatal(err)
	}
	for _, f := range change {
		f(&c)
	}
	if errs := c.Validate(); len(errs) > 0 {
		t.Fatal(errs)
	}
	in, err := openServer(testEnv(), &c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for range 2 {
			if err := in.Stop(context.Background()); err != nil {
				t.Error(err)
			}
		}
	})
	return in
}

// server answers every request with a status and a text.
func server(t testing.TB, status int, text string) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
	}))
	t.Cleanup(s.Close)
	return s
}

func testPage(t testing.TB) []byte {
	t.Helper()
	data, err := os.ReadFile("testdata/vts.json")
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// render writes a batch as a page for people: HELP and TYPE at the first series of a family.
func render(b *metrics.Batch) string {
	var lines []string
	for i := range b.Samples {
		s := &b.Samples[i]
		lines = append(lines, fmt.Sprintf("%s %v", s.Series.Labels(), s.Value))
	}
	var described []string
	for i := range b.Samples {
		d := b.Samples[i].Series.Desc
		described = append(described, fmt.Sprintf("# %s %s %q", d.Name, d.Kind, d.Help))
	}
	slices.Sort(described)
	slices.Sort(lines)
	return strings.Join(slices.Compact(described), "\n") + "\n" + strings.Join(lines, "\n") + "\n"
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (-update writes it anew):\n%s", path, got)
	}
}

func TestStubStatusGivesTheSeriesOfTheExporter(t *testing.T) {
	in := mustOpen(t, server(t, 200, page).URL+"/stub_status")
	b := begin(1)
	if err := in.Collect(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	golden(t, "stub.golden", render(b))
}

func TestVTSIsRecognisedAndGivenUnderBothSetsOfNames(t *testing.T) {
	s := server(t, 200, string(testPage(t)))
	for _, names := range []string{native, legacy} {
		in := mustOpen(t, s.URL+"/status/format/json", func(c *Config) { c.Names = names })
		for cycle := range uint64(2) {
			b := begin(cycle)
			if err := in.Collect(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			golden(t, names+".golden", render(b))
			seen := map[*metrics.Series]bool{}
			for i := range b.Samples {
				if seen[b.Samples[i].Series] {
					t.Errorf("%s stands twice", b.Samples[i].Series.Labels())
				}
				seen[b.Samples[i].Series] = true
			}
		}
	}
}

// The names that the module itself gives, with their types, are on a list of their own.
func TestNativeNamesAreThoseOfTheModule(t *testing.T) {
	list, err := os.ReadFile("testdata/module.txt")
	if err != nil {
		t.Fatal(err)
	}
	s, err := parseVTS(testPage(t))
	if err != nil {
		t.Fatal(err)
	}
	b := begin(1)
	newNative(registry()).collect(b, s)
	got := map[string]bool{}
	for i := range b.Samples {
		d := b.Samples[i].Series.Desc
		got[d.Name+" "+d.Kind.String()] = true
	}
	for line := range strings.Lines(string(list)) {
		if line = strings.TrimSpace(line); !got[line] {
			t.Errorf("%s is missing", line)
		}
		delete(got, line)
	}
	for line := range got {
		t.Errorf("%s is not one of the module's", line)
	}
}

func TestAVirtualHostThatIsGoneLeaves(t *testing.T) {
	full, err := parseVTS(testPage(t))
	if err != nil {
		t.Fatal(err)
	}
	less, _ := parseVTS(testPage(t))
	delete(less.ServerZones, "shop.example.com")
	for _, c := range []vtsCollector{newNative(registry()), newLegacy(registry())} {
		b := begin(1)
		c.collect(b, full)
		before := len(b.Samples)
		b = begin(2)
		c.collect(b, less)
		if len(b.Samples) >= before || strings.Contains(render(b), "shop.example.com") {
			t.Errorf("%d samples, then %d", before, len(b.Samples))
		}
	}
}

func TestANameThatIsTooLongForALabelIsLeftOutAndTold(t *testing.T) {
	whole, long := string(testPage(t)), strings.Repeat("x", maxName+1)
	for _, names := range []string{native, legacy} {
		text := whole
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, text) }))
		defer s.Close()
		in := mustOpen(t, s.URL+"/status/format/json", func(c *Config) { c.Names = names })
		all := begin(1)
		if err := in.Collect(t.Context(), all); err != nil {
			t.Fatal(err)
		}
		texts := map[string]bool{}
		for i := range all.Samples {
			all.Samples[i].Series.RangeOwn(func(name, value string) {
				if name != "__name__" && strings.Count(whole, `"`+value+`"`) > 0 && strings.ContainsAny(value, ".:_/") {
					texts[value] = true
				}
			})
		}
		if len(texts) < 3 {
			t.Fatalf("%s: only %v are names of the page", names, texts)
		}
		for name := range texts {
			text = strings.ReplaceAll(whole, `"`+name+`"`, `"`+long+`"`)
			b := begin(2)
			if err := in.Collect(t.Context(), b); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if len(b.Samples) >= len(all.Samples) && !strings.HasPrefix(name, "1.") && !strings.HasPrefix(name, "v") { // versions are left blank
				t.Errorf("%s: %d samples as before", name, len(b.Samples))
			}
			for i := range b.Samples {
				b.Samples[i].Series.RangeOwn(func(label, value string) {
					if len(value) > maxName {
						t.Errorf("%s: %s has a label %s of %d bytes", name, b.Samples[i].Series.Name(), label, len(value))
					}
				})
			}
			if f := in.status.Faults(); len(f) != 1 || !strings.Contains(f[0].What, "longer than 2048 bytes") || len(f[0].What) > 300 {
				t.Errorf("%s: told %.500v", name, f)
			}
		}
		text = whole
		b := begin(3)
		if err := in.Collect(t.Context(), b); err != nil || len(b.Samples) != len(all.Samples) || len(in.status.Faults()) > 0 {
			t.Errorf("%d of %d samples, %v, %v", len(b.Samples), len(all.Samples), err, in.status.Faults())
		}
	}
}

func TestAFailureIsDataAndSaysWhatToDo(t *testing.T) {
	for _, tt := range []struct {
		name         string
		status       int
		text         string
		change       func(*Config)
		what, remedy string
	}{
		{"404", 404, "<html>404 Not Found</html>", nil, "answered 404", "location = /stub_status { stub_status; allow 127.0.0.1; deny all; }"},
		{"404 of VTS", 404, "", func(c *Config) { c.Format = vts }, "answered 404", "location = /stub_status { vhost_traffic_status_display;"},
		{"403", 403, "<html>403 Forbidden</html>", nil, "answered 403", "location = /stub_status { stub_status; allow ADDRESS; deny all; }"},
		{"401", 401, "", nil, "answered 401", "basic_auth"},
		{"500", 500, "oops", nil, "answered 500", "server's log"},
		{"302", 302, "", nil, "not followed", "write the address"},
		{"plain HTTP to TLS", 400, "<html>\r\n<head><title>400 The plain HTTP request was sent to HTTPS port</title></head>\r\n<body>", nil,
			"The plain HTTP request", "https:// in place of http://"},
		{"no certificate", 400, "<html>\r\n<head><title>400 No required SSL certificate was sent</title></head>\r\n<body>", nil, "No required SSL certificate", "cert_file"},
		{"a certificate of others", 400, "<html>\r\n<head><title>400 The SSL certificate error</title></head>\r\n<body>", nil, "The SSL certificate error", "cert_file"},
		{"HTML", 200, "<html><h1>Welcome to nginx!</h1></html>", nil, "not one of stub_status", "check the URL"},
		{"VTS for people", 200, "<html><title>nginx vhost traffic status monitor</title></html>", nil, "but not its JSON", "/format/json"},
		{"VTS for Prometheus", 200, "# HELP nginx_vts_info Nginx info\n", nil, "but not its JSON", "/format/json"},
		{"JSON of another", 200, `{"a":1}`, nil, "not the JSON of the module VTS", "check the URL"},
		{"the wrong format", 200, page, func(c *Config) { c.Format = vts }, "not the JSON of the module VTS", `format = "vts"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := mustOpen(t, server(t, tt.status, tt.text).URL+"/stub_status", func(c *Config) {
				if tt.change != nil {
					tt.change(c)
				}
			})
			b := begin(1)
			remedy, what := component.Remedy(in.Collect(t.Context(), b))
			if !strings.Contains(what, tt.what) || !strings.Contains(remedy, tt.remedy) {
				t.Errorf("%q, remedy %q", what, remedy)
			}
			if len(b.Samples) != 1 || b.Samples[0].Series.Name() != "nginx_up" || b.Samples[0].Value != 0 {
				t.Errorf("%s", render(b))
			}
		})
	}
}

func TestTheServerIsFoundByItsAddress(t *testing.T) {
	var asked string
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.Host + r.URL.String()
		_, _ = io.WriteString(w, page)
	}))
	path := filepath.Join(t.TempDir(), "nginx.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Listener.Close()
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
	in := mustOpen(t, "http://status.example.com/nginx?x=1", func(c *Config) {
		if c.Address, err = config.ParseAddress("unix:" + path); err != nil {
			t.Fatal(err)
		}
	})
	if err := in.Collect(t.Context(), begin(1)); err != nil {
		t.Fatal(err)
	}
	if asked != "status.example.com/nginx?x=1" || in.Instance() != "unix:"+path {
		t.Errorf("asked for %s, instance %s", asked, in.Instance())
	}
}

func TestInstanceIsTheServersAddress(t *testing.T) {
	for url, want := range map[string]string{
		"http://127.0.0.1:8080/stub_status":      "127.0.0.1:8080",
		"http://web/stub_status":                 "web:80",
		"https://web/stub_status":                "web:443",
		"http://[::1]:81/s":                      "[::1]:81",
		"container://web:8080/stub_status":       "container://web:8080",
		"container://web":                        "container://web:80",
		"compose://shop/web:8080/nginx/status":   "compose://shop/web:8080",
		"compose://shop/web/nginx_status":        "compose://shop/web:80",
		"http://user:hunter2@web:80/stub_status": "web:80",
	} {
		if in := mustOpen(t, url); in.Instance() != want {
			t.Errorf("%s: %s, want %s", url, in.Instance(), want)
		}
	}
}

func TestAPageWithoutAPathIsTheRoot(t *testing.T) {
	in := mustOpen(t, server(t, 404, "").URL)
	if remedy, _ := component.Remedy(in.Collect(t.Context(), begin(1))); !strings.Contains(remedy, "location = / { stub_status;") {
		t.Error(remedy)
	}
}

func TestThePageOfAContainerIsTheOneInTheURL(t *testing.T) {
	for url, want := range map[string]string{
		"container://web":                  "http://web/stub_status",
		"container://web:81/":              "http://web:81/stub_status",
		"container://web/status/":          "http://web/status/",
		"container://web/status?auth=x":    "http://web/status?auth=xxxxx",
		"compose://shop/web":               "http://web/stub_status",
		"compose://shop/web:81/":           "http://web:81/stub_status",
		"compose://shop/web/nginx/status/": "http://web/nginx/status/",
	} {
		c := defaults()
		var err error
		if c.URL, err = config.ParseURL(url); err != nil {
			t.Fatal(err)
		}
		if page, _, err := c.where(); err != nil || page.String() != want {
			t.Errorf("%s: %s, %v; want %s", url, page, err, want)
		}
	}
}

func TestWhatTheConfigCantMeanIsTold(t *testing.T) {
	for url, want := range map[string]string{
		"ftp://web/x":                          "begins with http://",
		"container:///x":                       "without a host",
		"compose://shop/":                      "project and a service",
		"unix:/run/nginx.sock:/stub_status":    `address = "unix:/run/nginx.sock"`,
		"unix:///run/nginx.sock":               `url = "http://localhost/stub_status"`,
		"container://web:8080:1/stub_status":   "",
		"compose://shop/web:99999/stub_status": "port",
	} {
		c := defaults()
		var err error
		if c.URL, err = config.ParseURL(url); err != nil {
			continue // told before
		}
		if errs := c.Validate(); len(errs) == 0 || !strings.Contains(errors.Join(errs...).Error(), want) {
			t.Errorf("%s: %v, want %q", url, errs, want)
		}
	}
	c := defaults()
	c.Format, c.Names = "stub", "nativ"
	if text := errors.Join(c.Validate()...).Error(); !strings.Contains(text, "stub_status, vts") || !strings.Contains(text, `did you mean "native"`) {
		t.Error(text)
	}
}

func TestCheckSaysWhatItSaw(t *testing.T) {
	findings := func(in *input) (out []component.Finding) {
		in.Check(t.Context(), func(f component.Finding) { out = append(out, f) })
		return out
	}
	s := server(t, 200, page)
	if got := findings(mustOpen(t, s.URL+"/x")); len(got) != 1 || got[0].Err != nil || got[0].Detail != "stub_status, 8 series" || got[0].What != "read "+s.URL+"/x" {
		t.Errorf("%+v", got)
	}
	if got := findings(mustOpen(t, server(t, 200, string(testPage(t))).URL)); len(got) != 1 || !strings.HasPrefix(got[0].Detail, "VTS, ") {
		t.Errorf("%+v", got)
	}
	if got := findings(mustOpen(t, server(t, 404, "").URL)); len(got) != 1 || got[0].Err == nil {
		t.Errorf("%+v", got)
	}
}

func TestParsingAndSettingDontAllocate(t *testing.T) {
	series := newStubSeries(registry())
	b := begin(1)
	text := []byte(page)
	series.set(b, &stub{})
	if n := testing.AllocsPerRun(100, func() {
		b.Samples = b.Samples[:0]
		s, err := parseStub(text)
		if err != nil {
			t.Fatal(err)
		}
		series.set(b, &s)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkCollect(b *testing.B) {
	in := mustOpen(b, server(b, 200, page).URL)
	batch := begin(1)
	b.ReportAllocs()
	for b.Loop() {
		batch.Samples = batch.Samples[:0]
		if err := in.Collect(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	text := []byte(page)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parseStub(text); err != nil {
			b.Fatal(err)
		}
	}
}
