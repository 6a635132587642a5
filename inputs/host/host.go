// Package host collects the numbers of a Linux machine from /proc and /sys under the names of node_exporter 1.12.
//
// Each collector is one file: it keeps the pseudo-files that it reads open, reads each whole into one shared buffer, and sets series
// that it made when it first saw a device. In a container the machine's folders are mounted elsewhere; where they lie comes from
// component.Host or from the config.
//
// Names, labels, types, help texts and values are compared with a recording of node_exporter over the same files. On purpose it is
// different where node_exporter's answer is wrong or none:
//   - A line that can't be read is left out and makes the collector count as failed; node_exporter leaves out the whole file.
//   - Network numbers of a mounted procfs are those of its PID 1, not of the agent's own network namespace.
//   - In a container nodename of node_uname_info is the machine's name, and os-release, the time zone and udev's database are those below
//     rootfs, absolute links included.
//   - In a container without the machine's root the container's own mounts are shown, not the machine's mount points with the
//     container's sizes.
//   - A mount point with a backslash or a newline in its name is asked by its real name; its label is node_exporter's.
//   - Of several mounts on one place, the last decides node_filesystem_readonly: it is the one that is seen there.
//   - A mount that doesn't answer keeps its node_filesystem_readonly; node_exporter shows 0.
//   - node_time_seconds is the time of the cycle's samples, in milliseconds.
package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// Definition of input "host".
var Definition = component.MetricsInput("host", "CPU, memory, disks, filesystems, network and more of this machine, as node_exporter names them.",
	defaults, open, component.Job("node"), component.Example(example))

const example = `
input "host" "nas" {
  # In a container the mounted folders of the host are found where they usually are; these name other places.
  procfs = "/host/proc"
  sysfs  = "/host/sys"
  rootfs = "/rootfs"

  # Only some of the collectors.
  collect = ["cpu", "meminfo", "loadavg", "diskstats", "filesystem", "netdev"]

  filesystem {
    mount_timeout = "2s"
  }
  netdev {
    device_exclude = "^(veth.*|lo)$"
  }
}
`

// input runs its collectors one after the other: they share a buffer.
type input struct {
	env        *component.Env
	collectors []*job
	busy       chan struct{} // holds a token while Collect or Stop runs
	stopped    bool          // guarded by busy
}

// job is a collector and what is told about it.
type job struct {
	name     string
	c        collector
	duration *metrics.Series
	success  *metrics.Series
	told     bool // a fault or a note of this collector is shown
}

// collector is one subject. collect adds what it could read even when it returns an error.
type collector interface {
	collect(ctx context.Context, b *metrics.Batch) error
	// close releases files and helpers; ctx bounds how long that may take.
	close(ctx context.Context)
}

var (
	_ component.Collector = (*input)(nil)
	_ component.Stopper   = (*input)(nil)
)

// errNoData says that the machine has nothing of the kind: the collector counts as failed, as in node_exporter, but nothing is wrong.
var errNoData = errors.New("this machine doesn't have these numbers")

// errNotMounted says that the machine may have them, and this container can't see them.
var errNotMounted = errors.New("the host's root is not mounted")

func open(env *component.Env, cfg *Config) (*input, error) {
	m := newMachine(env, cfg)
	duration := gauge("node_scrape_collector_duration_seconds", "node_exporter: Duration of a collector scrape.")
	success := gauge("node_scrape_collector_success", "node_exporter: Whether a collector succeeded.")
	in := &input{env: env, busy: make(chan struct{}, 1)}
	for _, name := range order {
		if !slices.Contains(cfg.Collect, name) {
			continue
		}
		in.collectors = append(in.collectors, &job{
			name: name, c: m.collector(name),
			duration: env.Series.New(duration, "collector", name),
			success:  env.Series.New(success, "collector", name),
		})
	}
	if env.Status != nil {
		for _, sentence := range env.Host.Missing {
			what, remedy, told := strings.Cut(sentence, "; ")
			err := errors.New(what)
			if told {
				err = component.WithRemedy(err, remedy)
			}
			env.Status.Note(missingKey(what), err)
		}
	}
	return in, nil
}

// missingKey says in a word or two what a sentence of Host.Missing is about.
func missingKey(sentence string) string {
	for _, known := range [...]string{"/proc", "/sys", "root"} {
		if strings.Contains(sentence, "host's "+known) {
			return "the host's " + known
		}
	}
	return "the host's name"
}

// order is that of a cycle. filesystem comes last, because it is the one that may have to wait.
var order = [...]string{"cpu", "stat", "meminfo", "vmstat", "loadavg", "pressure", "diskstats", "netdev", "netstat", "sockstat", "filefd",
	"time", "uname", "os", "filesystem"}

// collector makes the collector of that name.
func (m *machine) collector(name string) collector {
	switch name {
	case "cpu":
		return newCPU(m)
	case "stat":
		return newStat(m)
	case "meminfo":
		return newMeminfo(m)
	case "vmstat":
		return newVmstat(m)
	case "loadavg":
		return newLoadavg(m)
	case "pressure":
		return newPressure(m)
	case "diskstats":
		return newDiskstats(m)
	case "netdev":
		return newNetdev(m)
	case "netstat":
		return newNetstat(m)
	case "sockstat":
		return newSockstat(m)
	case "filefd":
		return newFilefd(m)
	case "time":
		return newTime(m)
	case "uname":
		return newUname(m)
	case "os":
		return newOS(m)
	default: // filesystem: Validate has refused any other name
		return newFilesystem(m)
	}
}

