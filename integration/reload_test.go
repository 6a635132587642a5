//go:build integration

package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hermod-agent/hermod/integration/harness"
	"github.com/hermod-agent/hermod/integration/lines"
)

func TestReloadsUnderLoadLoseNothing(t *testing.T) {
	harness.RequireDocker(t)
	loki := harness.NewLoki(t)
	config := func(generation int) string {
		return strings.Replace(dockerToLoki(loki), "  url ", fmt.Sprintf("  headers = { X-Generation = \"%d\" }\n  url ", generation), 1)
	}
	agent := harness.NewAgent(t, as(t, true, harness.AgentOptions{Config: config(0)}))
	agent.Start()
	agent.AwaitReady()
	const n, rate, reloads = 100_000, 4000, 25
	sources := startWriters(t,
		harness.Writer{Driver: "json-file", Options: plain("json-file"), Lines: n, Rate: rate, Stderr: true},
		harness.Writer{Driver: "local", Options: plain("local"), Lines: n, Rate: rate, Hold: true},
	)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for i := range reloads {
		<-tick.C
		before, err := agent.Status()
		if err != nil {
			t.Fatal(err)
		}
		agent.Configure(config(i + 1))
		if i%2 == 0 {
			agent.Hangup()
		} else if status, body, err := agent.Reload(); err != nil || status/100 != 2 {
			t.Fatalf("reload %d: %d, %v: %s", i, status, err, body)
		}
		harness.Eventually(t, 10*time.Second, "the new config is taken", func() (bool, string) {
			now, err := agent.Status()
			return err == nil && now.Loaded.After(before.Loaded) && now.ReloadError == "", fmt.Sprintf("%v %v %s", err, now.Loaded, now.ReloadError)
		})
	}
	awaitAll(t, loki, 2*time.Minute, sources...)
	status := harness.ConservedSinceReload(t, agent)
	if passed, written := harness.Passed(status, "output.loki.main"), len(sources)*lines.Count(n); passed != written {
		t.Errorf("%d lines were written and the output was passed %d", written, passed)
	}
	for _, s := range sources {
		missing, repeated, unknown, examples := loki.Tally(s.match()).Compare(lines.Want(s.Source, s.lines))
		if missing+unknown != 0 {
			t.Errorf("%s: %d missing, %d never written: %v", s.Name, missing, unknown, examples)
		}
		// A reload doesn't wait for the answer to a request: the successor sends the same body again, of which Loki keeps one.
		if stored := loki.Tally(s.match()).Stored; stored != lines.Count(n) {
			t.Errorf("%s: Loki would keep %d records of %d lines", s.Name, stored, lines.Count(n))
		}
		t.Logf("%s: %d lines, %d came again over %d reloads", s.Name, lines.Count(s.lines), repeated, reloads)
	}
}

func TestABrokenConfigAtReloadLeavesTheOldOneRunning(t *testing.T) {
	loki := harness.NewLoki(t)
	dir := harness.Dir(t)
	good := fmt.Sprintf(`
input "files" "app" {
  paths = ["%s/*.log"]
}

output "loki" "main" {
  from = input.files.app
  url  = %q
}
`, dir, loki.URL())
	agent := harness.NewAgent(t, harness.AgentOptions{Config: good})
	agent.Start()
	agent.AwaitReady()
	flows := func(source string) {
		t.Helper()
		if err := writeRotating(dir+"/"+source+".log", source, 100, 0, 0); err != nil {
			t.Fatal(err)
		}
		harness.Eventually(t, 30*time.Second, source+" arrives", func() (bool, string) {
			missing, _, _, examples := loki.Tally(nil).Compare(lines.Want(source, 100))
			return missing == 0, fmt.Sprint(missing, examples)
		})
	}
	flows("before")
	for i, broken := range brokenConfigs {
		t.Run(broken.name, func(t *testing.T) {
			if strings.HasPrefix(broken.config, "input") {
				agent.Configure(broken.config) // under the agent block that runs, whose data_dir no reload may change
			} else {
				agent.Overwrite(broken.config)
			}
			if i%2 == 0 {
				status, body, err := agent.Reload()
				if err != nil || status/100 == 2 || !strings.Contains(body, broken.want) {
					t.Errorf("the reload answered %d, %v, without %q: %s", status, err, broken.want, body)
				}
			} else {
				agent.Hangup()
			}
			harness.Eventually(t, 10*time.Second, "the agent tells why it refused", func() (bool, string) {
				status, err := agent.Status()
				return err == nil && strings.Contains(status.ReloadError, broken.want), fmt.Sprintf("%v: %s", err, status.ReloadError)
			})
			flows(fmt.Sprintf("during%d", i))
		})
	}
	agent.Configure(good + "\n# again\n")
	if status, body, err := agent.Reload(); err != nil || status/100 != 2 {
		t.Errorf("a good config after broken ones: %d, %v: %s", status, err, body)
	}
	status := harness.ConservedSinceReload(t, agent)
	if status.ReloadError != "" {
		t.Errorf("after a good config it still says %q", status.ReloadError)
	}
	flows("after")
}
