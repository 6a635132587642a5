//go:build integration

package torture

import (
	"fmt"
	"maps"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hermod-agent/hermod/integration/harness"
)

const content = "Content of files"

func TestOddBytes(t *testing.T) {
	t.Parallel()
	everyUser(t, content, "lines of 300 KB and 50 MB, empty ones, NUL bytes, CRLF, byte order marks, UTF-16, what isn't UTF-8, control characters, half a line at a stop", "app.log", "", func(w *world, r *row) {
		r.shows(34, 35)
		long, huge := strings.Repeat("l", 300_000), strings.Repeat("h", 50<<20)
		file, err := os.Create(w.path("app.log"))
		if err != nil {
			w.Fatal(err)
		}
		defer file.Close()
		out := func(text string) {
			if _, err := file.WriteString(text); err != nil {
				w.Fatal(err)
			}
		}
		out("\ufefffirst\r\n\n" + long + "\nbehind\n" + huge + "\nbehind the huge one\n" + strings.Repeat("\x00", 100_000) + "behind a hole\n")
		out("\xff\xfeu\x00t\x00f\x00\n\x00forged\r\ntime=2026-01-01T00:00:00Z level=error msg=forged\n")
		out("a\x00b\nbad \xff\xfe bytes\n\x1b[31mred\x1b[0m\nhalf a ")
		w.start()
		want := map[string]int{
			"first": 1, "": 1, long[:256<<10]: 1, "behind": 1, huge[:256<<10]: 1, "behind the huge one": 1, "behind a hole": 1,
			"a\ufffdb": 1, "bad \ufffd bytes": 1, "\x1b[31mred\x1b[0m": 1,
			"\ufffdu\ufffdt\ufffdf\ufffd": 1, "forged": 1, "time=2026-01-01T00:00:00Z level=error msg=forged": 1,
		}
		harness.Eventually(w.T, patience, "the whole lines arrive", func() (bool, string) {
			missing, _, _, examples := w.loki.Tally(app).Compare(want)
			return missing == 0, fmt.Sprint(missing, examples)
		})
		if losses := w.losses("input.files.app"); losses["line_too_long"] != 2 {
			w.Errorf("2 lines were cut, and counted were %v", losses)
		}
		if code := w.agent.Stop(); code != 0 {
			w.Fatalf("stopped with code %d", code)
		}
		w.agent.Start()
		out("line\n")
		want["half a line"] = 1
		w.came(r, app, want)
		w.once(r)
		r.Note = "2 lines were cut at 256 KiB, and counted"
		if text := w.agent.Log(); strings.Contains(text, "\x1b") || strings.Contains(text, "forged") {
			w.Errorf("the agent's own log shows what stands in the file: %q", text)
		}
		w.healthy()
	})
}

