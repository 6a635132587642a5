package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hermod-agent/hermod/docs/reference"
	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
)

// kinds are the nouns of the config language.
func kinds() []string {
	return []string{string(component.Input), string(component.Processor), string(component.Output)}
}

// topics are the pages of the reference that are about no component.
func topics() []string { return []string{"agent", "language"} }

func (a *app) helpCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND | input TYPE | processor TYPE | output TYPE | agent | language]",
		Short: "Help on a command, or the reference of a component",
		Long: "Help tells about a command, about each type of input, processor and output (what it does and every attribute it takes),\n" +
			"about the agent block and about the language of the config.",
		Example: "  hermod help run\n  hermod help input              the types of inputs\n" +
			"  hermod help input docker_logs  all about one\n  hermod help agent              what is set for all",
		Args: cobra.MaximumNArgs(2),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			return a.completeHelp(root, args), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: a.does(func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) == 0:
				return root.Help()
			case slices.Contains(kinds(), args[0]) && len(args) == 1:
				a.listTypes(args[0])
				return nil
			case slices.Contains(kinds(), args[0]):
				return a.explainType(args[0], args[1])
			}
			if slices.Contains(topics(), args[0]) && len(args) == 1 {
				page, _ := reference.Page(args[0], "")
				a.showPage(page)
				return nil
			}
			command, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 || command == root {
				return a.unknownTopic(root, args)
			}
			command.InitDefaultHelpFlag()
			return command.Help()
		}),
	}
}

func (a *app) completeHelp(root *cobra.Command, args []string) []string {
	var out []string
	switch len(args) {
	case 0:
		out = append(kinds(), topics()...)
		for _, c := range root.Commands() {
			if c.IsAvailableCommand() {
				out = append(out, c.Name()+"\t"+c.Short)
			}
		}
	case 1:
		for _, d := range a.types(args[0]) {
			out = append(out, d.Type+"\t"+d.Summary)
		}
	}
	return out
}

func (a *app) listTypes(kind string) {
	width := 0
	for _, d := range a.types(kind) {
		width = max(width, len(d.Type))
	}
	for _, d := range a.types(kind) {
		fmt.Fprintf(a.stdout, "%-*s  %s\n", width, d.Type, d.Summary)
	}
	fmt.Fprintf(a.stdout, "\nhermod help %s TYPE tells all about one.\n", kind)
}

// showPage prints a page of the reference without the comment for those who edit it.
func (a *app) showPage(page string) {
	if rest, ok := strings.CutPrefix(page, "<!--"); ok {
		_, page, _ = strings.Cut(rest, "-->")
	}
	fmt.Fprintln(a.stdout, strings.TrimSpace(page))
}

func (a *app) explainType(kind, typ string) error {
	if page, ok := reference.Page(kind, typ); ok {
		a.showPage(page)
		return nil
	}
	var names []string
	for _, d := range a.types(kind) {
		names = append(names, d.Type)
	}
	return &exit{code: exitUsage, err: component.WithRemedy(
		fmt.Errorf("there is no %s %q%s", kind, typ, config.Suggest(typ, names)), "hermod help "+kind+" lists what there is")}
}

// unknownTopic names what the reader may have meant: often the type of a component without its kind.
func (a *app) unknownTopic(root *cobra.Command, args []string) error {
	var meant []string
	for _, kind := range kinds() {
		for _, d := range a.types(kind) {
			if d.Type == args[0] {
				meant = append(meant, fmt.Sprintf("hermod help %s %s", kind, d.Type))
			}
		}
	}
	if len(meant) > 0 {
		return &exit{code: exitUsage, err: component.WithRemedy(fmt.Errorf("there is no command %q", args[0]), "try "+strings.Join(meant, " or "))}
	}
	names := append(kinds(), topics()...)
	for _, c := range root.Commands() {
		names = append(names, c.Name())
	}
	return usage("there is no command %q%s", strings.Join(args, " "), config.Suggest(args[0], names))
}
