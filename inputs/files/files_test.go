package files

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hermod-agent/hermod/pipeline/component"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLinesOfAllMatchingFilesCome(t *testing.T) {
	w := newWorld(t, "*.log", "deep/**/x.txt")
	w.append("a.log", "a1\na2\n")
	w.append("b.log", "b1\r\n")
	w.append("c.txt", "not matched\n")
	w.mkdir("deep/er/est")
	w.append("deep/x.txt", "x0\n")
	w.append("deep/er/est/x.txt", "x2\n")
	w.mkdir("folder.log")
	w.start()
	w.want("a.log", "a1", "a2")
	w.want("b.log", "b1")
	w.want("deep/x.txt", "x0")
	w.want("deep/er/est/x.txt", "x2")
	w.append("a.log", "a3\n")
	w.want("a.log", "a1", "a2", "a3")
	if got := w.sink.labels[w.path("a.log")].Get("job"); got != "test" {
		t.Errorf("the input's labels are missing: %q", got)
	}
	if n := w.sink.total(); n != 6 {
		t.Errorf("%d lines", n)
	}
	if !slices.IsSorted(w.sink.times) || len(slices.Compact(slices.Clone(w.sink.times))) != len(w.sink.times) {
		t.Errorf("times don't rise: %v", w.sink.times)
	}
}

func TestExcludedAndCompressedFilesAreNotRead(t *testing.T) {
	w := newWorld(t, "**")
	w.cfg.Exclude = []string{"*.tmp", w.path("skip/**")}
	w.cfg.FilenameLabel = ""
	w.mkdir("skip/deep")
	w.append("a.log", "one\n")
	w.append("b.tmp", "no\n")
	w.append("skip/deep/c.log", "no\n")
	w.append("a.log.1.gz", "no\n")
	w.cfg.Exclude = append(w.cfg.Exclude, w.path(".data/**"))
	w.start()
	w.until("a line", func() bool { return w.sink.total() > 0 })
	w.append("a.log", "two\n")
	w.until("another line", func() bool { return w.sink.total() > 1 })
	if got := w.sink.of(""); !slices.Equal(got, []string{"one", "two"}) {
		t.Errorf("got %q", got)
	}
	if f := w.fault(compressedKey); f == nil || !f.Note {
		t.Errorf("faults: %v", w.env.Status.Faults())
	}
}

func TestStartCountsForWhatExistsWhenTheInputRunsFirst(t *testing.T) {
	for start, want := range map[string][]string{"beginning": {"old", "new"}, "end": nil, "1h": {"new"}} {
		t.Run(start, func(t *testing.T) {
			w := newWorld(t, "*.log")
			w.cfg.Start, w.autosave = start, true
			w.append("old.log", "old\n")
			if err := os.Chtimes(w.path("old.log"), time.Time{}, time.Now().Add(-2*time.Hour)); err != nil {
				t.Fatal(err)
			}
			w.append("new.log", "new\n")
			w.start()
			w.append("born later.log", "later\n")
			w.append("old.log", "more\n")
			w.want("born later.log", "later")
			w.until("the last line", func() bool { return slices.Contains(w.sink.of(w.path("old.log")), "more") })
			got := append(w.sink.of(w.path("old.log")), w.sink.of(w.path("new.log"))...)
			slices.Sort(got)
			expected := append(slices.Clone(want), "more")
			slices.Sort(expected)
			if !slices.Equal(got, expected) {
				t.Errorf("got %q, want %q", got, expected)
			}
		})
	}
}

func TestWhatIsBornWhileAnAgentIsDownThatHasReadNothingIsReadFromItsBeginning(t *testing.T) {
	w := newWorld(t, "*.log")
	w.cfg.Start = "end"
	w.start()
	w.stop()
	w.save()
	w.append("a.log", "1\n")
	w.autosave = true
	w.restartStopped()
	w.want("a.log", "1")
}

func TestAFileThatWasNeverSavedAndRenamedWhileTheAgentWasDownIsReadOnceItsPathIsBack(t *testing.T) {
	w := newWorld(t, "a.log")
	w.start()
	w.save()
	w.append("a.log", "1\n")
	w.want("a.log", "1")
	w.kill()
	w.rename("a.log", "a.log.1")
	w.start()
	w.append("a.log", "2\n")
	w.want("a.log", "1", "1", "2")
}

