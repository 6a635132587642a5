//go:build integration

package dockerlogs

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hermod-agent/hermod/pipeline/positions"
)

// These tests need a Docker engine and an image with a shell, awk and printf. Their containers' names begin with dl-.
const image = "debian:bookworm-slim"

func dockerCommand(t testing.TB, args ...string) string {
	t.Helper()
	out, err := exec.Command("docker", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// container starts one and removes it at the end of the test.
func container(t testing.TB, script string, options ...string) string {
	t.Helper()
	name := "dl-" + strconv.FormatInt(time.Now().UnixNano(), 36)
	t.Cleanup(func() { _ = exec.Command("docker", "rm", "-f", name).Run() })
	args := append([]string{"run", "-d", "--name", name}, options...)
	dockerCommand(t, append(args, image, "sh", "-c", script)...)
	return name
}

// running is an input that reads from the machine's engine.
type running struct {
	in   *input
	stop func()
}

func start(t testing.TB, s *sink, book *positions.Book, change func(*Config)) *running {
	t.Helper()
	env, out := newEnv(t, s, book)
	c := defaults()
	c.Include = []Selector{{Names: []string{"~dl-.*"}}}
	if change != nil {
		change(&c)
	}
	in, err := open(env, &c)
	if err != nil {
		t.Fatal(err)
	}
	if err := in.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- in.Run(ctx) }()
	stopped := false
	r := &running{in: in, stop: func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-done:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(time.Minute):
			t.Fatal("Run doesn't end")
		}
		if err := in.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	}}
	t.Cleanup(func() {
		r.stop()
		if t.Failed() {
			t.Logf("log:\n%s\nlosses: %v", out, env.Losses.Counts())
		}
	})
	waitFor(t, time.Minute, "the first list", func() bool { return env.Status.IsReady() || len(env.Status.Faults()) > 0 })
	if f := env.Status.Faults(); len(f) > 0 {
		t.Fatalf("faults: %+v", f)
	}
	return r
}

