//go:build integration

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// collectors are what the samples case collects of the machine: those that Hermod and node_exporter both have.
var collectors = []string{
	"cpu", "diskstats", "filefd", "filesystem", "loadavg", "meminfo", "netdev", "netstat", "pressure", "sockstat", "stat", "time", "uname", "vmstat",
}

// sampleInterval is so short that a run of half a minute has something to count.
const sampleInterval = time.Second

// collector is what collects this machine's metrics and pushes them to the sink: one process, or a few that do it together.
type collector struct {
	name string
	// commands writes what the programs read into dir and gives their command lines.
	commands func(ctx context.Context, sink, dir string) ([][]string, error)
}

func hermodCollector(name, binary string) collector {
	return collector{name: name, commands: func(_ context.Context, sink, dir string) ([][]string, error) {
		config := filepath.Join(dir, "agent.hcl")
		return [][]string{{binary, "run", config}}, os.WriteFile(config, fmt.Appendf(nil, `
agent {
  data_dir = %q
  listen   = "off"
  interval = %q
}
input "host" {
  collect = ["%s"]
}
output "remote_write" {
  from = input.host
  url  = "http://%s/api/v1/write"
}
`, filepath.Join(dir, "data"), sampleInterval, strings.Join(collectors, `", "`), sink), 0o600)
	}}
}

// scrapeConfig is read by Prometheus and vmagent alike.
func scrapeConfig(exporter string) string {
	return fmt.Sprintf("global:\n  scrape_interval: %s\n  scrape_timeout: %[1]s\nscrape_configs:\n  - job_name: node\n    static_configs:\n      - targets: [%q]\n",
		sampleInterval, exporter)
}

// prometheusCollector is a Prometheus agent that scrapes a node_exporter beside it.
func prometheusCollector(binary, exporter string) collector {
	return collector{name: "node_exporter + prometheus agent", commands: func(ctx context.Context, sink, dir string) ([][]string, error) {
		page, command, err := exporterCommand(ctx, exporter)
		if err != nil {
			return nil, err
		}
		agent := "--agent"
		if version, err := exec.CommandContext(ctx, binary, "--version").CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%s --version: %w", binary, err)
		} else if strings.Contains(string(version), "version 2.") {
			agent = "--enable-feature=agent"
		}
		listen, err := freeAddress(ctx)
		if err != nil {
			return nil, err
		}
		config := filepath.Join(dir, "prometheus.yml")
		text := scrapeConfig(page) + "remote_write:\n  - url: http://" + sink + "/api/v1/write\n"
		return [][]string{command, {binary, agent, "--config.file=" + config, "--storage.agent.path=" + filepath.Join(dir, "data"), "--web.listen-address=" + listen}},
			os.WriteFile(config, []byte(text), 0o600)
	}}
}

// vmagentCollector is a vmagent that scrapes a node_exporter beside it.
func vmagentCollector(binary, exporter string) collector {
	return collector{name: "node_exporter + vmagent", commands: func(ctx context.Context, sink, dir string) ([][]string, error) {
		page, command, err := exporterCommand(ctx, exporter)
		if err != nil {
			return nil, err
		}
		config := filepath.Join(dir, "scrape.yml")
		return [][]string{command, {
				binary, "-promscrape.config=" + config, "-remoteWrite.url=http://" + sink + "/api/v1/write", "-remoteWrite.forcePromProto",
				"-remoteWrite.tmpDataPath=" + filepath.Join(dir, "data"), "-httpListenAddr=127.0.0.1:0",
			}},
			os.WriteFile(config, []byte(scrapeConfig(page)), 0o600)
	}}
}

// exporterCommand is a node_exporter with our collectors alone.
func exporterCommand(ctx context.Context, binary string) (page string, command []string, err error) {
	if page, err = freeAddress(ctx); err != nil {
		return "", nil, err
	}
	command = []string{binary, "--web.listen-address=" + page, "--web.disable-exporter-metrics", "--collector.disable-defaults"}
	for _, c := range collectors {
		command = append(command, "--collector."+c)
	}
	return page, command, nil
}

func freeAddress(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// measureSamples runs a collector for a while and gives what its processes cost together and what came of it.
func measureSamples(ctx context.Context, c collector, sink, dir string, duration time.Duration) (f figures, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return f, err
	}
	commands, err := c.commands(ctx, sink, dir)
	if err != nil {
		return f, err
	}
	if err := post(ctx, "http://"+sink+"/reset"); err != nil {
		return f, err
	}
	log, err := os.Create(filepath.Join(dir, "output"))
	if err != nil {
		return f, err
	}
	defer func() { _ = log.Close() }() // read by people only
	running := make([]*exec.Cmd, 0, len(commands))
	defer func() {
		for _, cmd := range running { // those that a fault left
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}()
	began := time.Now()
	for _, command := range commands {
		cmd := exec.CommandContext(ctx, command[0], command[1:]...)
		cmd.Stdout, cmd.Stderr = log, log
		if err := cmd.Start(); err != nil {
			return f, err
		}
		running = append(running, cmd)
	}
	select {
	case <-ctx.Done():
		return f, ctx.Err()
	case <-time.After(duration):
	}
	// The one that pushes goes first, while what it asks is still there.
	for len(running) > 0 {
		cmd := running[len(running)-1]
		running = running[:len(running)-1]
		_ = cmd.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait() // one that doesn't end by itself on a signal says so, too
		kill.Stop()
		usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
		if !ok {
			return f, errors.New("this system tells no resource usage")
		}
		f.CPU += seconds(usage.Utime) + seconds(usage.Stime)
		f.PeakRSS += usage.Maxrss << 10
	}
	got, err := readCounts(ctx, sink)
	if err != nil {
		return f, err
	}
	f.Elapsed, f.Samples, f.WireBytes = time.Since(began).Seconds(), got.Samples, got.WireBytes
	if f.Samples == 0 {
		text, _ := os.ReadFile(log.Name())
		return f, fmt.Errorf("no sample came; the output ends:\n%s", text[max(0, len(text)-2000):])
	}
	return f, nil
}
