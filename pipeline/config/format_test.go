package config_test

import (
	"strings"
	"testing"

	"github.com/hermod-agent/hermod/pipeline/config"
)

func TestFormatLaysOutAndIsStable(t *testing.T) {
	const messy = "\xEF\xBB\xBFinput \"host\"   \"a\" {\r\n# comment\r\nprocfs=\"/x\"\r\n      labels   = {a=1}\r\n}\n\n\n"
	const neat = "input \"host\" \"a\" {\n  # comment\n  procfs = \"/x\"\n  labels = { a = 1 }\n}\n"
	got, diags := config.Format("x.hcl", []byte(messy))
	if diags.HasErrors() || string(got) != neat {
		t.Errorf("%q, %v", got, diags)
	}
	again, _ := config.Format("x.hcl", got)
	if string(again) != neat {
		t.Errorf("formatted again: %q", again)
	}
	if got, diags := config.Format("x.hcl", nil); len(got) != 0 || diags.HasErrors() {
		t.Errorf("an empty file: %q, %v", got, diags)
	}
}

func TestFormatLeavesFaultyInputAlone(t *testing.T) {
	for _, src := range []string{"input \"host\" {", "a = ", "\x00", strings.Repeat("[", 1000), strings.Repeat("#\n", 3<<20)} {
		got, diags := config.Format("x.hcl", []byte(src))
		if got != nil || !diags.HasErrors() {
			t.Errorf("%.20q: %q, %v", src, got, diags)
		}
		if text := config.Render(diags, nil, false); !strings.Contains(text, "x.hcl") {
			t.Errorf("%.20q: the text names no file:\n%s", src, text)
		}
	}
}