func waitFor(t testing.TB, patience time.Duration, what string, cond func() bool) {
	t.Helper()
	end := time.Now().Add(patience)
	for !cond() {
		if time.Now().After(end) {
			t.Fatalf("after %s still not: %s", patience, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// of returns the lines of one container.
func (s *sink) of(name string) (out []taken) {
	for _, r := range s.all() {
		if strings.Contains(r.labels, `container="`+name+`"`) {
			out = append(out, r)
		}
	}
	return out
}

// numbered is a script that writes n lines, every tenth of them the same, and then "end".
func numbered(n int) string {
	return fmt.Sprintf(`awk 'BEGIN { for (i = 0; i < %d; i++) if (i %% 10 == 0) print "the same"; else print "line " i }'; echo end`, n)
}

func waitEnd(t testing.TB, s *sink, name string, ends int) []taken {
	t.Helper()
	waitFor(t, 2*time.Minute, "the last line of "+name, func() bool {
		n := 0
		for _, r := range s.of(name) {
			if r.line == "end" {
				n++
			}
		}
		return n >= ends
	})
	return s.of(name)
}

// checkNumbered finds each line once and in order.
func checkNumbered(t testing.TB, got []taken, n int) {
	t.Helper()
	if len(got) != n+1 {
		t.Errorf("%d lines, want %d", len(got), n+1)
	}
	for i := range min(n, len(got)) {
		want := "line " + strconv.Itoa(i)
		if i%10 == 0 {
			want = "the same"
		}
		if got[i].line != want {
			t.Fatalf("line %d is %q, want %q", i, got[i].line, want)
		}
	}
}

func (r *running) via(name string) string {
	for _, d := range r.in.details() {
		if d.Name == name {
			return d.State + " via " + d.Via + " " + d.Note
		}
	}
	return "not followed"
}

func TestEveryLineComesOnceFromEveryDriver(t *testing.T) {
	for _, tt := range []struct {
		name    string
		files   bool
		options []string
		via     string
	}{
		{"json-file from disk", true, nil, "file "},
		{"json-file through the API", false, nil, viaAPI},
		{"json-file, rotated, from disk", true, []string{"--log-opt", "max-size=1m", "--log-opt", "max-file=4"}, "file "},
		{"json-file, rotated, through the API", false, []string{"--log-opt", "max-size=3m", "--log-opt", "max-file=4"}, viaAPI},
		{"local", true, []string{"--log-driver", "local"}, viaAPI},
		{"local with a TTY", true, []string{"--log-driver", "local", "-t"}, viaAPI},
		{"json-file with a TTY", true, []string{"-t"}, "file "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSink()
			r := start(t, s, nil, func(c *Config) { c.ReadFiles = tt.files })
			begun := time.Now()
			name := container(t, numbered(100000), tt.options...)
			got := waitEnd(t, s, name, 1)
			t.Logf("%d lines in %s, %s", len(got), time.Since(begun), r.via(name))
			waitFor(t, time.Minute, "ended", func() bool { return strings.HasPrefix(r.via(name), "ended") })
			if !strings.Contains(r.via(name), tt.via) {
				t.Errorf("read %s, want via %s", r.via(name), tt.via)
			}
			checkNumbered(t, s.of(name), 100000)
		})
	}
}

func TestAContainerThatLivesForAMomentIsCaught(t *testing.T) {
	for _, driver := range []string{"json-file", "local"} {
		for _, files := range []bool{true, false} {
			for _, script := range []string{"echo hello; sleep 1; echo end", "echo hello; echo end", "echo hello; printf end"} {
				t.Run(fmt.Sprintf("%s files=%v %s", driver, files, script[12:]), func(t *testing.T) {
					s := newSink()
					start(t, s, nil, func(c *Config) { c.ReadFiles = files })
					name := container(t, script, "--rm", "--log-driver", driver)
					waitEnd(t, s, name, 1)
					if got := s.of(name); len(got) != 2 || got[0].line != "hello" {
						t.Errorf("got %v", got)
					}
				})
			}
		}
	}
}

func TestARestartedContainerGoesOn(t *testing.T) {
	for _, driver := range []string{"json-file", "local"} {
		t.Run(driver, func(t *testing.T) {
			s := newSink()
			start(t, s, nil, nil)
			name := container(t, "date +%N; printf 'no end'; echo err >&2; echo; echo end", "--log-driver", driver)
			waitEnd(t, s, name, 1)
			for n := 2; n <= 4; n++ {
				dockerCommand(t, "start", name)
				waitEnd(t, s, name, n)
			}
			if got := s.of(name); len(got) != 16 {
				t.Errorf("%d lines: %v", len(got), got)
			}
		})
	}
}

// The agent is stopped again and again while containers write, end and start; and the path changes each time.
func TestNothingIsLostOrRepeatedOverRestartsOfTheInput(t *testing.T) {
	for _, driver := range []string{"json-file", "local"} {
		t.Run(driver, func(t *testing.T) {
			s, book := newSink(), newBook(t)
			r := start(t, s, book, nil)
			r.stop()
			name := container(t, `i=0; while [ $i -lt 20000 ]; do if [ $((i % 10)) = 0 ]; then echo "the same"; else echo "line $i"; fi; i=$((i+1)); [ $((i % 1000)) = 0 ] && sleep 0.1; done; echo end`, "--log-driver", driver)
			for i := range 12 {
				r := start(t, s, book, func(c *Config) { c.ReadFiles = i%2 == 0 })
				time.Sleep(time.Duration(50+i*20) * time.Millisecond)
				r.stop()
			}
			start(t, s, book, nil)
			waitEnd(t, s, name, 1)
			checkNumbered(t, s.of(name), 20000)
		})
	}
}

func TestWhatEndedWhileTheAgentWasDownIsReadToItsEnd(t *testing.T) {
	for _, driver := range []string{"json-file", "local"} {
		t.Run(driver, func(t *testing.T) {
			s, book := newSink(), newBook(t)
			r := start(t, s, book, nil)
			name := container(t, "echo first; sleep 1; "+numbered(1000), "--log-driver", driver)
			waitFor(t, time.Minute, "the first line", func() bool { return len(s.of(name)) > 0 })
			r.stop()
			waitFor(t, time.Minute, "the container's end", func() bool {
				return dockerCommand(t, "inspect", "-f", "{{.State.Running}}", name) == "false"
			})
			r = start(t, s, book, nil)
			got := waitEnd(t, s, name, 1)
			checkNumbered(t, got[1:], 1000)
			waitFor(t, time.Minute, "ended", func() bool { return strings.HasPrefix(r.via(name), "ended") })
			r.stop()
			start(t, s, book, nil)
			time.Sleep(300 * time.Millisecond)
			if n := len(s.of(name)); n != 1002 {
				t.Errorf("%d lines after another restart", n)
			}
		})
	}
}

func TestWhatExistsAtTheFirstStartIsReadFromItsEnd(t *testing.T) {
	for _, tt := range []struct {
		driver, start string
		want          string
	}{{"json-file", "end", "[new end]"}, {"local", "end", "[new end]"}, {"json-file", "beginning", "[old new end]"}, {"local", "1h", "[old new end]"}, {"json-file", "1h", "[old new end]"}} {
		t.Run(tt.driver+" "+tt.start, func(t *testing.T) {
			s, book := newSink(), newBook(t)
			name := container(t, "echo old; sleep 2; echo new; echo end", "--log-driver", tt.driver)
			time.Sleep(500 * time.Millisecond)
			r := start(t, s, book, func(c *Config) { c.Start = tt.start })
			time.Sleep(300 * time.Millisecond)
			r.stop()
			start(t, s, book, func(c *Config) { c.Start = tt.start })
			var lines []string
			for _, l := range waitEnd(t, s, name, 1) {
				lines = append(lines, l.line)
			}
			if fmt.Sprint(lines) != tt.want {
				t.Errorf("got %v, want %s", lines, tt.want)
			}
		})
	}
}

func TestLongLinesAreJoined(t *testing.T) {
	for _, options := range [][]string{{"--log-driver", "json-file"}, {"--log-driver", "local"}, {"--log-driver", "local", "-t"}, {"--log-driver", "json-file", "-t"}} {
		t.Run(fmt.Sprint(options), func(t *testing.T) {
			s := newSink()
			start(t, s, nil, nil)
			name := container(t, `awk 'BEGIN { for (i = 0; i < 10000; i++) printf "0123456789"; print ""; for (i = 0; i < 40000; i++) printf "0123456789"; print ""; }'; echo end`, options...)
			got := waitEnd(t, s, name, 1)
			if len(got) != 3 || len(got[0].line) != 100000 || len(got[1].line) != 256<<10 {
				var n []int
				for _, g := range got {
					n = append(n, len(g.line))
				}
				t.Errorf("lengths %v", n)
			}
		})
	}
}

// An output that stalls while the log is rotated again and again: an engine 20.10 leaves out and repeats files for whoever follows then.
func TestAStallLosesNothingThatIsStillThere(t *testing.T) {
	for _, tt := range []struct {
		name    string
		files   bool
		options []string
	}{
		{"json-file through the API", false, []string{"--log-opt", "max-size=1m", "--log-opt", "max-file=20"}},
		{"json-file from disk", true, []string{"--log-opt", "max-size=1m", "--log-opt", "max-file=20"}},
		{"local", true, []string{"--log-driver", "local", "--log-opt", "max-size=1m", "--log-opt", "max-file=20"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSink()
			stalls := 0
			s.fail = func() error {
				if stalls++; stalls < 6 {
					time.Sleep(500 * time.Millisecond)
				}
				return nil
			}
			start(t, s, nil, func(c *Config) { c.ReadFiles = tt.files })
			name := container(t, numbered(100000), tt.options...)
			checkNumbered(t, waitEnd(t, s, name, 1), 100000)
		})
	}
}

func TestADriverThatCannotBeReadIsExplained(t *testing.T) {
	s := newSink()
	r := start(t, s, nil, nil)
	name := container(t, "sleep 30", "--log-driver", "none")
	waitFor(t, time.Minute, "unreadable", func() bool { return strings.HasPrefix(r.via(name), "unreadable") })
	t.Log(r.via(name))
	if !strings.Contains(r.via(name), "json-file or local") {
		t.Error("no remedy")
	}
}
