package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// maxSource bounds all files of a config together.
const maxSource = 4 << 20

const exampleRemedy = "Start from agent.hcl.example, or run without a config: `hermod run` then collects what it finds on the machine."

const readRemedy = "Let the agent's user read it (chown or chmod), or run the agent as the user to whom it belongs."

// plainCause is what the system says about a path, without the path: a name is not a word that a sentence may begin with.
func plainCause(err error) string {
	if errors.Is(err, os.ErrPermission) {
		return readRemedy
	}
	var inner *os.PathError
	if errors.As(err, &inner) {
		err = inner.Err
	}
	return capital(err.Error()) + "."
}

// readSources reads a file, or the *.hcl files of a folder.
func readSources(path string) (map[string][]byte, hcl.Diagnostics) {
	fault := func(name, summary, detail string) (map[string][]byte, hcl.Diagnostics) {
		return nil, hcl.Diagnostics{Error(hcl.Range{Filename: name}, summary, detail)}
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fault(path, fmt.Sprintf("The config %s doesn't exist", quoteShort(path)), "Check the path. "+exampleRemedy)
	case errors.Is(err, os.ErrPermission):
		return fault(path, fmt.Sprintf("The config %s can't be read", quoteShort(path)), "This user may not look into its folder.")
	case err != nil:
		return fault(path, fmt.Sprintf("The config %s can't be read", quoteShort(path)), plainCause(err))
	case !info.IsDir() && !info.Mode().IsRegular():
		return fault(path, fmt.Sprintf("The config %s is neither a file nor a folder", quoteShort(path)), "Pipes and devices aren't read.")
	}
	names := []string{path}
	if info.IsDir() {
		if names, err = hclFiles(path); err != nil {
			return fault(path, fmt.Sprintf("The folder %s can't be read", quoteShort(path)), plainCause(err))
		}
		if len(names) == 0 {
			return fault(path, fmt.Sprintf("The folder %s holds no file whose name ends in .hcl", quoteShort(path)), "All *.hcl files of a folder are read as one; hidden ones and subfolders are left out. "+exampleRemedy)
		}
	}
	files := map[string][]byte{}
	var diags hcl.Diagnostics
	left := int64(maxSource)
	for _, name := range names {
		src, err := readSource(name, left)
		var large *tooLarge
		switch {
		case errors.As(err, &large):
			diags = append(diags, Error(hcl.Range{Filename: name}, large.Error(), "A config has at most 4MiB, all files of a folder together. Is this the right file?"))
		case errors.Is(err, os.ErrPermission):
			diags = append(diags, Error(hcl.Range{Filename: name}, "The config "+err.Error(), readRemedy))
		case err != nil:
			diags = append(diags, Error(hcl.Range{Filename: name}, "The config "+err.Error(), ""))
		default:
			files[name] = src
			left -= int64(len(src))
		}
	}
	return files, diags
}

func hclFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() || strings.HasPrefix(e.Name(), ".") || filepath.Ext(e.Name()) != ".hcl" {
			continue
		}
		name := filepath.Join(dir, e.Name())
		if info, err := os.Stat(name); err == nil && info.IsDir() {
			continue // a link to a folder
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return names, nil
}

// tooLarge is a config file over the limit.
type tooLarge struct {
	name string
	size int64
}

func (e *tooLarge) Error() string {
	return fmt.Sprintf("The config is too large: with %s it has %s", quoteShort(e.name), Size(e.size))
}

func readSource(name string, limit int64) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, plainPathError(name, err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", name)
	}
	if info.Size() > limit {
		return nil, &tooLarge{name: name, size: maxSource - limit + info.Size()}
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, plainPathError(name, err)
	}
	defer func() { _ = f.Close() }() // it was only read
	src, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, plainPathError(name, err)
	}
	if int64(len(src)) > limit {
		return nil, &tooLarge{name: name, size: maxSource - limit + int64(len(src))}
	}
	return src, nil
}

