//go:build integration

package torture

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/hermod-agent/hermod/integration/harness"
	"github.com/hermod-agent/hermod/integration/lines"
)

// sources are the ways on which logs come, and who can use them.
var sources = []struct {
	name   string
	driver string // of the containers; "" for files
	only   string // the user, when it isn't both
}{
	{name: "files"},
	{name: "Docker json-file, from disk", driver: "json-file", only: "root"},
	{name: "Docker json-file, by the API", driver: "json-file", only: "65532"},
	{name: "Docker local, by the API", driver: "local"},
}

// keepAll keeps Docker from throwing anything away.
func keepAll(driver string) map[string]string {
	o := map[string]string{"max-size": "500m", "max-file": "2"}
	if driver == "local" {
		o["compress"] = "false"
	}
	return o
}

// everySource runs a test for each source and user: written begins to write so many lines at a rate, and returns what waits for the writer's end
// and tells what is wanted under which labels.
func everySource(t *testing.T, group, name string, run func(w *world, r *row, write writing)) {
	everySourceOf(t, group, name, func(config string) string { return config }, run)
}

// everySourceOf is everySource with a change of the agent's config.
func everySourceOf(t *testing.T, group, name string, change func(config string) string, run func(w *world, r *row, write writing)) {
	requireRoot(t)
	for _, s := range sources {
		for _, u := range users {
			if s.only != "" && s.only != u.name {
				continue
			}
			t.Run(fmt.Sprintf("%s as %s", s.name, u.name), func(t *testing.T) {
				t.Parallel()
				r := begin(t, row{Group: group, Case: name, Source: s.name, User: u.name})
				if s.driver == "" {
					w := fileWorld(t, u, "app.log", "")
					w.agent.Overwrite(change(config(w)))
					l := w.log("app.log")
					run(w.start(), r, func(n, rate int) func() (map[string]string, map[string]int) {
						done := make(chan struct{})
						go func() {
							defer close(done)
							for l.next < n {
								l.paced(min(3000, n-l.next), rate)
								l.rotate(l.dated(), 1)
							}
						}()
						return func() (map[string]string, map[string]int) { <-done; return app, l.want() }
					})
					return
				}
				w := dockerWorld(t, u)
				w.agent.Overwrite(change(config(w)))
				run(w.start(), r, func(n, rate int) func() (map[string]string, map[string]int) {
					c := w.write(harness.Writer{Driver: s.driver, Options: keepAll(s.driver), Lines: n, Rate: rate, Stderr: s.driver == "json-file"})
					return func() (map[string]string, map[string]int) {
						c.Wait(patience)
						return map[string]string{"container": c.Name}, lines.Want(c.Source, n)
					}
				})
			})
		}
	}
}

// writing begins to write n lines at a rate. What it returns waits for the last one, and tells under which labels what is wanted.
type writing func(n, rate int) func() (match map[string]string, want map[string]int)

const (
	rate  = 1200
	crash = "Crash and stop"
)

func TestKillsAtRandomMoments(t *testing.T) {
	kills := times(5, 50)
	everySourceOf(t, crash, fmt.Sprintf("kill -9 at %d random moments", kills), harness.InMemory, func(w *world, r *row, write writing) {
		r.shows(1)
		random := harness.Seeded(w.T)
		written := write(kills*2*rate, rate)
		safe := harness.KillOften(w.T, random, w.agent, w.loki, kills)
		match, want := written()
		w.came(r, match, want)
		harness.WithinTheInterval(w.T, w.loki)
		r.Note = fmt.Sprintf("none of %d lines that were saved before a kill came again", safe)
		w.healthy()
	})
}

func TestAKillBeforeTheFirstSaveAndARotationThen(t *testing.T) {
	requireRoot(t)
	for _, u := range users {
		t.Run(u.name, func(t *testing.T) {
			t.Parallel()
			r := begin(t, row{Group: crash, Case: "kill -9 at the first lines that are read, and a rotation before the next start", Source: "files", User: u.name}).shows(1)
			w := fileWorld(t, u, "app.log", "")
			l := w.log("app.log")
			l.write(1000)
			w.start()
			harness.Eventually(t, patience, "lines are read", func() (bool, string) {
				status, err := w.agent.Status()
				return err == nil && harness.Passed(status, "output.loki.main") > 0, fmt.Sprint(err)
			})
			w.agent.Kill()
			l.write(1000)
			l.rotate(l.dated(), 1)
			l.write(1000)
			w.agent.Start()
			w.came(r, app, l.want())
			w.healthy()
		})
	}
}

