//go:build integration

package torture

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hermod-agent/hermod/integration/harness"
	"github.com/hermod-agent/hermod/integration/lines"
)

const docker = "Docker"

// everyDriver runs a test of containers for each driver and user.
func everyDriver(t *testing.T, name string, run func(w *world, r *row, driver string)) {
	requireRoot(t)
	for _, s := range sources {
		for _, u := range users {
			if s.driver == "" || s.only != "" && s.only != u.name {
				continue
			}
			t.Run(fmt.Sprintf("%s as %s", s.name, u.name), func(t *testing.T) {
				t.Parallel()
				r := begin(t, row{Group: docker, Case: name, Source: s.name, User: u.name}).shows(37)
				run(dockerWorld(t, u), r, s.driver)
			})
		}
	}
}

// await waits until the container's lines came so often, and counts them.
func (w *world) await(r *row, c *harness.Container, n, often int) {
	w.Helper()
	want := lines.Want(c.Source, n)
	for text := range want {
		want[text] *= often
	}
	w.came(r, map[string]string{"container": c.Name}, want)
}

func TestRotationByDocker(t *testing.T) {
	everyDriver(t, "rotation by Docker (`max-size`, `max-file`)", func(w *world, r *row, driver string) {
		if driver == "local" && !full() {
			w.Skip("in the long form alone: see what the table says of rotation by Docker 20.10")
		}
		fromDisk := strings.HasSuffix(r.Source, "from disk")
		n, size := times(15_000, 60_000), "256k"
		if !fromDisk {
			n, size = times(30_000, 60_000), "1m"
		}
		w.start()
		options := map[string]string{"max-size": size, "max-file": "200"}
		c := w.write(harness.Writer{Driver: driver, Options: options, Lines: n, Rate: 3000, Hold: driver == "local"})
		w.Cleanup(func() {
			if w.Failed() {
				w.Logf("the engine itself gives %d lines, of %d", strings.Count(c.Logs(), "\n"), lines.Count(n))
			}
		})
		w.await(r, c, n, 1)
		if fromDisk {
			w.once(r)
		} else if stored := w.loki.Tally(map[string]string{"container": c.Name}).Stored; stored != lines.Count(n) {
			w.Errorf("Loki would keep %d records of %d lines", stored, lines.Count(n))
		} else if r.Repeated > 0 {
			r.Note = "what came again has Docker's time, by which Loki recognises it"
		}
		w.healthy()
	})
}

func TestContainersThatAreStartedAgain(t *testing.T) {
	starts := times(5, 25)
	everyDriver(t, fmt.Sprintf("a container that ends is started again, %d times", starts), func(w *world, r *row, driver string) {
		w.start()
		const n = 300
		c := w.write(harness.Writer{Driver: driver, Options: keepAll(driver), Lines: n})
		for range starts {
			c.Wait(patience)
			c.Again()
		}
		w.await(r, c, n, starts+1)
		w.once(r)
		w.healthy()
	})
}

func TestContainersThatAreMadeAnew(t *testing.T) {
	rounds := times(5, 25)
	everyDriver(t, fmt.Sprintf("a container is removed and made anew under the same name, %d times", rounds), func(w *world, r *row, driver string) {
		w.start()
		const n = 200
		name := w.prefix + "again"
		want := map[string]int{}
		for i := range rounds {
			c := w.write(harness.Writer{Name: name, Source: fmt.Sprintf("round-%d", i), Driver: driver, Options: keepAll(driver), Lines: n, Rate: 200, Hold: true})
			for text, times := range lines.Want(c.Source, n) {
				want[text] += times
			}
			harness.Eventually(w.T, patience, "the lines are written", func() (bool, string) {
				missing, _, _, examples := w.loki.Tally(map[string]string{"container": name}).Compare(want)
				return missing == 0, fmt.Sprintf("%d missing: %v", missing, examples)
			})
			c.Remove()
		}
		w.came(r, map[string]string{"container": name}, want)
		w.once(r)
		w.healthy()
	})
}

func TestContainersThatAreRemovedAtOnce(t *testing.T) {
	containers := times(5, 25)
	everyDriver(t, fmt.Sprintf("%d containers of two seconds that Docker removes at their end", containers), func(w *world, r *row, driver string) {
		w.start()
		const n = 40
		for range containers {
			c := w.write(harness.Writer{Driver: driver, Lines: n, Rate: 20, Remove: true})
			w.await(r, c, n, 1)
			w.once(r)
		}
		r.Delivered = r.Written
		w.healthy()
	})
}

func TestAnEngineThatGoesAndComesBack(t *testing.T) {
	away := times(3, 15)
	everyDriver(t, fmt.Sprintf("the engine is away %d times", away), func(w *world, r *row, driver string) {
		socket := harness.NewSocket(w.T, harness.DockerSocket)
		w.agent.Overwrite(withAttribute(config(w), fmt.Sprintf("endpoint = %q", "unix://"+socket.Path())))
		w.start()
		n := away * 6000
		c := w.write(harness.Writer{Driver: driver, Options: keepAll(driver), Lines: n, Rate: 1500, Hold: true})
		random := harness.Seeded(w.T)
		for range away {
			harness.Between(random, 300*time.Millisecond, 2*time.Second)
			socket.Gone()
			harness.Between(random, 100*time.Millisecond, 1500*time.Millisecond)
			socket.Back()
		}
		w.await(r, c, n, 1)
		w.once(r)
		r.Note = "a socket in front of it is closed: Docker itself goes on"
		w.healthy()
	})
}
