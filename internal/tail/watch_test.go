package tail

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
)

// patience bounds every wait.
const patience = 20 * time.Second

// woken counts wake-ups and lets a test wait for one.
type woken chan struct{}

func (w woken) wake() {
	select {
	case w <- struct{}{}:
	default:
	}
}

func (w woken) wait(t *testing.T, what string) {
	t.Helper()
	select {
	case <-w:
	case <-time.After(patience):
		t.Fatalf("not woken: %s", what)
	}
}

func TestAFolderThatComesLaterAndAgainIsWatched(t *testing.T) {
	for _, polled := range []bool{false, true} {
		t.Run(fmt.Sprint("polled ", polled), func(t *testing.T) {
			w := NewWatcher(WatcherOptions{Poll: 5 * time.Millisecond})
			defer w.Close()
			if polled {
				w.notify.Close()
			}
			dir := filepath.Join(t.TempDir(), "pods")
			folder, file := make(woken, 1), make(woken, 1)
			defer w.WatchFolder(dir, folder.wake).Close()
			defer w.Watch(filepath.Join(dir, "a.log"), file.wake).Close()
			for round := range 3 {
				if err := os.Mkdir(dir, 0o700); err != nil {
					t.Fatal(err)
				}
				folder.wait(t, "the folder came")
				if err := os.WriteFile(filepath.Join(dir, "a.log"), fmt.Appendln(nil, round), 0o600); err != nil {
					t.Fatal(err)
				}
				file.wait(t, "the file came")
				if err := os.RemoveAll(dir); err != nil {
					t.Fatal(err)
				}
				folder.wait(t, "the folder went")
				file.wait(t, "the file went")
			}
		})
	}
}

func TestAnEntryOfAWatchedFolderWakes(t *testing.T) {
	w := NewWatcher(WatcherOptions{Poll: time.Hour})
	defer w.Close()
	dir := t.TempDir()
	folder := make(woken, 1)
	defer w.WatchFolder(dir, folder.wake).Close()
	for _, step := range []func() error{
		func() error { return os.WriteFile(filepath.Join(dir, "a"), nil, 0o600) },
		func() error { return os.Rename(filepath.Join(dir, "a"), filepath.Join(dir, "b")) },
		func() error { return os.Remove(filepath.Join(dir, "b")) },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
		folder.wait(t, "an entry changed")
	}
}

func TestAnInsistingSubscriptionIsWokenAtEveryPoll(t *testing.T) {
	w := NewWatcher(WatcherOptions{Poll: time.Millisecond})
	defer w.Close()
	file := make(woken, 1)
	s := w.Watch(filepath.Join(t.TempDir(), "a"), file.wake)
	s.insist(true)
	for range 5 {
		file.wait(t, "a poll")
	}
}

func TestNobodyIsWokenAfterClose(t *testing.T) {
	w := NewWatcher(WatcherOptions{Poll: time.Millisecond})
	path := filepath.Join(t.TempDir(), "a")
	var mu sync.Mutex
	closed, late := false, false
	s := w.Watch(path, func() {
		mu.Lock()
		late = late || closed
		mu.Unlock()
	})
	for i := range 50 {
		if err := os.WriteFile(path, make([]byte, i), 0o600); err != nil {
			t.Fatal(err)
		}
		if i == 25 {
			s.Close()
			s.Close()
			mu.Lock()
			closed = true
			mu.Unlock()
		}
	}
	w.Close()
	w.Close()
	if late {
		t.Error("woken after Close")
	}
}

func TestWhenTheKernelLosesEventsEverybodyLooks(t *testing.T) {
	w := NewWatcher(WatcherOptions{Poll: time.Hour})
	defer w.Close()
	file, folder := make(woken, 1), make(woken, 1)
	defer w.Watch(filepath.Join(t.TempDir(), "a.log"), file.wake).Close()
	defer w.WatchFolder(t.TempDir(), folder.wake).Close()
	select {
	case w.notify.Errors <- fsnotify.ErrEventOverflow:
	case <-time.After(patience):
		t.Fatal("nobody takes errors")
	}
	file.wait(t, "events were lost")
	folder.wait(t, "events were lost")
}

func TestAFloodOfEventsDoesNotHoldUpTheWatcher(t *testing.T) {
	w := NewWatcher(WatcherOptions{Poll: time.Hour})
	defer w.Close()
	dir := t.TempDir()
	last := make(woken, 1)
	defer w.Watch(filepath.Join(dir, "last"), last.wake).Close()
	for i := range 3000 {
		name := filepath.Join(dir, fmt.Sprint(i%7))
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "last"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	last.wait(t, "the file after the flood")
}
