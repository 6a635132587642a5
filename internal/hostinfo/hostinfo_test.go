package hostinfo

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// tree makes the files below a new root; a name that ends in / is a folder, a text that begins with -> a symbolic link.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		switch target, link := strings.CutPrefix(text, "->"); {
		case link:
			err = os.Symlink(target, path)
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(path, 0o755)
		default:
			err = os.WriteFile(path, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func env(pairs ...string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1], true
			}
		}
		return "", false
	}
}

func hostname(name string) func() (string, error) {
	return func() (string, error) { return name, nil }
}

// fullMounts is a container with everything mounted as the README says.
func fullMounts() map[string]string {
	return map[string]string{
		".dockerenv":              "",
		"host/proc/stat":          "cpu  1 2 3\n",
		"host/proc/meminfo":       "MemTotal: 1 kB\n",
		"host/sys/devices/":       "",
		"host/sys/class/":         "",
		"rootfs/etc/hostname":     "nas\n",
		"proc/self/mountinfo":     "500 400 8:1 / /rootfs ro,relatime master:1 - ext4 /dev/sda1 rw\n",
		"run/systemd/ignored.txt": "",
	}
}

func TestFindInAContainerWithEverythingMountedMissesNothing(t *testing.T) {
	h := Find(t.Context(), Options{Root: tree(t, fullMounts()), Getenv: env(), Hostname: hostname("0123456789ab")})
	if !h.Container || h.Procfs != "/host/proc" || h.Sysfs != "/host/sys" || h.Rootfs != "/rootfs" || h.Name != "nas" {
		t.Errorf("got %+v", h)
	}
	if len(h.Missing) != 0 {
		t.Errorf("something is missing: %q", h.Missing)
	}
}

func TestFindOnAPlainMachineTakesItsOwnFolders(t *testing.T) {
	// A folder named rootfs, from debootstrap perhaps, means nothing outside a container.
	root := tree(t, map[string]string{
		"rootfs/etc/hostname": "other\n",
		"proc/self/cgroup":    "0::/system.slice/docker.service\n",
	})
	h := Find(t.Context(), Options{Root: root, Getenv: env(), Hostname: hostname("deadbeef0123")})
	if h.Container || h.Procfs != "/proc" || h.Sysfs != "/sys" || h.Rootfs != "/" || h.Name != "deadbeef0123" || len(h.Missing) != 0 {
		t.Errorf("got %+v", h)
	}
}

func TestFindSaysWhatIsNotMountedAndWhichFlagMountsIt(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(files map[string]string)
		want   []string
	}{
		{"nothing", func(f map[string]string) {
			for name := range f {
				if strings.HasPrefix(name, "host/") || strings.HasPrefix(name, "rootfs/") {
					delete(f, name)
				}
			}
		}, []string{"-v /proc:/host/proc:ro", "-v /sys:/host/sys:ro", "-v /:/rootfs:ro,rslave", "container's id"}},
		{"proc", func(f map[string]string) { delete(f, "host/proc/stat") }, []string{"-v /proc:/host/proc:ro"}},
		{"proc of the host by --pid=host", func(f map[string]string) {
			delete(f, "host/proc/stat")
			f["proc/2/comm"] = "kthreadd\n"
		}, nil},
		{"sys", func(f map[string]string) { delete(f, "host/sys/class/") }, []string{"-v /sys:/host/sys:ro"}},
		{"propagation", func(f map[string]string) {
			f["proc/self/mountinfo"] = "500 400 8:1 / /rootfs ro,relatime - ext4 /dev/sda1 rw\n"
		}, []string{"; write -v /:/rootfs:ro,rslave"}},
		{"propagation that Docker would refuse", func(f map[string]string) {
			f["proc/self/mountinfo"] = "500 400 8:1 / /rootfs ro,relatime - ext4 /dev/sda1 rw\n"
			f["host/proc/1/mountinfo"] = "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n"
		}, []string{"make-rshared"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			files := fullMounts()
			c.change(files)
			h := Find(t.Context(), Options{Root: tree(t, files), Getenv: env(), Hostname: hostname("0123456789ab")})
			if len(h.Missing) != len(c.want) {
				t.Fatalf("got %d sentences, want %d: %q", len(h.Missing), len(c.want), h.Missing)
			}
			for i, want := range c.want {
				if !strings.Contains(h.Missing[i], want) {
					t.Errorf("sentence %d is %q, want %q in it", i, h.Missing[i], want)
				}
			}
		})
	}
}

