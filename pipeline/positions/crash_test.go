//go:build crashpoints

package positions

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// points are the places in a save, and in a start after one that was cut off, at which the process is killed.
var points = []string{"create", "torn", "fsync", "keep the previous", "rename", "sync the folder", "put in its place", "put aside"}

const crashDir = "HERMOD_CRASH_DIR"

// TestCrashChild is the process that is killed: it goes on where the saved position is, and writes down what it has noted and what is saved.
func TestCrashChild(t *testing.T) {
	dir := os.Getenv(crashDir)
	if dir == "" {
		t.Skip("not a child")
	}
	diary, err := os.OpenFile(filepath.Join(dir, "diary"), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, filepath.Join(dir, "positions"))
	b := s.Book("a")
	p, _ := b.Get("k")
	fmt.Fprintf(diary, "found %d\n", p.Offset)
	for range 20 {
		p.Offset++
		b.Set("k", p)
		fmt.Fprintf(diary, "noted %d\n", p.Offset)
		save(t, s, b)
		fmt.Fprintf(diary, "saved %d\n", p.Offset)
	}
}

// readDiary holds what each process found against what those before it had saved and noted, and says how far both are.
func readDiary(t *testing.T, dir string) (saved, noted int64) {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, "diary"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, 0
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var what string
		var n int64
		if _, err := fmt.Sscan(lines.Text(), &what, &n); err != nil {
			t.Fatalf("diary: %q", lines.Text())
		}
		switch what {
		case "found":
			if n < saved || n > noted {
				t.Errorf("a start found %d; %d was saved and %d noted", n, saved, noted)
			}
			noted = n
		case "noted":
			noted = n
		case "saved":
			saved = n
		}
	}
	return saved, noted
}

func TestPositionsAreTheOldOrTheNewWhereverASaveIsKilled(t *testing.T) {
	for _, point := range points {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			killed := 0
			child := func(point string, pass int) {
				t.Helper()
				cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestCrashChild$")
				cmd.Env = append(os.Environ(), crashDir+"="+dir, fmt.Sprintf("HERMOD_CRASH=positions/%s:%d", point, pass))
				out, err := cmd.CombinedOutput()
				var exit *exec.ExitError
				switch {
				case err == nil: // it didn't come there that often
				case errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL:
					killed++
				default:
					t.Fatalf("%v\n%s", err, out)
				}
			}
			for _, pass := range []int{1, 2, 7, 1, 3} {
				switch point {
				case "put in its place": // what is only passed after a kill between two renames
					child("rename", pass)
					killed = 0
					child(point, 1)
				case "put aside":
					child("", 0)
					path := filepath.Join(dir, "positions")
					content, err := os.ReadFile(path)
					if err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(path, []byte(strings.Repeat("\x00", len(content))), 0o600); err != nil {
						t.Fatal(err)
					}
					// What was saved last is gone; the copy is one save behind.
					if err := appendTo(filepath.Join(dir, "diary"), "saved %d\n", offsetOf(t, path+".previous")); err != nil {
						t.Fatal(err)
					}
					child(point, 1)
				default:
					child(point, pass)
				}
			}
			if killed == 0 {
				t.Fatal("the point is never passed")
			}
			child("", 0) // and it works on
			saved, noted := readDiary(t, dir)
			if got := offsetOf(t, filepath.Join(dir, "positions")); got != saved || got != noted {
				t.Errorf("at the end %d is in the file, %d was saved and %d noted", got, saved, noted)
			}
		})
	}
}

func appendTo(path, format string, args ...any) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, format, args...)
	return errors.Join(err, f.Close())
}

func offsetOf(t *testing.T, path string) int64 {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	all, err := decode(b)
	if err != nil {
		t.Fatal(err)
	}
	return all["a"]["k"].Offset
}
