package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/hcl/v2"

	"github.com/hermod-agent/hermod/internal/hostinfo"
	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
	"github.com/hermod-agent/hermod/pipeline/graph"
)

// source is where a config comes from, and comes from anew at a reload.
type source interface {
	// name is how the status page calls it.
	name() string
	load() (*config.File, hcl.Diagnostics)
}

// pathSource is a config file or a folder of them.
type pathSource struct {
	path    string
	options config.Options
}

func (s *pathSource) name() string                          { return s.path }
func (s *pathSource) load() (*config.File, hcl.Diagnostics) { return config.Load(s.path, s.options) }

// configOptions are what every command reads a config with.
func (a *app) configOptions(ctx context.Context) config.Options {
	name := sync.OnceValue(func() string { return a.host(ctx, "").Name })
	also := func(f *config.File) hcl.Diagnostics { return graph.Faults(f, a.definitions) }
	return config.Options{Types: graph.BlockTypes(a.definitions), Hostname: name, Getenv: a.getenv, Also: also, Metadata: a.metadata(ctx)}
}

// host describes this machine. name is the one that the user set.
func (a *app) host(ctx context.Context, name string) component.Host {
	return hostinfo.Find(ctx, hostinfo.Options{Getenv: a.getenv, Name: name, DockerName: a.dockerName})
}

// render puts diagnostics into words. file is what the config was decoded to; it is nil when that failed, and the diagnostics then
// know the lines that they speak of.
func render(diags hcl.Diagnostics, file *config.File, color bool) string {
	if file == nil {
		return config.Render(diags, nil, color)
	}
	return config.Render(diags, file.Sources, color)
}

// tell prints diagnostics on stderr.
func (a *app) tell(diags hcl.Diagnostics, file *config.File) {
	if len(diags) > 0 {
		fmt.Fprint(a.stderr, render(diags, file, a.color(a.stderrTerminal)))
	}
}

// color says whether to use colours on a stream that is a terminal or not (https://no-color.org).
func (a *app) color(terminal bool) bool {
	no, _ := a.getenv("NO_COLOR")
	kind, _ := a.getenv("TERM")
	return terminal && no == "" && kind != "dumb"
}

// faulty is what a command returns once it has told the diagnostics: how many errors there are.
func faulty(s source, diags hcl.Diagnostics) error {
	n := 0
	for _, d := range diags {
		if d.Severity == hcl.DiagError {
			n++
		}
	}
	text := fmt.Sprintf("%s has %d errors", s.name(), n)
	if n == 1 {
		text = s.name() + " has 1 error"
	}
	return &exit{code: exitUsage, err: errors.New(text)}
}

// inventory counts the components of a config: "2 inputs, 1 processor and 3 outputs".
func inventory(file *config.File) string {
	var parts []string
	for _, kind := range []component.Kind{component.Input, component.Processor, component.Output} {
		n := 0
		for _, b := range file.Blocks {
			if b.Kind == string(kind) {
				n++
			}
		}
		switch {
		case n == 1:
			parts = append(parts, "1 "+string(kind))
		case n > 1:
			parts = append(parts, fmt.Sprintf("%d %ss", n, kind))
		}
	}
	if len(parts) == 0 {
		return "no components"
	}
	return strings.Join(parts, ", ")
}

// types lists the types of one kind in order.
func (a *app) types(kind string) []*component.Definition {
	var out []*component.Definition
	for i := range a.definitions {
		if d := &a.definitions[i]; string(d.Kind) == kind {
			out = append(out, d)
		}
	}
	slices.SortFunc(out, func(a, b *component.Definition) int { return strings.Compare(a.Type, b.Type) })
	return out
}
