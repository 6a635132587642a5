package remotewrite

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/prompb"
	"go.uber.org/goleak"

	"github.com/hermod-agent/hermod/internal/httpclient"
	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
	"github.com/hermod-agent/hermod/pipeline/metrics"
	"github.com/hermod-agent/hermod/pipeline/queue"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func decode(t testing.TB, body []byte) *prompb.WriteRequest {
	t.Helper()
	raw, err := snappy.Decode(nil, body)
	if err != nil {
		t.Fatal(err)
	}
	var r prompb.WriteRequest
	if err := r.Unmarshal(raw); err != nil {
		t.Fatal(err)
	}
	return &r
}

// receiver holds what it gets to the specification of remote write 1.0 and keeps it.
type receiver struct {
	*httptest.Server
	mu       sync.Mutex
	answer   func(w http.ResponseWriter, p *prompb.WriteRequest) bool // true: it has answered
	requests []*prompb.WriteRequest
	times    []time.Time
	headers  []http.Header
	last     map[string]int64 // newest time of each series
}

func newReceiver(t *testing.T) *receiver {
	s := &receiver{last: map[string]int64{}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("body: %v", err)
			return
		}
		for name, want := range map[string]string{
			"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy", "X-Prometheus-Remote-Write-Version": "0.1.0",
			"User-Agent": "hermod/test",
		} {
			if got := r.Header.Get(name); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		if r.Method != http.MethodPost {
			t.Errorf("method %s", r.Method)
		}
		raw, err := snappy.Decode(nil, body)
		p := &prompb.WriteRequest{}
		if err == nil {
			err = p.Unmarshal(raw)
		}
		if err != nil {
			t.Error(err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.times = append(s.times, time.Now())
		if s.answer != nil && s.answer(w, p) {
			return
		}
		for _, ts := range p.Timeseries {
			s.check(t, ts)
		}
		s.requests, s.headers = append(s.requests, p), append(s.headers, r.Header.Clone())
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(s.Close)
	return s
}

// check holds a series to the specification.
func (s *receiver) check(t *testing.T, ts prompb.TimeSeries) {
	if len(ts.Labels) == 0 || ts.Labels[0].Name != "__name__" || ts.Labels[0].Value == "" {
		t.Errorf("no __name__ in front: %v", ts.Labels)
	}
	for i, l := range ts.Labels {
		if l.Name == "" || l.Value == "" {
			t.Errorf("an empty label: %v", ts.Labels)
		}
		if i > 0 && ts.Labels[i-1].Name >= l.Name {
			t.Errorf("labels that are not sorted or not unique: %v", ts.Labels)
		}
		if l.Name != "__name__" && strings.HasPrefix(l.Name, "__") {
			t.Errorf("an internal label: %v", ts.Labels)
		}
	}
	key := fmt.Sprint(ts.Labels)
	for _, x := range ts.Samples {
		if x.Timestamp <= s.last[key] {
			t.Errorf("%s: time %d after %d", key, x.Timestamp, s.last[key])
		}
		s.last[key] = x.Timestamp
	}
}

// samples counts what was stored.
func (s *receiver) samples() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, r := range s.requests {
		for _, ts := range r.Timeseries {
			n += len(ts.Samples)
		}
	}
	return n
}

func testEnv() *component.Env {
	log := slog.New(slog.DiscardHandler)
	return &component.Env{
		Address: "output.remote_write.main", Type: "remote_write", Name: "main", Log: log, Status: component.NewStatus(log),
		Losses: new(component.Losses), Self: prometheus.NewRegistry(), Pool: component.NewPool(), Version: "test",
		AgentLabels: labels.FromStrings("site", "home", "device", "never"),
	}
}

func parseURL(t testing.TB, s string) config.URL {
	t.Helper()
	u, err := config.ParseURL(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func newOutput(t testing.TB, url string, change func(*Config), changeEnv ...func(*component.Env)) *output {
	t.Helper()
	cfg := defaults()
	cfg.URL = parseURL(t, url)
	if change != nil {
		change(&cfg)
	}
	env := testEnv()
	for _, change := range changeEnv {
		change(env)
	}
	o, err := open(env, &cfg)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func running(t *testing.T, url string, change func(*Config), changeEnv ...func(*component.Env)) *output {
	t.Helper()
	o := newOutput(t, url, change, changeEnv...)
	if err := o.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- o.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		if err := o.Stop(ctx); err != nil {
			t.Errorf("Stop: %v", err)
		}
	})
	return o
}

func flush(t *testing.T, o *output) {
	t.Helper()
	ctx, cancel := context.WithTimeout(component.WithHurry(context.Background()), 5*time.Minute)
	defer cancel()
	if err := o.Flush(ctx); err != nil {
		t.Fatalf("Flush: %v", err)
	}
	balance(t, o)
}

func balance(t *testing.T, o *output) component.Traffic {
	t.Helper()
	tr := o.Traffic()
	lost := uint64(0)
	for _, n := range o.env.Losses.Counts() {
		lost += n
	}
	if tr.Taken != tr.Delivered+tr.Queued+lost {
		t.Errorf("traffic %+v, losses %v", tr, o.env.Losses.Counts())
	}
	return tr
}

// fixture is a source with n series of two families.
type fixture struct {
	source *metrics.Source
	series []*metrics.Series
	batch  metrics.Batch
	cycle  uint64
	at     int64
}

func newFixture(n int) *fixture {
	reg := metrics.NewRegistry()
	bytes := &metrics.Desc{Name: "node_network_receive_bytes_total", Help: "Network device statistic receive_bytes.", Kind: metrics.Counter}
	temp := &metrics.Desc{Name: "node_hwmon_temp_celsius", Help: "Hardware monitor for temperature (input)", Kind: metrics.Gauge, Unit: "celsius"}
	f := &fixture{source: &metrics.Source{Address: "input.host", Job: "node", Instance: "nas"}, at: 1_758_439_812_000}
	for i := range n {
		d := bytes
		if i%2 == 1 {
			d = temp
		}
		f.series = append(f.series, reg.New(d, "device", fmt.Sprintf("eth%d", i), "empty", "", "__meta", "x", "operstate", "up"))
	}
	return f
}

// next fills the batch for the next cycle.
func (f *fixture) next() *metrics.Batch {
	f.cycle++
	f.at += 15_000
	f.batch.Begin(f.source, f.cycle, f.at)
	for i, s := range f.series {
		f.batch.Set(s, float64(f.cycle)*1000+float64(i))
	}
	return &f.batch
}

func consume(t *testing.T, o *output, b *metrics.Batch) {
	t.Helper()
	if err := o.ConsumeMetrics(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	clear(b.Samples) // the batch is dead now
}

func TestSamplesArriveAsTheSpecificationSays(t *testing.T) {
	for _, shards := range []int{1, 4} {
		s := newReceiver(t)
		o := running(t, s.URL+"/api/v1/write", func(c *Config) { c.MaxSamples = 100; c.Tenant = "team"; c.Delivery.Shards = shards })
		f := newFixture(250)
		for range 5 {
			consume(t, o, f.next())
		}
		flush(t, o)
		if got := s.samples(); got != 1250 {
			t.Errorf("%d samples", got)
		}
		got := s.requests[0].Timeseries[0].Labels
		text := fmt.Sprint(got)
		for _, want := range []string{"job", "node", "instance", "nas", "site", "home", "operstate"} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: %s is missing", text, want)
			}
		}
		if strings.Contains(text, "never") {
			t.Errorf("an agent label overrides: %s", text)
		}
		if got := s.headers[0].Get("X-Scope-OrgID"); got != "team" {
			t.Errorf("tenant %q", got)
		}
		for _, r := range s.requests {
			if len(r.Timeseries) > 100 {
				t.Errorf("%d series in a request", len(r.Timeseries))
			}
		}
	}
}

func TestSpecialValuesKeepTheirBits(t *testing.T) {
	s := newReceiver(t)
	o := running(t, s.URL+"/api/v1/write", nil)
	f := newFixture(1)
	want := []uint64{value.StaleNaN, value.NormalNaN, math.Float64bits(math.Inf(1)), math.Float64bits(math.Inf(-1)), 0, math.Float64bits(math.Copysign(0, -1)), math.Float64bits(1.5)}
	for _, bits := range want {
		b := f.next()
		b.Samples[0].Value = math.Float64frombits(bits)
		consume(t, o, b)
	}
	flush(t, o)
	var got []uint64
	for _, r := range s.requests {
		for _, ts := range r.Timeseries {
			got = append(got, math.Float64bits(ts.Samples[0].Value))
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
}

func TestMetadataIsSentOncePerInterval(t *testing.T) {
	o := newOutput(t, "http://x/write", nil)
	if err := o.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := o.Stop(ctx); err != nil {
			t.Error(err)
		}
	}()
	f := newFixture(10)
	for range 3 {
		consume(t, o, f.next())
	}
	got := map[string]prompb.MetricMetadata{}
	n := 0
	for _, m := range decodeRaw(t, o).Metadata {
		got[m.MetricFamilyName] = m
		n++
	}
	want := map[string]prompb.MetricMetadata{
		"node_network_receive_bytes_total": {Type: prompb.MetricMetadata_COUNTER, MetricFamilyName: "node_network_receive_bytes_total", Help: "Network device statistic receive_bytes."},
		"node_hwmon_temp_celsius":          {Type: prompb.MetricMetadata_GAUGE, MetricFamilyName: "node_hwmon_temp_celsius", Help: "Hardware monitor for temperature (input)", Unit: "celsius"},
	}
	if n != 2 || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%d: %v", n, got)
	}
	for _, fam := range o.families {
		fam.due = 0 // the interval has passed
	}
	consume(t, o, f.next())
	if n := len(decodeRaw(t, o).Metadata); n != 4 {
		t.Errorf("%d after an interval", n)
	}
}

// decodeRaw decodes what is in the open batch of shard 0.
func decodeRaw(t *testing.T, o *output) *prompb.WriteRequest {
	t.Helper()
	var r prompb.WriteRequest
	if err := r.Unmarshal(o.batches[0].Builder().(*builder).raw); err != nil {
		t.Fatal(err)
	}
	return &r
}

func TestMetadataCanBeLeftOut(t *testing.T) {
	s := newReceiver(t)
	o := running(t, s.URL+"/w", func(c *Config) { c.MetadataInterval = 0 })
	consume(t, o, newFixture(4).next())
	flush(t, o)
	if n := len(s.requests[0].Metadata); n != 0 {
		t.Errorf("%d metadata", n)
	}
}

func TestServerFaultsAreTriedAgain(t *testing.T) {
	for _, status := range []int{500, 503, 429} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			s := newReceiver(t)
			n := 0
			s.answer = func(w http.ResponseWriter, _ *prompb.WriteRequest) bool {
				n++
				if n == 1 {
					if status != 500 {
						w.Header().Set("Retry-After", "2")
					}
					http.Error(w, "busy", status)
				}
				return n == 1
			}
			o := running(t, s.URL+"/w", nil)
			consume(t, o, newFixture(10).next())
			flush(t, o)
			if got := s.samples(); got != 10 {
				t.Errorf("%d samples", got)
			}
			least := 900 * time.Millisecond
			if status != 500 {
				least = 2 * time.Second
			}
			if pause := s.times[1].Sub(s.times[0]); pause < least {
				t.Errorf("tried again after %s", pause)
			}
		})
	}
}

