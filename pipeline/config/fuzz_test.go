package config_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/hermod-agent/hermod/pipeline/config"
)

// Whatever the bytes: no panic, and either a File or an error; what is told has a place in the file and can be drawn.
func FuzzLoad(f *testing.F) {
	names, err := filepath.Glob("testdata/*.hcl")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range names {
		src, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(src)
	}
	for _, s := range []string{
		"", "\xEF\xBB\xBF", "input", "input \"", "input \"mysql\" \"x\" {\n", "a = <<EOT\n", "locals {\n a = \"${[for x in [1]: x]}\"\n}",
		"input \"mysql\" \"x\" {\n address = format(\"%99999d\", 1)\n}", "output \"loki\" \"x\" {\n from = input.mysql[each.key][0].x\n url = \"x\"\n}",
		"input \"mysql\" \"x\" {\n for_each = {a = env(\"PASSWORD\")}\n address = each.value.x\n}", "}\n}\n{\n", "input \"host\" {} input \"host\" {}",
		"locals {\n a = { for k, v in local.a : k => v... }\n b = local.a[*].x\n c = \"%{ for x in [] }%{ endfor }\"\n d = ~x\n}",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		file, diags := config.Parse(map[string][]byte{"x.hcl": src}, testOptions())
		if (file == nil) != diags.HasErrors() {
			t.Fatalf("file is nil: %v, errors: %v\n%s", file == nil, diags.HasErrors(), summaries(diags))
		}
		for _, d := range diags {
			if d.Summary == "" || d.Subject == nil || d.Subject.Filename != "x.hcl" || d.Subject.Start.Byte > len(src) {
				t.Fatalf("a diagnostic without text or place: %+v", d)
			}
		}
		_ = config.Render(diags, nil, true)
		out, diags := config.Format("x.hcl", src)
		if (out == nil) != diags.HasErrors() {
			t.Fatalf("Format gives text and an error, or neither")
		}
	})
}