// checkText says why bytes can't be a config: they are not text. It returns nil for text.
func checkText(name string, src []byte) *hcl.Diagnostic {
	place := func(offset int) hcl.Range {
		line := bytes.Count(src[:offset], []byte("\n")) + 1
		start := bytes.LastIndexByte(src[:offset], '\n') + 1
		pos := hcl.Pos{Line: line, Column: utf8.RuneCount(src[start:offset]) + 1, Byte: offset}
		return hcl.Range{Filename: name, Start: pos, End: hcl.Pos{Line: line, Column: pos.Column + 1, Byte: min(offset+1, len(src))}}
	}
	if bytes.HasPrefix(src, []byte{0xFF, 0xFE}) || bytes.HasPrefix(src, []byte{0xFE, 0xFF}) {
		return Error(hcl.Range{Filename: name}, "The file is in UTF-16", "Save it as UTF-8.")
	}
	for i := 0; i < len(src); {
		r, n := utf8.DecodeRune(src[i:])
		switch {
		case r == utf8.RuneError && n <= 1:
			return Error(place(i), fmt.Sprintf("The file isn't text in UTF-8: byte 0x%02X", src[i]), "Is this the right file? Save it as UTF-8 text.")
		case r < ' ' && r != '\n' && r != '\r' && r != '\t', r == 0x7F:
			return Error(place(i), fmt.Sprintf("The file isn't text: byte 0x%02X", src[i]), "Is this the right file?")
		}
		i += n
	}
	return nil
}

const (
	maxNesting   = 100  // brackets, braces, parentheses and templates within each other
	maxOperators = 1000 // operators in one expression
)

// checkNesting refuses what would take HCL's parser, which calls itself for everything that nests or chains, too deep: the overflow of a
// stack can't be caught.
func checkNesting(name string, src []byte) *hcl.Diagnostic {
	type level struct {
		closedBy  hclsyntax.TokenType
		operators int
	}
	stack := []level{{}}
	tokens, _ := hclsyntax.LexConfig(src, name, hcl.InitialPos) // the parser tells its faults
	for _, t := range tokens {
		top := &stack[len(stack)-1]
		closedBy := closers(t.Type)
		switch t.Type {
		case hclsyntax.TokenIdent, hclsyntax.TokenNumberLit, hclsyntax.TokenQuotedLit, hclsyntax.TokenStringLit, hclsyntax.TokenComment:
		case hclsyntax.TokenComma:
			top.operators = 0
		case hclsyntax.TokenNewline:
			if top.closedBy == hclsyntax.TokenCBrace || len(stack) == 1 {
				top.operators = 0
			}
		case hclsyntax.TokenCParen, hclsyntax.TokenCBrack, hclsyntax.TokenCBrace, hclsyntax.TokenTemplateSeqEnd, hclsyntax.TokenCQuote, hclsyntax.TokenCHeredoc:
			for i := len(stack) - 1; i > 0; i-- {
				if stack[i].closedBy == t.Type {
					stack = stack[:i]
					break
				}
			}
		default:
			top.operators++
		}
		if top.operators > maxOperators {
			return Error(t.Range, fmt.Sprintf("More than %d operators in one expression", maxOperators), "Give parts of the expression names in a locals block.")
		}
		if closedBy != 0 {
			stack = append(stack, level{closedBy: closedBy})
		}
		if len(stack) > maxNesting {
			return Error(t.Range, fmt.Sprintf("More than %d levels of brackets within each other", maxNesting), "Give parts of the expression names in a locals block.")
		}
	}
	return nil
}

// closers is the token that ends what t begins, or 0.
func closers(t hclsyntax.TokenType) hclsyntax.TokenType {
	switch t {
	case hclsyntax.TokenOParen:
		return hclsyntax.TokenCParen
	case hclsyntax.TokenOBrack:
		return hclsyntax.TokenCBrack
	case hclsyntax.TokenOBrace:
		return hclsyntax.TokenCBrace
	case hclsyntax.TokenTemplateInterp, hclsyntax.TokenTemplateControl:
		return hclsyntax.TokenTemplateSeqEnd
	case hclsyntax.TokenOQuote:
		return hclsyntax.TokenCQuote
	case hclsyntax.TokenOHeredoc:
		return hclsyntax.TokenCHeredoc
	}
	return 0
}
