package prometheus

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

func (b *bench) get(t *testing.T, path string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	return b.do(t, http.MethodGet, path, headers...)
}

func (b *bench) do(t *testing.T, method, path string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	return w
}

// threeInputs is an output fed by two databases and a host; each pull gives a fresh cycle of the inputs asked.
func threeInputs(t *testing.T) (*bench, *[]string) {
	t.Helper()
	sources := []*metrics.Source{
		{Address: "input.mysql.lottery", Type: "mysql", Job: "mysql", Instance: "lottery_db:3306", Interval: time.Minute},
		{Address: `input.mysql.fleet["a"]`, Type: "mysql", Job: "mysql", Instance: "a:3306", Interval: time.Minute},
		{Address: "input.host", Type: "host", Job: "node", Instance: "nas", Interval: time.Minute},
	}
	var mu sync.Mutex // guards asked and cycle
	var asked []string
	var b *bench
	cycle := uint64(0)
	up := &metrics.Desc{Name: "mysql_up", Help: "h", Kind: metrics.Gauge}
	b = newBench(t, func(env *component.Env, _ *Config) {
		env.Inputs = func() []*metrics.Source { return sources }
		env.Pull = func(_ context.Context, _ time.Duration, only string) []component.Pulled {
			mu.Lock()
			defer mu.Unlock()
			asked = append(asked, only)
			var out []component.Pulled
			for _, s := range sources {
				if only != "" && s.Address != only {
					continue
				}
				cycle++
				b.feed(t, s, cycle, func(batch *metrics.Batch) { batch.Set(b.env.Series.New(up), 1) })
				out = append(out, component.Pulled{Source: s, Done: true, Up: true, Duration: 250 * time.Millisecond})
			}
			return out
		}
	})
	return b, &asked
}

func TestAScrapeRunsTheInputsAndShowsThem(t *testing.T) {
	b, asked := threeInputs(t)
	w := b.get(t, "/metrics")
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "text/plain; version=0.0.4; charset=utf-8; escaping=underscores" {
		t.Fatalf("%d %v", w.Code, w.Header())
	}
	p := parsePage(t, w.Body.String(), false)
	for _, want := range []string{
		`{__name__="mysql_up", instance="a:3306"}`, `{__name__="mysql_up", instance="lottery_db:3306"}`, `{__name__="mysql_up"}`,
		`{__name__="hermod_input_up", input="input.host"}`,
	} {
		if v, ok := p.series[want]; !ok || v != 1 {
			t.Errorf("%s is %g, %v", want, v, ok)
		}
	}
	if v := p.series[`{__name__="hermod_input_last_duration_seconds", input="input.host"}`]; v != 0.25 {
		t.Errorf("the collection took %g s", v)
	}
	if !slices.Equal(*asked, []string{""}) {
		t.Errorf("pulled %q", *asked)
	}
}

func TestInputPicksByAddressPrefixAndShortForm(t *testing.T) {
	for _, c := range []struct {
		query  string
		pulled []string
		shows  []string
	}{
		{"?input=input.mysql.lottery", []string{"input.mysql.lottery"}, []string{"mysql_up 1"}},
		{"?input=mysql.lottery", []string{"input.mysql.lottery"}, []string{"mysql_up 1"}},
		{"?input=mysql.fleet", []string{`input.mysql.fleet["a"]`}, []string{"mysql_up 1"}},
		{"?input=mysql", []string{`input.mysql.fleet["a"]`, "input.mysql.lottery"}, []string{`mysql_up{instance="a:3306"} 1`, `mysql_up{instance="lottery_db:3306"} 1`}},
		{"?input=host&input=mysql.lottery", []string{"input.host", "input.mysql.lottery"}, nil},
		{"?input=input", []string{""}, nil},
	} {
		b, asked := threeInputs(t)
		w := b.get(t, "/metrics"+c.query)
		if w.Code != http.StatusOK {
			t.Errorf("%s: %d %s", c.query, w.Code, w.Body)
			continue
		}
		slices.Sort(*asked)
		if !slices.Equal(*asked, c.pulled) {
			t.Errorf("%s pulled %q, want %q", c.query, *asked, c.pulled)
		}
		for _, line := range c.shows {
			if !strings.Contains(w.Body.String(), "\n"+line+"\n") {
				t.Errorf("%s: %s is missing in\n%s", c.query, line, w.Body)
			}
		}
		if n := strings.Count(w.Body.String(), "hermod_input_up{"); c.pulled[0] != "" && n != len(c.pulled) {
			t.Errorf("%s tells of %d inputs", c.query, n)
		}
	}
	b, _ := threeInputs(t)
	for _, unknown := range []string{"mysql.lotte", "redis", "input.mysql.fleet.a", ""} {
		w := b.get(t, "/metrics?input="+unknown)
		if w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), "input.mysql.lottery\n") || w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("input=%s: %d %s", unknown, w.Code, w.Body)
		}
	}
}

