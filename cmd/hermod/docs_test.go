package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
)

// textSource is a config that a test has at hand.
type textSource struct {
	file    string
	text    string
	options config.Options
}

func (s *textSource) name() string { return s.file }
func (s *textSource) load() (*config.File, hcl.Diagnostics) {
	return config.Parse(map[string][]byte{s.file: []byte(s.text)}, s.options)
}

// problems validates a config as `hermod validate` does. Every environment variable is set, to what its name says or to what a URL and a
// password may be, and AWS tells whatever it is asked.
func problems(t *testing.T, name, text string) string {
	k := newConsole()
	k.getenv = func(name string) (string, bool) {
		switch {
		case strings.HasSuffix(name, "_LISTEN"):
			return "127.0.0.1:12345", true
		case strings.HasSuffix(name, "_USER"):
			return "somebody", true
		}
		return "http://example.com/push", true
	}
	k.metadata = func(context.Context) func(function, item string) (string, error) {
		return func(_, item string) (string, error) { return "some-" + filepath.Base(item), nil }
	}
	s := &textSource{file: name, text: text, options: k.configOptions(t.Context())}
	f, diags := s.load()
	if !diags.HasErrors() {
		diags = append(diags, k.check(t.Context(), s, f)...)
	}
	if !diags.HasErrors() {
		return ""
	}
	return render(diags, f, false)
}

func TestTheExampleConfigIsValidAndShowsEveryType(t *testing.T) {
	b, err := os.ReadFile("../../agent.hcl.example")
	if err != nil {
		t.Fatal(err)
	}
	if p := problems(t, "agent.hcl.example", string(b)); p != "" {
		t.Error(p)
	}
	for _, d := range newConsole().definitions {
		if !strings.Contains(string(b), fmt.Sprintf("%s %q", d.Kind, d.Type)) {
			t.Errorf("agent.hcl.example does not show %s %q", d.Kind, d.Type)
		}
	}
}

func TestTheConfigsOfTheExamplesAreValid(t *testing.T) {
	files, err := filepath.Glob("../../examples/*/*.hcl")
	if err != nil || len(files) == 0 {
		t.Fatalf("no configs: %v", err)
	}
	for _, path := range files {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		text, err := complete(path, string(b)) // what the files of one folder share may stand in another one
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if p := problems(t, path, text); p != "" {
			t.Error(p)
		}
	}
}

// The README in Korean is the other one: the same headings, commands, links and snippets, word for word where they are no prose.
func TestBothReadmesShowTheSame(t *testing.T) {
	blocks := func(path string) (code []string, headings int) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		in := false
		for line := range strings.Lines(string(b)) {
			line = strings.TrimRight(line, "\n")
			fence := strings.HasPrefix(line, "```")
			switch {
			case fence:
				in = !in
				code = append(code, line)
			case in, strings.HasPrefix(line, "    "):
				line, _, _ = strings.Cut(line, "#") // comments are translated
				code = append(code, strings.TrimSpace(line))
			case strings.HasPrefix(line, "#"):
				headings++
			}
		}
		return code, headings
	}
	english, sections := blocks("../../README.md")
	korean, sectionsKorean := blocks("../../README.ko.md")
	if sections != sectionsKorean {
		t.Errorf("%d headings in English, %d in Korean", sections, sectionsKorean)
	}
	if a, b := strings.Join(english, "\n"), strings.Join(korean, "\n"); a != b {
		t.Errorf("the code of README.md:\n%s\n\nand of README.ko.md:\n%s", a, b)
	}
}

