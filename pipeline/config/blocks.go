package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// maxInstances bounds the instances of one for_each.
const maxInstances = 10_000

// decl is a block of the file before it becomes instances.
type decl struct {
	file   *parsed
	block  *hclsyntax.Block
	broken *hcl.Pos

	kind, typ, name string
	meantType       string     // the known type that a misspelt one was probably meant to be
	blockType       *BlockType // nil: a fault was told, and nothing more is decoded

	unread    bool // only the header is known: the block can't be parsed
	disabled  bool
	forEach   bool
	keys      []string
	keysKnown bool
	scopes    []scope
}

func (d *decl) of() string {
	if d.typ == "" {
		return d.kind // agent
	}
	return fmt.Sprintf("%s %q", d.kind, d.typ)
}

// commonNames are the attributes that the engine looks after; no component has attributes of these names.
var commonNames = []string{"from", "where", "for_each", "enabled", "interval", "timeout", "labels", "job", "instance", "max_series"}

// CommonAttributes lists the attributes that the engine looks after in blocks of this type.
func CommonAttributes(t BlockType) []string {
	names := []string{"enabled", "for_each"}
	if t.Kind != kindInput {
		return append([]string{"from", "where"}, names...)
	}
	names = append(names, "labels")
	if t.EmitsMetrics {
		names = append(names, "interval", "timeout", "job", "instance", "max_series")
	}
	return names
}

// commonPlace says where a common attribute makes sense.
func commonPlace(name string) string {
	switch name {
	case "from", "where":
		return "It is for processors and outputs, which take data; an input has a source of its own."
	case "labels":
		return "It is for inputs. To change labels on the way use a processor, for labels on all that is pushed agent.labels."
	}
	return "It is for inputs that collect metrics."
}

// checkDecls looks at the headers of the blocks: kind, type, name, and that no two have one address.
func (l *loader) checkDecls() {
	first := map[string]*decl{}
	named := map[string]*decl{}
	for _, d := range l.decls {
		if d.unread || !l.header(d) {
			continue
		}
		a := address(d.kind, d.typ, d.name, "")
		if other := first[a]; other != nil {
			detail := "The first is at " + placeText(other.block.TypeRange) + ". Give each a name of its own."
			if d.name == "" {
				detail = fmt.Sprintf("The first is at %s. Only one of a type may go without a name: write %s %q \"NAME\" { ... }.", placeText(other.block.TypeRange), d.kind, d.typ)
			}
			l.faults.errorf(d.block.DefRange(), fmt.Sprintf("There are two blocks %s", a), detail)
			d.blockType = nil
			continue
		}
		first[a] = d
		if d.name != "" && named[d.kind+"."+d.typ] == nil {
			named[d.kind+"."+d.typ] = d
		}
	}
	for _, d := range l.decls {
		if other := named[d.kind+"."+d.typ]; other != nil && d.name == "" && d.blockType != nil {
			l.faults.errorf(d.block.DefRange(), fmt.Sprintf("%s needs a name", capital(d.of())),
				fmt.Sprintf("Only the one block of a type may go without, and there is another one at %s: write %s %q \"NAME\" { ... }.", placeText(other.block.TypeRange), d.kind, d.typ))
		}
	}
}

// header checks kind, type and name of one block. It says whether the block has an address.
func (l *loader) header(d *decl) bool {
	b := d.block
	if len(b.Labels) > 0 {
		d.typ = b.Labels[0]
	}
	if len(b.Labels) > 1 {
		d.name = b.Labels[1]
	}
	kinds := []string{kindInput, kindProcessor, kindOutput}
	if !slices.Contains(kinds, d.kind) {
		detail := "A config has blocks agent, locals, input, processor and output."
		suggestion := Suggest(d.kind, kindNames())
		for _, kind := range kinds {
			if l.types[kind+"."+d.kind] != nil {
				suggestion = ""
				detail = fmt.Sprintf("Write %s %q \"NAME\" { ... }.", kind, d.kind)
			}
		}
		l.faults.errorf(b.TypeRange, fmt.Sprintf("Unknown block %q%s", d.kind, suggestion), detail)
		if best := closest(d.kind, kinds); best != "" {
			d.kind = best
		}
		l.guessType(d)
		return false
	}
	switch {
	case len(b.Labels) == 0:
		l.lost[d.kind] = true
		l.faults.errorf(b.TypeRange, fmt.Sprintf("The %s has no type", d.kind), fmt.Sprintf("Write %s \"TYPE\" \"NAME\" { ... }; the types are %s.", d.kind, strings.Join(l.typesOf(d.kind), ", ")))
		return false
	case len(b.Labels) > 2:
		l.faults.errorf(b.LabelRanges[2], fmt.Sprintf("A third name for the %s", d.kind), fmt.Sprintf("Write %s \"TYPE\" \"NAME\" { ... }.", d.kind))
	}
	if len(b.Labels) > 1 && !hclsyntax.ValidIdentifier(d.name) {
		l.lost[d.kind] = true
		l.faults.errorf(b.LabelRanges[1], fmt.Sprintf("%s can't be the name of a block", quoteShort(d.name)),
			"Names stand in references, so they have letters, digits, _ and -, and no digit at their beginning.")
		d.name = ""
		return false
	}
	if d.blockType = l.types[d.kind+"."+d.typ]; d.blockType == nil {
		l.unknownType(d)
	}
	return d.blockType != nil || d.name != ""
}