func TestAPageOfOneInputAmongManyIsLaidOutOnce(t *testing.T) {
	b, _ := threeInputs(t)
	queries := []string{"", "?input=host", "?input=mysql.lottery", "?input=mysql"}
	series := b.env.Series.New(&metrics.Desc{Name: "m", Kind: metrics.Gauge})
	b.env.Pull = nil
	for i, s := range b.env.Inputs() {
		b.feed(t, s, 1, func(batch *metrics.Batch) {
			if i == 0 {
				batch.Set(series, 1)
			}
		})
	}
	for _, q := range queries {
		b.get(t, "/metrics"+q)
	}
	before := b.page.builds
	for range 3 {
		for _, q := range queries {
			b.get(t, "/metrics"+q)
		}
	}
	if n := b.page.builds - before; n != 0 {
		t.Errorf("%d pages were laid out anew although nothing changed", n)
	}
}

func TestASlowInputIsShownFromItsLastCollection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fast, slow := hostSource("fast"), &metrics.Source{Address: "input.mysql.slow", Type: "mysql", Interval: time.Minute}
		d := &metrics.Desc{Name: "m", Kind: metrics.Gauge}
		var b *bench
		pulls := 0
		b = newBench(t, func(env *component.Env, _ *Config) {
			env.Inputs = func() []*metrics.Source { return []*metrics.Source{slow, fast} }
			env.Pull = func(ctx context.Context, maxAge time.Duration, _ string) []component.Pulled {
				if maxAge != time.Second {
					t.Errorf("max age %s", maxAge)
				}
				pulls++
				b.feed(t, fast, uint64(pulls+1), func(batch *metrics.Batch) { batch.Set(b.env.Series.New(d, "of", "fast"), float64(pulls)) })
				<-ctx.Done()
				return []component.Pulled{{Source: fast, Done: true, Up: true}, {Source: slow, Up: true}}
			}
		})
		b.feed(t, slow, 1, func(batch *metrics.Batch) { batch.Set(b.env.Series.New(d, "of", "slow"), 42) })
		for _, c := range []struct {
			header string
			waits  time.Duration
		}{{"", 5 * time.Second}, {"10", 9500 * time.Millisecond}, {"0.4", 200 * time.Millisecond}, {"nonsense", 5 * time.Second}, {"-1", 5 * time.Second}, {"NaN", 5 * time.Second}} {
			start := time.Now()
			w := b.get(t, "/metrics", timeoutHeader, c.header)
			if took := time.Since(start); took != c.waits {
				t.Errorf("with a timeout of %q the scrape waited %s, want %s", c.header, took, c.waits)
			}
			p := parsePage(t, w.Body.String(), false)
			for s, want := range map[string]float64{
				`{__name__="m", of="slow"}`: 42, `{__name__="m", of="fast"}`: float64(pulls),
				`{__name__="hermod_input_up", input="input.mysql.slow"}`: 0, `{__name__="hermod_input_up", input="input.host.fast"}`: 1,
			} {
				if got, ok := p.series[s]; !ok || got != want {
					t.Errorf("%s is %g (%v), want %g", s, got, ok, want)
				}
			}
		}
		if n := b.own(t, "hermod_scrape_page_unfinished_total"); int(n) != pulls {
			t.Errorf("%g unfinished inputs counted in %d scrapes", n, pulls)
		}
	})
}

func TestAFailedInputIsDown(t *testing.T) {
	b, _ := threeInputs(t)
	b.env.Pull = func(context.Context, time.Duration, string) []component.Pulled {
		return []component.Pulled{{Source: b.env.Inputs()[0], Done: true, Err: errors.New("refused")}}
	}
	p := parsePage(t, b.get(t, "/metrics").Body.String(), false)
	if up, ok := p.series[`{__name__="hermod_input_up", input="input.mysql.lottery"}`]; !ok || up != 0 {
		t.Errorf("up is %g, %v", up, ok)
	}
}

func TestTooManyScrapesAtOnceAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(env *component.Env, c *Config) {
			c.MaxRequests = 2
			env.Pull = func(ctx context.Context, _ time.Duration, _ string) []component.Pulled { <-ctx.Done(); return nil }
		})
		codes := make(chan int, 3)
		for range 3 {
			go func() { codes <- b.get(t, "/metrics").Code }()
		}
		got := []int{<-codes, <-codes, <-codes}
		slices.Sort(got)
		if !slices.Equal(got, []int{200, 200, 503}) {
			t.Errorf("codes %v", got)
		}
		if w := b.get(t, "/metrics"); w.Code != http.StatusOK {
			t.Errorf("a slot was not given back: %d", w.Code)
		}
	})
}

