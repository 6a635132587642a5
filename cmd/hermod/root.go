package main

import (
	"github.com/spf13/cobra"
)

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "hermod",
		Short: "One agent per server for metrics and logs",
		Long: "Hermod collects the metrics and logs of a server and delivers them to Prometheus, Mimir and Loki.\n\n" +
			"Run it without a config to see what it finds here: hermod run",
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
	}
	root.RunE = a.does(func(c *cobra.Command, _ []string) error { return c.Help() })
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.AddCommand(a.runCommand(), a.validateCommand(), a.checkCommand(), a.fmtCommand(), a.graphCommand(), a.statusCommand(), a.queueCommand(),
		a.healthCommand(), a.versionCommand())
	root.SetHelpCommand(a.helpCommand(root))
	return root
}

// does makes an error of fn a failure, where it doesn't say itself that it is something else.
func (a *app) does(fn func(c *cobra.Command, args []string) error) func(c *cobra.Command, args []string) error {
	return func(c *cobra.Command, args []string) error {
		err := fn(c, args)
		if err == nil {
			return nil
		}
		if _, ok := err.(*exit); ok { //nolint:errorlint // only what fn itself returned
			return err
		}
		return &exit{code: exitFailed, err: err}
	}
}

// completeConfig offers config files and folders.
func completeConfig(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return []string{"hcl"}, cobra.ShellCompDirectiveFilterFileExt
}
