//go:build integration

package integration

import (
	"bytes"
	"debug/buildinfo"
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hermod-agent/hermod/integration/harness"
)

const maxImage = 30_000_000 // bytes

func TestTheImageHoldsTheBinaryAndLittleElse(t *testing.T) {
	harness.RequireDocker(t)
	t.Parallel()
	files := harness.ImageFiles(t, harness.AgentImage(t))
	var size int
	var paths []string
	for path, f := range files {
		size += len(f.Content)
		if !f.FileInfo().IsDir() {
			paths = append(paths, path)
			if f.FileInfo().Mode().Perm()&0o444 != 0o444 || f.Uid != 0 || f.FileInfo().Mode().Perm()&0o022 != 0 {
				t.Errorf("%s has mode %v and belongs to %d: everybody has to read it, and root alone may change it", path, f.FileInfo().Mode(), f.Uid)
			}
		}
	}
	slices.Sort(paths)
	want := []string{"/etc/group", "/etc/passwd", "/etc/ssl/certs/ca-certificates.crt", "/usr/bin/hermod", "/usr/share/doc/hermod/LICENSE"}
	if !slices.Equal(paths, want) {
		t.Errorf("the image has %v, want %v", paths, want)
	}
	if size > maxImage {
		t.Errorf("the image has %d bytes, more than %d", size, maxImage)
	}
	t.Logf("the image has %.1f MB", float64(size)/1e6)
	if data := files["/var/lib/hermod"]; data.Uid != harness.Unprivileged || data.Gid != 0 || data.FileInfo().Mode().Perm() != 0o770 {
		t.Errorf("/var/lib/hermod belongs to %d:%d with mode %v", data.Uid, data.Gid, data.FileInfo().Mode())
	}
	for _, dir := range []string{"/var/lib", "/etc/hermod", "/usr/bin"} {
		if f := files[dir]; f.Uid != 0 || f.FileInfo().Mode().Perm() != 0o755 {
			t.Errorf("%s belongs to %d with mode %v", dir, f.Uid, f.FileInfo().Mode())
		}
	}
	if user := fmt.Sprintf("hermod:x:%d:%d:", harness.Unprivileged, harness.Unprivileged); !strings.Contains(string(files["/etc/passwd"].Content), user) {
		t.Errorf("/etc/passwd has no %s", user)
	}
	if n := bytes.Count(files["/etc/ssl/certs/ca-certificates.crt"].Content, []byte("BEGIN CERTIFICATE")); n < 50 {
		t.Errorf("only %d certificates of authorities", n)
	}
}

// A second build, at another place of another machine's filesystem, of the same sources by the same compiler.
func TestTheImagesBinaryIsReproducible(t *testing.T) {
	harness.RequireDocker(t)
	t.Parallel()
	sources := harness.Sources(t)
	built := harness.ImageFiles(t, harness.AgentImage(t))["/usr/bin/hermod"].Content
	info, err := buildinfo.Read(bytes.NewReader(built))
	if err != nil {
		t.Fatal(err)
	}
	again := harness.Build(t, sources, info.GoVersion)
	if !bytes.Equal(built, again) {
		kept := filepath.Join(os.TempDir(), "hermod-it-not-reproducible")
		for name, content := range map[string][]byte{"-image": built, "-here": again} {
			if err := os.WriteFile(kept+name, content, 0o755); err != nil {
				t.Error(err)
			}
		}
		t.Errorf("two builds of the same sources differ (%d and %d bytes): compare %s-*", len(built), len(again), kept)
	}
	for _, s := range info.Settings {
		if strings.HasPrefix(s.Key, "vcs") {
			t.Errorf("the binary says %s=%s, which a copy of the sources doesn't know", s.Key, s.Value)
		}
	}
}

func TestTheImageIsMadeForBothArchitectures(t *testing.T) {
	harness.RequireDocker(t)
	t.Parallel()
	machines := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}
	other := "arm64"
	if runtime.GOARCH == other {
		other = "amd64"
	}
	// Where nothing is said it is for the compiler's own.
	images := map[string]string{
		runtime.GOARCH: harness.AgentImage(t),
		other:          harness.ImageOf(t, harness.Sources(t), other, "TARGETARCH="+other, "TARGETOS=linux"),
	}
	for arch, want := range machines {
		files := harness.ImageFiles(t, images[arch])
		binary, err := elf.NewFile(bytes.NewReader(files["/usr/bin/hermod"].Content))
		if err != nil {
			t.Fatal(err)
		}
		if binary.Machine != want {
			t.Errorf("the image for %s has a binary for %v", arch, binary.Machine)
		}
		if section := binary.Section(".interp"); section != nil {
			t.Errorf("the binary for %s isn't static", arch)
		}
	}
}