func TestKillsWithAQueueOnDisk(t *testing.T) {
	kills := times(3, 50)
	everySource(t, crash, fmt.Sprintf("kill -9 at %d random moments, the queue on disk", kills), func(w *world, r *row, write writing) {
		r.shows(1)
		random := harness.Seeded(w.T)
		written := write(kills*2*rate, rate)
		safe := harness.KillOften(w.T, random, w.agent, w.loki, kills)
		match, want := written()
		w.came(r, match, want)
		harness.WithinTheInterval(w.T, w.loki)
		if n := w.loki.Resent(); n > kills { // one shard
			w.Errorf("%d requests came again over %d kills", n, kills)
		}
		r.Note = fmt.Sprintf("none of %d lines that were saved before a kill came again; %d requests did whose answer nobody read", safe, w.loki.Resent())
		w.healthy()
	})
}

func TestStopsUnderLoad(t *testing.T) {
	stops := times(5, 20)
	everySource(t, crash, fmt.Sprintf("SIGTERM %d times under load", stops), func(w *world, r *row, write writing) {
		random := harness.Seeded(w.T)
		written := write(stops*rate, rate)
		for range stops {
			harness.Between(random, 50*time.Millisecond, 1500*time.Millisecond)
			if code := w.agent.Stop(); code != 0 {
				w.Fatalf("stopped with code %d", code)
			}
			w.agent.Start()
			w.agent.AwaitReady() // before that it knows no signals
		}
		match, want := written()
		w.came(r, match, want)
		w.once(r)
		w.healthy()
	})
}

func TestReloadsUnderLoad(t *testing.T) {
	reloads := times(5, 20)
	everySource(t, crash, fmt.Sprintf("reload %d times under load, with another input each time", reloads), func(w *world, r *row, write writing) {
		written := write(reloads*rate, rate)
		text := config(w)
		for i := range reloads {
			<-time.After(time.Second)
			// The size of a line that no line has, so that the input is another one and its streams are not.
			w.agent.Overwrite(withAttribute(text, fmt.Sprintf("max_line_size = \"%dKiB\"", 100+i)))
			if status, body, err := w.agent.Reload(); err != nil || status/100 != 2 {
				w.Fatalf("reload %d: %d, %v: %s", i, status, err, body)
			}
		}
		match, want := written()
		w.came(r, match, want)
		w.once(r)
	})
}

func TestADamagedOrDeletedPositionsFile(t *testing.T) {
	for _, damage := range []struct {
		name string
		do   func(path string) error
	}{
		{"the positions file is deleted while the agent is down", os.Remove},
		{"the positions file is full of zeros", func(path string) error {
			info, err := os.Stat(path)
			if err != nil {
				return err
			}
			return os.WriteFile(path, make([]byte, info.Size()), 0o600)
		}},
		{"the positions file is cut in half", func(path string) error {
			info, err := os.Stat(path)
			if err != nil {
				return err
			}
			return os.Truncate(path, info.Size()/2)
		}},
		{"the positions file is of another version", func(path string) error {
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			content[8]++ // the version, behind the magic
			return os.WriteFile(path, content, 0o600)
		}},
	} {
		everySource(t, crash, damage.name, func(w *world, r *row, write writing) {
			r.shows(15)
			written := write(6*rate, rate)
			positions := w.agent.DataDir() + "/positions"
			harness.Eventually(w.T, patience, "two saves", func() (bool, string) {
				_, err := os.Stat(positions + ".previous")
				return err == nil, fmt.Sprint(err)
			})
			w.agent.Kill()
			if err := damage.do(positions); err != nil {
				w.Fatal(err)
			}
			w.agent.Start()
			match, want := written()
			w.came(r, match, want)
			r.Note = "the agent goes on at the copy that was saved before it"
			w.healthy()
		})
	}
}
