package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hermod-agent/hermod/internal/porttest"
)

const stubPage = "Active connections: 1 \nserver accepts handled requests\n 1 1 1 \nReading: 0 Writing: 1 Waiting: 0 \n"

// site answers like an nginx: the page at /ok, 403 at /forbidden, else 404.
func site(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ok":
			_, _ = io.WriteString(w, stubPage)
		case "/forbidden":
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, "no entry for "+r.Header.Get("Authorization"))
		case "/push":
			_, password, _ := r.BasicAuth()
			if password != "right" {
				w.WriteHeader(http.StatusUnauthorized)
				_, _ = io.WriteString(w, "wrong password "+password+"\x1b[31m")
			}
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestCheckSaysWhatIsWrongAndWhatToDo(t *testing.T) {
	url, data := site(t), t.TempDir()
	config := file(t, "agent.hcl", `
agent {
  listen   = "`+porttest.Reserve(t)+`"
  data_dir = "`+data+`/hermod"
}
input "nginx" "good" { url = "`+url+`/ok" }
input "nginx" "shut" {
  url          = "`+url+`/forbidden"
  bearer_token = "hunter2"
}
input "nginx" "lost" { url = "`+url+`/lost" }
output "remote_write" {
  from = input
  url  = "`+url+`/push"
  basic_auth {
    username = "hermod"
    password = "hunter2"
  }
}
`)
	c := newConsole()
	if code := c.run(t, "check", config); code != 1 {
		t.Errorf("exit code %d\n%s", code, c.err.String())
	}
	out := c.out.String()
	for _, want := range []string{
		"ok     agent: data_dir " + data + "/hermod: ", "it will be made in " + data, "ok     agent: listen ",
		"ok     input.nginx.good: read " + url + "/ok: stub_status, 8 series\n",
		"FAILED input.nginx.shut: read " + url + "/forbidden: " + url + "/forbidden answered 403 (Forbidden)",
		"       what to do: allow the address from which the agent comes",
		"FAILED input.nginx.lost: ", "location = /lost { stub_status; allow 127.0.0.1; deny all; }",
		"FAILED output.remote_write: push to " + url + "/push: ", `to user "hermod"`, "check username and password in basic_auth",
		"\n3 ok, 0 to note, 3 failed\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("it lacks %q", want)
		}
	}
	if strings.Contains(out+c.err.String(), "hunter2") || strings.Contains(out, "\x1b") {
		t.Error("a secret or a control character is shown")
	}
	if t.Failed() {
		t.Log(out)
	}
	if _, err := os.Stat(data + "/hermod"); err == nil {
		t.Error("the data folder was made")
	}
}

func TestCheckAsJSON(t *testing.T) {
	url := site(t)
	run := func(path, password string) (code int, report struct {
		OK       bool
		Findings []found
	},
	) {
		config := file(t, "agent.hcl", `
agent { listen = "off" }
input "nginx" { url = "`+url+path+`" }
output "remote_write" {
  from = input
  url  = "`+url+`/push"
  basic_auth {
    username = "hermod"
    password = "`+password+`"
  }
}
`)
		c := newConsole()
		code = c.run(t, "check", "--json", config)
		if err := json.Unmarshal([]byte(c.out.String()), &report); err != nil {
			t.Fatalf("%v: %s", err, c.out.String())
		}
		return code, report
	}
	code, report := run("/ok", "right")
	if code != 0 || !report.OK || len(report.Findings) != 2 || report.Findings[0] != (found{Component: "input.nginx", What: "read " + url + "/ok", State: "ok", Detail: "stub_status, 8 series"}) {
		t.Errorf("%d, %+v", code, report)
	}
	code, report = run("/forbidden", "right")
	if code != 1 || report.OK || report.Findings[0].State != "failed" || !strings.Contains(report.Findings[0].Remedy, "location = /forbidden") {
		t.Errorf("%d, %+v", code, report)
	}
}

func TestCheckTellsFaultsOfTheConfigAsValidateDoes(t *testing.T) {
	c := newConsole()
	if code := c.run(t, "check", file(t, "agent.hcl", `input "nginx" { ur = "x" }`)); code != 2 || !strings.Contains(c.err.String(), `did you mean "url"`) || c.out.String() != "" {
		t.Errorf("exit code %d\n%s", code, c.err.String())
	}
}

func TestCheckOfTheDataFolder(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if detail, note, err := checkDataDir(dir); err != nil || note || !strings.Contains(detail, "MiB free") {
		t.Errorf("%q, %v, %v", detail, note, err)
	}
	if _, _, err := checkDataDir(plain); err == nil || !strings.Contains(err.Error(), "is not a folder") {
		t.Error(err)
	}
	if _, _, err := checkDataDir("/proc/hermod"); err == nil {
		t.Error("a folder could be made in /proc")
	}
}

func TestCheckBesideARunningAgent(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/-/healthy" {
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(s.Close)
	address := strings.TrimPrefix(s.URL, "http://")
	_, note, err := newConsole().checkListen(t.Context(), address)
	if err == nil || !note || !strings.Contains(err.Error(), "an agent answers there already") {
		t.Errorf("%v, %v", note, err)
	}
	other := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(other.Close)
	if _, note, err = newConsole().checkListen(t.Context(), strings.TrimPrefix(other.URL, "http://")); err == nil || note {
		t.Errorf("another program: %v, %v", note, err)
	}
}
