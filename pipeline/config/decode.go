package config

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/hermod-agent/hermod/pipeline/config/internal/schema"
)

// Defaulter is the struct of a nested block that begins with other values than its zero value where the block may be absent or stand
// more than once.
type Defaulter interface {
	SetDefaults()
}

// decoder fills one config struct from one block.
type decoder struct {
	*loader
	scope scope
	// skipped are the names at the beginning of lines of the block that could not be parsed.
	skipped map[string]bool
	// broken is where sense ends in the block; nil when it doesn't.
	broken *hcl.Pos
	// static decoding looks at names only: for blocks that are disabled.
	static bool
	// of names the block in messages: input "mysql".
	of string
	// ranges are where attributes and blocks stand, by path: "tls.cert_file", "rule[1]".
	ranges map[string]hcl.Range
	// unseen are values that are not to be shown: what a component's own check says is searched for them.
	unseen []string
	// failed are the paths of which a fault was told, and the names that were probably meant.
	failed map[string]bool
}

func (l *loader) newDecoder(b *decl, sc scope) *decoder {
	return &decoder{
		loader: l, scope: sc, skipped: b.file.skippedIn(b.block), broken: b.broken, of: b.of(),
		ranges: map[string]hcl.Range{}, failed: map[string]bool{},
	}
}

// body fills target, a struct, from body. common are attributes that are decoded elsewhere. It says whether no fault was found.
func (d *decoder) body(body *hclsyntax.Body, target reflect.Value, header hcl.Range, path string, common []string) bool {
	fields, err := schema.Of(target.Type())
	if err != nil {
		d.faults.errorf(header, "The component's config can't be decoded", err.Error()+". This is a fault of the program.")
		return false
	}
	attrs, blocks := map[string]schema.Field{}, map[string]schema.Field{}
	secretFiles := map[string]string{} // password_file -> password
	names := slices.Clone(common)
	for _, f := range fields {
		names = append(names, f.Name)
		if f.Block {
			blocks[f.Name] = f
			continue
		}
		attrs[f.Name] = f
		if isSecret(f.Type) {
			secretFiles[f.Name+"_file"] = f.Name
			names = append(names, f.Name+"_file")
		}
	}
	for word := range d.skipped {
		d.failed[path+word] = true
		if best := closest(word, names); best != "" && attrs[word].Name == "" {
			d.failed[path+best] = true
		}
	}
	ok := true
	for _, a := range sortedAttributes(body) {
		if slices.Contains(common, a.Name) || d.beyond(a.SrcRange) {
			continue
		}
		d.ranges[path+a.Name] = a.Expr.Range()
		field, known := attrs[a.Name]
		_, isFile := secretFiles[a.Name]
		switch {
		case known, isFile:
			if isFile && !known {
				field = attrs[secretFiles[a.Name]]
				known = d.secretFile(body, a, schema.At(target, field.Path), field.Name)
			} else {
				known = d.attribute(a, schema.At(target, field.Path))
			}
			if !known {
				d.failed[path+a.Name] = true
				ok = false
			}
		default:
			ok = false
			d.unknown(a.Name, a.NameRange, names, blocks, path)
		}
	}
	ok = d.blocks(body, target, path, blocks, attrs, names) && ok
	for _, f := range fields {
		if f.Block || f.Optional {
			continue
		}
		a, set := body.Attributes[f.Name]
		if isSecret(f.Type) && body.Attributes[f.Name+"_file"] != nil {
			set = true
		}
		if set && a != nil && isNull(a.Expr) {
			set = false
		}
		if set || d.failed[path+f.Name] || d.broken != nil {
			continue
		}
		ok = false
		d.failed[path+f.Name] = true
		detail := "Add it to the block."
		if isSecret(f.Type) {
			detail = fmt.Sprintf("Add %s, or %s_file with the path of a file that holds it.", f.Name, f.Name)
		}
		d.faults.errorf(header, fmt.Sprintf("%s needs %q", capital(d.what(path)), f.Name), detail)
	}
	return ok
}