func TestRefusedSamplesAreFoundAndTheOthersStored(t *testing.T) {
	for words, reason := range map[string]string{
		"out of order sample":            "rejected_out_of_order",
		"duplicate sample for timestamp": "rejected_duplicate_timestamp",
		"too old sample":                 "rejected_too_old",
		"out of bounds":                  "rejected_out_of_bounds",
		"failed pushing to ingester: user=a: the sample has been rejected because its timestamp is too old (err-mimir-sample-timestamp-too-old). The affected sample": "rejected_too_old",
		"the sample has been rejected because another sample with the same timestamp, but a different value, has already been ingested":                               "rejected_duplicate_timestamp",
	} {
		t.Run(reason, func(t *testing.T) {
			s := newReceiver(t)
			s.answer = func(w http.ResponseWriter, p *prompb.WriteRequest) bool { // as Prometheus does: all or nothing
				for _, ts := range p.Timeseries {
					if strings.Contains(fmt.Sprint(ts.Labels), "eth77 ") {
						http.Error(w, words, http.StatusBadRequest)
						return true
					}
				}
				return false
			}
			o := running(t, s.URL+"/w", nil)
			consume(t, o, newFixture(500).next())
			flush(t, o)
			if got, losses := s.samples(), o.env.Losses.Counts(); got != 499 || !maps.Equal(losses, map[string]uint64{reason: 1}) {
				t.Errorf("%d stored, losses %v", got, losses)
			}
		})
	}
}

