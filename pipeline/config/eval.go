package config

import (
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
)

// evaluator gives expressions their values: it knows the functions, the locals and what each means, and tells every fault once.
type evaluator struct {
	options Options
	dir     string // the config's folder, absolute or relative to the working directory
	faults  *faults
	funcs   map[string]function.Function
	locals  map[string]*local
	order   []*local // in file order
	// localsLost says that a locals block can't be read whole: what isn't known may stand there.
	localsLost bool
	// bad are places in expressions of which a fault was told when the file was parsed.
	bad []hcl.Range

	told         map[string]answer // by ec2 and ecs, by function and item
	host         string            // agent.host once it is known
	hostUnderway bool              // agent.host is being evaluated
	stack        []*local          // the locals that are being evaluated, one for the sake of the other
}

// local is an attribute of a locals block.
type local struct {
	name      string
	attr      *hclsyntax.Attribute
	state     localState
	value     cty.Value
	ok        bool // false: a fault was told, and who uses it says nothing
	sensitive bool // made of env or file
}

type localState uint8

const (
	untouched localState = iota
	underway
	done
)

// scope is what an instance of a for_each sees besides the locals. The zero scope has no each.
type scope struct {
	key   string
	value cty.Value // NilVal without for_each
	keyed cty.Value // the key, marked when the collection was
}

func (s scope) hasEach() bool { return s.value != cty.NilVal }

const (
	maxLocalDepth = 200 // locals that need each other in a row
	// maxExponent bounds numbers: written out, one of 1e308 has 309 digits, and one of 1e999999999 a gigabyte of them.
	maxExponent = 1100 // powers of two
)

// value evaluates expr. ok is false when a fault was told, here or where the value comes from.
func (e *evaluator) value(expr hclsyntax.Expression, sc scope) (v cty.Value, ok bool) {
	v, _, ok = e.evaluate(expr, sc)
	return v, ok
}

func (e *evaluator) evaluate(expr hclsyntax.Expression, sc scope) (v cty.Value, sensitive, ok bool) {
	defer func() {
		// The libraries panic where a value is not what their authors thought of; the user gets a place to look at.
		if r := recover(); r != nil {
			e.faults.errorf(expr.Range(), "This expression can't be evaluated", "Write it in a simpler way.")
			v, ok = cty.DynamicVal, false
		}
	}()
	r := expr.Range()
	for _, bad := range e.bad {
		if bad.Filename == r.Filename && r.Start.Byte <= bad.Start.Byte && bad.End.Byte <= r.End.Byte {
			return cty.DynamicVal, false, false
		}
	}
	sensitive, ok = e.check(expr)
	vars := map[string]cty.Value{}
	locals := map[string]cty.Value{}
	for _, traversal := range expr.Variables() {
		s, fine := e.resolve(traversal, sc, vars, locals)
		sensitive = sensitive || s
		ok = ok && fine
	}
	if !ok {
		return cty.DynamicVal, sensitive, false
	}
	if len(locals) > 0 {
		vars["local"] = cty.ObjectVal(locals)
	}
	v, diags := expr.Value(&hcl.EvalContext{Variables: vars, Functions: e.funcs})
	for _, d := range diags {
		out := explainEvaluation(d, sensitive)
		if subject(out).Filename == "" { // HCL has lost the place
			out.Subject = &r
		}
		e.faults.add(out)
	}
	if diags.HasErrors() {
		return cty.DynamicVal, sensitive, false
	}
	if !v.IsWhollyKnown() {
		e.faults.errorf(expr.Range(), "This expression has no value that is known", "Write it in a simpler way.")
		return cty.DynamicVal, sensitive, false
	}
	return v, sensitive, true
}

