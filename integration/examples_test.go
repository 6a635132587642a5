//go:build integration

package integration

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hermod-agent/hermod/integration/harness"
	"github.com/hermod-agent/hermod/integration/lines"
)

// The agents of the examples read the logs of every container of the machine. So the tests of other containers, which write a great deal, wait
// for these, while these run side by side.
func TestExamplesBringTheirData(t *testing.T) {
	harness.RequireDocker(t)
	box := startProjects(t)
	t.Run("nas", func(t *testing.T) { t.Parallel(); testNAS(t, "docker-compose.yml", box) })
	t.Run("nas, bridged", func(t *testing.T) { t.Parallel(); testNAS(t, "docker-compose.bridged.yml", box) })
	t.Run("alb", func(t *testing.T) { t.Parallel(); testALB(t) })
	t.Run("server", func(t *testing.T) { t.Parallel(); testServer(t) })
	t.Run("server, unit", func(t *testing.T) { t.Parallel(); testUnit(t) })
}

// ports are variables for a compose file, each with a free port.
func ports(t *testing.T, names ...string) (env []string) {
	for _, name := range names {
		_, port, err := net.SplitHostPort(harness.FreeAddress(t))
		if err != nil {
			t.Fatal(err)
		}
		env = append(env, name+"="+port)
	}
	return env
}

// backends are where an example's data can be asked for.
type backends struct {
	loki    string // address
	began   time.Time
	metrics func(expr string) ([]harness.Result, error)
}

// value waits until an expression gives one series of a value.
func (b backends) value(t *testing.T, expr string, want float64) {
	t.Helper()
	harness.Eventually(t, 90*time.Second, expr, func() (bool, string) {
		got, err := b.metrics(expr)
		return err == nil && len(got) == 1 && got[0].Value == want, fmt.Sprintf("%v, want %v: %v", got, want, err)
	})
}

// logs waits until a selector gives exactly what a container wrote.
func (b backends) logs(t *testing.T, selector string, s source) {
	t.Helper()
	harness.Eventually(t, 90*time.Second, "the lines of "+selector+" are in Loki", func() (bool, string) {
		got, err := harness.LokiCount(b.loki, selector, b.began)
		return err == nil && got >= lines.Count(s.lines), fmt.Sprintf("%d of %d: %v", got, lines.Count(s.lines), err)
	})
	tally, err := harness.LokiLines(b.loki, selector, b.began)
	if err != nil {
		t.Fatal(err)
	}
	if missing, repeated, unknown, examples := tally.Compare(lines.Want(s.Source, s.lines)); missing+repeated+unknown != 0 {
		t.Errorf("%s: %d lines are missing, %d are there again, %d were never written: %v", selector, missing, repeated, unknown, examples)
	}
}

