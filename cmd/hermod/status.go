package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/hermod-agent/hermod/pipeline/admin"
	"github.com/hermod-agent/hermod/pipeline/component"
)

func (a *app) statusCommand() *cobra.Command {
	var address string
	var asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Show what flows in a running agent, what doesn't, and what to do about it",
		Long:  "Status asks a running agent on this machine and prints the table that its page shows.",
		Args:  cobra.NoArgs,
		RunE: a.does(func(c *cobra.Command, _ []string) error {
			where, err := a.adminAddress(address)
			if err != nil {
				return err
			}
			const limit = 64 << 20
			body, err := ask(c.Context(), where, "/api/graph", limit, 10*time.Second)
			if err != nil {
				return err
			}
			if asJSON {
				_, err = a.stdout.Write(body)
				return err
			}
			var report admin.Report
			if err := json.Unmarshal(body, &report); err != nil {
				return component.WithRemedy(fmt.Errorf("what answers at %s is not an agent: %w", where, err), "--address names the agent's address")
			}
			_, err = fmt.Fprint(a.stdout, admin.Text(&report, admin.TextOptions{Color: a.color(a.stdoutTerminal), Width: a.width}))
			return err
		}),
	}
	addressFlag(c, &address)
	c.Flags().BoolVar(&asJSON, "json", false, "print the graph as JSON")
	return c
}

func addressFlag(c *cobra.Command, address *string) {
	c.Flags().StringVarP(address, "address", "a", "", "host:port of the agent's admin listener (default $"+listenVar+", else "+defaultListen+")")
}
