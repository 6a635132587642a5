//go:build integration

package torture

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hermod-agent/hermod/integration/harness"
)

// pair is an agent that follows a log and collects numbered samples, each with an output of its own. Lines go to loki, samples to samples.
type pair struct {
	*world
	samples  *harness.RemoteWrite
	counter  *harness.Counter
	log      *logFile
	instance string

	lines, numbers *row
	// known are the numbers that were delivered or lay on disk at a kill.
	known   map[int]bool
	writing bool // while runs
	// jumps says that the agent's clock does.
	jumps bool
	// unsaved are how many numbers were read before each kill and may never have reached a queue.
	unsaved int
}

// pairOptions say what differs from one pair to the next.
type pairOptions struct {
	user    user
	loki    *harness.Loki        // one of its own when nil
	samples *harness.RemoteWrite // likewise
	agent   harness.AgentOptions // what besides the config
	outputs string               // attributes and blocks of both outputs
	lines   string               // of the output of lines alone
	numbers string               // of the output of samples alone
	input   string               // of the input of lines
}

var pairs atomic.Int64

// newPair makes one with its two rows.
func newPair(t *testing.T, group, name string, o pairOptions, cases ...int) *pair {
	t.Helper()
	p := &pair{
		world: &world{T: t, loki: o.loki, dir: harness.Dir(t)}, samples: o.samples, counter: harness.NewCounter(t),
		instance: fmt.Sprintf("counter-%d", pairs.Add(1)), known: map[int]bool{},
	}
	p.lines = begin(t, row{Group: group, Case: name, Source: "files", User: o.user.name}).shows(cases...)
	p.numbers = begin(t, row{Group: group, Case: name, Source: "samples", User: o.user.name}).shows(cases...)
	if p.loki == nil {
		p.loki = harness.NewLoki(t)
	}
	if p.samples == nil {
		p.samples = harness.NewRemoteWrite(t)
	}
	options := o.agent
	options.User = o.user.id
	options.Config = fmt.Sprintf(`
input "files" "app" {
  paths  = ["%s/app.log"]
  labels = { app = %q }
%s
}

input "nginx" "numbers" {
  url      = %q
  instance = %q
  interval = "100ms"
}

output "loki" "lines" {
  from = input.files.app
  url  = %q
%s
%s
}

output "remote_write" "samples" {
  from = input.nginx.numbers
  url  = %q
%s
%s
}
`, p.dir, p.instance, o.input, p.counter.URL(), p.instance, p.loki.URL(), o.outputs, o.lines, p.samples.URL(), o.outputs, o.numbers)
	p.agent = harness.NewAgent(t, options)
	p.log = newLogFile(t, p.path("app.log"), p.instance)
	return p
}

// everyPair runs a test of a pair for each user.
func everyPair(t *testing.T, group, name string, o pairOptions, run func(p *pair), cases ...int) {
	requireRoot(t)
	for _, u := range users {
		t.Run(fmt.Sprintf("%s as %s", name, u.name), func(t *testing.T) {
			t.Parallel()
			o.user = u
			run(newPair(t, group, name, o, cases...))
		})
	}
}

// app are the labels of its lines.
func (p *pair) app() map[string]string { return map[string]string{"app": p.instance} }

// while writes lines at a rate for as long as something lasts, and rotates now and then.
func (p *pair) while(rate int, something func()) {
	over, written := make(chan struct{}), make(chan struct{})
	p.writing = true
	go func() {
		defer close(written)
		for turn := 0; ; turn++ {
			p.log.paced(rate/2, rate)
			if turn%5 == 4 {
				p.log.rotate(p.log.dated(), 1)
			}
			select {
			case <-over:
				return
			default:
			}
		}
	}()
	defer func() {
		close(over)
		<-written
		p.writing = false
	}()
	something()
}

// noise writes lines that don't compress, each of so many bytes before they are made text.
func (p *pair) noise(n, size int) {
	random := rand.NewChaCha8([32]byte{9})
	raw := make([]byte, size)
	for range n {
		random.Read(raw)
		p.log.extra(base64.StdEncoding.EncodeToString(raw))
	}
}

// flows waits until lines and samples come.
func (p *pair) flows() {
	p.Helper()
	before, numbers := p.loki.Tally(p.app()).Total, len(p.samples.Numbers(p.instance))
	if !p.writing {
		p.log.write(10)
	}
	harness.Eventually(p.T, patience, "lines and samples come", func() (bool, string) {
		return p.loki.Tally(p.app()).Total > before && len(p.samples.Numbers(p.instance)) > numbers, fmt.Sprint(p.loki.Answers(), p.samples.Answers())
	})
}

// kill is kill -9, and a note of what the samples' queue and its backend have at that moment.
func (p *pair) kill() {
	p.Helper()
	p.agent.Kill()
	p.killed()
}

