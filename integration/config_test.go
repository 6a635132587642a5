//go:build integration

package integration

import (
	"fmt"
	"net"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hermod-agent/hermod/integration/harness"
)

// brokenConfigs are refused at the start and at a reload, with want among what is said.
var brokenConfigs = []struct{ name, config, want string }{
	{"no closing brace", "input \"host\" \"nas\" {\n", "agent.hcl:"},
	{"an unknown type", "input \"hots\" \"nas\" {}\n", `did you mean "host"?`},
	{"a misspelt attribute", "input \"host\" \"nas\" {\n  procsf = \"/proc\"\n}\n", `did you mean "procfs"?`},
	{"an unknown reference", "input \"host\" \"nas\" {}\noutput \"stdout\" {\n  from = input.host.nsa\n}\n", "nas"},
	{"a cycle", "input \"host\" {}\nprocessor \"filter\" \"a\" {\n  from = processor.filter.b\n  drop_names = [\"x\"]\n}\nprocessor \"filter\" \"b\" {\n  from = processor.filter.a\n  drop_names = [\"x\"]\n}\n", "in a circle"},
	{"an unset variable", "agent {\n  data_dir = env(\"HERMOD_IT_NOT_SET\")\n}\n", "HERMOD_IT_NOT_SET"},
	{"binary bytes", "\x7fELF\x02\x01\x01\x00\x00\xff\xfe\x80\x81\x00", "agent.hcl"},
	{"no bytes", "", "agent.hcl"},
	{"ten megabytes", strings.Repeat("# all work and no play makes the agent dull\n", 10<<20/44), "agent.hcl"},
}

func TestABrokenConfigAtTheStartIsToldAndNothingRuns(t *testing.T) {
	for _, broken := range brokenConfigs {
		t.Run(broken.name, func(t *testing.T) {
			agent := harness.NewAgent(t, harness.AgentOptions{})
			agent.Overwrite(broken.config)
			for _, command := range []string{"validate", "run"} {
				code, stdout, stderr := agent.Run(command, agent.ConfigFile())
				if code != 2 {
					t.Errorf("%s: exit code %d, want 2\n%.2000s", command, code, stderr)
				}
				if !strings.Contains(stdout+stderr, broken.want) {
					t.Errorf("%s doesn't say %q:\n%.2000s", command, broken.want, stdout+stderr)
				}
			}
			left, err := os.ReadDir(agent.DataDir())
			if err != nil || len(left) > 0 {
				t.Errorf("a refused config left %v, %v", left, err)
			}
		})
	}
}

func TestEveryFaultIsToldInFileOrder(t *testing.T) {
	agent := harness.NewAgent(t, harness.AgentOptions{})
	agent.Overwrite(`agent {
  intervall = "15s"
}

input "host" "nas" {
  interval = "often"
}

input "docker_log" "all" {}

processor "relabel" "r" {
  from = input.host.nsa
  rule {
    source_labels = ["__name__"]
    regex         = "node_(.*"
    action        = "keep"
  }
}

output "remote_write" "mimir" {
  from = processor.relabel.r
  url  = "mimir/api/v1/push"
}
`)
	code, stdout, stderr := agent.Run("validate", agent.ConfigFile())
	if code != 2 {
		t.Errorf("exit code %d, want 2", code)
	}
	said := stdout + stderr
	var places []string
	for _, m := range regexp.MustCompile(`agent\.hcl:(\d+)`).FindAllStringSubmatch(said, -1) {
		if len(places) == 0 || places[len(places)-1] != m[1] {
			places = append(places, m[1])
		}
	}
	if got, want := fmt.Sprint(places), "[2 6 9 12 15 22]"; got != want {
		t.Errorf("diagnostics at lines %s, want %s:\n%s", got, want, said)
	}
}

func TestAPortInUseStopsTheStart(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	agent := harness.NewAgent(t, harness.AgentOptions{Config: fmt.Sprintf(`
input "host" {}

output "prometheus" "scrape" {
  from   = input.host
  listen = %q
}
`, taken.Addr())})
	agent.Start()
	if code := agent.Wait(20 * time.Second); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	if said := agent.Log(); !strings.Contains(said, taken.Addr().String()) || !strings.Contains(said, "in use") {
		t.Errorf("it doesn't say which port is in use:\n%s", said)
	}
}
