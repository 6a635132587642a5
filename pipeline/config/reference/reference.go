// Package reference writes docs/reference from the code: a page for each component, made of its Definition, of the struct type of its
// config and of the comments on the fields; a page on the agent block, one on the language, and an index.
package reference

import (
	"bytes"
	"cmp"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
)

// Pages are the pages by file name.
type Pages map[string][]byte

// languageText is the prose of language.md; lines like <!-- functions --> stand for what is generated.
//
//go:embed language.md
var languageText string

const generated = "<!-- Generated from the code by `go run ./docs/reference/gen`. Do not edit. -->\n\n"

// Generate makes the pages. root is the folder of the module, whose sources hold the comments. A config field without a comment is an
// error, as is a component without an example.
func Generate(root string, definitions []component.Definition) (Pages, error) {
	g := &generator{comments: newComments(root)}
	pages := Pages{}
	sorted := slices.Clone(definitions)
	order := map[component.Kind]int{component.Input: 0, component.Processor: 1, component.Output: 2}
	slices.SortFunc(sorted, func(a, b component.Definition) int {
		return cmp.Or(cmp.Compare(order[a.Kind], order[b.Kind]), strings.Compare(a.Type, b.Type))
	})
	for i := range sorted {
		d := &sorted[i]
		name := d.Address() + ".md"
		if pages[name] != nil {
			return nil, fmt.Errorf("%s: there are two definitions", d.Address())
		}
		pages[name] = g.component(d)
	}
	pages["agent.md"] = g.agent()
	pages["language.md"] = g.language()
	pages["index.md"] = index(sorted)
	if len(g.faults) > 0 {
		return nil, fmt.Errorf("the reference can't be written:\n  %s", strings.Join(g.faults, "\n  "))
	}
	return pages, nil
}

