package main

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hermod-agent/hermod/pipeline/queue"
)

// openQueue makes the queue of an output below a data_dir.
func openQueue(t *testing.T, dataDir, address string) (*queue.Disk, string) {
	t.Helper()
	dir := filepath.Join(dataDir, "output", address, "queue")
	q, _, err := queue.OpenDisk(queue.DiskOptions{
		Dir: dir, Log: slog.New(slog.DiscardHandler), Limits: queue.Limits{MaxSize: 1 << 20, WhenFull: queue.Wait, Sync: queue.SyncBatch},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { q.Close() })
	return q, dir
}

func TestQueuesAreListedShownAndDropped(t *testing.T) {
	data := t.TempDir()
	q, dir := openQueue(t, data, "output.loki.main%5B%22a%22%5D")
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixNano()
	q.Append(&queue.Block{Body: []byte("the body"), Protocol: "loki.push.v1", Tenant: "team\x1b", Items: 7, OldestTime: at, NewestTime: at})
	q.KeepAside(&queue.Block{Body: []byte("x"), Items: 1}, "rejected_too_old")
	if err := q.Safe(t.Context(), q.Tail()); err != nil {
		t.Fatal(err)
	}
	openQueue(t, data, "output.remote_write.mimir")
	b, _ := q.Take(0) // its number
	q.Return(b)
	contents, err := queue.Inspect(dir)
	if err != nil || len(contents.Blocks) != 1 {
		t.Fatalf("%+v, %v", contents, err)
	}

	want := func(k *console, code int, words ...string) {
		t.Helper()
		for _, w := range words {
			if text := k.out.String() + k.err.String(); !strings.Contains(text, w) || strings.Contains(text, "\x1b") {
				t.Errorf("%q is missing in (exit code %d)\n%s", w, code, text)
			}
		}
	}
	k := newConsole()
	want(k, k.run(t, "queue", "ls", data), `output.loki.main["a"]`, " 7 ", "2026-01-02T03:04:05Z", fmt.Sprintf("process %d", os.Getpid()))
	k = newConsole()
	want(k, k.run(t, "queue", "show", dir), "loki.push.v1", "rejected_too_old", "7 items wait in 1 blocks")
	k = newConsole()
	if code := k.run(t, "queue", "show", dir, "--block", fmt.Sprint(contents.Blocks[0].Seq)); code != 0 || k.out.String() != "the body" {
		t.Errorf("exit code %d, %q, %s", code, k.out.String(), k.err.String())
	}
	k = newConsole()
	want(k, k.run(t, "queue", "drop", "--yes", dir), "in use by process", "stop the agent first")
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	k = newConsole()
	want(k, k.run(t, "queue", "drop", filepath.Dir(dir)), "7 items wait", "--yes")
	k = newConsole()
	want(k, k.run(t, "queue", "drop", "--yes", "--aside", filepath.Dir(dir)), "dropped 7 items")
	contents, err = queue.Inspect(dir)
	if err != nil || len(contents.Blocks) != 0 || contents.Owner != 0 || len(contents.Aside) != 0 {
		t.Errorf("%+v, %v", contents, err)
	}
}
