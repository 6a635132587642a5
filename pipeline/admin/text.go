package admin

import (
	"strings"
	"unicode/utf8"

	"github.com/hermod-agent/hermod/pipeline/graph"
)

// TextOptions say how WriteText lays out its lines.
type TextOptions struct {
	Color bool
	Width int // columns of the terminal; 0 breaks no line
}

// Text renders a report as the table that `hermod status` prints. It says what the page says.
func Text(r *Report, options TextOptions) string {
	v := newView(r)
	p := &printer{TextOptions: options}
	p.line("", v.Headline.Tone, v.Headline.Text)
	p.line("", "", strings.Join(v.About, "; "))
	for _, a := range v.Alerts {
		p.advice("", a)
	}
	for _, l := range v.Refused {
		p.raw("    " + l)
	}

	width := 0
	for _, s := range v.Sections {
		for _, row := range s.Rows {
			width = max(width, utf8.RuneCountInString(row.Address))
		}
	}
	width = min(width, 36)
	for _, s := range v.Sections {
		p.raw("")
		p.raw(p.paint("1", s.Title))
		for _, row := range s.Rows {
			p.row(&row, width)
		}
	}
	if len(v.Edges) > 0 {
		p.raw("")
		p.raw(p.paint("1", "Connections"))
		for _, e := range v.Edges {
			p.line("  ", "", e.From+" -> "+e.To+": "+strings.Join(e.Facts, ", "))
			if e.Trouble != "" {
				p.line("      ", bad, e.Trouble)
			}
		}
	}
	return p.String()
}

type printer struct {
	TextOptions
	strings.Builder
}

func (p *printer) row(r *row, width int) {
	const state = 8
	word, t := string(r.State), info
	switch r.State {
	case graph.OK:
		t = good
	case graph.Noted:
		word, t = "note", note
	case graph.Failing:
		word, t = "FAILING", bad
	}
	head := "  " + p.paint(ansi(t), pad(word, state)) + " " + pad(r.Address, width) + "  "
	hang := strings.Repeat(" ", 2+state+1+width+2)
	flow := r.Flow
	if r.For != "" && r.State != graph.Failing {
		flow += "; " + word + " for " + r.For
	}
	for i, l := range wrap(flow, p.Width-len(hang)) {
		if i == 0 {
			p.raw(head + l)
		} else {
			p.raw(hang + l)
		}
	}
	const indent = "      "
	for _, l := range r.Lines {
		p.advice(indent, l)
	}
	for _, d := range r.Details {
		p.line(indent+"- ", d.Tone, d.Name+": "+strings.Join(d.Facts, ", "))
	}
	if r.More != "" {
		p.line(indent+"  ", "", r.More)
	}
}

// advice prints a line and, below it, what to do.
func (p *printer) advice(indent string, l line) {
	p.line(indent, l.Tone, l.Text)
	if l.Do != "" {
		p.line(indent+"    ", "", "what to do: "+l.Do)
	}
}

// line prints text after indent, and goes on below it where the terminal ends.
func (p *printer) line(indent string, t tone, text string) {
	for i, l := range wrap(text, p.Width-utf8.RuneCountInString(indent)) {
		if i == 1 {
			indent = strings.Repeat(" ", utf8.RuneCountInString(indent)+2)
		}
		p.raw(indent + p.paint(ansi(t), l))
	}
}

func (p *printer) raw(s string) {
	p.WriteString(strings.TrimRight(s, " "))
	p.WriteByte('\n')
}

func (p *printer) paint(code, s string) string {
	if !p.Color || code == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func ansi(t tone) string {
	switch t {
	case good:
		return "32"
	case bad:
		return "31"
	case note:
		return "33"
	}
	return ""
}

func pad(s string, width int) string {
	if n := utf8.RuneCountInString(s); n < width {
		return s + strings.Repeat(" ", width-n)
	}
	return s
}

// wrap breaks text between words so that no line is wider than width, two less from the second line on, where line indents. A width that
// leaves no room to speak of breaks nothing.
func wrap(text string, width int) []string {
	if width < 24 {
		return []string{text}
	}
	var out []string
	for utf8.RuneCountInString(text) > width {
		runes := []rune(text)
		cut := width
		for i := width; i > width/2; i-- {
			if runes[i] == ' ' {
				cut = i
				break
			}
		}
		if len(out) == 0 {
			width -= 2
		}
		out = append(out, strings.TrimRight(string(runes[:cut]), " "))
		text = strings.TrimLeft(string(runes[cut:]), " ")
	}
	return append(out, text)
}
