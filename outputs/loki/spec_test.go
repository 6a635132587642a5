package loki

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/grafana/loki/pkg/push"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/hermod-agent/hermod/pipeline/config"
	"github.com/hermod-agent/hermod/pipeline/logs"
)

// What Loki's push API asks of a client (https://grafana.com/docs/loki/latest/reference/loki-http-api/#ingest-logs and
// https://grafana.com/docs/loki/latest/operations/request-validation-rate-limits/). The pages know no MUST and SHOULD; a test stands for each thing
// that they require or advise.

// quick has batches closed at once.
func quick(c *Config) { c.Delivery.BatchWait = config.Duration(10 * time.Millisecond) }

// pushed gives records to an output and returns what the server got.
func pushed(t *testing.T, change func(*Config), records ...logs.Record) *server {
	t.Helper()
	s := newServer(t) // it holds each request to POST, the path, the content type and the snappy block format
	o := running(t, s.URL+pushPath, change)
	consume(t, o, records...)
	flush(t, o)
	if len(s.pushes) == 0 {
		t.Fatal("nothing came")
	}
	return s
}

func one(pairs ...string) *logs.Stream {
	return logs.NewRegistry().New(labels.FromStrings(pairs...), "")
}

func TestPushIsAPostOfSnappyCompressedProtobuf(t *testing.T) {
	s := pushed(t, quick, record(one("a", "b"), 1, "x"))
	if h := s.headers[0]; h.Get("Content-Type") != "application/x-protobuf" || h.Get("User-Agent") == "" {
		t.Errorf("%v", h)
	}
	if enc := s.headers[0].Get("Content-Encoding"); enc != "" && enc != "snappy" {
		t.Errorf("Content-Encoding %q: the protobuf API is always snappy", enc)
	}
}

func TestPushNamesTheTenantWhereThereIsOne(t *testing.T) {
	s := pushed(t, func(c *Config) { quick(c); c.Tenant = "team" }, record(one("a", "b"), 1, "x"))
	if got := s.headers[0].Get("X-Scope-OrgID"); got != "team" {
		t.Errorf("%q", got)
	}
	s = pushed(t, quick, record(one("a", "b"), 1, "x"))
	if _, there := s.headers[0]["X-Scope-Orgid"]; there {
		t.Error("a tenant that nobody named")
	}
}

func TestPushHoldsOneTenantInARequest(t *testing.T) {
	reg := logs.NewRegistry()
	s := pushed(t, quick, record(reg.New(labels.FromStrings("a", "1"), "x"), 1, "of x"), record(reg.New(labels.FromStrings("a", "1"), "y"), 1, "of y"))
	if len(s.pushes) != 2 {
		t.Errorf("%d requests", len(s.pushes))
	}
	for i, p := range s.pushes {
		if got := p.Streams[0].Entries[0].Line; got != "of "+s.headers[i].Get("X-Scope-OrgID") {
			t.Errorf("%q under %q", got, s.headers[i].Get("X-Scope-OrgID"))
		}
	}
}

func TestPushHasAtLeastOneLabelAStreamAndNamesThatLokiTakes(t *testing.T) {
	s := pushed(t, quick, record(one(), 1, "x"), record(one("1.bad-name", "v", "ü", "w", "__internal", "x"), 2, "y"))
	for _, p := range s.pushes {
		for _, st := range p.Streams {
			if st.Labels == "{}" || strings.Contains(st.Labels, "__internal") {
				t.Errorf("labels %s", st.Labels)
			}
			for _, pair := range strings.Split(strings.Trim(st.Labels, "{}"), ", ") {
				name, _, _ := strings.Cut(pair, "=")
				if labelName(name) != name || strings.ContainsFunc(name, func(r rune) bool { return r > 127 }) {
					t.Errorf("name %q", name)
				}
			}
		}
	}
}

func TestPushKeepsNanosecondsAndTheOrderWithinAStream(t *testing.T) {
	st := one("a", "b")
	var records []logs.Record
	const base = 1_700_000_000_123_456_789
	for i := range 500 {
		records = append(records, record(st, base+int64(i), fmt.Sprint(i)))
	}
	s := pushed(t, func(c *Config) { quick(c); c.BatchSize = 16 << 10; c.Delivery.Shards = 3 }, records...)
	at := int64(base)
	for _, p := range s.pushes {
		for _, e := range p.Streams[0].Entries {
			if e.Timestamp.UnixNano() != at {
				t.Fatalf("%d, want %d", e.Timestamp.UnixNano(), at)
			}
			at++
		}
	}
	if at != base+500 {
		t.Errorf("%d entries", at-base)
	}
}

func TestPushCarriesStructuredMetadata(t *testing.T) {
	r := record(one("a", "b"), 1, "x")
	r.Meta = labels.FromStrings("trace_id", "0123", "user", "ü")
	s := pushed(t, quick, r)
	want := push.LabelsAdapter{{Name: "trace_id", Value: "0123"}, {Name: "user", Value: "ü"}}
	if got := s.pushes[0].Streams[0].Entries[0].StructuredMetadata; !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
}