func TestEveryReasonSaysWhatToDo(t *testing.T) {
	for _, r := range refusals() {
		if new(output).Advice(r.name) == "" {
			t.Errorf("%s has no advice", r.name)
		}
	}
}

func TestOtherRefusalsAreNotTriedAgain(t *testing.T) {
	for words, reason := range map[string]string{
		"send failed: per-user series limit of 150000 exceeded (err-mimir-max-series-per-user)": "rejected_series_limit",
		"nonsense": "rejected_other",
	} {
		s := newReceiver(t)
		s.answer = func(w http.ResponseWriter, _ *prompb.WriteRequest) bool {
			http.Error(w, words, http.StatusBadRequest)
			return true
		}
		o := running(t, s.URL+"/w", nil)
		consume(t, o, newFixture(50).next())
		flush(t, o)
		if losses := o.env.Losses.Counts(); !maps.Equal(losses, map[string]uint64{reason: 50}) || len(s.times) != 1 {
			t.Errorf("losses %v after %d requests", losses, len(s.times))
		}
	}
}

func TestTooLargeBodiesAreSplit(t *testing.T) {
	s := newReceiver(t)
	metadata := 0
	s.answer = func(w http.ResponseWriter, p *prompb.WriteRequest) bool {
		if len(p.Timeseries) > 7 {
			http.Error(w, "too large", http.StatusRequestEntityTooLarge)
			return true
		}
		metadata += len(p.Metadata)
		return false
	}
	o := running(t, s.URL+"/w", nil)
	f := newFixture(60)
	consume(t, o, f.next())
	consume(t, o, f.next())
	flush(t, o)
	if got := s.samples(); got != 120 || metadata != 2 {
		t.Errorf("%d samples, %d metadata", got, metadata)
	}
}

