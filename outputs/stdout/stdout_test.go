package stdout

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/logs"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// paper is a standard output that remembers. While gate is not nil, each write waits to receive from it.
type paper struct {
	mu     sync.Mutex
	b      bytes.Buffer
	err    error
	closed int
	gate   chan struct{}
}

func (p *paper) Write(b []byte) (int, error) {
	if p.gate != nil {
		<-p.gate
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return 0, p.err
	}
	return p.b.Write(b)
}

func (p *paper) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed++
	return nil
}

func (p *paper) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.b.String()
}

func (p *paper) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = err
}

func newEnv() *component.Env {
	log := slog.New(slog.DiscardHandler)
	return &component.Env{
		Address: "output.stdout", Log: log, Status: component.NewStatus(log), Losses: new(component.Losses),
		Series: metrics.NewRegistry(), Streams: logs.NewRegistry(),
	}
}

func start(t testing.TB, c Config, p *paper) *output {
	t.Helper()
	o, err := open(newEnv(), &c)
	if err != nil {
		t.Fatal(err)
	}
	if plain, ok := o.form.(text); ok {
		plain.zone = time.UTC
		o.form = plain
	}
	o.stdout = func() (io.WriteCloser, error) { return p, nil }
	if err := o.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	return o
}

var at = time.Date(2026, 11, 21, 6, 10, 1, 123456789, time.UTC)

func sampleBatch(o *output) *metrics.Batch {
	b := new(metrics.Batch)
	b.Begin(&metrics.Source{Address: "input.host.nas"}, 1, at.UnixMilli())
	d := &metrics.Desc{Name: "node_load1", Kind: metrics.Gauge}
	b.Set(o.env.Series.New(d), 0.52)
	b.Set(o.env.Series.New(d, "b", "two \"words\"\n\x1b[31m", "a", "", "__hidden", "x"), 12345678)
	b.Set(o.env.Series.New(d, "gone", "1"), math.Float64frombits(value.StaleNaN))
	b.Set(o.env.Series.New(d, "n", "1"), math.NaN())
	b.Set(o.env.Series.New(d, "n", "2"), math.Inf(-1))
	return b
}

func logBatch(o *output) *logs.Batch {
	b := new(logs.Batch)
	b.Begin("input.docker_logs")
	web := o.env.Streams.New(labels.FromStrings("container", "web", "stream", "stderr", "image", "nginx:1 \"x\"", "__path__", "/x"), "")
	file := o.env.Streams.New(labels.FromStrings("filename", "/var/log/syslog"), "team-a")
	other := o.env.Streams.New(labels.FromStrings("unit", "ssh.service", "level", "a b"), "")
	b.Add(logs.Record{Stream: web, Time: at.UnixNano(), Line: []byte("hello \x1b[2Jworld\twide é \u202e \xff"), Meta: labels.FromStrings("trace", "abc")})
	b.Add(logs.Record{Stream: file, Time: at.UnixNano() + 1, Line: []byte("first\nsecond\rthird")})
	b.Add(logs.Record{Stream: other, Time: at.UnixNano() + 2, Line: nil})
	return b
}

