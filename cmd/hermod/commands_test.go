package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hermod-agent/hermod/pipeline/admin"
	"github.com/hermod-agent/hermod/pipeline/graph"
)

func TestExitCodes(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		line string
		code int
		err  string
	}{
		{"version", 0, ""},
		{"", 0, ""},
		{"help", 0, ""},
		{"help run", 0, ""},
		{"queue", 0, ""},
		{"queue ls", 2, "accepts 1 arg"},
		{"queue ls " + dir, 1, "there is no queue"},
		{"queue show " + dir + "/none", 1, "no such file"},
		{"queue drop --yes " + dir, 1, "there is no queue"},
		{"help input", 0, ""},
		{"help agent", 0, ""},
		{"help language", 0, ""},
		{"run --help", 0, ""},
		{"completion bash", 0, ""},
		{"nonsense", 2, "unknown command"},
		{"run --nonsense", 2, "unknown flag"},
		{"run a b", 2, "accepts at most 1 arg"},
		{"validate", 2, "accepts 1 arg"},
		{"validate " + dir + "/none.hcl", 2, "none.hcl"},
		{"run " + dir + "/none.hcl", 2, "none.hcl"},
		{"graph " + dir + "/none.hcl", 2, "none.hcl"},
		{"fmt " + dir + "/none.hcl", 1, "none.hcl"},
		{"fmt -w --check x", 2, "exclude each other"},
		{"help nonsense", 2, "there is no command"},
		{"help input nonsense", 2, "there is no input"},
		{"help inptu", 2, `did you mean "input"`},
		{"help docker_logs", 2, "hermod help input docker_logs"},
		{"status --address nonsense", 2, "is not an address"},
		{"status --address 127.0.0.1:1", 1, "no agent answers"},
		{"health --address 127.0.0.1:1", 1, "connection refused"},
	} {
		k := newConsole()
		if code := k.run(t, strings.Fields(c.line)...); code != c.code || !strings.Contains(k.err.String(), c.err) {
			t.Errorf("hermod %s: exit code %d, want %d, and %q\n%s", c.line, code, c.code, c.err, k.err.String())
		}
		if c.code == 0 && k.out.String() == "" {
			t.Errorf("hermod %s prints nothing", c.line)
		}
	}
}

func TestVersionNamesThePlatform(t *testing.T) {
	k := newConsole()
	k.run(t, "version")
	if out := k.out.String(); !strings.HasPrefix(out, "hermod "+version) || !strings.Contains(out, "go1.") {
		t.Errorf("%q", out)
	}
}

func TestHelpListsAndExplainsEveryType(t *testing.T) {
	for _, kind := range kinds() {
		list := newConsole()
		list.run(t, "help", kind)
		for _, d := range list.types(kind) {
			if !strings.Contains(list.out.String(), d.Type+" ") || !strings.Contains(list.out.String(), d.Summary) {
				t.Errorf("help %s does not list %s", kind, d.Type)
			}
			k := newConsole()
			if code := k.run(t, "help", kind, d.Type); code != 0 || !strings.HasPrefix(k.out.String(), "# ") || !strings.Contains(k.out.String(), d.Type) {
				t.Errorf("help %s %s: exit code %d, %s%s", kind, d.Type, code, k.out.String(), k.err.String())
			}
		}
	}
}

func TestShellsCompleteTypes(t *testing.T) {
	k := newConsole()
	k.run(t, "__complete", "help", "input", "")
	if out := k.out.String(); !strings.Contains(out, "docker_logs\t") || !strings.Contains(out, "host\t") {
		t.Errorf("%q", out)
	}
	k = newConsole()
	k.run(t, "__complete", "help", "")
	if out := k.out.String(); !strings.Contains(out, "input\n") || !strings.Contains(out, "run\t") {
		t.Errorf("%q", out)
	}
}

func TestValidateSaysWhatIsThere(t *testing.T) {
	path := file(t, "agent.hcl", "input \"host\" {}\noutput \"stdout\" { from = input.host }\n")
	k := newConsole()
	if code := k.run(t, "validate", path); code != 0 || k.out.String() != path+" is valid: 1 input, 1 output\n" {
		t.Errorf("exit code %d, %q %q", code, k.out.String(), k.err.String())
	}
}