// powers are the two ways to run the image, as options of docker run.
func powers(t *testing.T) map[string][]string {
	none := []string{"--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--read-only"}
	return map[string][]string{
		"root":         append([]string{"--user", "0:0", "--cap-add", "DAC_READ_SEARCH"}, none...),
		"unprivileged": append([]string{"--user", "65532:65532", "--group-add", strconv.Itoa(int(harness.DockerGroup(t)))}, none...),
	}
}

// mounts show the machine to the container; rslave is refused where the machine's root isn't shared.
var mounts = []string{"-v", "/proc:/host/proc:ro", "-v", "/sys:/host/sys:ro", "-v", "/:/rootfs:ro"}

// volume makes a volume for the agent's data, which leaves with the test's containers.
const volume = "type=volume,target=/var/lib/hermod"

func TestTheImageReadsLogsInBothWaysToRunIt(t *testing.T) {
	harness.RequireDocker(t)
	image := harness.AgentImage(t)
	for name, options := range powers(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			loki, listen := harness.NewLoki(t), harness.FreeAddress(t)
			config := filepath.Join(harness.Dir(t), "agent.hcl")
			writeFile(t, config, fmt.Sprintf("agent {\n  data_dir = \"/var/lib/hermod\"\n  listen = %q\n}\n%s", listen, dockerToLoki(loki)))
			agent := harness.StartContainer(t, image, slices.Concat(options, mounts, []string{
				"--network", "host", "--mount", volume, "-v", config + ":/etc/hermod/agent.hcl:ro", "-e", "HERMOD_LISTEN=" + listen,
				"-v", harness.DockerSocket + ":" + harness.DockerSocket + ":ro", "--health-interval", "1s",
			}), "run", "/etc/hermod/agent.hcl")
			harness.Eventually(t, time.Minute, "the container is healthy", func() (bool, string) {
				health := agent.Inspect("{{.State.Health.Status}}")
				return health == "healthy", health
			})
			harness.Eventually(t, time.Minute, "the agent is ready", func() (bool, string) {
				_, err := harness.Fetch("http://" + listen + "/-/ready")
				return err == nil, fmt.Sprint(err)
			})
			sources := startWriters(t, harness.Writer{Driver: "json-file", Options: plain("json-file"), Lines: 5000, Hold: true})
			awaitAll(t, loki, time.Minute, sources...)
			status, err := agent.Exec("/usr/bin/hermod", "status")
			if err != nil {
				t.Fatal(err)
			}
			via := "via Docker API"
			if name == "root" {
				via = "via file"
			}
			if !strings.Contains(status, sources[0].Name) || !tellsVia(status, sources[0].Name, via) {
				t.Errorf("%s is not read %s:\n%s", sources[0].Name, via, status)
			}
			// The data folder can be written to, and outlives a restart: nothing is read again.
			agent.Restart()
			more := startWriters(t, harness.Writer{Driver: "json-file", Options: plain("json-file"), Lines: 200})
			awaitAll(t, loki, time.Minute, more...)
			exactly(t, loki, sources[0])
			exactly(t, loki, more[0])
		})
	}
}

