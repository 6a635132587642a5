//go:build integration

package integration

import (
	"bufio"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/hermod-agent/hermod/integration/harness"
	"github.com/hermod-agent/hermod/integration/lines"
)

// writeRotating appends the lines of a source to path, and after every so many lines renames it to path.1, path.2, ... and creates it
// anew, as logrotate does without copytruncate. rate is lines a second; 0 is as many as go.
func writeRotating(path, source string, n, rate, every int) (err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() {
		if closed := file.Close(); err == nil {
			err = closed
		}
	}()
	buffered := bufio.NewWriter(file)
	count, generation, began := 0, 0, time.Now()
	lines.Each(source, n, false, func(l lines.Line) bool {
		buffered.WriteString(l.Text)
		buffered.WriteByte('\n')
		count++
		if rate > 0 && count%max(1, rate/100) == 0 {
			err = buffered.Flush()
			if early := time.Until(began.Add(time.Duration(count) * time.Second / time.Duration(rate))); early > 0 {
				<-time.After(early)
			}
		}
		if err == nil && every > 0 && count%every == 0 {
			generation++
			if err = os.Rename(path, fmt.Sprintf("%s.%d", path, generation)); err != nil {
				return false
			}
			// Whoever writes goes on with the old file for a moment.
			if err = buffered.Flush(); err != nil {
				return false
			}
			if err = file.Close(); err != nil {
				return false
			}
			if file, err = os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_APPEND|os.O_WRONLY, 0o644); err != nil {
				return false
			}
			buffered.Reset(file)
		}
		return err == nil
	})
	if err == nil {
		err = buffered.Flush()
	}
	return err
}

// awaitTexts waits until all that is wanted came, and asserts that it came once and in order.
func awaitTexts(t *testing.T, loki *harness.Loki, match map[string]string, want map[string]int) {
	t.Helper()
	harness.Eventually(t, time.Minute, "all lines arrive", func() (bool, string) {
		missing, _, _, examples := loki.Tally(match).Compare(want)
		return missing == 0, fmt.Sprintf("%d missing: %v", missing, examples)
	})
	tally := loki.Tally(match)
	if _, repeated, unknown, examples := tally.Compare(want); repeated+unknown != 0 {
		t.Errorf("%d came again, %d were never written: %v", repeated, unknown, examples)
	}
	if tally.Late != 0 {
		t.Errorf("%d lines came out of order", tally.Late)
	}
}

func TestFilesArriveOnceThroughRotationsAndACleanRestart(t *testing.T) {
	loki := harness.NewLoki(t)
	dir := harness.Dir(t)
	agent := harness.NewAgent(t, harness.AgentOptions{Config: fmt.Sprintf(`
input "files" "app" {
  paths  = ["%s/**/*.log"]
  labels = { app = "a" }
}

output "loki" "main" {
  from = input.files.app
  url  = %q
}
`, dir, loki.URL())})
	const n = 50_000
	match := map[string]string{"app": "a"}
	if err := os.MkdirAll(dir+"/deep/er", 0o755); err != nil {
		t.Fatal(err)
	}
	// What is there before the agent comes is read from its beginning.
	if err := writeRotating(dir+"/deep/er/first.log", "first", n, 0, 0); err != nil {
		t.Fatal(err)
	}
	agent.Start()
	agent.AwaitReady()
	want := lines.Want("first", n)
	awaitTexts(t, loki, match, want)
	delivered(t, agent, loki, "output.loki.main", 0)
	if code := agent.Stop(); code != 0 {
		t.Fatalf("stopped with code %d", code)
	}

	before := loki.Records()
	// While it is away a file grows; when it is back one comes that is renamed out of the pattern ten times.
	if err := writeRotating(dir+"/deep/er/first.log", "more", 1000, 0, 0); err != nil {
		t.Fatal(err)
	}
	agent.Start()
	agent.AwaitReady()
	if err := writeRotating(dir+"/second.log", "second", n, 20_000, 6000); err != nil {
		t.Fatal(err)
	}
	for _, more := range []map[string]int{lines.Want("more", 1000), lines.Want("second", n)} {
		for text, count := range more {
			want[text] += count
		}
	}
	awaitTexts(t, loki, match, want)
	delivered(t, agent, loki, "output.loki.main", before)
}