func TestValidateTellsEveryFaultInOrder(t *testing.T) {
	path := file(t, "agent.hcl", `agent {
  listn = "127.0.0.1:0"
}
input "hots" {}
input "host" {
  interval = "soon"
}
output "stdout" {
  from = input.mysql
}
output "prometheus" {
  from   = input.host
  listen = 3
  listenn = "x"
}
`)
	k := newConsole()
	code := k.run(t, "validate", path)
	at := 0
	for _, line := range []string{":2:", ":4:", ":6:", ":9:", ":14:"} {
		i := strings.Index(k.err.String()[at:], path+line)
		if i < 0 {
			t.Fatalf("no fault at line %s after the one before it\n%s", line, k.err.String())
		}
		at += i
	}
	if code != 2 || k.out.String() != "" {
		t.Errorf("exit code %d, stdout %q", code, k.out.String())
	}
}

func TestBadConfigsHaveTheirDiagnostic(t *testing.T) {
	for name, content := range map[string]string{
		"empty": "", "binary": "\x00\xff\xfe\x01PNG\r\n", "huge": strings.Repeat("# a comment that goes on and on and on and on\n", 11<<20/46),
		"unclosed": "input \"host\" {", "markup": "<html><body>",
	} {
		path := file(t, name+".hcl", content)
		for _, command := range []string{"validate", "run", "graph"} {
			if name == "empty" && command == "graph" {
				continue
			}
			k := newConsole()
			if code := k.run(t, command, path); code != 2 || k.err.String() == "" {
				t.Errorf("%s %s: exit code %d, %q", command, name, code, k.err.String())
			}
		}
	}
}

func TestFmt(t *testing.T) {
	const crooked, straight = "input \"host\" {\n    interval=\"5s\"\n  job = \"node\"\n}\n", "input \"host\" {\n  interval = \"5s\"\n  job      = \"node\"\n}\n"

	k := newConsole()
	k.stdin = strings.NewReader(crooked)
	if code := k.run(t, "fmt", "-"); code != 0 || k.out.String() != straight {
		t.Errorf("stdin: %d %q", code, k.out.String())
	}

	dir := t.TempDir()
	real := filepath.Join(dir, "real")
	if err := os.Mkdir(real, 0o700); err != nil {
		t.Fatal(err)
	}
	path, link := filepath.Join(real, "a.hcl"), filepath.Join(dir, "link.hcl")
	if err := os.WriteFile(path, []byte(crooked), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	for _, check := range []string{"-check", "--check", "-c"} {
		k = newConsole()
		if code := k.run(t, "fmt", check, link); code != 1 || k.out.String() != link+"\n" || k.err.String() != "" {
			t.Errorf("%s: %d %q %q", check, code, k.out.String(), k.err.String())
		}
	}
	k = newConsole()
	if code := k.run(t, "fmt", "-w", link); code != 0 || k.out.String() != "" {
		t.Errorf("-w: %d %q %q", code, k.out.String(), k.err.String())
	}
	got, _ := os.ReadFile(path)
	st, _ := os.Lstat(link)
	mode, _ := os.Stat(path)
	if string(got) != straight || st.Mode()&os.ModeSymlink == 0 || mode.Mode().Perm() != 0o640 {
		t.Errorf("after -w: %q, link %v, mode %v", got, st.Mode(), mode.Mode())
	}
	if rest, _ := os.ReadDir(real); len(rest) != 1 {
		t.Errorf("files are left: %v", rest)
	}
	k = newConsole()
	if code := k.run(t, "fmt", "--check", dir); code != 0 {
		t.Errorf("a folder that is laid out: %d %q", code, k.out.String())
	}
	k = newConsole()
	k.stdin = strings.NewReader("input \"host\" {\n")
	if code := k.run(t, "fmt", "-"); code != 2 || k.out.String() != "" || !strings.Contains(k.err.String(), "<stdin>:") {
		t.Errorf("a broken file: %d %q %q", code, k.out.String(), k.err.String())
	}
}

func TestAdminAddress(t *testing.T) {
	for _, c := range []struct{ flag, env, want string }{
		{"", "", "127.0.0.1:12345"}, {"nas:8080", "x:1", "nas:8080"}, {"", "0.0.0.0:80", "127.0.0.1:80"}, {"", "[::]:80", "[::1]:80"},
		{":80", "", "127.0.0.1:80"}, {"http://nas:1/", "", "nas:1"}, {"[fe80::1]:9", "", "[fe80::1]:9"}, {"nas", "", ""}, {"nas:", "", ""},
	} {
		k := newConsole()
		k.env[listenVar] = c.env
		if got, err := k.adminAddress(c.flag); got != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%+v: %q, %v", c, got, err)
		}
	}
}

