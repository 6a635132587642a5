package loki

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/grafana/loki/pkg/push"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
	"github.com/hermod-agent/hermod/pipeline/logs"
	"github.com/hermod-agent/hermod/pipeline/queue"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is a Loki that decodes and keeps what it gets.
type server struct {
	*httptest.Server
	mu      sync.Mutex
	answer  func(w http.ResponseWriter, r *http.Request, p *push.PushRequest) bool // true: it has answered
	pushes  []*push.PushRequest
	headers []http.Header
}

func newServer(t *testing.T) *server {
	s := &server{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("body: %v", err)
			return
		}
		raw, err := snappy.Decode(nil, body)
		p := &push.PushRequest{}
		if err == nil {
			err = p.Unmarshal(raw)
		}
		if err != nil || r.Method != http.MethodPost || r.URL.Path != pushPath || r.Header.Get("Content-Type") != "application/x-protobuf" {
			t.Errorf("%s %s %v: %v", r.Method, r.URL.Path, r.Header, err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.answer != nil && s.answer(w, r, p) {
			return
		}
		s.pushes, s.headers = append(s.pushes, p), append(s.headers, r.Header.Clone())
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(s.Close)
	return s
}

// lines are the stored lines by "tenant labels".
func (s *server) lines() map[string][]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string][]string{}
	for i, p := range s.pushes {
		for _, st := range p.Streams {
			key := strings.TrimSpace(s.headers[i].Get("X-Scope-OrgID") + " " + st.Labels)
			for _, e := range st.Entries {
				out[key] = append(out[key], e.Line)
			}
		}
	}
	return out
}