func TestAFileThatWasFollowedButNotTakenIsNotSkippedByStartEnd(t *testing.T) {
	w := newWorld(t, "*.log")
	w.cfg.Start = "end"
	w.sink.block = true
	w.start()
	w.append("a.log", "one\n")
	w.until("the file", func() bool { return len(w.env.Status.Details()) == 1 })
	w.save()
	w.kill()
	w.sink.block = false
	w.start()
	w.want("a.log", "one")
}

// The agent is killed right after it has begun with a file, and the file is rotated before it is started again.
func TestAKillBeforeAnythingWasSavedAndARotationThen(t *testing.T) {
	begun := map[string]func(w *world){
		"it was there at the first start": func(w *world) {
			w.append("a.log", "1\n")
			w.start()
		},
		"it came after the first start": func(w *world) {
			w.start()
			w.append("a.log", "1\n")
		},
		"it was there, and another config names it": func(w *world) {
			w.append("a.log", "1\n")
			paths := w.cfg.Paths
			w.cfg.Paths = []string{w.path("b.log")}
			w.append("b.log", "b\n")
			w.start()
			w.want("b.log", "b")
			w.save()
			w.stop()
			w.old("a.log")
			w.cfg.Paths = paths
			w.start()
		},
		"it was there, and came into a folder that is followed": func(w *world) {
			w.append("elsewhere", "1\n")
			w.start()
			w.stop()
			w.old("elsewhere")
			w.start()
			w.rename("elsewhere", "a.log")
		},
	}
	for name, begin := range begun {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "a.log")
			begin(w)
			w.want("a.log", "1")
			w.kill()
			w.append("a.log", "2\n")
			w.rename("a.log", "a.log.1")
			w.append("a.log", "3\n")
			w.start()
			w.until("the lines of both files", func() bool {
				got := w.sink.of(w.path("a.log"))
				return slices.Contains(got, "2") && slices.Contains(got, "3")
			})
		})
	}
}

// What is written once the input is ready is not skipped, though the agent is killed in the next moment.
func TestAnInputIsReadyOnceItIsSavedWhereItBegins(t *testing.T) {
	w := newWorld(t, "*.log")
	w.cfg.Start = "end"
	w.append("a.log", "old\n")
	for i := range 3 { // killed three times before anything was saved
		w.open()
		w.run()
		<-w.env.Positions.Urgent()
		w.append("a.log", fmt.Sprintln("before it was ready", i))
		if w.env.Status.IsReady() || w.sink.total() > 0 {
			t.Fatal("it was ready before it was saved where it begins")
		}
		w.kill()
	}
	w.start()
	w.kill()
	w.append("a.log", "one\n")
	w.append("b.log", "one\n")
	w.start()
	w.want("a.log", "one")
	w.want("b.log", "one")
}

func TestARestartRepeatsNothingThatWasSavedAndLosesNothing(t *testing.T) {
	w := newWorld(t, "*.log")
	w.append("a.log", "one\n")
	w.start()
	w.want("a.log", "one")
	w.append("a.log", "two\nhal")
	w.want("a.log", "one", "two")
	w.restart()
	w.append("a.log", "f\n")
	w.want("a.log", "one", "two", "half")
}

func TestAKillRepeatsOnlyWhatWasReadSinceTheLastSave(t *testing.T) {
	w := newWorld(t, "*.log")
	w.append("a.log", "one\n")
	w.start()
	w.want("a.log", "one")
	w.saveAt(int64(len("one\n")))
	w.append("a.log", "two\n")
	w.want("a.log", "one", "two")
	w.kill()
	w.start()
	w.want("a.log", "one", "two", "two")
}

func TestPositionsDoNotMoveForABatchThatWasRefused(t *testing.T) {
	w := newWorld(t, "*.log")
	w.start()
	w.sink.mu.Lock()
	w.sink.err = component.ErrStopped
	w.sink.mu.Unlock()
	w.append("a.log", "one\n")
	select {
	case err := <-w.ended:
		if !errors.Is(err, component.ErrStopped) {
			t.Fatalf("got error %v", err)
		}
	case <-time.After(patience):
		t.Fatal("Run goes on though its lines are refused")
	}
	w.sink.mu.Lock()
	w.sink.err = nil
	w.sink.mu.Unlock()
	w.run() // the engine does so after a pause
	w.want("a.log", "one")
}

