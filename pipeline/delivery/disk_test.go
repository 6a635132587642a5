package delivery

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
	"github.com/hermod-agent/hermod/pipeline/queue"
)

// onDisk gives the output a folder.
func onDisk(dir string, more ...func(*Options)) func(*Options) {
	return func(o *Options) {
		o.Env.DataDir = dir
		for _, f := range more {
			f(o)
		}
	}
}

func TestWhatIsOnDiskSurvivesAStopWithADeadBackend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		b := &backend{answer: status(500)}
		r := newRig(t, component.NewPool(), b, onDisk(dir)).start()
		r.mustPut(95)
		begin := time.Now()
		if err := r.d.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took > 2*time.Second {
			t.Errorf("a flush took %s: it waits for the disk and not for the backend", took)
		}
		r.mustPut(7)
		r.stop(5 * time.Second)
		if got := r.balance(); got.Queued != 102 || got.Restored != 0 {
			t.Errorf("traffic = %+v", got)
		}

		b.set(nil)
		next := r.next
		r = newRig(t, component.NewPool(), b, onDisk(dir))
		r.next = next
		r.start()
		r.mustPut(8)
		if err := r.d.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if got := r.balance(); got.Taken != 110 || got.Restored != 102 || got.Delivered != 110 {
			t.Errorf("traffic = %+v", got)
		}
		r.stop(5 * time.Second)
		r.wantStored(110)
	})
}

func TestAQueueOnDiskIsHandedOverByAReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		pool := component.NewPool()
		b := &backend{answer: status(500)}
		old := newRig(t, pool, b, onDisk(dir)).start()
		old.mustPut(40)
		// Another address of the backend, and one more shard: the queue belongs to the output.
		other := &backend{}
		r := newRig(t, pool, other, onDisk(dir, func(o *Options) { o.Config.Shards = 2 }))
		if err := r.d.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		old.stop(5 * time.Second)
		r.next = old.next
		r.running()
		r.mustPut(20)
		time.Sleep(time.Minute)
		if got := r.balance(); got.Taken != 60 || got.Restored != 0 || got.Delivered != 60 {
			t.Errorf("traffic = %+v", got)
		}
		r.stop(5 * time.Second)
		r.wantStored(60)
	})
}

func TestWhatARemovedOutputHeldStaysOnDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		b := &backend{answer: status(500)}
		r := newRig(t, component.NewPool(), b, onDisk(dir)).start()
		r.mustPut(45)
		time.Sleep(10 * time.Second)
		r.d.Removed()
		r.stop(5 * time.Second)
		if got, lost := r.balance(), r.env.Losses.Counts()["output_removed"]; lost != 45 || got.Queued != 0 {
			t.Errorf("traffic = %+v, lost %d", got, lost)
		}
		found, err := queue.Inspect(filepath.Join(dir, "queue"))
		if err != nil || found.Items != 45 {
			t.Errorf("%+v, %v", found, err)
		}

		// It comes back under the same address.
		b.set(nil)
		r = newRig(t, component.NewPool(), b, onDisk(dir)).start()
		time.Sleep(time.Minute)
		r.stop(5 * time.Second)
		r.wantStored(45)
	})
}

func TestRefusedBodiesAreKeptAside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		r := newRig(t, component.NewPool(), &backend{answer: status(400)}, onDisk(dir)).start()
		r.mustPut(10)
		time.Sleep(time.Minute)
		r.stop(5 * time.Second)
		files, err := os.ReadDir(filepath.Join(dir, "queue", "aside"))
		if err != nil || len(files) != 1 {
			t.Errorf("%v, %v", files, err)
		}
	})
}

// watched notes what is kept aside when a block leaves the queue.
type watched struct {
	queue.Queue
	dir   string
	aside []int
}

func (w *watched) Ack(b *queue.Block) {
	files, _ := os.ReadDir(w.dir)
	w.aside = append(w.aside, len(files))
	w.Queue.Ack(b)
}

func TestARefusedBodyIsKeptAsideBeforeItLeavesTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		r := newRig(t, component.NewPool(), &backend{answer: status(400)}, onDisk(dir))
		if err := r.d.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		q := &watched{Queue: r.d.shared.Queue, dir: filepath.Join(dir, "queue", "aside")}
		r.d.shared.Queue = q
		r.running()
		r.mustPut(10)
		time.Sleep(time.Minute)
		r.stop(5 * time.Second)
		if !slices.Equal(q.aside, []int{1}) {
			t.Errorf("when it left the queue there were %v files", q.aside)
		}
	})
}

func TestAFullQueueOnDiskMakesLogsWaitAndLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		b := &backend{answer: status(503)}
		r := newRig(t, component.NewPool(), b, onDisk(dir, smallQueue(queue.Wait, queue.MinSize))).start()
		r.per = 5000
		done := make(chan error, 1)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			for range 100 {
				if err := r.put(ctx, 5000); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
		time.Sleep(time.Minute)
		select {
		case err := <-done:
			t.Fatalf("the queue took all: %v", err)
		default:
		}
		b.set(nil)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		cancel()
		r.stop(time.Minute)
		r.wantStored(500_000)
	})
}

func TestWhatIsLeftOnDiskIsToldWhereTheQueueIsInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		b := &backend{answer: status(500)}
		r := newRig(t, component.NewPool(), b, onDisk(dir)).start()
		r.mustPut(12)
		r.stop(2 * time.Second)
		r = newRig(t, component.NewPool(), b, onDisk(dir, func(o *Options) { o.Config.Queue.Storage = "memory" })).start()
		faults := r.env.Status.Faults()
		if len(faults) != 1 || !faults[0].Note || !strings.Contains(faults[0].What, "12 items") {
			t.Errorf("%+v", faults)
		}
		r.stop(time.Second)
		if found, err := queue.Inspect(filepath.Join(dir, "queue")); err != nil || found.Items != 12 {
			t.Errorf("%+v, %v", found, err)
		}
	})
}

func TestStorageOnDiskNeedsAFolder(t *testing.T) {
	c := Defaults(queue.Wait, 1)
	c.Queue.Storage = "disk"
	err := c.Check(&component.Env{})
	if attr, ok := err.(*config.AttrError); !ok || attr.Attr != "queue.storage" {
		t.Errorf("err = %v", err)
	}
	if err := c.Check(&component.Env{DataDir: t.TempDir()}); err != nil {
		t.Error(err)
	}
	c.Queue.Storage = ""
	if err := c.Check(&component.Env{}); err != nil {
		t.Error(err)
	}
}