func TestManyFiles(t *testing.T) {
	t.Parallel()
	requireRoot(t)
	const limit = 1024
	files := times(2000, 10_000)
	for _, u := range users {
		t.Run(u.name, func(t *testing.T) {
			t.Parallel()
			r := begin(t, row{Group: content, Case: fmt.Sprintf("%d files with a limit of %d descriptors, one that may not be read, one that is deleted, a kill", files, limit), Source: "files",
				User: u.name}).shows(36)
			w := fileWorldWith(t, harness.AgentOptions{User: u.id, Within: []string{"prlimit", fmt.Sprint("--nofile=", limit)}}, harness.NewLoki(t), "*.log", "", "")
			want := map[string]int{}
			path := func(i int) string { return w.path(fmt.Sprintf("%05d.log", i)) }
			append := func(round int) {
				for i := range files {
					line := fmt.Sprintf("file %d round %d", i, round)
					want[line] = 1
					f, err := os.OpenFile(path(i), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
					if err == nil {
						_, err = f.WriteString(line + "\n")
						f.Close()
					}
					if err != nil {
						w.Fatal(err)
					}
				}
			}
			append(0)
			if u.id != 0 { // root may read everything
				if err := os.Chmod(path(0), 0); err != nil {
					t.Fatal(err)
				}
			}
			w.start()
			for round := 1; round < 4; round++ {
				append(round)
				held, err := w.agent.Resources()
				if err != nil {
					w.Fatal(err)
				}
				if n := len(held.Descriptors); n > limit*3/4 {
					w.Errorf("the agent holds %d descriptors", n)
				}
			}
			w.agent.Kill()
			append(4)
			w.agent.Start()
			if u.id != 0 {
				readable := maps.Clone(want)
				maps.DeleteFunc(readable, func(line string, _ int) bool { return strings.HasPrefix(line, "file 0 ") })
				harness.Eventually(t, patience, "what may be read arrives", func() (bool, string) {
					missing, _, _, examples := w.loki.Tally(app).Compare(readable)
					return missing == 0, fmt.Sprintf("%d missing: %v", missing, examples)
				})
				told := 0
				for line := range strings.Lines(w.agent.Log()) {
					if strings.Contains(line, path(0)) {
						told++
					}
				}
				if told == 0 || told > 2 { // by the run that was killed, and by this one
					t.Errorf("the file that may not be read is told of %d times", told)
				}
				if err := os.Chmod(path(0), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			w.came(r, app, want)
			if err := os.Remove(path(1)); err != nil {
				t.Fatal(err)
			}
			w.agent.AwaitReady()
			harness.Conserved(w.T, w.agent)
		})
	}
}

func TestMultiline(t *testing.T) {
	t.Parallel()
	everyUser(t, content, "records of several lines over stops, kills and rotations", "app.log", "  multiline {\n    indented = true\n  }\n", func(w *world, r *row) {
		r.shows(35)
		w.start()
		want := map[string]int{}
		random := harness.Seeded(w.T)
		path := w.path("app.log")
		out := func(text string) {
			f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
			if err == nil {
				_, err = f.WriteString(text)
				f.Close()
			}
			if err != nil {
				w.Fatal(err)
			}
		}
		harness.Eventually(w.T, patience, "the first save", func() (bool, string) {
			_, err := os.Stat(w.agent.DataDir() + "/positions")
			return err == nil, fmt.Sprint(err)
		})
		n := 0
		for round := range times(4, 30) {
			for range 500 {
				record := fmt.Sprintf("record %d", n)
				for k := range random.IntN(4) {
					record += fmt.Sprintf("\n  line %d of it", k)
				}
				want[record] = 1
				n++
				out(record + "\n")
			}
			// Amid a record, whose other lines come when the agent is back.
			half := fmt.Sprintf("record %d", n)
			n++
			out(half + "\n")
			if round%2 == 0 {
				w.agent.Kill()
			} else if code := w.agent.Stop(); code != 0 {
				w.Fatalf("stopped with code %d", code)
			}
			out("  the rest\n")
			want[half+"\n  the rest"] = 1
			if round%3 == 0 {
				if err := os.Rename(path, fmt.Sprintf("%s-%04d", path, round)); err != nil {
					w.Fatal(err)
				}
			}
			w.agent.Start()
			w.agent.AwaitReady()
		}
		w.came(r, app, want)
		w.healthy()
	})
}

func TestHalfALine(t *testing.T) {
	t.Parallel()
	everyUser(t, content, "lines written a byte at a time over restarts and rotations", "app.log", "", func(w *world, r *row) {
		r.shows(35)
		l := w.log("app.log")
		w.start()
		for round := range times(6, 40) {
			line := fmt.Sprintf("slowly %d %s", round, strings.Repeat("x", 40))
			l.wants(line)
			for i, c := range []byte(line + "\n") {
				_, err := l.file.Write([]byte{c})
				l.check(err)
				<-time.After(20 * time.Millisecond)
				if i != 20 {
					continue
				}
				switch round % 3 {
				case 0:
					if code := w.agent.Stop(); code != 0 {
						w.Fatalf("stopped with code %d", code)
					}
					w.agent.Start()
				case 1: // the writer goes over to the new file when its line is whole
					l.check(os.Rename(l.path, l.dated()))
				}
			}
			if round%3 == 1 {
				old := l.file
				l.create()
				l.check(old.Close())
			}
			l.write(3)
		}
		w.came(r, app, l.want())
		w.once(r)
		w.healthy()
	})
}

func TestFilesThatBeginAlike(t *testing.T) {
	t.Parallel()
	everyUser(t, content, "100 files that begin with the same 4 KiB", "*.log", "", func(w *world, r *row) {
		r.shows(32)
		const files = 100
		want := map[string]int{}
		head := strings.Repeat("the banner of a program that says the same at each start\n", 80)
		want[strings.TrimSuffix(head[:strings.IndexByte(head, '\n')+1], "\n")] = files * 80
		names := make([]string, files)
		for i := range files {
			names[i] = w.path(fmt.Sprintf("%03d.log", i))
			if err := os.WriteFile(names[i], []byte(head), 0o644); err != nil {
				w.Fatal(err)
			}
		}
		w.start()
		for round := range 3 {
			for i, name := range names {
				line := fmt.Sprintf("file %d round %d", i, round)
				want[line] = 1
				f, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0o644)
				if err == nil {
					_, err = f.WriteString(line + "\n")
					f.Close()
				}
				if err != nil {
					w.Fatal(err)
				}
			}
			if round < 2 {
				if code := w.agent.Stop(); code != 0 {
					w.Fatalf("stopped with code %d", code)
				}
				w.agent.Start()
				w.agent.AwaitReady()
			}
		}
		w.came(r, app, want)
		w.once(r)
		w.healthy()
	})
}

func TestInodesThatAreUsedAgain(t *testing.T) {
	t.Parallel()
	requireRoot(t)
	for _, u := range users {
		t.Run(u.name, func(t *testing.T) {
			t.Parallel()
			r := begin(t, row{Group: content, Case: "while the agent is down a file is deleted and another gets its inode: larger, smaller, or with the same beginning", Source: "files",
				User: u.name}).shows(31)
			w := fileWorld(t, u, "app.log", "")
			// A filesystem of its own gives the inode that was just freed to the next file.
			tool(t, "mount", "-o", "loop", ext4(t, 16), w.dir)
			t.Cleanup(func() {
				if w.agent.Running() {
					w.agent.Stop()
				}
				harness.Unmount(t, w.dir, "")
			})
			l := w.log("app.log")
			w.start()
			reused := 0
			rounds := times(6, 30)
			banner := strings.Repeat("the same beginning ", 60)
			for round := range rounds {
				l.extra(banner)
				l.write(100 + 50*(round%3))
				harness.Eventually(w.T, patience, "the lines so far arrive", func() (bool, string) {
					missing, _, _, examples := w.loki.Tally(app).Compare(l.want())
					return missing == 0, fmt.Sprintf("%d missing: %v", missing, examples)
				})
				if code := w.agent.Stop(); code != 0 {
					w.Fatalf("stopped with code %d", code)
				}
				before := inode(t, l.path)
				l.check(l.file.Close())
				l.check(os.Remove(l.path))
				l.create()
				if inode(t, l.path) == before {
					reused++
				}
				if round%2 == 0 {
					l.extra(banner)
				}
				l.write([]int{300, 10, 100}[round%3])
				w.agent.Start()
				w.agent.AwaitReady()
			}
			w.came(r, app, l.want())
			w.once(r)
			r.Note = fmt.Sprintf("%d of %d files got the inode of the one before", reused, rounds)
			if reused == 0 {
				t.Error("no inode was used again")
			}
			w.healthy()
		})
	}
}

func inode(t *testing.T, path string) uint64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t).Ino
}

