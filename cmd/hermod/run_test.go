package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hermod-agent/hermod/internal/porttest"
	"github.com/hermod-agent/hermod/pipeline/component"
)

// get returns the body of a page, "" when nobody answers.
func get(url string) string {
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := client.Get(url)
	if err != nil {
		return ""
	}
	defer r.Body.Close()
	b, _ := io.ReadAll(r.Body)
	return string(b)
}

// running starts `hermod run` and waits until it says so.
func running(t *testing.T, k *console, args ...string) (ended chan int) {
	t.Helper()
	ended = make(chan int, 1)
	go func() { ended <- k.main(t.Context(), append([]string{"run"}, args...)) }()
	until(t, "it runs", func() bool {
		select {
		case code := <-ended:
			t.Fatalf("run ended with %d: %s", code, k.err.String())
		default:
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		return slices.Contains(k.told, "READY=1")
	})
	return ended
}

// self is a config with nothing but the agent's own metrics on a page.
func self(listen, page string) string {
	return "agent {\n  listen = \"" + listen + "\"\n}\ninput \"self\" {}\noutput \"prometheus\" {\n  from   = input.self\n  listen = \"" + page + "\"\n}\n"
}

func end(t *testing.T, k *console, ended chan int) {
	t.Helper()
	k.sent <- syscall.SIGTERM
	select {
	case code := <-ended:
		if code != 0 {
			t.Errorf("exit code %d: %s", code, k.err.String())
		}
	case <-time.After(time.Minute):
		t.Fatal("it does not stop")
	}
}

func TestRunWithoutAConfigShowsThisMachine(t *testing.T) {
	defer goleak.VerifyNone(t)
	k := newConsole()
	here := machine()
	here.host = k.host(t.Context(), "")
	here.docker, here.terminal = os.ErrNotExist, false
	here.listen, here.scrape = chosen{address: porttest.Reserve(t)}, chosen{address: porttest.Reserve(t)}
	here.listen.wanted, here.scrape.wanted = here.listen.address, here.scrape.address
	k.look = func(context.Context) *situation { return here }
	ended := running(t, k)
	for url, want := range map[string]string{
		"http://" + here.scrape.address + "/metrics": "\nnode_memory_MemTotal_bytes ",
		"http://" + here.listen.address + "/":        "input.host",
		"http://" + here.listen.address + "/metrics": "hermod_build_info",
		"http://" + here.listen.address + "/-/ready": "ready",
	} {
		if body := get(url); !strings.Contains(body, want) {
			t.Errorf("%s lacks %q:\n%.500s", url, want, body)
		}
	}
	status := newConsole()
	if code := status.run(t, "status", "-a", here.listen.address); code != 0 || !strings.Contains(status.out.String(), "config built-in") {
		t.Errorf("status: %d %s%s", code, status.out.String(), status.err.String())
	}
	if !strings.Contains(k.err.String(), "http://"+here.scrape.address+"/metrics") {
		t.Errorf("the summary does not say where to look:\n%s", k.err.String())
	}
	end(t, k, ended)
	k.mu.Lock()
	defer k.mu.Unlock()
	if want := []string{"READY=1", "STOPPING=1"}; !slices.Equal(k.told, want) {
		t.Errorf("the service manager was told %v", k.told)
	}
}

func TestTheStatusSaysWhyTheBuiltInConfigReadsNoLogs(t *testing.T) {
	defer goleak.VerifyNone(t)
	k := newConsole()
	here := machine()
	var asked atomic.Pointer[error]
	say := func(what, remedy string) { err := component.WithRemedy(errors.New(what), remedy); asked.Store(&err) }
	here.askDocker = func() error { return *asked.Load() }
	here.host, here.listen, here.scrape = k.host(t.Context(), ""), chosen{address: porttest.Reserve(t)}, chosen{address: porttest.Reserve(t)}
	here.listen.wanted, here.scrape.wanted = here.listen.address, here.scrape.address
	k.look = func(context.Context) *situation { return here }
	say("no socket there", "start Docker")
	ended := running(t, k)
	status := func() string {
		c := newConsole()
		c.run(t, "status", "-a", here.listen.address)
		return c.out.String()
	}
	if got := status(); !strings.Contains(got, "note: logs of containers are not read: no socket there\n    what to do: start Docker") {
		t.Errorf("the status is\n%s", got)
	}
	say("user 7 may not use it", "add a group")
	k.sent <- syscall.SIGHUP
	until(t, "the new reason is told", func() bool { return strings.Contains(status(), "not read: user 7 may not use it") })
	here.terminal = false // nobody would see them
	if err := here.withoutLogs(); err != nil {
		t.Error(err)
	}
	end(t, k, ended)
}

func TestReloadByHangup(t *testing.T) {
	defer goleak.VerifyNone(t)
	first, second, page := porttest.Reserve(t), porttest.Reserve(t), porttest.Reserve(t)
	config := func(listen, rest string) string {
		return "agent {\n  listen = \"" + listen + "\"\n}\ninput \"host\" {}\noutput \"prometheus\" {\n  from = input.host\n  listen = \"" + page + "\"\n}\n" + rest
	}
	path := file(t, "agent.hcl", config(first, ""))
	write := func(content string) {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	k := newConsole()
	ended := running(t, k, path)

	write(config(first, "output \"stdot\" {}\n"))
	k.sent <- syscall.SIGHUP
	until(t, "a broken config is refused", func() bool { return strings.Contains(get("http://"+first+"/"), "the last reload was refused") })
	if body := get("http://" + first + "/"); !strings.Contains(body, "stdot") || !strings.Contains(body, "stdout") {
		t.Errorf("the page does not tell the fault:\n%s", body)
	}
	until(t, "the log tells the fault", func() bool { // which it does after the page
		log := k.err.String()
		return strings.Contains(log, "agent.hcl:9:") && strings.Contains(log, "runs on with the config before it")
	})
	if !strings.Contains(get("http://"+page+"/metrics"), "node_") {
		t.Error("the graph stopped at a refused reload")
	}

	write(config(second, ""))
	k.sent <- syscall.SIGHUP
	until(t, "the admin listener has moved", func() bool { return strings.Contains(get("http://"+second+"/"), "Everything flows") })
	until(t, "the old one is closed", func() bool { return get("http://"+first+"/-/healthy") == "" })
	if body := get("http://" + second + "/"); strings.Contains(body, "refused") {
		t.Errorf("a good reload leaves the fault of the last one:\n%s", body)
	}
	end(t, k, ended)
	k.mu.Lock()
	defer k.mu.Unlock()
	if want := []string{"READY=1", "RELOADING=1", "READY=1", "RELOADING=1", "READY=1", "STOPPING=1"}; !slices.Equal(k.told, want) {
		t.Errorf("the service manager was told %v", k.told)
	}
}

func TestReloadByPost(t *testing.T) {
	listen := porttest.Reserve(t)
	content := self(listen, porttest.Reserve(t))
	path := file(t, "agent.hcl", content)
	k := newConsole()
	ended := running(t, k, path)
	post := func() (int, string) {
		r, err := http.Post("http://"+listen+"/-/reload", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		b, _ := io.ReadAll(r.Body)
		return r.StatusCode, string(b)
	}
	if code, body := post(); code != 200 || body != "reloaded\n" {
		t.Errorf("%d %q", code, body)
	}
	if err := os.WriteFile(path, []byte(content+"nonsense {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, body := post(); code != 400 || !strings.Contains(body, "agent.hcl:9:") || !strings.Contains(body, "^") {
		t.Errorf("%d %q", code, body)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(content, listen, "203.0.113.1:1", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, body := post(); code != 400 || !strings.Contains(body, "agent.listen") {
		t.Errorf("a listener that can't be opened: %d %q", code, body)
	}
	if !strings.Contains(get("http://"+listen+"/"), "agent.listen") {
		t.Error("the page does not tell why the reload was refused")
	}
	http.DefaultClient.CloseIdleConnections()
	end(t, k, ended)
}

func TestAPortInUseIsAFailureThatSaysWhatToDo(t *testing.T) {
	taken := porttest.Reserve(t)
	k := newConsole()
	ended := running(t, k, file(t, "a.hcl", self(taken, porttest.Reserve(t))))
	other := newConsole()
	code := other.run(t, "run", file(t, "b.hcl", self(taken, porttest.Reserve(t))))
	if code != 1 || !strings.Contains(other.err.String(), "address already in use") || !strings.Contains(other.err.String(), "what to do: ") {
		t.Errorf("%d %q", code, other.err.String())
	}
	other = newConsole()
	code = other.run(t, "run", file(t, "c.hcl", self("off", taken)))
	if code != 1 || !strings.Contains(other.err.String(), taken) || !strings.Contains(other.err.String(), "what to do: ") {
		t.Errorf("%d %q", code, other.err.String())
	}
	end(t, k, ended)
}

func TestASecondSignalEndsTheDrain(t *testing.T) {
	asked := make(chan struct{}, 100)
	down := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		select {
		case asked <- struct{}{}:
		default:
		}
	}))
	defer down.Close()
	k := newConsole()
	ended := running(t, k, file(t, "agent.hcl", "agent {\n  listen = \"off\"\n  drain_timeout = \"1m\"\n}\ninput \"self\" {}\noutput \"remote_write\" {\n  from = input.self\n  url  = \""+
		down.URL+"/push\"\n}\n"))
	<-asked // from here on there is something to drain
	k.sent <- syscall.SIGTERM
	until(t, "it drains", func() bool {
		k.mu.Lock()
		defer k.mu.Unlock()
		return slices.Contains(k.told, "STOPPING=1")
	})
	began := time.Now()
	k.sent <- syscall.SIGINT
	select {
	case code := <-ended:
		if code != 1 || !strings.Contains(k.err.String(), "a second interrupt ended the stop") {
			t.Errorf("exit code %d: %s", code, k.err.String())
		}
	case <-time.After(time.Minute):
		t.Fatalf("it still drains after %s", time.Since(began))
	}
}
