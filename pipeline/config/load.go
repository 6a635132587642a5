package config

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// Load reads path: a file, or a folder whose *.hcl files are read as one. Diagnostics come in file order; the File is nil when any is an
// error. It never panics, whatever the bytes.
func Load(path string, options Options) (*File, hcl.Diagnostics) {
	files, diags := readSources(path)
	dir := path
	if info, err := os.Stat(path); err != nil || !info.IsDir() {
		dir = filepath.Dir(path)
	}
	if len(files) == 0 {
		return nil, diags
	}
	return load(files, dir, options, diags)
}

// Parse is Load for bytes at hand; the built-in config and tests use it. Relative paths begin at the folder of the first file's name.
func Parse(files map[string][]byte, options Options) (*File, hcl.Diagnostics) {
	dir := "."
	if names := sortedKeys(files); len(names) > 0 {
		dir = filepath.Dir(names[0])
	}
	return load(files, dir, options, nil)
}

// loader turns the files of one config into a File.
type loader struct {
	options Options
	faults  *faults
	eval    *evaluator
	types   map[string]*BlockType // by kind.type
	decls   []*decl
	lost    map[string]bool // kinds of blocks whose header can't be read
	agent   Agent
	// agentTimeout says that agent.timeout is written.
	agentTimeout bool
}

// sources remembers, in a diagnostic, the files that it speaks of: the File is nil when there are errors, and Render needs the lines.
type sources struct{ files map[string]*hcl.File }

func load(files map[string][]byte, dir string, options Options, diags hcl.Diagnostics) (*File, hcl.Diagnostics) {
	if options.Getenv == nil {
		options.Getenv = os.LookupEnv
	}
	if options.Hostname == nil {
		options.Hostname = func() string { return "" }
	}
	l := &loader{options: options, faults: newFaults(), types: map[string]*BlockType{}, lost: map[string]bool{}}
	for i := range options.Types {
		t := &options.Types[i]
		l.types[t.Kind+"."+t.Type] = t
	}
	for _, d := range diags {
		l.faults.add(d)
	}
	l.eval = &evaluator{options: options, dir: dir, faults: l.faults, locals: map[string]*local{}}
	l.eval.funcs = l.eval.functions()

	file := &File{Sources: map[string]*hcl.File{}}
	var parsedFiles []*parsed
	content := len(diags) > 0 // a file that couldn't be read may have had some
	for _, name := range sortedKeys(files) {
		src := bytes.TrimPrefix(files[name], []byte("\xEF\xBB\xBF")) // a byte order mark
		file.Sources[name] = &hcl.File{Bytes: src, Body: &hclsyntax.Body{}}
		if len(src) > maxSource {
			content = true
			l.faults.errorf(hcl.Range{Filename: name}, (&tooLarge{name: name, size: int64(len(src))}).Error(), "A config has at most 4MiB.")
			continue
		}
		if d := checkText(name, src); d != nil {
			content = true
			l.faults.add(d)
			continue
		}
		if d := checkNesting(name, src); d != nil {
			content = true
			l.faults.add(d)
			continue
		}
		p := parseFile(name, src, l.faults)
		all := &hclsyntax.Body{Attributes: hclsyntax.Attributes{}}
		for _, b := range p.bodies {
			all.Blocks = append(all.Blocks, b.body.Blocks...)
			content = content || len(b.body.Blocks) > 0 || len(b.body.Attributes) > 0 || b.broken != nil
		}
		content = content || len(p.skipped) > 0
		file.Sources[name].Body = all
		parsedFiles = append(parsedFiles, p)
	}
	if !content {
		names := strings.Join(sortedKeys(files), ", ")
		what := fmt.Sprintf("The config %s names nothing", names)
		if len(files) > 1 {
			what = "The files of the config name nothing"
		}
		l.faults.errorf(hcl.Range{Filename: names}, what, "It is empty. "+exampleRemedy)
	}
	l.read(parsedFiles, file)
	out := Sort(l.faults.diags)
	if out.HasErrors() && options.Also != nil {
		out = Sort(append(out, options.Also(file)...))
	}
	for _, d := range out {
		d.Extra = &sources{files: file.Sources}
	}
	if out.HasErrors() {
		return nil, out
	}
	return file, out
}

// read goes through the parsed files: what is declared, the agent, the locals, then each block.
func (l *loader) read(files []*parsed, file *File) {
	for _, p := range files {
		l.eval.bad = append(l.eval.bad, p.bad...)
		for _, h := range p.headers {
			if h.typ == "" {
				l.lost[h.kind] = true
				continue
			}
			l.decls = append(l.decls, &decl{kind: h.kind, typ: h.typ, name: h.name, unread: true, forEach: true})
		}
	}
	var agent *decl
	for _, p := range files {
		for _, b := range p.bodies {
			l.topLevel(p, b, &agent)
		}
	}
	l.readAgent(agent)
	for _, local := range l.eval.order {
		l.eval.local(local, local.attr.NameRange)
	}
	l.checkDecls()
	for _, d := range l.decls {
		l.countKeys(d)
	}
	for _, d := range l.decls {
		file.Blocks = append(file.Blocks, l.instances(d)...)
	}
	file.Agent = l.agent
}

