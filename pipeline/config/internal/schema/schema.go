// Package schema reads the hcl tags of config structs. The decoder and the generator of the reference pages both go by it.
package schema

import (
	"fmt"
	"reflect"
	"strings"
)

// Field is an attribute or a nested block of a config struct.
type Field struct {
	Name     string // in the language
	Optional bool   // attributes
	Block    bool   // a nested block: Type is a struct, a pointer to one or a slice of one
	Type     reflect.Type
	// Path leads from the struct to the field, through squashed structs.
	Path []int
	// Owner is the struct type that declares the field and GoName its name there.
	Owner  reflect.Type
	GoName string
}

// Of returns the fields of a struct type in the order in which they are declared. Fields without a tag are not part of the language.
func Of(t reflect.Type) ([]Field, error) {
	return appendFields(nil, t, nil, 0)
}

// maxDepth bounds squashed structs within each other.
const maxDepth = 8

func appendFields(out []Field, t reflect.Type, path []int, depth int) ([]Field, error) {
	if t.Kind() != reflect.Struct || depth > maxDepth {
		return nil, fmt.Errorf("%s is not a struct that can hold a config", t)
	}
	for i := range t.NumField() {
		f := t.Field(i)
		tag, tagged := f.Tag.Lookup("hcl")
		if !tagged || tag == "-" {
			continue
		}
		if !f.IsExported() {
			return nil, fmt.Errorf("field %s of %s has an hcl tag and isn't exported", f.Name, t)
		}
		name, option, _ := strings.Cut(tag, ",")
		here := append(append([]int(nil), path...), i)
		field := Field{Name: name, Type: f.Type, Path: here, Owner: t, GoName: f.Name}
		var err error
		switch {
		case option == "squash" && name == "":
			if out, err = appendFields(out, f.Type, here, depth+1); err != nil {
				return nil, err
			}
			continue
		case name == "":
			return nil, fmt.Errorf("the hcl tag of field %s of %s has no name", f.Name, t)
		case option == "":
		case option == "optional":
			field.Optional = true
		case option == "block":
			field.Block = true
			if Element(f.Type).Kind() != reflect.Struct {
				return nil, fmt.Errorf("field %s of %s is a block and no struct", f.Name, t)
			}
		default:
			return nil, fmt.Errorf("the hcl tag of field %s of %s has the unknown option %q", f.Name, t, option)
		}
		for _, other := range out {
			if other.Name == name && other.Block == field.Block {
				return nil, fmt.Errorf("%s has two fields for %q", t, name)
			}
		}
		out = append(out, field)
	}
	return out, nil
}

// Squashed returns the paths to the structs whose fields count as those of t, t itself (an empty path) first.
func Squashed(t reflect.Type) [][]int {
	out := [][]int{nil}
	var walk func(t reflect.Type, path []int, depth int)
	walk = func(t reflect.Type, path []int, depth int) {
		if t.Kind() != reflect.Struct || depth > maxDepth {
			return
		}
		for i := range t.NumField() {
			f := t.Field(i)
			if f.Tag.Get("hcl") == ",squash" {
				here := append(append([]int(nil), path...), i)
				out = append(out, here)
				walk(f.Type, here, depth+1)
			}
		}
	}
	walk(t, nil, 0)
	return out
}

// At follows a path from a struct value.
func At(v reflect.Value, path []int) reflect.Value {
	if len(path) == 0 {
		return v
	}
	return v.FieldByIndex(path)
}

// Element is the struct type of a block field, or the type itself.
func Element(t reflect.Type) reflect.Type {
	if t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}
