package ecs

import (
	"strings"
	"time"
)

// Task is what /task answers, as far as it is used.
type Task struct {
	// Cluster is an ARN on Fargate and a bare name on EC2.
	Cluster, TaskARN, Family, Revision string
	DesiredStatus, KnownStatus         string
	AvailabilityZone, LaunchType       string
	Limits                             Limits // CPU in vCPUs
	PullStartedAt, PullStoppedAt       Time
	// EphemeralStorage is there on Fargate.
	EphemeralStorage *struct {
		Utilized, Reserved float64 // MiB
	} `json:"EphemeralStorageMetrics"`
	Containers []Container
}

// Limits of a task or a container. What isn't limited is 0: on Fargate most containers have no memory limit but the task's.
type Limits struct {
	CPU    float64
	Memory float64 // MiB
}

// Container of a task. In EC2 tasks with a network of their own one of them is ECS's pause container, which holds that network.
type Container struct {
	ID         string `json:"DockerId"`
	Name       string // in the task definition
	DockerName string
	Image      string
	Labels     map[string]string
	Type       string // NORMAL, CNI_PAUSE, ...
	Limits     Limits // CPU in units, of which a vCPU has 1024
	CreatedAt  Time
	StartedAt  Time
	// RestartCount is there when the container has a restart policy.
	RestartCount Number
	// Health is there when the container has a health check.
	Health *struct {
		Status string `json:"status"` // HEALTHY, UNHEALTHY, UNKNOWN
	}
	Networks []struct {
		NetworkMode string
	}
}

// Time is a time as ECS writes it (RFC 3339), or "".
type Time string

// Unix is the time in seconds since 1970; false when there is none or it can't be read.
func (t Time) Unix() (float64, bool) {
	at, err := time.Parse(time.RFC3339Nano, string(t))
	if err != nil || at.Year() < 1970 {
		return 0, false
	}
	return float64(at.UnixNano()) / 1e9, true
}

// ID is the last part of the task's ARN.
func (t *Task) ID() string { return lastPart(t.TaskARN) }

// ClusterName is the cluster's name, whether it is given as a name or as an ARN.
func (t *Task) ClusterName() string { return lastPart(t.Cluster) }

// Region is that of the task's ARN, arn:aws:ecs:REGION:ACCOUNT:task/CLUSTER/ID.
func (t *Task) Region() string {
	if parts := strings.SplitN(t.TaskARN, ":", 6); len(parts) == 6 {
		return parts[3]
	}
	return ""
}

func lastPart(arn string) string { return arn[strings.LastIndexByte(arn, '/')+1:] }

// Pause says that ECS made the container, to hold the task's network.
func (c *Container) Pause() bool { return c.Type == "CNI_PAUSE" || c.Name == "~internal~ecs~pause" }

// OwnNetwork says that the container has a network interface of its own, as with the network mode bridge; in the mode of Fargate (awsvpc) and
// in that of the host all containers of a task see the same interfaces.
func (c *Container) OwnNetwork() bool {
	for _, n := range c.Networks {
		switch n.NetworkMode {
		case "bridge", "default", "nat":
			return true
		}
	}
	return false
}
