package graph

import (
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"

	"github.com/hermod-agent/hermod/pipeline/config"
)

func TestPlanReportsWhatCanBeSeenWithoutBuilding(t *testing.T) {
	for _, c := range []struct{ name, src, want string }{
		{"wrong signal", `
input "lines" "a" {}
output "push" "p" { from = input.lines.a }`, "output.push.p takes metrics, and input.lines.a gives logs"},
		{"wrong signal by type", `
input "lines" "a" {}
input "numbers" "n" {}
output "push" "p" { from = [input.numbers, input.lines] }`, "gives logs"},
		{"cycle", `
input "numbers" {}
processor "pass" "a" { from = [input.numbers, processor.pass.b] }
processor "pass" "b" { from = processor.pass.a }
output "push" "p" { from = processor.pass.b }`, "processor.pass.b -> processor.pass.a -> processor.pass.b"},
		{"cycle of one", `
input "numbers" {}
processor "pass" "a" { from = processor.pass.a }
output "push" "p" { from = [processor.pass.a, input.numbers] }`, "processor.pass.a -> processor.pass.a"},
		{"twice", `
input "numbers" {}
processor "pass" "a" { from = input.numbers }
output "push" "p" { from = [input.numbers, processor.pass.a] }`, "reach output.push.p directly and through processor.pass.a"},
		{"twice through where on one way only", `
input "numbers" {}
processor "pass" "a" {
  from  = input.numbers
  where = { a = "b" }
}
output "push" "p" { from = [input.numbers, processor.pass.a] }`, "Data would arrive twice"},
		{"parted by where", `
input "numbers" {}
processor "pass" "a" {
  from  = input.numbers
  where = { a = "b" }
}
processor "pass" "b" {
  from  = input.numbers
  where = { a = "!b" }
}
output "push" "p" { from = processor }`, ""},
		{"unused input", `
input "numbers" "a" {}
input "numbers" "b" {}
output "push" "p" { from = input.numbers.a }`, "Nothing takes from input.numbers.b"},
		{"unused processor", `
input "numbers" "a" {}
processor "pass" "x" { from = input }
output "push" "p" { from = input.numbers.a }`, "Nothing takes from processor.pass.x"},
		{"prefix means what fits", `
input "numbers" {}
input "lines" {}
output "push" "p" { from = input }
output "sink" "s" { from = input.lines }`, ""},
		{"nothing behind a prefix fits", `
input "lines" {}
output "push" "p" { from = input }
output "sink" "s" { from = input }`, "output.push.p takes metrics, and input gives logs"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			_, diags := makePlan(w.parse(c.src), w.engine.options.Definitions)
			got := config.Render(diags, nil, false)
			if c.want == "" && len(diags) > 0 {
				t.Fatalf("unexpected:\n%s", got)
			}
			if !strings.Contains(strings.Join(strings.Fields(got), " "), c.want) {
				t.Fatalf("want %q in:\n%s", c.want, got)
			}
		})
	}
}

func TestListenersCollide(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"127.0.0.1:9100", "127.0.0.1:9100", true},
		{"127.0.0.1:9100", "127.0.0.2:9100", false},
		{"127.0.0.1:9100", ":9100", true},
		{"0.0.0.0:9100", "192.0.2.1:9100", true},
		{"localhost:9100", "127.0.0.1:9100", true},
		{"127.0.0.1:0", "127.0.0.1:0", false},
		{"unix:/a", "unix:/a", true},
		{"unix:/a", "unix:/b", false},
	} {
		if got := collide(c.a, c.b); got != c.want {
			t.Errorf("collide(%q, %q) = %v", c.a, c.b, got)
		}
	}
}

func TestOpenFaultsStandAtTheirAttribute(t *testing.T) {
	w := newWorld(t)
	f := w.parse("input \"numbers\" {\n  value = \"bad\"\n}\noutput \"push\" \"p\" {\n  from = input\n}\n")
	diags := w.engine.Check(f)
	if len(diags) != 1 || diags[0].Subject.Start.Line != 2 {
		t.Fatalf("%v", diags)
	}
}

func TestFaultsOfTheGraphAreToldBesideThoseOfTheFile(t *testing.T) {
	w := newWorld(t)
	src := `agent { intervall = "1s" }
input "number" "a" {}
input "lines" "l" {}
output "push" "p" { from = input.lines }
output "sink" "s" { from = input.line }
processor "pass" "x" { from = processor.pass.y }
processor "pass" "y" { from = processor.pass.x }
`
	definitions := w.engine.options.Definitions
	f, diags := config.Parse(map[string][]byte{"test.hcl": []byte(src)}, config.Options{
		Types: BlockTypes(definitions),
		Also:  func(f *config.File) hcl.Diagnostics { return Faults(f, definitions) },
	})
	if f != nil {
		t.Error("a faulty config gave a file")
	}
	var lines []int
	for _, d := range diags {
		lines = append(lines, d.Subject.Start.Line)
	}
	if want := []int{1, 2, 4, 5, 7}; !slices.Equal(lines, want) {
		t.Errorf("faults at lines %v, want %v:\n%s", lines, want, config.Render(diags, nil, false))
	}
}
