//go:build integration

package torture

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/hermod-agent/hermod/integration/harness"
)

const backends = "Backend"

// length is how long something is wrong with a backend.
func length(short, long time.Duration) time.Duration {
	if full() {
		return long
	}
	return short
}

// faults are what happens to both backends of a pair at once, real ones behind proxies.
var faults = []struct {
	name   string
	cases  []int
	answer harness.Answer
	lasts  time.Duration
	// outputs are attributes of both outputs.
	outputs string
	// told is a word of what the agent says is wrong.
	told string
	// alone says that the backend of lines has it alone at first, and that of samples is asked on meanwhile.
	alone bool
	// stored says that what got no answer was stored: it comes again as it was.
	stored bool
	// check is over what came while the fault lasted.
	check func(p *pair, seen []harness.Seen, lasted time.Duration)
}{
	{
		name: "500, 502, 503 or 504 to 7 of 10 requests", cases: []int{18}, lasts: length(10*time.Second, time.Minute),
		answer: harness.Answer{Some: []int{500, 502, 503, 504}, Share: 0.7},
	},
	{
		name: "503 to all", cases: []int{18}, lasts: length(8*time.Second, 2*time.Minute), answer: harness.Answer{Status: 503}, told: "503",
	},
	{
		name: "429 with Retry-After", cases: []int{19}, lasts: length(12*time.Second, time.Minute), told: "429",
		answer: harness.Answer{Status: 429, RetryAfter: waits, Body: "rate limit exceeded"}, check: waited, alone: true,
	},
	{
		name: "no answer", cases: []int{23}, lasts: length(10*time.Second, 2*time.Minute), answer: harness.Answer{Hang: true},
		outputs: "  request_timeout = \"2s\"", told: "answer",
	},
	{
		name: "half an answer, then a cut", cases: []int{23}, lasts: length(8*time.Second, time.Minute), answer: harness.Answer{Torn: true}, stored: true,
	},
	{
		name: "each answer takes two seconds", cases: []int{23}, lasts: length(10*time.Second, 2*time.Minute), answer: harness.Answer{Delay: 2 * time.Second},
	},
	{
		name: "401", cases: []int{21}, lasts: length(5*time.Second, 5*time.Minute), answer: harness.Answer{Status: 401, Body: "no such user"}, told: "401", check: seldom,
	},
	{
		name: "403", cases: []int{21}, lasts: length(5*time.Second, 5*time.Minute), answer: harness.Answer{Status: 403, Body: "not yours"}, told: "403", check: seldom,
	},
	{
		name: "404", cases: []int{21}, lasts: length(5*time.Second, 5*time.Minute), answer: harness.Answer{Status: 404, Body: "page not found"}, told: "404", check: seldom,
	},
}

// waits is the Retry-After of the row of 429.
const waits = 4 * time.Second

// waited asserts that between a 429 and the next request to the same backend its Retry-After has passed.
func waited(p *pair, seen []harness.Seen, _ time.Duration) {
	refused := 0
	for i := 1; i < len(seen); i++ {
		if seen[i-1].Status != http.StatusTooManyRequests {
			continue
		}
		refused++
		if gap := seen[i].At.Sub(seen[i-1].At); gap < waits {
			p.Errorf("asked to wait for %v, the agent came again after %v", waits, gap)
		}
	}
	if refused == 0 {
		p.Errorf("no 429 was answered before another request: %v", seen)
	}
}

// seldom asserts that a backend that has to be mended by somebody is asked every 30 seconds at most.
func seldom(p *pair, seen []harness.Seen, lasted time.Duration) {
	refused := 0
	for _, s := range seen {
		if s.Status/100 == 4 {
			refused++
		}
	}
	if most := 1 + int(lasted/(25*time.Second)); refused > most || refused == 0 { // 10% of jitter, and a bit
		p.Errorf("the backend was asked %d times in %v", refused, lasted)
	}
}

// TestBackends has one real Loki and one real Prometheus for all its rows, each of which has proxies of its own before them.
func TestBackends(t *testing.T) {
	t.Parallel()
	requireRoot(t)
	loki, prometheus := harness.NewRealLoki(t, harness.LokiTakesAll), harness.NewReceiver(t, true)
	// real makes a pair before them.
	real := func(t *testing.T, u user, name string, o pairOptions, cases ...int) *pair {
		lines, samples := harness.NewProxy(t, loki), harness.NewSamplesProxy(t, prometheus)
		o.user, o.loki, o.samples = u, lines.Loki, samples.RemoteWrite
		return newPair(t, backends, name, o, cases...)
	}
	// stored asserts that the real ones have what their proxies saw them take.
	stored := func(p *pair) {
		p.Helper()
		want := p.log.want()
		selector := fmt.Sprintf("{app=%q}", p.instance)
		harness.Eventually(p.T, patience, "Loki has every line", func() (bool, string) {
			tally, err := loki.Lines(selector)
			if err != nil {
				return false, err.Error()
			}
			missing, _, _, examples := tally.Compare(want)
			return missing == 0, fmt.Sprint(missing, examples)
		})
		numbers := p.samples.Numbers(p.instance)
		harness.Eventually(p.T, patience, "Prometheus has every number", func() (bool, string) {
			series, err := prometheus.Samples(fmt.Sprintf("%s{instance=%q}[1h]", harness.CounterName, p.instance))
			if err != nil {
				return false, err.Error()
			}
			got := map[int]bool{}
			for _, s := range series {
				for _, v := range s.Samples {
					got[int(v.Value)] = true
				}
			}
			for n := range numbers {
				if !got[n] {
					return false, fmt.Sprintf("the number %d is missing, %d are there", n, len(got))
				}
			}
			return true, ""
		})
	}
	for _, f := range faults {
		for _, u := range users {
			t.Run(f.name+" as "+u.name, func(t *testing.T) {
				t.Parallel()
				name := "the backend answers: " + f.name
				p := real(t, u, name, pairOptions{outputs: f.outputs}, f.cases...)
				p.start()
				p.flows()
				fromLoki, fromPrometheus := len(p.loki.Seen()), len(p.samples.Seen())
				var lasted time.Duration
				p.while(200, func() {
					p.loki.Answer(f.answer)
					if f.alone {
						p.why("output.loki.lines", f.told)
						before := p.samples.Answers()[http.StatusNoContent]
						harness.Eventually(p.T, patience, "samples go on", func() (bool, string) {
							n := p.samples.Answers()[http.StatusNoContent]
							return n > before+2, fmt.Sprint(n)
						})
					}
					p.samples.Answer(f.answer)
					began := time.Now()
					lasts(f.lasts)
					if f.told != "" {
						p.why("output.loki.lines", f.told)
						p.why("output.remote_write.samples", f.told)
					}
					p.loki.Answer(harness.Answer{})
					p.samples.Answer(harness.Answer{})
					lasted = time.Since(began)
				})
				resent := 0
				if f.stored {
					resent = 1 << 20
				}
				p.conclude(resent)
				if !f.stored {
					p.noneAgain()
				} else {
					// A Prometheus that has a request already refuses it.
					refused := p.samples.Answers()[http.StatusBadRequest]
					if p.loki.Resent() == 0 || p.samples.Resent()+refused == 0 {
						p.Error("nothing came again though no answer was whole")
					}
					p.numbers.Note = "what comes again is refused by Prometheus, which has it, and counted as refused"
				}
				if f.check != nil {
					f.check(p, p.loki.Seen()[fromLoki:], lasted)
					f.check(p, p.samples.Seen()[fromPrometheus:], lasted)
				}
				stored(p)
				p.healthy()
			})
		}
	}
	for _, u := range users {
		t.Run("away as "+u.name, func(t *testing.T) {
			t.Parallel()
			away := length(12*time.Second, 10*time.Minute)
			p := real(t, u, fmt.Sprintf("the backend is away for %v while the files rotate", away), pairOptions{}, 17)
			p.start()
			p.flows()
			p.while(400, func() {
				p.loki.Gone()
				p.samples.Gone()
				lasts(away)
				p.why("output.loki.lines", "refused")
				p.loki.Back()
				p.samples.Back()
			})
			p.conclude(0)
			p.noneAgain()
			stored(p)
			p.healthy()
		})
		t.Run("cut as "+u.name, func(t *testing.T) {
			t.Parallel()
			p := real(t, u, "the network is cut: packets to the backend and back vanish", pairOptions{outputs: "  request_timeout = \"3s\""}, 23)
			p.start()
			p.flows()
			p.while(200, func() {
				mend := cut(p, p.loki.Address(), p.samples.Address())
				lasts(length(10*time.Second, 3*time.Minute))
				p.why("output.loki.lines", "answer")
				mend()
			})
			// What was under way when the cut came may have been stored unanswered.
			p.conclude(1)
			stored(p)
			p.healthy()
		})
		t.Run("dead sibling as "+u.name, func(t *testing.T) {
			t.Parallel()
			p := real(t, u, "one of two outputs of the same input is dead, and drops", pairOptions{}, 25)
			dead := harness.NewLoki(t)
			dead.Answer(harness.Answer{Hang: true})
			p.agent.Overwrite(config(p.world) + fmt.Sprintf(`
output "loki" "dead" {
  from            = input.files.app
  url             = %q
  request_timeout = "2s"
  batch_size      = "16KiB"
  queue {
    storage   = "memory"
    max_size  = "1MiB"
    when_full = "drop_oldest"
  }
}

output "remote_write" "dead" {
  from            = input.nginx.numbers
  url             = %q
  request_timeout = "2s"
}
`, dead.URL(), strings.Replace(dead.URL(), "/loki/api/v1/push", "/api/v1/write", 1)))
			p.start()
			p.flows()
			p.noise(4000, 600) // more than the queue of the dead one holds
			p.while(200, func() { lasts(length(5*time.Second, 5*time.Minute)) })
			p.conclude(0)
			p.noneAgain()
			stored(p)
			lost := p.losses("output.loki.dead")
			total := uint64(0)
			for _, n := range lost {
				total += n
			}
			if total == 0 {
				p.Errorf("the dead output has dropped nothing: %v", lost)
			}
			p.lines.Note = fmt.Sprintf("the dead one has dropped %d lines, and counted them: %v", total, lost)
			p.healthy()
		})
		t.Run("one bad line as "+u.name, func(t *testing.T) {
			t.Parallel()
			r := begin(t, row{Group: backends, Case: "a real Loki answers 400 for one line of a thousand", Source: "files", User: u.name}).shows(20)
			proxy := harness.NewProxy(t, loki)
			label := fmt.Sprintf("bad-%s", u.name)
			w := &world{T: t, loki: proxy.Loki, dir: harness.Dir(t)}
			w.agent = harness.NewAgent(t, harness.AgentOptions{User: u.id, Config: fmt.Sprintf(`
input "files" "app" {
  paths         = ["%s/app.log"]
  labels        = { app = %q }
  max_line_size = "1MiB"
}

output "loki" "main" {
  from          = input.files.app
  url           = %q
  max_line_size = "1MiB"
  batch_size    = "4MiB"
}
`, w.dir, label, proxy.URL())})
			want := map[string]int{}
			var text strings.Builder
			for i := range 1000 {
				line := fmt.Sprintf("line %d of a thousand", i)
				if i == 500 {
					line = strings.Repeat("bad ", 100_000) // Loki's own limit is 256 KB
				} else {
					want[line] = 1
				}
				text.WriteString(line + "\n")
			}
			if err := os.WriteFile(w.path("app.log"), []byte(text.String()), 0o644); err != nil {
				t.Fatal(err)
			}
			w.start()
			var tally harness.Tally
			harness.Eventually(t, patience, "Loki has the good ones", func() (bool, string) {
				var err error
				tally, err = loki.Lines(fmt.Sprintf("{app=%q}", label))
				return err == nil && tally.Total >= len(want), fmt.Sprint(tally.Total, err, proxy.Refusals())
			})
			harness.Eventually(t, patience, "the bad one is counted", func() (bool, string) {
				lost := w.losses("output.loki.main")
				return lost["rejected_line_too_long"] == 1 && len(lost) == 1, fmt.Sprint(lost)
			})
			missing, repeated, unknown, examples := tally.Compare(want)
			if missing+repeated+unknown != 0 {
				t.Errorf("in Loki %d are missing, %d are there again, %d were never written: %v", missing, repeated, unknown, examples)
			}
			// The proxy notes an answer once it has given it: the agent may have counted it before.
			harness.Eventually(t, patience, "the refusal is noted", func() (bool, string) {
				return proxy.Answers()[http.StatusBadRequest] > 0, fmt.Sprint(proxy.Answers())
			})
			if n := proxy.Answers()[http.StatusBadRequest]; n != 1 {
				t.Errorf("Loki refused %d requests", n)
			}
			aside, err := os.ReadDir(w.agent.QueueDir("output.loki.main") + "/aside")
			if err != nil || len(aside) != 1 {
				t.Errorf("what was refused is kept aside: %v, %v", aside, err)
			}
			r.Written, r.Delivered = 1000, len(want)
			r.Note = "1 line is counted as refused and kept aside"
			w.healthy()
		})
		t.Run("an older protocol as "+u.name, func(t *testing.T) {
			t.Parallel()
			r := begin(t, row{Group: backends, Case: "remote_write 2.0 to a real Prometheus that knows 1.0", Source: "samples", User: u.name}).shows(24)
			counter := harness.NewCounter(t)
			instance := "old-" + u.name
			a := harness.NewAgent(t, harness.AgentOptions{User: u.id, Config: fmt.Sprintf(`
input "nginx" "numbers" {
  url      = %q
  instance = %q
  interval = "100ms"
}

output "remote_write" "samples" {
  from     = input.nginx.numbers
  url      = %q
  protocol = "2.0"
}
`, counter.URL(), instance, prometheus.URL())})
			w := (&world{T: t, agent: a}).start()
			numbers := func() map[int]bool {
				got := map[int]bool{}
				series, err := prometheus.Samples(fmt.Sprintf("%s{instance=%q}[1h]", harness.CounterName, instance))
				if err != nil {
					t.Fatal(err)
				}
				for _, s := range series {
					for _, v := range s.Samples {
						got[int(v.Value)] = true
					}
				}
				return got
			}
			harness.Eventually(t, patience, "numbers come", func() (bool, string) { return len(numbers()) >= 25, fmt.Sprint(len(numbers())) })
			last := counter.Stop()
			harness.Eventually(t, patience, "the last one comes", func() (bool, string) { return numbers()[last] || numbers()[last-1], "" })
			got := numbers()
			failed, err := prometheus.Query(fmt.Sprintf("count_over_time((up{instance=%q} == 0)[1h:100ms])", instance))
			if err != nil {
				t.Fatal(err)
			}
			missing := 0
			for n := 1; n <= last; n++ {
				if !got[n] {
					missing++
				}
			}
			if missing > 1 && len(failed) == 0 {
				t.Errorf("%d of %d numbers are missing", missing, last)
			}
			r.Written, r.Delivered = last, last-missing
			harness.Conserved(t, a)
			if lost := w.losses("output.remote_write.samples"); len(lost) > 0 {
				t.Errorf("lost: %v", lost)
			}
			w.healthy()
		})
	}
}

// cut drops packets to and from addresses of this machine; mend lets them pass again.
func cut(p *pair, addresses ...string) (mend func()) {
	p.Helper()
	var rules [][]string
	for _, a := range addresses {
		port := a[strings.LastIndexByte(a, ':')+1:]
		for _, way := range []string{"--dport", "--sport"} {
			rules = append(rules, []string{"INPUT", "-i", "lo", "-p", "tcp", way, port, "-j", "DROP"})
		}
	}
	run := func(how string, rule []string) error {
		out, err := exec.Command("iptables", append([]string{"-w", how}, rule...)...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("iptables %s %v: %w: %s", how, rule, err, out)
		}
		return nil
	}
	mended := false
	mend = func() {
		if mended {
			return
		}
		mended = true
		for _, rule := range rules {
			if err := run("-D", rule); err != nil {
				p.Error(err)
			}
		}
	}
	p.Cleanup(mend)
	for i, rule := range rules {
		if err := run("-I", rule); err != nil {
			rules = rules[:i]
			p.Fatal(err)
		}
	}
	return mend
}
