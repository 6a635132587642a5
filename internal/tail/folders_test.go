package tail

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// changed sets when a folder changed last: a test may be held up for longer than a change counts as fresh.
func changed(t *testing.T, dir string, when time.Time) {
	t.Helper()
	if err := os.Chtimes(dir, when, when); err != nil {
		t.Fatal(err)
	}
}

func TestAFolderThatDoesNotChangeIsListedOnce(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a.log", "a.log.1", "a.log.2", "a-20260101.log", "b.log", "b.log.1", "ab.log.1"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	before, after := time.Now().Add(-time.Minute), time.Now().Add(time.Hour)
	changed(t, dir, after)
	var f folders
	generations := func(base string) (names []string, ok bool) {
		found, ok := f.beside(filepath.Join(dir, base), func(name string) bool { return rotatedName(base, name) })
		for _, g := range found {
			names = append(names, filepath.Base(g.path))
		}
		return names, ok
	}
	if _, ok := generations("a.log"); ok {
		t.Error("the listing of a folder that has just changed is relied on")
	}
	changed(t, dir, before)
	for range 2 {
		if names, ok := generations("a.log"); !ok || len(names) != 3 {
			t.Errorf("a.log: %q, %v", names, ok)
		}
		if names, ok := generations("b.log"); !ok || fmt.Sprint(names) != "[b.log.1]" {
			t.Errorf("b.log: %q, %v", names, ok)
		}
	}
	if err := os.Rename(filepath.Join(dir, "b.log"), filepath.Join(dir, "b.log.2")); err != nil {
		t.Fatal(err)
	}
	changed(t, dir, after)
	if names, ok := generations("b.log"); ok {
		t.Errorf("a listing from before a change is relied on: %q", names)
	}
	changed(t, dir, before.Add(time.Second))
	if names, ok := generations("b.log"); !ok || len(names) != 2 {
		t.Errorf("b.log: %q, %v", names, ok)
	}
	if _, ok := f.beside(filepath.Join(dir, "missing", "a.log"), func(string) bool { return true }); ok {
		t.Error("a folder that isn't there was listed")
	}
}

// BenchmarkOpen opens a log among ten thousand in its folder.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	for i := range 10_000 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%05d.log", i)), []byte("a\n"), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	then := time.Now().Add(-time.Minute)
	if err := os.Chtimes(dir, then, then); err != nil {
		b.Fatal(err)
	}
	r := NewRegistry(testBook(b))
	i := 0
	for b.Loop() {
		l := Open(Options{Path: filepath.Join(dir, fmt.Sprintf("%05d.log", i%10_000)), Registry: r})
		l.Position()
		l.Close()
		i++
	}
}