func TestFindUsesTheMountedRootForProcAndSysToo(t *testing.T) {
	h := Find(t.Context(), Options{Root: tree(t, map[string]string{
		"run/.containerenv":        "",
		"rootfs/etc/":              "",
		"rootfs/proc/stat":         "",
		"rootfs/proc/meminfo":      "",
		"rootfs/sys/devices/":      "",
		"rootfs/sys/class/":        "",
		"proc/self/mountinfo":      "",
		"rootfs/etc/hostname":      "->/srv/real-hostname",
		"rootfs/srv/real-hostname": "# a comment\nnas-by-link\n",
	}), Getenv: env(), Hostname: hostname("x")})
	if h.Procfs != "/rootfs/proc" || h.Sysfs != "/rootfs/sys" || h.Rootfs != "/rootfs" || h.Name != "nas-by-link" || len(h.Missing) != 0 {
		t.Errorf("got %+v", h)
	}
}

func TestHostFolderThatOnlyHoldsMountsIsNoRoot(t *testing.T) {
	files := fullMounts()
	delete(files, "rootfs/etc/hostname")
	h := Find(t.Context(), Options{Root: tree(t, files), Getenv: env(), Hostname: hostname("web-1")})
	if h.Rootfs != "/" || len(h.Missing) != 1 {
		t.Errorf("got %+v", h)
	}
	files["host/etc/hostname"] = "nas"
	h = Find(t.Context(), Options{Root: tree(t, files), Getenv: env(), Hostname: hostname("web-1")})
	if h.Rootfs != "/host" || h.Name != "nas" {
		t.Errorf("got %+v", h)
	}
}

func TestOrderOfTheSourcesOfTheName(t *testing.T) {
	docker := func(context.Context) (string, error) { return "docker-says", nil }
	o := Options{Name: "by-config", Getenv: env("HERMOD_HOST", "by-env"), Hostname: hostname("own"), DockerName: docker}
	files := fullMounts()
	o.Root = tree(t, files)
	check := func(want string) {
		t.Helper()
		if got := Find(t.Context(), o).Name; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	check("by-config")
	o.Name = ""
	check("by-env")
	o.Getenv = env()
	check("nas")
	files["rootfs/etc/hostname"] = "two words\n"
	o.Root = tree(t, files)
	check("docker-says")
	o.DockerName = func(context.Context) (string, error) { return "", errors.New("no socket") }
	check("own")
	o.Hostname = func() (string, error) { return "", errors.New("no name") }
	check("localhost")
}

func TestContainersAreRecognised(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 4)
	for _, c := range []struct {
		name  string
		files map[string]string
		env   []string
		want  bool
	}{
		{"plain", map[string]string{"proc/self/cgroup": "0::/user.slice/session-1.scope\n"}, nil, false},
		{"docker marker", map[string]string{".dockerenv": ""}, nil, true},
		{"podman marker", map[string]string{"run/.containerenv": ""}, nil, true},
		{"podman variable", nil, []string{"container", "podman"}, true},
		{"kubernetes variable", nil, []string{"KUBERNETES_SERVICE_HOST", "10.0.0.1"}, true},
		{"ecs variable", nil, []string{"ECS_CONTAINER_METADATA_URI_V4", "http://x"}, true},
		{"cgroup v1", map[string]string{"proc/self/cgroup": "5:memory:/docker/" + id + "\n"}, nil, true},
		{"systemd scope", map[string]string{"proc/self/cgroup": "0::/system.slice/docker-" + id + ".scope\n"}, nil, true},
		{"kubepods", map[string]string{"proc/self/cgroup": "0::/kubepods.slice/x/cri-containerd-" + id + ".scope\n"}, nil, true},
		{"scope of somebody else", map[string]string{"proc/self/cgroup": "0::/system.slice/run-" + id + ".scope\n"}, nil, false},
		{"machine made from an image", map[string]string{
			".dockerenv": "", "proc/2/comm": "kthreadd\n",
			"proc/self/mountinfo": "27 1 254:0 / / rw - ext4 /dev/vda rw\n", "proc/1/mountinfo": "27 1 254:0 / / rw - ext4 /dev/vda rw\n",
		}, []string{"KUBERNETES_SERVICE_HOST", "10.0.0.1"}, false},
		{"docker with --pid=host", map[string]string{
			".dockerenv": "", "proc/2/comm": "kthreadd\n",
			"proc/self/mountinfo": "390 300 0:50 / / rw - overlay overlay rw\n", "proc/1/mountinfo": "27 1 254:0 / / rw - ext4 /dev/vda rw\n",
		}, nil, true},
		{"lxc", map[string]string{"run/systemd/container": "lxc\n", "proc/self/cgroup": "0::/docker/x\n"}, []string{"container", "lxc"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := Find(t.Context(), Options{Root: tree(t, c.files), Getenv: env(c.env...), Hostname: hostname("h")})
			if h.Container != c.want {
				t.Errorf("container %v, want %v", h.Container, c.want)
			}
		})
	}
}

