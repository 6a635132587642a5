// Package ecstask collects the numbers of the ECS or Fargate task that the agent runs in, from the task metadata endpoint, under the names
// of ecs_exporter 0.4 and, where wanted, of cAdvisor.
//
// Names, types and help texts are ecs_exporter's. On purpose it is different where ecs_exporter's answer is wrong or none:
//   - Every series says which task it is of (the labels in task_labels); ecs_exporter says it on ecs_task_metadata_info alone.
//   - The page cache of a container on cgroup v2 is that of its memory.stat; ecs_exporter 0.4 shows 0.
//   - A container that has ended has no numbers; ecs_exporter shows zeros where ECS answers with an empty object. Its restarts, which ECS
//     still tells, are there.
//   - A memory limit that is set neither for the container nor for the task is absent; ecs_exporter ends with a panic.
//   - The counters of an interface that all containers share come from one of them as long as it runs, and never step back;
//     ecs_exporter takes another one at any time. Interfaces that containers have for themselves (network mode bridge) are told apart by
//     container_name; ecs_exporter shows that of one container.
package ecstask

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hermod-agent/hermod/internal/ecs"
	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// Definition of input "ecs_task".
var Definition = component.MetricsInput("ecs_task", "CPU, memory, network and limits of the ECS or Fargate task that the agent runs in, as ecs_exporter names them.",
	defaults, open, component.Job("ecs"),
	// ECS takes new numbers every few seconds, and bounds how often a task may ask.
	component.MaxAge(5*time.Second),
	component.Example(`input "ecs_task" {
  # container_* too, for dashboards that were made for cAdvisor, with one of the labels that ECS gives to containers.
  cadvisor_names   = true
  container_labels = ["com.amazonaws.ecs.container-name"]
}
`))

// Config is what a user writes in the block.
type Config struct {
	// Address of the task metadata endpoint, version 4. When not set, ECS_CONTAINER_METADATA_URI_V4 counts, which ECS sets in every container.
	Endpoint config.URL `hcl:"endpoint,optional"`
	// Labels about the task on every series: cluster, family, revision, task (the task's id) and availability_zone. With an empty list the series
	// are labelled as those of ecs_exporter, and only ecs_task_metadata_info tells tasks apart.
	TaskLabels []string `hcl:"task_labels,optional"`
	// Whether to give the numbers of the containers under cAdvisor's names as well: CPU, memory with the working set, block I/O, network and limits as
	// container_*, as far as ECS knows them. What belongs to the task as a whole (the network of a Fargate task) has the id /ecs/TASK and the task's
	// id as its name.
	CAdvisorNames bool `hcl:"cadvisor_names,optional"`
	// Labels of containers that become labels of container_*, with container_label_ before their names: all when not set. The labels that ECS gives
	// to containers are long and say what is in task_labels and in name.
	ContainerLabels []string `hcl:"container_labels,optional"`
}

func defaults() Config { return Config{TaskLabels: slices.Clone(taskLabels[:])} }

// taskLabels are the labels about the task, in the order in which identity gives their values.
var taskLabels = [...]string{"cluster", "family", "revision", "task", "availability_zone"}

// Validate checks what the types can't say.
func (c *Config) Validate() []error {
	var errs []error
	if c.Endpoint.IsSet() {
		if err := ecs.Check(c.Endpoint); err != nil {
			errs = append(errs, config.Attr("endpoint", err))
		}
	}
	for i, l := range c.TaskLabels {
		switch {
		case !slices.Contains(taskLabels[:], l):
			errs = append(errs, config.Attr("task_labels", fmt.Errorf("%q is none of %s%s", l, strings.Join(taskLabels[:], ", "), config.Suggest(l, taskLabels[:]))))
		case slices.Contains(c.TaskLabels[:i], l):
			errs = append(errs, config.Attr("task_labels", fmt.Errorf("%q stands there twice", l)))
		}
	}
	for _, l := range c.ContainerLabels {
		if l == "" {
			errs = append(errs, config.Attr("container_labels", errors.New("a label's name is empty")))
		}
	}
	if !c.CAdvisorNames && len(c.ContainerLabels) > 0 {
		errs = append(errs, config.Attr("container_labels", errors.New("labels of containers are for container_*, which cadvisor_names = true gives")))
	}
	return errs
}

type input struct {
	client   *ecs.Client // nil without an endpoint
	missing  error       // why there is none
	instance string
	series   series
}

var (
	_ component.Collector = (*input)(nil)
	_ component.Checker   = (*input)(nil)
	_ component.Instancer = (*input)(nil)
	_ component.Stopper   = (*input)(nil)
)

// limits bound how long the endpoint is waited for.
type limits struct {
	atOpen  time.Duration // by a start, to learn the task's id
	request time.Duration // 0 means package ecs' own
}

func open(env *component.Env, c *Config) (*input, error) {
	return openWithin(env, c, limits{atOpen: time.Second})
}

func openWithin(env *component.Env, c *Config, l limits) (*input, error) {
	in := &input{series: newSeries(env, c)}
	endpoint := c.Endpoint
	if !endpoint.IsSet() {
		// A config for a task has to be valid elsewhere too, so that it can be checked before it gets there.
		if endpoint, in.missing = ecs.Endpoint(nil); in.missing != nil {
			return in, nil
		}
	}
	var err error
	if in.client, err = ecs.NewClient(endpoint, ecs.Options{UserAgent: "hermod/" + env.Version, Timeout: l.request}); err != nil {
		return nil, config.Attr("endpoint", err)
	}
	if in.instance = ecs.TaskOf(endpoint); in.instance == "" {
		// On EC2 the address doesn't tell. The instance has to be known before the first collection, which reports it.
		ctx, cancel := context.WithTimeout(context.Background(), l.atOpen)
		defer cancel()
		if task, err := in.client.Task(ctx); task != nil {
			in.instance = task.ID()
		} else {
			env.Log.Debug("the task's id is not known yet, the host's name is the instance", "err", err)
		}
		in.client.Close()
	}
	return in, nil
}

// Instance is the task's id: of the containers of a task none is the machine.
func (in *input) Instance() string { return in.instance }

// Collect asks for the task and for the numbers of its containers. Where the second fails, what belongs to the task is given.
func (in *input) Collect(ctx context.Context, b *metrics.Batch) error {
	if in.client == nil {
		return in.missing
	}
	task, err := in.client.Task(ctx)
	if task == nil {
		return err
	}
	stats, statsErr := in.client.Stats(ctx)
	in.series.set(b, task, stats)
	if err == nil {
		err = statsErr
	}
	return err
}

// Stop closes the connection.
func (in *input) Stop(context.Context) error {
	if in.client != nil {
		in.client.Close()
	}
	return nil
}
