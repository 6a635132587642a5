package reference

import (
	"bytes"
	"encoding"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/hermod-agent/hermod/pipeline/config"
	"github.com/hermod-agent/hermod/pipeline/config/internal/schema"
)

// maxDefault is how many characters of a default fit into its column.
const maxDefault = 40

// maxBlockDepth bounds blocks within each other.
const maxBlockDepth = 8

// fields writes the table of the attributes of a config struct, whose value holds the defaults, and then its nested blocks.
func (g *generator) fields(b *bytes.Buffer, v reflect.Value, title string) {
	g.section(b, v, title, "", "", 0)
}

func (g *generator) section(b *bytes.Buffer, v reflect.Value, title, path, intro string, depth int) {
	fields, err := schema.Of(v.Type())
	if err != nil || depth > maxBlockDepth {
		g.faultf("%s: its fields can't be read: %v", v.Type(), err)
		return
	}
	rows := [][]string{{"Attribute", "Type", "Default", "Description"}}
	type nested struct {
		field schema.Field
		doc   string
	}
	var blocks []nested
	for _, f := range fields {
		doc, err := g.comments.field(f.Owner, f.GoName)
		if err != nil {
			g.faultf("%s.%s (%q): %v", f.Owner, f.GoName, f.Name, err)
			continue
		}
		if f.Block {
			blocks = append(blocks, nested{f, doc})
			continue
		}
		value := "required"
		if f.Optional {
			value = defaultText(schema.At(v, f.Path))
			if len(value) > maxDefault { // it would make the column wider than a screen
				value, doc = "told beside", doc+" Default: "+value
			}
		}
		rows = append(rows, []string{"`" + f.Name + "`", typeText(f.Type), value, doc})
	}
	if len(rows) > 1 || intro != "" {
		fmt.Fprintf(b, "## %s\n\n", title)
	}
	if intro != "" {
		b.WriteString(intro + "\n\n")
	}
	if len(rows) > 1 {
		table(b, rows)
	}
	for _, n := range blocks {
		f := n.field
		name := path + f.Name
		intro := n.doc
		switch f.Type.Kind() {
		case reflect.Slice:
			intro += "\n\nThe block may stand any number of times."
		default:
			intro += "\n\nThe block may stand once."
		}
		g.section(b, blockDefaults(schema.At(v, f.Path)), fmt.Sprintf("Block `%s`", name), name+" > ", intro, depth+1)
	}
}

// blockDefaults is a value of a block's struct with the defaults that the decoder begins with.
func blockDefaults(v reflect.Value) reflect.Value {
	if v.Kind() == reflect.Struct {
		return v
	}
	if v.Kind() == reflect.Pointer && !v.IsNil() {
		return v.Elem()
	}
	fresh := reflect.New(schema.Element(v.Type()))
	if d, is := fresh.Interface().(config.Defaulter); is {
		d.SetDefaults()
	}
	return fresh.Elem()
}

// typeText names a type for people.
func typeText(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[config.Duration]():
		return "duration"
	case reflect.TypeFor[config.Size]():
		return "size"
	case reflect.TypeFor[config.Secret]():
		return "secret"
	case reflect.TypeFor[config.Regexp]():
		return "regexp"
	case reflect.TypeFor[config.URL]():
		return "URL"
	case reflect.TypeFor[config.Address]():
		return "address"
	}
	if t.Kind() != reflect.Pointer && reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		return "text"
	}
	switch t.Kind() {
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "bool"
	case reflect.Float32, reflect.Float64:
		return "number"
	case reflect.Pointer:
		return typeText(t.Elem())
	case reflect.Slice:
		return "list of " + typeText(t.Elem())
	case reflect.Map:
		return "map of " + typeText(t.Elem())
	}
	return "whole number"
}

// defaultText writes a default as it would stand in the config; "" where nothing is the default.
func defaultText(v reflect.Value) string {
	text := literal(v)
	if text == "" {
		return ""
	}
	return "`" + text + "`"
}

func literal(v reflect.Value) string {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return ""
		}
		return literal(v.Elem())
	}
	switch t := v.Interface().(type) {
	case config.Duration:
		if t == 0 {
			return ""
		}
		return strconv.Quote(t.String())
	case config.Size:
		if t == 0 {
			return ""
		}
		return strconv.Quote(t.String())
	case config.Secret:
		return ""
	case config.Regexp:
		if !t.IsSet() {
			return ""
		}
		return strconv.Quote(t.String())
	case config.URL:
		if !t.IsSet() {
			return ""
		}
		return strconv.Quote(t.String())
	case encoding.TextMarshaler:
		text, err := t.MarshalText()
		if err != nil || len(text) == 0 {
			return ""
		}
		return strconv.Quote(string(text))
	}
	switch v.Kind() {
	case reflect.String:
		if v.Len() == 0 {
			return ""
		}
		return strconv.Quote(v.String())
	case reflect.Bool:
		return strconv.FormatBool(v.Bool())
	case reflect.Slice:
		var parts []string
		for i := range v.Len() {
			parts = append(parts, literal(v.Index(i)))
		}
		if len(parts) == 0 {
			return ""
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case reflect.Map:
		parts := map[string]string{}
		for it := v.MapRange(); it.Next(); {
			parts[it.Key().String()] = literal(it.Value())
		}
		if len(parts) == 0 {
			return ""
		}
		var items []string
		for _, k := range slices.Sorted(maps.Keys(parts)) {
			items = append(items, k+" = "+parts[k])
		}
		return "{ " + strings.Join(items, ", ") + " }"
	}
	if v.IsZero() {
		return ""
	}
	return fmt.Sprint(v.Interface())
}

// common is an attribute that the engine looks after.
type common struct{ name, where, typ, value, doc string }

func commonAttributes() []common {
	return []common{
		{"from", "processors, outputs", "reference or list of references", "required", "What data comes from: `input.mysql.lottery`, `input.mysql` for all of the type, `input` for every input that gives a signal which is taken here."},
		{"where", "processors, outputs", "map of text", "", "Takes only what has these labels: `\"x\"` equal, `\"!x\"` not equal, `\"~x\"` a regular expression over the whole value, `\"!~x\"` none. A label that isn't there counts as empty."},
		{"for_each", "all", "list of text, or map", "", "Makes an instance of the block for each element; `each.key` and `each.value` stand for it."},
		{"enabled", "all", "bool", "`true`", "`false` leaves the block out, as if it weren't written; references to it stay valid."},
		{"labels", "inputs", "map of text", "", "Labels that are added to every series or stream of the input."},
		{"interval", "metrics inputs", "duration", "agent.interval", "How often the input is collected."},
		{"timeout", "metrics inputs", "duration", "agent.timeout", "How long a collection may take, at most the interval."},
		{"job", "metrics inputs", "text", "by type", "The label `job` of what is pushed."},
		{"instance", "metrics inputs", "text", "the host's name, or the address of the server", "The label `instance` of what is pushed."},
		{"max_series", "metrics inputs", "whole number", "", "The most series that the input may have. New ones above that are dropped and counted, and the label that makes them so many is named on the status page, in the log and in `/api/graph`."},
	}
}
