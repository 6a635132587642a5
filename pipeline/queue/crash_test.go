//go:build crashpoints

package queue

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// points are the places in the writer at which the process is killed.
var points = []string{"begin", "append", "torn", "seal", "index", "fsync", "fsynced", "cursor", "unlink", "unlinked"}

const (
	crashDir  = "HERMOD_CRASH_DIR"
	crashSize = 20_000 // of a block: segments of 256 KiB end often
)

// TestCrashChild is the process that is killed: it fills a queue and empties it more slowly, and writes down what is safe and what was delivered
// before the queue hears of it.
func TestCrashChild(t *testing.T) {
	dir := os.Getenv(crashDir)
	if dir == "" {
		t.Skip("not a child")
	}
	diary, err := os.OpenFile(filepath.Join(dir, "diary"), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	note := func(what string, id uint64) { fmt.Fprintf(diary, "%s %d\n", what, id) }
	_, _, last := readDiary(t, dir)
	note("began", 0)
	q, _, err := OpenDisk(DiskOptions{Dir: filepath.Join(dir, "queue"), Limits: Limits{MaxSize: 4 << 20, WhenFull: Wait, Sync: SyncBatch}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 120 {
		id := last + uint64(i) + 1
		note("appended", id)
		q.Append(stored(int(id), crashSize))
		if i%4 == 3 {
			if err := q.Safe(context.Background(), q.Tail()); err != nil {
				t.Fatal(err)
			}
			note("safe", id)
		}
		if i%2 == 1 || i > 100 {
			if b, _ := q.Take(0); b != nil {
				note("delivered", idOf(b))
				q.Ack(b)
			}
		}
	}
	for b, _ := q.Take(0); b != nil; b, _ = q.Take(0) {
		note("delivered", idOf(b))
		q.Ack(b)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
}

// readDiary says up to which number blocks are safe, how often each was delivered, and the last number used.
func readDiary(t *testing.T, dir string) (safe uint64, delivered map[uint64]int, last uint64) {
	delivered = map[uint64]int{}
	f, err := os.Open(filepath.Join(dir, "diary"))
	if errors.Is(err, os.ErrNotExist) {
		return 0, delivered, 0
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		what, number, _ := strings.Cut(lines.Text(), " ")
		id, err := strconv.ParseUint(number, 10, 64)
		if err != nil {
			t.Fatalf("diary: %q", lines.Text())
		}
		switch what {
		case "appended":
			last = max(last, id)
		case "safe":
			safe = max(safe, id)
		case "delivered":
			delivered[id]++
		}
	}
	return safe, delivered, last
}

func TestNothingSafeIsLostWhereverTheWriterIsKilled(t *testing.T) {
	for _, point := range points {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			killed := 0
			for _, pass := range []int{1, 2, 5, 1, 9} {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				child := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestCrashChild$")
				child.Env = append(os.Environ(), crashDir+"="+dir, fmt.Sprintf("HERMOD_CRASH=queue/%s:%d", point, pass))
				out, err := child.CombinedOutput()
				cancel()
				var exit *exec.ExitError
				switch {
				case err == nil: // it didn't come there that often
				case errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL:
					killed++
				default:
					t.Fatalf("%v\n%s", err, out)
				}
			}
			if killed == 0 {
				t.Fatal("the point is never passed")
			}
			safe, delivered, last := readDiary(t, dir)
			q, found := openDisk(t, filepath.Join(dir, "queue"), diskLimits())
			if found.Lost != 0 {
				t.Errorf("%d items are said to be lost", found.Lost)
			}
			waiting := map[uint64]bool{}
			previous := uint64(0)
			for _, id := range drain(q, 0) {
				if id <= previous || id > last {
					t.Errorf("%d comes after %d, of %d", id, previous, last)
				}
				previous = id
				waiting[id] = true
			}
			repeated := 0
			for id := uint64(1); id <= safe; id++ {
				// What a child appended and didn't flush before it was killed is what a kill may take; the flushes after it cover
				// only what that child had.
				if delivered[id] == 0 && !waiting[id] && flushed(t, dir, id) {
					t.Errorf("block %d was safe and is gone", id)
				}
				repeated += max(0, delivered[id]-1)
			}
			if repeated > 4*killed {
				t.Errorf("%d blocks were delivered again over %d kills", repeated, killed)
			}
		})
	}
}

// flushed says whether the process that appended a block came to a flush after it.
func flushed(t *testing.T, dir string, id uint64) bool {
	content, err := os.ReadFile(filepath.Join(dir, "diary"))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(content), fmt.Sprintf("appended %d\n", id))
	for line := range strings.Lines(after) {
		switch what, _, _ := strings.Cut(strings.TrimSpace(line), " "); what {
		case "began":
			return false
		case "safe":
			return true
		}
	}
	return false
}
