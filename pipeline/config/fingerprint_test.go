package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hermod-agent/hermod/pipeline/config"
)

func TestTheFingerprintChangesWithWhatIsSeenAndWithNothingElse(t *testing.T) {
	dir := t.TempDir()
	secret := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	secret("one", "x")
	secret("two", "x")
	const base = `
input "mysql" "a" {
  address  = "db"
  user     = "u"
  password = "p"
  tables   = ["x", "y"]
  labels   = { a = "b" }
}
processor "relabel" "r" {
  from  = input.mysql
  where = { a = "b" }
  rule {
    regex = "a"
  }
}
output "loki" "l" {
  from = processor.relabel
  url  = "http://u:p@h"
  headers = { a = "1", b = "2" }
}
`
	print := func(src string) map[string][32]byte {
		t.Helper()
		f, diags := config.Parse(map[string][]byte{filepath.Join(dir, "x.hcl"): []byte(src)}, testOptions())
		if diags.HasErrors() {
			t.Fatal(config.Render(diags, nil, false))
		}
		out := map[string][32]byte{}
		for _, b := range f.Blocks {
			out[b.Address] = b.Fingerprint
		}
		return out
	}
	was := print(base)
	for _, c := range []struct {
		name, old, new string
		changed        string
	}{
		{"layout", "  user     = \"u\"\n", "# a comment\n\n  user = \"${\"u\"}\"\n", ""},
		{"order", `{ a = "1", b = "2" }`, `{ b = "2", a = "1" }`, ""},
		{"secret", `password = "p"`, `password = "q"`, "input.mysql.a"},
		{"secret's file", `password = "p"`, `password_file = "one"`, "input.mysql.a"},
		{"list", `["x", "y"]`, `["xy"]`, "input.mysql.a"},
		{"common label", `labels   = { a = "b" }`, `labels = { a = "c" }`, "input.mysql.a"},
		{"interval", `labels   = { a = "b" }`, "labels = { a = \"b\" }\ninterval = \"1m\"", "input.mysql.a"},
		{"where", `where = { a = "b" }`, `where = { a = "!b" }`, "processor.relabel.r"},
		{"from", `from  = input.mysql`, `from = input`, "processor.relabel.r"},
		{"regexp", `regex = "a"`, `regex = "b"`, "processor.relabel.r"},
		{"another rule", `regex = "a"`, "regex = \"a\"\n  }\n  rule {", "processor.relabel.r"},
		{"password in a URL", `http://u:p@h`, `http://u:q@h`, "output.loki.l"},
		{"a block with nothing in it", `url  = "http://u:p@h"`, "url = \"http://u:p@h\"\n  tls {\n    skip_verify = true\n  }", "output.loki.l"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if !strings.Contains(base, c.old) {
				t.Fatal("the test changes nothing")
			}
			var changed []string
			for address, fingerprint := range print(strings.Replace(base, c.old, c.new, 1)) {
				if was[address] != fingerprint {
					changed = append(changed, address)
				}
			}
			if got := strings.Join(changed, " "); got != c.changed {
				t.Errorf("changed: %q, want %q", got, c.changed)
			}
		})
	}
	withFile := strings.Replace(base, `password = "p"`, `password_file = "one"`, 1)
	before := print(withFile)["input.mysql.a"]
	secret("one", "changed")
	if print(withFile)["input.mysql.a"] != before {
		t.Error("the content of a secret's file counts")
	}
	if print(strings.Replace(withFile, `"one"`, `"two"`, 1))["input.mysql.a"] == before {
		t.Error("the path of a secret's file doesn't count")
	}
	if print("agent {\n  interval = \"20s\"\n}\n" + base)["input.mysql.a"] == was["input.mysql.a"] {
		t.Error("the interval that is inherited doesn't count")
	}
}