func hostname(t *testing.T) string {
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// machine asserts the numbers of this machine under labels.
func (b backends) machine(t *testing.T, labels string) {
	t.Helper()
	b.value(t, "node_memory_MemTotal_bytes{job=\"node\","+labels+"}", 1024*field(t, "/proc/meminfo", "MemTotal:"))
	b.value(t, "node_boot_time_seconds{job=\"node\","+labels+"}", field(t, "/proc/stat", "btime"))
	b.value(t, "up{job=\"node\","+labels+"}", 1)
}

// projects are those of a NAS, with a MySQL or MariaDB and a Redis each on a network of its own.
type projects struct {
	env       []string // passwords, as the agent's compose file takes them
	databases []string // names of containers
	caches    []string
}

func startProjects(t *testing.T) projects {
	t.Helper()
	images, redis := harness.MySQLImages(t), harness.Redis(t)
	var box projects
	for name, image := range map[string]string{"lottery": "MYSQL_IMAGE", "wiki": "MARIADB_IMAGE"} {
		password := "of-the-" + name
		p := harness.ComposeUp(t, filepath.Join("..", "examples", "nas", "projects", name, "docker-compose.yml"),
			image+"="+images[image], "REDIS_IMAGE="+redis.Redis7, "ROOT_PASSWORD=not-used", "HERMOD_PASSWORD="+password)
		// The local images run no scripts of their own at the first start.
		db, client := p.Container("db"), "mysql"
		if name == "wiki" {
			client = "mariadb"
		}
		script, err := os.ReadFile(filepath.Join("..", "examples", "nas", "projects", name, "account.sh"))
		if err != nil {
			t.Fatal(err)
		}
		_, statements, _ := strings.Cut(string(script), "<<SQL\n")
		statements = strings.ReplaceAll(strings.TrimSuffix(strings.TrimSpace(statements), "SQL"), "$HERMOD_PASSWORD", password)
		harness.Eventually(t, 2*time.Minute, "the account is made in "+name, func() (bool, string) {
			out, err := db.Exec(client, "-uroot", "-e", "SELECT 1")
			return err == nil, fmt.Sprint(out, err)
		})
		if out, err := db.Exec(client, "-uroot", "-e", statements); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
		box.env = append(box.env, strings.ToUpper(name)+"_PASSWORD="+password)
		box.databases = append(box.databases, strings.TrimPrefix(db.Inspect("{{.Name}}"), "/"))
		box.caches = append(box.caches, strings.TrimPrefix(p.Container("cache").Inspect("{{.Name}}"), "/"))
	}
	return box
}

func testNAS(t *testing.T, file string, box projects) {
	env := append(harness.Images(t), ports(t, "HERMOD_PORT", "PROMETHEUS_PORT", "LOKI_PORT", "GRAFANA_PORT")...)
	env = append(append(env, box.env...), "HERMOD_IMAGE="+harness.AgentImage(t))
	// Grafana's image is nowhere to be had where no registry is: its files are read below.
	project := harness.ComposeServices(t, filepath.Join("..", "examples", "nas", file), []string{"hermod", "prometheus", "loki"}, env...)
	prometheus := project.Address("prometheus", 9090)
	b := backends{loki: project.Address("loki", 3100), began: time.Now(), metrics: func(expr string) ([]harness.Result, error) {
		return harness.PromQL(prometheus, "", expr)
	}}
	instance := fmt.Sprintf("instance=%q", hostname(t))
	b.machine(t, instance)
	s := startWriters(t, harness.Writer{Driver: "local", Options: plain("local"), Lines: 2000, Hold: true})[0]
	off := startWriters(t, harness.Writer{Lines: 100, Labels: map[string]string{"hermod.logs": "off"}})[0]
	b.logs(t, fmt.Sprintf("{%s, container=%q}", instance, s.Name), s)
	if got, err := harness.LokiCount(b.loki, fmt.Sprintf("{container=%q}", off.Name), b.began); err != nil || got != 0 {
		t.Errorf("Loki has %d lines of a container whose label says off: %v", got, err)
	}
	for _, name := range box.databases {
		b.value(t, fmt.Sprintf("mysql_up{job=\"mysql\",instance=%q}", name+":3306"), 1)
		b.value(t, fmt.Sprintf("mysql_global_variables_port{job=\"mysql\",instance=%q}", name+":3306"), 3306)
	}
	for _, name := range box.caches {
		b.value(t, fmt.Sprintf("redis_up{job=\"redis\",instance=%q}", name+":6379"), 1)
		b.value(t, fmt.Sprintf("count(redis_memory_used_bytes{job=\"redis\",instance=%q} > 0)", name+":6379"), 1)
		b.value(t, fmt.Sprintf("count(container_memory_working_set_bytes{job=\"cadvisor\",name=%q} > 0)", name), 1)
	}
	b.value(t, `sum(hermod_component_failing{job="hermod",`+instance+`})`, 0)
	status, err := project.Container("hermod").Exec("/usr/bin/hermod", "status")
	if err != nil || !strings.Contains(status, s.Name) {
		t.Errorf("hermod status as the README has it: %v\n%s", err, status)
	}
	panels(t, b, hostname(t))
	// The README's way to take a changed config.
	project.Container("hermod").Signal("HUP")
	harness.Eventually(t, 30*time.Second, "the config is read again", func() (bool, string) {
		said := project.Container("hermod").Logs()
		return strings.Contains(said, "reloaded"), said
	})
}

// dashboard is what the test looks at of a dashboard of Grafana.
type dashboard struct {
	UID, Title string
	Templating struct {
		List []struct{ Name, AllValue string }
	}
	Panels []struct {
		Title   string
		Targets []struct {
			Datasource struct{ Type, UID string }
			Expr       string
		}
	}
}

// empty are panels that a machine may have nothing for: pressure needs a newer kernel, and what divides by requests of a disk needs some.
var empty = []string{"Waiting for", "Time of a request", "Busy", "Throughput", "Requests", "Fullest filesystem", "Filesystems", "Room left", "TCP", "Paging"}

// panels asks for what each panel of the dashboards asks for, as Grafana would.
func panels(t *testing.T, b backends, instance string) {
	t.Helper()
	files, err := filepath.Glob("../examples/nas/grafana/dashboards/*.json")
	if err != nil || len(files) != 2 {
		t.Fatalf("dashboards: %v, %v", files, err)
	}
	sources, err := os.ReadFile("../examples/nas/grafana/provisioning/datasources/hermod.yaml")
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var d dashboard
		if err := json.Unmarshal(text, &d); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		// As Grafana begins: all of everything, and this machine where one has to be picked.
		values := []string{"$__rate_interval", "1m", "$__range", "10m", "$search", ""}
		for _, v := range d.Templating.List {
			all := v.AllValue
			if all == "" {
				all = instance
			}
			values = append(values, "$"+v.Name, all)
		}
		variables := strings.NewReplacer(values...)
		for _, p := range d.Panels {
			for _, target := range p.Targets {
				expr := variables.Replace(target.Expr)
				if strings.HasPrefix(expr, "{") { // lines, which only a range gives
					expr = "count_over_time(" + expr + "[10m])"
				}
				ask := b.metrics
				if target.Datasource.Type == "loki" {
					ask = func(expr string) ([]harness.Result, error) { return harness.PromQL(b.loki, "/loki", expr) }
				}
				if !strings.Contains(string(sources), "uid: "+target.Datasource.UID+"\n") {
					t.Errorf("%s, %s: no data source %q is provisioned", d.Title, p.Title, target.Datasource.UID)
				}
				asked++
				harness.Eventually(t, 90*time.Second, fmt.Sprintf("%s, %s: %s", d.Title, p.Title, expr), func() (bool, string) {
					got, err := ask(expr)
					return err == nil && (len(got) > 0 || slices.Contains(empty, p.Title) || strings.Contains(target.Expr, "error|fatal")), fmt.Sprint(got, err)
				})
			}
		}
	}
	if asked < 40 {
		t.Errorf("only %d queries were found in the dashboards", asked)
	}
}

