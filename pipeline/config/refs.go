package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// The nouns of the language.
const (
	kindInput     = "input"
	kindProcessor = "processor"
	kindOutput    = "output"
)

// String is the reference as it would be written.
func (r Ref) String() string {
	s := r.Kind
	if r.Type != "" {
		s += "." + r.Type
	}
	if r.Name != "" {
		s += "." + r.Name
	}
	if r.Key != "" {
		s += "[" + quote(r.Key) + "]"
	}
	return s
}

// Matches says whether the block is what the reference names, or below it.
func (r Ref) Matches(b *Block) bool {
	return r.Kind == b.Kind && (r.Type == "" || r.Type == b.Type) && (r.Name == "" || r.Name == b.Name) && (r.Key == "" || r.Key == b.Key)
}

// address is how a block is named in references, in paths and in metrics.
func address(kind, typ, name, key string) string {
	return Ref{Kind: kind, Type: typ, Name: name, Key: key}.String()
}

// quote writes text as HCL does.
func quote(s string) string {
	return string(hclwrite.TokensForValue(cty.StringVal(s)).Bytes())
}

const refRemedy = "A reference is written without quotes: input.TYPE.NAME, input.TYPE for all of a type, or input for all."

// refs reads the value of from: one reference or a list of them. Nothing is evaluated but the key of a for_each.
func (d *decoder) refs(attr *hclsyntax.Attribute) []Ref {
	exprs := []hclsyntax.Expression{attr.Expr}
	if tuple, is := attr.Expr.(*hclsyntax.TupleConsExpr); is {
		exprs = tuple.Exprs
		if len(exprs) == 0 {
			d.faults.errorf(attr.Expr.Range(), "from is an empty list", "Name what data comes from: "+refRemedy)
			return nil
		}
	}
	var refs []Ref
	for _, expr := range exprs {
		ref, ok := d.ref(expr)
		if !ok {
			continue
		}
		if slices.ContainsFunc(refs, func(other Ref) bool { return other.String() == ref.String() }) {
			d.faults.errorf(ref.Range, fmt.Sprintf("%s is named twice", ref), "")
			continue
		}
		refs = append(refs, ref)
	}
	return refs
}

func (d *decoder) ref(expr hclsyntax.Expression) (Ref, bool) {
	key := ""
	inner := expr
	if index, is := expr.(*hclsyntax.IndexExpr); is { // input.mysql.fleet[each.key]
		inner = index.Collection
		if !d.static { // else there is no each
			var ok bool
			if key, ok = d.refKey(index.Key); !ok {
				return Ref{}, false
			}
		}
	}
	t, diags := hcl.AbsTraversalForExpr(inner)
	if diags.HasErrors() {
		d.notARef(expr)
		return Ref{}, false
	}
	ref := Ref{Kind: t.RootName(), Range: expr.Range()}
	switch ref.Kind {
	case kindInput, kindProcessor:
	case kindOutput:
		d.faults.errorf(ref.Range, "An output gives nothing on", "from names inputs and processors; an output that is to get the same data names the same sources.")
		return ref, false
	default:
		summary := fmt.Sprintf("Unknown kind %q in a reference%s", ref.Kind, Suggest(ref.Kind, []string{kindInput, kindProcessor}))
		if len(t) == 1 {
			summary = fmt.Sprintf("%q is not a reference%s", ref.Kind, Suggest(ref.Kind, []string{kindInput, kindProcessor}))
		}
		if ref.Kind == "local" || ref.Kind == "each" {
			summary = traversalText(t) + " is not a reference"
		}
		d.faults.errorf(ref.Range, summary, refRemedy)
		return ref, false
	}
	for i, step := range t[1:] {
		name, _ := stepName(t, i+1)
		_, isAttr := step.(hcl.TraverseAttr)
		switch {
		case i == 0 && isAttr:
			ref.Type = name
		case i == 1 && isAttr:
			ref.Name = name
		case i == 2 && !isAttr && key == "":
			index, is := step.(hcl.TraverseIndex)
			if !is {
				d.notARef(expr)
				return ref, false
			}
			text, err := convert.Convert(index.Key, cty.String)
			if err != nil || text.IsNull() || text.AsString() == "" {
				d.notARef(expr)
				return ref, false
			}
			ref.Key = text.AsString()
		default:
			d.faults.errorf(ref.Range, fmt.Sprintf("%s is longer than a reference can be", traversalText(t)), `A reference has a kind, a type, a name and, for a block with for_each, a key: input.mysql.fleet["a"].`)
			return ref, false
		}
	}
	if key != "" {
		if ref.Name == "" {
			d.notARef(expr)
			return ref, false
		}
		ref.Key = key
	}
	return ref, true
}

