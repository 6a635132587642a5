//go:build integration

package harness

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
)

// scriptImage runs a script of integration/images and gives the image that it prints for a variable.
func scriptImage(t testing.TB, script, variable string) string {
	t.Helper()
	build := exec.Command(filepath.Join(repository(t), "integration", "images", script))
	build.Env = append(os.Environ(), "HERMOD_CACHE="+cache(t))
	var said strings.Builder
	build.Stderr = &said
	out, err := build.Output()
	if err != nil {
		t.Fatalf("making the image: %v\n%s", err, said.String())
	}
	for line := range strings.Lines(string(out)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), variable+"="); ok {
			return name
		}
	}
	t.Fatalf("%s says nothing of %s: %s", script, variable, out)
	return ""
}

// Network makes a network that leaves with the test, and gives its name.
func Network(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("%s-net-%d", RunID(), containers.Add(1))
	MakeNetwork(t, name)
	t.Cleanup(func() {
		if _, err := try("docker", "network", "rm", name); err != nil && !strings.Contains(err.Error(), "not found") && !strings.Contains(err.Error(), "No such network") {
			t.Errorf("cleaning up: %v", err)
		}
	})
	return name
}

// MakeNetwork makes a network under a name that Network gave and RemoveNetwork took away.
func MakeNetwork(t testing.TB, name string) {
	t.Helper()
	command(t, "docker", "network", "create", "--label", "hermod-it="+RunID(), name)
}

// RemoveNetwork removes a network as docker compose down does, and says what Docker thinks of that.
func RemoveNetwork(name string) error {
	_, err := try("docker", "network", "rm", name)
	return err
}

// NoNetwork says that Docker has no network of this name.
func NoNetwork(name string) bool {
	_, err := try("docker", "network", "inspect", name)
	return err != nil
}

// NginxImage is the image of Nginx.
func NginxImage(t testing.TB) string {
	t.Helper()
	return scriptImage(t, "nginx", "NGINX_IMAGE")
}

// Nginx runs a real nginx in a container: options are those of docker run. Its page is at port 8080, /stub_status.
func Nginx(t testing.TB, name string, options ...string) *Container {
	t.Helper()
	run := append([]string{"run", "-d", "--name", name, "--label", "hermod-it=" + RunID()}, options...)
	removeAfter(t, name)
	return &Container{Name: name, ID: command(t, "docker", append(run, NginxImage(t))...), t: t}
}

// SlowNginx is Nginx that takes a second to stop, as databases do.
func SlowNginx(t testing.TB, name string, options ...string) *Container {
	t.Helper()
	run := append([]string{"run", "-d", "--name", name, "--label", "hermod-it=" + RunID()}, options...)
	removeAfter(t, name)
	run = append(run, NginxImage(t), "sh", "-c", "trap 'sleep 1; exit 0' TERM; nginx; while :; do sleep 0.1; done")
	return &Container{Name: name, ID: command(t, "docker", run...), t: t}
}

// ContainerName is one that no other container of this run has.
func ContainerName(kind string) string {
	return fmt.Sprintf("%s-%s-%d", RunID(), kind, containers.Add(1))
}

// Stop is docker stop.
func (c *Container) Stop() {
	c.t.Helper()
	command(c.t, "docker", "stop", "-t", "10", c.Name)
}

// Pause freezes all its processes, until Unpause.
func (c *Container) Pause() {
	c.t.Helper()
	command(c.t, "docker", "pause", c.Name)
}

// Unpause ends a Pause.
func (c *Container) Unpause() {
	c.t.Helper()
	command(c.t, "docker", "unpause", c.Name)
}

// IP is the container's address on a network; on the only one that it is on when no name is given.
func (c *Container) IP(network string) string {
	c.t.Helper()
	if network == "" {
		return command(c.t, "docker", "inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", c.Name)
	}
	return command(c.t, "docker", "inspect", "--format", fmt.Sprintf("{{(index .NetworkSettings.Networks %q).IPAddress}}", network), c.Name)
}

// Networks are the names of those that the container is on.
func (c *Container) Networks() []string {
	c.t.Helper()
	return strings.Fields(command(c.t, "docker", "inspect", "--format", "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}", c.Name))
}

// NginxExporter runs the real nginx-prometheus-exporter over a page.
func NginxExporter(t testing.TB, page string) (url string) {
	t.Helper()
	url, _ = NginxExporterProcess(t, page)
	return url
}

// NginxExporterProcess is NginxExporter, with its process.
func NginxExporterProcess(t testing.TB, page string) (url string, pid int) {
	t.Helper()
	s := &server{t: t, name: "nginx-prometheus-exporter", address: FreeAddress(t), ready: "/metrics"}
	program := built(t, "nginx_exporter")
	s.command = func() *exec.Cmd {
		return exec.Command(program, "--nginx.scrape-uri="+page, "--web.listen-address="+s.address)
	}
	s.run()
	return "http://" + s.address + "/metrics", s.process.cmd.Process.Pid
}

// Page is a page in the text format: families by name, and values by series.
type Page struct {
	Help, Type map[string]string
	Values     map[string]float64
}

// ReadPage fetches and reads a page in the text format.
func ReadPage(t testing.TB, url string) Page {
	t.Helper()
	body, err := get(url)
	if err != nil {
		t.Fatal(err)
	}
	page := Page{map[string]string{}, map[string]string{}, map[string]float64{}}
	p := textparse.NewPromParser(body, labels.NewSymbolTable(), false)
	for {
		entry, err := p.Next()
		if errors.Is(err, io.EOF) {
			return page
		}
		if err != nil {
			t.Fatalf("%s: %v\n%s", url, err, body)
		}
		switch entry {
		case textparse.EntryHelp:
			name, help := p.Help()
			page.Help[string(name)] = string(help)
		case textparse.EntryType:
			name, kind := p.Type()
			page.Type[string(name)] = string(kind)
		case textparse.EntrySeries:
			var l labels.Labels
			_, _, v := p.Series()
			p.Labels(&l)
			page.Values[l.String()] = v
		}
	}
}

// Connect is docker network connect.
func Connect(t testing.TB, network string, c *Container) {
	t.Helper()
	command(t, "docker", "network", "connect", network, c.Name)
}

// Disconnect is docker network disconnect.
func Disconnect(t testing.TB, network string, c *Container) {
	t.Helper()
	command(t, "docker", "network", "disconnect", "-f", network, c.Name)
}