func (l *loader) guessType(d *decl) { d.meantType = closest(d.typ, l.typesOf(d.kind)) }

func (l *loader) unknownType(d *decl) {
	l.guessType(d)
	types := l.typesOf(d.kind)
	summary := fmt.Sprintf("There is no %s of type %s%s", d.kind, quoteShort(d.typ), Suggest(d.typ, types))
	detail := fmt.Sprintf("The types are %s.", strings.Join(types, ", "))
	if len(types) == 0 {
		detail = ""
	}
	for _, kind := range []string{kindInput, kindProcessor, kindOutput} {
		if l.types[kind+"."+d.typ] != nil {
			article := "a"
			if kind != kindProcessor {
				article = "an"
			}
			summary = fmt.Sprintf("There is no %s of type %s, but %s %s", d.kind, quoteShort(d.typ), article, kind)
			detail = fmt.Sprintf("Write %s %q.", kind, d.typ)
		}
	}
	l.faults.errorf(d.block.LabelRanges[0], summary, detail)
}

// countKeys finds out of which instances a block consists, before any reference to them is checked.
func (l *loader) countKeys(d *decl) {
	if d.blockType == nil {
		return
	}
	each := d.block.Body.Attributes["for_each"]
	d.forEach = each != nil && !isNull(each.Expr)
	enabled := d.block.Body.Attributes["enabled"]
	if enabled != nil && !usesEach(enabled.Expr) {
		if on, ok := l.enabled(d, enabled, scope{}); ok && !on {
			d.disabled = true
			return
		}
	}
	if !d.forEach {
		d.keysKnown = true
		d.scopes = []scope{{}}
		return
	}
	if d.name == "" {
		l.faults.errorf(each.NameRange, fmt.Sprintf("%s has for_each and no name", capital(d.of())), fmt.Sprintf("Write %s %q \"NAME\" { ... }: its instances are then %s.", d.kind, d.typ, address(d.kind, d.typ, "NAME", "KEY")))
		return
	}
	v, ok := l.eval.value(each.Expr, scope{})
	if !ok {
		return
	}
	d.keysKnown = l.expand(d, each, v)
}

// expand makes the scopes of a for_each over a list or set of texts, or over a map.
func (l *loader) expand(d *decl, each *hclsyntax.Attribute, v cty.Value) bool {
	v, marks := v.Unmark()
	fault := func(summary, detail string) bool {
		l.faults.errorf(each.Expr.Range(), summary, detail)
		d.scopes, d.keys = nil, nil
		return false
	}
	const remedy = "Write a list of texts, or a map of one value an instance."
	if v.IsNull() {
		return fault("for_each is null", remedy)
	}
	t := v.Type()
	isMap := t.IsMapType() || t.IsObjectType()
	if !isMap && !t.IsListType() && !t.IsSetType() && !t.IsTupleType() {
		return fault("for_each must be a list or a map, not "+kindOf(v), remedy)
	}
	if v.LengthInt() > maxInstances {
		return fault(fmt.Sprintf("for_each has more than %d elements", maxInstances), "")
	}
	seen := map[string]bool{}
	for it := v.ElementIterator(); it.Next(); {
		k, e := it.Element()
		if !isMap {
			k = e
		}
		k, keyMarks := k.Unmark()
		text, err := convert.Convert(k, cty.String)
		switch {
		case err != nil || text.IsNull():
			return fault("for_each over a list takes texts only", "For more than one value an instance write a map: { name = { ... } }.")
		case text.AsString() == "":
			return fault("for_each has an empty key", "An instance is addressed by its key.")
		case seen[text.AsString()]:
			if len(marks)+len(keyMarks) > 0 {
				return fault("for_each has the same key twice", "Use distinct(...) if that is meant.")
			}
			return fault(fmt.Sprintf("for_each has the key %s twice", quoteShort(text.AsString())), "Use distinct(...) if that is meant.")
		}
		key := text.AsString()
		seen[key] = true
		d.keys = append(d.keys, key)
		d.scopes = append(d.scopes, scope{key: key, keyed: text.WithMarks(marks, keyMarks), value: e.WithMarks(marks)})
	}
	slices.SortFunc(d.scopes, func(a, b scope) int { return strings.Compare(a.key, b.key) })
	return true
}

func usesEach(expr hclsyntax.Expression) bool {
	return slices.ContainsFunc(expr.Variables(), func(t hcl.Traversal) bool { return t.RootName() == "each" })
}