func TestRotationUnderWriteLoad(t *testing.T) {
	for _, pattern := range []string{"app.log", "app.log*", "app*"} {
		t.Run(pattern, func(t *testing.T) {
			w := newWorld(t, pattern)
			w.start()
			const n, keep = 20_000, 8
			f, err := os.Create(w.path("app.log"))
			if err != nil {
				t.Fatal(err)
			}
			for i := range n {
				fmt.Fprintf(f, "%d\n", i)
				if i%700 != 699 {
					continue
				}
				for k := keep; k > 1; k-- {
					os.Rename(w.path(fmt.Sprint("app.log.", k-1)), w.path(fmt.Sprint("app.log.", k)))
				}
				w.rename("app.log", "app.log.1")
				old := f
				if f, err = os.Create(w.path("app.log")); err != nil {
					t.Fatal(err)
				}
				old.Close()
				// The agent may be behind by fewer generations than are kept: a file that was deleted unread is lost to anybody.
				w.until("the lines before", func() bool { return w.sink.total() > i-2000 })
			}
			f.Close()
			w.until("all lines", func() bool { return w.sink.total() >= n })
			seen := map[string]int{}
			w.sink.mu.Lock()
			defer w.sink.mu.Unlock()
			for _, line := range w.sink.all {
				seen[line]++
			}
			for i := range n {
				if c := seen[fmt.Sprint(i)]; c != 1 {
					t.Fatalf("line %d came %d times", i, c)
				}
			}
			if pattern == "app.log" {
				for i, line := range w.sink.all {
					if line != fmt.Sprint(i) {
						t.Fatalf("number %d is line %s, after %s", i, line, w.sink.all[max(0, i-1)])
					}
				}
			}
		})
	}
}

// TestKillsRotationsAndRestartsLoseNothing is the model test of package tail with everything real: the watcher, the walks, a saver, kills.
func TestKillsRotationsAndRestartsLoseNothing(t *testing.T) {
	w := newWorld(t, "logs/*.log")
	w.mkdir("logs")
	const files, lines = 3, 6000
	w.start()
	written := make(chan error, files)
	for k := range files {
		go func() {
			written <- func() error {
				path := w.path(fmt.Sprintf("logs/%d.log", k))
				f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
				if err != nil {
					return err
				}
				for i := range lines {
					line := fmt.Sprintf("%d %d\n", k, i)
					f.WriteString(line[:3])
					f.WriteString(line[3:])
					if i%200 == 0 {
						<-time.After(2 * time.Millisecond)
					}
					if i%(300+100*k) != 299 {
						continue
					}
					if err := os.Rename(path, fmt.Sprintf("%s-%08d", path, i)); err != nil {
						return err
					}
					f.WriteString("late\n") // a writer that goes on with the old file for a moment
					f.Close()
					if f, err = os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600); err != nil {
						return err
					}
				}
				return f.Close()
			}()
		}()
	}
	distinct := func() map[string]int {
		w.sink.mu.Lock()
		defer w.sink.mu.Unlock()
		seen := map[string]int{}
		for _, line := range w.sink.all {
			seen[line]++
		}
		return seen
	}
	lives := 0
	for at := 0; at < files*lines; lives++ {
		w.until("progress", func() bool { return w.sink.total() > at })
		at = w.sink.total() + 100
		w.save()
		if lives%2 == 0 {
			w.kill()
			w.start()
		} else {
			w.restart()
		}
	}
	for range files {
		if err := <-written; err != nil {
			t.Fatal(err)
		}
	}
	w.until("all lines", func() bool {
		seen := distinct()
		return len(seen) == files*lines+1 && seen["late"] >= lines/300+lines/400+lines/500
	})
	t.Logf("%d lives, %d lines for %d", lives, w.sink.total(), files*lines)
}

