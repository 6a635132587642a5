package dockerlogs

import (
	"time"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/positions"
)

// promtail gives the times up to which Promtail has read containers' logs. What is wrong with its file doesn't keep the input from running.
func (in *input) promtail() map[string]time.Time {
	from := in.config.ImportPromtailPositions
	if from == "" {
		return nil
	}
	p, err := positions.ReadPromtail(from)
	if err != nil {
		in.env.Status.Note("positions of Promtail", component.WithRemedy(err, "containers are read from where `start` says; to go on where Promtail "+
			"stopped, stop the agent, put the file right, and remove the agent's data_dir"))
		in.env.Log.Error("the positions of Promtail can't be imported: containers are read from where start says", "err", err, "start", in.config.Start)
		return nil
	}
	in.env.Log.Info("positions of Promtail imported", "file", from, "containers", len(p.Containers))
	return p.Containers
}