func write(t testing.TB, o *output, consume func() error) {
	t.Helper()
	if err := consume(); err != nil {
		t.Fatal(err)
	}
	if err := o.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestTextIsForPeople(t *testing.T) {
	for _, c := range []struct {
		all  bool
		logs string
	}{
		{false, `2026-11-21 06:10:01.123 web stderr | hello \x1b[2Jworld	wide é \u202e \xff
2026-11-21 06:10:01.123 syslog | first
  | second\rthird
2026-11-21 06:10:01.123 level="a b" unit=ssh.service | 
`},
		{true, `2026-11-21 06:10:01.123 web stderr image="nginx:1 \"x\"" trace=abc | hello \x1b[2Jworld	wide é \u202e \xff
2026-11-21 06:10:01.123 syslog filename=/var/log/syslog | first
  | second\rthird
2026-11-21 06:10:01.123 level="a b" unit=ssh.service | 
`},
	} {
		p := new(paper)
		o := start(t, Config{Format: "text", ShowLabels: c.all}, p)
		write(t, o, func() error { return o.ConsumeLogs(t.Context(), logBatch(o)) })
		if got := p.String(); got != c.logs {
			t.Errorf("got\n%s\nwant\n%s", got, c.logs)
		}
	}
	p := new(paper)
	o := start(t, defaults(), p)
	write(t, o, func() error { return o.ConsumeMetrics(t.Context(), sampleBatch(o)) })
	const want = `2026-11-21 06:10:01.123 input.host.nas node_load1 0.52
2026-11-21 06:10:01.123 input.host.nas node_load1{a="",b="two \"words\"\n\x1b[31m"} 12345678
2026-11-21 06:10:01.123 input.host.nas node_load1{n="1"} NaN
2026-11-21 06:10:01.123 input.host.nas node_load1{n="2"} -Inf
`
	if got := p.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestJSONHoldsEverything(t *testing.T) {
	p := new(paper)
	o := start(t, Config{Format: "json"}, p)
	write(t, o, func() error { return o.ConsumeLogs(t.Context(), logBatch(o)) })
	write(t, o, func() error { return o.ConsumeMetrics(t.Context(), sampleBatch(o)) })
	var got []map[string]any
	for line := range strings.Lines(p.String()) {
		var one map[string]any
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		got = append(got, one)
	}
	want := []string{
		`map[labels:map[container:web image:nginx:1 "x" stream:stderr] line:hello ` + "\x1b[2Jworld\twide é \u202e \ufffd" + ` metadata:map[trace:abc] source:input.docker_logs time:2026-11-21T06:10:01.123456789Z]`,
		"map[labels:map[filename:/var/log/syslog] line:first\nsecond\rthird source:input.docker_logs tenant:team-a time:2026-11-21T06:10:01.12345679Z]",
		"map[labels:map[level:a b unit:ssh.service] line: source:input.docker_logs time:2026-11-21T06:10:01.123456791Z]",
		"map[labels:map[] name:node_load1 source:input.host.nas time:2026-11-21T06:10:01.123Z value:0.52]",
		"map[labels:map[a: b:two \"words\"\n\x1b[31m] name:node_load1 source:input.host.nas time:2026-11-21T06:10:01.123Z value:1.2345678e+07]",
		"map[labels:map[n:1] name:node_load1 source:input.host.nas time:2026-11-21T06:10:01.123Z value:NaN]",
		"map[labels:map[n:2] name:node_load1 source:input.host.nas time:2026-11-21T06:10:01.123Z value:-Inf]",
	}
	if len(got) != len(want) {
		t.Fatalf("%d lines, want %d:\n%s", len(got), len(want), p)
	}
	for i := range want {
		if s := fmt.Sprint(got[i]); s != want[i] {
			t.Errorf("line %d: got\n%s\nwant\n%s", i, s, want[i])
		}
	}
	if strings.ContainsAny(p.String(), "\x1b\u202e") {
		t.Error("what a terminal obeys is not escaped")
	}
}

func TestNothingThatATerminalObeysGetsThrough(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		raw := rapid.SliceOf(rapid.OneOf(rapid.Byte(), rapid.SampledFrom([]byte("\x1b\x9b\r\n\\\"ab\xc2\xe2\x80\xae")))).Draw(t, "line")
		quoted := appendString(nil, raw)
		var back string
		if err := json.Unmarshal(quoted, &back); err != nil || back != strings.ToValidUTF8(string(raw), "\ufffd") {
			if want := replaceEach(raw); err != nil || back != want {
				t.Fatalf("%q is written %s, which is %q: %v", raw, quoted, back, err)
			}
		}
		for _, shown := range [][]byte{quoted, appendEscaped(nil, raw, `\n`)} {
			for _, r := range string(shown) {
				if r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)) {
					t.Fatalf("%q lets %U through", raw, r)
				}
			}
		}
	})
}

