package config

import (
	"encoding"
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// place is where a value stands and whether it may be shown.
type place struct {
	expr   hclsyntax.Expression
	name   string // of the attribute
	hidden bool   // comes from env or file
	inside string // where in the attribute: " at index 2", " at key \"a\""
}

// assign sets target to v and says whether it could; a fault was told when not.
func (d *decoder) assign(v cty.Value, target reflect.Value, p place) bool {
	v, marks := v.Unmark()
	p.hidden = p.hidden || len(marks) > 0
	if v.IsNull() {
		d.wrong(p, "null is not a value here", "Leave it out.")
		return false
	}
	switch t := target.Addr().Interface().(type) {
	case *Duration:
		if v.Type() == cty.Number {
			d.wrong(p, d.need(p, "a duration, not a number"), `Write it in quotes with a unit, like "15s".`)
			return false
		}
		return setText(d, v, p, "a duration", t, ParseDuration)
	case *Size:
		return setText(d, v, p, "a size", t, ParseSize)
	case *URL:
		return setText(d, v, p, "a URL", t, ParseURL)
	case *Address:
		return setText(d, v, p, "an address", t, ParseAddress)
	case *Regexp:
		return setText(d, v, p, "a regular expression", t, func(s string) (Regexp, error) { return ParseRegexp(trimLineEnd(s)) })
	case *Secret:
		p.hidden = true
		return setText(d, v, p, "text", t, func(s string) (Secret, error) { return NewSecret(trimLineEnd(s)), nil })
	case encoding.TextUnmarshaler:
		text, ok := d.text(v, p, "text")
		if !ok {
			return false
		}
		if err := t.UnmarshalText([]byte(text)); err != nil {
			d.bad(p, err)
			return false
		}
		return true
	}
	switch target.Kind() {
	case reflect.Pointer:
		fresh := reflect.New(target.Type().Elem())
		if !d.assign(v, fresh.Elem(), p) {
			return false
		}
		target.Set(fresh)
		return true
	case reflect.String:
		text, ok := d.text(v, p, "text")
		if ok {
			target.SetString(text)
		}
		return ok
	case reflect.Bool:
		b, err := convert.Convert(v, cty.Bool)
		if err != nil || b.IsNull() {
			d.wrong(p, d.need(p, "true or false, not "+kindOf(v)), "")
			return false
		}
		target.SetBool(b.True())
		return true
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Float32, reflect.Float64:
		return d.number(v, target, p)
	case reflect.Slice:
		return d.list(v, target, p)
	case reflect.Map:
		return d.mapping(v, target, p)
	}
	d.wrong(p, fmt.Sprintf("%q has the type %s, which can't be decoded", p.name, target.Type()), "This is a fault of the program.")
	return false
}

// setText decodes what is written as text.
func setText[T any](d *decoder, v cty.Value, p place, what string, target *T, parse func(string) (T, error)) bool {
	text, ok := d.text(v, p, what)
	if !ok {
		return false
	}
	value, err := parse(text)
	if err != nil {
		d.bad(p, err)
		return false
	}
	*target = value
	return true
}

// text is v as text; numbers and bools become what they look like.
func (d *decoder) text(v cty.Value, p place, what string) (string, bool) {
	switch v.Type() {
	case cty.String:
		if p.hidden {
			d.unseen = append(d.unseen, v.AsString())
		}
		return v.AsString(), true
	case cty.Bool:
		return strconv.FormatBool(v.True()), true
	case cty.Number:
		if f := v.AsBigFloat(); !outOfMeasure(f) {
			return f.Text('f', -1), true
		}
		d.wrong(p, "This number is out of range", "")
		return "", false
	}
	remedy := ""
	if what == "text" {
		remedy = `Write it in quotes.`
	}
	d.wrong(p, d.need(p, what+", not "+kindOf(v)), remedy)
	return "", false
}

func (d *decoder) number(v cty.Value, target reflect.Value, p place) bool {
	n, err := convert.Convert(v, cty.Number)
	if err != nil || n.IsNull() {
		d.wrong(p, d.need(p, "a number, not "+kindOf(v)), "")
		return false
	}
	f := n.AsBigFloat()
	kind := target.Kind()
	if kind == reflect.Float32 || kind == reflect.Float64 {
		x, _ := f.Float64()
		if f.IsInf() || target.OverflowFloat(x) || outOfMeasure(f) {
			d.wrong(p, d.need(p, "a number of a size that a computer's numbers have"), "")
			return false
		}
		target.SetFloat(x)
		return true
	}
	if !f.IsInt() {
		d.wrong(p, d.need(p, "a whole number"), "")
		return false
	}
	bits := target.Type().Bits()
	if kind >= reflect.Uint && kind <= reflect.Uint64 {
		x, accuracy := f.Uint64()
		if accuracy != big.Exact || target.OverflowUint(x) {
			d.wrong(p, d.need(p, fmt.Sprintf("a number from 0 to %d", ^uint64(0)>>(64-bits))), "")
			return false
		}
		target.SetUint(x)
		return true
	}
	x, accuracy := f.Int64()
	if accuracy != big.Exact || target.OverflowInt(x) {
		d.wrong(p, d.need(p, fmt.Sprintf("a number from %d to %d", int64(-1)<<(bits-1), int64(1)<<(bits-1)-1)), "")
		return false
	}
	target.SetInt(x)
	return true
}

func (d *decoder) list(v cty.Value, target reflect.Value, p place) bool {
	t := v.Type()
	if !t.IsListType() && !t.IsTupleType() && !t.IsSetType() {
		remedy := ""
		if t == cty.String || t == cty.Number || t == cty.Bool {
			remedy = fmt.Sprintf("Write it in brackets: %s = [...].", p.name)
		}
		d.wrong(p, d.need(p, "a list, not "+kindOf(v)), remedy)
		return false
	}
	tuple, _ := p.expr.(*hclsyntax.TupleConsExpr)
	out := reflect.MakeSlice(target.Type(), 0, v.LengthInt())
	ok := true
	i := 0
	for it := v.ElementIterator(); it.Next(); i++ {
		_, e := it.Element()
		at := p
		at.inside = fmt.Sprintf(" at index %d", i)
		if tuple != nil && i < len(tuple.Exprs) {
			at.expr = tuple.Exprs[i]
		}
		fresh := reflect.New(target.Type().Elem()).Elem()
		ok = d.assign(e, fresh, at) && ok
		out = reflect.Append(out, fresh)
	}
	if ok {
		target.Set(out)
	}
	return ok
}

func (d *decoder) mapping(v cty.Value, target reflect.Value, p place) bool {
	t := v.Type()
	if !t.IsMapType() && !t.IsObjectType() || target.Type().Key().Kind() != reflect.String {
		d.wrong(p, d.need(p, "a map, not "+kindOf(v)), fmt.Sprintf("Write it in braces: %s = { name = value }.", p.name))
		return false
	}
	out := reflect.MakeMap(target.Type())
	ok := true
	for it := v.ElementIterator(); it.Next(); {
		k, e := it.Element()
		k, _ = k.Unmark()
		at := p
		at.inside = " at key " + strconv.Quote(k.AsString())
		if p.hidden {
			at.inside = ""
		}
		at.expr = itemExpr(p.expr, k.AsString())
		fresh := reflect.New(target.Type().Elem()).Elem()
		ok = d.assign(e, fresh, at) && ok
		out.SetMapIndex(reflect.ValueOf(k.AsString()).Convert(target.Type().Key()), fresh)
	}
	if ok {
		target.Set(out)
	}
	return ok
}

// itemExpr is the expression of a key's value where a map is written out, else the whole expression.
func itemExpr(expr hclsyntax.Expression, key string) hclsyntax.Expression {
	object, is := expr.(*hclsyntax.ObjectConsExpr)
	if !is {
		return expr
	}
	found := expr
	for _, item := range object.Items {
		if name := hcl.ExprAsKeyword(item.KeyExpr); name == key && name != "" {
			found = item.ValueExpr
			continue
		}
		if k, is := item.KeyExpr.(*hclsyntax.ObjectConsKeyExpr); is {
			if t, is := k.Wrapped.(*hclsyntax.TemplateExpr); is && t.IsStringLiteral() {
				if v, diags := t.Value(nil); !diags.HasErrors() && v.AsString() == key {
					found = item.ValueExpr
				}
			}
		}
	}
	return found
}

// need says what an attribute must be.
func (d *decoder) need(p place, what string) string {
	return fmt.Sprintf("%q%s must be %s", p.name, p.inside, what)
}

func (d *decoder) wrong(p place, summary, detail string) {
	d.faults.errorf(p.expr.Range(), summary, strings.TrimSpace(detail+" "+d.faults.note))
}

// bad tells why a text is not what it must be.
func (d *decoder) bad(p place, err error) {
	var v *valueError
	switch {
	case errors.As(err, &v):
		detail := v.remedy(p.hidden)
		if detail != "" {
			detail = capital(detail) + "."
		}
		d.wrong(p, capital(v.what(p.hidden)), detail)
	case p.hidden:
		d.wrong(p, fmt.Sprintf("%q%s has a value that it can't have", p.name, p.inside), "The value comes from env() or file() and isn't shown.")
	default:
		d.wrong(p, fmt.Sprintf("%q%s: %s", p.name, p.inside, err), "")
	}
}

// kindOf names the type of a value for people.
func kindOf(v cty.Value) string {
	t := v.Type()
	switch {
	case t == cty.String:
		return "text"
	case t == cty.Number:
		return "a number"
	case t == cty.Bool:
		return "true or false"
	case t.IsListType(), t.IsTupleType(), t.IsSetType():
		return "a list"
	case t.IsMapType(), t.IsObjectType():
		return "a map"
	}
	return "this"
}

// trimLineEnd takes off the line end with which a heredoc ends.
func trimLineEnd(s string) string {
	return strings.TrimSuffix(strings.TrimSuffix(s, "\n"), "\r")
}

// sortedKeys are the keys of a map in order.
func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
