package reference_test

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
	"github.com/hermod-agent/hermod/pipeline/config/reference"
	"github.com/hermod-agent/hermod/pipeline/config/reference/testdata/sample"
)

var update = flag.Bool("update", false, "write the golden files anew")

const root = "../../.."

func sampleDefinition() component.Definition {
	return component.Definition{
		Kind: component.Input, Type: "sample", Summary: "Something to look at.", Emits: component.Metrics, Job: "sample",
		Config: func() any {
			return &sample.Config{Wait: config.Duration(90 * time.Second), Hold: 1 << 20, Names: []string{"a", "b"}, Headers: map[string]string{"a": "x"}, Limit: 3}
		},
		Example: "input \"sample\" {\n  address = \"a:1\"\n}\n",
	}
}

func TestAPageMatchesItsGolden(t *testing.T) {
	pages, err := reference.Generate(root, []component.Definition{sampleDefinition()})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"input.sample.md", "index.md"} {
		golden := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(golden, pages[name], 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if string(pages[name]) != string(want) {
			t.Errorf("%s has changed (run the test with -update if that is right):\n%s", name, pages[name])
		}
	}
}

func TestLanguagePageNamesEveryFunctionAndCommonAttribute(t *testing.T) {
	pages, err := reference.Generate(root, nil)
	if err != nil {
		t.Fatal(err)
	}
	text := string(pages["language.md"])
	for _, group := range config.Functions() {
		for _, f := range group.Functions {
			if !strings.Contains(text, "`"+f.Signature+"`") {
				t.Errorf("language.md lacks %s", f.Signature)
			}
		}
	}
	for _, kind := range []string{"input", "output"} {
		for _, name := range config.CommonAttributes(config.BlockType{Kind: kind, EmitsMetrics: true}) {
			if !strings.Contains(text, "| `"+name+"`") {
				t.Errorf("language.md lacks the common attribute %s", name)
			}
		}
	}
	if strings.Contains(text, "<!-- functions") || strings.Contains(text, "<!-- common") {
		t.Error("a mark was left in the page")
	}
	if !strings.Contains(string(pages["agent.md"]), "`drain_timeout`") {
		t.Error("agent.md lacks drain_timeout")
	}
}

func TestGenerateRefusesWhatIsNotDocumented(t *testing.T) {
	silent := sampleDefinition()
	silent.Config = func() any { return &sample.Silent{} }
	mute := sampleDefinition()
	mute.Type, mute.Example = "mute", ""
	_, err := reference.Generate(root, []component.Definition{silent, mute})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"sample.Silent.Name", "no comment", "input.mute has no Example"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error lacks %q:\n%v", want, err)
		}
	}
}

func TestStaleNamesWhatDiffersAndWriteMendsIt(t *testing.T) {
	pages, err := reference.Generate(root, []component.Definition{sampleDefinition()})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := pages.Write(dir); err != nil {
		t.Fatal(err)
	}
	if stale, err := pages.Stale(dir); err != nil || len(stale) != 0 {
		t.Fatalf("fresh pages are stale: %v, %v", stale, err)
	}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("agent.md", "something else")
	write("input.gone.md", string(pages["input.sample.md"]))
	write("by-hand.md", "# Written by a person\n")
	stale, err := pages.Stale(dir)
	if err != nil || !slices.Equal(stale, []string{"agent.md", "input.gone.md"}) {
		t.Fatalf("stale: %v, %v", stale, err)
	}
	if err := pages.Write(dir); err != nil {
		t.Fatal(err)
	}
	if stale, err := pages.Stale(dir); err != nil || len(stale) != 0 {
		t.Fatalf("still stale: %v, %v", stale, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "by-hand.md")); err != nil {
		t.Error("a page written by hand was removed")
	}
}