func testEnv() *component.Env {
	log := slog.New(slog.DiscardHandler)
	return &component.Env{
		Address: "output.loki.main", Type: "loki", Name: "main", Log: log, Status: component.NewStatus(log), Losses: new(component.Losses),
		Self: prometheus.NewRegistry(), Pool: component.NewPool(), Version: "test",
		AgentLabels: labels.FromStrings("host", "nas"),
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

// newOutput opens an output without starting it.
func newOutput(t testing.TB, url string, change func(*Config)) *output {
	t.Helper()
	cfg := defaults()
	cfg.URL = parseURL(t, url)
	if change != nil {
		change(&cfg)
	}
	o, err := open(testEnv(), &cfg)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// running opens, starts and runs one, and stops it at the end of the test.
func running(t *testing.T, url string, change func(*Config)) *output {
	t.Helper()
	o := newOutput(t, url, change)
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

func consume(t *testing.T, o *output, records ...logs.Record) {
	t.Helper()
	var b logs.Batch
	b.Begin("input.test")
	for _, r := range records {
		b.Add(r)
	}
	if err := o.ConsumeLogs(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	for i := range b.Records { // the batch is dead now
		clear(b.Records[i].Line)
	}
}

func record(s *logs.Stream, at int64, line string) logs.Record {
	return logs.Record{Stream: s, Time: at, Line: []byte(line)}
}

func TestRecordsArriveByStreamAndTenant(t *testing.T) {
	s := newServer(t)
	o := running(t, s.URL+pushPath, func(c *Config) { c.Tenant = "ours"; c.Delivery.Shards = 2 })
	reg := logs.NewRegistry()
	web := reg.New(labels.FromStrings("container", "web", "__meta", "x", "my.label", `a "b"`), "")
	db := reg.New(labels.FromStrings("container", "db", "host", "other"), "theirs")
	bare := reg.New(labels.EmptyLabels(), "")
	now := time.Now().UnixNano()
	var all []logs.Record
	for i := range 100 {
		all = append(all, record(web, now+int64(i), fmt.Sprintf("web %d", i)), record(db, now+int64(i), fmt.Sprintf("db %d", i)))
	}
	all = append(all, record(bare, now, "bare"))
	consume(t, o, all...)
	flush(t, o)
	got := s.lines()
	want := map[string][]string{
		`ours {container="web", host="nas", my_label="a \"b\""}`: nil,
		`theirs {container="db", host="other"}`:                  nil,
		`ours {host="nas"}`:                                      {"bare"},
	}
	for i := range 100 {
		want[`ours {container="web", host="nas", my_label="a \"b\""}`] = append(want[`ours {container="web", host="nas", my_label="a \"b\""}`], fmt.Sprintf("web %d", i))
		want[`theirs {container="db", host="other"}`] = append(want[`theirs {container="db", host="other"}`], fmt.Sprintf("db %d", i))
	}
	if !maps.EqualFunc(got, want, slices.Equal) {
		t.Errorf("got %v", got)
	}
	if ua := s.headers[0].Get("User-Agent"); ua != "hermod/test" {
		t.Errorf("User-Agent %q", ua)
	}
	if tr := balance(t, o); tr.Delivered != 201 || tr.SentBytes == 0 || tr.LastDelivery.IsZero() {
		t.Errorf("traffic %+v", tr)
	}
}

func TestBodiesAreWhatLokiReads(t *testing.T) {
	o := newOutput(t, "http://loki"+pushPath, nil)
	reg := logs.NewRegistry()
	streams := []*logs.Stream{
		reg.New(labels.FromStrings("a", "1"), ""), reg.New(labels.FromStrings("a", "2", "b", "\n\x00ü"), ""), reg.New(labels.FromStrings("a", "3"), ""),
	}
	rapid.Check(t, func(t *rapid.T) {
		type entry struct {
			at   int64
			line string
			meta string
		}
		want := map[string][]entry{}
		b := &builder{out: o, shard: 1, tenant: "x"}
		known := map[*logs.Stream]*stream{}
		n := rapid.IntRange(1, 50).Draw(t, "records")
		for range n {
			s := rapid.SampledFrom(streams).Draw(t, "stream")
			if known[s] == nil {
				known[s] = &stream{labels: render(s.Labels)}
			}
			at := rapid.Int64Range(-3e9, 4e18).Draw(t, "time")
			line := rapid.SliceOf(rapid.Byte()).Draw(t, "line")
			meta := labels.FromMap(rapid.MapOfN(rapid.StringN(1, 5, 300), rapid.StringN(1, 300, 300), 0, 3).Draw(t, "meta"))
			b.add(known[s], &logs.Record{Stream: s, Time: at, Meta: meta}, line)
			want[known[s].labels] = append(want[known[s].labels], entry{at, string(line), meta.String()})
		}
		blocks := []*queue.Block{b.Build()}
		if b.Items() != 0 || b.Size() != 0 || b.Build() != nil {
			t.Fatal("the builder isn't empty after Build")
		}
		// Any way of splitting gives the same entries in the same order.
		for range rapid.IntRange(0, 6).Draw(t, "splits") {
			i := rapid.IntRange(0, len(blocks)-1).Draw(t, "which")
			if blocks[i].Items < 2 {
				continue
			}
			first, second, err := o.Split(blocks[i])
			if err != nil {
				t.Fatal(err)
			}
			if first.Items+second.Items != blocks[i].Items || first.Items-second.Items > 1 || second.Items-first.Items > 1 || first.Tenant != "x" || second.Shard != 1 {
				t.Fatalf("%d split into %d and %d", blocks[i].Items, first.Items, second.Items)
			}
			blocks = slices.Replace(blocks, i, i+1, first, second)
		}
		got := map[string][]entry{}
		for _, block := range blocks {
			raw, err := snappy.Decode(nil, block.Body)
			if err != nil {
				t.Fatal(err)
			}
			var p push.PushRequest
			if err := p.Unmarshal(raw); err != nil {
				t.Fatal(err)
			}
			items := 0
			seen := map[string]bool{}
			for _, s := range p.Streams {
				if seen[s.Labels] {
					t.Fatalf("stream %s stands twice in a body", s.Labels)
				}
				seen[s.Labels] = true
				for _, e := range s.Entries {
					items++
					meta := labels.NewBuilder(labels.EmptyLabels())
					for _, m := range e.StructuredMetadata {
						meta.Set(m.Name, m.Value)
					}
					got[s.Labels] = append(got[s.Labels], entry{e.Timestamp.UnixNano(), e.Line, meta.Labels().String()})
				}
			}
			if items != block.Items {
				t.Fatalf("%d entries in a block of %d", items, block.Items)
			}
		}
		if !maps.EqualFunc(got, want, slices.Equal) {
			t.Fatalf("got %v, want %v", got, want)
		}
	})
}

// Of a request with several streams Loki tells what became of the last one alone, and the loudest is the one that meets a limit.
func TestTheLoudestStreamIsTheLastOfItsBody(t *testing.T) {
	s := newServer(t)
	o := running(t, s.URL+pushPath, nil)
	reg := logs.NewRegistry()
	quiet, loud, other := reg.New(labels.FromStrings("a", "quiet"), ""), reg.New(labels.FromStrings("a", "loud"), ""), reg.New(labels.FromStrings("a", "other"), "")
	for range 2 { // the builder's buffers are used again
		consume(t, o, record(loud, 1, strings.Repeat("x", 1000)), record(quiet, 1, "one"), record(other, 1, "one"), record(quiet, 2, "two"), record(loud, 2, "y"))
		flush(t, o)
	}
	want := []string{`{a="other", host="nas"}`, `{a="quiet", host="nas"}`, `{a="loud", host="nas"}`}
	for _, p := range s.pushes {
		var got []string
		for _, st := range p.Streams {
			got = append(got, st.Labels)
		}
		if last := got[len(got)-1]; len(got) != len(want) || last != want[2] {
			t.Errorf("the streams of a body are %q", got)
		}
	}
	if got := s.lines()[want[1]]; !slices.Equal(got, []string{"one", "two", "one", "two"}) {
		t.Errorf("the quiet one has %q", got)
	}
}

func TestBatchIsSentAtItsSize(t *testing.T) {
	s := newServer(t)
	o := running(t, s.URL+pushPath, func(c *Config) { c.BatchSize = 16 << 10; c.Delivery.BatchWait = config.Duration(time.Minute) })
	st := logs.NewRegistry().New(labels.FromStrings("a", "b"), "")
	for range 3 {
		consume(t, o, record(st, 1, strings.Repeat("x", 9<<10)), record(st, 2, strings.Repeat("y", 9<<10)))
	}
	deadline := time.Now().Add(time.Minute)
	for o.Traffic().Delivered < 6 {
		if time.Now().After(deadline) {
			t.Fatalf("traffic %+v", o.Traffic())
		}
		time.Sleep(5 * time.Millisecond)
	}
	if len(s.pushes) != 3 {
		t.Errorf("%d pushes", len(s.pushes))
	}
}

func TestLongLinesAreCut(t *testing.T) {
	s := newServer(t)
	o := running(t, s.URL+pushPath, func(c *Config) { c.MaxLineSize = 1 << 10 })
	st := logs.NewRegistry().New(labels.FromStrings("a", "b"), "")
	consume(t, o, record(st, 1, strings.Repeat("x", 1024)), record(st, 2, strings.Repeat("x", 1025)), record(st, 3, strings.Repeat("x", 1023)+"üü"),
		record(st, 4, strings.Repeat("\x80", 2000)))
	flush(t, o)
	var sizes []int
	for _, l := range s.lines()[`{a="b", host="nas"}`] {
		sizes = append(sizes, len(l))
	}
	if !slices.Equal(sizes, []int{1024, 1024, 1023, 1024}) {
		t.Errorf("sizes %v", sizes)
	}
}

func TestEveryReasonSaysWhatToDo(t *testing.T) {
	for _, r := range reasons() {
		if r.name != "no_streams" && advice(r.name) == "" { // that one would be our own fault
			t.Errorf("%s has no advice", r.name)
		}
	}
}

func TestRefusalsAreCountedByLokisWords(t *testing.T) {
	st := `{a="b", host="nas"}`
	for name, c := range map[string]struct {
		status int
		words  string
		want   map[string]uint64 // of 10 records in {a="b"} and 5 in {a="c"}
	}{
		"ingester": {400, "entry with timestamp 2026-01-01 00:00:00 +0000 UTC ignored, reason: 'entry too far behind, entry timestamp is: x, oldest acceptable timestamp is: y',\nuser 'fake', total ignored: 3 out of 10 for stream: " + st,
			map[string]uint64{"rejected_too_far_behind": 3}},
		"one line too long": {400, "Max entry size '262144' bytes exceeded for stream '" + st + "' while adding an entry with length '262145' bytes",
			map[string]uint64{"rejected_line_too_long": 1}},
		"several kinds": {400, "2 errors like: entry for stream '" + st + "' has timestamp too old: x, oldest acceptable timestamp is: y; 4 errors like: entry for stream '" + st + "' has timestamp too new: z; 6 total errors",
			map[string]uint64{"rejected_greater_than_max_sample_age": 2, "rejected_too_far_in_future": 4}},
		"a stream": {400, "entry for stream '" + st + "' has 16 label names; limit 15", map[string]uint64{"rejected_max_label_names_per_series": 10}},
		"a stream as Loki names it": {400, `stream '{a="b", host="nas", service_name="unknown_service"}' has label value too long: 'x'`,
			map[string]uint64{"rejected_label_value_too_long": 10}},
		"an unknown stream": {400, "entry for stream '{}' has 16 label names; limit 15", map[string]uint64{"rejected_max_label_names_per_series": 15}},
		"unknown words":     {400, "no", map[string]uint64{"rejected_other": 15}},
		"nonsense":          {400, "total ignored: 99 out of 3", map[string]uint64{"rejected_other": 15}},
		"422":               {422, "error at least one valid stream is required for ingestion", map[string]uint64{"rejected_no_streams": 15}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			s.answer = func(w http.ResponseWriter, _ *http.Request, _ *push.PushRequest) bool {
				http.Error(w, c.words, c.status)
				return true
			}
			o := running(t, s.URL+pushPath, func(c *Config) { c.Delivery.BatchWait = config.Duration(time.Minute) }) // all are in one body
			reg := logs.NewRegistry()
			one, two := reg.New(labels.FromStrings("a", "b"), ""), reg.New(labels.FromStrings("a", "c"), "")
			for i := range 10 {
				consume(t, o, record(one, int64(i), "x"))
			}
			for i := range 5 {
				consume(t, o, record(two, int64(i), "x"))
			}
			flush(t, o)
			if got := o.env.Losses.Counts(); !maps.Equal(got, c.want) {
				t.Errorf("losses %v, want %v", got, c.want)
			}
		})
	}
}

func TestTooLargeBodiesAreSplit(t *testing.T) {
	s := newServer(t)
	s.answer = func(w http.ResponseWriter, _ *http.Request, p *push.PushRequest) bool {
		n := 0
		for _, st := range p.Streams {
			n += len(st.Entries)
		}
		if n > 10 {
			http.Error(w, "request entity too large", http.StatusRequestEntityTooLarge)
			return true
		}
		return false
	}
	o := running(t, s.URL+pushPath, nil)
	st := logs.NewRegistry().New(labels.FromStrings("a", "b"), "")
	var want []string
	var all []logs.Record
	for i := range 100 {
		want = append(want, fmt.Sprint(i))
		all = append(all, record(st, int64(i), want[i]))
	}
	consume(t, o, all...)
	flush(t, o)
	if got := s.lines()[`{a="b", host="nas"}`]; !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

func TestWhatIsWrongIsSaidWithARemedy(t *testing.T) {
	const canary = "s3cr3t"
	for name, c := range map[string]struct {
		status int
		words  string
		want   []string
	}{
		"wrong password": {401, "invalid", []string{"401", `user "hermod"`, "basic_auth"}},
		"no tenant":      {401, "no org id", []string{"set tenant"}},
		"not found":      {404, "404 page not found", []string{pushPath}},
		"plain on TLS":   {400, "Client sent an HTTP request to an HTTPS server.", []string{"https://"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			s.answer = func(w http.ResponseWriter, _ *http.Request, _ *push.PushRequest) bool {
				http.Error(w, c.words, c.status)
				return true
			}
			o := running(t, s.URL+pushPath+"?token="+canary, func(cfg *Config) {
				cfg.HTTP.BasicAuth = basicAuth("hermod", canary)
				cfg.Delivery.BatchWait = config.Duration(10 * time.Millisecond)
			})
			consume(t, o, record(logs.NewRegistry().New(labels.FromStrings("a", "b"), ""), 1, "x"))
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
			if tr := balance(t, o); tr.Queued != 1 {
				t.Errorf("traffic %+v", tr)
			}
		})
	}
}

func TestLargerThanRate(t *testing.T) {
	const (
		tenant = "Ingestion rate limit exceeded for user fake (limit: %d bytes/sec) while attempting to ingest '10' lines totaling '%d' bytes, reduce log volume"
		stream = "entry with timestamp 2026-11-21 07:07:07.5 +0000 UTC ignored, reason: 'Per stream rate limit exceeded (limit: %s/sec) while attempting " +
			"to ingest for stream '{a=\"b\"}' totaling 106B, consider splitting a stream',\nuser 'fake', total ignored: 1 out of 2 for stream: {a=\"b\"}"
	)
	for _, c := range []struct {
		words string
		raw   int
		want  bool
	}{
		{fmt.Sprintf(tenant, 1000, 2000), 1, true}, {fmt.Sprintf(tenant, 4194304, 2000), 1, false}, {"", 1, false},
		{fmt.Sprintf(stream, "3MB"), 3<<20 + 1, true}, {fmt.Sprintf(stream, "3MB"), 3 << 20, false}, {fmt.Sprintf(stream, "512KB"), 1 << 20, true},
		{fmt.Sprintf(stream, "1000B"), 1001, true}, {fmt.Sprintf(stream, "1GB"), 1 << 20, false}, {fmt.Sprintf(stream, "1PB"), 1 << 20, false},
		{fmt.Sprintf(stream, "7"), 1 << 20, false}, {fmt.Sprintf(stream, "9999999999999999999KB"), 1 << 20, false}, {"(limit: 5", 10, false},
	} {
		if got := largerThanRate(c.words, c.raw); got != c.want {
			t.Errorf("%d bytes, %q: %v", c.raw, c.words, got)
		}
	}
}

func FuzzRefusalWords(f *testing.F) {
	f.Add("2 errors like: a; 3 errors like: b", 400)
	f.Add("total ignored: 1 out of 2", 400)
	f.Add(`entry for stream '{a="b", service_name="x"}' has 16 label names; limit 15`, 400)
	o := newOutput(f, "http://loki"+pushPath, nil)
	b := &builder{out: o}
	s := &stream{labels: `{a="b"}`}
	for range 5 {
		b.add(s, &logs.Record{Time: 1}, []byte("x"))
	}
	block := b.Build()
	f.Fuzz(func(t *testing.T, words string, status int) {
		if len(countRefused(block, status, words, false)) == 0 {
			t.Fatal("a refusal without a reason")
		}
		largerThanRate(words, len(words))
	})
}

func TestBrokenBodyIsAnErrorAndNoPanic(t *testing.T) {
	o := newOutput(t, "http://loki"+pushPath, nil)
	for _, body := range [][]byte{nil, []byte("nonsense"), snappy.Encode(nil, []byte("\x0a\xff")), {0xff, 0xff, 0xff, 0xff, 0x0f}} {
		first, second, err := o.Split(&queue.Block{Body: body, Items: 2})
		if err == nil && first.Items+second.Items > 0 {
			t.Errorf("%q was split", body)
		}
	}
}

func TestSteadyEncodingDoesNotAllocate(t *testing.T) {
	o := newOutput(t, "http://loki"+pushPath, nil)
	b := &builder{out: o}
	s := &stream{labels: `{a="b"}`}
	r := &logs.Record{Time: 1758439812123456789, Meta: labels.FromStrings("trace", "abc")}
	line := bytes.Repeat([]byte("x"), 200)
	for range 5000 {
		b.add(s, r, line)
	}
	b.Build()
	if n := testing.AllocsPerRun(100, func() {
		for range 20 {
			b.add(s, r, line)
		}
	}); n != 0 {
		t.Errorf("%v allocations for 20 lines", n)
	}
}