// replaceEach is ToValidUTF8 with a replacement for each byte, not for each run of them.
func replaceEach(raw []byte) string {
	var b strings.Builder
	for _, r := range string(raw) {
		b.WriteRune(r)
	}
	return b.String()
}

func TestASlowOutputMakesLogsWaitAndMetricsFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &paper{gate: make(chan struct{})}
		o := start(t, defaults(), p)
		stream := o.env.Streams.New(labels.FromStrings("container", "web"), "")
		big := new(logs.Batch)
		big.Begin("input.x")
		big.Add(logs.Record{Stream: stream, Time: at.UnixNano(), Line: bytes.Repeat([]byte("x"), room)})
		for range 2 { // one is being written, one waits
			if err := o.ConsumeLogs(t.Context(), big); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		err := o.ConsumeMetrics(t.Context(), sampleBatch(o))
		if remedy, _ := component.Remedy(err); err == nil || remedy == "" {
			t.Errorf("metrics that find no room: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		if err := o.ConsumeLogs(ctx, big); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Minute {
			t.Errorf("logs that find no room: %v after %s", err, time.Since(began))
		}
		if err := o.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("flush: %v", err)
		}
		if traffic := o.Traffic(); traffic.Taken != 2 || traffic.Queued != 2 || traffic.Delivered != 0 || traffic.OldestQueued.IsZero() {
			t.Errorf("traffic %+v", traffic)
		}
		taken := make(chan error)
		go func() { taken <- o.ConsumeLogs(t.Context(), big) }()
		synctest.Wait()
		p.gate <- struct{}{}
		if err := <-taken; err != nil {
			t.Errorf("logs that found room after a while: %v", err)
		}
		flushed := make(chan error)
		go func() { flushed <- o.Flush(t.Context()) }()
		for range 2 {
			p.gate <- struct{}{}
		}
		if err := <-flushed; err != nil {
			t.Error(err)
		}
		if n := strings.Count(p.String(), "web |"); n != 3 {
			t.Errorf("%d records were written, want 3", n)
		}
		if traffic := o.Traffic(); traffic.Taken != 3 || traffic.Delivered != 3 || traffic.Queued != 0 || traffic.SentBytes < 3*room {
			t.Errorf("traffic %+v", traffic)
		}
	})
}

func TestAStopDoesntWaitForAnOutputThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &paper{gate: make(chan struct{})}
		o := start(t, defaults(), p)
		if err := o.ConsumeLogs(t.Context(), logBatch(o)); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if err := o.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("stop: %v", err)
			}
			cancel()
		}
		if p.closed != 0 {
			t.Error("it was closed below a write")
		}
		p.gate <- struct{}{}
		synctest.Wait()
		if p.closed != 1 {
			t.Errorf("closed %d times after the write", p.closed)
		}
	})
}

