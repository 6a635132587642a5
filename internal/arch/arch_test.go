package arch

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/hermod-agent/hermod/"

// rooms says what the packages of each folder may import of this module, besides packages of the same folder. A folder is named by the
// longest prefix that stands here; "*" is a room of its own for each folder below.
var rooms = map[string][]string{
	// What flows, and what both ends of the agent share without knowing one another.
	"pipeline/dense":     {},
	"pipeline/positions": {"internal/crashpoint"},
	"pipeline/metrics":   {"pipeline/dense"},
	"pipeline/logs":      {"pipeline/dense"},
	"pipeline/config":    {},
	// Writes the reference pages from the definitions; it is used by programs only.
	"pipeline/config/reference": {"pipeline/component", "pipeline/config"},
	"pipeline/queue":            {"internal/crashpoint", "pipeline/config", "pipeline/positions"},
	// The contract: all that a component has to know of the engine.
	"pipeline/component": {"pipeline/dense", "pipeline/logs", "pipeline/metrics", "pipeline/positions"},
	"pipeline/delivery":  {"pipeline/component", "pipeline/config", "pipeline/logs", "pipeline/metrics", "pipeline/queue"},
	// The engine, which knows no concrete component.
	"pipeline/graph": {"pipeline/component", "pipeline/config", "pipeline/dense", "pipeline/logs", "pipeline/metrics", "pipeline/positions"},
	"pipeline/admin": {"pipeline/component", "pipeline/config", "pipeline/graph"},
	"pipeline/componenttest": {
		"pipeline/component", "pipeline/config", "pipeline/dense", "pipeline/graph", "pipeline/logs", "pipeline/metrics", "pipeline/positions",
	},
	// What several components share.
	"internal/*": {
		"pipeline/component", "pipeline/config", "pipeline/dense", "pipeline/logs", "pipeline/metrics", "pipeline/positions", "internal",
	},
	// The components: none knows another.
	"inputs/*":     components,
	"processors/*": components,
	"outputs/*":    components,
	// The lists of them.
	"inputs":     {"pipeline/component", "inputs"},
	"processors": {"pipeline/component", "processors"},
	"outputs":    {"pipeline/component", "outputs"},
	// The programs see everything.
	"cmd":         {"cmd", "docs", "inputs", "internal", "outputs", "pipeline", "processors"},
	"docs":        {"cmd", "docs", "inputs", "internal", "outputs", "pipeline", "processors"},
	"integration": {"integration", "internal/porttest", "pipeline"},
}

var components = []string{
	"internal", "pipeline/component", "pipeline/config", "pipeline/delivery", "pipeline/dense", "pipeline/logs", "pipeline/metrics",
	"pipeline/positions", "pipeline/queue",
}

// testsMay are what the tests of any package may use as well: componenttest runs a component under an engine.
var testsMay = []string{"pipeline", "internal"}

type pkg struct {
	ImportPath, Dir                             string
	GoFiles, Imports, TestImports, XTestImports []string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-e", "-tags=integration", "-json", module+"...").Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %v\n%s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	var all []pkg
	decoder := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p pkg
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if len(all) < 5 {
		t.Fatalf("go list found %d packages", len(all))
	}
	return all
}

// roomOf finds the rule for a path within the module.
func roomOf(path string) (name string, ok bool) {
	for _, candidate := range slices.SortedFunc(maps.Keys(rooms), func(a, b string) int { return len(b) - len(a) }) {
		prefix, each := strings.CutSuffix(candidate, "/*")
		switch {
		case each && strings.HasPrefix(path, prefix+"/"):
			return candidate, true
		case !each && (path == candidate || !isList(candidate) && strings.HasPrefix(path, candidate+"/")):
			return candidate, true
		}
	}
	return "", false
}

// isList says that the rule is for the folder alone, not for what lies below.
func isList(room string) bool { _, each := rooms[room+"/*"]; return each }

// home is the folder in which packages of one room may know one another.
func home(path, room string) string {
	prefix, each := strings.CutSuffix(room, "/*")
	if !each {
		return room
	}
	first, _, _ := strings.Cut(strings.TrimPrefix(path, prefix+"/"), "/")
	return prefix + "/" + first
}

func under(path string, folders []string) bool {
	return slices.ContainsFunc(folders, func(f string) bool { return path == f || strings.HasPrefix(path, f+"/") })
}

func mayImport(from, to string, test bool) bool {
	room, ok := roomOf(from)
	if !ok {
		return false
	}
	if test && under(to, testsMay) {
		return true
	}
	return under(to, []string{home(from, room)}) || under(to, rooms[room])
}

