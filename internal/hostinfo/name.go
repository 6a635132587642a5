package hostinfo

import (
	"context"
	"os"
	"strings"

	"github.com/hermod-agent/hermod/pipeline/component"
)

// findName returns the machine's name, and a sentence when it is likely to be a container's.
func (o Options) findName(ctx context.Context, h *component.Host) (name, note string) {
	if o.Name != "" {
		return o.Name, ""
	}
	if v, _ := o.Getenv("HERMOD_HOST"); v != "" {
		return v, ""
	}
	if h.Container {
		if h.Rootfs != "/" {
			if n := o.mountedHostname(h.Rootfs); n != "" {
				return n, ""
			}
		}
		if o.DockerName != nil {
			if n, err := o.DockerName(ctx); err == nil && plausible(n) {
				return n, ""
			}
		}
	}
	n, err := o.Hostname()
	if err != nil || n == "" {
		return "localhost", "the host's name could not be found out and stands as localhost; set host in the agent block or HERMOD_HOST"
	}
	// Docker names a container after the first 12 digits of its id unless it is told otherwise.
	if h.Container && isHex(n, 12) {
		return n, "the host's name stands as " + n + ", which is a container's id and changes with every new container; " +
			"set host in the agent block, or add -e HERMOD_HOST=NAME or -v /:/rootfs:ro,rslave to docker run"
	}
	return n, ""
}

// mountedHostname reads etc/hostname of the machine: the first line that is no comment (hostname(5)).
func (o Options) mountedHostname(rootfs string) string {
	path, err := InRoot(o.at(rootfs), "/etc/hostname")
	if err != nil {
		return ""
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if !plausible(line) {
			return ""
		}
		return line
	}
	return ""
}

// plausible refuses what can't be a host's name: it becomes a label and is printed.
func plausible(name string) bool {
	if name == "" || len(name) > 253 {
		return false
	}
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return true
}
