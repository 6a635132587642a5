package config

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// parsed is a file after HCL's parser. HCL goes on after a fault but says less and guesses more; so the file is parsed again without the
// line of the fault, or, where the fault has no end that can be seen, block by block.
type parsed struct {
	name   string
	src    []byte
	bodies []*parsedBody
	// skipped are lines that were left out: nobody is told that what they set is missing.
	skipped []skippedLine
	// bad are places in expressions that parsed and have no value: a bad escape in a string.
	bad []hcl.Range
	// headers are those of blocks that can't be parsed; references to them are no fault.
	headers []header
}

// header is the first line of a block, read without the parser. typ is "" where it can't be made out.
type header struct{ kind, typ, name string }

var headerLine = regexp.MustCompile(`^\s*(input|processor|output|agent|locals)\b[ \t]*(?:"?([\pL_][\pL\pN_-]*)"?[ \t]*(?:"?([\pL_][\pL\pN_-]*)"?[ \t]*)?\{)?`)

// noteHeader remembers the header of a block that is left out.
func (p *parsed) noteHeader(text []byte) {
	if m := headerLine.FindSubmatch(text); m != nil {
		p.headers = append(p.headers, header{kind: string(m[1]), typ: string(m[2]), name: string(m[3])})
	}
}

// skippedLine is where a line was left out, and the name at its beginning.
type skippedLine struct {
	word string
	byte int
}

// skippedIn are the names at the beginning of lines that were left out of a block.
func (p *parsed) skippedIn(b *hclsyntax.Block) map[string]bool {
	out := map[string]bool{}
	for _, s := range p.skipped {
		if b.OpenBraceRange.Start.Byte <= s.byte && s.byte <= b.CloseBraceRange.Start.Byte {
			out[s.word] = true
		}
	}
	return out
}

// parsedBody is a file, or a part of one that was parsed alone.
type parsedBody struct {
	body *hclsyntax.Body
	// broken is where sense ends in this part; nil when it doesn't.
	broken *hcl.Pos
}

const maxReparse = 20 // faulty lines that are blanked in one part

// parseFile parses src, which has passed checkText and checkNesting.
func parseFile(name string, src []byte, f *faults) *parsed {
	p := &parsed{name: name, src: src}
	work := bytes.Clone(src)
	body, first := p.parsePart(work, 0, f)
	if first == nil {
		p.bodies = []*parsedBody{{body: body}}
		return p
	}
	// The fault isn't confined to its line: find it again in the block that has it, and read the others.
	starts := blockStarts(work)
	if len(starts) < 2 {
		p.addBroken(work, body, first, f)
		return p
	}
	for i, start := range starts {
		end := len(work)
		if i+1 < len(starts) {
			end = starts[i+1]
		}
		body, first := p.parsePart(work[:end], start, f)
		if first == nil {
			p.bodies = append(p.bodies, &parsedBody{body: body})
			continue
		}
		p.addBroken(work[start:end], body, first, f)
	}
	return p
}

// addBroken tells the fault that ends the sense of a part.
func (p *parsed) addBroken(part []byte, body *hclsyntax.Body, first *hcl.Diagnostic, f *faults) {
	f.add(p.explainSyntax(first))
	if len(body.Blocks) == 0 {
		p.noteHeader(part)
	}
	pos := subject(first).Start
	p.bodies = append(p.bodies, &parsedBody{body: body, broken: &pos})
}

// blockStart is a line that can only be the header of a block at the top level, as people write and hermod fmt formats them.
var blockStart = regexp.MustCompile(`(?m)^(?:(?:input|processor|output)[ \t]+"?[\pL_]|(?:agent|locals)[ \t]*\{)`)

// blockStarts are the offsets at which parts begin; the first is 0.
func blockStarts(src []byte) []int {
	starts := []int{0}
	for _, m := range blockStart.FindAllIndex(src, -1) {
		if m[0] > 0 {
			starts = append(starts, m[0])
		}
	}
	return starts
}

// parsePart parses src from start on. Faults that end with their line are told and their lines blanked; the first one that doesn't is
// returned.
func (p *parsed) parsePart(src []byte, start int, f *faults) (*hclsyntax.Body, *hcl.Diagnostic) {
	pos := hcl.Pos{Line: 1 + bytes.Count(src[:start], []byte("\n")), Column: 1, Byte: start}
	for tries := 0; ; tries++ {
		body, diags := parseHCL(src[start:], p.name, pos)
		var first *hcl.Diagnostic
		for _, d := range diags {
			if subject(d).Filename == "" { // HCL has lost the place
				place := at(p.name, pos)
				d.Subject = &place
			}
			switch {
			case d.Summary == "Attribute redefined":
				f.add(p.explainSyntax(d))
			case d.Summary == "Invalid escape sequence":
				p.bad = append(p.bad, subject(d))
				f.add(p.explainSyntax(d))
			case first == nil || before(subject(d).Start, subject(first).Start):
				first = d
			}
		}
		if first == nil || tries == maxReparse || !p.blankLine(src, start, subject(first)) {
			return body, first
		}
		f.add(p.explainSyntax(first))
	}
}

func before(a, b hcl.Pos) bool { return a.Byte < b.Byte }

// blankLine overwrites the lines of the attribute in which a fault begins, if every bracket and string that begins there ends there.
func (p *parsed) blankLine(src []byte, start int, r hcl.Range) bool {
	if r.Start.Byte < start || r.Start.Byte > len(src) || r.End.Line > r.Start.Line+1 {
		return false
	}
	from, to, whole := logicalLine(src, start, r.Start.Byte)
	if !whole || len(bytes.TrimSpace(src[from:to])) == 0 {
		return false
	}
	p.noteHeader(src[from:to])
	p.skipped = append(p.skipped, skippedLine{word: string(firstWord.Find(bytes.TrimSpace(src[from:to]))), byte: from})
	for i := from; i < to; i++ {
		if src[i] != '\r' && src[i] != '\n' {
			src[i] = ' '
		}
	}
	return true
}

