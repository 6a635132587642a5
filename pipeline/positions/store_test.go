package positions

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func open(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(path, quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func save(t *testing.T, s *Store, books ...*Book) {
	t.Helper()
	var notes []Noted
	for _, b := range books {
		n, _ := b.Note()
		notes = append(notes, n)
	}
	if err := s.Save(notes...); err != nil {
		t.Fatal(err)
	}
}

func reopen(t *testing.T, s *Store) *Store {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return open(t, s.path)
}

func all(b *Book) map[string]Position {
	out := map[string]Position{}
	b.Each(func(key string, p Position) bool {
		p.Updated = 0
		out[key] = p
		return true
	})
	return out
}

func TestPositionsComeBackAsTheyWereSaved(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "data", "positions"))
	b := s.Book("input.files.x")
	if !b.Fresh() {
		t.Error("a book without saved positions isn't fresh")
	}
	want := map[string]Position{
		"plain":                   {Path: "/var/log/a.log", Device: 1, Inode: 2, Born: -5, Head: 1<<64 - 1, HeadLen: 1024, Offset: 1 << 40},
		"bytes\xff\x00\n":         {Path: "/var/log/\xff\xfe \n\"b\".log", Offset: 7},
		"container":               {Time: -1, Repeats: 3, Since: 1 << 60},
		strings.Repeat("k", 5000): {},
	}
	for key, p := range want {
		b.Set(key, p)
	}
	other := s.Book(`input.docker_logs.fleet["a"]`)
	other.Set("k", Position{Offset: 9})
	save(t, s, b, other)

	s = reopen(t, s)
	b = s.Book("input.files.x")
	if b.Fresh() {
		t.Error("a book with saved positions is fresh")
	}
	if got := all(b); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if p, ok := s.Book(`input.docker_logs.fleet["a"]`).Get("k"); !ok || p.Offset != 9 {
		t.Errorf("the other book gave %v, %v", p, ok)
	}
	if p, _ := b.Get("plain"); time.Since(time.Unix(p.Updated, 0)) > time.Minute {
		t.Errorf("updated is %d", p.Updated)
	}
	if !s.Book("input.files.new").Fresh() {
		t.Error("an address that was never saved isn't fresh")
	}
}

func TestOnlyWhatWasNotedIsSaved(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "positions"))
	b := s.Book("a")
	b.Set("k", Position{Offset: 1})
	n, moved := b.Note()
	if !moved {
		t.Fatal("a set position didn't count as moved")
	}
	b.Set("k", Position{Offset: 2})
	if err := s.Save(n); err != nil {
		t.Fatal(err)
	}
	if p, _ := reopen(t, s).Book("a").Get("k"); p.Offset != 1 {
		t.Errorf("saved offset is %d, noted was 1", p.Offset)
	}
	if _, moved := b.Note(); !moved {
		t.Error("what was set after the note doesn't count as moved")
	}
}

func TestNoteSaysWhetherAnythingMoved(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "positions"))
	b := s.Book("a")
	if _, moved := b.Note(); moved {
		t.Error("an empty book moved")
	}
	b.Set("k", Position{})
	save(t, s, b)
	if _, moved := b.Note(); moved {
		t.Error("moved after it was saved")
	}
	b.Delete("k")
	b.Delete("never there")
	if _, moved := b.Note(); !moved {
		t.Error("a deletion isn't a move")
	}
	save(t, s, b)
	if _, ok := reopen(t, s).Book("a").Get("k"); ok {
		t.Error("a deleted position came back")
	}
}

func TestAnOlderNoteNeverOverwritesANewerOne(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "positions"))
	b := s.Book("a")
	b.Set("k", Position{Offset: 1})
	older, _ := b.Note()
	b.Set("k", Position{Offset: 2})
	newer, _ := b.Note()
	if err := s.Save(newer); err != nil {
		t.Fatal(err)
	}
	if err := s.Save(older, Noted{}); err != nil {
		t.Fatal(err)
	}
	if p, _ := reopen(t, s).Book("a").Get("k"); p.Offset != 2 {
		t.Errorf("offset %d after the older note was saved last", p.Offset)
	}
}

