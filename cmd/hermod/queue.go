package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
	"github.com/hermod-agent/hermod/pipeline/queue"
)

func (a *app) queueCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "queue",
		Short: "Look into the queues on disk, or drop what waits in one",
		Long: "Queue looks into the folders in which outputs keep what waits to be delivered.\n\n" +
			"DIR is the agent's data_dir, or the folder of one output or of one queue below it.",
		Args: cobra.NoArgs,
	}
	c.RunE = a.does(func(c *cobra.Command, _ []string) error { return c.Help() })
	c.AddCommand(a.queueListCommand(), a.queueShowCommand(), a.queueDropCommand())
	return c
}

func (a *app) queueListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "ls DIR",
		Short: "List the queues below a folder, and how much waits in each",
		Long:  "Ls lists the queues below DIR, also while an agent uses them, and changes nothing.",
		Args:  cobra.ExactArgs(1),
		RunE: a.does(func(_ *cobra.Command, args []string) error {
			dirs, err := findQueues(args[0])
			if err != nil {
				return err
			}
			w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "QUEUE\tITEMS\tBLOCKS\tON DISK\tOLDEST\tUSED BY\tASIDE")
			for _, dir := range dirs {
				q, err := queue.Inspect(dir)
				if err != nil {
					return explainQueue(dir, err)
				}
				oldest := "-"
				if len(q.Blocks) > 0 {
					first := slices.MinFunc(q.Blocks, func(a, b queue.BlockInfo) int { return a.Oldest.Compare(b.Oldest) })
					oldest = moment(first.Oldest)
				}
				fmt.Fprintf(w, "%s\t%d\t%d\t%s\t%s\t%s\t%d\n", queueName(dir), q.Items, len(q.Blocks), config.Size(q.Bytes), oldest, owner(q.Owner), len(q.Aside))
			}
			return w.Flush()
		}),
	}
}

func (a *app) queueShowCommand() *cobra.Command {
	var block uint64
	c := &cobra.Command{
		Use:   "show DIR",
		Short: "Show the blocks of one queue, or the body of one of them",
		Long: "Show lists what waits in the queue in DIR, oldest first, and what was put aside because it was damaged or refused. With --block it\n" +
			"writes the body of that block to standard output as it would be sent: its protocol says what it is.",
		Args: cobra.ExactArgs(1),
		RunE: a.does(func(c *cobra.Command, args []string) error {
			dir, err := oneQueue(args[0])
			if err != nil {
				return err
			}
			if c.Flags().Changed("block") {
				b, err := queue.ReadBlock(dir, block)
				if err != nil {
					return explainQueue(dir, err)
				}
				_, err = a.stdout.Write(b.Body)
				return err
			}
			q, err := queue.Inspect(dir)
			if err != nil {
				return explainQueue(dir, err)
			}
			a.showQueue(&q)
			return nil
		}),
	}
	c.Flags().Uint64Var(&block, "block", 0, "write the body of the block of this number")
	return c
}