// Write writes the pages that differ to a folder and removes pages that are no longer generated.
func (p Pages) Write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	stale, err := p.Stale(dir)
	if err != nil {
		return err
	}
	for _, name := range stale {
		path := filepath.Join(dir, name)
		if p[name] == nil {
			err = os.Remove(path)
		} else {
			err = os.WriteFile(path, p[name], 0o644)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Stale lists the pages of a folder that are missing, differ or should be gone. Files that weren't generated are left out.
func (p Pages) Stale(dir string) ([]string, error) {
	var stale []string
	for name, page := range p {
		if have, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(have, page) {
			stale = append(stale, name)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.IsDir() || filepath.Ext(e.Name()) != ".md" || p[e.Name()] != nil {
			continue
		}
		have, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		if bytes.HasPrefix(have, []byte(generated)) {
			stale = append(stale, e.Name())
		}
	}
	slices.Sort(stale)
	return stale, nil
}

type generator struct {
	comments *comments
	faults   []string
}

func (g *generator) faultf(format string, args ...any) {
	g.faults = append(g.faults, fmt.Sprintf(format, args...))
}

// component makes the page of a component.
func (g *generator) component(d *component.Definition) []byte {
	var b bytes.Buffer
	b.WriteString(generated)
	fmt.Fprintf(&b, "# %s %q\n\n%s\n\n", d.Kind, d.Type, d.Summary)
	switch d.Kind {
	case component.Input:
		fmt.Fprintf(&b, "Gives %s.", d.Emits)
		if d.Emits&component.Metrics != 0 && d.Job != "" {
			fmt.Fprintf(&b, " Its `job` is `%s` unless set.", d.Job)
		}
	case component.Processor:
		fmt.Fprintf(&b, "Takes %s, and gives on what it takes.", d.Takes)
	default:
		fmt.Fprintf(&b, "Takes %s.", d.Takes)
	}
	b.WriteString("\n\n")
	if example := strings.TrimSpace(d.Example); example == "" {
		g.faultf("%s has no Example", d.Address())
	} else {
		fmt.Fprintf(&b, "## Example\n\n```hcl\n%s\n```\n\n", example)
	}
	if d.Summary == "" {
		g.faultf("%s has no Summary", d.Address())
	}
	g.fields(&b, reflect.ValueOf(d.Config()).Elem(), "Attributes")
	common := config.CommonAttributes(config.BlockType{
		Kind: string(d.Kind), EmitsMetrics: d.Emits&component.Metrics != 0, EmitsLogs: d.Emits&component.Logs != 0,
		TakesMetrics: d.Takes&component.Metrics != 0, TakesLogs: d.Takes&component.Logs != 0,
	})
	b.WriteString("## Common attributes\n\nThe engine looks after these; [the language](language.md#common-attributes) tells more.\n\n")
	rows := [][]string{{"Attribute", "Type", "Default", "Description"}}
	for _, c := range commonAttributes() {
		if slices.Contains(common, c.name) {
			rows = append(rows, []string{"`" + c.name + "`", c.typ, c.value, c.doc})
		}
	}
	table(&b, rows)
	b.WriteString(g.comments.more(d.ConfigType()))
	return trimmed(&b)
}

func (g *generator) agent() []byte {
	var b bytes.Buffer
	b.WriteString(generated)
	b.WriteString("# agent\n\nThe block `agent` says what holds for the agent as a whole. It may stand once, or be left out.\n\n## Example\n\n")
	b.WriteString("```hcl\nagent {\n  data_dir = \"/var/lib/hermod\"\n  interval = \"30s\"\n  labels   = { host = hostname(), site = \"home\" }\n}\n```\n\n")
	agent := config.DefaultAgent()
	g.fields(&b, reflect.ValueOf(&agent).Elem(), "Attributes")
	return trimmed(&b)
}

func (g *generator) language() []byte {
	text := languageText
	put := func(mark string, write func(b *bytes.Buffer)) {
		var b bytes.Buffer
		write(&b)
		before, after, found := strings.Cut(text, "<!-- "+mark+" -->\n")
		if !found {
			g.faultf("language.md has no place for the %s", mark)
			return
		}
		text = before + strings.TrimRight(b.String(), "\n") + "\n" + after
	}
	put("functions", func(b *bytes.Buffer) {
		for _, group := range config.Functions() {
			fmt.Fprintf(b, "### %s\n\n", group.Title)
			rows := [][]string{{"Function", "Gives", "Example"}}
			for _, f := range group.Functions {
				example := "`" + f.Example + "`"
				if f.Result != "" {
					example += " is `" + f.Result + "`"
				}
				rows = append(rows, []string{"`" + f.Signature + "`", f.Doc, example})
			}
			table(b, rows)
		}
	})
	put("common attributes", func(b *bytes.Buffer) {
		rows := [][]string{{"Attribute", "In", "Type", "Default", "Description"}}
		for _, c := range commonAttributes() {
			rows = append(rows, []string{"`" + c.name + "`", c.where, c.typ, c.value, c.doc})
		}
		table(b, rows)
	})
	return []byte(generated + strings.TrimRight(text, "\n") + "\n")
}

func index(definitions []component.Definition) []byte {
	var b bytes.Buffer
	b.WriteString(generated)
	b.WriteString("# Reference\n\n- [The language](language.md): blocks, references, types, functions\n- [agent](agent.md): what holds for the agent as a whole\n\n")
	for _, kind := range []component.Kind{component.Input, component.Processor, component.Output} {
		rows := [][]string{{capital(string(kind)), "Signal", "What it does"}}
		for i := range definitions {
			d := &definitions[i]
			if d.Kind == kind {
				rows = append(rows, []string{fmt.Sprintf("[%s](%s.md)", d.Type, d.Address()), (d.Emits | d.Takes).String(), d.Summary})
			}
		}
		if len(rows) > 1 {
			fmt.Fprintf(&b, "## %ss\n\n", capital(string(kind)))
			table(&b, rows)
		}
	}
	return trimmed(&b)
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// table writes rows as a Markdown table, whose columns but the last are aligned so that it reads well in a terminal too.
func table(b *bytes.Buffer, rows [][]string) {
	cells := make([][]string, len(rows))
	widths := make([]int, len(rows[0]))
	for i, row := range rows {
		cells[i] = make([]string, len(row))
		for j, cell := range row {
			cell = strings.ReplaceAll(strings.ReplaceAll(cell, "|", `\|`), "\n", " ")
			cells[i][j] = cell
			widths[j] = max(widths[j], len([]rune(cell)))
		}
	}
	for i, row := range cells {
		b.WriteString("|")
		for j, cell := range row {
			pad := widths[j] - len([]rune(cell))
			if j == len(row)-1 {
				pad = 0
			}
			b.WriteString(" " + cell + strings.Repeat(" ", pad) + " |")
		}
		b.WriteByte('\n')
		if i == 0 {
			b.WriteString("|")
			for j := range row {
				width := widths[j]
				if j == len(row)-1 {
					width = len([]rune(row[j]))
				}
				b.WriteString(" " + strings.Repeat("-", width) + " |")
			}
			b.WriteByte('\n')
		}
	}
	b.WriteByte('\n')
}

func trimmed(b *bytes.Buffer) []byte {
	return append(bytes.TrimRight(b.Bytes(), "\n"), '\n')
}