func testALB(t *testing.T) {
	prometheus, loki := harness.NewReceiver(t, true), harness.NewRealLoki(t, harness.LokiTakesAll)
	env := append(harness.Images(t), ports(t, "HERMOD_PORT")...)
	env = append(env, "HERMOD_IMAGE="+harness.AgentImage(t), "METRICS_URL="+prometheus.URL(), "LOKI_URL="+loki.URL(), "INSTANCE=i-0123456789abcdef0", "SERVICE=checkout", "ZONE=eu-central-1a")
	harness.ComposeUp(t, filepath.Join("..", "examples", "alb", "docker-compose.yml"), env...)
	b := backends{loki: loki.Address(), began: time.Now(), metrics: prometheus.Query}
	const labels = `instance="i-0123456789abcdef0", service="checkout", zone="eu-central-1a"`
	b.machine(t, labels)
	checks := startWriters(t, harness.Writer{Source: "ELB-HealthChecker", Lines: 100})[0]
	s := startWriters(t, harness.Writer{Lines: 2000})[0]
	b.logs(t, fmt.Sprintf("{%s, container=%q}", labels, s.Name), s)
	if got, err := harness.LokiCount(b.loki, fmt.Sprintf("{container=%q} |= `ELB-HealthChecker`", checks.Name), b.began); err != nil || got != 0 {
		t.Errorf("Loki has %d lines of the load balancer's checks: %v", got, err)
	}
}