func (a *app) showQueue(q *queue.Contents) {
	fmt.Fprintf(a.stdout, "%s: %d items wait in %d blocks; %d segments of %s; used by %s\n",
		queueName(q.Dir), q.Items, len(q.Blocks), q.Segments, config.Size(q.Bytes), owner(q.Owner))
	if q.Damaged > 0 {
		fmt.Fprintf(a.stdout, "%s between the blocks are damaged\n", config.Size(q.Damaged))
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	if len(q.Blocks) > 0 {
		fmt.Fprintln(w, "\nBLOCK\tSHARD\tITEMS\tSIZE\tOLDEST\tNEWEST\tQUEUED\tPROTOCOL\tTENANT")
	}
	for _, b := range q.Blocks {
		fmt.Fprintf(w, "%d\t%d\t%d\t%s\t%s\t%s\t%s\t%s\t%q\n", b.Seq, b.Shard, b.Items, config.Size(b.Size), moment(b.Oldest), moment(b.Newest), moment(b.Queued), printable(b.Protocol), b.Tenant)
	}
	if len(q.Aside) > 0 {
		fmt.Fprintln(w, "\nASIDE\tSIZE\tAT\tFILE")
	}
	for _, f := range q.Aside {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", f.Reason, config.Size(f.Size), moment(f.At), f.Path)
	}
	_ = w.Flush() // to the same writer
}

func (a *app) queueDropCommand() *cobra.Command {
	var yes, aside bool
	c := &cobra.Command{
		Use:   "drop DIR",
		Short: "Drop what waits in one queue",
		Long:  "Drop removes what waits in the queue in DIR for good. It refuses while an agent uses the queue, and without --yes.",
		Args:  cobra.ExactArgs(1),
		RunE: a.does(func(_ *cobra.Command, args []string) error {
			dir, err := oneQueue(args[0])
			if err != nil {
				return err
			}
			if !yes {
				q, err := queue.Inspect(dir)
				if err != nil {
					return explainQueue(dir, err)
				}
				return component.WithRemedy(fmt.Errorf("%d items wait in %s and would be lost", q.Items, dir), "say --yes if that is meant")
			}
			dropped, err := queue.Drop(dir, aside, slog.New(slog.DiscardHandler))
			if err != nil {
				return explainQueue(dir, err)
			}
			fmt.Fprintf(a.stdout, "dropped %d items in %d blocks from %s\n", dropped.Items, dropped.Blocks, queueName(dir))
			return nil
		}),
	}
	c.Flags().BoolVar(&yes, "yes", false, "drop without a further question")
	c.Flags().BoolVar(&aside, "aside", false, "drop what was put aside, too")
	return c
}

// findQueues lists the folders of queues at and below dir, as the engine lays them out.
func findQueues(dir string) ([]string, error) {
	if _, err := os.ReadDir(dir); err != nil {
		return nil, explainQueue(dir, err)
	}
	candidates := []string{dir, filepath.Join(dir, "queue")}
	for _, pattern := range []string{"*/queue", "output/*/queue"} {
		found, err := filepath.Glob(filepath.Join(escapeGlob(dir), pattern))
		if err != nil {
			return nil, err
		}
		candidates = append(candidates, found...)
	}
	var out []string
	for _, c := range candidates {
		if queue.IsQueue(c) {
			out = append(out, c)
		}
	}
	if len(out) == 0 {
		return nil, component.WithRemedy(fmt.Errorf("there is no queue in %s", dir), "name the agent's data_dir, or the folder of an output below it")
	}
	return out, nil
}

// escapeGlob takes the meaning from what is special in a pattern.
func escapeGlob(path string) string {
	var out []byte
	for i := range len(path) {
		switch path[i] {
		case '*', '?', '[', '\\':
			out = append(out, '\\')
		}
		out = append(out, path[i])
	}
	return string(out)
}

// oneQueue is findQueues where there must be one.
func oneQueue(dir string) (string, error) {
	dirs, err := findQueues(dir)
	if err != nil {
		return "", err
	}
	if len(dirs) > 1 {
		return "", component.WithRemedy(fmt.Errorf("there are %d queues in %s", len(dirs), dir), "name the folder of one: hermod queue ls tells them")
	}
	return dirs[0], nil
}

// queueName is the address of the output where the folder says it, else the folder.
func queueName(dir string) string {
	address, err := url.PathUnescape(filepath.Base(filepath.Dir(dir)))
	if err != nil || filepath.Base(dir) != "queue" {
		return dir
	}
	return printable(address)
}

// printable keeps what a file says from acting on a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

func owner(pid int) string {
	switch {
	case pid > 0:
		return fmt.Sprintf("process %d", pid)
	case pid < 0:
		return "a process"
	}
	return "nobody"
}

func moment(t time.Time) string {
	if t.UnixNano() == 0 {
		return "-"
	}
	return t.UTC().Format("2006-01-02T15:04:05Z")
}

// explainQueue says what to do about a queue that can't be looked into or changed.
func explainQueue(dir string, err error) error {
	var locked *queue.LockedError
	switch {
	case errors.As(err, &locked):
		return component.WithRemedy(err, "stop the agent first")
	case errors.Is(err, os.ErrNotExist):
		return component.WithRemedy(err, "name the agent's data_dir, or the folder of an output below it")
	case errors.Is(err, os.ErrPermission):
		return component.WithRemedy(err, "run this as the agent's user")
	}
	return fmt.Errorf("%s: %w", dir, err)
}
