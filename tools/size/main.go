// Size says how large a program is and what each module's share of it is, and fails when it is larger than allowed.
//
// The shares come from the symbol table of the same program linked with symbols; the program that is passed on has none. The line tables
// have no symbols: each module is given of them what it has of the code.
package main

import (
	"cmp"
	"debug/buildinfo"
	"debug/elf"
	"flag"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
)

func main() {
	limit := flag.Int64("max", 26_000_000, "the largest size allowed, in bytes")
	rows := flag.Int("top", 25, "how many modules to print")
	flag.Parse()
	if flag.NArg() != 2 {
		fmt.Fprintln(os.Stderr, "usage: size [-max BYTES] STRIPPED-PROGRAM PROGRAM-WITH-SYMBOLS")
		os.Exit(2)
	}
	if err := run(flag.Arg(0), flag.Arg(1), *limit, *rows); err != nil {
		fmt.Fprintln(os.Stderr, "size:", err)
		os.Exit(1)
	}
}

func run(stripped, withSymbols string, limit int64, rows int) error {
	info, err := os.Stat(stripped)
	if err != nil {
		return err
	}
	shares, err := sharesOf(withSymbols)
	if err != nil {
		return fmt.Errorf("%s: %w", withSymbols, err)
	}
	fmt.Print(table(shares, rows))
	fmt.Printf("size: %s is %d bytes of at most %d\n", stripped, info.Size(), limit)
	if info.Size() > limit {
		return fmt.Errorf("%s is %d bytes too large: the table above says where they are", stripped, info.Size()-limit)
	}
	return nil
}

// share is what one module takes of the program.
type share struct {
	module            string
	code, data, lines int64
}

func (s share) total() int64 { return s.code + s.data + s.lines }

// What belongs to no module.
const (
	standard = "(standard library and runtime)"
	types    = "(types, strings and what belongs to no package)"
)

// lineTables is the section that says which line of which file each instruction comes from.
const lineTables = ".gopclntab"

func sharesOf(program string) ([]share, error) {
	build, err := buildinfo.ReadFile(program)
	if err != nil {
		return nil, err
	}
	modules := []string{build.Main.Path}
	for _, m := range build.Deps {
		modules = append(modules, m.Path)
	}
	// The longest path first: a module may lie below another's path.
	slices.SortFunc(modules, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b)) })

	file, err := elf.Open(program)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	symbols, err := file.Symbols()
	if err != nil {
		return nil, fmt.Errorf("reading the symbol table: %w", err)
	}
	byModule := map[string]*share{}
	of := func(module string) *share {
		if byModule[module] == nil {
			byModule[module] = &share{module: module}
		}
		return byModule[module]
	}
	covered := map[elf.SectionIndex]int64{}
	var code, lines int64
	for _, s := range symbols {
		if s.Size == 0 || int(s.Section) >= len(file.Sections) {
			continue
		}
		section := file.Sections[s.Section]
		if section.Type == elf.SHT_NOBITS {
			continue // .bss takes memory, no bytes of the file
		}
		if section.Name == lineTables {
			continue
		}
		covered[s.Section] += int64(s.Size)
		into := of(moduleOf(s.Name, build.Main.Path, modules))
		if section.Flags&elf.SHF_EXECINSTR != 0 {
			into.code += int64(s.Size)
			code += int64(s.Size)
		} else {
			into.data += int64(s.Size)
		}
	}
	// What no symbol covers: the line tables, type data and string constants.
	for i, section := range file.Sections {
		if section.Flags&elf.SHF_ALLOC == 0 || section.Type == elf.SHT_NOBITS {
			continue
		}
		rest := int64(section.FileSize) - covered[elf.SectionIndex(i)]
		if rest <= 0 {
			continue
		}
		if section.Name == lineTables {
			lines += rest
		} else {
			of(types).data += rest
		}
	}
	out := make([]share, 0, len(byModule))
	for _, s := range byModule {
		s.lines = int64(float64(lines) * float64(s.code) / float64(max(code, 1)))
		out = append(out, *s)
	}
	slices.SortFunc(out, func(a, b share) int {
		return cmp.Or(cmp.Compare(b.total(), a.total()), cmp.Compare(a.module, b.module))
	})
	return out, nil
}

// moduleOf finds the module of a linker symbol: "github.com/x/y.(*T).F", "type:*net/http.Client" or "go:string.*".
func moduleOf(symbol, main string, modules []string) string {
	if kind, _, ok := strings.Cut(symbol, ":"); ok && !strings.Contains(kind, "/") && !strings.Contains(kind, ".") {
		return types
	}
	path := symbol
	if i := strings.IndexAny(path, "[("); i >= 0 {
		path = path[:i] // a type argument or a receiver holds paths of its own
	}
	// The package path ends at the first dot after its last slash; dots in its last element are escaped (gopkg.in/yaml%2ev3).
	slash := strings.LastIndexByte(path, '/')
	if dot := strings.IndexByte(path[slash+1:], '.'); dot >= 0 {
		path = path[:slash+1+dot]
	}
	if plain, err := url.PathUnescape(path); err == nil {
		path = plain
	}
	if path == "main" {
		return main
	}
	for _, m := range modules {
		if path == m || strings.HasPrefix(path, m+"/") {
			return m
		}
	}
	if first, _, _ := strings.Cut(path, "/"); strings.Contains(first, ".") {
		return types
	}
	return standard
}

// table renders the largest shares; what is below the first rows is summed.
func table(shares []share, rows int) string {
	var all int64
	for _, s := range shares {
		all += s.total()
	}
	var b strings.Builder
	line := func(s share) {
		fmt.Fprintf(&b, "%10d %5.1f%%  %9d code %9d data %9d lines  %s\n", s.total(), 100*float64(s.total())/float64(max(all, 1)), s.code, s.data, s.lines, s.module)
	}
	rest := share{}
	for i, s := range shares {
		if i < rows {
			line(s)
			continue
		}
		rest.code, rest.data, rest.lines = rest.code+s.code, rest.data+s.data, rest.lines+s.lines
	}
	if len(shares) > rows {
		rest.module = fmt.Sprintf("(%d more)", len(shares)-rows)
		line(rest)
	}
	return b.String()
}