func TestARotationWhileTheAgentWasDown(t *testing.T) {
	for _, pattern := range []string{"app.log", "*.log", "app*"} {
		t.Run(pattern, func(t *testing.T) {
			w := newWorld(t, pattern)
			w.append("app.log", "a1\n")
			w.start()
			w.want("app.log", "a1")
			w.stop()
			w.save()
			w.append("app.log", "a2\n")
			w.rename("app.log", "app-20260101.log")
			w.append("app.log", "b1\n")
			w.restartStopped()
			w.until("all lines", func() bool { return w.sink.total() >= 3 })
			w.append("app.log", "b2\n")
			w.until("all lines", func() bool { return w.sink.total() >= 4 })
			got := slices.Sorted(slices.Values(w.sink.all))
			if !slices.Equal(got, []string{"a1", "a2", "b1", "b2"}) {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestAFileRenamedWithoutASuccessorWhileDownIsReadToItsEnd(t *testing.T) {
	w := newWorld(t, "app.log")
	w.append("app.log", "a1\n")
	w.start()
	w.want("app.log", "a1")
	w.stop()
	w.save()
	w.append("app.log", "a2\n")
	w.rename("app.log", "app.log.1")
	w.restartStopped()
	w.want("app.log", "a1", "a2")
	w.append("app.log", "b1\n")
	w.want("app.log", "a1", "a2", "b1")
}

func TestTruncation(t *testing.T) {
	w := newWorld(t, "*.log")
	w.append("a.log", "one\n")
	w.start()
	w.want("a.log", "one")
	if err := os.Truncate(w.path("a.log"), 0); err != nil {
		t.Fatal(err)
	}
	w.append("a.log", "2\n")
	w.want("a.log", "one", "2")
	w.restart()
	w.append("a.log", "3\n")
	w.want("a.log", "one", "2", "3")
}

func TestCopytruncateLosesAndRepeatsNothingThatWasCopied(t *testing.T) {
	for _, pattern := range []string{"app.log", "app*"} {
		for _, name := range []string{"app.log.1", "app-20260101.log"} {
			for _, down := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s %s down=%v", pattern, name, down), func(t *testing.T) {
					w := newWorld(t, pattern)
					w.append("app.log", "a1\n")
					w.start()
					w.want("app.log", "a1")
					if down {
						w.stop()
						w.save()
						w.append("app.log", "a2\n")
					}
					content, err := os.ReadFile(w.path("app.log"))
					if err != nil {
						t.Fatal(err)
					}
					w.append(name, string(content))
					if !down { // the copy is there for a while, and is seen
						w.in.mu.Lock()
						log := w.in.sources[w.path("app.log")].log
						w.in.mu.Unlock()
						if !log.Resembles(w.path(name)) {
							t.Fatal("the copy isn't recognised")
						}
						<-time.After(5 * scanPause)
					}
					if err := os.Truncate(w.path("app.log"), 0); err != nil {
						t.Fatal(err)
					}
					w.append("app.log", "b1\n")
					if down {
						w.restartStopped()
					}
					w.until("b1", func() bool { return slices.Contains(w.sink.of(w.path("app.log")), "b1") })
					w.append("app.log", "b2\n")
					w.until("b2", func() bool { return slices.Contains(w.sink.of(w.path("app.log")), "b2") })
					w.restart()
					w.append("app.log", "b3\n")
					w.until("b3", func() bool { return slices.Contains(w.sink.of(w.path("app.log")), "b3") })
					want := []string{"a1", "a2", "b1", "b2", "b3"}
					if !down {
						want = slices.Delete(want, 1, 2)
					}
					if !slices.Equal(w.sink.all, want) {
						t.Errorf("got %q, want %q", w.sink.all, want)
					}
				})
			}
		}
	}
}

func TestAFileThatBeginsLikeALogAndIsNoCopyIsRead(t *testing.T) {
	w := newWorld(t, "app*")
	w.copyWait = 100 * time.Millisecond
	w.append("app.log", "the same\n")
	w.start()
	w.want("app.log", "the same")
	w.append("app.log.1", "the same\nand more\n")
	w.want("app.log.1", "the same", "and more")
}

func TestPositionsOfPromtailAreGoneOnFrom(t *testing.T) {
	w := newWorld(t, "*.log")
	w.append("on.log", "1\n2\n3\n")
	w.append("rotated.log.1", "1\n2\n3\n")
	w.append("rotated.log", "4\n")
	w.append("shorter.log", "1\n")
	w.append("unknown.log", "1\n")
	w.append("end.log", "1\n2\n")
	w.append("positions.yaml", fmt.Sprintf("positions:\n  %s: \"2\"\n  %s: \"4\"\n  %s: \"100\"\n  %s: \"4\"\n  %s: \"9\"\n",
		w.path("on.log"), w.path("rotated.log"), w.path("shorter.log"), w.path("end.log"), w.path("gone.log")))
	w.cfg.ImportPromtailPositions, w.cfg.Start = w.path("positions.yaml"), "end"
	w.autosave = true
	w.start()
	for _, name := range []string{"unknown.log", "end.log"} {
		w.append(name, "new\n")
	}
	w.want("on.log", "2", "3")
	w.want("rotated.log", "3", "4")
	w.want("shorter.log", "1")
	w.want("unknown.log", "new")
	w.want("end.log", "new")
	w.restart() // now the positions are the agent's own
	w.append("on.log", "4\n")
	w.want("on.log", "2", "3", "4")
}

func TestADamagedPositionsFileOfPromtailIsToldAndStopsNothing(t *testing.T) {
	w := newWorld(t, "*.log")
	w.append("a.log", "1\n")
	w.append("positions.yaml", "\x00\x00")
	w.cfg.ImportPromtailPositions = w.path("positions.yaml")
	w.start()
	w.want("a.log", "1")
	f := w.fault(promtailKey)
	if f == nil || !strings.Contains(f.What, "positions.yaml") || f.Remedy == "" {
		t.Errorf("told %+v", f)
	}
}

func TestSymbolicLinksAreFollowedAndRetargeted(t *testing.T) {
	w := newWorld(t, "links/*.log")
	w.mkdir("links")
	w.append("monday", "m1\n")
	if err := os.Symlink(w.path("monday"), w.path("links/day.log")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(w.path("monday"), w.path("links/same.log")); err != nil {
		t.Fatal(err)
	}
	w.start()
	w.want("links/day.log", "m1")
	w.append("tuesday", "t1\n")
	if err := os.Symlink(w.path("tuesday"), w.path("links/new")); err != nil {
		t.Fatal(err)
	}
	w.append("monday", "m2\n")
	w.rename("links/new", "links/day.log")
	w.until("all lines", func() bool { return w.sink.total() >= 3 })
	got := slices.Sorted(slices.Values(w.sink.all))
	if !slices.Equal(got, []string{"m1", "m2", "t1"}) {
		t.Errorf("got %q", got)
	}
}

func TestFoldersThatComeLaterAndAgain(t *testing.T) {
	w := newWorld(t, "pods/*/logs/*.log", "srv/**/*.log")
	w.start()
	if f := w.fault(w.path("pods/*/logs/*.log")); f == nil || !f.Note {
		t.Errorf("a pattern that matches nothing isn't noted: %v", w.env.Status.Faults())
	}
	w.mkdir("pods/one/logs")
	w.append("pods/one/logs/a.log", "a1\n")
	w.want("pods/one/logs/a.log", "a1")
	w.until("end of the note", func() bool { return w.fault(w.path("pods/*/logs/*.log")) == nil })
	w.mkdir("srv/a/b/c")
	w.append("srv/a/b/c/x.log", "x1\n")
	w.want("srv/a/b/c/x.log", "x1")
	for round := range 3 {
		if err := os.RemoveAll(w.path("pods")); err != nil {
			t.Fatal(err)
		}
		w.mkdir("pods/one/logs")
		line := fmt.Sprint("again ", round)
		w.append("pods/one/logs/a.log", line+"\n")
		w.until(line, func() bool { return slices.Contains(w.sink.of(w.path("pods/one/logs/a.log")), line) })
	}
}

func TestAThousandFilesAreAllReadInOrder(t *testing.T) {
	w := newWorld(t, "many/*.log")
	w.mkdir("many")
	const files, lines = 1000, 20
	for round := range lines {
		if round == lines/2 {
			w.start()
		}
		for i := range files {
			w.append(fmt.Sprintf("many/%d.log", i), fmt.Sprintln(round))
		}
	}
	w.until("all lines", func() bool { return w.sink.total() >= files*lines })
	for i := range files {
		got := w.sink.of(w.path(fmt.Sprintf("many/%d.log", i)))
		if len(got) != lines {
			t.Fatalf("file %d: %d lines", i, len(got))
		}
		for k, line := range got {
			if line != fmt.Sprint(k) {
				t.Fatalf("file %d: line %d is %q", i, k, line)
			}
		}
	}
	rows := w.env.Status.Details()
	if len(rows) != maxRows+1 || !strings.Contains(rows[maxRows].Name, "800") {
		t.Errorf("%d rows, the last is %+v", len(rows), rows[len(rows)-1])
	}
}

func TestMoreFilesThanDescriptorsAreReadThroughRotations(t *testing.T) {
	w := newWorld(t, "logs/*.log")
	const files, rounds, limit = 120, 6, 7
	w.cfg.MaxOpenFiles = limit
	w.mkdir("logs")
	name := func(k int) string { return fmt.Sprintf("logs/%03d.log", k) }
	for k := range files {
		w.append(name(k), "0\n")
	}
	w.start()
	for i := 1; i < rounds; i++ {
		w.until("a round", func() bool { return w.sink.total() >= i*files })
		for k := range files {
			w.append(name(k), fmt.Sprintln(i))
			if (i+k)%3 != 0 {
				continue
			}
			for old := rounds; old > 0; old-- {
				os.Rename(w.path(fmt.Sprint(name(k), ".", old)), w.path(fmt.Sprint(name(k), ".", old+1)))
			}
			w.rename(name(k), name(k)+".1")
		}
	}
	w.until("all lines", func() bool { return w.sink.total() >= files*rounds })
	for k := range files {
		if got, want := w.sink.of(w.path(name(k))), []string{"0", "1", "2", "3", "4", "5"}; !slices.Equal(got, want) {
			t.Errorf("%s gave %q", name(k), got)
		}
	}
	w.until("few open files", func() bool {
		open, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, fd := range open {
			if target, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && strings.HasPrefix(target, w.path("logs")) {
				n++
			}
		}
		return n <= limit
	})
	if losses := w.env.Losses.Counts(); len(losses) != 0 {
		t.Errorf("lost %v", losses)
	}
}

func TestABusyFileDoesNotKeepOthersFromTheirTurn(t *testing.T) {
	w := newWorld(t, "*.log")
	w.append("a busy.log", strings.Repeat(strings.Repeat("x", 99)+"\n", 200_000))
	w.append("small.log", "one\n")
	w.start()
	w.want("small.log", "one")
	w.sink.mu.Lock()
	at := slices.Index(w.sink.all, "one")
	w.sink.mu.Unlock()
	if at > 20_000 {
		t.Errorf("the small file's line came after %d others", at)
	}
	w.until("all lines", func() bool { return w.sink.total() == 200_001 })
}

func TestWhatCannotBeReadIsTold(t *testing.T) {
	w := newWorld(t, "*.log", "secret/*.log")
	w.mkdir("secret")
	w.append("good.log", "one\n")
	if err := syscall.Mkfifo(w.path("fifo.log"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(w.path("loop.log"), w.path("loop.log")); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() != 0 {
		w.append("bad.log", "two\n")
		if err := os.Chmod(w.path("bad.log"), 0); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(w.path("secret"), 0); err != nil {
			t.Fatal(err)
		}
		defer os.Chmod(w.path("secret"), 0o700)
	}
	w.start()
	w.want("good.log", "one")
	w.until("notes", func() bool { return w.fault(w.path("fifo.log")) != nil && w.fault(w.path("loop.log")) != nil })
	if f := w.fault(w.path("fifo.log")); !f.Note || !strings.Contains(f.What, "FIFO") || f.Remedy == "" {
		t.Errorf("%+v", f)
	}
	if f := w.fault(w.path("loop.log")); f.Note || f.Remedy == "" {
		t.Errorf("%+v", f)
	}
	if rows := w.env.Status.Details(); rows[0].State != "failing" {
		t.Errorf("what fails doesn't come first: %+v", rows)
	}
	if os.Getuid() != 0 {
		w.until("fault", func() bool { return w.fault(w.path("bad.log")) != nil && w.fault(w.path("secret")) != nil })
		if f := w.fault(w.path("bad.log")); f.Note || !strings.Contains(f.Remedy, "CAP_DAC_READ_SEARCH") {
			t.Errorf("%+v", f)
		}
		if err := os.Chmod(w.path("bad.log"), 0o600); err != nil {
			t.Fatal(err)
		}
		w.want("bad.log", "two")
		w.until("end of the fault", func() bool { return w.fault(w.path("bad.log")) == nil })
	}
	if err := os.Remove(w.path("fifo.log")); err != nil {
		t.Fatal(err)
	}
	w.append("fifo.log", "a file now\n")
	w.want("fifo.log", "a file now")
	w.until("end of the note", func() bool { return w.fault(w.path("fifo.log")) == nil })
}

func TestPermissionRemedyNamesTheGroupOrTheCapability(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.log")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for mode, want := range map[os.FileMode]string{0o640: "usermod -aG", 0o600: "no group"} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		remedy, what := component.Remedy(explain(path, os.ErrPermission))
		if !strings.Contains(remedy, want) || !strings.Contains(remedy, "CAP_DAC_READ_SEARCH") || !strings.Contains(what, fmt.Sprintf("with mode %04o", mode)) {
			t.Errorf("%o: %s; %s", mode, what, remedy)
		}
	}
}

func TestLongLinesAreCutAndCounted(t *testing.T) {
	w := newWorld(t, "*.log")
	w.cfg.MaxLineSize = 100
	w.append("a.log", strings.Repeat("x", 101)+"\n"+strings.Repeat("y", 100)+"\n"+strings.Repeat("z", 1_000_000)+"\nend\n")
	w.start()
	w.want("a.log", strings.Repeat("x", 100), strings.Repeat("y", 100), strings.Repeat("z", 100), "end")
	w.until("the count", func() bool { return w.env.Losses.Counts()["line_too_long"] == 2 })
}

func TestTheRateLimitMakesLinesWaitAndDropsNone(t *testing.T) {
	w := newWorld(t, "*.log")
	w.cfg.RateLimit = &RateLimit{Lines: 1000, Burst: 100}
	w.append("a.log", strings.Repeat("x\n", 400))
	began := time.Now()
	w.start()
	w.until("all lines", func() bool { return w.sink.total() == 400 })
	// 100 at once, the other 300 at 1000 a second.
	if took := time.Since(began); took < 290*time.Millisecond {
		t.Errorf("400 lines took %s", took)
	}
}

func TestRunEndsWhileTheConsumerWaits(t *testing.T) {
	w := newWorld(t, "*.log")
	w.sink.block = true
	w.append("a.log", "one\n")
	w.start()
	w.stop()
	if n := len(slices.Collect(maps.Keys(w.sink.lines))); n != 0 {
		t.Errorf("%d files", n)
	}
}

func TestAPathWithAnyBytesIsFollowed(t *testing.T) {
	w := newWorld(t, "*.log")
	w.append("b\xff\xfe\n\"[x].log", "one\n")
	w.start()
	w.until("a line", func() bool { return w.sink.total() == 1 })
	w.restart()
	w.append("b\xff\xfe\n\"[x].log", "two\n")
	w.until("a line", func() bool { return w.sink.total() == 2 })
}

func TestBadConfigsAreTold(t *testing.T) {
	for name, c := range map[string]func(*Config){
		"paths":            func(c *Config) { c.Paths = nil },
		"relative":         func(c *Config) { c.Paths = []string{"var/log/*.log"} },
		"bad pattern":      func(c *Config) { c.Paths = []string{"/var/log/[.log"} },
		"braces":           func(c *Config) { c.Paths = []string{"/" + strings.Repeat("{a/b,c}", 30)} },
		"bad exclude":      func(c *Config) { c.Exclude = []string{"{"} },
		"start":            func(c *Config) { c.Start = "middle" },
		"negative start":   func(c *Config) { c.Start = "-1h" },
		"max_line_size":    func(c *Config) { c.MaxLineSize = 1 },
		"huge lines":       func(c *Config) { c.MaxLineSize = 1 << 40 },
		"poll_interval":    func(c *Config) { c.PollInterval = 0 },
		"rate_limit":       func(c *Config) { c.RateLimit = &RateLimit{} },
		"rate_limit.burst": func(c *Config) { c.RateLimit = &RateLimit{Lines: 1, Burst: 1 << 20} },
	} {
		cfg := defaults()
		cfg.Paths = []string{"/var/log/*.log"}
		if errs := cfg.Validate(); len(errs) != 0 {
			t.Fatal(errs)
		}
		c(&cfg)
		if errs := cfg.Validate(); len(errs) != 1 {
			t.Errorf("%s: %v", name, errs)
		}
	}
}