func TestWhatIsWrongIsSaidWithARemedy(t *testing.T) {
	const canary = "s3cr3t"
	for name, c := range map[string]struct {
		status int
		words  string
		want   []string
	}{
		"receiver off":   {404, "remote write receiver needs to be enabled with --web.enable-remote-write-receiver", []string{"404", "start that Prometheus with --web.enable-remote-write-receiver"}},
		"wrong path":     {404, "404 page not found", []string{"/api/v1/write", "/api/v1/push"}},
		"no tenant":      {401, "no org id", []string{"set tenant"}},
		"wrong password": {401, "", []string{"401", `user "hermod"`, "basic_auth"}},
		"forbidden":      {403, "", []string{"403", `user "hermod"`}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newReceiver(t)
			s.answer = func(w http.ResponseWriter, _ *prompb.WriteRequest) bool {
				http.Error(w, c.words, c.status)
				return true
			}
			o := running(t, s.URL+"/w?key="+canary, func(cfg *Config) {
				cfg.HTTP.BasicAuth = &httpclient.BasicAuth{Username: "hermod", Password: config.NewSecret(canary)}
				cfg.Delivery.BatchWait = config.Duration(10 * time.Millisecond)
			})
			consume(t, o, newFixture(3).next())
			deadline := time.Now().Add(time.Minute)
			for len(o.env.Status.Faults()) == 0 {
				if time.Now().After(deadline) {
					t.Fatal("no fault")
				}
				time.Sleep(5 * time.Millisecond)
			}
			f := o.env.Status.Faults()[0]
			text := f.What + ": " + f.Remedy
			for _, want := range c.want {
				if !strings.Contains(text, want) {
					t.Errorf("%s: %q is missing", text, want)
				}
			}
			if strings.Contains(text, canary) || f.Note || f.Remedy == "" {
				t.Errorf("%+v", f)
			}
			if tr := balance(t, o); tr.Queued != 3 {
				t.Errorf("traffic %+v", tr)
			}
		})
	}
}

func TestDefinitionSaysThatItPushes(t *testing.T) {
	if !Definition.Pushes || Definition.Takes != component.Metrics {
		t.Errorf("%+v", Definition)
	}
}

func TestConfigIsChecked(t *testing.T) {
	good := defaults()
	good.URL = parseURL(t, "https://mimir/api/v1/push")
	if errs := good.Validate(); len(errs) > 0 {
		t.Error(errs)
	}
	for name, change := range map[string]func(*Config){
		"no path":  func(c *Config) { c.URL = parseURL(t, "http://mimir/") },
		"no HTTP":  func(c *Config) { c.URL = parseURL(t, "ftp://mimir/x") },
		"tenant":   func(c *Config) { c.Tenant = "a\nb" },
		"samples":  func(c *Config) { c.MaxSamples = 0 },
		"metadata": func(c *Config) { c.MetadataInterval = 1 },
		"gzip":     func(c *Config) { c.Compression = "gzip" },
	} {
		c := good
		change(&c)
		if errs := c.Validate(); len(errs) != 1 {
			t.Errorf("%s: %v", name, errs)
		}
	}
}

func TestBrokenBodyIsAnErrorAndNoPanic(t *testing.T) {
	o := newOutput(t, "http://x/w", nil)
	for _, body := range [][]byte{nil, []byte("nonsense"), snappy.Encode(nil, []byte("\x0a\xff")), {0xff, 0xff, 0xff, 0xff, 0x0f}} {
		first, second, err := o.Split(&queue.Block{Body: body, Items: 2})
		if err == nil && first.Items+second.Items > 0 {
			t.Errorf("%q was split", body)
		}
	}
}

// wait polls a condition that another goroutine brings about.
func wait(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it doesn't happen")
		}
	}
}