// check finds what HCL would let pass or would call by another name: unknown functions, the interpolation of a number, numbers out of
// all measure.
func (e *evaluator) check(expr hclsyntax.Expression) (sensitive, ok bool) {
	ok = true
	fault := func(at hcl.Range, summary, detail string) {
		e.faults.errorf(at, summary, detail)
		ok = false
	}
	literalNumber := func(part hclsyntax.Expression) (string, bool) {
		l, is := part.(*hclsyntax.LiteralValueExpr)
		if !is || l.Val.Type() != cty.Number || l.Val.IsNull() {
			return "", false
		}
		return l.Val.AsBigFloat().Text('g', 12), true
	}
	_ = hclsyntax.VisitAll(expr, func(node hclsyntax.Node) hcl.Diagnostics {
		var parts []hclsyntax.Expression
		switch n := node.(type) {
		case *hclsyntax.FunctionCallExpr:
			if n.Name == "env" || n.Name == "file" {
				sensitive = true
			}
			if _, known := e.funcs[n.Name]; !known {
				fault(n.NameRange, fmt.Sprintf("Unknown function %q%s", n.Name, Suggest(n.Name, e.functionNames())), "The functions are listed by `hermod help language`.")
			}
		case *hclsyntax.LiteralValueExpr:
			if n.Val.Type() == cty.Number && !n.Val.IsNull() && outOfMeasure(n.Val.AsBigFloat()) {
				fault(n.Range(), "This number is out of range", "")
			}
		case *hclsyntax.TemplateExpr:
			parts = n.Parts
		case *hclsyntax.TemplateWrapExpr:
			parts = []hclsyntax.Expression{n.Wrapped}
		}
		for _, part := range parts {
			if text, is := literalNumber(part); is {
				fault(part.Range(), fmt.Sprintf("${%s} is a template: it gives the number %s", text, text),
					fmt.Sprintf("For the group of a regular expression write $%s or $${%s}.", text, text))
			}
		}
		return nil
	})
	return sensitive, ok
}

func outOfMeasure(f *big.Float) bool {
	exp := f.MantExp(nil)
	return f.IsInf() || exp > maxExponent || exp < -maxExponent
}

// resolve puts what a variable stands for into vars or locals.
func (e *evaluator) resolve(t hcl.Traversal, sc scope, vars, locals map[string]cty.Value) (sensitive, ok bool) {
	whole := t.SourceRange()
	switch root := t.RootName(); root {
	case "local":
		name, fixed := stepName(t, 1)
		if !fixed { // local[expression]: any of them
			for _, l := range e.order {
				fine := e.local(l, whole)
				if !fine {
					return sensitive, false
				}
				locals[l.name] = l.value
				sensitive = sensitive || l.sensitive
			}
			if len(e.order) == 0 {
				vars["local"] = cty.EmptyObjectVal
			}
			return sensitive, true
		}
		l := e.locals[name]
		if l == nil && e.localsLost {
			return false, false
		}
		if l == nil {
			e.faults.errorf(whole, fmt.Sprintf("There is no local %q%s", name, Suggest(name, e.localNames())), "Values for use in several places are given in a block: locals { NAME = VALUE }.")
			return false, false
		}
		if !e.local(l, whole) {
			return l.sensitive, false
		}
		locals[name] = l.value
		return l.sensitive, true
	case "each":
		if !sc.hasEach() {
			e.faults.errorf(whole, "each stands for nothing here", "each.key and each.value are for blocks with for_each.")
			return false, false
		}
		if name, fixed := stepName(t, 1); !fixed || name != "key" && name != "value" {
			e.faults.errorf(whole, "each has a key and a value", "Write each.key or each.value.")
			return false, false
		}
		vars["each"] = cty.ObjectVal(map[string]cty.Value{"key": sc.keyed, "value": sc.value})
		return sc.value.IsMarked() || sc.keyed.IsMarked() || sc.value.ContainsMarked(), true
	case kindInput, kindProcessor, kindOutput:
		e.faults.errorf(whole, fmt.Sprintf("%s is a reference to components, not a value", traversalText(t)), "References are for from.")
		return false, false
	default:
		detail := fmt.Sprintf("Text stands in quotes: %q. Names without quotes are local.NAME, each.key and each.value.", root)
		summary := fmt.Sprintf("Unknown name %q", root)
		if len(t) == 1 {
			switch strings.ToLower(root) {
			case "yes", "on", "enabled":
				detail = "Write true."
			case "no", "off", "disabled", "none":
				detail = "Write false, or text in quotes."
			}
		} else {
			summary += Suggest(root, []string{"local", "each"})
			if root == "locals" {
				detail = "The block is called locals, a value of it local.NAME."
			}
			detail += fmt.Sprintf(" Where ${%s} is meant for a regular expression or another program, write $${%s}.", root, root)
		}
		if len(t) == 1 && e.locals[root] != nil {
			detail = fmt.Sprintf("Write local.%s.", root)
		}
		e.faults.errorf(whole, summary, detail)
		return false, false
	}
}