// Collect implements component.Collector. It fails only when no collector had anything to give.
func (in *input) Collect(ctx context.Context, b *metrics.Batch) error {
	in.busy <- struct{}{} // never waits but for a Stop
	defer func() { <-in.busy }()
	if in.stopped {
		return component.ErrStopped
	}
	var first error
	before := len(b.Samples)
	told := 0 // samples that say how the collectors did
	for _, j := range in.collectors {
		if err := ctx.Err(); err != nil {
			return err
		}
		begin := time.Now()
		err := j.c.collect(ctx, b)
		b.Set(j.duration, time.Since(begin).Seconds())
		if err == nil {
			b.Set(j.success, 1)
		} else {
			b.Set(j.success, 0)
			if first == nil {
				first = fmt.Errorf("%s: %w", j.name, err)
			}
		}
		told += 2
		in.tell(j, err)
	}
	if first != nil && len(b.Samples)-before == told {
		return first
	}
	return nil
}

// tell shows what is wrong with a collector, or that it is right again.
func (in *input) tell(j *job, err error) {
	if in.env.Status == nil || err == nil && !j.told {
		return
	}
	j.told = err != nil
	switch {
	case err == nil:
		in.env.Status.Fault(j.name, nil)
	case errors.Is(err, errNoData):
		in.env.Status.Note(j.name, component.WithRemedy(err, "leave "+j.name+" out of collect to silence this"))
	case errors.Is(err, errNotMounted):
		in.env.Status.Note(j.name, component.WithRemedy(err, "add -v /:/rootfs:ro to docker run, or leave "+j.name+" out of collect"))
	case errors.Is(err, fs.ErrNotExist):
		in.env.Status.Fault(j.name, component.WithRemedy(err, "mount the host's /proc and /sys where procfs and sysfs say, or leave "+j.name+" out of collect"))
	case errors.Is(err, fs.ErrPermission):
		in.env.Status.Fault(j.name, component.WithRemedy(err, "run the agent as a user who may read it, or leave "+j.name+" out of collect"))
	default:
		in.env.Status.Fault(j.name, err)
	}
}

// Stop implements component.Stopper. It waits for a collection that was abandoned.
func (in *input) Stop(ctx context.Context) error {
	if err := component.Enter(ctx, in.busy); err != nil {
		return err
	}
	defer func() { <-in.busy }()
	if in.stopped {
		return nil
	}
	in.stopped = true
	for _, j := range in.collectors {
		j.c.close(ctx)
	}
	return nil
}

// machine is what the collectors share.
type machine struct {
	cfg                    *Config
	host                   component.Host
	procfs, sysfs, rootfs  string
	netDir                 string // the folder of network numbers, below procfs
	sysfsShowsOtherNetwork bool
	series                 *metrics.Registry
	scratch                *scratch
	stat                   *procStat
}

func newMachine(env *component.Env, cfg *Config) *machine {
	m := &machine{
		cfg: cfg, host: env.Host, series: env.Series, scratch: new(scratch),
		procfs: folder(cfg.Procfs, env.Host.Procfs, "/proc"),
		sysfs:  folder(cfg.Sysfs, env.Host.Sysfs, "/sys"),
		rootfs: folder(cfg.Rootfs, env.Host.Rootfs, "/"),
		netDir: "net",
	}
	// /proc/net is the network namespace of whoever reads it, so below a mounted procfs it shows this container. PID 1's is the
	// machine's. On a plain machine the two are one, unless somebody put the agent into a namespace on purpose.
	if (env.Host.Container || m.procfs != "/proc") && exists(m.procfs+"/1/net/dev") {
		m.netDir = "1/net"
	}
	// /sys/class/net is the namespace in which the sysfs was mounted; it is no use beside the devices of another one.
	if env.Host.Container {
		ownProc := m.procfs == "/proc" && !hostPIDs(m.procfs)
		m.sysfsShowsOtherNetwork = ownProc != (m.sysfs == "/sys")
	}
	m.stat = newProcStat(m)
	return m
}

// hostPIDs says whether the procfs shows the machine's process namespace: its second process is the kernel's thread daemon.
func hostPIDs(procfs string) bool {
	comm, err := new(scratch).readOnce(procfs + "/2/comm")
	return err == nil && strings.TrimSpace(string(comm)) == "kthreadd"
}

// proc makes a kept file below procfs.
func (m *machine) proc(name string) file {
	return file{path: m.procfs + "/" + name, scratch: m.scratch}
}

// net makes a kept file of network numbers.
func (m *machine) net(name string) file { return m.proc(m.netDir + "/" + name) }

// sys makes a kept file below sysfs.
func (m *machine) sys(name string) file { return file{path: m.sysfs + "/" + name, scratch: m.scratch} }

func folder(candidates ...string) string {
	for _, c := range candidates {
		if c != "" {
			if c = strings.TrimRight(c, "/"); c == "" {
				return "/"
			}
			return c
		}
	}
	return "/"
}

func counter(name, help string) *metrics.Desc { return desc(name, help, metrics.Counter) }
func gauge(name, help string) *metrics.Desc   { return desc(name, help, metrics.Gauge) }
func untyped(name, help string) *metrics.Desc { return desc(name, help, metrics.Unknown) }

func desc(name, help string, kind metrics.Kind) *metrics.Desc {
	d := &metrics.Desc{Name: name, Help: help, Kind: kind}
	for _, unit := range [...]string{"seconds", "bytes", "hertz", "celsius"} {
		if strings.HasSuffix(strings.TrimSuffix(name, "_total"), "_"+unit) {
			d.Unit = unit
		}
	}
	return d
}
