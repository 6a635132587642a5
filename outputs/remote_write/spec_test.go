package remotewrite

import (
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"

	"github.com/hermod-agent/hermod/internal/wire"
	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// What the specifications ask of a sender, from their texts:
// https://prometheus.io/docs/specs/prw/remote_write_spec/ and https://prometheus.io/docs/specs/prw/remote_write_spec_2_0/.
// A test stands for each MUST and SHOULD that is about what is sent or about what follows from an answer. Stale markers are made by the
// engine's edges and tested there; here it is that their bits arrive.

// exchange is a request and what is in it.
type exchange struct {
	at     time.Time
	method string
	path   string
	header http.Header
	raw    []byte
}

// witness is a server that writes down all it gets.
type witness struct {
	*httptest.Server
	mu     sync.Mutex
	got    []exchange
	answer func(n int, r *http.Request, raw []byte, w http.ResponseWriter) // n counts from 1; nil says 204 as 2.0 wants it
}

func newWitness(t *testing.T) *witness {
	s := &witness{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		raw, err := snappy.Decode(nil, body)
		if err != nil {
			t.Errorf("the body is no snappy block: %v", err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.got = append(s.got, exchange{time.Now(), r.Method, r.URL.Path, r.Header.Clone(), raw})
		if s.answer != nil {
			s.answer(len(s.got), r, raw, w)
			return
		}
		confirm(w, r, raw)
	}))
	t.Cleanup(s.Close)
	return s
}

// confirm answers as a server of either version that stored everything.
func confirm(w http.ResponseWriter, r *http.Request, raw []byte) {
	if isSecond(r.Header) {
		samples, histograms, exemplars := 0, 0, 0
		var p writev2.Request
		if p.Unmarshal(raw) == nil {
			for _, ts := range p.Timeseries {
				samples, histograms, exemplars = samples+len(ts.Samples), histograms+len(ts.Histograms), exemplars+len(ts.Exemplars)
			}
		}
		count(w, samples, histograms, exemplars)
	}
	w.WriteHeader(http.StatusNoContent)
}

func count(w http.ResponseWriter, samples, histograms, exemplars int) {
	w.Header().Set("X-Prometheus-Remote-Write-Samples-Written", fmt.Sprint(samples))
	w.Header().Set("X-Prometheus-Remote-Write-Histograms-Written", fmt.Sprint(histograms))
	w.Header().Set("X-Prometheus-Remote-Write-Exemplars-Written", fmt.Sprint(exemplars))
}

func isSecond(h http.Header) bool { return strings.Contains(h.Get("Content-Type"), "write.v2") }

func (s *witness) requests() []exchange {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.got)
}

// first and second decode the bodies of either version.
func (s *witness) first(t *testing.T) (out []*prompb.WriteRequest) {
	t.Helper()
	for _, x := range s.requests() {
		if isSecond(x.header) {
			continue
		}
		p := &prompb.WriteRequest{}
		if err := p.Unmarshal(x.raw); err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
	return out
}

func (s *witness) second(t *testing.T) (out []*writev2.Request) {
	t.Helper()
	for _, x := range s.requests() {
		if !isSecond(x.header) {
			continue
		}
		p := &writev2.Request{}
		if err := p.Unmarshal(x.raw); err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
	return out
}

func byVersion(version string) func(*Config) {
	return func(c *Config) {
		c.Protocol = version
		c.MaxSamples = 100
		c.Delivery.BatchWait = config.Duration(10 * time.Millisecond)
	}
}

func bothVersions(t *testing.T, f func(t *testing.T, version string)) {
	t.Parallel()
	for _, version := range []string{version1, version2} {
		t.Run(version, func(t *testing.T) {
			t.Parallel() // some wait
			f(t, version)
		})
	}
}

// sent runs an output against a witness and gives it some batches.
func sent(t *testing.T, version string, batches ...*metrics.Batch) *witness {
	t.Helper()
	s := newWitness(t)
	o := running(t, s.URL+"/w", byVersion(version))
	for _, b := range batches {
		consume(t, o, b)
		flush(t, o)
	}
	return s
}

// pairs are the labels of each series of all requests, names and values in turn.
func pairs(t *testing.T, s *witness) (out [][]string) {
	t.Helper()
	for _, p := range s.first(t) {
		for _, ts := range p.Timeseries {
			var one []string
			for _, l := range ts.Labels {
				one = append(one, l.Name, l.Value)
			}
			out = append(out, one)
		}
	}
	for _, p := range s.second(t) {
		for _, ts := range p.Timeseries {
			var one []string
			for _, ref := range ts.LabelsRefs {
				one = append(one, p.Symbols[ref])
			}
			out = append(out, one)
		}
	}
	return out
}

func TestSenderMustPostToTheGivenURL(t *testing.T) {
	bothVersions(t, func(t *testing.T, version string) {
		for _, x := range sent(t, version, newFixture(3).next()).requests() {
			if x.method != http.MethodPost || x.path != "/w" {
				t.Error(x.method, x.path)
			}
		}
	})
}

func TestSenderMustSendTheReservedHeaders(t *testing.T) {
	want := map[string]map[string]string{
		version1: {"Content-Type": "application/x-protobuf", "X-Prometheus-Remote-Write-Version": "0.1.0"},
		version2: {"Content-Type": "application/x-protobuf;proto=io.prometheus.write.v2.Request", "X-Prometheus-Remote-Write-Version": "2.0.0"},
	}
	bothVersions(t, func(t *testing.T, version string) {
		for _, x := range sent(t, version, newFixture(3).next()).requests() {
			for name, want := range want[version] {
				if got := x.header.Get(name); got != want {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
			if got := x.header.Get("Content-Encoding"); got != "snappy" {
				t.Errorf("Content-Encoding: %q", got)
			}
			if got := x.header.Get("User-Agent"); got != "hermod/test" {
				t.Errorf("User-Agent: %q", got)
			}
		}
	})
}

func TestSenderMustNotLetUsersSetReservedHeaders(t *testing.T) {
	for _, name := range []string{"Content-Encoding", "Content-Type", "User-Agent", "X-Prometheus-Remote-Write-Version"} {
		c := defaults()
		c.URL = parseURL(t, "http://x/w")
		c.HTTP.Headers = map[string]config.Secret{name: config.NewSecret("x")}
		if errs := c.HTTP.Validate(); len(errs) == 0 {
			t.Errorf("%s may be set", name)
		}
	}
}

func TestSenderMustUseTheSnappyBlockFormat(t *testing.T) {
	bothVersions(t, func(t *testing.T, version string) {
		s := sent(t, version, newFixture(3).next()) // the witness decodes blocks alone
		if n := len(s.first(t)) + len(s.second(t)); n == 0 {
			t.Error("nothing came")
		}
	})
	c := defaults()
	c.URL = parseURL(t, "http://x/w")
	c.Protocol, c.Compression = version2, zstdName
	if errs := c.Validate(); len(errs) != 1 {
		t.Errorf("2.0 by zstd: %v", errs)
	}
}

func TestSenderMustSendSortedUniqueLabelsWithoutEmptyOnes(t *testing.T) {
	bothVersions(t, func(t *testing.T, version string) {
		all := pairs(t, sent(t, version, newFixture(30).next()))
		if len(all) != 30 {
			t.Fatalf("%d series", len(all))
		}
		for _, l := range all {
			for i := 0; i < len(l); i += 2 {
				if l[i] == "" || l[i+1] == "" {
					t.Errorf("an empty label: %q", l)
				}
				if i > 0 && l[i-2] >= l[i] {
					t.Errorf("not sorted, or not unique: %q", l)
				}
			}
		}
	})
}

func TestSenderMustSendTheCompleteLabelsWithEachSample(t *testing.T) {
	bothVersions(t, func(t *testing.T, version string) {
		f := newFixture(2)
		first := slices.Clone(f.next().Samples)
		b := f.next()
		b.Samples = append(first, b.Samples...) // two samples of each series in a request
		all := pairs(t, sent(t, version, b))
		if len(all) != 4 {
			t.Fatalf("%d series", len(all))
		}
		for _, l := range all {
			for _, want := range []string{"__name__", "device", "instance", "job", "operstate"} {
				if !slices.Contains(l, want) {
					t.Errorf("%s is missing: %q", want, l)
				}
			}
		}
	})
}

func TestSenderShouldSendANameAndNoOtherReservedLabel(t *testing.T) {
	bothVersions(t, func(t *testing.T, version string) {
		for _, l := range pairs(t, sent(t, version, newFixture(3).next())) {
			if l[0] != "__name__" || l[1] == "" {
				t.Errorf("no name: %q", l)
			}
			for i := 2; i < len(l); i += 2 {
				if strings.HasPrefix(l[i], "__") {
					t.Errorf("a reserved label: %q", l)
				}
			}
		}
	})
}

func TestSenderMustSendUTF8(t *testing.T) {
	bothVersions(t, func(t *testing.T, version string) {
		reg := metrics.NewRegistry()
		bad := reg.New(&metrics.Desc{Name: "x", Help: "bad \xff help", Kind: metrics.Gauge}, "path", "/bad\xff\xfe/utf8")
		b := &metrics.Batch{Source: newFixture(0).source, Time: 1000}
		b.Set(bad, 1)
		s := sent(t, version, b)
		for _, l := range pairs(t, s) {
			for _, text := range l {
				if !utf8.ValidString(text) {
					t.Errorf("%q", text)
				}
			}
		}
		for _, p := range s.second(t) {
			for _, text := range p.Symbols {
				if !utf8.ValidString(text) {
					t.Errorf("%q", text)
				}
			}
		}
	})
}

// samplesOf are the times and values of all samples, by series.
func samplesOf(t *testing.T, s *witness) map[string][]prompb.Sample {
	t.Helper()
	out := map[string][]prompb.Sample{}
	for _, p := range s.first(t) {
		for _, ts := range p.Timeseries {
			out[fmt.Sprint(ts.Labels)] = append(out[fmt.Sprint(ts.Labels)], ts.Samples...)
		}
	}
	for _, p := range s.second(t) {
		for _, ts := range p.Timeseries {
			var l []prompb.Label
			for i := 0; i+1 < len(ts.LabelsRefs); i += 2 {
				l = append(l, prompb.Label{Name: p.Symbols[ts.LabelsRefs[i]], Value: p.Symbols[ts.LabelsRefs[i+1]]})
			}
			for _, x := range ts.Samples {
				out[fmt.Sprint(l)] = append(out[fmt.Sprint(l)], prompb.Sample{Value: x.Value, Timestamp: x.Timestamp})
			}
		}
	}
	return out
}

func TestSenderMustSendSamplesOfASeriesInTheOrderOfTime(t *testing.T) {
	bothVersions(t, func(t *testing.T, version string) {
		s := newWitness(t)
		o := running(t, s.URL+"/w", func(c *Config) {
			byVersion(version)(c)
			c.Delivery.Shards = 4
		})
		f := newFixture(150)
		for range 10 {
			consume(t, o, f.next())
		}
		flush(t, o)
		series := samplesOf(t, s)
		if len(series) != 150 {
			t.Fatalf("%d series", len(series))
		}
		for l, samples := range series {
			if len(samples) != 10 || !slices.IsSortedFunc(samples, func(a, b prompb.Sample) int { return int(a.Timestamp - b.Timestamp) }) {
				t.Errorf("%s: %v", l, samples)
			}
		}
	})
}

func TestSenderMustSendTimesInMillisecondsAndValuesBitForBit(t *testing.T) {
	bothVersions(t, func(t *testing.T, version string) {
		f := newFixture(1)
		var batches []*metrics.Batch
		want := []uint64{value.StaleNaN, value.NormalNaN, math.Float64bits(math.Inf(-1)), 0, math.Float64bits(1.5)}
		s := newWitness(t)
		o := running(t, s.URL+"/w", byVersion(version))
		for _, bits := range want {
			b := f.next()
			b.Samples[0].Value = math.Float64frombits(bits)
			consume(t, o, b)
			batches = append(batches, b)
		}
		flush(t, o)
		for _, samples := range samplesOf(t, s) {
			if len(samples) != len(want) {
				t.Fatalf("%v", samples)
			}
			for i, x := range samples {
				if at := f.at - int64(len(batches)-1-i)*15_000; math.Float64bits(x.Value) != want[i] || x.Timestamp != at {
					t.Errorf("%x at %d, want %x at %d", math.Float64bits(x.Value), x.Timestamp, want[i], at)
				}
			}
		}
	})
}

func TestSenderMustRetryOn5xxWithABackoff(t *testing.T) {
	bothVersions(t, func(t *testing.T, version string) {
		s := newWitness(t)
		s.answer = func(n int, r *http.Request, raw []byte, w http.ResponseWriter) {
			if n < 3 {
				w.WriteHeader(500 + n)
				return
			}
			confirm(w, r, raw)
		}
		o := running(t, s.URL+"/w", byVersion(version))
		consume(t, o, newFixture(2).next())
		flush(t, o)
		got := s.requests()
		if len(got) != 3 {
			t.Fatalf("%d requests", len(got))
		}
		if a, b := got[1].at.Sub(got[0].at), got[2].at.Sub(got[1].at); a < 800*time.Millisecond || b < 1600*time.Millisecond {
			t.Errorf("after %s and %s", a, b)
		}
		for _, x := range got[1:] {
			if string(x.raw) != string(got[0].raw) {
				t.Error("another body")
			}
		}
	})
}

func TestSenderMustNotRetryOn2xxNorOn400(t *testing.T) {
	bothVersions(t, func(t *testing.T, version string) {
		for _, status := range []int{200, 204, 400, 409, 422} {
			s := newWitness(t)
			s.answer = func(_ int, r *http.Request, raw []byte, w http.ResponseWriter) {
				if isSecond(r.Header) {
					count(w, 2, 0, 0)
				}
				w.WriteHeader(status)
				if status >= 400 {
					io.WriteString(w, "label-invalid")
				}
			}
			o := running(t, s.URL+"/w", byVersion(version))
			consume(t, o, newFixture(1).next())
			flush(t, o)
			if n := len(s.requests()); n != 1 {
				t.Errorf("%d: %d requests", status, n)
			}
		}
	})
}

func TestSenderMayRetryOn429AndHonourRetryAfter(t *testing.T) {
	bothVersions(t, func(t *testing.T, version string) {
		s := newWitness(t)
		s.answer = func(n int, r *http.Request, raw []byte, w http.ResponseWriter) {
			if n == 1 {
				w.Header().Set("Retry-After", "2")
				w.WriteHeader(http.StatusTooManyRequests)
				return
			}
			confirm(w, r, raw)
		}
		o := running(t, s.URL+"/w", byVersion(version))
		consume(t, o, newFixture(2).next())
		flush(t, o)
		if got := s.requests(); len(got) != 2 || got[1].at.Sub(got[0].at) < 2*time.Second {
			t.Errorf("%d requests", len(got))
		}
	})
}

func TestSenderMustIgnoreTheBodyOfASuccess(t *testing.T) {
	bothVersions(t, func(t *testing.T, version string) {
		s := newWitness(t)
		s.answer = func(_ int, r *http.Request, raw []byte, w http.ResponseWriter) {
			if isSecond(r.Header) {
				count(w, 2, 0, 0)
			}
			io.WriteString(w, "out of order sample")
		}
		o := running(t, s.URL+"/w", byVersion(version))
		consume(t, o, newFixture(2).next())
		flush(t, o)
		if tr := balance(t, o); tr.Delivered != 2 {
			t.Errorf("%+v", tr)
		}
	})
}

func TestSenderShouldLogTheWordsOfARefusalAsTheyAre(t *testing.T) {
	bothVersions(t, func(t *testing.T, version string) {
		s := newWitness(t)
		s.answer = func(_ int, r *http.Request, _ []byte, w http.ResponseWriter) {
			if isSecond(r.Header) {
				count(w, 0, 0, 0)
			}
			w.WriteHeader(400)
			io.WriteString(w, "label-invalid: these very words")
		}
		o := running(t, s.URL+"/w", byVersion(version))
		consume(t, o, newFixture(2).next())
		flush(t, o)
		wait(t, func() bool { // it is told after the samples are counted
			return slices.ContainsFunc(o.env.Status.Faults(), func(f component.Fault) bool { return strings.Contains(f.What, "these very words") })
		})
	})
}

func TestSenderShouldSendManySeriesInARequest(t *testing.T) {
	bothVersions(t, func(t *testing.T, version string) {
		if n := len(sent(t, version, newFixture(80).next()).requests()); n != 1 {
			t.Errorf("%d requests for 80 series", n)
		}
	})
}

func TestSenderMustNotConcludeTheVersionFromTheAnswersHeaders(t *testing.T) {
	bothVersions(t, func(t *testing.T, version string) {
		s := newWitness(t)
		s.answer = func(_ int, r *http.Request, raw []byte, w http.ResponseWriter) {
			w.Header().Set("X-Prometheus-Remote-Write-Version", map[string]string{version1: "2.0.0", version2: "0.1.0"}[version])
			if !isSecond(r.Header) {
				count(w, 2, 0, 0)
			}
			confirm(w, r, raw)
		}
		o := running(t, s.URL+"/w", byVersion(version))
		f := newFixture(2)
		for range 3 {
			consume(t, o, f.next())
			flush(t, o)
		}
		if first, second := len(s.first(t)), len(s.second(t)); version == version1 && second > 0 || version == version2 && first > 0 || first+second != 3 {
			t.Errorf("%d requests of 1.0, %d of 2.0", first, second)
		}
	})
}

func TestSenderMustUseTheBitsOfAStaleMarker(t *testing.T) {
	bothVersions(t, func(t *testing.T, version string) {
		b := newFixture(2).next()
		b.Samples[0].Value = math.Float64frombits(value.StaleNaN) // as the engine does it
		b.Samples[1].Value = math.NaN()
		markers := 0
		for _, samples := range samplesOf(t, sent(t, version, b)) {
			for _, x := range samples {
				if math.Float64bits(x.Value) == 0x7ff0000000000002 {
					markers++
				}
			}
		}
		if markers != 1 {
			t.Errorf("%d stale markers of 1, beside another NaN", markers)
		}
	})
}

// What follows is about 1.0 alone.

func TestSenderOf1MustSendValidNames(t *testing.T) {
	metricName, labelName := regexp.MustCompile(`^[a-zA-Z_:][a-zA-Z0-9_:]*$`), regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)
	reg := metrics.NewRegistry()
	odd := reg.New(&metrics.Desc{Name: "1st.größe", Help: "x", Kind: metrics.Gauge}, "com.docker.name", "a", "com_docker_name", "b", "com:docker:name", "c", "9", "d")
	good := reg.New(&metrics.Desc{Name: "job:rate:5m", Kind: metrics.Gauge}, "a", "b")
	for _, version := range []string{version1, version2} { // the second is taken by a server of 1.0
		b := &metrics.Batch{Source: newFixture(0).source, Time: 1000}
		b.Set(odd, 1)
		b.Set(good, 2)
		s := newWitness(t)
		s.answer = func(_ int, r *http.Request, raw []byte, w http.ResponseWriter) {
			if isSecond(r.Header) {
				w.WriteHeader(http.StatusUnsupportedMediaType)
				return
			}
			confirm(w, r, raw)
		}
		o := running(t, s.URL+"/w", byVersion(version))
		consume(t, o, b)
		flush(t, o)
		var got [][]string
		for _, p := range s.first(t) {
			for _, ts := range p.Timeseries {
				var one []string
				for i, l := range ts.Labels {
					one = append(one, l.Name, l.Value)
					if !labelName.MatchString(l.Name) || l.Name == labels.MetricName && !metricName.MatchString(l.Value) || i > 0 && ts.Labels[i-1].Name >= l.Name {
						t.Errorf("%s: %v", version, ts.Labels)
					}
				}
				got = append(got, one)
			}
			for _, m := range p.Metadata {
				if !metricName.MatchString(m.MetricFamilyName) {
					t.Errorf("%s: %v", version, m)
				}
			}
		}
		want := [][]string{
			{"_", "d", "__name__", "_st_gr__e", "com_docker_name", "b", "com_docker_name_", "a", "com_docker_name__", "c", "device", "never", "instance", "nas", "job", "node", "site", "home"},
			{"__name__", "job:rate:5m", "a", "b", "device", "never", "instance", "nas", "job", "node", "site", "home"},
		}
		for _, w := range want {
			if !slices.ContainsFunc(got, func(g []string) bool { return slices.Equal(g, w) }) {
				t.Errorf("%s: no %q in %q", version, w, got)
			}
		}
	}
}

func TestSenderOf1MustNotTakeASuccessWithoutCountsForNothing(t *testing.T) {
	s := newWitness(t)
	s.answer = func(_ int, _ *http.Request, _ []byte, w http.ResponseWriter) { w.WriteHeader(http.StatusNoContent) }
	o := running(t, s.URL+"/w", byVersion(version1))
	consume(t, o, newFixture(3).next())
	flush(t, o)
	if tr := balance(t, o); tr.Delivered != 3 || len(s.requests()) != 1 {
		t.Errorf("%+v, %d requests", tr, len(s.requests()))
	}
}

// What follows is about 2.0 alone.

func TestSenderOf2MustSendSamplesOrHistogramsWithEachSeriesAndNeverBoth(t *testing.T) {
	b := rich()
	b.Samples = append(b.Samples, metrics.Sample{Series: b.Histograms[0].Series, Value: 1, Time: 4000}) // of the series with the histogram
	s := sent(t, version2, b)
	samples, histograms := 0, 0
	for _, p := range s.second(t) {
		for _, ts := range p.Timeseries {
			samples, histograms = samples+len(ts.Samples), histograms+len(ts.Histograms)
			if (len(ts.Samples) > 0) == (len(ts.Histograms) > 0) {
				t.Errorf("%d samples and %d histograms in one", len(ts.Samples), len(ts.Histograms))
			}
		}
	}
	if samples != 2 || histograms != 1 {
		t.Errorf("%d samples, %d histograms", samples, histograms)
	}
}

func TestSenderOf2MustSendValueAndTimeWithEachExemplar(t *testing.T) {
	n := 0
	for _, p := range sent(t, version2, rich()).second(t) {
		for _, ts := range p.Timeseries {
			for _, x := range ts.Exemplars {
				n++
				if x.Value == 0 || x.Timestamp == 0 {
					t.Errorf("%+v", x)
				}
			}
		}
	}
	if n != 3 {
		t.Errorf("%d exemplars", n)
	}
}

func TestSenderOf2SendsNamesAsTheyAre(t *testing.T) {
	reg := metrics.NewRegistry()
	b := &metrics.Batch{Source: newFixture(0).source, Time: 1000}
	b.Set(reg.New(&metrics.Desc{Name: "größe", Kind: metrics.Gauge}, "com.docker.name", "a"), 1)
	if got := pairs(t, sent(t, version2, b)); len(got) != 1 || !slices.Contains(got[0], "größe") || !slices.Contains(got[0], "com.docker.name") {
		t.Errorf("%q", got)
	}
}

func TestSenderOf2MustBeginSymbolsWithTheEmptyOneAndNameEachOnce(t *testing.T) {
	s := newWitness(t)
	o := running(t, s.URL+"/w", byVersion(version2))
	f := newFixture(40)
	for range 3 {
		consume(t, o, f.next())
		flush(t, o)
	}
	consume(t, o, rich())
	flush(t, o)
	for _, p := range s.second(t) {
		if len(p.Symbols) == 0 || p.Symbols[0] != "" {
			t.Fatalf("%q", p.Symbols)
		}
		seen := map[string]bool{}
		used := map[uint32]bool{0: true}
		for _, s := range p.Symbols {
			if seen[s] {
				t.Errorf("%q stands twice", s)
			}
			seen[s] = true
		}
		for _, ts := range p.Timeseries {
			refs := append(slices.Clone(ts.LabelsRefs), ts.Metadata.HelpRef, ts.Metadata.UnitRef)
			for _, x := range ts.Exemplars {
				refs = append(refs, x.LabelsRefs...)
			}
			for _, ref := range refs {
				if int(ref) >= len(p.Symbols) {
					t.Fatalf("reference %d of %d", ref, len(p.Symbols))
				}
				used[ref] = true
			}
			if len(ts.LabelsRefs)%2 != 0 || len(ts.LabelsRefs) == 0 {
				t.Errorf("%d references", len(ts.LabelsRefs))
			}
		}
		if len(used) != len(p.Symbols) {
			t.Errorf("%d of %d symbols are used", len(used), len(p.Symbols))
		}
	}
}

func TestSenderOf2ShouldSendTypeHelpAndUnitWithEachSeries(t *testing.T) {
	types := map[writev2.Metadata_MetricType]int{}
	for _, p := range sent(t, version2, newFixture(10).next()).second(t) {
		for _, ts := range p.Timeseries {
			types[ts.Metadata.Type]++
			if help := p.Symbols[ts.Metadata.HelpRef]; help == "" {
				t.Error("no help")
			}
			if unit := p.Symbols[ts.Metadata.UnitRef]; (ts.Metadata.Type == writev2.Metadata_METRIC_TYPE_GAUGE) != (unit == "celsius") {
				t.Errorf("unit %q of a %s", unit, ts.Metadata.Type)
			}
		}
	}
	if types[writev2.Metadata_METRIC_TYPE_COUNTER] != 5 || types[writev2.Metadata_METRIC_TYPE_GAUGE] != 5 {
		t.Errorf("%v", types)
	}
}

// rich is a batch with a counter that has a created time and exemplars, and a native histogram.
func rich() *metrics.Batch {
	reg := metrics.NewRegistry()
	counter := reg.New(&metrics.Desc{Name: "requests_total", Help: "Requests.", Kind: metrics.Counter}, "code", "200")
	native := reg.New(&metrics.Desc{Name: "latency_seconds", Help: "Latency.", Unit: "seconds", Kind: metrics.Histogram}, "code", "200")
	lonely := reg.New(&metrics.Desc{Name: "lonely", Kind: metrics.Gauge})
	h := &histogram.Histogram{
		Schema: 1, Count: 7, Sum: 9.5, ZeroThreshold: 0.001, ZeroCount: 1,
		PositiveSpans: []histogram.Span{{Offset: 0, Length: 2}}, PositiveBuckets: []int64{2, 2},
	}
	return &metrics.Batch{
		Source: newFixture(0).source, Time: 5000,
		Samples:    []metrics.Sample{{Series: counter, Value: 7, Time: 5000, Start: 1000}},
		Histograms: []metrics.NativeHistogram{{Series: native, Int: h, Time: 5000, Start: 2000}},
		Exemplars: []metrics.Exemplar{
			{Series: counter, Labels: labels.FromStrings("trace_id", "abc", "empty", "requests_total"), Value: 1, Time: 4000},
			{Series: counter, Labels: labels.FromStrings("trace_id", "def"), Value: 2, Time: 4500},
			{Series: native, Labels: labels.EmptyLabels(), Value: 3, Time: 4600},
			{Series: lonely, Labels: labels.EmptyLabels(), Value: 3, Time: 4600},
		},
	}
}

func TestSenderOf2ShouldSendCreatedTimesExemplarsAndNativeHistograms(t *testing.T) {
	s := newWitness(t)
	o := running(t, s.URL+"/w", byVersion(version2))
	consume(t, o, rich())
	flush(t, o)
	got := s.second(t)
	if len(got) != 1 || len(got[0].Timeseries) != 2 {
		t.Fatalf("%v", got)
	}
	p := got[0]
	counter, native := p.Timeseries[0], p.Timeseries[1]
	if x := counter.Samples[0]; x.Value != 7 || x.Timestamp != 5000 || x.StartTimestamp != 1000 {
		t.Errorf("%+v", x)
	}
	if len(counter.Exemplars) != 2 || counter.Exemplars[1].Timestamp != 4500 || counter.Exemplars[1].Value != 2 {
		t.Fatalf("%+v", counter.Exemplars)
	}
	if refs := counter.Exemplars[0].LabelsRefs; len(refs) != 4 || p.Symbols[refs[2]] != "trace_id" || p.Symbols[refs[3]] != "abc" {
		t.Errorf("%v of %q", refs, p.Symbols)
	}
	h := native.Histograms[0]
	if h.GetCountInt() != 7 || h.Sum != 9.5 || h.Timestamp != 5000 || h.StartTimestamp != 2000 || len(h.PositiveDeltas) != 2 || h.GetZeroCountInt() != 1 {
		t.Errorf("%+v", h)
	}
	if len(native.Exemplars) != 1 || len(native.Exemplars[0].LabelsRefs) != 0 {
		t.Errorf("%+v", native.Exemplars)
	}
	for _, ts := range p.Timeseries {
		if (len(ts.Samples) > 0) == (len(ts.Histograms) > 0) {
			t.Error("a series has samples or histograms, and not both")
		}
	}
	if lost := o.env.Losses.Counts()["exemplar_without_sample"]; lost != 1 {
		t.Errorf("an exemplar that has no place: %d counted", lost)
	}
	if tr := balance(t, o); tr.Delivered != 5 {
		t.Errorf("%+v", tr)
	}
}

func TestSenderOf2SendsCreatedTimesWhereServersBeforeRC4LookForThem(t *testing.T) {
	starts := map[uint64]int{}
	for _, x := range sent(t, version2, rich()).requests() {
		r, err := parse2(x.raw)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range r.series {
			if err := fields(m, func(f wire.Field) error {
				if f.Number == 6 {
					starts[f.Value]++
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(starts) != 2 || starts[1000] != 1 || starts[2000] != 1 {
		t.Errorf("%v", starts)
	}
}

func TestSenderOf2MayFallBackAndShouldTakeASuccessWithoutCountsFor415(t *testing.T) {
	for name, refuse := range map[string]func(w http.ResponseWriter){
		"415":                      func(w http.ResponseWriter) { w.WriteHeader(http.StatusUnsupportedMediaType) },
		"400 of 1.x":               func(w http.ResponseWriter) { http.Error(w, "proto: wrong wireType = 2", http.StatusBadRequest) },
		"a success without counts": func(w http.ResponseWriter) { w.WriteHeader(http.StatusNoContent) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newWitness(t)
			s.answer = func(_ int, r *http.Request, raw []byte, w http.ResponseWriter) {
				if isSecond(r.Header) {
					refuse(w)
					return
				}
				confirm(w, r, raw)
			}
			o := running(t, s.URL+"/w", func(c *Config) {
				byVersion(version2)(c)
				c.Delivery.BatchWait = config.Duration(time.Minute) // both batches are in the body that is refused
			})
			f := newFixture(20)
			consume(t, o, f.next())
			consume(t, o, rich())
			flush(t, o)
			consume(t, o, f.next())
			flush(t, o)
			second := len(s.second(t))
			if second == 0 || second > 2 {
				t.Errorf("2.0 was tried %d times: it is to be remembered", second)
			}
			samples, histograms, exemplars := 0, 0, 0
			families := map[string]prompb.MetricMetadata{}
			for _, p := range s.first(t) {
				for _, ts := range p.Timeseries {
					samples, histograms, exemplars = samples+len(ts.Samples), histograms+len(ts.Histograms), exemplars+len(ts.Exemplars)
				}
				for _, m := range p.Metadata {
					families[m.MetricFamilyName] = m
				}
			}
			if samples != 41 || histograms != 1 || exemplars != 3 {
				t.Errorf("%d samples, %d histograms, %d exemplars", samples, histograms, exemplars)
			}
			if m := families["node_hwmon_temp_celsius"]; m.Type != prompb.MetricMetadata_GAUGE || m.Unit != "celsius" || m.Help == "" {
				t.Errorf("%+v", families)
			}
			if tr := balance(t, o); tr.Delivered != 45 || len(o.env.Losses.Counts()) != 1 {
				t.Errorf("%+v, losses %v", tr, o.env.Losses.Counts())
			}
			noted := slices.ContainsFunc(o.env.Status.Faults(), func(f component.Fault) bool { return f.Note && f.Key == "protocol" })
			if !noted {
				t.Errorf("%+v", o.env.Status.Faults())
			}
		})
	}
}

func TestSenderOf2CountsAPartialWriteByTheAnswersHeaders(t *testing.T) {
	s := newWitness(t)
	s.answer = func(_ int, _ *http.Request, _ []byte, w http.ResponseWriter) {
		count(w, 17, 0, 0)
		w.WriteHeader(http.StatusBadRequest)
		io.WriteString(w, "out of order sample; 3 samples were not written")
	}
	o := running(t, s.URL+"/w", byVersion(version2))
	consume(t, o, newFixture(20).next())
	flush(t, o)
	if n := len(s.requests()); n != 1 {
		t.Errorf("%d requests", n)
	}
	if tr := balance(t, o); tr.Delivered != 17 || tr.Rejected != 3 || o.env.Losses.Counts()["rejected_out_of_order"] != 3 {
		t.Errorf("%+v, losses %v", tr, o.env.Losses.Counts())
	}
}

func TestSenderOf2DoesNotFallBackOnceTheServerTookIt(t *testing.T) {
	s := newWitness(t)
	s.answer = func(n int, r *http.Request, raw []byte, w http.ResponseWriter) {
		if n == 2 {
			http.Error(w, "something else", http.StatusBadRequest)
			return
		}
		confirm(w, r, raw)
	}
	o := running(t, s.URL+"/w", byVersion(version2))
	f := newFixture(3)
	for range 3 {
		consume(t, o, f.next())
		flush(t, o)
	}
	if len(s.second(t)) != 3 || len(s.first(t)) != 0 {
		t.Errorf("%d of 2.0, %d of 1.0", len(s.second(t)), len(s.first(t)))
	}
}

func TestABodyOf2IsDividedAndEachHalfIsWhole(t *testing.T) {
	s := newWitness(t)
	s.answer = func(_ int, r *http.Request, raw []byte, w http.ResponseWriter) {
		var p writev2.Request
		if err := p.Unmarshal(raw); err != nil {
			t.Error(err)
		}
		if len(p.Timeseries) > 6 {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			return
		}
		confirm(w, r, raw)
	}
	o := running(t, s.URL+"/w", byVersion(version2))
	consume(t, o, newFixture(50).next())
	flush(t, o)
	if tr := balance(t, o); tr.Delivered != 50 {
		t.Errorf("%+v, losses %v", tr, o.env.Losses.Counts())
	}
}