func TestArrowsOnlyGoDown(t *testing.T) {
	for _, p := range packages(t) {
		from := strings.TrimPrefix(p.ImportPath, module)
		if from+"/" == module || p.ImportPath+"/" == module {
			continue // a file of the repository's root
		}
		if _, ok := roomOf(from); !ok {
			t.Errorf("%s lies in no room of the house: say in this test what it may import, or put it where it belongs", from)
			continue
		}
		check := func(imports []string, test bool) {
			for _, i := range imports {
				to, ours := strings.CutPrefix(i, module)
				if ours && !mayImport(from, to, test) {
					t.Errorf("%s imports %s: that arrow goes up or across", from, to)
				}
			}
		}
		check(p.Imports, false)
		check(p.TestImports, true)
		check(slices.DeleteFunc(slices.Clone(p.XTestImports), func(i string) bool { return i == p.ImportPath }), true)
	}
}

func TestTheRulesRefuseWhatTheyShould(t *testing.T) {
	for _, c := range []struct {
		from, to string
		test, ok bool
	}{
		{"inputs/host", "inputs/files", false, false},
		{"inputs/host", "inputs/files", true, false},
		{"inputs/host", "outputs/loki", false, false},
		{"inputs/host", "inputs", false, false},
		{"inputs/host", "pipeline/graph", false, false},
		{"inputs/host", "pipeline/componenttest", true, true},
		{"inputs/host", "pipeline/componenttest", false, false},
		{"inputs/host/netlink", "inputs/host", false, true},
		{"inputs/host", "internal/hostinfo", false, true},
		{"outputs/loki", "pipeline/delivery", false, true},
		{"inputs", "inputs/host", false, true},
		{"inputs", "outputs", false, false},
		{"pipeline/graph", "inputs/host", false, false},
		{"pipeline/graph", "inputs", true, false},
		{"pipeline/component", "pipeline/graph", false, false},
		{"pipeline/metrics", "pipeline/component", false, false},
		{"internal/tail", "inputs/files", false, false},
		{"internal/tail", "pipeline/graph", false, false},
		{"cmd/hermod", "inputs", false, true},
		{"integration", "cmd/hermod", false, false},
		{"somewhere", "pipeline/graph", false, false},
	} {
		if got := mayImport(c.from, c.to, c.test); got != c.ok {
			t.Errorf("%s -> %s (test: %v): allowed is %v, want %v", c.from, c.to, c.test, got, c.ok)
		}
	}
}

// What the program is made of: nothing of it starts other programs, ends the process behind main's back, or works by being imported.
func TestTheAgentKeepsTheHouseRules(t *testing.T) {
	for _, p := range packages(t) {
		path := strings.TrimPrefix(p.ImportPath, module)
		if under(path, []string{"integration", "docs"}) {
			continue
		}
		if slices.Contains(p.Imports, "os/exec") {
			t.Errorf("%s imports os/exec: the agent starts no programs", path)
		}
		if slices.Contains(p.Imports, "testing") && !strings.HasSuffix(path, "test") {
			t.Errorf("%s imports testing outside a test", path)
		}
		for _, name := range p.GoFiles {
			files := token.NewFileSet()
			file, err := parser.ParseFile(files, filepath.Join(p.Dir, name), nil, 0)
			if err != nil {
				t.Errorf("%s/%s: %v", path, name, err)
				continue
			}
			for _, fault := range faultsOf(file, under(path, []string{"cmd"})) {
				t.Errorf("%s: %s", files.Position(fault.at), fault.what)
			}
		}
	}
}

type fault struct {
	at   token.Pos
	what string
}

func faultsOf(file *ast.File, program bool) []fault {
	var faults []fault
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
			faults = append(faults, fault{f.Pos(), "init() works by being imported: let who needs it call it"})
		}
	}
	if program {
		return faults
	}
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		if s, ok := call.Fun.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok && x.Obj == nil && (x.Name == "os" && s.Sel.Name == "Exit" || x.Name == "log" && strings.HasPrefix(s.Sel.Name, "Fatal")) {
				faults = append(faults, fault{call.Pos(), x.Name + "." + s.Sel.Name + ": only main ends the process; return an error"})
			}
		}
		return true
	})
	return faults
}

func TestFaultsOfAFileAreFound(t *testing.T) {
	const source = `package x
import ("os"; "log")
func init() {}
func a() { os.Exit(1); log.Fatalf("x") }
func (t T) init() {}
`
	file, err := parser.ParseFile(token.NewFileSet(), "x.go", source, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got := faultsOf(file, false); len(got) != 3 {
		t.Errorf("found %v", got)
	}
	if got := faultsOf(file, true); len(got) != 1 {
		t.Errorf("in a program: found %v", got)
	}
}
