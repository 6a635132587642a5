package config

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"

	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/hermod-agent/hermod/pipeline/config/internal/schema"
)

// CheckConfig says what is wrong with a component's config struct itself: tags that can't be read, types that can't be decoded, names
// that are reserved for the engine. config is what BlockType.New gives. The conformance suite asks it of every Definition.
func CheckConfig(config any) []error {
	t := reflect.TypeOf(config)
	if t == nil || t.Kind() != reflect.Pointer || t.Elem().Kind() != reflect.Struct {
		return []error{fmt.Errorf("a config is a pointer to a struct, not %T", config)}
	}
	if reflect.ValueOf(config).IsNil() {
		return []error{fmt.Errorf("the config with the defaults is a nil %s", t)}
	}
	return checkStruct(t.Elem(), true, 0)
}

const maxBlockDepth = 8

func checkStruct(t reflect.Type, top bool, depth int) []error {
	if depth > maxBlockDepth {
		return []error{fmt.Errorf("%s: blocks lie too deep within each other, or within themselves", t)}
	}
	fields, err := schema.Of(t)
	if err != nil {
		return []error{err}
	}
	var errs []error
	fault := func(f schema.Field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s.%s (%q): %s", f.Owner, f.GoName, f.Name, fmt.Sprintf(format, args...)))
	}
	names := map[string]bool{}
	for _, f := range fields {
		if !f.Block {
			names[f.Name] = true
		}
	}
	for _, f := range fields {
		if !hclsyntax.ValidIdentifier(f.Name) {
			fault(f, "the name is not an identifier")
		}
		if f.Block {
			errs = append(errs, checkStruct(schema.Element(f.Type), false, depth+1)...)
			continue
		}
		if top && slices.Contains(commonNames, f.Name) {
			fault(f, "the name is reserved for the engine")
		}
		if isSecret(f.Type) && names[f.Name+"_file"] {
			fault(f, "%s_file comes with the secret by itself", f.Name)
		}
		if !decodable(f.Type) {
			fault(f, "the type %s can't be decoded", f.Type)
		}
	}
	for _, path := range schema.Squashed(t) {
		owner := t
		if len(path) > 0 {
			owner = t.FieldByIndex(path).Type
		}
		for i := range owner.NumField() {
			if f := owner.Field(i); f.IsExported() && f.Tag.Get("hcl") == "" {
				errs = append(errs, fmt.Errorf("%s.%s is exported and has no hcl tag: tag it, or write `hcl:\"-\"`", owner, f.Name))
			}
		}
	}
	return errs
}

// decodable says whether an attribute can have the type.
func decodable(t reflect.Type) bool {
	if reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		return true
	}
	switch t {
	case reflect.TypeFor[Secret](), reflect.TypeFor[URL](), reflect.TypeFor[Address](), reflect.TypeFor[Regexp]():
		return true
	}
	switch t.Kind() {
	case reflect.String, reflect.Bool, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Float32, reflect.Float64:
		return true
	case reflect.Pointer, reflect.Slice:
		return decodable(t.Elem())
	case reflect.Map:
		return t.Key().Kind() == reflect.String && decodable(t.Elem())
	}
	return false
}
