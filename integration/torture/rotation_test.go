//go:build integration

package torture

import (
	"compress/gzip"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/hermod-agent/hermod/integration/harness"
	"github.com/hermod-agent/hermod/integration/lines"
)

// everyUser runs a test of files for each user.
func everyUser(t *testing.T, group, name, pattern, more string, run func(w *world, r *row)) {
	requireRoot(t)
	for _, u := range users {
		t.Run(name+" as "+u.name, func(t *testing.T) {
			t.Parallel()
			r := begin(t, row{Group: group, Case: name, Source: "files", User: u.name})
			run(fileWorld(t, u, pattern, more), r)
		})
	}
}

const rotation = "Rotation of files"

func TestRenameAndCreate(t *testing.T) {
	for _, pattern := range []string{"app.log", "app.log*"} {
		rounds := times(60, 600)
		everyUser(t, rotation, fmt.Sprintf("rename and create, 20 times a second; pattern `%s`", pattern), pattern, "", func(w *world, r *row) {
			r.shows(28)
			if pattern == "app.log*" {
				w.files = rounds
			}
			l := w.log("app.log")
			w.start()
			for range rounds {
				l.paced(50, 1000)
				l.rotate(l.dated(), 3)
			}
			w.came(r, app, l.want())
			w.once(r)
			w.healthy()
		})
	}
}

func TestDoubleRotation(t *testing.T) {
	rounds := times(25, 100)
	everyUser(t, rotation, "two rotations within 10 ms", "app.log", "", func(w *world, r *row) {
		r.shows(28)
		l := w.log("app.log")
		w.start()
		slow := 0
		for range rounds {
			l.paced(200, 4000)
			began := time.Now()
			l.rotate(l.shift(3*rounds), 0)
			l.write(5)
			l.rotate(l.shift(3*rounds), 1)
			if time.Since(began) > 10*time.Millisecond {
				slow++
			}
			l.write(5)
		}
		w.came(r, app, l.want())
		w.once(r)
		if slow > 0 {
			r.Note = fmt.Sprintf("%d of %d took longer than 10 ms on this machine", slow, rounds)
		}
		w.healthy()
	})
}

func TestRotationsWhileTheAgentIsDown(t *testing.T) {
	for name, generations := range map[string][]string{
		"rotated twice while the agent is down":                            {"app.log.2", "app.log.1"},
		"renamed out of the pattern to an unusual name, the agent is down": {"kept-aside"},
		"renamed without a successor while the agent is down":              {"app.log.1"},
	} {
		everyUser(t, rotation, name, "app.log", "", func(w *world, r *row) {
			r.shows(30)
			l := w.log("app.log")
			w.start()
			for range times(4, 20) {
				l.paced(500, 5000)
				if code := w.agent.Stop(); code != 0 {
					w.Fatalf("stopped with code %d", code)
				}
				l.write(100)
				for _, to := range generations {
					l.rotate(w.path(to), 1)
					l.write(10)
				}
				if name[:7] == "renamed" && len(generations) == 1 && generations[0] == "app.log.1" {
					l.check(os.Remove(l.path)) // the successor, which isn't there yet
					l.next -= 10
				}
				w.agent.Start()
				w.agent.AwaitReady()
				if _, err := os.Lstat(l.path); err != nil {
					l.file.Close()
					l.create()
				}
				l.write(10)
				// What comes next must not push the generations away unread.
				harness.Eventually(w.T, patience, "the lines so far arrive", func() (bool, string) {
					missing, _, _, examples := w.loki.Tally(app).Compare(l.want())
					return missing == 0, fmt.Sprintf("%d missing: %v", missing, examples)
				})
			}
			w.came(r, app, l.want())
			w.once(r)
			w.healthy()
		})
	}
}

func TestCopytruncate(t *testing.T) {
	for _, down := range []bool{false, true} {
		for _, pattern := range []string{"app.log", "app.log*"} {
			name := "copytruncate under load"
			if down {
				name = "copytruncate while the agent is down"
			}
			everyUser(t, rotation, fmt.Sprintf("%s; pattern `%s`", name, pattern), pattern, "", func(w *world, r *row) {
				r.shows(29)
				l := w.log("app.log")
				w.start()
				rounds := times(6, 40)
				if pattern == "app.log*" {
					w.files = rounds
				}
				for i := range rounds {
					l.paced(2000, 20_000)
					if down {
						if code := w.agent.Stop(); code != 0 {
							w.Fatalf("stopped with code %d", code)
						}
						l.write(200)
					}
					l.copytruncate(l.shift(rounds+1), nil)
					l.write(i * 100) // as long as before or longer, too
					if down {
						w.agent.Start()
						w.agent.AwaitReady()
					}
				}
				w.came(r, app, l.want())
				w.once(r)
				if losses := w.losses("input.files.app"); losses["truncated_bytes"] != 0 {
					w.Errorf("nothing was destroyed, and counted were %v", losses)
				}
				w.healthy()
			})
		}
	}
}