func TestWhatIsNoFile(t *testing.T) {
	t.Parallel()
	everyUser(t, content, "a FIFO, a device, a folder, a socket and links to them and in a circle, with names of logs", "*.log", "", func(w *world, r *row) {
		r.shows(33)
		l := w.log("app.log")
		check := func(err error) {
			if err != nil {
				w.Fatal(err)
			}
		}
		check(syscall.Mkfifo(w.path("fifo.log"), 0o666))
		check(os.Mkdir(w.path("folder.log"), 0o755))
		check(os.Symlink("/dev/zero", w.path("zero.log")))
		check(os.Symlink("circle.log", w.path("circle.log")))
		check(os.Symlink("fifo.log", w.path("tofifo.log")))
		check(os.Symlink("nowhere", w.path("nowhere.log")))
		socket, err := net.Listen("unix", w.path("socket.log"))
		check(err)
		defer socket.Close()
		w.start()
		l.paced(2000, 1000)
		w.came(r, app, l.want())
		w.once(r)
		for _, name := range []string{"zero.log", "circle.log", "fifo.log"} {
			if n := strings.Count(w.agent.Log(), w.path(name)); n > 2 {
				w.Errorf("%s is told of %d times", name, n)
			}
		}
		status, err := w.agent.Status()
		check(err)
		told := fmt.Sprint(harness.NodeOf(w.T, status, "input.files.app").Faults, harness.NodeOf(w.T, status, "input.files.app").Why)
		if !strings.Contains(told+w.agent.Log(), "zero.log") || !strings.Contains(told+w.agent.Log(), "fifo.log") {
			w.Errorf("nobody hears of what is refused: %s", told)
		}
		w.healthy()
	})
}
