package containers

import (
	"context"
	"errors"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// fsSeries are the series of how much of the filesystem a container uses; they stand apart from those of its disks, whose numbers come from
// elsewhere.
type fsSeries struct {
	device               string
	usage, inodes, limit *metrics.Series
	age                  *metrics.Series
}

// layerCount is what a walk through a container's writable layer has found.
type layerCount struct {
	at      time.Time // when it was counted; zero is never
	bytes   uint64    // of the layer and of the engine's folder for the container, where its log is
	inodes  uint64    // of the layer
	device  device
	limit   uint64 // size of the filesystem in bytes
	mounted string // where it is mounted, "" when that isn't known
}

// layer is what is walked through.
type layer struct {
	id         string
	upper, log string // folders as the agent sees them
}

// walker counts the files of one container after the other, at the lowest priority: in a goroutine of its own, on a thread whose niceness and
// class of disk access are the lowest there are. There is never more than one round.
type walker struct {
	interval time.Duration
	cancel   context.CancelFunc
	ctx      context.Context
	ended    chan struct{} // closed when the round that runs has ended; nil while none ran
	begun    int64         // ms; of the last round

	mu     sync.Mutex // guards counts
	counts map[string]layerCount
}

func newWalker(interval time.Duration) *walker {
	w := &walker{interval: interval, counts: map[string]layerCount{}}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	return w
}

// stop ends the round that runs and waits for it until ctx ends: one that hangs with a dead disk is left behind.
func (w *walker) stop(ctx context.Context) {
	w.cancel()
	if w.ended == nil {
		return
	}
	select {
	case <-w.ended:
	case <-ctx.Done():
	}
}

// due says whether another round may begin.
func (w *walker) due(now int64) bool {
	if w.ended != nil {
		select {
		case <-w.ended:
		default:
			return false
		}
	}
	return w.begun == 0 || now-w.begun >= w.interval.Milliseconds()
}

// begin starts a round over these layers. What is known of others is forgotten.
func (w *walker) begin(now int64, layers []layer) {
	w.begun = now
	ended := make(chan struct{})
	w.ended = ended
	w.mu.Lock()
	old := w.counts
	w.counts = make(map[string]layerCount, len(layers))
	for i := range layers {
		if c, ok := old[layers[i].id]; ok {
			w.counts[layers[i].id] = c
		}
	}
	w.mu.Unlock()
	go func() {
		defer close(ended)
		// The thread isn't unlocked and so ends with this goroutine: its priority can't be raised again by everyone.
		runtime.LockOSThread()
		lowerPriority()
		for i := range layers {
			c, err := countLayer(w.ctx, &layers[i])
			if w.ctx.Err() != nil {
				return
			}
			w.mu.Lock()
			if err == nil {
				w.counts[layers[i].id] = c
			} else {
				delete(w.counts, layers[i].id) // it was removed meanwhile
			}
			w.mu.Unlock()
		}
	}()
}

func (w *walker) get(id string) layerCount {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.counts[id]
}

// lowerPriority makes the calling thread the last to get CPU and disk (sched(7), ioprio_set(2)). Where that isn't allowed it stays as it is.
func lowerPriority() {
	const whoProcess, classIdle, classShift = 1, 3, 13
	_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), 19)
	_, _, _ = unix.Syscall(unix.SYS_IOPRIO_SET, whoProcess, uintptr(unix.Gettid()), classIdle<<classShift)
}

// walk begins a round when it is due.
func (in *input) walk(now int64) {
	if in.walker == nil || len(in.order) == 0 || !in.walker.due(now) {
		return
	}
	why := in.cannotWalk()
	in.note("fs_interval", why)
	if why != nil {
		in.walker.begun = now
		return
	}
	var layers []layer
	for _, c := range in.order {
		if c.about.Running && c.about.UpperDir != "" {
			l := layer{id: c.about.ID, upper: in.inRoot(c.about.UpperDir)}
			if in.info.DockerRootDir != "" {
				l.log = in.inRoot(in.info.DockerRootDir + "/containers/" + c.about.ID)
			}
			layers = append(layers, l)
		}
	}
	in.walker.begin(now, layers)
}

// cannotWalk says why the usage of the filesystem isn't counted, nil when it is.
func (in *input) cannotWalk() error {
	const off = `set fs_interval = "0s" to silence this`
	switch {
	case in.info.ContainerdStore():
		return component.WithRemedy(errors.New("the engine uses containerd's image store, in which a walk would count the image with each container: "+
			"there is no container_fs_usage_bytes"), off)
	case in.info.Driver == "btrfs" || in.info.Driver == "zfs" || in.info.Driver == "vfs" || in.info.Driver == "devicemapper":
		return component.WithRemedy(errors.New("the engine's storage driver is "+in.info.Driver+", with which a walk would count the image with each container: "+
			"there is no container_fs_usage_bytes"), off)
	case in.env.Host.Container && in.rootfs == "/":
		return component.WithRemedy(errors.New("the host's root is not mounted: there is no container_fs_usage_bytes"),
			"add -v /:/rootfs:ro,rslave to docker run, or "+off)
	}
	return nil
}