// topLevel sorts what stands at the top level of a file.
func (l *loader) topLevel(p *parsed, part *parsedBody, agent **decl) {
	beyond := func(r hcl.Range) bool { return part.broken != nil && r.Start.Byte > part.broken.Byte }
	for _, a := range sortedAttributes(part.body) {
		if !beyond(a.SrcRange) {
			l.faults.errorf(a.NameRange, fmt.Sprintf("The attribute %q stands outside of any block", a.Name), `Attributes stand in blocks, like agent { ... } or input "TYPE" "NAME" { ... }.`)
		}
	}
	for _, b := range part.body.Blocks {
		if beyond(b.TypeRange) {
			continue
		}
		d := &decl{file: p, block: b, broken: part.broken, kind: b.Type}
		switch b.Type {
		case "agent":
			l.noLabels(b)
			if *agent != nil {
				l.faults.errorf(b.TypeRange, "The agent block stands twice", "It may stand once; the first is at "+placeText((*agent).block.TypeRange)+".")
				continue
			}
			*agent = d
		case "locals":
			l.noLabels(b)
			l.collectLocals(d)
		default:
			l.decls = append(l.decls, d)
		}
	}
}

func (l *loader) noLabels(b *hclsyntax.Block) {
	if len(b.Labels) > 0 {
		l.faults.errorf(b.LabelRanges[0], fmt.Sprintf("The block %s has no name", b.Type), fmt.Sprintf("Write %s { ... }.", b.Type))
	}
}

func placeText(r hcl.Range) string { return fmt.Sprintf("%s:%d", r.Filename, r.Start.Line) }

func (l *loader) collectLocals(d *decl) {
	for _, b := range d.block.Body.Blocks {
		if d.broken == nil || b.TypeRange.Start.Byte < d.broken.Byte {
			l.faults.errorf(b.TypeRange, fmt.Sprintf("locals has no block %q", b.Type), fmt.Sprintf("Write it with an equals sign: %s = { ... }.", b.Type))
		}
	}
	for _, a := range sortedAttributes(d.block.Body) {
		if d.broken != nil && a.SrcRange.End.Byte >= d.broken.Byte {
			// Known by name, so that nobody is told that it isn't there.
			l.eval.locals[a.Name] = &local{name: a.Name, attr: a, state: done}
			continue
		}
		if first := l.eval.locals[a.Name]; first != nil {
			l.faults.errorf(a.NameRange, fmt.Sprintf("local.%s is given twice", a.Name), "It was given first at "+placeText(first.attr.NameRange)+".")
			continue
		}
		loc := &local{name: a.Name, attr: a}
		l.eval.locals[a.Name] = loc
		l.eval.order = append(l.eval.order, loc)
	}
	if d.broken != nil || len(d.file.skippedIn(d.block)) > 0 {
		l.eval.localsLost = true
	}
}

// readAgent decodes the agent block, its host first, because hostname() gives it.
func (l *loader) readAgent(agent *decl) {
	l.agent = DefaultAgent()
	if agent == nil {
		l.agent.finish()
		return
	}
	body := agent.block.Body
	if host := body.Attributes["host"]; host != nil && (agent.broken == nil || host.SrcRange.End.Byte < agent.broken.Byte) {
		l.eval.hostUnderway = true
		if v, ok := l.eval.value(host.Expr, scope{}); ok {
			d := l.newDecoder(agent, scope{})
			if plain, _ := v.Unmark(); !plain.IsNull() {
				d.assign(v, valueOf(&l.eval.host), place{expr: host.Expr, name: "host"})
			}
		}
		l.eval.hostUnderway = false
	}
	d := l.newDecoder(agent, scope{})
	ok := d.body(body, valueOf(&l.agent), agent.block.DefRange(), "", nil)
	l.agentTimeout = l.agent.Timeout != 0
	l.agent.finish()
	d.validate(valueOf(&l.agent), agent.block.DefRange(), "", ok && d.whole())
}

// whole says whether every line of the block was understood.
func (d *decoder) whole() bool { return d.broken == nil && len(d.skipped) == 0 }

// kindNames are the words that a block can begin with.
func kindNames() []string {
	return []string{kindInput, kindProcessor, kindOutput, "agent", "locals"}
}

// typesOf lists the types of a kind, sorted.
func (l *loader) typesOf(kind string) []string {
	var out []string
	for _, t := range l.options.Types {
		if t.Kind == kind {
			out = append(out, t.Type)
		}
	}
	slices.Sort(out)
	return out
}
