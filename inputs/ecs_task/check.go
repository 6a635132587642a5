package ecstask

import (
	"context"
	"fmt"

	"github.com/hermod-agent/hermod/pipeline/component"
)

// Check implements component.Checker: it asks for the task and for the numbers of its containers.
func (in *input) Check(ctx context.Context, report func(component.Finding)) {
	const about, numbers = "ask ECS for the task", "ask ECS for the numbers of the containers"
	if in.client == nil {
		report(component.Finding{What: about, Err: in.missing})
		return
	}
	task, err := in.client.Task(ctx)
	f := component.Finding{What: about, Err: err}
	if task != nil {
		f.Detail = fmt.Sprintf("task %s of %s:%s in %s (%s)", task.ID(), task.Family, task.Revision, task.ClusterName(), task.LaunchType)
	}
	report(f)
	if task == nil {
		return
	}
	stats, err := in.client.Stats(ctx)
	report(component.Finding{What: numbers, Err: err, Detail: fmt.Sprintf("%d of %d containers run", len(stats), len(task.Containers))})
}
