package main

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/hashicorp/hcl/v2"
	"github.com/spf13/cobra"

	"github.com/hermod-agent/hermod/pipeline/config"
	"github.com/hermod-agent/hermod/pipeline/graph"
)

func (a *app) validateCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "validate FILE|DIR",
		Short: "Check a config as a start would, without a start",
		Long: "Validate reads the config, builds every component and checks every connection, as a start or a reload does, and starts nothing.\n" +
			"It tells all faults at once. The exit code is 0 for a config that is valid and 2 for one that isn't.",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeConfig,
		RunE: a.does(func(c *cobra.Command, args []string) error {
			s := &pathSource{path: args[0], options: a.configOptions(c.Context())}
			file, diags := s.load()
			if !diags.HasErrors() {
				diags = config.Sort(append(diags, a.check(c.Context(), s, file)...))
			}
			a.tell(diags, file)
			if diags.HasErrors() {
				return faulty(s, diags)
			}
			fmt.Fprintf(a.stdout, "%s is valid: %s\n", s.name(), inventory(file))
			return nil
		}),
	}
}

// check plans and builds what file says, and lets it go again.
func (a *app) check(ctx context.Context, s source, file *config.File) hcl.Diagnostics {
	return graph.New(graph.Options{
		Definitions: a.definitions, Host: a.host(ctx, file.Agent.Host), Version: version, Log: slog.New(slog.DiscardHandler), Config: s.name(),
	}).Check(file)
}