// refKey evaluates the key of a reference to an instance.
func (d *decoder) refKey(expr hclsyntax.Expression) (string, bool) {
	v, ok := d.eval.value(expr, d.scope)
	if !ok {
		return "", false
	}
	v, _ = v.Unmark()
	text, err := convert.Convert(v, cty.String)
	if err != nil || text.IsNull() || text.AsString() == "" {
		d.faults.errorf(expr.Range(), "The key of a reference must be text", `Write it like input.mysql.fleet["a"].`)
		return "", false
	}
	return text.AsString(), true
}

func (d *decoder) notARef(expr hclsyntax.Expression) {
	detail := refRemedy
	switch expr := expr.(type) {
	case *hclsyntax.TemplateExpr:
		if v, diags := expr.Value(nil); !diags.HasErrors() && v.Type() == cty.String && expr.IsStringLiteral() {
			if text := v.AsString(); hclsyntax.ValidIdentifier(strings.NewReplacer(".", "_", "[", "_", "]", "_", `"`, "_").Replace(text)) {
				detail = "Write it without quotes: " + text + "."
			}
		}
	case *hclsyntax.SplatExpr:
		detail = "The reference without [*] means all instances."
	}
	d.faults.errorf(expr.Range(), "This is not a reference", detail)
}

// checkRef says whether a reference names a block that is declared, enabled or not, and tells the fault when it doesn't.
func (l *loader) checkRef(ref Ref) {
	if l.lost[ref.Kind] {
		return // a header that can't be read may be what is meant
	}
	var types, names, keys, all []string
	keysKnown := true
	for _, d := range l.decls {
		if d.kind != ref.Kind {
			continue
		}
		all = append(all, address(d.kind, d.typ, d.name, ""))
		types = append(types, d.typ)
		if d.typ != ref.Type && d.meantType != ref.Type {
			continue
		}
		names = append(names, d.name)
		if d.name == ref.Name {
			if !d.forEach && ref.Key != "" {
				l.faults.errorf(ref.Range, fmt.Sprintf("%s has no instances", address(d.kind, d.typ, d.name, "")), "Only a block with for_each has them: leave the brackets out.")
				return
			}
			keys = append(keys, d.keys...)
			keysKnown = keysKnown && d.keysKnown
		}
	}
	listed := func(what string, names []string) string {
		slices.Sort(names)
		names = slices.Compact(names)
		if len(names) == 0 {
			return fmt.Sprintf("The config has no %s.", what)
		}
		const most = 10
		more := ""
		if len(names) > most {
			more = fmt.Sprintf(" and %d more", len(names)-most)
			names = names[:most]
		}
		return "The config has " + strings.Join(names, ", ") + more + "."
	}
	meant := slices.ContainsFunc(l.decls, func(d *decl) bool { return d.kind == ref.Kind && d.meantType == ref.Type && ref.Type != "" })
	switch {
	case ref.Type == "" && len(types) > 0:
	case ref.Type == "":
		l.faults.errorf(ref.Range, fmt.Sprintf("There is no %s in this config", ref.Kind), "")
	case !slices.Contains(types, ref.Type) && !meant:
		full := Ref{Kind: ref.Kind, Type: ref.Type, Name: ref.Name}
		suggestion := ""
		if best := closest(ref.Type, types); best != "" {
			suggestion = fmt.Sprintf("; did you mean %q?", Ref{Kind: ref.Kind, Type: best, Name: ref.Name}.String())
		} else if ref.Name == "" {
			// input.lottery for input.mysql.lottery
			for _, d := range l.decls {
				if d.kind == ref.Kind && d.name == ref.Type {
					suggestion = fmt.Sprintf("; did you mean %q?", address(d.kind, d.typ, d.name, ""))
				}
			}
		}
		l.faults.errorf(ref.Range, fmt.Sprintf("There is no %s%s", full, suggestion), listed(ref.Kind, all))
	case ref.Name != "" && !slices.Contains(names, ref.Name):
		suggestion := ""
		if best := closest(ref.Name, names); best != "" {
			suggestion = fmt.Sprintf("; did you mean %q?", Ref{Kind: ref.Kind, Type: ref.Type, Name: best}.String())
		}
		l.faults.errorf(ref.Range, fmt.Sprintf("There is no %s%s", Ref{Kind: ref.Kind, Type: ref.Type, Name: ref.Name}, suggestion), listed(ref.Kind+" of type "+ref.Type, all))
	case ref.Key != "" && keysKnown && !slices.Contains(keys, ref.Key):
		l.faults.errorf(ref.Range, fmt.Sprintf("There is no %s%s", ref, Suggest(ref.Key, keys)), "The keys come from the block's for_each.")
	}
}
