// Package hostinfo finds the machine that the agent describes: where its /proc, /sys and root are mounted when the agent runs in a
// container, what it is called, and what can't be known because something is not mounted.
package hostinfo

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"github.com/hermod-agent/hermod/pipeline/component"
)

// Options say where to look. The zero value looks at the system that the process sees.
type Options struct {
	// Root is a folder that stands for / when files are looked up; tests set it. The paths that Find returns don't contain it.
	Root string
	// Getenv is os.LookupEnv when nil.
	Getenv func(string) (string, bool)
	// Hostname is os.Hostname when nil.
	Hostname func() (string, error)
	// DockerName asks the Docker engine for the name of the machine that it runs on. It may be nil, and is asked only in a container
	// whose other sources of the name are silent.
	DockerName func(ctx context.Context) (string, error)
	// Name is the name that the user set (agent.host); it wins over everything.
	Name string
}

// Where the folders of the machine are usually mounted in a container, the first that looks right is taken. /host and below are what
// the manifests of Kubernetes and of monitoring vendors use, /rootfs is cAdvisor's place.
var (
	procfsPlaces = [...]string{"/host/proc", "/rootfs/proc", "/host/root/proc", "/hostfs/proc"}
	sysfsPlaces  = [...]string{"/host/sys", "/rootfs/sys", "/host/root/sys", "/hostfs/sys"}
	rootfsPlaces = [...]string{"/rootfs", "/host/root", "/hostfs", "/host"}
)

// Find describes the machine. It never fails: what could not be found out is said in Host.Missing.
func Find(ctx context.Context, o Options) component.Host {
	o = o.withDefaults()
	h := component.Host{Procfs: "/proc", Sysfs: "/sys", Rootfs: "/", Container: o.inContainer()}
	if h.Container {
		o.findMounts(&h)
	}
	var note string
	h.Name, note = o.findName(ctx, &h)
	if note != "" {
		h.Missing = append(h.Missing, note)
	}
	return h
}

func (o Options) withDefaults() Options {
	if o.Root == "" {
		o.Root = "/"
	}
	if o.Getenv == nil {
		o.Getenv = os.LookupEnv
	}
	if o.Hostname == nil {
		o.Hostname = os.Hostname
	}
	return o
}

// at is where the absolute path lies below Root.
func (o Options) at(path string) string { return filepath.Join(o.Root, path) }

func (o Options) exists(path string) bool {
	_, err := os.Stat(o.at(path))
	return err == nil
}

func (o Options) isDir(path string) bool {
	st, err := os.Stat(o.at(path))
	return err == nil && st.IsDir()
}

// read returns the trimmed text of a small file, "" when there is none.
func (o Options) read(path string) string {
	b, err := os.ReadFile(o.at(path))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// findMounts looks for the machine's folders and says what is missing. What is the same in every container (CPU, memory, disks) isn't
// mentioned: the kernel's own numbers are right in any /proc.
func (o Options) findMounts(h *component.Host) {
	procFound := false
	for _, p := range procfsPlaces {
		if o.exists(p+"/stat") && o.exists(p+"/meminfo") {
			h.Procfs, procFound = p, true
			break
		}
	}
	// With --pid=host the container's own /proc is the machine's: its second process is the kernel's thread daemon.
	if !procFound && o.read("/proc/2/comm") == kernelThreads {
		procFound = true
	}
	if !procFound {
		h.Missing = append(h.Missing, "the host's /proc is not mounted: network, socket and mount numbers are this container's own, "+
			"not the host's; add -v /proc:/host/proc:ro to docker run")
	}

	sysFound := false
	for _, p := range sysfsPlaces {
		if o.isDir(p+"/devices") && o.isDir(p+"/class") {
			h.Sysfs, sysFound = p, true
			break
		}
	}
	if !sysFound {
		h.Missing = append(h.Missing, "the host's /sys is not mounted: what only /sys knows of the host's network devices "+
			"(node_network_receive_nohandler_total) is missing; add -v /sys:/host/sys:ro to docker run")
	}

	rootFound := false
	for _, p := range rootfsPlaces {
		if o.isDir(p + "/etc") {
			h.Rootfs, rootFound = p, true
			break
		}
	}
	switch {
	case !rootFound:
		h.Missing = append(h.Missing, "the host's root is not mounted: sizes of the host's filesystems, its operating system and its "+
			"time zone are not known, what is shown is this container's own; add -v /:/rootfs:ro,rslave to docker run "+
			"(without ,rslave where Docker refuses it)")
	case !o.propagates("/proc/self/mountinfo", h.Rootfs):
		remedy := "write -v /:" + h.Rootfs + ":ro,rslave in docker run"
		// Docker refuses rslave where the machine's root isn't shared, as on a Synology NAS.
		if !o.propagates(h.Procfs+"/1/mountinfo", "/") {
			remedy = "restart this container after such a mount, or run mount --make-rshared / on the host and " + remedy
		}
		h.Missing = append(h.Missing, "the host's root is mounted at "+h.Rootfs+" without propagation: filesystems that the host mounts "+
			"from now on show an error or the numbers of the folder below them; "+remedy)
	}
}

// propagates says whether the mount takes part in propagation: its entry in mountinfo then has an optional field master: or shared:
// (proc_pid_mountinfo(5)). What can't be read is not complained about.
func (o Options) propagates(mountinfo, mountPoint string) bool {
	for line := range strings.Lines(o.read(mountinfo)) {
		f := strings.Fields(line)
		if len(f) < 7 || f[4] != mountPoint {
			continue
		}
		for _, opt := range f[6:] {
			if opt == "-" {
				return false
			}
			if strings.HasPrefix(opt, "master:") || strings.HasPrefix(opt, "shared:") {
				return true
			}
		}
	}
	return true
}
