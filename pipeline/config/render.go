package config

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

const (
	tabWidth    = 4   // columns that a tab is shown as
	snippetCols = 120 // columns of a source line that are shown
)

// Render writes diagnostics for people: severity, summary, file:line:column, the source line with a caret under the fault, detail. color
// adds ANSI colours. No value of a variable is printed, and what stands in quotes as the value of an attribute whose name sounds
// secret is masked in the source line.
func Render(diags hcl.Diagnostics, sources map[string]*hcl.File, color bool) string {
	paint := func(code, s string) string {
		if !color || s == "" {
			return s
		}
		return "\x1b[" + code + "m" + s + "\x1b[0m"
	}
	var b strings.Builder
	for i, d := range diags {
		if i > 0 {
			b.WriteByte('\n')
		}
		word, code := "Error", "1;31"
		if d.Severity == hcl.DiagWarning {
			word, code = "Warning", "1;33"
		}
		fmt.Fprintf(&b, "%s: %s\n", paint(code, word), paint("1", printable(d.Summary)))
		renderPlace(&b, d, sources, code, paint)
		if d.Detail != "" {
			for line := range strings.SplitSeq(strings.TrimRight(d.Detail, "\n"), "\n") {
				b.WriteString("  " + printable(line) + "\n")
			}
		}
	}
	return b.String()
}

func renderPlace(b *strings.Builder, d *hcl.Diagnostic, known map[string]*hcl.File, code string, paint func(code, s string) string) {
	if d.Subject == nil || d.Subject.Filename == "" {
		return
	}
	r := *d.Subject
	if r.Start.Line < 1 {
		fmt.Fprintf(b, "  %s\n", paint("36", printable(r.Filename)))
		return
	}
	fmt.Fprintf(b, "  %s\n", paint("36", fmt.Sprintf("%s:%d:%d", printable(r.Filename), r.Start.Line, max(1, r.Start.Column))))
	file := known[r.Filename]
	if s, is := d.Extra.(*sources); is && file == nil {
		file = s.files[r.Filename]
	}
	if file == nil {
		return
	}
	line, from, ok := sourceLine(file.Bytes, r.Start)
	if !ok {
		return
	}
	to := len(line)
	if r.End.Line == r.Start.Line {
		to = min(to, from+max(0, r.End.Byte-r.Start.Byte))
	}
	line = maskSecrets(file, line, r.Start.Line)
	text, caret := snippet(line, from, to)
	number := fmt.Sprintf("%5d", r.Start.Line)
	fmt.Fprintf(b, "%s %s\n", paint("2", number+" |"), text)
	fmt.Fprintf(b, "%s %s\n", paint("2", strings.Repeat(" ", len(number))+" |"), strings.Repeat(" ", caret[0])+paint(code, strings.Repeat("^", caret[1])))
}

// sourceLine returns the line on which pos stands, without its end, and the offset of pos in it.
func sourceLine(src []byte, pos hcl.Pos) (line []byte, offset int, ok bool) {
	if pos.Byte < 0 || pos.Byte > len(src) {
		return nil, 0, false
	}
	start := bytes.LastIndexByte(src[:pos.Byte], '\n') + 1
	end := len(src)
	if i := bytes.IndexByte(src[pos.Byte:], '\n'); i >= 0 {
		end = pos.Byte + i
	}
	line = bytes.TrimSuffix(src[start:end], []byte("\r"))
	return line, min(pos.Byte-start, len(line)), true
}

// snippet makes a line fit for a terminal, and says in which column the bytes from..to begin and how many columns they take (at least
// one).
func snippet(line []byte, from, to int) (text string, caret [2]int) {
	type cell struct {
		text  string
		width int
	}
	var cells []cell
	first, last := -1, -1
	for i := 0; i < len(line); {
		r, n := utf8.DecodeRune(line[i:])
		c := cell{text: string(line[i : i+n]), width: runeWidth(r)}
		switch {
		case r == '\t':
			c = cell{text: strings.Repeat(" ", tabWidth), width: tabWidth}
		case r == utf8.RuneError && n <= 1, unicode.IsControl(r), !unicode.IsPrint(r) && c.width != 0:
			c = cell{text: "\uFFFD", width: 1}
		}
		if i+n > from && first < 0 {
			first = len(cells)
		}
		if i < to {
			last = len(cells)
		}
		cells = append(cells, c)
		i += n
	}
	if first < 0 {
		first = len(cells)
	}
	last = max(last, first)
	// Cut what is too wide, keeping the fault in sight.
	begin := 0
	width := 0
	for i := 0; i < first; i++ {
		width += cells[i].width
	}
	for width > snippetCols*2/3 && begin < first {
		width -= cells[begin].width
		begin++
	}
	var b strings.Builder
	column := 0
	if begin > 0 {
		b.WriteString("...")
		column = 3
	}
	caret = [2]int{-1, 0}
	for i := begin; i < len(cells); i++ {
		if column+cells[i].width > snippetCols {
			b.WriteString("...")
			break
		}
		if i >= first && i <= last {
			if caret[0] < 0 {
				caret[0] = column
			}
			caret[1] += cells[i].width
		}
		b.WriteString(cells[i].text)
		column += cells[i].width
	}
	if caret[0] < 0 {
		caret[0] = column
	}
	caret[1] = max(1, caret[1])
	return strings.TrimRight(b.String(), " "), caret
}