var firstWord = regexp.MustCompile(`^[\p{L}_][\p{L}\p{N}_-]*`)

// logicalLine finds the lines around an offset that belong together because brackets or text go on over their ends; braces don't make
// lines belong together, as each line within them stands for itself. whole says that what begins there ends there.
func logicalLine(src []byte, start, offset int) (from, to int, whole bool) {
	tokens, _ := hclsyntax.LexConfig(src[start:], "", hcl.Pos{Line: 1, Column: 1, Byte: start})
	var open []hclsyntax.TokenType
	splits := func() bool { return len(open) == 0 || open[len(open)-1] == hclsyntax.TokenCBrace }
	from, whole = start, true
	depth := 0 // at from
	for _, t := range tokens {
		if c := closers(t.Type); c != 0 {
			open = append(open, c)
			continue
		}
		end := t.Range.End.Byte
		switch t.Type {
		case hclsyntax.TokenCParen, hclsyntax.TokenCBrack, hclsyntax.TokenCBrace, hclsyntax.TokenTemplateSeqEnd, hclsyntax.TokenCQuote, hclsyntax.TokenCHeredoc:
			if len(open) == 0 || open[len(open)-1] != t.Type {
				whole = false
				continue
			}
			open = open[:len(open)-1]
			whole = whole && len(open) >= depth
			continue
		case hclsyntax.TokenNewline:
		case hclsyntax.TokenComment: // one that ends with its line holds the line end
			if !bytes.HasSuffix(t.Bytes, []byte("\n")) {
				continue
			}
		case hclsyntax.TokenEOF:
			return from, len(src), whole && len(open) == depth
		default:
			continue
		}
		if !splits() {
			continue
		}
		if offset < end {
			return from, end, whole && len(open) == depth
		}
		from, whole, depth = end, true, len(open)
	}
	return from, len(src), false
}

// parseHCL is HCL's parser, without the panics by which it says that it has lost count of its brackets.
func parseHCL(src []byte, name string, start hcl.Pos) (body *hclsyntax.Body, diags hcl.Diagnostics) {
	defer func() {
		if r := recover(); r != nil {
			body = &hclsyntax.Body{}
			diags = hcl.Diagnostics{Error(at(name, start), "The syntax can't be understood from here on", "Look for a bracket or quote without its other end.")}
		}
	}()
	file, diags := hclsyntax.ParseConfig(src, name, start)
	body, ok := file.Body.(*hclsyntax.Body)
	if !ok || body == nil {
		body = &hclsyntax.Body{}
	}
	return body, diags
}

// explainSyntax words what HCL says of syntax in the terms of this language.
func (p *parsed) explainSyntax(d *hcl.Diagnostic) *hcl.Diagnostic {
	r := subject(d)
	written := ""
	if r.Start.Byte >= 0 && r.Start.Byte <= r.End.Byte && r.End.Byte <= len(p.src) {
		written = string(p.src[r.Start.Byte:r.End.Byte])
	}
	out := &hcl.Diagnostic{Severity: d.Severity, Summary: d.Summary, Detail: d.Detail, Subject: d.Subject}
	switch d.Summary {
	case "Invalid escape sequence":
		out.Summary = fmt.Sprintf("%s is not an escape that quoted text knows", written)
		out.Detail = fmt.Sprintf(`In quotes a backslash is written twice: write \%s.`, written)
	case "Attribute redefined":
		out.Summary = fmt.Sprintf("%q is set twice", written)
		out.Detail = strings.Replace(d.Detail, fmt.Sprintf("The argument %q was already set at ", written), "It was set first at ", 1)
		if first, rest, ok := strings.Cut(out.Detail, ". Each"); ok && rest != "" {
			if i := strings.LastIndexByte(first, '-'); i > 0 {
				first = first[:i]
			}
			out.Detail = strings.Replace(first, ",", ":", 1) + "."
		}
	case "Invalid single-argument block definition", "Argument definition required":
		out.Summary = "A block on one line holds one attribute"
		out.Detail = "Write each attribute, each block and the closing brace on a line of its own."
	case "Unclosed configuration block":
		out.Summary = "This block has no closing brace"
		out.Detail = "Add }, or look for a brace within the block that has no other end."
	case "Argument or block definition required":
		out.Summary = "Neither an attribute nor a block"
		out.Detail = `An attribute is written NAME = VALUE, a block KIND "TYPE" "NAME" { ... }.`
	case "Missing newline after argument":
		out.Summary = "The line goes on after the value"
		out.Detail = "Write each attribute on a line of its own, and text in quotes."
	case "Unexpected comma after argument":
		out.Summary = "A comma after an attribute"
		out.Detail = "Write each attribute on a line of its own, without commas."
	case "Missing newline after block definition":
		out.Summary = "The line goes on after the block"
		out.Detail = "Begin a new line after the closing brace."
	case "Invalid multi-line string":
		out.Summary = "This text has no closing quote on its line"
		out.Detail = "Add the quote. Text over several lines is written with \\n, or as a heredoc: <<EOT, the lines, EOT."
	case "Unterminated string literal", "Unterminated template string":
		out.Summary = "This text has no closing quote"
		out.Detail = ""
	}
	words := strings.NewReplacer("Argument", "Attribute", "argument", "attribute")
	if out.Summary == d.Summary {
		out.Summary, out.Detail = words.Replace(out.Summary), words.Replace(out.Detail)
	}
	return out
}
