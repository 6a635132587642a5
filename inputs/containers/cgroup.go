package containers

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/hermod-agent/hermod/internal/docker"
)

// controller is a folder in which a container's cgroup has files. With cgroup v2 all are one; only a few matter to us with v1.
type controller int

const (
	ctlCPU controller = iota
	ctlCPUAcct
	ctlMemory
	ctlBlkio
	ctlPids
	ctlUnified // of v2, or of the tree of v2 that a machine with v1 may have beside it, for the pressure files
	controllers
)

var controllerNames = [controllers]string{"cpu", "cpuacct", "memory", "blkio", "pids", "unified"}

// hierarchy is where the cgroup filesystems are mounted
// (https://docs.kernel.org/admin-guide/cgroup-v1/cgroups.html, https://docs.kernel.org/admin-guide/cgroup-v2.html).
type hierarchy struct {
	v2    bool
	roots [controllers]string // "" where there is none
}

// findHierarchy looks below sysfs: with v2 the folder itself is the tree, with v1 each controller or group of controllers has a tree of
// its own in it.
func findHierarchy(sysfs string) (hierarchy, error) {
	base := sysfs + "/fs/cgroup"
	if isFile(base + "/cgroup.controllers") {
		h := hierarchy{v2: true}
		for c := range controllers {
			h.roots[c] = base
		}
		return h, nil
	}
	var h hierarchy
	entries, err := os.ReadDir(base)
	if err != nil {
		return h, fmt.Errorf("look for cgroups: %w", err)
	}
	found := false
	for _, e := range entries {
		for name := range strings.SplitSeq(e.Name(), ",") { // cpu,cpuacct, to which cpu and cpuacct may be links
			for c, known := range controllerNames {
				if name != known || controller(c) == ctlUnified || h.roots[c] != "" && e.Name() != known {
					continue
				}
				if isDir(base + "/" + e.Name()) {
					h.roots[c] = base + "/" + e.Name()
					found = true
				}
			}
		}
	}
	if isFile(base + "/unified/cgroup.controllers") {
		h.roots[ctlUnified] = base + "/unified"
	}
	if !found {
		return h, fmt.Errorf("look for cgroups: %s has no folder of a controller", base)
	}
	return h, nil
}

func isFile(p string) bool {
	st, err := os.Stat(p)
	return err == nil && st.Mode().IsRegular()
}

func isDir(p string) bool {
	st, err := os.Stat(p)
	return err == nil && st.IsDir()
}

// exists says whether one of the trees has the cgroup.
func (h *hierarchy) exists(cgroup string) bool {
	for c, root := range h.roots {
		if root != "" && controller(c) != ctlUnified && isDir(root+cgroup) {
			return true
		}
	}
	return false
}

// named says whether a folder is the cgroup of the container: its id alone by the cgroupfs driver, docker-ID.scope by systemd's;
// Podman writes libpod-.
func named(folder, id string) bool {
	folder = strings.TrimSuffix(folder, ".scope")
	return folder == id || folder == "docker-"+id || folder == "libpod-"+id
}

// find returns the cgroup's path within the trees. The process' own cgroup file knows best; where the process can't be seen, the places
// where Docker and Podman put cgroups are tried, and then, with search, all folders are looked through.
func (h *hierarchy) find(c *docker.Container, info *docker.Info, procCgroup []byte, search bool) (string, error) {
	if p := cgroupOfProcess(procCgroup, c.ID); p != "" && h.exists(p) {
		return p, nil
	}
	for _, p := range likely(c, info) {
		if h.exists(p) {
			return p, nil
		}
	}
	if search {
		if p := h.search(c.ID); p != "" {
			return p, nil
		}
	}
	return "", errNoCgroup
}

var errNoCgroup = errors.New("its cgroup isn't there")

// cgroupOfProcess reads /proc/PID/cgroup (cgroups(7)): the path whose last element is the container's. One with ".." is relative to
// the agent's own cgroup namespace and no use. A container with an init of its own (systemd, Docker in Docker) has its first process
// further below.
func cgroupOfProcess(text []byte, id string) string {
	for line := range strings.Lines(string(text)) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(f) != 3 || strings.Contains(f[2], "/..") {
			continue
		}
		for p := f[2]; len(p) > 1; p = path.Dir(p) {
			if named(path.Base(p), id) {
				return p
			}
		}
	}
	return ""
}

