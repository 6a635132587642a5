package tail

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hermod-agent/hermod/pipeline/positions"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is a folder with one followed log.
type fixture struct {
	*testing.T
	dir, path string
	buf       []byte
	log       *Log
	last      positions.Position // after the last line that was read
}

func newFixture(t *testing.T) *fixture {
	dir := t.TempDir()
	return &fixture{T: t, dir: dir, path: filepath.Join(dir, "app.log"), buf: make([]byte, BufferSize(0))}
}

func (x *fixture) open(o Options) *fixture {
	x.Helper()
	if x.log != nil {
		x.log.Close()
	}
	o.Path = x.path
	if o.Linger == 0 {
		o.Linger = time.Hour
	}
	x.log = Open(o)
	x.Cleanup(x.log.Close)
	return x
}

// append writes to a file of the folder.
func (x *fixture) append(name, text string) {
	x.Helper()
	f, err := os.OpenFile(filepath.Join(x.dir, name), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err == nil {
		_, err = f.WriteString(text)
		f.Close()
	}
	if err != nil {
		x.Fatal(err)
	}
}

func (x *fixture) rename(from, to string) {
	x.Helper()
	if err := os.Rename(filepath.Join(x.dir, from), filepath.Join(x.dir, to)); err != nil {
		x.Fatal(err)
	}
}

// read returns the lines that are there now.
func (x *fixture) read() []string {
	x.Helper()
	var lines []string
	for {
		c, err := x.log.Read(x.buf)
		if err != nil {
			x.Fatal(err)
		}
		if c.Empty() {
			if c.More() {
				continue
			}
			return lines
		}
		for line, ok := c.Next(); ok; line, ok = c.Next() {
			lines = append(lines, string(line))
		}
		x.last = c.Position()
	}
}

func (x *fixture) want(lines ...string) {
	x.Helper()
	if got := x.read(); !slices.Equal(got, lines) {
		x.Fatalf("got %.200q, want %.200q", got, lines)
	}
}

func TestLinesComeWholeAndOnce(t *testing.T) {
	x := newFixture(t).open(Options{})
	x.want()
	x.append("app.log", "one\ntwo\nhal")
	x.want("one", "two")
	x.want()
	x.append("app.log", "f")
	x.want()
	x.append("app.log", "\n\nnext\n")
	x.want("half", "", "next")
}

func TestEachLineHasTheOffsetAfterIt(t *testing.T) {
	x := newFixture(t).open(Options{})
	x.append("app.log", "a\n\nccc\r\nd")
	c, err := x.log.Read(x.buf)
	if err != nil {
		t.Fatal(err)
	}
	if c.Offset() != 0 {
		t.Errorf("offset %d before the first line", c.Offset())
	}
	for _, want := range []struct {
		line   string
		offset int64
	}{{"a", 2}, {"", 3}, {"ccc\r", 8}} {
		line, ok := c.Next()
		if !ok || string(line) != want.line || c.Offset() != want.offset {
			t.Errorf("got %q at %d, want %q at %d", line, c.Offset(), want.line, want.offset)
		}
	}
	if _, ok := c.Next(); ok {
		t.Error("half a line was given")
	}
	if p := c.PositionAt(2); p.Offset != 2 || p.Path != x.path || p.Inode == 0 || p.HeadLen == 0 {
		t.Errorf("position %+v", p)
	}
}

func TestReadingGoesOnAtThePosition(t *testing.T) {
	x := newFixture(t).open(Options{})
	x.append("app.log", "one\ntwo\n")
	x.want("one", "two")
	x.append("app.log", "three\n")
	x.open(Options{Resume: []positions.Position{x.last}, Start: End})
	x.want("three")
}

func TestStart(t *testing.T) {
	x := newFixture(t)
	x.append("app.log.1", "older\n")
	x.append("app.log", "one\nha")
	x.open(Options{Start: Beginning}).want("one")
	x.open(Options{Start: Oldest}).want("older", "one")
	x.open(Options{Start: End}).want()
	p, ok := x.log.Position()
	if !ok || p.Offset != 4 {
		t.Errorf("position %+v, %v: a half line at the end belongs to what comes", p, ok)
	}
	x.append("app.log", "lf\n")
	x.want("half")
}

func TestStartDoesNotCountForAFileThatComesLater(t *testing.T) {
	x := newFixture(t).open(Options{Start: End})
	x.want()
	x.append("app.log", "first\n")
	x.want("first")
}

func TestARenamedFileIsReadToItsEndBeforeTheNewOne(t *testing.T) {
	x := newFixture(t).open(Options{})
	x.append("app.log", "a1\n")
	x.want("a1")
	x.append("app.log", "a2\n")
	x.rename("app.log", "app.log.1")
	x.append("app.log", "b1\n")
	x.append("app.log.1", "a3\n")
	x.want("a2", "a3", "b1")
	x.append("app.log.1", "a4\n")
	x.append("app.log", "b2\n")
	x.want("a4", "b2")
}

func TestAFileThatWasRotatedTwiceUnseenIsRead(t *testing.T) {
	x := newFixture(t)
	x.append("app.log.3", "before the agent\n")
	x.append("app.log", "a1\n")
	x.open(Options{}).want("a1")
	rotate := func() {
		x.rename("app.log.3", "app.log.4")
		if _, err := os.Stat(filepath.Join(x.dir, "app.log.2")); err == nil {
			x.rename("app.log.2", "app.log.3")
		}
		if _, err := os.Stat(filepath.Join(x.dir, "app.log.1")); err == nil {
			x.rename("app.log.1", "app.log.2")
		}
		x.rename("app.log", "app.log.1")
	}
	x.append("app.log", "a2\n")
	rotate()
	x.append("app.log", "b1\n")
	x.rename("app.log.4", "app.log.3")
	rotate()
	x.append("app.log", "c1\n")
	x.want("a2", "b1", "c1")
	x.want()
}

func TestRotationWhileTheAgentWasDown(t *testing.T) {
	for _, names := range [][2]string{{"app.log.1", "app.log.2"}, {"app.log-20260102", "app.log-20260101"}, {"app-2026-01-02.log", "app-2026-01-01.log"}} {
		for times := 1; times <= 2; times++ {
			t.Run(fmt.Sprint(names[0], " ", times), func(t *testing.T) {
				x := newFixture(t)
				x.append("app.log", "long ago\n")
				x.rename("app.log", "app.log.9")
				x.append("app.log", "a1\n")
				x.open(Options{}).want("a1")
				x.append("app.log", "a2\n")
				resume := x.last
				resume.Updated = time.Now().Unix()
				x.log.Close()
				want := []string{"a2", "c1"}
				if times == 2 {
					x.rename("app.log", names[1])
					x.append("app.log", "b1\n")
					x.rename("app.log", names[0])
					want = []string{"a2", "b1", "c1"}
				} else {
					x.rename("app.log", names[0])
				}
				x.append("app.log", "c1\n")
				x.open(Options{Resume: []positions.Position{resume}, Start: End}).want(want...)
				x.append("app.log", "c2\n")
				x.want("c2")
			})
		}
	}
}

func TestAFileRenamedToAnUnusualNameWhileDownIsFoundByIdentity(t *testing.T) {
	x := newFixture(t).open(Options{})
	x.append("app.log", "a1\n")
	x.want("a1")
	x.append("app.log", "a2\n")
	x.log.Close()
	x.rename("app.log", "kept for the auditor")
	x.open(Options{Resume: []positions.Position{x.last}}).want("a2")
	x.append("app.log", "b1\n")
	x.want("b1")
}

func TestTruncationBeginsAnewAndIsCounted(t *testing.T) {
	x := newFixture(t).open(Options{})
	x.append("app.log", "one\ntwo\n")
	x.want("one", "two")
	if err := os.Truncate(x.path, 0); err != nil {
		t.Fatal(err)
	}
	x.want()
	x.append("app.log", "three\n")
	x.want("three")
	if n := x.log.Stat().Truncations; n != 1 {
		t.Errorf("%d truncations were counted", n)
	}
}

func TestATruncatedFileThatGrewPastTheOffsetIsBegunAnew(t *testing.T) {
	x := newFixture(t).open(Options{})
	x.append("app.log", "one\n")
	x.want("one")
	overwrite := func(text string) {
		if err := os.WriteFile(x.path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	overwrite("another beginning\nand more\n")
	x.want("another beginning", "and more")
	x.log.Close()
	overwrite("a third beginning, longer than the others were\n")
	x.open(Options{Resume: []positions.Position{x.last}}).want("a third beginning, longer than the others were")
}

func TestAFileThatIsTruncatedAndGrowsAnewAmidItsReadingIsBegunAnew(t *testing.T) {
	x := newFixture(t)
	x.buf = x.buf[:headSize] // room for one of the lines
	line := func(n string) string { return n + strings.Repeat("x", 799) }
	x.append("app.log", line("1")+"\n"+line("2")+"\n"+line("3")+"\n")
	x.open(Options{MaxLine: 900})
	if c, err := x.log.Read(x.buf); err != nil || c.Len() != 801 {
		t.Fatalf("%d bytes, %v", c.Len(), err)
	}
	x.append("app.log.1", line("1")+"\n"+line("2")+"\n"+line("3")+"\n")
	if err := os.WriteFile(x.path, []byte(line("4")+"\n"+line("5")+"\n"+line("6")+"\n"+line("7")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	x.want(line("2"), line("3"), line("4"), line("5"), line("6"), line("7"))
}

func TestTheCopyOfATruncatedFileIsNotReadAgain(t *testing.T) {
	x := newFixture(t).open(Options{})
	x.append("app.log", "a1\n")
	x.want("a1")
	x.append("app.log.1", "a1\n")
	if err := os.Truncate(x.path, 0); err != nil {
		t.Fatal(err)
	}
	x.want()
	x.append("app.log", "b1\n")
	x.want("b1")
	x.rename("app.log.1", "app.log.2")
	x.rename("app.log", "app.log.1")
	x.append("app.log", "c1\n")
	x.want("c1")
}

func TestWhatOnlyTheCopyOfATruncatedFileHoldsIsReadBeforeTheNewLines(t *testing.T) {
	for _, down := range []bool{false, true} {
		t.Run(fmt.Sprintf("down=%v", down), func(t *testing.T) {
			x := newFixture(t)
			o := Options{Lost: func(_ Loss, n int64) { t.Errorf("%d bytes were told as lost", n) }}
			x.append("app.log.1", "an older generation\n")
			x.open(o)
			x.append("app.log", "a1\n")
			x.want("a1")
			p := x.last
			p.Updated = time.Now().Unix()
			if down {
				x.log.Close()
			}
			x.append("app.log", "a2\na3\n")
			x.rename("app.log.1", "app.log.2")
			x.append("app.log.1", "a1\na2\na3\n")
			if err := os.Truncate(x.path, 0); err != nil {
				t.Fatal(err)
			}
			x.append("app.log", "b1\n")
			if down {
				o.Resume = []positions.Position{p}
				x.open(o)
			}
			x.want("a2", "a3", "b1")
			x.append("app.log", "b2\n")
			x.want("b2")
		})
	}
}

func TestTheCopyOfATruncatedFileIsReadOnAfterAStop(t *testing.T) {
	x := newFixture(t).open(Options{})
	x.append("app.log", "a1\n")
	x.want("a1")
	x.append("app.log", "a2\n")
	x.append("app.log.1", "a1\na2\n")
	if err := os.Truncate(x.path, 0); err != nil {
		t.Fatal(err)
	}
	p := x.last
	x.log.Close()
	x.append("app.log", "b1\n")
	p.Updated = time.Now().Unix()
	x.open(Options{Resume: []positions.Position{p}}).want("a2", "b1")
}

func TestBytesThatATruncationDestroyedAreTold(t *testing.T) {
	x := newFixture(t)
	lost := int64(0)
	x.buf = x.buf[:headSize] // room for one of the lines
	x.open(Options{MaxLine: 900, Lost: func(_ Loss, n int64) { lost += n }})
	line := strings.Repeat("x", 799) + "\n"
	x.append("app.log", line+line+line)
	if c, err := x.log.Read(x.buf); err != nil || c.Len() != len(line) {
		t.Fatalf("%d bytes, %v", c.Len(), err)
	}
	// The copy was made before the third line came.
	x.append("app.log.1", line+line)
	if err := os.Truncate(x.path, 0); err != nil {
		t.Fatal(err)
	}
	x.append("app.log", "new\n")
	x.want(line[:799], "new")
	if lost != int64(len(line)) {
		t.Errorf("%d bytes were told as lost, want %d", lost, len(line))
	}
}

func TestAnInodeThatIsUsedAgainIsANewFile(t *testing.T) {
	x := newFixture(t).open(Options{})
	x.append("app.log", "one\ntwo\n")
	x.want("one", "two")
	p := x.last
	x.log.Close()
	x.append("other", "a new file, longer than the old one\n")
	var st syscall.Stat_t
	if err := syscall.Stat(filepath.Join(x.dir, "other"), &st); err != nil {
		t.Fatal(err)
	}
	x.rename("other", "app.log")
	p.Inode = st.Ino // as if the filesystem had handed it out again
	x.open(Options{Resume: []positions.Position{p}}).want("a new file, longer than the old one")
}

func TestAnInodeThatIsUsedAgainIsANewFileThoughItBeginsAlike(t *testing.T) {
	banner := strings.Repeat("banner ", 200) // longer than what is compared of a beginning
	x := newFixture(t).open(Options{})
	x.append("app.log", banner+"\none\n")
	x.want(banner, "one")
	p := x.last
	x.log.Close()
	x.append("other", banner+"\ntwo\nthree\n")
	var st syscall.Stat_t
	if err := syscall.Stat(filepath.Join(x.dir, "other"), &st); err != nil {
		t.Fatal(err)
	}
	x.rename("other", "app.log")
	if p.Born == 0 {
		t.Skip("this filesystem doesn't say when a file was made")
	}
	p.Inode, p.Born = st.Ino, p.Born-int64(time.Second) // as if the filesystem had handed it out again, a second later
	x.open(Options{Resume: []positions.Position{p}}).want(banner, "two", "three")
}

func TestANewDeviceNumberDoesNotMakeAFileNew(t *testing.T) {
	x := newFixture(t).open(Options{})
	x.append("app.log", "one\n")
	x.want("one")
	p := x.last
	p.Device += 7
	x.append("app.log", "two\n")
	x.open(Options{Resume: []positions.Position{p}}).want("two")
}

func TestADeletedFileIsReadToItsEnd(t *testing.T) {
	x := newFixture(t).open(Options{Linger: time.Nanosecond})
	x.append("app.log", "one\n")
	x.want("one")
	x.append("app.log", "two\nhalf")
	if err := os.Remove(x.path); err != nil {
		t.Fatal(err)
	}
	x.want("two")
	x.want("half")
	x.want()
	if s := x.log.Stat(); s.Files != 0 || s.Exists {
		t.Errorf("the deleted file is still open: %+v", s)
	}
	x.append("app.log", "three\n")
	x.want("three")
}

func TestHalfALineAtTheEndOfARotatedFileIsGivenWhenItIsOver(t *testing.T) {
	x := newFixture(t).open(Options{Linger: time.Nanosecond})
	x.append("app.log", "one\nhalf")
	x.want("one")
	x.rename("app.log", "app.log.1")
	x.append("app.log", "")
	x.want() // the writer has not gone over to the new file yet
	x.append("app.log.1", " and half")
	x.append("app.log", "two\n")
	got := x.read()
	slices.Sort(got)
	if !slices.Equal(got, []string{"half and half", "two"}) {
		t.Errorf("got %q", got)
	}
	if n := x.log.Stat().Files; n != 1 {
		t.Errorf("%d files are open", n)
	}
}

func TestLateWritesToAClosedGenerationAreReadWithTheNextRotation(t *testing.T) {
	x := newFixture(t).open(Options{Linger: time.Nanosecond})
	x.append("app.log", "a1\n")
	x.want("a1")
	x.rename("app.log", "app.log.1")
	x.append("app.log", "b1\n")
	x.want("b1")
	x.want()
	x.append("app.log.1", "a2\n")
	x.rename("app.log.1", "app.log.2")
	x.rename("app.log", "app.log.1")
	x.append("app.log", "c1\n")
	x.want("a2", "c1")
}

func TestWhatIsNotARegularFileIsRefused(t *testing.T) {
	for name, make := range map[string]func(path string) error{
		"FIFO":   func(p string) error { return syscall.Mkfifo(p, 0o600) },
		"folder": func(p string) error { return os.Mkdir(p, 0o700) },
		"device": func(p string) error { return os.Symlink("/dev/zero", p) },
		"tty":    func(p string) error { return os.Symlink("/dev/tty", p) },
	} {
		t.Run(name, func(t *testing.T) {
			x := newFixture(t)
			if err := make(x.path); err != nil {
				t.Fatal(err)
			}
			x.open(Options{})
			if _, err := x.log.Read(x.buf); !errors.Is(err, ErrNotRegular) {
				t.Fatalf("got error %v", err)
			}
			if err := os.Remove(x.path); err != nil {
				t.Fatal(err)
			}
			x.append("app.log", "one\n")
			x.want("one")
		})
	}
}

func TestASymbolicLinkLoopIsAnErrorAndNotTheEnd(t *testing.T) {
	x := newFixture(t)
	if err := os.Symlink(x.path, x.path); err != nil {
		t.Fatal(err)
	}
	x.open(Options{})
	if _, err := x.log.Read(x.buf); !errors.Is(err, syscall.ELOOP) {
		t.Errorf("got error %v", err)
	}
}

func TestASymbolicLinkThatIsRetargetedIsFollowed(t *testing.T) {
	x := newFixture(t)
	link := func(target string) {
		os.Remove(x.path)
		if err := os.Symlink(target, x.path); err != nil {
			t.Fatal(err)
		}
	}
	x.append("monday", "m1\n")
	link("monday")
	x.open(Options{}).want("m1")
	x.append("monday", "m2\n")
	x.append("tuesday", "t1\n")
	link("tuesday")
	x.want("m2", "t1")
}

func TestAFileThatCannotBeOpenedIsToldAndReadOnceItCan(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root may read anything")
	}
	x := newFixture(t)
	x.append("app.log", "one\n")
	if err := os.Chmod(x.path, 0); err != nil {
		t.Fatal(err)
	}
	x.open(Options{})
	if _, err := x.log.Read(x.buf); !errors.Is(err, fs.ErrPermission) {
		t.Fatalf("got error %v", err)
	}
	if err := os.Chmod(x.path, 0o600); err != nil {
		t.Fatal(err)
	}
	x.want("one")
}

func TestFinishGivesTheLastHalfLineAndEnds(t *testing.T) {
	x := newFixture(t)
	x.append("app.log.1", "a\n")
	x.append("app.log", "b\nhalf")
	x.open(Options{Start: Oldest})
	x.log.Finish()
	var got []string
	for {
		c, err := x.log.Next(context.Background(), x.buf)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		for line, ok := c.Next(); ok; line, ok = c.Next() {
			got = append(got, string(line))
		}
	}
	if !slices.Equal(got, []string{"a", "b", "half"}) {
		t.Errorf("got %q", got)
	}
	if _, err := x.log.Next(context.Background(), x.buf); err != io.EOF {
		t.Errorf("after the end: %v", err)
	}
	missing := newFixture(t).open(Options{})
	missing.log.Finish()
	if _, err := missing.log.Next(context.Background(), missing.buf); err != io.EOF {
		t.Errorf("a file that never was: %v", err)
	}
}

func TestNextWakesForALineARotationAndAClose(t *testing.T) {
	for _, polled := range []bool{false, true} {
		t.Run(fmt.Sprint("polled ", polled), func(t *testing.T) {
			w := NewWatcher(WatcherOptions{Poll: 5 * time.Millisecond, Log: slog.New(slog.DiscardHandler)})
			defer w.Close()
			if polled {
				w.notify.Close()
			}
			x := newFixture(t).open(Options{Watcher: w})
			lines := make(chan string)
			failed := make(chan error)
			go func() {
				buf := make([]byte, BufferSize(0))
				for {
					c, err := x.log.Next(t.Context(), buf)
					if err != nil {
						failed <- err
						return
					}
					for line, ok := c.Next(); ok; line, ok = c.Next() {
						lines <- string(line)
					}
				}
			}()
			for i := range 20 {
				want := fmt.Sprint("line ", i)
				x.append("app.log", want+"\n")
				if got := <-lines; got != want {
					t.Fatalf("got %q, want %q", got, want)
				}
				if i%3 == 0 {
					x.rename("app.log", fmt.Sprint("app.log.", i+1))
				}
			}
			x.log.Close()
			if err := <-failed; !errors.Is(err, os.ErrClosed) {
				t.Errorf("after Close: %v", err)
			}
		})
	}
}

func TestNextReturnsWhenItsContextEnds(t *testing.T) {
	w := NewWatcher(WatcherOptions{})
	defer w.Close()
	x := newFixture(t).open(Options{Watcher: w})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := x.log.Next(ctx, x.buf); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

// A save may come at any moment. Had it the file at the path and not the one that was rotated away just before, a start after a kill would take it that
// the latter was read.
func TestTheFilesOfALookAreNotedAllAtOnce(t *testing.T) {
	store, err := positions.Open("", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	book := store.Book("a")
	noted := func() (n int) {
		book.Each(func(string, positions.Position) bool { n++; return true })
		return n
	}
	var during []int
	x := newFixture(t)
	x.append("app.log", "a\n")
	x.open(Options{Registry: NewRegistry(book), Begun: func(time.Time) { during = append(during, noted()) }}).want("a")
	x.rename("app.log", "app.log.2")
	x.append("app.log.1", "b\n") // begun and rotated away between two looks
	x.append("app.log", "c\n")
	x.want("b", "c")
	if n := noted(); n != 3 || !slices.Equal(during, []int{0, 1, 1}) {
		t.Errorf("%d positions in the end; while a file was begun %v", n, during)
	}
}

func TestTwoLogsOfARegistryReadAFileOnce(t *testing.T) {
	store, err := positions.Open("", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	r := NewRegistry(store.Book("a"))
	x := newFixture(t)
	x.append("app.log", "one\n")
	if err := os.Link(x.path, filepath.Join(x.dir, "other")); err != nil {
		t.Fatal(err)
	}
	x.open(Options{Registry: r}).want("one")
	other := Open(Options{Path: filepath.Join(x.dir, "other"), Registry: r})
	defer other.Close()
	if c, err := other.Read(x.buf); err != nil || !c.Empty() {
		t.Errorf("the second log read the file too: %v", err)
	}
	if s := other.Stat(); !s.Shared || s.Exists {
		t.Errorf("%+v", s)
	}
	x.log.Close()
	if c, err := other.Read(x.buf); err != nil || c.Empty() {
		t.Errorf("the second log didn't take over what nobody reads and nobody took: %v", err)
	}
}

func TestRotatedNames(t *testing.T) {
	for name, want := range map[string]bool{
		"app.log.1": true, "app.log.12": true, "app.log-20260101": true, "app.log.2026-01-01": true, "app.log.old": true, "app-2026-01-01T00-00-00.000.log": true,
		"app.log_1": true, "app.1.log": true,
		"app.log": false, "app.log.1.gz": false, "app-error.log": false, "app.log.bak": false, "app.log.swp": false, "app.log.": false, "myapp.log.1": false,
		"app.log-": false, "app.logs.1": false, "app.log1": false,
	} {
		if got := rotatedName("app.log", name); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if !rotatedName("syslog", "syslog.1") || rotatedName("syslog", "syslog.d") {
		t.Error("a name without extension")
	}
}
