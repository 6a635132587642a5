package docker

import (
	"bytes"
	"os"
	"regexp"
)

// Own finds the id of the container that this process runs in.
type Own struct {
	id       string
	hostname string
}

var (
	// hostnameMount is how the engine brings a container its own /etc/hostname: a bind mount from the container's folder. Only mounts
	// on these three files count, because a machine's own mounts, and those below a mounted root, name every container.
	// Fields of mountinfo are in proc_pid_mountinfo(5).
	hostnameMount = regexp.MustCompile(`(?m)^\d+ \d+ \S+ \S*/containers/([0-9a-f]{64})/\S+ /etc/(?:hostname|hosts|resolv\.conf) `)
	cgroupID      = regexp.MustCompile(`(?m)^\d+:[^:]*:\S*(?:/docker/|docker-)([0-9a-f]{64})(?:\.scope)?$`)
	shortID       = regexp.MustCompile(`^[0-9a-f]{12}$`)
)

// FindOwn looks for the container of this process. procfs is the process' own /proc, not the machine's.
func FindOwn(procfs string) Own {
	var o Own
	mounts, _ := os.ReadFile(procfs + "/self/mountinfo")
	cgroups, _ := os.ReadFile(procfs + "/self/cgroup")
	name, _ := os.Hostname()
	return o.from(mounts, cgroups, name)
}

func (o Own) from(mounts, cgroups []byte, hostname string) Own {
	if m := hostnameMount.FindSubmatch(mounts); m != nil {
		o.id = string(m[1])
	} else if m := cgroupID.FindSubmatch(bytes.TrimSpace(cgroups)); m != nil {
		o.id = string(m[1])
	}
	if shortID.MatchString(hostname) {
		o.hostname = hostname // Docker names a container after the start of its id unless it is told otherwise
	}
	return o
}

// Is says whether the container with this id is the one that the process runs in.
func (o Own) Is(id string) bool {
	if o.id != "" {
		return o.id == id
	}
	return o.hostname != "" && len(id) > 12 && id[:12] == o.hostname
}

// Ref names the container of this process for the engine, "" when it isn't known to run in one.
func (o Own) Ref() string {
	if o.id != "" {
		return o.id
	}
	return o.hostname
}

// OwnID is the Own of a process that runs in the container with this id.
func OwnID(id string) Own { return Own{id: id} }
