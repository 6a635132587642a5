// Package outputs lists the outputs that the agent knows. A new one is a folder, an import and a name here.
package outputs

import (
	"github.com/hermod-agent/hermod/outputs/loki"
	"github.com/hermod-agent/hermod/outputs/prometheus"
	remotewrite "github.com/hermod-agent/hermod/outputs/remote_write"
	"github.com/hermod-agent/hermod/outputs/stdout"
	"github.com/hermod-agent/hermod/pipeline/component"
)

// All returns the definitions of every output.
func All() []component.Definition {
	return []component.Definition{
		loki.Definition,
		prometheus.Definition,
		remotewrite.Definition,
		stdout.Definition,
	}
}