func TestACrashAtAnyStepOfASaveKeepsTheOldOrTheNew(t *testing.T) {
	for _, step := range []string{"create", "fsync", "keep the previous", "rename", "sync the folder"} {
		t.Run(step, func(t *testing.T) {
			s := open(t, filepath.Join(t.TempDir(), "positions"))
			b := s.Book("a")
			for i := range int64(3) {
				b.Set("k", Position{Offset: i})
				save(t, s, b)
			}
			b.Set("k", Position{Offset: 3})
			n, _ := b.Note()
			s.crash = func(at string) error {
				if at == step {
					return errors.New("power cut")
				}
				return nil
			}
			if err := s.Save(n); err == nil {
				t.Fatal("a failed save said nothing")
			}
			if _, moved := b.Note(); !moved {
				t.Error("positions of a failed save count as saved")
			}
			again := reopen(t, s)
			want := int64(2)
			if step == "rename" || step == "sync the folder" {
				want = 3 // the new file was whole by then
			}
			if p, ok := again.Book("a").Get("k"); !ok || p.Offset != want {
				t.Errorf("after the crash: %v, %v, want offset %d", p, ok, want)
			}
			// And a crash right after the start doesn't fall back behind that.
			if p, ok := reopen(t, again).Book("a").Get("k"); !ok || p.Offset != want {
				t.Errorf("after the second start: %v, %v, want offset %d", p, ok, want)
			}
		})
	}
}

func TestASaveAfterAFailedOneWritesWhatBothNoted(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "positions"))
	b := s.Book("a")
	b.Set("one", Position{Offset: 1})
	s.crash = func(string) error { return errors.New("disk full") }
	n, _ := b.Note()
	if err := s.Save(n); err == nil {
		t.Fatal("a failed save said nothing")
	}
	s.crash = nil
	b.Set("two", Position{Offset: 2})
	save(t, s, b)
	if got := all(reopen(t, s).Book("a")); len(got) != 2 {
		t.Errorf("got %v", got)
	}
}

// twoSaves leaves a file with offset 2 and a previous copy with offset 1, and returns the file's bytes.
func twoSaves(t *testing.T, path string) []byte {
	t.Helper()
	s := open(t, path)
	b := s.Book("a")
	for i := range int64(2) {
		b.Set("k", Position{Path: "/var/log/x.log", Offset: i + 1})
		save(t, s, b)
	}
	s.Close()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func offsetAfter(t *testing.T, path string, damaged []byte) int64 {
	t.Helper()
	if err := os.WriteFile(path, damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Open(path, quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	p, _ := s.Book("a").Get("k")
	return p.Offset
}

func TestAnyFlippedByteIsSeenAndThePreviousCopyTaken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "positions")
	good := twoSaves(t, path)
	for i := range good {
		for _, flip := range []byte{1, 0x80, 0xff} {
			bad := bytes.Clone(good)
			bad[i] ^= flip
			if got := offsetAfter(t, path, bad); got != 1 {
				t.Fatalf("byte %d xor %#x: offset %d, the previous copy has 1", i, flip, got)
			}
		}
	}
}

func TestATornWriteIsSeenAndThePreviousCopyTaken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "positions")
	good := twoSaves(t, path)
	for n := range good {
		if got := offsetAfter(t, path, good[:n]); got != 1 {
			t.Fatalf("cut to %d bytes: offset %d, the previous copy has 1", n, got)
		}
		zeroed := append(bytes.Clone(good[:n]), make([]byte, len(good)-n)...)
		if bytes.Equal(zeroed, good) {
			continue
		}
		if got := offsetAfter(t, path, zeroed); got != 1 {
			t.Fatalf("zeros from byte %d: offset %d, the previous copy has 1", n, got)
		}
	}
	if got := offsetAfter(t, path, append(bytes.Clone(good), 0)); got != 1 {
		t.Errorf("one byte too many: offset %d, the previous copy has 1", got)
	}
}

func TestDamageIsToldLoudlyAndKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "positions")
	twoSaves(t, path)
	for _, p := range []string{path, path + ".previous"} {
		if err := os.WriteFile(p, make([]byte, 100), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	s, err := Open(path, slog.New(slog.NewTextHandler(&out, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got := strings.Count(out.String(), "level=ERROR"); got != 3 {
		t.Errorf("%d error lines, want one for each copy and one for the consequence:\n%s", got, &out)
	}
	if !s.Book("a").Fresh() {
		t.Error("the book isn't fresh after both copies were lost")
	}
	if _, err := os.Stat(path + ".damaged"); err != nil {
		t.Error(err)
	}
}

func TestADeletedFileIsToldAndThePreviousCopyTaken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "positions")
	twoSaves(t, path)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	s, err := Open(path, slog.New(slog.NewTextHandler(&out, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if p, _ := s.Book("a").Get("k"); p.Offset != 1 {
		t.Errorf("offset %d, the previous copy has 1", p.Offset)
	}
	if !strings.Contains(out.String(), "level=ERROR") {
		t.Errorf("nothing was told: %s", &out)
	}
}

func TestASecondAgentIsRefusedWithFolderOwnerAndFix(t *testing.T) {
	path := filepath.Join(t.TempDir(), "positions")
	s := open(t, path)
	_, err := Open(path, quiet())
	if err == nil {
		t.Fatal("two stores share a folder")
	}
	for _, want := range []string{filepath.Dir(path), fmt.Sprint(os.Getpid()), "data_dir"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q doesn't say %q", err, want)
		}
	}
	reopen(t, s)
}

func TestAFolderThatCannotBeWrittenIsToldAtOpen(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(file, "positions"), "/proc/hermod/positions", "/proc/positions"} {
		if s, err := Open(path, quiet()); err == nil {
			s.Close()
			t.Errorf("%s was opened", path)
		} else if !strings.Contains(err.Error(), "data_dir") {
			t.Errorf("%q doesn't say what to do", err)
		}
	}
}

func TestAReadOnlyFolderIsToldAtOpen(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root may write anywhere")
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(dir, 0o700)
	if _, err := Open(filepath.Join(dir, "positions"), quiet()); err == nil {
		t.Error("a read-only folder was opened")
	}
}

func TestAStoreWithoutPathKeepsBooksInMemory(t *testing.T) {
	s := open(t, "")
	b := s.Book("a")
	b.Set("k", Position{Offset: 1})
	save(t, s, b)
	if _, moved := b.Note(); moved {
		t.Error("moved after it was saved")
	}
	if p, _ := s.Book("a").Get("k"); p.Offset != 1 {
		t.Errorf("offset %d", p.Offset)
	}
}

func TestSourcesThatAreGoneForLongAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, filepath.Join(t.TempDir(), "positions"))
		b, removed := s.Book("a"), s.Book("removed")
		for _, key := range []string{"quiet", "gone"} {
			b.Set(key, Position{Offset: 1})
		}
		removed.Set("k", Position{Offset: 1})
		save(t, s, b, removed)

		time.Sleep(29 * 24 * time.Hour)
		s = reopen(t, s)
		b = s.Book("a")
		b.Get("quiet")
		b.Set("busy", Position{})
		save(t, s, b)
		time.Sleep(2 * 24 * time.Hour)
		b.Set("busy", Position{})
		save(t, s, b)

		if _, ok := b.Get("gone"); ok {
			t.Error("a position that nobody asked for was kept in memory for 31 days")
		}
		s = reopen(t, s)
		if _, ok := s.Book("a").Get("gone"); ok {
			t.Error("a position that nobody asked for was kept in the file for 31 days")
		}
		if _, ok := s.Book("a").Get("quiet"); !ok {
			t.Error("the position of a quiet source was forgotten")
		}
		if !s.Book("removed").Fresh() {
			t.Error("the positions of a removed input were kept for 31 days")
		}
	})
}

func TestNothingIsForgottenBeforeInputsCouldAskForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, filepath.Join(t.TempDir(), "positions"))
		b := s.Book("a")
		b.Set("k", Position{Offset: 5})
		save(t, s, b)
		time.Sleep(365 * 24 * time.Hour) // the agent was off for a year
		s = reopen(t, s)
		other := s.Book("b")
		other.Set("k", Position{})
		save(t, s, other)
		if p, ok := s.Book("a").Get("k"); !ok || p.Offset != 5 {
			t.Errorf("got %v, %v", p, ok)
		}
	})
}

func TestARemovedBookComesBackWithItsPositions(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "positions"))
	b := s.Book("a")
	b.Set("k", Position{Offset: 5})
	s.Remove("a")
	if p, ok := s.Book("a").Get("k"); !ok || p.Offset != 5 {
		t.Errorf("got %v, %v", p, ok)
	}
}

