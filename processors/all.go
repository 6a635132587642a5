// Package processors lists the processors that the agent knows. A new one is a folder, an import and a name here.
package processors

import (
	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/processors/filter"
	"github.com/hermod-agent/hermod/processors/relabel"
)

// All returns the definitions of every processor.
func All() []component.Definition {
	return []component.Definition{
		filter.Definition,
		relabel.Definition,
	}
}