func TestFormatsAreNegotiated(t *testing.T) {
	b, _ := threeInputs(t)
	const prometheus3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5," +
		"text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
	for accept, want := range map[string]string{
		"":           "text/plain; version=0.0.4; charset=utf-8; escaping=underscores",
		"*/*":        "text/plain; version=0.0.4; charset=utf-8; escaping=underscores",
		"text/plain": "text/plain; version=0.0.4; charset=utf-8; escaping=underscores",
		"text/html,application/xhtml+xml,application/xml;q=0.9": "text/plain; version=0.0.4; charset=utf-8; escaping=underscores",
		"application/openmetrics-text":                          "application/openmetrics-text; version=0.0.1; charset=utf-8; escaping=underscores",
		prometheus3:                                             "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8",
		"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7,text/plain;version=0.0.4;q=0.3": "text/plain; version=0.0.4; charset=utf-8; escaping=underscores",
	} {
		w := b.get(t, "/metrics", "Accept", accept)
		if got := w.Header().Get("Content-Type"); got != want {
			t.Errorf("Accept %q: %s, want %s", accept, got, want)
		}
		om := strings.HasPrefix(want, "application/openmetrics")
		parsePage(t, w.Body.String(), om)
		if strings.HasSuffix(w.Body.String(), "# EOF\n") != om {
			t.Errorf("Accept %q: the page ends with %q", accept, w.Body.String()[max(0, w.Body.Len()-20):])
		}
	}
}

func TestDiscoveryGivesATargetForEachInput(t *testing.T) {
	b, _ := threeInputs(t)
	b.config.Path = "/m"
	get := func(host string) []target {
		w := b.get(t, "http://"+host+"/sd")
		if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/json" {
			t.Fatalf("%d %v", w.Code, w.Header())
		}
		var targets []target
		if err := json.Unmarshal(w.Body.Bytes(), &targets); err != nil {
			t.Fatal(err)
		}
		return targets
	}
	targets := get("nas.lan:9100")
	if len(targets) != 3 {
		t.Fatalf("%d targets", len(targets))
	}
	for _, c := range []struct {
		i     int
		label string
		want  string
	}{
		{0, "job", "node"}, {0, "instance", "nas"}, {0, "__param_input", "input.host"}, {0, "__metrics_path__", "/m"},
		{1, "__param_input", `input.mysql.fleet["a"]`}, {2, "instance", "lottery_db:3306"}, {0, "__scheme__", ""},
	} {
		if got := targets[c.i].Labels[c.label]; got != c.want {
			t.Errorf("target %d: %s is %q, want %q", c.i, c.label, got, c.want)
		}
	}
	if got := targets[0].Targets; !slices.Equal(got, []string{"nas.lan:9100"}) {
		t.Errorf("targets %q", got)
	}
	// What /sd gives is answered.
	for _, target := range targets {
		q := make([]string, 0, 1)
		q = append(q, target.Labels["__param_input"])
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/m", nil)
		r.URL.RawQuery = "input=" + strings.NewReplacer("[", "%5B", "]", "%5D", `"`, "%22").Replace(q[0])
		w := httptest.NewRecorder()
		b.ServeHTTP(w, r)
		if w.Code != http.StatusOK || strings.Contains(w.Body.String(), "instance=") || strings.Contains(w.Body.String(), "job=") {
			t.Errorf("%s: %d\n%s", q, w.Code, w.Body)
		}
	}
	b.config.ExternalAddress, b.config.Path, b.tls = "outside:443", "/metrics", true
	targets = get("nas.lan:9100")
	if targets[0].Targets[0] != "outside:443" || targets[0].Labels["__scheme__"] != "https" || targets[0].Labels["__metrics_path__"] != "" {
		t.Errorf("got %+v", targets[0])
	}
	b.env.Inputs = func() []*metrics.Source { return nil }
	if body := b.get(t, "/sd").Body.String(); body != "[]\n" {
		t.Errorf("without inputs /sd is %q", body)
	}
}

func TestTheLandingPageLinksWhatThereIs(t *testing.T) {
	b, _ := threeInputs(t)
	w := b.get(t, "/")
	for _, want := range []string{`href="/metrics"`, `href="/sd"`, `href="/metrics?input=input.host"`, "input.mysql.fleet%5B%22a%22%5D"} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s is missing in\n%s", want, w.Body)
		}
	}
	if w := b.get(t, "/other"); w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), "/metrics") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestThePageIsOnlyRead(t *testing.T) {
	b, asked := threeInputs(t)
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions} {
		if w := b.do(t, method, "/metrics"); w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: %d %v", method, w.Code, w.Header())
		}
	}
	if w := b.do(t, http.MethodHead, "/metrics"); w.Code != http.StatusOK || w.Body.Len() != 0 || len(*asked) != 0 {
		t.Errorf("HEAD: %d, %d bytes, pulls %q", w.Code, w.Body.Len(), *asked)
	}
}
