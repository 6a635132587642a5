package main

import (
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
)

func machine() *situation {
	s := &situation{
		host:     component.Host{Name: "nas", Procfs: "/proc", Sysfs: "/sys", Rootfs: "/"},
		listen:   chosen{"127.0.0.1:12345", "127.0.0.1:12345"},
		scrape:   chosen{"127.0.0.1:9100", "127.0.0.1:9100"},
		terminal: true,
	}
	s.askDocker = func() error { return s.docker }
	return s
}

func TestTheSummarySaysWhatWasFound(t *testing.T) {
	s := machine()
	golden(t, "summary_terminal.txt", s.summary())

	s = machine()
	s.terminal = false
	s.docker = component.WithRemedy(errors.New("no permission to open /var/run/docker.sock"), "add the user to the group docker")
	s.scrape.address, s.listen.address = "127.0.0.1:9101", "127.0.0.1:12346"
	golden(t, "summary_ports_taken.txt", s.summary())

	s = machine()
	s.terminal = false
	s.host = component.Host{Name: "nas", Procfs: "/host/proc", Sysfs: "/host/sys", Rootfs: "/rootfs", Container: true,
		Missing: []string{"the machine's root is not mounted: the filesystem numbers are the container's own; add -v /:/rootfs:ro"}}
	s.listen, s.scrape = chosen{"0.0.0.0:12345", "0.0.0.0:12345"}, chosen{"0.0.0.0:9100", "0.0.0.0:9100"}
	s.dataDir = "/data"
	golden(t, "summary_container.txt", s.summary())
}

func TestTheBuiltInConfigIsValidInEverySituation(t *testing.T) {
	situations := map[string]func(*situation){
		"terminal":  func(*situation) {},
		"no socket": func(s *situation) { s.docker = errors.New("none") },
		"detached":  func(s *situation) { s.terminal = false },
		"data":      func(s *situation) { s.dataDir = t.TempDir() + `/with "quotes" and ${dollars}` },
		"container": func(s *situation) { s.host.Container, s.listen.address = true, "0.0.0.0:12345" },
	}
	for name, change := range situations {
		s := machine()
		change(s)
		k := newConsole()
		source := &builtinSource{app: k.app, options: k.configOptions(t.Context()), here: s}
		f, diags := source.load()
		if len(diags) > 0 {
			t.Errorf("%s: %s", name, render(diags, f, false))
			continue
		}
		if s.dataDir != "" && f.Agent.DataDir != s.dataDir {
			t.Errorf("%s: data_dir %q", name, f.Agent.DataDir)
		}
		if diags := k.check(t.Context(), source, f); len(diags) > 0 {
			t.Errorf("%s: %s", name, render(diags, f, false))
		}
		if logs := strings.Contains(s.config(), "docker_logs"); logs != s.showsLogs() {
			t.Errorf("%s: docker_logs %v", name, logs)
		}
	}
}

func TestThePortAfterATakenOneIsChosen(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := l.Addr().(*net.TCPAddr).Port
	c := freeAddress("127.0.0.1", taken)
	if c.wanted != l.Addr().String() || c.address == c.wanted {
		t.Errorf("%+v", c)
	}
	if again, err := net.Listen("tcp", c.address); err != nil {
		t.Errorf("%s was chosen and can't be opened: %v", c.address, err)
	} else {
		again.Close()
	}
	if c := freeAddress("203.0.113.1", 9100); c.address != c.wanted {
		t.Errorf("an address that this machine doesn't have gives %+v", c)
	}
}

func TestTheEnvironmentSetsListenAndDataDir(t *testing.T) {
	k := newConsole()
	k.env[listenVar], k.env["HERMOD_DATA_DIR"], k.env["HERMOD_HOST"] = "127.0.0.1:7777", "/data", "elsewhere"
	s := k.lookAround(t.Context())
	if s.listen.address != "127.0.0.1:7777" || s.dataDir != "/data" || s.host.Name != "elsewhere" {
		t.Errorf("%+v", s)
	}
}

func TestHCLStrings(t *testing.T) {
	for _, s := range []string{"plain", `a "quoted" one`, "${not} a template %{either}", "tab\tline\nend", "$${", `back\slash`, "ü"} {
		k := newConsole()
		f, diags := config.Parse(map[string][]byte{"x": []byte("agent {\n  labels = { x = " + hclString(s) + " }\n}\ninput \"host\" {}\n")}, k.configOptions(t.Context()))
		if diags.HasErrors() || f.Agent.Labels["x"] != s {
			t.Errorf("%q: %v", s, diags)
		}
	}
}