func TestEverySnippetInTheDocsIsValid(t *testing.T) {
	snippets := 0
	check := func(path string) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range hclSnippets(string(b)) {
			snippets++
			name := fmt.Sprintf("%s:%d", strings.TrimPrefix(filepath.ToSlash(path), "../../"), s.line)
			text, err := complete(path, s.text)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if p := problems(t, name, text); p != "" {
				t.Errorf("%s\nin\n%s", p, text)
			}
		}
	}
	check("../../README.md")
	check("../../README.ko.md")
	for _, folder := range []string{"../../docs", "../../examples"} {
		err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && strings.HasSuffix(path, ".md") {
				check(path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if least := len(newConsole().definitions); snippets < least {
		t.Errorf("only %d snippets were found; the reference alone has %d", snippets, least)
	}
}

type snippet struct {
	line int
	text string
}

// hclSnippets finds the fenced blocks of the config language in a Markdown text.
func hclSnippets(markdown string) []snippet {
	var out []snippet
	var in *snippet
	for i, line := range strings.Split(markdown, "\n") {
		trimmed := strings.TrimSpace(line)
		switch {
		case in == nil && trimmed == "```hcl":
			in = &snippet{line: i + 2}
		case in != nil && trimmed == "```":
			out = append(out, *in)
			in = nil
		case in != nil:
			in.text += line + "\n"
		}
	}
	return out
}

// complete makes a whole config of a snippet: attributes alone are put into the block that the page is about, and what a from names
// and the snippet doesn't show is added from the documented example of its type.
func complete(path, text string) (string, error) {
	parse := func(text string) (*hclsyntax.Body, error) {
		f, diags := hclsyntax.ParseConfig([]byte(text), "snippet", hcl.InitialPos)
		if diags.HasErrors() {
			return nil, diags
		}
		return f.Body.(*hclsyntax.Body), nil
	}
	body, err := parse(text)
	if err != nil {
		return "", err
	}
	top := []string{"agent", "locals", "input", "processor", "output"}
	fragment := len(body.Attributes) > 0 || slices.ContainsFunc(body.Blocks, func(b *hclsyntax.Block) bool { return !slices.Contains(top, b.Type) })
	if fragment {
		kind, typ, _ := strings.Cut(strings.TrimSuffix(filepath.Base(path), ".md"), ".") // input.host.md
		d := definition(kind, typ)
		if d == nil {
			return "", fmt.Errorf("a fragment stands on a page that is about no component:\n%s", text)
		}
		text = fmt.Sprintf("%s %q {\n%s}\n", d.Kind, d.Type, text)
		if body, err = parse(text); err != nil {
			return "", err
		}
	}
	for round := 0; round < 5; round++ { // an added processor has sources of its own
		missing := absent(body)
		if len(missing) == 0 {
			break
		}
		for _, ref := range missing {
			d := definition(ref[0], ref[1])
			if d == nil {
				return "", fmt.Errorf("from names %s, which does not exist", strings.Join(ref, "."))
			}
			example, err := parse(d.Example)
			if err != nil || len(example.Blocks) == 0 {
				return "", fmt.Errorf("the example of %s.%s: %v", ref[0], ref[1], err)
			}
			block := example.Blocks[slices.IndexFunc(example.Blocks, func(b *hclsyntax.Block) bool {
				return b.Type == ref[0] && b.Labels[0] == ref[1]
			})]
			head := fmt.Sprintf("\n%s %q ", ref[0], ref[1])
			if len(ref) > 2 {
				head += fmt.Sprintf("%q ", ref[2])
			}
			text += head + d.Example[block.OpenBraceRange.Start.Byte:block.CloseBraceRange.End.Byte] + "\n"
		}
		if body, err = parse(text); err != nil {
			return "", err
		}
	}
	return text, nil
}

func definition(kind, typ string) *component.Definition {
	k := newConsole()
	for i := range k.definitions {
		if d := &k.definitions[i]; string(d.Kind) == kind && d.Type == typ {
			return d
		}
	}
	return nil
}

// absent lists what the from attributes name (kind, type and perhaps name) and no block is.
func absent(body *hclsyntax.Body) [][]string {
	var out [][]string
	for _, b := range body.Blocks {
		from := b.Body.Attributes["from"]
		if from == nil {
			continue
		}
		for _, traversal := range from.Expr.Variables() {
			ref := []string{traversal.RootName()}
			for _, step := range traversal[1:] {
				if a, ok := step.(hcl.TraverseAttr); ok {
					ref = append(ref, a.Name)
				}
			}
			if len(ref) == 1 {
				typ := map[string]string{"input": "host", "processor": "relabel"}[ref[0]]
				if d := definition(b.Type, b.Labels[0]); ref[0] == "input" && d != nil && d.Takes == component.Logs {
					typ = "files"
				}
				ref = append(ref, typ)
				if slices.ContainsFunc(body.Blocks, func(b *hclsyntax.Block) bool { return b.Type == ref[0] }) {
					continue
				}
			}
			there := func(b *hclsyntax.Block) bool {
				labels := append([]string{b.Type}, b.Labels...)
				return len(labels) >= len(ref) && slices.Equal(labels[:len(ref)], ref)
			}
			known := func(r []string) bool { return slices.Equal(r, ref) }
			if !slices.ContainsFunc(body.Blocks, there) && !slices.ContainsFunc(out, known) {
				out = append(out, ref)
			}
		}
	}
	return out
}
