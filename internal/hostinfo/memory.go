package hostinfo

import (
	"math"
	"path"
	"strconv"
	"strings"
)

// unlimited is where a limit stops being one: cgroup v1 writes the largest number of whole pages (close to 2^63) for "none".
const unlimited = math.MaxInt64 / 2

// MemoryLimit returns the memory limit in bytes that cgroups put on this process, for GOMEMLIMIT: the smallest on the way from its own
// cgroup to the root. ok is false when there is none.
//
// See https://docs.kernel.org/admin-guide/cgroup-v2.html (memory.max) and
// https://docs.kernel.org/admin-guide/cgroup-v1/memory.html (memory.limit_in_bytes).
func MemoryLimit(o Options) (bytes int64, ok bool) {
	o = o.withDefaults()
	unified, v1 := "", ""
	hasUnified, hasV1 := false, false
	for line := range strings.Lines(o.read("/proc/self/cgroup")) {
		// hierarchy-ID:controller,controller:path
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 {
			continue
		}
		if f[0] == "0" && f[1] == "" {
			unified, hasUnified = f[2], true
		}
		for c := range strings.SplitSeq(f[1], ",") {
			if c == "memory" {
				v1, hasV1 = f[2], true
			}
		}
	}
	limit := int64(math.MaxInt64)
	if hasUnified {
		limit = min(limit, o.smallest("/sys/fs/cgroup", unified, "memory.max"))
	}
	if hasV1 {
		limit = min(limit, o.smallest("/sys/fs/cgroup/memory", v1, "memory.limit_in_bytes"))
	}
	if limit >= unlimited {
		return 0, false
	}
	return limit, true
}

// smallest reads file in the cgroup and in each of its ancestors. In a container whose cgroup namespace isn't private the path is the
// machine's and doesn't exist below the mount, which shows the container's own cgroup as its root; the climb ends there.
func (o Options) smallest(mount, cgroup, file string) int64 {
	limit := int64(math.MaxInt64)
	for p := path.Clean("/" + cgroup); ; p = path.Dir(p) {
		// "max" fails to parse and is no limit.
		if n, err := strconv.ParseInt(o.read(path.Join(mount, p, file)), 10, 64); err == nil && n > 0 {
			limit = min(limit, n)
		}
		if p == "/" {
			return limit
		}
	}
}
