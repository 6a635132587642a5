package admin

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html"
	"strings"

	"github.com/hermod-agent/hermod/pipeline/graph"
)

//go:embed style.css
var style string

// policy allows the page its own style and nothing else: a text that got through unescaped could still load and run nothing.
func policy() string {
	sum := sha256.Sum256([]byte(style))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}

// page renders a report as one HTML document without script. Every text goes through esc; the words of the markup are all in this file.
func page(r *Report) []byte {
	v := newView(r)
	w := &markup{}
	w.raw("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>")
	w.esc(v.Title)
	w.raw("</title>\n<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<style>")
	w.raw(style)
	w.raw("</style></head>\n<body>\n")
	w.element("h1", string(v.Headline.Tone), v.Headline.Text)
	w.element("p", "about", strings.Join(v.About, "; "))
	for _, a := range v.Alerts {
		w.advice(a)
	}
	if len(v.Refused) > 0 {
		w.element("pre", "", strings.Join(v.Refused, "\n"))
	}
	for _, s := range v.Sections {
		w.element("h2", "", s.Title)
		w.raw("<table>\n")
		for i := range s.Rows {
			w.row(&s.Rows[i])
		}
		w.raw("</table>\n")
	}
	if len(v.Edges) > 0 {
		w.element("h2", "", "Connections")
		w.raw("<ul>\n")
		for _, e := range v.Edges {
			w.raw("<li>")
			w.esc(e.From + " → " + e.To + ": " + strings.Join(e.Facts, ", "))
			if e.Trouble != "" {
				w.element("p", string(bad), e.Trouble)
			}
			w.raw("</li>\n")
		}
		w.raw("</ul>\n")
	}
	w.raw("<nav><p><a href=\"/\">look again</a><a href=\"/?refresh=10\">every 10 s</a><a href=\"/api/graph\">as JSON</a>" +
		"<a href=\"/metrics\">own metrics</a><a href=\"/-/ready\">ready?</a></p></nav>\n</body></html>\n")
	return []byte(w.String())
}

type markup struct{ strings.Builder }

func (w *markup) raw(s string) { w.WriteString(s) }
func (w *markup) esc(s string) { w.WriteString(html.EscapeString(s)) }

func (w *markup) element(name, class, text string) {
	w.raw("<" + name)
	if class != "" {
		w.raw(` class="` + class + `"`)
	}
	w.raw(">")
	w.esc(text)
	w.raw("</" + name + ">\n")
}

func (w *markup) advice(l line) {
	w.element("p", string(l.Tone), l.Text)
	if l.Do != "" {
		w.element("p", "do", "What to do: "+l.Do)
	}
}

func (w *markup) row(r *row) {
	word, class := string(r.State), ""
	switch r.State {
	case graph.OK:
		class = " good"
	case graph.Noted:
		word, class = "note", " note"
	case graph.Failing:
		class = " bad"
		w.raw(`<tr class="failing">`)
	}
	if r.State != graph.Failing {
		w.raw("<tr>")
	}
	w.raw(`<td class="state` + class + `">`)
	w.esc(word)
	if r.For != "" {
		w.raw(`<span class="for">`)
		w.esc("for " + r.For)
		w.raw("</span>")
	}
	w.raw("</td>")
	w.raw(`<th scope="row">`)
	w.esc(r.Address)
	w.raw("</th><td>")
	w.esc(r.Flow)
	w.raw("\n")
	for _, l := range r.Lines {
		w.advice(l)
	}
	if len(r.Details) > 0 {
		w.raw("<ul>\n")
		for _, d := range r.Details {
			w.raw(`<li class="` + string(d.Tone) + `"><b>`)
			w.esc(d.Name)
			w.raw("</b> ")
			w.esc(strings.Join(d.Facts, ", "))
			w.raw("</li>\n")
		}
		w.raw("</ul>\n")
	}
	if r.More != "" {
		w.element("p", "about", r.More)
	}
	w.raw("</td></tr>\n")
}