func TestInRootFollowsLinksAsTheMachineWould(t *testing.T) {
	root := tree(t, map[string]string{
		"etc/localtime":           "->/usr/share/zoneinfo/Europe/Berlin",
		"etc/os-release":          "->../usr/lib/os-release",
		"etc/up":                  "->../../../../outside",
		"etc/round":               "->round",
		"usr/share/zoneinfo/":     "",
		"usr/lib/os-release":      "ID=x",
		"lib64":                   "->usr/lib",
		"usr/share/zoneinfo/file": "",
	})
	for path, want := range map[string]string{
		"/etc/localtime":     "usr/share/zoneinfo/Europe/Berlin",
		"/etc/os-release":    "usr/lib/os-release",
		"/lib64/os-release":  "usr/lib/os-release",
		"/etc/up":            "outside",
		"/etc/./missing":     "etc/missing",
		"/../../etc/missing": "etc/missing",
		"/":                  "",
	} {
		got, err := InRoot(root, path)
		if err != nil || got != filepath.Join(root, want) {
			t.Errorf("%s: got %q, %v; want %q below the root", path, got, err, want)
		}
	}
	if _, err := InRoot(root, "/etc/round"); !errors.Is(err, errTooManyLinks) {
		t.Errorf("a link to itself gave %v", err)
	}
	if got, _ := InRoot("/", "/etc/x"); got != "/etc/x" {
		t.Errorf("got %q", got)
	}
}

func TestMemoryLimitIsTheSmallestOnTheWayUp(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		want  int64
	}{
		{"no cgroup", nil, 0},
		{"v2 in a container", map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "104857600\n"}, 104857600},
		{"v2 without limit", map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"}, 0},
		{"v2 parent is smaller", map[string]string{
			"proc/self/cgroup":                    "0::/a.slice/b.service\n",
			"sys/fs/cgroup/a.slice/memory.max":    "1000000\n",
			"sys/fs/cgroup/a.slice/b.service/x":   "",
			"sys/fs/cgroup/a.slice/b.service/y":   "",
			"sys/fs/cgroup/a.slice/b.service/max": "",
		}, 1000000},
		{"v2 path of the host", map[string]string{
			"proc/self/cgroup": "0::/system.slice/docker-1.scope\n", "sys/fs/cgroup/memory.max": "5000000\n",
		}, 5000000},
		{"v1", map[string]string{
			"proc/self/cgroup":                                      "9:cpu,memory:/docker/abc\n1:name=systemd:/docker/abc\n0::/\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes":            "9223372036854771712\n",
			"sys/fs/cgroup/memory/docker/memory.limit_in_bytes":     "9223372036854771712\n",
			"sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": "67108864\n",
		}, 67108864},
		{"v1 without limit", map[string]string{
			"proc/self/cgroup": "9:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
		}, 0},
		{"nonsense", map[string]string{"proc/self/cgroup": "memory\n::\n0::../..\n", "sys/fs/cgroup/memory.max": "-1\n"}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, ok := MemoryLimit(Options{Root: tree(t, c.files)})
			if got != c.want || ok != (c.want != 0) {
				t.Errorf("got %d, %v; want %d", got, ok, c.want)
			}
		})
	}
}

func TestFindOnThisMachineNamesFoldersThatExist(t *testing.T) {
	h := Find(t.Context(), Options{})
	for _, dir := range []string{h.Procfs, h.Sysfs, h.Rootfs} {
		if st, err := os.Stat(dir); err != nil || !st.IsDir() {
			t.Errorf("%s: %v", dir, err)
		}
	}
	if h.Name == "" || slices.Contains(h.Missing, "") {
		t.Errorf("got %+v", h)
	}
}