func TestStatusAndHealthAskTheAgent(t *testing.T) {
	report := admin.Report{Status: graph.Status{Host: "nas", Version: "1", Now: time.Now(), Ready: true,
		Nodes: []graph.Node{{Address: "input.host", Kind: "input", State: graph.OK, Interval: 15, Cycles: 1, LastCycle: time.Now(), Series: 5}}}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/api/graph":
			_ = json.NewEncoder(w).Encode(report)
		case "/-/healthy":
			_, _ = w.Write([]byte("healthy\n"))
		}
	}))
	defer server.Close()
	address := strings.TrimPrefix(server.URL, "http://")

	k := newConsole()
	k.env[listenVar] = address
	if code := k.run(t, "status"); code != 0 || !strings.Contains(k.out.String(), "input.host") || strings.Contains(k.out.String(), "\x1b") {
		t.Errorf("status: %d %q %q", code, k.out.String(), k.err.String())
	}
	k = newConsole()
	if code := k.run(t, "status", "--json", "-a", address); code != 0 || !json.Valid([]byte(k.out.String())) {
		t.Errorf("status --json: %d %q", code, k.out.String())
	}
	k = newConsole()
	k.stdoutTerminal = true
	if k.run(t, "status", "-a", address); !strings.Contains(k.out.String(), "\x1b[32m") {
		t.Errorf("a terminal gets no colours: %q", k.out.String())
	}
	k = newConsole()
	k.stdoutTerminal, k.env["NO_COLOR"] = true, "1"
	if k.run(t, "status", "-a", address); strings.Contains(k.out.String(), "\x1b") {
		t.Error("NO_COLOR is not heeded")
	}
	k = newConsole()
	if code := k.run(t, "health", "-a", address); code != 0 || k.out.String() != "healthy\n" {
		t.Errorf("health: %d %q", code, k.out.String())
	}
}

func TestStatusOfSomethingElse(t *testing.T) {
	for body, code := range map[string]int{"<html>": 200, "gone": 404} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(code)
			_, _ = w.Write([]byte(body))
		}))
		k := newConsole()
		if exit := k.run(t, "status", "-a", strings.TrimPrefix(server.URL, "http://")); exit != 1 || !strings.Contains(k.err.String(), "what to do: ") {
			t.Errorf("%s: %d %q", body, exit, k.err.String())
		}
		server.Close()
	}
}

func TestDrawings(t *testing.T) {
	s := graph.Status{
		Nodes: []graph.Node{
			{Address: "input.docker_logs", Kind: "input"}, {Address: "input.files.idle", Kind: "input"}, {Address: "input.host", Kind: "input"},
			{Address: `input.host.fleet["a"]`, Kind: "input"},
			{Address: "processor.filter.noise", Kind: "processor"}, {Address: "processor.filter.unused", Kind: "processor"},
			{Address: "output.loki.main", Kind: "output"}, {Address: "output.prometheus", Kind: "output"}, {Address: "output.stdout", Kind: "output"},
		},
		Edges: []graph.Edge{
			{From: "input.docker_logs", To: "processor.filter.noise", Signal: "logs"},
			{From: "input.docker_logs", To: "processor.filter.unused", Signal: "logs"},
			{From: "input.files.other", To: "processor.filter.noise", Signal: "logs"},
			{From: "input.host", To: "output.prometheus", Signal: "metrics"},
			{From: `input.host.fleet["a"]`, To: "output.prometheus", Signal: "metrics"},
			{From: "processor.filter.noise", To: "output.loki.main", Signal: "logs"},
			{From: "processor.filter.noise", To: "output.stdout", Signal: "logs"},
		},
	}
	s.Nodes = append(s.Nodes, graph.Node{Address: "input.files.other", Kind: "input"})
	golden(t, "graph.txt", drawText(&s))
	golden(t, "graph.dot", drawDOT(&s))
}

func TestGraphDrawsAConfig(t *testing.T) {
	path := file(t, "agent.hcl", "input \"host\" {}\noutput \"stdout\" { from = input.host }\n")
	k := newConsole()
	if code := k.run(t, "graph", path); code != 0 || k.out.String() != "input.host\n└─ metrics → output.stdout\n" {
		t.Errorf("%d %q %q", code, k.out.String(), k.err.String())
	}
	k = newConsole()
	if code := k.run(t, "graph", "--dot", path); code != 0 || !strings.Contains(k.out.String(), `"input.host" -> "output.stdout" [label="metrics"];`) {
		t.Errorf("%d %q", code, k.out.String())
	}
}