func (l *loader) enabled(d *decl, a *hclsyntax.Attribute, sc scope) (on, ok bool) {
	on = true
	dec := l.newDecoder(d, sc)
	if dec.beyond(a.SrcRange) {
		return on, true
	}
	ok = dec.attribute(a, valueOf(&on))
	return on, ok
}

// instances decodes a block, once for each instance.
func (l *loader) instances(d *decl) []*Block {
	if d.blockType == nil {
		return nil
	}
	if len(d.scopes) == 0 { // disabled, over nothing, or over something faulty: names are checked, values are not
		dec := l.newDecoder(d, scope{})
		dec.static = true
		dec.body(d.block.Body, reflect.ValueOf(d.blockType.New()).Elem(), d.block.DefRange(), "", CommonAttributes(*d.blockType))
		l.common(dec, d)
		return nil
	}
	var out []*Block
	for i, sc := range d.scopes {
		l.faults.repeat = i > 0
		if sc.hasEach() {
			l.faults.note = fmt.Sprintf("This is the instance with the key %s.", quoteShort(sc.key))
		}
		if b := l.instance(d, sc); b != nil {
			out = append(out, b)
		}
	}
	l.faults.repeat, l.faults.note = false, ""
	return out
}

func (l *loader) instance(d *decl, sc scope) *Block {
	if a := d.block.Body.Attributes["enabled"]; a != nil && usesEach(a.Expr) {
		if on, ok := l.enabled(d, a, sc); ok && !on {
			return nil
		}
	}
	dec := l.newDecoder(d, sc)
	config := d.blockType.New()
	target := reflect.ValueOf(config).Elem()
	header := d.block.DefRange()
	common := l.common(dec, d)
	ok := dec.body(d.block.Body, target, header, "", CommonAttributes(*d.blockType))
	dec.validate(target, header, "", ok && dec.whole())
	b := &Block{
		Kind: d.kind, Type: d.typ, Name: d.name, Key: sc.key, Address: address(d.kind, d.typ, d.name, sc.key),
		Common: common, Config: config, Range: header, attrs: dec.ranges,
	}
	b.Fingerprint = fingerprint(b)
	return b
}

// common decodes the attributes that the engine looks after.
func (l *loader) common(dec *decoder, d *decl) Common {
	c := Common{Enabled: true, Interval: time.Duration(l.agent.Interval)}
	body := d.block.Body
	allowed := CommonAttributes(*d.blockType)
	find := func(name string) *hclsyntax.Attribute {
		a := body.Attributes[name]
		if a == nil || !slices.Contains(allowed, name) || dec.beyond(a.SrcRange) || isNull(a.Expr) {
			return nil
		}
		dec.ranges[name] = a.Expr.Range()
		return a
	}
	if a := find("from"); a != nil {
		c.From = dec.refs(a)
		for _, r := range c.From {
			l.checkRef(r)
		}
	} else if d.kind != kindInput && d.broken == nil && !dec.skipped["from"] {
		l.faults.errorf(d.block.DefRange(), capital(d.of())+` needs "from"`, "Name what data comes from: "+refRemedy)
	}
	if dec.static {
		return c
	}
	if a := find("where"); a != nil {
		c.Where, _ = dec.where(a)
	}
	if a := find("labels"); a != nil {
		c.Labels, _ = dec.labels(a, d.blockType.EmitsMetrics)
	}
	duration := func(name string, target *time.Duration) *hclsyntax.Attribute {
		a := find(name)
		if a == nil {
			return nil
		}
		var value Duration
		if !dec.attribute(a, valueOf(&value)) {
			return nil
		}
		*target = time.Duration(value)
		return a
	}
	if a := duration("interval", &c.Interval); a != nil && c.Interval < minInterval {
		dec.wrong(place{expr: a.Expr}, fmt.Sprintf("The interval is at least %s", Duration(minInterval)), "")
	}
	c.Timeout = timeoutFor(c.Interval)
	if l.agentTimeout {
		c.Timeout = min(time.Duration(l.agent.Timeout), c.Interval)
	}
	if a := duration("timeout", &c.Timeout); a != nil {
		switch {
		case c.Timeout <= 0:
			dec.wrong(place{expr: a.Expr}, "The timeout is more than 0", "")
		case c.Timeout > c.Interval:
			dec.wrong(place{expr: a.Expr}, fmt.Sprintf("The timeout %s is longer than the interval %s", Duration(c.Timeout), Duration(c.Interval)), "A collection that takes longer than the interval would never be on time.")
		}
	}
	if a := find("job"); a != nil {
		dec.attribute(a, valueOf(&c.Job))
	}
	if a := find("instance"); a != nil {
		dec.attribute(a, valueOf(&c.Instance))
	}
	if a := find("max_series"); a != nil && dec.attribute(a, valueOf(&c.MaxSeries)) && c.MaxSeries < 1 {
		dec.wrong(place{expr: a.Expr}, "max_series is at least 1", "")
	}
	return c
}