// blocks decodes the nested blocks.
func (d *decoder) blocks(body *hclsyntax.Body, target reflect.Value, path string, blocks, attrs map[string]schema.Field, names []string) bool {
	ok := true
	count := map[string]int{}
	for _, b := range body.Blocks {
		if d.beyond(b.TypeRange) {
			continue
		}
		field, known := blocks[b.Type]
		if !known {
			ok = false
			if _, isAttr := attrs[b.Type]; isAttr || slices.Contains(commonNames, b.Type) && slices.Contains(names, b.Type) {
				d.failed[path+b.Type] = true
				d.faults.errorf(b.TypeRange, fmt.Sprintf("%q is an attribute, not a block", b.Type), fmt.Sprintf("Write it with an equals sign: %s = { ... }.", b.Type))
				continue
			}
			d.unknownBlock(b, names, path)
			continue
		}
		if len(b.Labels) > 0 {
			d.faults.errorf(b.LabelRanges[0], fmt.Sprintf("A block %q has no name", b.Type), fmt.Sprintf("Write %s { ... }.", b.Type))
			ok = false
		}
		here := path + b.Type
		v := schema.At(target, field.Path)
		many := v.Kind() == reflect.Slice
		if many {
			here = fmt.Sprintf("%s%s[%d]", path, b.Type, count[b.Type])
		} else if first, twice := d.ranges[here]; twice {
			d.faults.errorf(b.TypeRange, fmt.Sprintf("The block %q stands twice", b.Type), fmt.Sprintf("It may stand once; the first is in line %d.", first.Start.Line))
			ok = false
			continue
		}
		count[b.Type]++
		d.ranges[here] = b.DefRange()
		ok = d.nested(b, v, here) && ok
	}
	return ok
}

// nested decodes one nested block into a field: a struct, a pointer to one, or a slice of either.
func (d *decoder) nested(b *hclsyntax.Block, v reflect.Value, here string) bool {
	if v.Kind() == reflect.Struct {
		return d.body(b.Body, v, b.DefRange(), here+".", nil)
	}
	if v.Kind() == reflect.Pointer && !v.IsNil() {
		// The default has a block; a copy keeps what the component's defaults share from being changed.
		fresh := reflect.New(v.Type().Elem())
		fresh.Elem().Set(v.Elem())
		v.Set(fresh)
		return d.body(b.Body, fresh.Elem(), b.DefRange(), here+".", nil)
	}
	fresh := reflect.New(schema.Element(v.Type()))
	if defaulter, is := fresh.Interface().(Defaulter); is {
		defaulter.SetDefaults()
	}
	ok := d.body(b.Body, fresh.Elem(), b.DefRange(), here+".", nil)
	switch {
	case v.Kind() == reflect.Pointer:
		v.Set(fresh)
	case v.Type().Elem().Kind() == reflect.Pointer:
		v.Set(reflect.Append(v, fresh))
	default:
		v.Set(reflect.Append(v, fresh.Elem()))
	}
	return ok
}

// beyond says whether something stands after the place where sense ends in the block.
func (d *decoder) beyond(r hcl.Range) bool {
	return d.broken != nil && r.End.Byte >= d.broken.Byte
}

// what names the block, or the block within it, in messages.
func (d *decoder) what(path string) string {
	if path == "" {
		return d.of
	}
	parts := strings.Split(strings.TrimSuffix(path, "."), ".")
	name, _, _ := strings.Cut(parts[len(parts)-1], "[")
	return fmt.Sprintf("%s in %s", name, d.of)
}

func (d *decoder) unknown(name string, at hcl.Range, names []string, blocks map[string]schema.Field, path string) {
	d.failed[path+name] = true
	if _, isBlock := blocks[name]; isBlock {
		d.faults.errorf(at, fmt.Sprintf("%q is a block, not an attribute", name), fmt.Sprintf("Write it without an equals sign: %s { ... }, with each attribute on a line of its own.", name))
		return
	}
	if path == "" && slices.Contains(commonNames, name) {
		d.faults.errorf(at, fmt.Sprintf("%q makes no sense in %s", name, d.what(path)), commonPlace(name))
		return
	}
	if best := closest(name, names); best != "" {
		d.failed[path+best] = true
	}
	d.faults.errorf(at, fmt.Sprintf("Unknown attribute %q in %s%s", name, d.what(path), Suggest(name, names)), d.helpRemedy())
}