// tellsVia says whether the line of a container in the status says how it is read.
func tellsVia(status, container, via string) bool {
	for line := range strings.Lines(status) {
		if strings.Contains(line, container+":") {
			return strings.Contains(line, via)
		}
	}
	return false
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestTheImageReadsLogsThroughASocketProxy(t *testing.T) {
	harness.RequireDocker(t)
	t.Parallel()
	loki, proxy, listen := harness.NewLoki(t), harness.NewDockerProxy(t), harness.FreeAddress(t)
	config := filepath.Join(harness.Dir(t), "agent.hcl")
	writeFile(t, config, fmt.Sprintf("agent {\n  data_dir = \"/var/lib/hermod\"\n  listen = %q\n}\n%s", listen, dockerToLoki(loki)))
	harness.StartContainer(t, harness.AgentImage(t), []string{
		"--user", "65532:65532", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--read-only", "--mount", volume,
		"--network", "host", "-e", "DOCKER_HOST=" + proxy.URL(), "-v", config + ":/etc/hermod/agent.hcl:ro",
	}, "run", "/etc/hermod/agent.hcl")
	harness.Eventually(t, time.Minute, "the agent is ready", func() (bool, string) {
		_, err := harness.Fetch("http://" + listen + "/-/ready")
		return err == nil, fmt.Sprint(err)
	})
	sources := startWriters(t, harness.Writer{Driver: "json-file", Lines: 2000}, harness.Writer{Driver: "local", Options: plain("local"), Lines: 2000})
	awaitAll(t, loki, time.Minute, sources...)
	for _, s := range sources {
		exactly(t, loki, s)
	}
	if passed, refused := proxy.Requests(); passed == 0 || len(refused) != 0 {
		t.Errorf("the proxy passed %d requests and refused %v", passed, refused)
	}
}

// What the agent tells of the machine from inside a container is what it tells outside: the same series, the same constants, and counters
// between those of a look before and a look after.
func TestTheImageShowsTheMachineAsFromOutside(t *testing.T) {
	harness.RequireDocker(t)
	image := harness.AgentImage(t)
	for name, options := range powers(t) {
		t.Run(name, func(t *testing.T) {
			page := harness.FreeAddress(t)
			o := harness.AgentOptions{Config: scrapePage(page)}
			if name != "root" {
				o.User = harness.Unprivileged
			}
			outside := harness.NewAgent(t, o)
			outside.Start()
			outside.AwaitReady()
			inside := harness.StartContainer(t, image, slices.Concat(options, mounts, []string{"-p", "127.0.0.1::9100"}))
			address := inside.Published("9100/tcp")
			// A first look, so that both have been read before: some collectors tell of what moves between two.
			looks := [3]map[string]float64{}
			harness.Eventually(t, 30*time.Second, "the page is there", func() (bool, string) {
				_, err := harness.Fetch("http://" + address + "/metrics")
				return err == nil, fmt.Sprint(err)
			})
			// Containers of other tests come and go, and their mounts with them: a look without such a change is wanted.
			harness.Eventually(t, time.Minute, "both tell the same", func() (bool, string) {
				for i, where := range []string{page, address, page} {
					text, err := harness.Fetch("http://" + where + "/metrics")
					if err != nil {
						return false, err.Error()
					}
					looks[i] = samples(t, text)
				}
				faults := differences(looks[0], looks[1], looks[2])
				return len(faults) == 0, strings.Join(faults[:min(len(faults), 20)], "\n")
			})
			if n := len(looks[1]); n < 200 {
				t.Errorf("only %d series", n)
			}
		})
	}
}

// samples are the values of a scrape page by their series, without those that say how a collection went, and without the network
// devices of containers.
func samples(t *testing.T, page string) map[string]float64 {
	out := map[string]float64{}
	for line := range strings.Lines(page) {
		series, value, ok := strings.Cut(strings.TrimSpace(line), "} ")
		if series += "}"; !ok {
			series, value, _ = strings.Cut(strings.TrimSpace(line), " ")
		}
		if !strings.HasPrefix(series, "node_") || strings.HasPrefix(series, "node_scrape_collector_duration") ||
			strings.Contains(series, `device="veth`) || strings.Contains(series, `device="br-`) {
			continue
		}
		out[series] = parse(t, value)
	}
	return out
}

// differences are the series whose value between two looks isn't what they allow.
func differences(before, between, after map[string]float64) []string {
	var faults []string
	for series, low := range before {
		high, still := after[series]
		if !still {
			faults = append(faults, "gone meanwhile: "+series)
			continue
		}
		value, ok := between[series]
		name, _, _ := strings.Cut(series, "{")
		switch {
		case !ok:
			faults = append(faults, "missing inside: "+series)
		case strings.Contains(series, `mode="iowait"`): // the kernel lets it run backwards
		case (strings.HasSuffix(name, "_total") || low == high && constant(name)) && (value < low || value > high):
			faults = append(faults, fmt.Sprintf("%s is %v inside, and %v and %v outside before and after", series, value, low, high))
		}
	}
	for series := range between {
		if _, ok := before[series]; !ok {
			faults = append(faults, "only inside: "+series)
		}
	}
	slices.Sort(faults)
	return faults
}

// constant says whether a metric doesn't change while a machine runs on as it is.
func constant(name string) bool {
	return strings.HasSuffix(name, "_info") || slices.Contains([]string{
		"node_boot_time_seconds", "node_memory_MemTotal_bytes", "node_memory_SwapTotal_bytes", "node_filesystem_size_bytes", "node_filesystem_files",
		"node_filesystem_readonly", "node_filesystem_device_error", "node_filefd_maximum", "node_os_version", "node_time_zone_offset_seconds",
		"node_scrape_collector_success",
	}, name)
}