func TestCopytruncateThatDestroys(t *testing.T) {
	everyUser(t, rotation, "copytruncate that destroys lines written after the copy", "app.log", "", func(w *world, r *row) {
		r.shows(29)
		l := w.log("app.log")
		w.start()
		destroyed := 0
		rounds := times(6, 40)
		for range rounds {
			l.paced(1000, 20_000)
			l.copytruncate(l.shift(rounds+1), func() {
				l.write(300)
				destroyed += 300
			})
		}
		l.paced(1000, 20_000)
		want := l.want()
		var missing int
		harness.Eventually(w.T, patience, "all lines arrive but those that were destroyed", func() (bool, string) {
			var examples []string
			missing, _, _, examples = w.loki.Tally(app).Compare(want)
			last := w.loki.Tally(app).Texts[lines.Numbered(l.source, l.next-1)]
			return missing <= destroyed && last > 0, fmt.Sprintf("%d missing of %d destroyed: %v", missing, destroyed, examples)
		})
		// A line in the midst of which the file was truncated is none that was written.
		missing, r.Repeated, _, _ = w.loki.Tally(app).Compare(want)
		r.Written, r.Delivered = len(want), len(want)-missing
		w.once(r)
		r.Note = fmt.Sprintf("%d lines were destroyed, of which %d had been read; counted as seen and lost: %d bytes", destroyed, destroyed-missing,
			w.losses("input.files.app")["truncated_bytes"])
		w.healthy()
	})
}

func TestDeletedFiles(t *testing.T) {
	everyUser(t, rotation, "deleted while open", "app.log", "", func(w *world, r *row) {
		r.shows(36)
		l := w.log("app.log")
		w.start()
		for range times(10, 100) {
			l.paced(300, 3000)
			// It has been seen; how much of it was read by then is left open.
			harness.Eventually(w.T, patience, "the file is followed", func() (bool, string) {
				return w.loki.Tally(app).Total > l.next-300, ""
			})
			l.write(300)
			l.check(os.Remove(l.path))
			l.write(5)
			old := l.file
			l.create()
			l.check(old.Close())
		}
		l.write(1)
		w.came(r, app, l.want())
		w.once(r)
		w.healthy()
	})
}

func TestCompressedGenerations(t *testing.T) {
	everyUser(t, rotation, "read generations are compressed; pattern `app.log*`", "app.log*", "", func(w *world, r *row) {
		r.shows(30)
		l := w.log("app.log")
		w.start()
		for range times(6, 40) {
			l.paced(500, 5000)
			to := l.dated()
			l.rotate(to, 2)
			harness.Eventually(w.T, patience, "the generation is read", func() (bool, string) {
				missing, _, _, examples := w.loki.Tally(app).Compare(l.want())
				return missing == 0, fmt.Sprintf("%d missing: %v", missing, examples)
			})
			l.compress(to)
		}
		l.write(10)
		w.came(r, app, l.want())
		w.once(r)
		w.healthy()
	})
}

// compress does what gzip does to a file.
func (l *logFile) compress(path string) {
	l.t.Helper()
	content, err := os.ReadFile(path)
	l.check(err)
	packed, err := os.Create(path + ".gz")
	l.check(err)
	z := gzip.NewWriter(packed)
	_, err = z.Write(content)
	l.check(err)
	l.check(z.Close())
	l.check(packed.Close())
	l.check(os.Remove(path))
}

func TestRotatedAndCompressedWhileTheAgentIsDown(t *testing.T) {
	everyUser(t, rotation, "rotated while the agent is down, and the generation before compressed; pattern `app.log*`", "app.log*", "", func(w *world, r *row) {
		r.shows(30)
		l := w.log("app.log")
		w.start()
		for round := range times(4, 20) {
			l.paced(500, 5000)
			harness.Eventually(w.T, patience, "the lines so far arrive", func() (bool, string) {
				missing, _, _, examples := w.loki.Tally(app).Compare(l.want())
				return missing == 0, fmt.Sprintf("%d missing: %v", missing, examples)
			})
			if code := w.agent.Stop(); code != 0 {
				w.Fatalf("stopped with code %d", code)
			}
			l.write(100) // nobody reads this before it is renamed
			if round > 0 {
				l.check(os.Rename(l.path+".1", l.path+".2"))
				l.compress(l.path + ".2")
			}
			l.rotate(l.path+".1", 5)
			l.write(10)
			w.agent.Start()
			w.agent.AwaitReady()
		}
		w.came(r, app, l.want())
		w.once(r)
		w.healthy()
	})
}

func TestSymbolicLinks(t *testing.T) {
	everyUser(t, rotation, "a symbolic link is moved to a new file", "current.log", "", func(w *world, r *row) {
		r.shows(33)
		l := newLogFile(w.T, w.path("app-0"), "links")
		link := func(to string) {
			next := w.path("next")
			l.check(os.Symlink(to, next))
			l.check(os.Rename(next, w.path("current.log")))
		}
		link(l.path)
		w.start()
		for i := range times(10, 60) {
			l.paced(300, 3000)
			old := l.file
			l.path = w.path(fmt.Sprintf("app-%d", i+1))
			l.create()
			link(l.path)
			l.write(3)
			l.check(old.Close())
			harness.Eventually(w.T, patience, "the link is followed", func() (bool, string) {
				missing, _, _, examples := w.loki.Tally(app).Compare(l.want())
				return missing == 0, fmt.Sprintf("%d missing: %v", missing, examples)
			})
		}
		w.came(r, app, l.want())
		w.once(r)
		w.healthy()
	})
}