func (d *decoder) unknownBlock(b *hclsyntax.Block, names []string, path string) {
	if best := closest(b.Type, names); best != "" {
		d.failed[path+best] = true
	}
	d.faults.errorf(b.TypeRange, fmt.Sprintf("Unknown block %q in %s%s", b.Type, d.what(path), Suggest(b.Type, names)), d.helpRemedy())
}

// helpRemedy names the page that lists what can be written.
func (d *decoder) helpRemedy() string {
	kind, typ, _ := strings.Cut(d.of, " ")
	if typ == "" {
		return fmt.Sprintf("`hermod help %s` lists what there is.", kind)
	}
	return fmt.Sprintf("`hermod help %s %s` lists what there is.", kind, strings.Trim(typ, `"`))
}

// attribute decodes one attribute. null counts as not set.
func (d *decoder) attribute(a *hclsyntax.Attribute, target reflect.Value) bool {
	if d.static {
		return true
	}
	v, ok := d.eval.value(a.Expr, d.scope)
	if !ok {
		return false
	}
	if plain, _ := v.Unmark(); plain.IsNull() {
		return true
	}
	return d.assign(v, target, place{expr: a.Expr, name: a.Name})
}

// secretFile decodes NAME_file, the sibling of a Secret.
func (d *decoder) secretFile(body *hclsyntax.Body, a *hclsyntax.Attribute, target reflect.Value, sibling string) bool {
	if other := body.Attributes[sibling]; other != nil && !isNull(other.Expr) && !isNull(a.Expr) {
		d.faults.errorf(a.NameRange, fmt.Sprintf("Both %q and %q are set", sibling, a.Name), "Leave one of them out.")
		return false
	}
	if d.static {
		return true
	}
	var path string
	v, ok := d.eval.value(a.Expr, d.scope)
	if !ok {
		return false
	}
	if plain, _ := v.Unmark(); plain.IsNull() {
		return true
	}
	if !d.assign(v, reflect.ValueOf(&path).Elem(), place{expr: a.Expr, name: a.Name}) {
		return false
	}
	if path == "" {
		d.faults.errorf(a.Expr.Range(), fmt.Sprintf("%q is empty", a.Name), "Name a file that holds the secret and nothing else.")
		return false
	}
	secret := NewSecretFile(d.eval.path(path))
	if _, err := secret.Reveal(); err != nil {
		detail := "A relative path begins at the config's folder."
		what := capital(err.Error())
		if _, marks := v.Unmark(); len(marks) > 0 {
			what = "The secret's file can't be read, or is empty"
		}
		d.faults.errorf(a.Expr.Range(), what, detail)
		return false
	}
	if target.Kind() == reflect.Pointer {
		target.Set(reflect.ValueOf(&secret))
	} else {
		target.Set(reflect.ValueOf(secret))
	}
	return true
}

// validate asks the struct, and those within it, for what their types can't say. After other faults in the block only those are told
// that can't follow from them.
func (d *decoder) validate(target reflect.Value, header hcl.Range, path string, clean bool) bool {
	ok := true
	for _, squashed := range schema.Squashed(target.Type()) {
		v := schema.At(target, squashed)
		validator, is := v.Addr().Interface().(Validator)
		if !is {
			continue
		}
		for _, err := range d.ask(validator, header) {
			if d.invalid(err, header, path, clean) {
				ok = false
			}
		}
	}
	fields, err := schema.Of(target.Type())
	if err != nil {
		return false // was told
	}
	for _, f := range fields {
		if !f.Block {
			continue
		}
		v := schema.At(target, f.Path)
		switch v.Kind() {
		case reflect.Struct:
			ok = d.validateNested(v, header, path+f.Name, clean) && ok
		case reflect.Pointer:
			if !v.IsNil() {
				ok = d.validateNested(v.Elem(), header, path+f.Name, clean) && ok
			}
		case reflect.Slice:
			for i := range v.Len() {
				e := v.Index(i)
				if e.Kind() == reflect.Pointer {
					e = e.Elem()
				}
				ok = d.validateNested(e, header, fmt.Sprintf("%s%s[%d]", path, f.Name, i), clean) && ok
			}
		}
	}
	return ok
}

