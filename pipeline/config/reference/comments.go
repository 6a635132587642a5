package reference

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"strings"
)

// module is the path of this module; only its own sources are at hand.
const module = "github.com/hermod-agent/hermod"

// comments finds the comments on the fields of structs in the sources of this module.
type comments struct {
	root     string
	packages map[string]map[string]*ast.StructType // by package path and type name
}

func newComments(root string) *comments {
	return &comments{root: root, packages: map[string]map[string]*ast.StructType{}}
}

// errNoComment is the fault of a field that says nothing about itself.
var errNoComment = errors.New("the field has no comment: it is the user's documentation")

// field returns the comment on a field as one paragraph; blank lines become spaces.
func (c *comments) field(owner reflect.Type, name string) (string, error) {
	types, err := c.load(owner.PkgPath())
	if err != nil {
		return "", err
	}
	s := types[owner.Name()]
	if s == nil {
		return "", fmt.Errorf("there is no struct type %q in the sources of %s", owner.Name(), owner.PkgPath())
	}
	for _, f := range s.Fields.List {
		named := len(f.Names) == 0 && embeddedName(f.Type) == name
		for _, n := range f.Names {
			named = named || n.Name == name
		}
		if !named {
			continue
		}
		text := ""
		if f.Doc != nil {
			text = f.Doc.Text()
		}
		if strings.TrimSpace(text) == "" && f.Comment != nil {
			text = f.Comment.Text()
		}
		if text = strings.Join(strings.Fields(text), " "); text == "" {
			return "", errNoComment
		}
		return text, nil
	}
	return "", errNoComment
}

// more is what a component's folder has to tell beyond its attributes: its file reference.md, if there is one.
func (c *comments) more(config reflect.Type) string {
	dir, ok := strings.CutPrefix(config.PkgPath(), module+"/")
	if !ok {
		return ""
	}
	text, err := os.ReadFile(filepath.Join(c.root, dir, "reference.md"))
	if err != nil {
		return ""
	}
	return string(text)
}

// embeddedName is the name under which a type is embedded.
func embeddedName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	case *ast.StarExpr:
		return embeddedName(e.X)
	}
	return ""
}

func (c *comments) load(path string) (map[string]*ast.StructType, error) {
	if types := c.packages[path]; types != nil {
		return types, nil
	}
	below, ok := strings.CutPrefix(path, module)
	if !ok {
		return nil, fmt.Errorf("the sources of %q are not part of this module", path)
	}
	dir := filepath.Join(c.root, filepath.FromSlash(below))
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	types := map[string]*ast.StructType{}
	for _, e := range entries {
		if e.IsDir() || filepath.Ext(e.Name()) != ".go" || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, e.Name()), nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		for _, decl := range file.Decls {
			general, is := decl.(*ast.GenDecl)
			if !is {
				continue
			}
			for _, spec := range general.Specs {
				if t, is := spec.(*ast.TypeSpec); is {
					if s, is := t.Type.(*ast.StructType); is {
						types[t.Name.Name] = s
					}
				}
			}
		}
	}
	c.packages[path] = types
	return types, nil
}