// killed notes what the samples' queue and its backend have, when the agent was killed.
func (p *pair) killed() {
	p.Helper()
	queued, err := harness.QueuedNumbers(p.agent, "output.remote_write.samples", p.instance)
	if err != nil {
		p.Fatalf("looking into the queue: %v", err)
	}
	came := p.samples.Numbers(p.instance)
	for n := range queued {
		p.known[n] = true
	}
	for n := range came {
		p.known[n] = true
	}
	// What no queue has is what was in an open batch, which is closed after a second.
	open := 0
	for n := p.counter.Read(); n > 0 && !p.known[n]; n-- {
		open++
	}
	if open > 17 {
		p.Errorf("%d numbers, of five seconds, were read and in no queue at a kill", open)
	}
	p.unsaved += open
}

// conclude waits until all lines and samples are there and asserts that none is missing. What came again may have been resent so often by either output.
func (p *pair) conclude(resent int) {
	p.Helper()
	p.flows()
	p.came(p.lines, p.app(), p.log.want())
	last, stopped := p.counter.Stop(), time.Now()
	var came map[int]int
	harness.Eventually(p.T, patience, "the last sample arrives", func() (bool, string) {
		came = p.samples.Numbers(p.instance)
		behind := 0
		for n := last; n > 0 && came[n] == 0; n-- {
			behind++
		}
		// The last one may have been read by a collection that wasn't passed, and some before it by collections that failed: on a busy machine an answer
		// within a tenth of a second may be too late.
		return behind <= 1+p.samples.Failed(p.instance, stopped), fmt.Sprintf("%d of %d came, not the last %d; answers %v", len(came), last, behind, p.samples.Answers())
	})
	p.agent.AwaitReady()
	harness.Eventually(p.T, patience, "all that is queued is sent", func() (bool, string) {
		status, err := p.agent.Status()
		if err != nil {
			return false, err.Error()
		}
		tr := harness.NodeOf(p.T, status, "output.remote_write.samples").Traffic
		return tr != nil && tr.Queued == 0, fmt.Sprintf("%+v", tr)
	})
	came = p.samples.Numbers(p.instance)
	if came[last] == 0 {
		last--
	}
	var missing []int
	for n := 1; n <= last; n++ {
		if came[n] == 0 {
			missing = append(missing, n)
		}
		if p.known[n] && came[n] == 0 {
			p.Errorf("the number %d was in a queue when the agent was killed, and is lost", n)
		}
		p.numbers.Repeated += max(0, came[n]-1)
	}
	if p.jumps {
		stopped = stopped.Add(2 * time.Hour)
	}
	failed := p.samples.Failed(p.instance, stopped)
	if len(missing) > failed+p.unsaved {
		p.Errorf("%d of %d numbers are missing, %d collections failed and %d were in no queue at a kill: %v", len(missing), last, failed, p.unsaved, missing)
	}
	p.numbers.Written = last - min(len(missing), failed+p.unsaved)
	p.numbers.Delivered = last - len(missing)
	if p.unsaved > 0 {
		p.numbers.Note = strings.TrimPrefix(p.numbers.Note+fmt.Sprintf("; %d numbers besides were in no queue yet at a kill", p.unsaved), "; ")
	}
	if n := p.samples.Resent(); n > resent {
		p.Errorf("%d requests with samples came again, of %d that might have", n, resent)
	}
	if n := p.loki.Resent(); n > resent {
		p.Errorf("%d requests with lines came again, of %d that might have", n, resent)
	}
	if faults := append(p.loki.Faults(), p.samples.Faults()...); len(faults) > 0 {
		p.Errorf("the backends refused: %.5v", faults)
	}
	for _, s := range p.samples.Series(map[string]string{"__name__": harness.CounterName, "instance": p.instance}) {
		if s.Late > p.numbers.Repeated && !p.jumps {
			p.Errorf("%d samples came out of order, and %d again", s.Late, p.numbers.Repeated)
		}
	}
}

// noneAgain asserts that neither lines nor samples came again.
func (p *pair) noneAgain() {
	p.Helper()
	p.once(p.lines)
	p.once(p.numbers)
}

// why waits until an output says what is wrong with it, by one of these words.
func (p *pair) why(output string, words ...string) {
	p.Helper()
	harness.Eventually(p.T, patience, output+" says what is wrong", func() (bool, string) {
		status, err := p.agent.Status()
		if err != nil {
			return false, err.Error()
		}
		n := harness.NodeOf(p.T, status, output)
		told := fmt.Sprint(n.State, " ", n.Why, " ", n.Remedy, " ", n.Faults)
		return slices.ContainsFunc(words, func(word string) bool { return strings.Contains(told, word) }), told
	})
}

// lasts lets a time pass in which something is wrong.
func lasts(d time.Duration) { <-time.After(d) }
