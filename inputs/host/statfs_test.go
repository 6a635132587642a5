package host

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// deadMounts is a statfs in which some paths hang until they are brought back.
type deadMounts struct {
	mu    sync.Mutex
	dead  map[string]chan struct{}
	now   map[string]int // calls that have not returned, by path
	most  map[string]int // the largest of these
	calls map[string]int
}

func newDeadMounts(paths ...string) *deadMounts {
	d := &deadMounts{dead: map[string]chan struct{}{}, now: map[string]int{}, most: map[string]int{}, calls: map[string]int{}}
	for _, p := range paths {
		d.dead[p] = make(chan struct{})
	}
	return d
}

func (d *deadMounts) statfs(path string, out *unix.Statfs_t) error {
	d.mu.Lock()
	wait := d.dead[path]
	d.calls[path]++
	d.now[path]++
	d.most[path] = max(d.most[path], d.now[path])
	d.mu.Unlock()
	if wait != nil {
		<-wait
	}
	d.mu.Lock()
	d.now[path]--
	d.mu.Unlock()
	*out = unix.Statfs_t{Bsize: 1, Blocks: uint64(len(path))}
	return nil
}

func (d *deadMounts) revive(path string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	close(d.dead[path])
	delete(d.dead, path)
}

func points(paths ...string) []*mountPoint {
	var out []*mountPoint
	for _, p := range paths {
		out = append(out, &mountPoint{path: p})
	}
	return out
}

func TestADeadMountCostsItsTimeoutOnceAndTheRestGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDeadMounts("/dead1", "/dead2")
		s := newStatter(d.statfs)
		p := points("/a", "/dead1", "/b", "/dead2", "/c")
		want := func(answers ...answer) {
			t.Helper()
			for i, w := range answers {
				if got := s.result(p[i]); got != w {
					t.Errorf("%s: %d, want %d", p[i].path, got, w)
				}
			}
		}
		ask := func() time.Duration {
			begin := time.Now()
			s.ask(t.Context(), p, 5*time.Second)
			return time.Since(begin)
		}
		if took := ask(); took < 5*time.Second || took > 5100*time.Millisecond {
			t.Errorf("the first round took %v", took)
		}
		want(answered, notAnswered, answered, notAnswered, answered)
		synctest.Wait()
		for range 20 {
			if took := ask(); took != 0 {
				t.Errorf("a later round took %v", took)
			}
			want(answered, notAnswered, answered, notAnswered, answered)
		}
		synctest.Wait()
		if d.calls["/dead1"] != 1 || d.calls["/dead2"] != 1 || d.calls["/c"] != 21 {
			t.Errorf("calls: %v", d.calls)
		}
		d.revive("/dead1")
		synctest.Wait()
		ask()
		want(answered, answered, answered, notAnswered, answered)
		d.revive("/dead2")
		synctest.Wait()
		ask()
		want(answered, answered, answered, answered, answered)
		synctest.Wait()
		if s.left != 0 {
			t.Errorf("%d helpers are left", s.left)
		}
		s.stop(t.Context())
	})
}

func TestAskEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDeadMounts("/dead")
		s := newStatter(d.statfs)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		p := points("/dead", "/a")
		begin := time.Now()
		s.ask(ctx, p, 5*time.Second)
		if took := time.Since(begin); took != 10*time.Millisecond {
			t.Errorf("took %v", took)
		}
		if s.result(p[0]) != notAnswered || s.result(p[1]) != notAsked {
			t.Errorf("got %d and %d", s.result(p[0]), s.result(p[1]))
		}
		// The next round leaves the helper with the dead mount and goes on with another.
		s.ask(t.Context(), p, 5*time.Second)
		if s.result(p[0]) != notAnswered || s.result(p[1]) != answered {
			t.Errorf("got %d and %d", s.result(p[0]), s.result(p[1]))
		}
		s.stop(t.Context())
		d.revive("/dead")
	})
}

func TestStopDoesNotWaitForADeadMount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDeadMounts("/dead")
		s := newStatter(d.statfs)
		s.ask(t.Context(), points("/dead"), time.Second)
		begin := time.Now()
		s.stop(t.Context())
		s.stop(t.Context())
		if took := time.Since(begin); took != 0 {
			t.Errorf("took %v", took)
		}
		s.ask(t.Context(), points("/a"), time.Second)
		d.revive("/dead") // and its helper ends, or the bubble would not
	})
}

func TestHelpersLeftWithDeadMountsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var paths []string
		for i := range 3 * maxLeft {
			paths = append(paths, fmt.Sprintf("/dead%d", i))
		}
		d := newDeadMounts(paths...)
		s := newStatter(d.statfs)
		p := points(append([]string{"/a"}, append(paths, "/z")...)...)
		for range 5 {
			s.ask(t.Context(), p, 5*time.Second)
		}
		synctest.Wait()
		if s.left != maxLeft || len(d.calls) != maxLeft+2 {
			t.Errorf("%d helpers are left, %d mounts were asked", s.left, len(d.calls))
		}
		if got := s.result(p[len(p)-1]); got != notAsked {
			t.Errorf("the last one: %d", got)
		}
		s.stop(t.Context())
		for len(d.dead) > 0 { // those that hang come back, whatever else is left
			for _, path := range paths {
				if d.dead[path] != nil {
					d.revive(path)
				}
			}
		}
	})
}

func TestAMountThatComesAndGoesWhileItHangsHasOneHelper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root := t.TempDir()
		line := func(point string) string { return "36 27 0:42 / " + point + " rw - nfs4 server:/export rw\n" }
		write(t, root+"/proc/1/mountinfo", line("/mnt/nfs")+line("/mnt/other"))
		dead := root + "/rootfs/mnt/nfs"
		d := newDeadMounts(dead)
		in := mustOpen(t, testEnv(), fixtureConfig(root, "filesystem"))
		part[*filesystem](t, in).statter.statfs = d.statfs
		c := &cycles{in: in}
		goroutines := 0
		for i := range 60 {
			if i%15 == 7 { // away for long enough to be forgotten
				write(t, root+"/proc/1/mountinfo", line("/mnt/other"))
			}
			if i%15 == 14 {
				write(t, root+"/proc/1/mountinfo", line("/mnt/nfs")+line("/mnt/other"))
			}
			if err := c.run(t); err != nil {
				t.Fatal(err)
			}
			text := c.text()
			shown := strings.Contains(text, `node_filesystem_device_error{device="server:/export",device_error="mountpoint timeout",fstype="nfs4",mountpoint="/mnt/nfs"} 1`)
			if here := i%15 < 7 || i%15 == 14; shown != here {
				t.Errorf("cycle %d: dead mount shown is %v:\n%s", i, shown, text)
			}
			if strings.Contains(text, `node_filesystem_size_bytes{device="server:/export",device_error="",fstype="nfs4",mountpoint="/mnt/nfs"}`) {
				t.Errorf("cycle %d: the size of a dead mount", i)
			}
			if !strings.Contains(text, `node_filesystem_size_bytes{device="server:/export",device_error="",fstype="nfs4",mountpoint="/mnt/other"}`) ||
				!strings.Contains(text, `node_scrape_collector_success{collector="filesystem"} 1`) {
				t.Errorf("cycle %d: the rest didn't go on:\n%s", i, text)
			}
			synctest.Wait()
			if i == 1 {
				goroutines = runtime.NumGoroutine()
			}
		}
		if d.most[dead] != 1 || d.calls[dead] != 1 {
			t.Errorf("%d calls at once, %d in all", d.most[dead], d.calls[dead])
		}
		if n := runtime.NumGoroutine(); n > goroutines {
			t.Errorf("%d goroutines, there were %d", n, goroutines)
		}
		d.revive(dead)
		synctest.Wait() // the helper ends by itself
		if n := runtime.NumGoroutine(); n >= goroutines {
			t.Errorf("%d goroutines, there were %d while the mount hung", n, goroutines)
		}
		if err := c.run(t); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(c.text(), `node_filesystem_size_bytes{device="server:/export",device_error="",fstype="nfs4",mountpoint="/mnt/nfs"}`) {
			t.Errorf("the mount didn't recover:\n%s", c.text())
		}
	})
}

func TestACycleWithADeadMountEndsBeforeItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root := t.TempDir()
		write(t, root+"/proc/1/mountinfo", "36 27 0:42 / /mnt/nfs rw - nfs4 server:/export rw\n")
		d := newDeadMounts(root + "/rootfs/mnt/nfs")
		in := mustOpen(t, testEnv(), fixtureConfig(root, "filesystem", "uname")) // mount_timeout is longer
		part[*filesystem](t, in).statter.statfs = d.statfs
		c := &cycles{in: in}
		c.n = 1
		c.b.Begin(nil, 1, cycleTime)
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		if err := in.Collect(ctx, &c.b); err != nil || ctx.Err() != nil {
			t.Fatal(err, ctx.Err())
		}
		if !strings.Contains(c.text(), `device_error="mountpoint timeout"`) {
			t.Error(c.text())
		}
		d.revive(root + "/rootfs/mnt/nfs")
	})
}