// local evaluates l if nobody has yet. at is where it is used.
func (e *evaluator) local(l *local, at hcl.Range) bool {
	switch l.state {
	case done:
		return l.ok
	case underway:
		path := e.cycleThrough(l)
		e.faults.errorf(at, "These locals need each other: "+path, "Give one of them a value that doesn't need the others.")
		l.ok = false
		return false
	}
	if len(e.stack) >= maxLocalDepth {
		e.faults.errorf(at, fmt.Sprintf("More than %d locals need each other in a row", maxLocalDepth), "Write some of the values out.")
		return false
	}
	l.state, l.ok = underway, true
	e.stack = append(e.stack, l)
	repeat := e.faults.repeat
	e.faults.repeat = false
	v, sensitive, ok := e.evaluate(l.attr.Expr, scope{})
	e.faults.repeat = repeat
	e.stack = e.stack[:len(e.stack)-1]
	l.state, l.value, l.sensitive, l.ok = done, v, sensitive || v.ContainsMarked(), ok && l.ok
	return l.ok
}

// cycleThrough names the locals under way from l on: each needs the next, and the last needs l.
func (e *evaluator) cycleThrough(l *local) string {
	var names []string
	for _, c := range e.stack[slices.Index(e.stack, l):] {
		names = append(names, "local."+c.name)
	}
	return strings.Join(append(names, "local."+l.name), " -> ")
}

func (e *evaluator) localNames() []string {
	names := make([]string, 0, len(e.order))
	for _, l := range e.order {
		names = append(names, l.name)
	}
	return names
}

// stepName is the name at step i of a traversal, written .name or ["name"].
func stepName(t hcl.Traversal, i int) (string, bool) {
	if len(t) <= i {
		return "", false
	}
	switch step := t[i].(type) {
	case hcl.TraverseAttr:
		return step.Name, true
	case hcl.TraverseIndex:
		if step.Key.Type() == cty.String && !step.Key.IsNull() && step.Key.IsKnown() && !step.Key.IsMarked() {
			return step.Key.AsString(), true
		}
	}
	return "", false
}

// traversalText is a traversal as it was written, without the values of index keys that aren't plain.
func traversalText(t hcl.Traversal) string {
	var b strings.Builder
	for i, step := range t {
		switch step := step.(type) {
		case hcl.TraverseRoot:
			b.WriteString(step.Name)
		default:
			name, fixed := stepName(t, i)
			_, isAttr := step.(hcl.TraverseAttr)
			switch {
			case isAttr:
				b.WriteString("." + name)
			case fixed:
				b.WriteString("[" + quote(name) + "]")
			default:
				b.WriteString("[...]")
			}
		}
	}
	return b.String()
}

// explainEvaluation words a fault that HCL found in an expression. Where the expression has to do with env or file, nothing is repeated
// of what HCL or a function says of the value.
func explainEvaluation(d *hcl.Diagnostic, sensitive bool) *hcl.Diagnostic {
	out := &hcl.Diagnostic{Severity: d.Severity, Summary: d.Summary, Detail: d.Detail, Subject: d.Subject}
	const unseen = "The value comes from env() or file() and isn't shown."
	if extra, is := hcl.DiagnosticExtra[hclsyntax.FunctionCallDiagExtra](d); is && extra.FunctionCallError() != nil {
		err := extra.FunctionCallError()
		var own *remedied
		switch {
		case errors.As(err, &own):
			out.Summary, out.Detail = own.what, own.remedy
			if d.Context != nil {
				out.Subject = d.Context // the whole call
			}
		case sensitive:
			out.Summary, out.Detail = fmt.Sprintf("%s() can't take what it is given", extra.CalledFunctionName()), unseen
		default:
			out.Summary, out.Detail = fmt.Sprintf("%s() can't take what it is given", extra.CalledFunctionName()), capital(err.Error())+"."
		}
		return out
	}
	if sensitive && !slices.Contains([]string{"Not enough function arguments", "Too many function arguments"}, d.Summary) {
		out.Detail = unseen
	}
	return out
}

// capital writes the first letter of s in upper case.
func capital(s string) string {
	if s == "" || s[0] < 'a' || s[0] > 'z' {
		return s
	}
	return string(s[0]-'a'+'A') + s[1:]
}