func TestAStopWritesWhatWasTakenAndRefusesMore(t *testing.T) {
	defer goleak.VerifyNone(t)
	p := new(paper)
	o := start(t, defaults(), p)
	if err := o.ConsumeLogs(t.Context(), logBatch(o)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := o.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if strings.Count(p.String(), "|") != 4 || p.closed != 1 {
		t.Errorf("closed %d times, written:\n%s", p.closed, p)
	}
	if err := o.ConsumeLogs(t.Context(), logBatch(o)); !errors.Is(err, component.ErrStopped) {
		t.Errorf("logs after the stop: %v", err)
	}
	if err := o.ConsumeMetrics(t.Context(), sampleBatch(o)); !errors.Is(err, component.ErrStopped) {
		t.Errorf("metrics after the stop: %v", err)
	}
}

func TestWhatAFaultyOutputLosesIsCounted(t *testing.T) {
	p := new(paper)
	o := start(t, defaults(), p)
	for err, reason := range map[error]string{syscall.EPIPE: "stdout_closed", os.ErrClosed: "stdout_closed", syscall.ENOSPC: "stdout_failed"} {
		before := o.env.Losses.Counts()[reason]
		p.fail(fmt.Errorf("write: %w", err))
		write(t, o, func() error { return o.ConsumeLogs(t.Context(), logBatch(o)) })
		if n := o.env.Losses.Counts()[reason] - before; n != 3 {
			t.Errorf("%v: %d records counted as %s, want 3", err, n, reason)
		}
		faults := o.env.Status.Faults()
		if len(faults) != 1 || faults[0].Remedy == "" {
			t.Errorf("%v: the status says %+v", err, faults)
		}
	}
	p.fail(nil)
	write(t, o, func() error { return o.ConsumeLogs(t.Context(), logBatch(o)) })
	if faults := o.env.Status.Faults(); len(faults) != 0 {
		t.Errorf("the fault stays: %+v", faults)
	}
	traffic := o.Traffic()
	lost := o.env.Losses.Counts()
	if traffic.Taken != 12 || traffic.Delivered != 3 || traffic.Taken != traffic.Delivered+traffic.Queued+lost["stdout_closed"]+lost["stdout_failed"] {
		t.Errorf("traffic %+v, losses %v", traffic, lost)
	}
}

// TestAClosedPipeIsAnError uses the real standard output: under descriptor 1 this would end the process.
func TestAClosedPipeIsAnError(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	saved := os.Stdout
	os.Stdout = w
	twin, err := duplicate()
	os.Stdout = saved
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.Close(), w.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := twin.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("writing gives %v", err)
	}
	if err := twin.Close(); err != nil {
		t.Error(err)
	}
}

func TestConcurrentBatchesKeepTheirLinesWhole(t *testing.T) {
	p := new(paper)
	o := start(t, defaults(), p)
	var writers sync.WaitGroup
	const writersN, batches = 4, 50
	for n := range writersN {
		stream := o.env.Streams.New(labels.FromStrings("container", fmt.Sprintf("c%d", n)), "")
		writers.Go(func() {
			b := new(logs.Batch)
			for i := range batches {
				b.Begin("input.x")
				b.AddCopy(logs.Record{Stream: stream, Time: at.UnixNano(), Line: fmt.Appendf(nil, "c%d %d", n, i)})
				if err := o.ConsumeLogs(t.Context(), b); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	if err := o.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	next := map[string]int{}
	for line := range strings.Lines(p.String()) {
		var date, clock, container, again string
		var i int
		if _, err := fmt.Sscanf(line, "%s %s %s | %s %d\n", &date, &clock, &container, &again, &i); err != nil || container != again || next[container] != i {
			t.Fatalf("%q: %v, want number %d", line, err, next[container])
		}
		next[container]++
	}
	if len(next) != writersN || next["c0"] != batches {
		t.Errorf("written: %v", next)
	}
}

func TestAnUnknownFormatIsRefused(t *testing.T) {
	c := defaults()
	if faults := c.Validate(); len(faults) != 0 {
		t.Errorf("the defaults are refused: %v", faults)
	}
	c.Format = "yaml"
	if faults := c.Validate(); len(faults) != 1 {
		t.Errorf("faults: %v", faults)
	}
}

func BenchmarkLogs(b *testing.B) {
	for _, format := range []string{"text", "json"} {
		b.Run(format, func(b *testing.B) {
			o := start(b, Config{Format: format}, new(paper))
			o.sink.w = nopCloser{io.Discard}
			stream := o.env.Streams.New(labels.FromStrings("container", "web", "stream", "stdout"), "")
			batch := new(logs.Batch)
			batch.Begin("input.docker_logs")
			for range 1000 {
				batch.Add(logs.Record{Stream: stream, Time: at.UnixNano(), Line: bytes.Repeat([]byte("0123456789"), 20)})
			}
			b.ReportAllocs()
			for b.Loop() {
				if err := o.ConsumeLogs(context.Background(), batch); err != nil {
					b.Fatal(err)
				}
				if err := o.Flush(context.Background()); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/line")
		})
	}
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }
