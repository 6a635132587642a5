//go:build integration

package harness

import (
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Seeded gives the moments of a test; HERMOD_IT_SEED repeats those of a run that failed.
func Seeded(t testing.TB) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if given := os.Getenv("HERMOD_IT_SEED"); given != "" {
		var err error
		if seed, err = strconv.ParseUint(given, 10, 64); err != nil {
			t.Fatalf("HERMOD_IT_SEED: %v", err)
		}
	}
	t.Logf("HERMOD_IT_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// Between lets a random time pass while the agent works; that it passes is what the test is about.
func Between(r *rand.Rand, from, to time.Duration) {
	<-time.After(from + time.Duration(r.Int64N(int64(to-from))))
}

// KillOften kills the agent at random moments and starts it again at once. What a run delivered before its last save but one is in its last save, and
// must not come again: so a kill repeats what came within one interval between two saves. The agent has one log input only: each saves for itself. safe is
// how many lines WithinTheInterval can then say it of; a machine that is busy may give no run the time to save twice. dead is called after each kill.
func KillOften(t testing.TB, random *rand.Rand, agent *Agent, loki *Loki, kills int, dead ...func()) (safe int) {
	t.Helper()
	began := time.Now()
	for i := range kills {
		Between(random, 20*time.Millisecond, 5*time.Second)
		if i%3 == 1 && i < kills/2 { // while there is something to save: on a busy machine a random time may always be too short for two saves
			for end := time.Now().Add(30 * time.Second); time.Now().Before(end); <-time.After(20 * time.Millisecond) {
				if saved, ok := agent.SaveBeforeLast(); ok && saved.After(began.Add(2*acknowledged)) {
					break
				}
			}
		}
		agent.Kill()
		if saved, ok := agent.SaveBeforeLast(); ok && saved.After(began) {
			until := saved.Add(-noted)
			if inFlight := time.Now().Add(-acknowledged); inFlight.Before(until) {
				until = inFlight
			}
			safe += loki.Safe(began, until)
		}
		for _, look := range dead {
			look()
		}
		Between(random, time.Millisecond, 200*time.Millisecond)
		began = time.Now()
		agent.Start()
	}
	t.Logf("%d lines were safe at a kill", safe)
	return safe
}

// noted is what may pass between the delivery of a record and the note of its position, and how coarse the times of files are.
const noted = 200 * time.Millisecond

// acknowledged is what may pass between the arrival of a record at the server and the agent's note of it, on a busy machine: what was in flight is
// repeated by a kill besides, since it is on the agent's disk, where it counts as safe, and nobody read the answer.
const acknowledged = time.Second

// WithinTheInterval asserts what KillOften expects of repeats.
func WithinTheInterval(t testing.TB, loki *Loki) {
	t.Helper()
	if old := loki.TooOld(); len(old) > 0 {
		t.Errorf("%d lines came again whose positions were saved: %s", len(old), strings.Join(old[:min(5, len(old))], "; "))
	}
}

// InMemory has the outputs of a config keep their queues in memory. Then what was delivered and saved never comes again. On disk what a kill makes
// the agent read once more lies in the queue twice, and its second copy may come much later.
func InMemory(config string) string {
	return strings.ReplaceAll(config, "\n  url ", "\n  queue {\n    storage = \"memory\"\n  }\n  url ")
}