// setUsage gives what was counted last.
func (in *input) setUsage(c *container, b *metrics.Batch) {
	if in.walker == nil {
		return
	}
	count := in.walker.get(c.about.ID)
	if count.at.IsZero() {
		return
	}
	s := &c.used
	if s.usage == nil {
		s.device = in.mountOf(&count)
		series := func(f fsFamily) *metrics.Series { return c.series.New(fsDescs[f], "device", s.device) }
		s.usage, s.inodes, s.limit = series(fsUsageBytes), series(fsInodes), series(fsLimit)
		s.age = c.series.New(fsAge)
	}
	b.Set(s.usage, float64(count.bytes))
	b.Set(s.inodes, float64(count.inodes))
	b.Set(s.limit, float64(count.limit))
	b.Set(s.age, max(0, float64(b.Time-count.at.UnixMilli())/1000))
}

// mountOf names the disk on which a layer lies, as cAdvisor does: by what was mounted.
func (in *input) mountOf(count *layerCount) string {
	for i := range in.mounts {
		if in.mounts[i].device == count.device {
			return in.mounts[i].source
		}
	}
	best := -1
	for i := range in.mounts { // a volume of btrfs
		p := strings.TrimSuffix(in.mounts[i].path, "/")
		if strings.HasPrefix(count.mounted, p+"/") && (best < 0 || len(p) > len(in.mounts[best].path)) {
			best = i
		}
	}
	if best >= 0 {
		return in.mounts[best].source
	}
	return in.deviceName(nil, count.device)
}

// countLayer counts a container's files.
func countLayer(ctx context.Context, l *layer) (layerCount, error) {
	c := layerCount{mounted: l.upper}
	n, dev, err := countFolder(ctx, l.upper)
	if err != nil {
		return c, err
	}
	c.bytes, c.inodes = n.bytes, n.inodes
	c.device = device{unix.Major(dev), unix.Minor(dev)}
	if l.log != "" {
		if n, _, err := countFolder(ctx, l.log); err == nil { // Podman has none
			c.bytes += n.bytes
		}
	}
	var st unix.Statfs_t
	if err := unix.Statfs(l.upper, &st); err != nil {
		return c, err
	}
	c.limit = st.Blocks * uint64(st.Frsize)
	c.at = time.Now()
	return c, nil
}

// usage is what lies in a folder.
type usage struct {
	bytes, inodes uint64
	dev           uint64
	linked        map[uint64]struct{} // inodes with several names, which count once
	entries       int
}

// Bounds on what a container can do to its walker.
const (
	maxDepth  = 256
	maxLinked = 1 << 20
	restEvery = 2000 // entries
	rest      = 10 * time.Millisecond
)

// countFolder counts the blocks and inodes below a folder, itself included. It goes by descriptors and follows no link, so that who may write
// there can't lead it elsewhere, and stays on the folder's filesystem.
func countFolder(ctx context.Context, path string) (n usage, dev uint64, err error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return n, 0, &os.PathError{Op: "open", Path: path, Err: err}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		_ = unix.Close(fd)
		return n, 0, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	n.dev, n.linked = st.Dev, map[uint64]struct{}{}
	n.add(&st)
	n.folder(ctx, fd, 0)
	return n, st.Dev, ctx.Err()
}

func (n *usage) add(st *unix.Stat_t) {
	if st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		if _, twice := n.linked[st.Ino]; twice {
			return
		}
		if len(n.linked) < maxLinked {
			n.linked[st.Ino] = struct{}{}
		}
	}
	n.bytes += uint64(st.Blocks) * 512
	n.inodes++
}

// folder counts what lies in an open folder and closes it. What can't be read, or goes meanwhile, counts nothing.
func (n *usage) folder(ctx context.Context, fd, depth int) {
	f := os.NewFile(uintptr(fd), "")
	defer f.Close()
	for {
		names, err := f.Readdirnames(512)
		for _, name := range names {
			if n.entries++; n.entries%restEvery == 0 {
				select {
				case <-ctx.Done():
				case <-time.After(rest):
				}
			}
			if ctx.Err() != nil {
				return
			}
			var st unix.Stat_t
			if unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil || st.Dev != n.dev {
				continue
			}
			n.add(&st)
			if st.Mode&unix.S_IFMT != unix.S_IFDIR || depth >= maxDepth {
				continue
			}
			if sub, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0); err == nil {
				n.folder(ctx, sub, depth+1)
			}
		}
		if err != nil || len(names) == 0 {
			return
		}
	}
}
