package config_test

import (
	"strings"
	"testing"

	"github.com/hermod-agent/hermod/pipeline/config"
)

type cyclic struct {
	Inner []cyclic `hcl:"inner,block"`
}

func TestCheckConfigFindsWhatCantBeDecoded(t *testing.T) {
	for _, typ := range testTypes() {
		if errs := config.CheckConfig(typ.New()); len(errs) > 0 {
			t.Errorf("%s %s: %v", typ.Kind, typ.Type, errs)
		}
	}
	for want, c := range map[string]any{
		"reserved for the engine": &struct {
			A string `hcl:"max_series,optional"`
		}{},
		"has no hcl tag": &struct{ A string }{},
		"comes with the secret by itself": &struct {
			A config.Secret `hcl:"a"`
			B string        `hcl:"a_file,optional"`
		}{},
		"can't be decoded": &struct {
			A chan int `hcl:"a"`
		}{},
		"not an identifier": &struct {
			A string `hcl:"a b"`
		}{},
		"unknown option": &struct {
			A string `hcl:"a,required"`
		}{},
		"two fields": &struct {
			A string `hcl:"a"`
			B string `hcl:"a"`
		}{},
		"is a block and no struct": &struct {
			A string `hcl:"a,block"`
		}{},
		"too deep":            &cyclic{},
		"pointer to a struct": "x",
		"is a nil":            (*cyclic)(nil),
		"has no name": &struct {
			A string `hcl:",optional"`
		}{},
	} {
		errs := config.CheckConfig(c)
		found := false
		for _, err := range errs {
			found = found || strings.Contains(err.Error(), want)
		}
		if !found {
			t.Errorf("%T: %v, want %q", c, errs, want)
		}
	}
}
