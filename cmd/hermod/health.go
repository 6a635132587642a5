package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

func (a *app) healthCommand() *cobra.Command {
	var address string
	c := &cobra.Command{
		Use:   "health",
		Short: "Say whether a running agent answers, for a container's HEALTHCHECK",
		Long: "Health asks a running agent whether its process answers, and exits with 0 when it does and with 1 when it doesn't. A backend that is\n" +
			"down or a container that writes nothing doesn't make an agent unhealthy: a restart would mend neither. See hermod status for those.",
		Args: cobra.NoArgs,
		RunE: a.does(func(c *cobra.Command, _ []string) error {
			where, err := a.adminAddress(address)
			if err != nil {
				return err
			}
			if _, err := ask(c.Context(), where, "/-/healthy", 4<<10, 3*time.Second); err != nil {
				return err
			}
			fmt.Fprintln(a.stdout, "healthy")
			return nil
		}),
	}
	addressFlag(c, &address)
	return c
}
