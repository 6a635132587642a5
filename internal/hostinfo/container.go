package hostinfo

import "strings"

// inContainer says whether the process runs in an application container (Docker, containerd, podman, Kubernetes, ECS). A system
// container (LXC, systemd-nspawn) with an init of its own is the machine for whoever runs the agent in it, and doesn't count.
func (o Options) inContainer() bool {
	switch kind, _ := o.Getenv("container"); kind {
	case "lxc", "lxc-libvirt", "systemd-nspawn", "wsl":
		return false
	}
	switch o.read("/run/systemd/container") {
	case "lxc", "lxc-libvirt", "systemd-nspawn", "wsl":
		return false
	}
	if o.onTheMachine() {
		return false
	}
	if o.exists("/.dockerenv") || o.exists("/run/.containerenv") {
		return true
	}
	for _, name := range [...]string{"container", "KUBERNETES_SERVICE_HOST", "ECS_CONTAINER_METADATA_URI", "ECS_CONTAINER_METADATA_URI_V4"} {
		if v, ok := o.Getenv(name); ok && v != "" {
			return true
		}
	}
	// The engine's own cgroup names a container where the cgroup namespace isn't private (cgroup v1, or --cgroupns=host). The agent
	// may also be a systemd unit named docker-something on a plain machine, so whole path elements are compared.
	for line := range strings.Lines(o.read("/proc/self/cgroup")) {
		_, path, ok := strings.Cut(strings.TrimSpace(line), ":/")
		if !ok {
			continue
		}
		for element := range strings.SplitSeq(path, "/") {
			switch {
			case element == "docker", element == "kubepods", element == "kubepods.slice", element == "ecs", element == "libpod_parent",
				engineScope(element):
				return true
			}
		}
	}
	return false
}

// onTheMachine says that the process sees the machine's processes and has the same root as their first one, so that whatever looks like a
// container is a leftover: a virtual machine made from a Docker image has a /.dockerenv too.
func (o Options) onTheMachine() bool {
	if o.read("/proc/2/comm") != kernelThreads {
		return false
	}
	own := o.rootMount("/proc/self/mountinfo")
	return own != "" && own == o.rootMount("/proc/1/mountinfo")
}

// kernelThreads is the second process of a machine; no container has one of that name.
const kernelThreads = "kthreadd"

// rootMount returns the identity of the last mount on /, which is unique among all namespaces, or "".
func (o Options) rootMount(mountinfo string) string {
	id := ""
	for line := range strings.Lines(o.read(mountinfo)) {
		if f := strings.Fields(line); len(f) > 4 && f[4] == "/" {
			id = f[0]
		}
	}
	return id
}

// engineScope recognises docker-<id>.scope, cri-containerd-<id>.scope, crio-<id>.scope and libpod-<id>.scope.
func engineScope(element string) bool {
	name, ok := strings.CutSuffix(element, ".scope")
	if !ok {
		return false
	}
	i := strings.LastIndexByte(name, '-')
	if i < 0 || !isHex(name[i+1:], 64) {
		return false
	}
	switch name[:i] {
	case "docker", "cri-containerd", "crio", "libpod":
		return true
	}
	return false
}

func isHex(s string, n int) bool {
	if len(s) != n {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
