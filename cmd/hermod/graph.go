package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
	"github.com/hermod-agent/hermod/pipeline/graph"
)

func (a *app) graphCommand() *cobra.Command {
	var dot bool
	c := &cobra.Command{
		Use:   "graph FILE|DIR",
		Short: "Draw what a config connects",
		Long: "Graph draws the components of a config and what flows between them: as text, or as DOT for Graphviz\n" +
			"(hermod graph --dot agent.hcl | dot -Tsvg > agent.svg).",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeConfig,
		RunE: a.does(func(c *cobra.Command, args []string) error {
			s := &pathSource{path: args[0], options: a.configOptions(c.Context())}
			file, diags := s.load()
			var plan graph.Status
			if !diags.HasErrors() {
				drawn, more := graph.Plan(file, a.definitions)
				plan, diags = drawn, config.Sort(append(diags, more...))
			}
			a.tell(diags, file)
			if diags.HasErrors() {
				return faulty(s, diags)
			}
			if dot {
				fmt.Fprint(a.stdout, drawDOT(&plan))
				return nil
			}
			fmt.Fprint(a.stdout, drawText(&plan))
			return nil
		}),
	}
	c.Flags().BoolVar(&dot, "dot", false, "draw in DOT")
	return c
}

// drawText draws a plan as trees that grow from the inputs. What several lead to is drawn below the first of them.
func drawText(s *graph.Status) string {
	d := &drawing{below: map[string][]graph.Edge{}, drawn: map[string]bool{}}
	fed := map[string]bool{}
	for _, e := range s.Edges {
		d.below[e.From] = append(d.below[e.From], e)
		fed[e.To] = true
	}
	for _, n := range s.Nodes {
		if n.Kind == string(component.Input) {
			d.WriteString(n.Address)
			if len(d.below[n.Address]) == 0 {
				d.WriteString("  (nobody takes from it)")
			}
			d.WriteByte('\n')
			d.children(n.Address, "")
		}
	}
	for _, n := range s.Nodes {
		if n.Kind != string(component.Input) && !fed[n.Address] {
			d.WriteString(n.Address + "  (takes from nobody)\n")
			d.children(n.Address, "")
		}
	}
	return d.String()
}

type drawing struct {
	strings.Builder
	below map[string][]graph.Edge
	drawn map[string]bool
}

func (d *drawing) children(of, indent string) {
	d.drawn[of] = true
	edges := d.below[of]
	for i, e := range edges {
		branch, deeper := "├─ ", "│  "
		if i == len(edges)-1 {
			branch, deeper = "└─ ", "   "
		}
		d.WriteString(indent + branch + e.Signal + " → " + e.To)
		switch {
		case d.drawn[e.To] && len(d.below[e.To]) > 0:
			d.WriteString("  (goes on above)\n")
		case len(d.below[e.To]) == 0 && strings.HasPrefix(e.To, string(component.Processor)+"."):
			d.WriteString("  (nobody takes from it)\n")
		default:
			d.WriteByte('\n')
			d.children(e.To, indent+deeper)
		}
	}
}

// drawDOT draws a plan for Graphviz (https://graphviz.org/doc/info/lang.html).
func drawDOT(s *graph.Status) string {
	var b strings.Builder
	b.WriteString("digraph hermod {\n  rankdir=LR;\n  node [shape=box, fontname=\"sans-serif\"];\n  edge [fontname=\"sans-serif\", fontsize=10];\n")
	for _, kind := range kinds() {
		nodes := slices.DeleteFunc(slices.Clone(s.Nodes), func(n graph.Node) bool { return n.Kind != kind })
		if len(nodes) == 0 {
			continue
		}
		if kind != string(component.Processor) {
			b.WriteString("  { rank=same;")
			for _, n := range nodes {
				b.WriteString(" " + dotQuote(n.Address) + ";")
			}
			b.WriteString(" }\n")
			continue
		}
		for _, n := range nodes {
			b.WriteString("  " + dotQuote(n.Address) + " [style=rounded];\n")
		}
	}
	for _, e := range s.Edges {
		fmt.Fprintf(&b, "  %s -> %s [label=%s];\n", dotQuote(e.From), dotQuote(e.To), dotQuote(e.Signal))
	}
	b.WriteString("}\n")
	return b.String()
}

// dotQuote makes a string of DOT, in which a backslash is doubled and a quote escaped.
func dotQuote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", " ").Replace(s) + `"`
}
