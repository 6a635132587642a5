package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"

	"github.com/hashicorp/hcl/v2"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
)

// builtinName is how the built-in config is called where a path would stand.
const builtinName = "built-in"

// situation is what `hermod run` without a config found: what the built-in config is made for, and what a newcomer is told.
type situation struct {
	host           component.Host
	listen, scrape chosen
	dataDir        string
	// docker is nil when the logs of containers can be read, else why they can't: what askDocker said last.
	docker    error
	askDocker func() error
	// terminal says that somebody would see the logs.
	terminal bool
}

// chosen is an address that the agent listens on.
type chosen struct {
	address string
	wanted  string // another one than address when that was taken
}

// builtinSource makes the built-in config anew for each reload: Docker may have come since. The addresses stay.
type builtinSource struct {
	app     *app
	options config.Options
	here    *situation
}

func (s *builtinSource) name() string { return builtinName }

func (s *builtinSource) load() (*config.File, hcl.Diagnostics) {
	s.here.docker = s.here.askDocker()
	return config.Parse(map[string][]byte{builtinName: []byte(s.here.config())}, s.options)
}

func (a *app) runBuiltin(ctx context.Context) error {
	here := a.look(ctx)
	return a.run(ctx, &builtinSource{app: a, options: a.configOptions(ctx), here: here}, here)
}

// lookAround finds out what there is to collect and where to show it.
func (a *app) lookAround(ctx context.Context) *situation {
	here := &situation{host: a.host(ctx, ""), terminal: a.stdoutTerminal}
	ip := "127.0.0.1"
	if here.host.Container {
		ip = "0.0.0.0" // what is published is the choice of whoever runs the container
	}
	if address, ok := a.getenv(listenVar); ok && address != "" {
		here.listen = chosen{address: address, wanted: address} // it was asked for: no other will do
	} else {
		here.listen = freeAddress(ip, 12345)
	}
	here.scrape = freeAddress(ip, 9100)
	here.dataDir, _ = a.getenv("HERMOD_DATA_DIR")
	here.askDocker = func() error { return a.dockerReadable(ctx) }
	here.docker = here.askDocker()
	return here
}

// freeAddress is the first port from wanted on that nobody listens on. When none of some is free, the start says what is wrong with the
// wanted one.
func freeAddress(ip string, wanted int) chosen {
	address := net.JoinHostPort(ip, strconv.Itoa(wanted))
	for port := wanted; port < wanted+50; port++ {
		candidate := net.JoinHostPort(ip, strconv.Itoa(port))
		l, err := net.Listen("tcp", candidate)
		if err == nil {
			_ = l.Close() // the agent opens it again in a moment
			return chosen{address: candidate, wanted: address}
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	return chosen{address: address, wanted: address}
}

// showsLogs says whether container logs go to the terminal.
func (s *situation) showsLogs() bool { return s.docker == nil && s.terminal }

// withoutLogs says why the logs that somebody would see are not read, or nil.
func (s *situation) withoutLogs() error {
	if s.docker == nil || !s.terminal {
		return nil
	}
	remedy, what := component.Remedy(s.docker)
	err := errors.New("logs of containers are not read: " + what)
	if remedy == "" {
		return err
	}
	return component.WithRemedy(err, remedy)
}

// config is the built-in config in this situation.
func (s *situation) config() string {
	var b strings.Builder
	b.WriteString("agent {\n")
	fmt.Fprintf(&b, "  listen = %s\n", hclString(s.listen.address))
	if s.dataDir != "" {
		fmt.Fprintf(&b, "  data_dir = %s\n", hclString(s.dataDir))
	}
	if s.terminal {
		b.WriteString("  log_level = \"error\"\n") // the terminal is for the summary, which has the warnings, and the logs of containers
	}
	b.WriteString("}\n\ninput \"host\" {}\n\n")
	fmt.Fprintf(&b, "output \"prometheus\" {\n  from   = input.host\n  listen = %s\n}\n", hclString(s.scrape.address))
	if s.showsLogs() {
		b.WriteString("\ninput \"docker_logs\" {}\n\noutput \"stdout\" {\n  from = input.docker_logs\n}\n")
	}
	return b.String()
}

// hclString writes a string of the config language.
func hclString(s string) string {
	q := strconv.Quote(s)
	return strings.NewReplacer("${", "$${", "%{", "%%{").Replace(q)
}

// summary is what a newcomer is told when the built-in config runs.
func (s *situation) summary() string {
	var b strings.Builder
	fmt.Fprintf(&b, "hermod %s runs its built-in config, because no config file was given.\n\n", version)
	row := func(name, text string) { fmt.Fprintf(&b, "  %-9s %s\n", name, text) }

	var mounted []string // where the machine shows in a container
	for _, m := range [][2]string{{s.host.Procfs, "/proc"}, {s.host.Sysfs, "/sys"}, {s.host.Rootfs, "/"}} {
		if m[0] != m[1] {
			mounted = append(mounted, m[0])
		}
	}
	where := ""
	if len(mounted) > 0 {
		where = " (from " + strings.Join(mounted, ", ") + ")"
	}
	row("metrics", fmt.Sprintf("of %s%s for Prometheus: http://%s/metrics", s.host.Name, where, reachable(s.scrape.address)))
	switch {
	case s.showsLogs():
		row("logs", "of Docker's containers come below, from now on")
	case s.docker == nil:
		row("logs", "of Docker's containers are not shown, because the output is no terminal")
	default:
		remedy, what := component.Remedy(s.docker)
		row("logs", "of containers are not read: "+what)
		if remedy != "" {
			row("", "what to do: "+remedy)
		}
	}
	row("status", fmt.Sprintf("http://%s/ or: hermod status%s", reachable(s.listen.address), s.addressFlag()))

	for _, c := range []struct {
		chosen
		flag string
	}{{s.scrape, "of metrics"}, {s.listen, "of status"}} {
		if c.address != c.wanted {
			row("note", fmt.Sprintf("port %s is in use on this machine, so the page %s took the next free one, %s", portOf(c.wanted), c.flag, portOf(c.address)))
		}
	}
	if s.terminal { // elsewhere the log has them
		for _, missing := range s.host.Missing {
			row("note", missing)
		}
	}
	if s.host.Container {
		publish := ""
		for _, c := range []chosen{s.scrape, s.listen} {
			if port := portOf(c.address); port != "" { // a unix socket has none
				publish += fmt.Sprintf(" -p %[1]s:%[1]s", port)
			}
		}
		row("note", "in a container it listens on all addresses; what you publish can be reached from outside: docker run"+publish+" ...")
	}
	if s.dataDir == "" {
		row("note", "nothing is kept on disk; HERMOD_DATA_DIR names a folder for it")
	}
	b.WriteString("\nTo send all this to Prometheus, Mimir or Loki, write a config file (agent.hcl.example shows how) and run: hermod run FILE\n\n")
	return b.String()
}

// addressFlag is what `hermod status` needs to find an agent that isn't where it looks first.
func (s *situation) addressFlag() string {
	if address := reachable(s.listen.address); address != defaultListen {
		return " --address " + address
	}
	return ""
}

// tell prints the summary.
func (s *situation) tell(w interface{ Write([]byte) (int, error) }) { fmt.Fprint(w, s.summary()) }

func portOf(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return port
}

// reachable is an address as somebody on this machine would write it.
func reachable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}
