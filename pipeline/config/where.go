package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/prometheus/prometheus/model/labels"
)

// where reads a map of label names to what their values must be: "x" equal, "!x" not equal, "~x" a regular expression over the whole
// value, "!~x" none.
func (d *decoder) where(a *hclsyntax.Attribute) ([]*labels.Matcher, bool) {
	v, ok := d.eval.value(a.Expr, d.scope)
	if !ok {
		return nil, false
	}
	p := place{expr: a.Expr, name: a.Name}
	v, marks := v.Unmark()
	p.hidden = len(marks) > 0
	if v.IsNull() {
		return nil, true
	}
	if t := v.Type(); !t.IsMapType() && !t.IsObjectType() {
		d.wrong(p, d.need(p, "a map, not "+kindOf(v)), `Write it like where = { container = "~web-.*" }.`)
		return nil, false
	}
	var out []*labels.Matcher
	for it := v.ElementIterator(); it.Next(); {
		k, e := it.Element()
		k, _ = k.Unmark()
		name := k.AsString()
		at := p
		at.expr = itemExpr(p.expr, name)
		at.inside = " at key " + quoteShort(name)
		e, marks := e.Unmark()
		at.hidden = p.hidden || len(marks) > 0
		if e.IsNull() {
			d.wrong(at, d.need(at, "text, not null"), "")
			ok = false
			continue
		}
		if name == "" {
			d.wrong(at, "where has a label without a name", "")
			ok = false
			continue
		}
		if t := e.Type(); t.IsTupleType() || t.IsListType() || t.IsSetType() {
			d.wrong(at, d.need(at, "text, not a list"), `For one of several values write a regular expression: "~a|b".`)
			ok = false
			continue
		}
		text, fine := d.text(e, at, "text")
		if !fine {
			ok = false
			continue
		}
		m, err := matcher(name, text)
		if err != nil {
			d.bad(at, err)
			ok = false
			continue
		}
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b *labels.Matcher) int { return strings.Compare(a.Name, b.Name) })
	return out, ok
}

// matcher makes a label matcher of what was written for a label.
func matcher(name, text string) (*labels.Matcher, error) {
	typ := labels.MatchEqual
	value, negated := strings.CutPrefix(text, "!")
	value, pattern := strings.CutPrefix(value, "~")
	switch {
	case negated && pattern:
		typ = labels.MatchNotRegexp
	case negated:
		typ = labels.MatchNotEqual
	case pattern:
		typ = labels.MatchRegexp
	}
	m, err := labels.NewMatcher(typ, name, value)
	if err != nil {
		if _, plain := ParseRegexp(value); plain != nil {
			err = plain // says it in our words
		}
		return nil, err
	}
	return m, nil
}

// labels reads a map of label names to values.
func (d *decoder) labels(a *hclsyntax.Attribute, metricsInput bool) (labels.Labels, bool) {
	v, ok := d.eval.value(a.Expr, d.scope)
	if !ok {
		return labels.EmptyLabels(), false
	}
	p := place{expr: a.Expr, name: a.Name}
	if plain, _ := v.Unmark(); plain.IsNull() {
		return labels.EmptyLabels(), true
	}
	names := map[string]string{}
	if !d.assign(v, valueOf(&names), p) {
		return labels.EmptyLabels(), false
	}
	for _, name := range sortedKeys(names) {
		summary, detail := labelFault(name)
		if metricsInput && (name == "job" || name == "instance") {
			summary, detail = fmt.Sprintf("The label %q has an attribute of its own", name), fmt.Sprintf("Write %s = ... beside labels.", name)
		}
		if summary != "" {
			at := p
			at.expr = itemExpr(p.expr, name)
			d.wrong(at, summary, detail)
			ok = false
		}
	}
	return labels.FromMap(names), ok
}

// labelFault says what is wrong with the name of a label that a user sets, or "".
func labelFault(name string) (summary, detail string) {
	switch {
	case name == "":
		return "A label has no name", ""
	case strings.HasPrefix(name, "__"):
		return fmt.Sprintf("The label %s can't be set", quoteShort(name)), "Names that begin with __ are for the agent's own use."
	}
	for i, r := range name {
		if r != '_' && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (i == 0 || r < '0' || r > '9') {
			return fmt.Sprintf("%s is not a name for a label", quoteShort(name)), "A label's name has letters, digits and underscores, and no digit at its beginning."
		}
	}
	return "", ""
}
