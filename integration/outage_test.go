//go:build integration

package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hermod-agent/hermod/integration/harness"
	"github.com/hermod-agent/hermod/integration/lines"
	"github.com/hermod-agent/hermod/pipeline/graph"
)

// outages are how a backend fails, each for half a minute while containers go on writing.
var outages = []struct {
	name string
	// fail makes the server fail for a time and come right again. It returns when it is right.
	fail func(l *harness.Loki, length time.Duration)
	// recovers is how long the agent may take to notice that the server is right again, and to catch up.
	recovers time.Duration
}{
	{"503", answering(harness.Answer{Status: 503}), 2 * time.Minute},
	{"429 with Retry-After", answering(harness.Answer{Status: 429, RetryAfter: 2 * time.Second, Body: "Ingestion rate limit exceeded"}), 2 * time.Minute},
	{"hanging", answering(harness.Answer{Hang: true}), 3 * time.Minute},
	{"gone", func(l *harness.Loki, length time.Duration) {
		l.Gone()
		<-time.After(length)
		l.Back()
	}, 2 * time.Minute},
	{"wrong password", answering(harness.Answer{Status: 401, Body: "no org id"}), 3 * time.Minute},
	{"now this, now that", func(l *harness.Loki, length time.Duration) {
		for end := time.Now().Add(length); time.Now().Before(end); {
			for _, a := range []harness.Answer{{Status: 500}, {}, {Status: 429}, {Delay: 200 * time.Millisecond}, {Status: 503, RetryAfter: time.Second}, {}} {
				l.Answer(a)
				<-time.After(700 * time.Millisecond)
			}
		}
		l.Answer(harness.Answer{})
	}, 2 * time.Minute},
}

func answering(a harness.Answer) func(*harness.Loki, time.Duration) {
	return func(l *harness.Loki, length time.Duration) {
		l.Answer(a)
		<-time.After(length)
		l.Answer(harness.Answer{})
	}
}

func TestOutagesOfTheServerLoseNothing(t *testing.T) {
	harness.RequireDocker(t)
	type patient struct {
		loki  *harness.Loki
		agent *harness.Agent
	}
	patients := make([]patient, len(outages))
	for i := range outages {
		loki := harness.NewLoki(t)
		// Every other one reads from disk.
		agent := harness.NewAgent(t, as(t, i%2 == 0, harness.AgentOptions{
			Config: strings.Replace(dockerToLoki(loki), "  url ", "  request_timeout = \"5s\" # so that a server that hangs is noticed early\n  url ", 1),
		}))
		agent.Start()
		agent.AwaitReady()
		patients[i] = patient{loki, agent}
	}
	const n, rate, length = 100_000, 2500, 30 * time.Second
	sources := startWriters(t,
		harness.Writer{Driver: "json-file", Options: plain("json-file"), Lines: n, Rate: rate, Stderr: true},
		harness.Writer{Driver: "local", Options: plain("local"), Lines: n, Rate: rate, Hold: true},
	)
	for i, o := range outages {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			p := patients[i]
			harness.Eventually(t, 30*time.Second, "lines flow", func() (bool, string) { return p.loki.Records() > 1000, fmt.Sprint(p.loki.Records()) })
			over := make(chan struct{})
			go func() {
				defer close(over)
				o.fail(p.loki, length)
			}()
			// The user is told while it lasts, and nothing but the output suffers.
			harness.Eventually(t, length, "the agent tells of the outage", func() (bool, string) {
				status, err := p.agent.Status()
				if err != nil {
					return false, err.Error()
				}
				out := harness.NodeOf(t, status, "output.loki.main")
				return out.State == graph.Failing && out.Why != "", fmt.Sprintf("%s: %q, %q", out.State, out.Why, out.Remedy)
			})
			if _, err := p.agent.Get("/-/ready"); err != nil {
				t.Errorf("a failing backend makes the agent unready: %v", err)
			}
			harness.Conserved(t, p.agent)
			<-over
			awaitAll(t, p.loki, o.recovers, sources...)
			written := 0
			for _, s := range sources {
				written += lines.Count(s.lines)
				tally := p.loki.Tally(s.match())
				missing, repeated, unknown, examples := tally.Compare(lines.Want(s.Source, s.lines))
				// A server may have taken what it could not answer for: it comes again, and Loki keeps one.
				if missing+unknown != 0 || tally.Stored != lines.Count(s.lines) {
					t.Errorf("%s: %d missing, %d never written, Loki would keep %d records of %d lines: %v", s.Name, missing, unknown, tally.Stored, lines.Count(s.lines), examples)
				}
				if tally.Late > repeated {
					t.Errorf("%s: %d lines came out of order and %d again", s.Name, tally.Late, repeated)
				}
			}
			harness.Eventually(t, time.Minute, "the agent knows what it delivered", func() (bool, string) {
				n := harness.NodeOf(t, harness.Conserved(t, p.agent), "output.loki.main")
				if n.Traffic == nil || len(n.Losses) != 0 {
					t.Fatalf("traffic %+v, lost %v", n.Traffic, n.Losses)
				}
				return n.Traffic.Queued == 0 && int(n.Traffic.Delivered) == written, fmt.Sprintf("delivered %d of %d, queued %d", n.Traffic.Delivered, written, n.Traffic.Queued)
			})
			if faults := p.loki.Faults(); len(faults) > 0 {
				t.Errorf("the server refused: %.5v", faults)
			}
			harness.Eventually(t, 10*time.Second, "the agent tells that it is over", func() (bool, string) {
				status, err := p.agent.Status()
				if err != nil {
					return false, err.Error()
				}
				out := harness.NodeOf(t, status, "output.loki.main")
				return out.State != graph.Failing, fmt.Sprintf("%s: %q", out.State, out.Why)
			})
			t.Logf("answers %v", p.loki.Answers())
		})
	}
}