func TestPushCutsLinesThatAreLongerThanLokiTakes(t *testing.T) {
	s := pushed(t, quick, record(one("a", "b"), 1, strings.Repeat("x", 300<<10)))
	if got := len(s.pushes[0].Streams[0].Entries[0].Line); got > 256<<10 {
		t.Errorf("%d bytes", got)
	}
}

// tries answers a number of times with a status, then takes everything, and returns when each request came.
func tries(t *testing.T, status, times int, header http.Header, words string) (at []time.Time, o *output) {
	t.Helper()
	s := newServer(t)
	s.answer = func(w http.ResponseWriter, _ *http.Request, _ *push.PushRequest) bool {
		at = append(at, time.Now())
		if len(at) > times {
			return false
		}
		for name, values := range header {
			w.Header()[name] = values
		}
		w.WriteHeader(status)
		fmt.Fprint(w, words)
		return true
	}
	o = running(t, s.URL+pushPath, quick)
	consume(t, o, record(one("a", "b"), 1, "x"), record(one("a", "b"), 2, "y"))
	flush(t, o)
	return at, o
}

func TestPushIsTriedAgainOn5xxWithABackoff(t *testing.T) {
	t.Parallel()
	for _, status := range []int{500, 502, 503, 504} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			at, o := tries(t, status, 2, nil, "ingester is gone")
			if len(at) != 3 || at[1].Sub(at[0]) < 800*time.Millisecond || at[2].Sub(at[1]) < 1600*time.Millisecond {
				t.Errorf("%v", at)
			}
			if tr := balance(t, o); tr.Delivered != 2 {
				t.Errorf("%+v", tr)
			}
		})
	}
}

func TestPushIsTriedAgainOn429AndHonoursRetryAfter(t *testing.T) {
	t.Parallel()
	at, o := tries(t, 429, 1, http.Header{"Retry-After": {"2"}}, "Ingestion rate limit exceeded for user fake (limit: 4194304 bytes/sec)")
	if len(at) != 2 || at[1].Sub(at[0]) < 2*time.Second {
		t.Errorf("%v", at)
	}
	if tr := balance(t, o); tr.Delivered != 2 {
		t.Errorf("%+v", tr)
	}
}

func TestPushIsNotTriedAgainOn400AndWhatWasStoredCountsAsDelivered(t *testing.T) {
	t.Parallel()
	for reason, words := range map[string]string{
		"rejected_too_far_behind": "entry with timestamp 2026-01-01 00:00:00 +0000 UTC ignored, reason: 'entry too far behind, entry timestamp is: x, oldest acceptable timestamp is: y',\n" +
			"user 'fake', total ignored: 1 out of 2 for stream: {a=\"b\"}",
		"rejected_out_of_order": "entry with timestamp 2026-01-01 00:00:00 +0000 UTC ignored, reason: 'entry out of order',\n" +
			"user 'fake', total ignored: 1 out of 2 for stream: {a=\"b\"}",
		"rejected_greater_than_max_sample_age": "entry for stream '{a=\"b\"}' has timestamp too old: 2020-01-01T00:00:00Z, oldest acceptable timestamp is: 2026-01-01T00:00:00Z",
		"rejected_line_too_long":               "max entry size 262144 bytes exceeded for stream '{a=\"b\"}' while adding an entry with length 300000 bytes",
	} {
		t.Run(reason, func(t *testing.T) {
			t.Parallel()
			at, o := tries(t, 400, 1, nil, words)
			if tr := balance(t, o); len(at) != 1 || tr.Delivered != 1 || tr.Rejected != 1 || o.env.Losses.Counts()[reason] != 1 {
				t.Errorf("%d requests, %+v, %v", len(at), tr, o.env.Losses.Counts())
			}
		})
	}
}

func TestPushIsHalvedOn413(t *testing.T) {
	t.Parallel()
	at, o := tries(t, 413, 1, nil, "request body too large")
	if tr := balance(t, o); len(at) != 3 || tr.Delivered != 2 {
		t.Errorf("%d requests, %+v", len(at), tr)
	}
}

func TestPushTakesEvery2xxForASuccess(t *testing.T) {
	t.Parallel()
	for _, status := range []int{200, 204, 260} { // 260 is what a Loki answers whose ingestion is blocked by a policy
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			at, o := tries(t, status, 1, nil, "")
			if tr := balance(t, o); len(at) != 1 || tr.Delivered != 2 {
				t.Errorf("%d requests, %+v", len(at), tr)
			}
		})
	}
}

func TestARepeatOfAPushIsTheSameToTheByte(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	var bodies []string
	s.answer = func(w http.ResponseWriter, _ *http.Request, p *push.PushRequest) bool {
		bodies = append(bodies, p.String())
		if len(bodies) == 1 {
			w.WriteHeader(http.StatusBadGateway) // it may have stored it: Loki drops an exact copy alone
			return true
		}
		return false
	}
	o := running(t, s.URL+pushPath, quick)
	consume(t, o, record(one("a", "b"), 1, "x"), record(one("a", "b"), 2, "y"))
	flush(t, o)
	if len(bodies) != 2 || bodies[0] != bodies[1] {
		t.Errorf("%q", bodies)
	}
}
