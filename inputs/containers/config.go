package containers

import (
	"errors"
	"fmt"
	"time"

	"github.com/hermod-agent/hermod/internal/docker"
	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
)

// Definition of input "containers".
var Definition = component.MetricsInput("containers", "CPU, memory, network, disks and more of Docker's or Podman's containers, as cAdvisor names them.",
	defaults, open, component.Job("cadvisor"), component.Example(example))

const example = `
input "containers" "all" {
  # Without this every label of a container becomes a label of its series.
  container_labels = ["com.docker.compose.project", "com.docker.compose.service"]

  # How often the writable layers are counted; "0s" never.
  fs_interval = "15m"

  # No series for the machine as a whole: input "host" has them.
  root = false
}
`

// Config is what a user writes in the block; the comments, and reference.md, are the reference page.
type Config struct {
	// The engine, Docker's or Podman's compatible one: "unix:///var/run/docker.sock" or "tcp://host:2375". When not set, DOCKER_HOST counts, and
	// DOCKER_CERT_PATH and DOCKER_TLS_VERIFY as they do for the docker command; else the socket in /var/run. The containers' cgroups are read
	// on this machine, so the engine has to be its own.
	Endpoint string `hcl:"endpoint,optional"`
	// Labels of containers that become labels of their series, as container_label_ and the name, in which what isn't a letter, a digit or an underscore
	// becomes an underscore. When not set it is all of them, as with cAdvisor. Naming those that are used is better: each label of each
	// container makes every one of its series larger.
	ContainerLabels *[]string `hcl:"container_labels,optional"`
	// How often it is counted how much of the filesystem each container uses, "0s" for never.
	FSInterval config.Duration `hcl:"fs_interval,optional"`
	// Whether there are series of the machine as a whole, with id="/", as cAdvisor has them.
	Root bool `hcl:"root,optional"`
	// Where the host's /proc is. In a container it is looked for at /host/proc and /rootfs/proc, else it is /proc.
	Procfs string `hcl:"procfs,optional"`
	// Where the host's /sys is. In a container it is looked for at /host/sys and /rootfs/sys, else it is /sys.
	Sysfs string `hcl:"sysfs,optional"`
	// Where the host's root is. In a container it is looked for at /rootfs, /host/root, /hostfs and /host, else it is /.
	Rootfs string `hcl:"rootfs,optional"`
}

func defaults() Config {
	return Config{FSInterval: config.Duration(5 * time.Minute), Root: true}
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
	if c.ContainerLabels != nil {
		for _, l := range *c.ContainerLabels {
			if l == "" {
				errs = append(errs, config.Attr("container_labels", errors.New("a label's name is empty")))
			}
		}
	}
	if d := time.Duration(c.FSInterval); d < 0 || d > 0 && d < 10*time.Second {
		errs = append(errs, config.Attr("fs_interval", fmt.Errorf("%s is less than 10s: each count looks at every file that the containers have written", c.FSInterval)))
	}
	return errs
}