func TestASaveAfterCloseFails(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "positions"))
	s.Close()
	if err := s.Save(); err == nil {
		t.Error("a closed store was saved")
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestSettleWaitsForTheSaveOfWhatWasSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, filepath.Join(t.TempDir(), "positions"))
		b := s.Book("a")
		if err := b.Settle(t.Context()); err != nil {
			t.Errorf("with nothing set: %v", err)
		}
		b.Set("k", Position{})
		n, _ := b.Note()
		b.Set("k", Position{Offset: 1})
		settled := make(chan error, 1)
		select {
		case <-b.Urgent():
			t.Error("urgent though nobody waits")
		default:
		}
		go func() { settled <- b.Settle(t.Context()) }()
		<-b.Urgent()
		for _, step := range []func(){func() {}, func() { s.Save(n) }} {
			step()
			synctest.Wait()
			select {
			case <-settled:
				t.Fatal("settled before the second position was saved")
			default:
			}
		}
		save(t, s, b)
		if err := <-settled; err != nil {
			t.Error(err)
		}
		b.Set("k", Position{Offset: 2})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := b.Settle(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("without a save: %v", err)
		}
		// A save that fails lets go of who waits.
		<-b.Urgent()
		if err := os.RemoveAll(filepath.Dir(s.path)); err != nil {
			t.Fatal(err)
		}
		go func() { settled <- b.Settle(t.Context()) }()
		<-b.Urgent()
		n, _ = b.Note()
		if err := s.Save(n); err == nil {
			t.Fatal("saved in a folder that is gone")
		}
		if err := <-settled; !errors.Is(err, os.ErrNotExist) {
			t.Errorf("after a save that failed: %v", err)
		}
	})
}

func TestBooksAreUsedFromManyGoroutinesWhileSaved(t *testing.T) {
	const keys, rounds = 20, 200
	s := open(t, filepath.Join(t.TempDir(), "positions"))
	b := s.Book("a")
	var wg sync.WaitGroup
	for k := range keys {
		wg.Go(func() {
			key := fmt.Sprint(k)
			for i := range int64(rounds) {
				b.Set(key, Position{Offset: i + 1})
				if p, ok := b.Get(key); !ok || p.Offset != i+1 {
					t.Errorf("key %s gave %v, %v after %d", key, p, ok, i+1)
				}
			}
			b.Set("short lived "+key, Position{})
			b.Delete("short lived " + key)
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		b.Each(func(key string, _ Position) bool { b.Get(key); return true })
		n, _ := b.Note()
		if err := s.Save(n); err != nil {
			t.Fatal(err)
		}
	}
	got := all(reopen(t, s).Book("a"))
	if len(got) != keys {
		t.Errorf("%d positions, want %d", len(got), keys)
	}
	for key, p := range got {
		if p.Offset != rounds {
			t.Errorf("key %s was saved at %d", key, p.Offset)
		}
	}
}

func TestSetDoesNotAllocate(t *testing.T) {
	b := open(t, "").Book("a")
	p := Position{Path: "/var/log/a.log", Offset: 1}
	b.Set("k", p)
	if n := testing.AllocsPerRun(1000, func() { p.Offset++; b.Set("k", p) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte{})
	f.Add(encode(nil, contents{}, 0))
	f.Add(encode(nil, contents{"input.files.x": {"k": {Path: "/a", Offset: 1 << 40, Time: -1}}, "b": {}}, 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		// The checksums would keep the fuzzer out of the body: it is tried with right ones too.
		for _, data := range [][]byte{b, sealed(b)} {
			got, err := decode(data)
			if err != nil {
				continue
			}
			again, err := decode(encode(nil, got, 0))
			if err != nil {
				t.Fatalf("what was read can't be written and read again: %v", err)
			}
			if !maps.EqualFunc(got, again, maps.Equal[map[string]Position, map[string]Position]) {
				t.Fatalf("%v became %v", got, again)
			}
		}
	})
}

// sealed is a file with body b and right checksums.
func sealed(b []byte) []byte {
	whole := encode(nil, contents{}, 0)
	return seal(append(whole[:headerSize], b...))
}

func BenchmarkSet(b *testing.B) {
	s, err := Open("", quiet())
	if err != nil {
		b.Fatal(err)
	}
	book := s.Book("a")
	p := Position{Path: "/var/log/a.log"}
	b.ReportAllocs()
	for b.Loop() {
		p.Offset++
		book.Set("k", p)
	}
}

// BenchmarkSave writes 1,000 positions of which one moved.
func BenchmarkSave(b *testing.B) {
	s, err := Open(filepath.Join(b.TempDir(), "positions"), quiet())
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	book := s.Book("a")
	for i := range 1000 {
		book.Set(fmt.Sprint(i), Position{Path: fmt.Sprintf("/var/log/%d.log", i), Offset: int64(i) << 20})
	}
	for b.Loop() {
		book.Set("1", Position{})
		n, _ := book.Note()
		if err := s.Save(n); err != nil {
			b.Fatal(err)
		}
	}
}