// The config of one of twenty servers, under the user and the groups of its unit.
func testServer(t *testing.T) {
	prometheus, loki, listen := harness.NewReceiver(t, true), harness.NewRealLoki(t, harness.LokiTakesAll), harness.FreeAddress(t)
	dir := harness.Dir(t)
	syslog := filepath.Join(dir, "syslog")
	writeFile(t, syslog, "one\ntwo\n")
	const adm = 4 // Debian's
	if err := os.Chown(syslog, 0, adm); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(syslog, 0o640); err != nil {
		t.Fatal(err)
	}
	environment, err := os.ReadFile("../examples/server/environment")
	if err != nil {
		t.Fatal(err)
	}
	var env string
	for line := range strings.Lines(string(environment)) {
		switch name, _, _ := strings.Cut(line, "="); name {
		case "MIMIR_URL":
			line = name + "=" + prometheus.URL() + "\n"
		case "LOKI_URL":
			line = name + "=" + loki.URL() + "\n"
		}
		env += line
	}
	envFile := filepath.Join(dir, "environment")
	writeFile(t, envFile, env)
	example, err := filepath.Abs("../examples/server")
	if err != nil {
		t.Fatal(err)
	}
	agent := harness.StartContainer(t, harness.AgentImage(t), []string{
		"--user", "65532:65532", "--group-add", strconv.Itoa(adm), "--group-add", strconv.Itoa(int(harness.DockerGroup(t))), "--cap-drop", "ALL",
		"--read-only", "--network", "host", "--mount", volume, "--env-file", envFile, "-e", "HERMOD_LISTEN=" + listen,
		"-v", example + ":/etc/hermod:ro", "-v", dir + ":/var/log:ro", "-v", harness.DockerSocket + ":" + harness.DockerSocket + ":ro",
	}, "run", "/etc/hermod")
	b := backends{loki: loki.Address(), began: time.Now(), metrics: prometheus.Query}
	labels := fmt.Sprintf("instance=%q, site=\"frankfurt\", role=\"web\"", hostname(t))
	b.machine(t, labels)
	harness.Eventually(t, time.Minute, "the system's log is in Loki", func() (bool, string) {
		got, err := harness.LokiCount(b.loki, fmt.Sprintf("{%s, job=\"files\", filename=\"/var/log/syslog\"}", labels), b.began)
		return err == nil && got == 2, fmt.Sprint(got, err)
	})
	s := startWriters(t, harness.Writer{Lines: 2000})[0]
	b.logs(t, fmt.Sprintf("{%s, job=\"docker\", container=%q}", labels, s.Name), s)
	if said := agent.Logs(); strings.Contains(said, "change-me") {
		t.Errorf("the password is in the agent's log:\n%s", said)
	}
}

