package dockerlogs

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hermod-agent/hermod/internal/docker"
	"github.com/hermod-agent/hermod/internal/multiline"
	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
)

// Definition of input "docker_logs".
var Definition = component.LogsInput("docker_logs", "Logs of Docker containers, whatever their log driver.", defaults, open,
	component.Example(`input "docker_logs" "all" {
  container_labels = ["com.example.team"] # becomes the label com_example_team

  # Everything but the containers of one project and those that ask to be left out.
  exclude {
    labels = { "com.docker.compose.project" = "~test-.*" }
  }
  exclude {
    labels = { "hermod.logs" = "off" }
  }
}
`))

// Config is what a user writes in the block. Every container is read but the agent's own.
type Config struct {
	// The Docker engine: "unix:///var/run/docker.sock" or "tcp://host:2375". When not set it is that of the agent's docker block; else DOCKER_HOST
	// counts, and DOCKER_CERT_PATH and DOCKER_TLS_VERIFY as they do for the docker command; else the socket in /var/run.
	Endpoint string `hcl:"endpoint,optional"`
	// Labels of containers that become labels of their logs. What isn't a letter, a digit or an underscore becomes an underscore.
	ContainerLabels []string `hcl:"container_labels,optional"`
	// Which containers to read. Without an include block all of them; with several, those that any of them picks.
	Include []Selector `hcl:"include,block"`
	// Which containers not to read, of those that are included.
	Exclude []Selector `hcl:"exclude,block"`
	// Where to begin with containers that exist when the agent starts for the first time: "end", "beginning", or a time back from then,
	// like "1h". Containers that are made later are always read from their first line.
	Start string `hcl:"start,optional"`
	// Promtail's positions file. When the agent starts for the first time it goes on where Promtail stopped with the containers that stand in it; the
	// others begin where `start` says. Promtail notes whole seconds, so that up to a second of lines comes again, which Loki recognises. Stop
	// Promtail first. Later the file isn't looked at.
	ImportPromtailPositions string `hcl:"import_promtail_positions,optional"`
	// Joins lines that belong together, like those of a stack trace, to one record of at most max_line_size. stdout and stderr are joined each for
	// itself. Until a record is whole, the position stays at its start.
	Multiline *multiline.Config `hcl:"multiline,block"`
	// Longer lines are cut. Loki refuses lines of more than 256KiB.
	MaxLineSize config.Size `hcl:"max_line_size,optional"`
	// Whether the files of the json-file driver are read from disk where they can be read, which costs a fraction of the way through the
	// engine. What can't be read from disk comes through the engine in any case. Docker 20.10 leaves lines out there when it rotates a log that is
	// written to fast: the log is read once more from time to time and what it left out is handed on, at the latest after some hundred thousand lines or
	// when all but two of `max-file` files may be full. Make `max-size` larger to have it less often, and `max-file` at least 3.
	ReadFiles bool `hcl:"read_files,optional"`
}

// Selector picks containers. One that names several attributes picks what meets all of them. A value is equal to what it picks, or an anchored
// regular expression when it begins with ~; a ! before either negates it.
type Selector struct {
	// Names of containers, one of which has to fit: equal, or an anchored regular expression after a ~; a ! before either negates it.
	Names []string `hcl:"names,optional"`
	// Images as the containers were started with them, like "nginx:1.27" or "~nginx:.*"; one of them has to fit.
	Images []string `hcl:"images,optional"`
	// Labels of containers, all of which have to fit. A label that a container doesn't have counts as empty.
	Labels map[string]string `hcl:"labels,optional"`
}

func defaults() Config {
	return Config{Start: "end", MaxLineSize: 256 << 10, ReadFiles: true}
}

// reserved are the labels that every log has.
func reserved() []string {
	return []string{"container", "image", "compose_project", "compose_service", "stream"}
}

// Validate checks what the types can't say.
func (c *Config) Validate() []error {
	var errs []error
	if c.Endpoint != "" {
		// What the environment adds is told when the input runs.
		if _, err := docker.ParseEndpoint(c.Endpoint, func(string) (string, bool) { return "", false }); err != nil {
			errs = append(errs, config.Attr("endpoint", err))
		}
	}
	seen := map[string]string{}
	for _, l := range c.ContainerLabels {
		name := labelName(l)
		switch other, twice := seen[name]; {
		case name == "":
			errs = append(errs, config.Attr("container_labels", errors.New("a label's name is empty")))
		case slices.Contains(reserved(), name):
			errs = append(errs, config.Attr("container_labels", fmt.Errorf("%q would take the place of the label %s that every log has; give the container another label", l, name)))
		case twice && other != l:
			errs = append(errs, config.Attr("container_labels", fmt.Errorf("%q and %q both become the label %s; keep one of them", other, l, name)))
		}
		seen[name] = l
	}
	if _, _, err := c.start(); err != nil {
		errs = append(errs, config.Attr("start", err))
	}
	if p := c.ImportPromtailPositions; p != "" && !filepath.IsAbs(p) {
		errs = append(errs, config.Attr("import_promtail_positions", fmt.Errorf("%q doesn't begin with /; write an absolute path", p)))
	}
	if c.MaxLineSize < 1<<10 || c.MaxLineSize > maxFrame {
		errs = append(errs, config.Attr("max_line_size", fmt.Errorf("%s is not between 1KiB and 2MiB", c.MaxLineSize)))
	}
	if c.Multiline != nil {
		errs = append(errs, c.Multiline.Validate()...)
	}
	if _, err := compileSelectors("include", c.Include); err != nil {
		errs = append(errs, err)
	}
	if _, err := compileSelectors("exclude", c.Exclude); err != nil {
		errs = append(errs, err)
	}
	return errs
}

// start says where to begin: how far back, or at the beginning of what is there.
func (c *Config) start() (back time.Duration, beginning bool, err error) {
	switch c.Start {
	case "end", "":
		return 0, false, nil
	case "beginning":
		return 0, true, nil
	}
	d, err := config.ParseDuration(c.Start)
	if err != nil {
		return 0, false, fmt.Errorf(`%q is neither "end" nor "beginning" nor a duration like "1h"`, c.Start)
	}
	return time.Duration(d), false, nil
}

// labelName makes a name that Loki takes.
func labelName(s string) string {
	name := strings.Map(func(r rune) rune {
		if r == '_' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' {
			return r
		}
		return '_'
	}, s)
	if name != "" && '0' <= name[0] && name[0] <= '9' {
		name = "_" + name
	}
	return name
}
