//go:build integration

package main

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
)

// subject is a program to be measured and how to make it ship a log file to the sink.
type subject struct {
	name   string
	binary string
	// config writes what the program reads, given the file to ship and the sink's address, into dir; nil when it can't do the case.
	config func(c testCase, file, sink, dir string) (files map[string]string, args []string)
}

// peers are Hermod and the programs whose binaries were given with -peer NAME=PATH, Hermod first: those that ship logs, and those that collect
// metrics.
func peers(hermod string, given map[string]string) (subjects []subject, collectors []collector, err error) {
	subjects = []subject{{name: "hermod", binary: hermod, config: hermodConfig}}
	collectors = []collector{hermodCollector("hermod", hermod)}
	exporter := given["node_exporter"]
	for _, name := range slices.Sorted(maps.Keys(given)) {
		binary := given[name]
		switch name {
		case "promtail":
			subjects = append(subjects, subject{name: name, binary: binary, config: promtailConfig})
		case "alloy":
			subjects = append(subjects, subject{name: name, binary: binary, config: alloyConfig})
		case "another-hermod":
			subjects = append(subjects, subject{name: name, binary: binary, config: hermodConfig})
			collectors = append(collectors, hermodCollector(name, binary))
		case "hermod-memory":
			subjects = append(subjects, subject{name: name, binary: binary, config: hermodInMemory})
		case "prometheus", "vmagent":
			if exporter == "" {
				return nil, nil, fmt.Errorf("%s only scrapes: give it a node_exporter with -peer node_exporter=PATH", name)
			}
			make := prometheusCollector
			if name == "vmagent" {
				make = vmagentCollector
			}
			collectors = append(collectors, make(binary, exporter))
		case "node_exporter":
		default:
			return nil, nil, fmt.Errorf("no config is known for a peer named %q; there is one for promtail and alloy (lines), prometheus and vmagent, "+
				"with node_exporter, (samples), another-hermod (both) and hermod-memory (its queue in memory)", name)
		}
	}
	return subjects, collectors, nil
}

func hermodConfig(c testCase, file, sink, dir string) (map[string]string, []string) {
	return hermodWith("", c, file, sink, dir) // what an older build reads, too
}

func hermodInMemory(c testCase, file, sink, dir string) (map[string]string, []string) {
	return hermodWith("queue {\n    storage = \"memory\"\n  }", c, file, sink, dir)
}

func hermodWith(queue string, c testCase, file, sink, dir string) (map[string]string, []string) {
	config := filepath.Join(dir, "agent.hcl")
	input := fmt.Sprintf("input \"files\" \"bench\" {\n  paths = [%q]\n}\n", file)
	if c.format == "docker" {
		input = fmt.Sprintf("input \"docker_logs\" \"bench\" {\n  endpoint = %q\n  start    = \"beginning\"\n}\n", c.engine)
	}
	return map[string]string{config: fmt.Sprintf(`
agent {
  data_dir = %q
  listen   = "off"
}
%s
output "loki" {
  from = input
  url  = "http://%s/loki/api/v1/push"
  %s
}
`, filepath.Join(dir, "data"), input, sink, queue)}, []string{"run", config}
}

func promtailConfig(c testCase, file, sink, dir string) (map[string]string, []string) {
	config := filepath.Join(dir, "promtail.yaml")
	stages := ""
	if c.format == "docker" {
		stages = "    pipeline_stages:\n      - docker: {}\n"
	}
	return map[string]string{config: fmt.Sprintf(`
server:
  disable: true
positions:
  filename: %s/positions.yaml
clients:
  - url: http://%s/loki/api/v1/push
scrape_configs:
  - job_name: bench
%s    static_configs:
      - targets: [localhost]
        labels:
          job: bench
          __path__: %s
`, dir, sink, stages, file)}, []string{"-config.file=" + config}
}

func alloyConfig(c testCase, file, sink, dir string) (map[string]string, []string) {
	config := filepath.Join(dir, "config.alloy")
	forward, stages := "loki.write.sink.receiver", ""
	if c.format == "docker" {
		forward = "loki.process.docker.receiver"
		stages = "loki.process \"docker\" {\n  stage.docker {}\n  forward_to = [loki.write.sink.receiver]\n}\n"
	}
	return map[string]string{config: fmt.Sprintf(`
loki.source.file "bench" {
  targets    = [{__path__ = %q, job = "bench"}]
  forward_to = [%s]
}
%s
loki.write "sink" {
  endpoint {
    url = "http://%s/loki/api/v1/push"
  }
}
`, file, forward, stages, sink)}, []string{"run", "--storage.path=" + filepath.Join(dir, "data"), "--server.http.listen-addr=127.0.0.1:0", "--disable-reporting", config}
}