func (d *decoder) validateNested(v reflect.Value, header hcl.Range, path string, clean bool) bool {
	if r, set := d.ranges[path]; set {
		header = r
	}
	return d.validate(v, header, path+".", clean)
}

// ask calls Validate, which is a component's code on values that nobody has checked.
func (d *decoder) ask(v Validator, header hcl.Range) (errs []error) {
	defer func() {
		if r := recover(); r != nil {
			errs = []error{fmt.Errorf("the check of %s failed: %T. This is a fault of the program", d.of, r)}
		}
	}()
	return v.Validate()
}

// invalid tells an error of Validate at its attribute.
func (d *decoder) invalid(err error, header hcl.Range, path string, clean bool) bool {
	if err == nil {
		return false
	}
	at, text := header, capital(err.Error())
	var attr *AttrError
	if errors.As(err, &attr) {
		full := path + attr.Attr
		text = capital(attr.Err.Error())
		var found bool
		if at, found = d.rangeOf(full); !found {
			at = header
			text = attr.Attr + ": " + attr.Err.Error() // the attribute's name as it is written
		}
		if !clean && (!found || d.hasFailed(full) || d.mentionsFailed(text)) {
			return false
		}
	} else if !clean {
		return false
	}
	d.faults.errorf(at, d.withoutUnseen(text), d.faults.note)
	return true
}

// withoutUnseen takes out of a component's text what is not to be shown. Values of one or two characters hide nothing, and would turn
// up in any text.
func (d *decoder) withoutUnseen(text string) string {
	const shortest = 3
	for _, value := range d.unseen {
		if quoted := strings.Trim(strconv.Quote(value), `"`); len(value) >= shortest {
			text = strings.ReplaceAll(strings.ReplaceAll(text, value, "(not shown)"), quoted, "(not shown)")
		}
	}
	return text
}

// rangeOf finds where an attribute stands, or the innermost block around it that was written. found is false when neither is there.
func (d *decoder) rangeOf(path string) (r hcl.Range, found bool) {
	if r, found = d.ranges[path]; found {
		return r, true
	}
	if r, found = d.ranges[path+"_file"]; found {
		return r, true
	}
	for {
		i := strings.LastIndexAny(path, ".[")
		if i < 0 {
			return hcl.Range{}, false
		}
		path = path[:i]
		if r, found = d.ranges[path]; found {
			return r, true
		}
	}
}

func (d *decoder) hasFailed(path string) bool {
	for failed := range d.failed {
		if path == failed || strings.HasPrefix(path, failed+".") || strings.HasPrefix(path, failed+"[") {
			return true
		}
	}
	return false
}

// mentionsFailed says whether a text speaks of an attribute of which a fault was told: it may be about what follows from it.
func (d *decoder) mentionsFailed(text string) bool {
	words := strings.FieldsFunc(text, func(r rune) bool {
		return r != '_' && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9')
	})
	for failed := range d.failed {
		name := failed[strings.LastIndexByte(failed, '.')+1:]
		if slices.Contains(words, name) {
			return true
		}
	}
	return false
}

// sortedAttributes are the attributes of a body in file order.
func sortedAttributes(body *hclsyntax.Body) []*hclsyntax.Attribute {
	out := make([]*hclsyntax.Attribute, 0, len(body.Attributes))
	for _, a := range body.Attributes {
		out = append(out, a)
	}
	slices.SortFunc(out, func(a, b *hclsyntax.Attribute) int { return a.SrcRange.Start.Byte - b.SrcRange.Start.Byte })
	return out
}

// isNull says whether an expression is the word null.
func isNull(expr hclsyntax.Expression) bool {
	l, is := expr.(*hclsyntax.LiteralValueExpr)
	return is && l.Val.IsNull()
}

func isSecret(t reflect.Type) bool {
	return t == reflect.TypeFor[Secret]() || t == reflect.TypeFor[*Secret]()
}
