//go:build integration

package harness

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// MySQLImages makes or finds the local images of MySQL and MariaDB: MYSQL_IMAGE, MARIADB_IMAGE and MARIADB11_IMAGE.
func MySQLImages(t testing.TB) map[string]string {
	t.Helper()
	RequireDocker(t)
	build := exec.Command(filepath.Join(repository(t), "integration", "images", "mysql"))
	build.Env = append(os.Environ(), "HERMOD_CACHE="+cache(t))
	var stderr bytes.Buffer
	build.Stderr = &stderr
	out, err := build.Output()
	if err != nil {
		t.Fatalf("making images: %v\n%s", err, &stderr)
	}
	images := map[string]string{}
	for _, line := range strings.Fields(string(out)) {
		name, image, _ := strings.Cut(line, "=")
		images[name] = image
	}
	return images
}

// MySQLNetwork makes a bridge of the test's own; the containers on it are reached by their addresses. It leaves with the test.
func MySQLNetwork(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("%s-net-%d", RunID(), containers.Add(1))
	command(t, "docker", "network", "create", "--label", "hermod-it="+RunID(), name)
	t.Cleanup(func() {
		if _, err := try("docker", "network", "rm", name); err != nil {
			t.Errorf("cleaning up: %v", err)
		}
	})
	return name
}

// besideMySQL runs a container on a network and gives it with its address. It leaves with the test.
func besideMySQL(t testing.TB, kind, image, network string, options []string, args ...string) (c *Container, ip string) {
	t.Helper()
	name := fmt.Sprintf("%s-%s-%d", RunID(), kind, containers.Add(1))
	removeAfter(t, name)
	run := append([]string{"run", "-d", "--name", name, "--network", network, "--label", "hermod-it=" + RunID()}, options...)
	c = &Container{Name: name, ID: command(t, "docker", append(append(run, image), args...)...), t: t}
	return c, command(t, "docker", "inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", name)
}

// MySQL is a server of MySQL or MariaDB in a container.
type MySQL struct {
	*Container
	client []string // the program, with where the server's socket is
	Host   string   // its address
}

// StartMySQL runs a server on a network, with flags besides those of its image. Await waits until it answers.
func StartMySQL(t testing.TB, image, network string, flags ...string) *MySQL {
	t.Helper()
	return StartLabelledMySQL(t, image, network, nil, flags...)
}

// StartLabelledMySQL is StartMySQL for a container with labels.
func StartLabelledMySQL(t testing.TB, image, network string, labels []string, flags ...string) *MySQL {
	t.Helper()
	var options []string
	for _, l := range labels {
		options = append(options, "--label", l)
	}
	return startMySQL(t, image, network, options, flags...)
}

// StartMySQLWithSocket is StartMySQL for a server whose socket is on this machine.
func StartMySQLWithSocket(t testing.TB, image, network string, flags ...string) (m *MySQL, socket string) {
	t.Helper()
	dir := Dir(t)
	if err := os.Chmod(dir, 0o777); err != nil { // the server runs as somebody else
		t.Fatal(err)
	}
	socket = filepath.Join(dir, "mysqld.sock")
	m = startMySQL(t, image, network, []string{"-v", dir + ":" + dir}, append(flags, "--socket="+socket)...)
	m.client = append(m.client, "--socket="+socket)
	return m, socket
}

func startMySQL(t testing.TB, image, network string, options []string, flags ...string) *MySQL {
	t.Helper()
	m := &MySQL{client: []string{"mysql"}}
	if strings.Contains(image, "mariadb") {
		m.client = []string{"mariadb"}
	}
	m.Container, m.Host = besideMySQL(t, m.client[0], image, network, options, flags...)
	return m
}

// Await waits until the server answers.
func (m *MySQL) Await() {
	m.t.Helper()
	Eventually(m.t, 2*time.Minute, m.Name+" answers", func() (bool, string) {
		out, err := m.try("SELECT 1")
		return err == nil, fmt.Sprint(out, err)
	})
}

// Address is host:port.
func (m *MySQL) Address() string { return m.Host + ":3306" }

// SQL runs statements as root and gives what they print: a row a line, with tabs.
func (m *MySQL) SQL(statements string) string {
	m.t.Helper()
	out, err := m.try(statements)
	if err != nil {
		m.t.Fatalf("%s: %s: %v\n%s", m.Name, statements, err, out)
	}
	return out
}

// Copy copies a file of the server's container to a path of this machine.
func (m *MySQL) Copy(from, to string) {
	m.t.Helper()
	command(m.t, "docker", "cp", m.Name+":"+from, to)
}

func (m *MySQL) try(statements string) (string, error) {
	args := append([]string{"exec", "-i", m.Name}, m.client...)
	cmd := exec.Command("docker", append(args, "-uroot", "--batch", "--skip-column-names")...)
	cmd.Stdin = strings.NewReader(statements)
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// MysqldExporter runs Debian's mysqld_exporter on a network, which asks servers as this user, and gives the address of its page of a server.
func MysqldExporter(t testing.TB, image, network, user, password string, flags ...string) (page func(*MySQL) string) {
	t.Helper()
	page, _ = MysqldExporterIn(t, image, network, user, password, flags...)
	return page
}

// MysqldExporterIn is MysqldExporter, with the container that it runs in.
func MysqldExporterIn(t testing.TB, image, network, user, password string, flags ...string) (page func(*MySQL) string, exporter *Container) {
	t.Helper()
	options := []string{"--entrypoint", "prometheus-mysqld-exporter", "-e", "MYSQLD_EXPORTER_PASSWORD=" + password}
	exporter, ip := besideMySQL(t, "mysqld-exporter", image, network, options, append([]string{"--mysqld.username=" + user, "--config.my-cnf="}, flags...)...)
	Eventually(t, time.Minute, exporter.Name+" answers", func() (bool, string) {
		_, err := Fetch("http://" + ip + ":9104/")
		return err == nil, fmt.Sprint(err)
	})
	return func(m *MySQL) string { return "http://" + ip + ":9104/probe?target=" + m.Address() }, exporter
}