// likely are the places of a container's cgroup, the likeliest first.
func likely(c *docker.Container, info *docker.Info) []string {
	// What each of the two engines puts before the id, and where it puts cgroups unless it is told otherwise.
	name, scope, parent, slice := c.ID, "docker-"+c.ID+".scope", "docker", "system.slice"
	if info.Podman {
		name, scope, parent, slice = "libpod-"+c.ID, "libpod-"+c.ID+".scope", "libpod_parent", "machine.slice"
	}
	var out []string
	byfs := func(parent string) { out = append(out, path.Join("/", parent, name)) }
	bySystemd := func(slice string) { out = append(out, slicePath(slice)+"/"+scope) }
	switch {
	case strings.HasSuffix(c.CgroupParent, ".slice"):
		bySystemd(c.CgroupParent)
	case c.CgroupParent != "":
		byfs(c.CgroupParent)
	}
	if info.CgroupDriver == "systemd" {
		bySystemd(slice)
		byfs(parent)
	} else {
		byfs(parent)
		bySystemd(slice)
	}
	// A proxy before Podman may leave out that it is one.
	return append(out, "/machine.slice/libpod-"+c.ID+".scope", "/machine.slice/libpod-"+c.ID+".scope/container", "/libpod_parent/libpod-"+c.ID)
}

// slicePath is where systemd puts a slice: a-b.slice lies in a.slice (systemd.slice(5)).
func slicePath(slice string) string {
	name := strings.TrimSuffix(slice, ".slice")
	if name == "-" {
		return ""
	}
	out := ""
	for i := range len(name) {
		if name[i] == '-' {
			out += "/" + name[:i] + ".slice"
		}
	}
	return out + "/" + slice
}

// search looks through the folders of one tree for the container's. Rootless engines and engines in containers are found so.
func (h *hierarchy) search(id string) string {
	const deepest, most = 10, 20_000
	root := ""
	for _, c := range [...]controller{ctlMemory, ctlCPU, ctlCPUAcct, ctlPids, ctlBlkio} {
		if root = h.roots[c]; root != "" {
			break
		}
	}
	if root == "" {
		return ""
	}
	found, seen := "", 0
	_ = fs.WalkDir(os.DirFS(root), ".", func(p string, d fs.DirEntry, err error) error { // what can't be read has nothing for us
		if err != nil || !d.IsDir() {
			return nil
		}
		if seen++; seen > most || found != "" {
			return fs.SkipAll
		}
		if named(d.Name(), id) {
			found = "/" + p
			return fs.SkipAll
		}
		if strings.Count(p, "/") >= deepest {
			return fs.SkipDir
		}
		return nil
	})
	return found
}

// cgroup is a cgroup whose files are read at every collection.
type cgroup struct {
	path    string // within the trees
	folders [controllers]folder
	files   []file // by index of the table of files
	// hierarchical says that numbers of v1's memory.stat that begin with total_ count: memory.use_hierarchy.
	hierarchical bool
}

// open opens the folders of a cgroup. It fails when there is none at all.
func (h *hierarchy) open(r *reader, path string) (*cgroup, error) {
	g := &cgroup{path: path, files: make([]file, len(fileTable))}
	opened := false
	var first error
	for c, root := range h.roots {
		if root == "" || h.v2 && controller(c) != ctlUnified {
			continue
		}
		f, err := r.openFolder(root + path)
		if err != nil {
			if first == nil && !vanished(err) {
				first = err
			}
			continue
		}
		g.folders[c], opened = f, true
	}
	if !opened {
		if first == nil {
			first = errNoCgroup
		}
		return nil, first
	}
	if h.v2 {
		for c := range g.folders {
			g.folders[c] = g.folders[ctlUnified]
		}
	} else {
		data, err := r.readOnce(g.folders[ctlMemory], "memory.use_hierarchy\x00")
		g.hierarchical = err == nil && len(data) > 0 && data[0] == '1'
	}
	return g, nil
}

func (h *hierarchy) close(r *reader, g *cgroup) {
	if g == nil {
		return
	}
	for i := range g.files {
		r.close(&g.files[i])
	}
	if h.v2 {
		r.closeFolder(&g.folders[ctlUnified])
		clear(g.folders[:])
		return
	}
	for c := range g.folders {
		r.closeFolder(&g.folders[c])
	}
}

// alive says whether the cgroup is still there, for a file that could not be found in it.
func (g *cgroup) alive(c controller) bool {
	fd, err := openAt(g.folders[c], "cgroup.procs\x00")
	if err == nil {
		_ = unix.Close(fd)
	}
	return err == nil
}