// The unit of the server's example, installed as its README says, under a real systemd.
func testUnit(t *testing.T) {
	machine := harness.StartContainer(t, harness.SystemdImage(t), []string{
		"--tmpfs", "/run", "--tmpfs", "/run/lock", "-v", "/sys/fs/cgroup:/sys/fs/cgroup:ro", "--cap-add", "SYS_ADMIN", "-e", "container=docker",
		"-v", harness.DockerSocket + ":" + harness.DockerSocket,
	})
	harness.Eventually(t, 2*time.Minute, "systemd has started", func() (bool, string) {
		state, err := machine.Exec("systemctl", "is-system-running")
		return state == "running", fmt.Sprint(state, err)
	})
	machine.CopyIn("../examples/server", "/root/server")
	machine.CopyIn(harness.Binary(t), "/root/server/hermod")
	run := func(script string) string {
		t.Helper()
		out, err := machine.Exec("sh", "-ec", "cd /root/server\n"+script)
		if err != nil {
			t.Fatalf("%s: %v", script, err)
		}
		return out
	}
	readme, err := os.ReadFile("../examples/server/README.md")
	if err != nil {
		t.Fatal(err)
	}
	// What the README has people type, and before it what a machine has: a log for the group adm, and a group that may use Docker.
	steps := commands(string(readme))
	if len(steps) < 8 {
		t.Fatalf("only %d commands were found in the README: %q", len(steps), steps)
	}
	run(fmt.Sprintf("groupadd -o -g %d docker\necho hello >/var/log/syslog\nchown root:adm /var/log/syslog\nchmod 640 /var/log/syslog", harness.DockerGroup(t)))
	// Nothing listens there: where the data goes is the other tests' matter.
	run(`sed -i 's,https://[a-z.]*example.com,http://127.0.0.1:9,' environment`)
	var last []string
	for _, step := range steps {
		if strings.HasPrefix(step, "systemctl") || strings.HasPrefix(step, "hermod") {
			last = append(last, step)
			continue
		}
		run(step)
	}
	for _, step := range last[:2] {
		run(step)
	}
	var status string
	harness.Eventually(t, time.Minute, "the agent reads the log and asks Docker", func() (bool, string) {
		status = run("hermod status")
		return strings.Contains(status, "/var/log/syslog: following") && strings.Contains(status, "input.docker_logs") && !strings.Contains(status, "permission"), status
	})
	if strings.Contains(status, "change-me") {
		t.Errorf("the password is in the status:\n%s", status)
	}
	pid := run("systemctl show -p MainPID --value hermod")

	run(`cp /etc/hermod/agent.hcl agent.hcl.whole; echo 'input "hots" {}' >>/etc/hermod/agent.hcl`)
	if out, err := machine.Exec("systemctl", "reload", "hermod"); err == nil {
		t.Errorf("a broken config was taken: %s", out)
	}
	if said := run("journalctl -u hermod --no-pager"); !strings.Contains(said, `did you mean "host"`) || !strings.Contains(said, "/etc/hermod/agent.hcl:") {
		t.Errorf("the journal doesn't name the line:\n%s", said)
	}
	run("cp agent.hcl.whole /etc/hermod/agent.hcl; systemctl reload hermod")
	harness.Eventually(t, 30*time.Second, "the config is read again", func() (bool, string) {
		said := run("journalctl -u hermod --no-pager")
		return strings.Contains(said, "msg=reloaded"), said
	})
	if now := run("systemctl show -p MainPID --value hermod"); now != pid || pid == "0" {
		t.Errorf("process %s became %s", pid, now)
	}
	run("systemctl stop hermod")
	if result := run("systemctl show -p Result -p ExecMainStatus hermod"); !strings.Contains(result, "Result=success") || !strings.Contains(result, "ExecMainStatus=0") {
		t.Errorf("after a stop: %s\n%s", result, run("journalctl -u hermod --no-pager | tail -20"))
	}
}

// commands are the indented lines of the section on how to install.
func commands(readme string) (out []string) {
	_, section, _ := strings.Cut(readme, "## Install it")
	section, _, _ = strings.Cut(section, "\n## ")
	for line := range strings.Lines(section) {
		if command, ok := strings.CutPrefix(line, "    "); ok {
			out = append(out, strings.TrimSpace(command))
		}
	}
	return out
}