// wideRunes are the ranges of East Asian Width W and F in Unicode that matter in practice: a terminal shows them over two columns.
var wideRunes = [][2]rune{
	{0x1100, 0x115F}, {0x231A, 0x231B}, {0x23E9, 0x23EC}, {0x25FD, 0x25FE}, {0x2614, 0x2615}, {0x2648, 0x2653}, {0x26A1, 0x26A1},
	{0x26BD, 0x26BE}, {0x26C4, 0x26C5}, {0x26D4, 0x26D4}, {0x2705, 0x2705}, {0x270A, 0x270B}, {0x2728, 0x2728}, {0x274C, 0x274C},
	{0x2753, 0x2755}, {0x2757, 0x2757}, {0x2795, 0x2797}, {0x2B50, 0x2B50}, {0x2E80, 0x303E}, {0x3041, 0x33FF}, {0x3400, 0x4DBF},
	{0x4E00, 0x9FFF}, {0xA000, 0xA4CF}, {0xA960, 0xA97F}, {0xAC00, 0xD7A3}, {0xF900, 0xFAFF}, {0xFE30, 0xFE6F}, {0xFF00, 0xFF60},
	{0xFFE0, 0xFFE6}, {0x1F18E, 0x1F18E}, {0x1F191, 0x1F19A}, {0x1F200, 0x1F320}, {0x1F32D, 0x1F64F}, {0x1F680, 0x1F6FF},
	{0x1F7E0, 0x1F7EB}, {0x1F90C, 0x1F9FF}, {0x1FA70, 0x1FAFF}, {0x20000, 0x3FFFD},
}

// runeWidth is how many columns a terminal gives r.
func runeWidth(r rune) int {
	if r < 0x300 {
		return 1
	}
	if unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf) {
		return 0
	}
	for _, w := range wideRunes {
		if r < w[0] {
			return 1
		}
		if r <= w[1] {
			return 2
		}
	}
	return 1
}

// printable replaces what would move a terminal's cursor or colour it.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case r == utf8.RuneError, unicode.IsControl(r), unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp):
			return '\uFFFD'
		}
		return r
	}, s)
}

var (
	secretName    = regexp.MustCompile(`(?i)pas+w|pwd|secret|token|credential|api_?key|private_?key|authori[sz]ation|bearer`)
	secretLine    = regexp.MustCompile(`([\p{L}_][\p{L}\p{N}_-]*)"?[ \t]*[=:][ \t]*`)
	secretUserURL = regexp.MustCompile(`://[^/\s"@:]*:([^\s"]*)@`)
)

// soundsSecret says whether an attribute's name, perhaps misspelt, is that of a secret. NAME_file only names a file.
func soundsSecret(name string) bool {
	if strings.HasSuffix(strings.ToLower(name), "_file") {
		return false
	}
	return secretName.MatchString(name) || closest(name, []string{"password", "secret", "token", "credentials", "api_key"}) != ""
}

// maskSecrets replaces by * what a line writes out of a secret. It keeps the number of bytes, so that offsets in the
// line stay what they are.
func maskSecrets(file *hcl.File, line []byte, number int) []byte {
	out := append([]byte(nil), line...)
	mask := func(from, to int) {
		for i := from; i < to; i++ {
			out[i] = '*'
		}
	}
	for _, m := range secretUserURL.FindAllSubmatchIndex(out, -1) {
		mask(m[2], m[3])
	}
	for _, m := range secretLine.FindAllSubmatchIndex(out, -1) {
		if soundsSecret(string(out[m[2]:m[3]])) {
			maskQuoted(out, m[1], mask)
		}
	}
	// Later lines of a secret's heredoc or of an expression over several lines.
	if body, ok := file.Body.(*hclsyntax.Body); ok && insideSecret(body, number) {
		mask(0, len(out))
	}
	return out
}

// maskQuoted masks what stands in quotes from offset i to the end of the line, except what env and file are given.
func maskQuoted(line []byte, i int, mask func(from, to int)) {
	for i < len(line) && line[i] != '#' {
		if line[i] != '"' {
			i++
			continue
		}
		from := i + 1
		for i++; i < len(line) && line[i] != '"'; i++ {
			if line[i] == '\\' {
				i++
			}
		}
		to := min(i, len(line))
		if before := bytes.TrimRight(line[:from-1], " "); !bytes.HasSuffix(before, []byte("env(")) && !bytes.HasSuffix(before, []byte("file(")) {
			mask(from, to)
		}
		i++
	}
}

// insideSecret says whether a line lies in the value of a secret's attribute, below the line on which it begins.
func insideSecret(body *hclsyntax.Body, line int) bool {
	for name, a := range body.Attributes {
		r := a.Expr.Range()
		if r.Start.Line < line && line <= r.End.Line && soundsSecret(name) {
			return true
		}
	}
	for _, b := range body.Blocks {
		if r := b.Body.Range(); r.Start.Line <= line && line <= r.End.Line && insideSecret(b.Body, line) {
			return true
		}
	}
	return false
}
