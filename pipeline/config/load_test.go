package config_test

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/hcl/v2"

	"github.com/hermod-agent/hermod/pipeline/config"
)

func addresses(f *config.File) string {
	var out []string
	for _, b := range f.Blocks {
		out = append(out, b.Address)
	}
	return strings.Join(out, " ")
}

func TestAConfigIsDecodedWhole(t *testing.T) {
	f := mustParse(t, `
agent {
  data_dir = "/data"
  interval = "30s"
  host     = upper("nas")
  labels   = { host = hostname() }
}

locals {
  dir  = "/proc/${local.word}"
  word = "x"
}

input "host" {
  procfs = local.dir
  labels = { a = hostname() }
}

input "mysql" "fleet" {
  for_each = { b = "two", a = "one" }
  address  = "${each.value}:3306"
  user     = each.key
  password = env("PASSWORD")
  port     = env("PORT")
  tables   = ["x", "y"]
  ratio    = 0.5
  verbose  = false
  enabled  = each.key != "none"
  interval = "1m"
  job      = "db"
  max_series = 100
}

processor "relabel" "names" {
  from  = [input.mysql.fleet["a"], input.host]
  where = { x = "!~b.*", a = "x", c = "!y", b = "~b.*" }
  rule {
    regex = <<-EOT
      a\d+
    EOT
  }
  rule {
    action = "drop"
  }
}

output "loki" "main" {
  from       = input.docker_logs
  url        = "http://loki:3100/push"
  batch_size = "2MiB"
  batch_wait = "1s"
  basic_auth {
    user     = "u"
    password = "p"
  }
  tls { skip_verify = true }
}

input "docker_logs" {}
`)
	if got := addresses(f); got != `input.host input.mysql.fleet["a"] input.mysql.fleet["b"] processor.relabel.names output.loki.main input.docker_logs` {
		t.Fatalf("blocks: %s", got)
	}
	a := f.Agent
	if a.DataDir != "/data" || a.Host != "NAS" || a.Labels["host"] != "NAS" || a.Listen != "127.0.0.1:12345" || a.Timeout != config.Duration(10*time.Second) ||
		a.DrainTimeout != config.Duration(5*time.Second) || a.LogLevel != "info" || a.LogFormat != "logfmt" {
		t.Errorf("agent: %+v", a)
	}
	host := f.Blocks[0]
	if c := host.Config.(*hostConfig); c.Procfs != "/proc/x" {
		t.Errorf("host: %+v", c)
	}
	if host.Common.Interval != 30*time.Second || host.Common.Timeout != 10*time.Second || host.Common.Labels.Get("a") != "NAS" || !host.Common.Enabled {
		t.Errorf("common of host: %+v", host.Common)
	}
	my := f.Blocks[1]
	c := my.Config.(*mysqlConfig)
	password, err := c.Password.Reveal()
	if c.Address != "one:3306" || c.User != "a" || password != "hunter2" || err != nil || c.Port != 3307 || !reflect.DeepEqual(c.Tables, []string{"x", "y"}) ||
		c.Ratio != 0.5 || c.Verbose == nil || *c.Verbose {
		t.Errorf("mysql: %+v, %q, %v", c, password, err)
	}
	if my.Key != "a" || my.Common.Interval != time.Minute || my.Common.Job != "db" || my.Common.MaxSeries != 100 {
		t.Errorf("common of mysql: %+v", my.Common)
	}
	p := f.Blocks[3]
	if len(p.Common.From) != 2 || p.Common.From[0].String() != `input.mysql.fleet["a"]` || !p.Common.From[0].Matches(my) || p.Common.From[0].Matches(f.Blocks[2]) {
		t.Errorf("from: %v", p.Common.From)
	}
	var where []string
	for _, m := range p.Common.Where {
		where = append(where, m.String())
	}
	if got := strings.Join(where, " "); got != `a="x" b=~"b.*" c!="y" x!~"b.*"` {
		t.Errorf("where: %s", got)
	}
	if m := p.Common.Where[1]; m.Matches("ab") || !m.Matches("bc") {
		t.Error("a regular expression is not anchored")
	}
	rules := p.Config.(*relabelConfig).Rules
	if len(rules) != 2 || rules[0].Regex.String() != `a\d+` || rules[0].Action != "replace" || rules[1].Action != "drop" || rules[1].Regex.IsSet() {
		t.Errorf("rules: %+v", rules)
	}
	out := f.Blocks[4].Config.(*lokiConfig)
	if out.URL.String() != "http://loki:3100/push" || out.BatchSize != 2<<20 || out.HTTP.BasicAuth == nil || !out.HTTP.TLS.Skip {
		t.Errorf("loki: %+v", out)
	}
	if r := f.Blocks[4].AttrRange("basic_auth.user"); r.Start.Line == f.Blocks[4].Range.Start.Line || r.Filename != "test.hcl" {
		t.Errorf("the place of basic_auth.user: %v", r)
	}
	if r := f.Blocks[4].AttrRange("nonsense"); r != f.Blocks[4].Range {
		t.Errorf("the place of what isn't set: %v", r)
	}
}

func TestTimeoutsFollowTheIntervals(t *testing.T) {
	for _, c := range []struct {
		agent, block      string
		interval, timeout time.Duration
	}{
		{"", "", 15 * time.Second, 10 * time.Second},
		{`interval = "5s"`, "", 5 * time.Second, 5 * time.Second},
		{`interval = "5s"`, `interval = "1m"`, time.Minute, 10 * time.Second},
		{`timeout = "3s"`, `interval = "1m"`, time.Minute, 3 * time.Second},
		{`timeout = "12s"`, `interval = "2s"`, 2 * time.Second, 2 * time.Second},
		{`timeout = "3s"`, `timeout = "4s"`, 15 * time.Second, 4 * time.Second},
	} {
		f := mustParse(t, "agent {\n"+c.agent+"\n}\ninput \"host\" {\n"+c.block+"\n}\n")
		if got := f.Blocks[0].Common; got.Interval != c.interval || got.Timeout != c.timeout {
			t.Errorf("%s, %s: %v, %v", c.agent, c.block, got.Interval, got.Timeout)
		}
	}
}

func TestHostnamePrefersTheConfigThenTheEnvironment(t *testing.T) {
	src := map[string][]byte{"x.hcl": []byte("input \"host\" {\n procfs = hostname()\n}\n")}
	o := testOptions()
	name := func(src map[string][]byte) string {
		f, diags := config.Parse(src, o)
		if diags.HasErrors() {
			t.Fatal(diags)
		}
		return f.Blocks[0].Config.(*hostConfig).Procfs
	}
	if got := name(src); got != "machine" {
		t.Errorf("found: %s", got)
	}
	o.Getenv = func(name string) (string, bool) { return "env", name == "HERMOD_HOST" }
	if got := name(src); got != "env" {
		t.Errorf("environment: %s", got)
	}
	src["y.hcl"] = []byte("agent {\n host = \"written\"\n}\n")
	if got := name(src); got != "written" {
		t.Errorf("written: %s", got)
	}
	src["y.hcl"] = []byte("agent {\n host = \"a-${local.h}\"\n}\nlocals {\n h = hostname()\n}\n")
	_, diags := config.Parse(src, o)
	if len(diags) != 1 || !strings.Contains(diags[0].Summary, "hostname() asks for agent.host") {
		t.Errorf("a host made of itself:\n%s", summaries(diags))
	}
}

func TestDisabledBlocksAreDroppedAndStillKnown(t *testing.T) {
	f := mustParse(t, `
input "mysql" "off" {
  enabled  = env("EMPTY") != ""
  address  = "x"
  password = env("NOT_SET_AT_ALL")
}
input "mysql" "fleet" {
  for_each = ["a", "b"]
  enabled  = each.key == "a"
  address  = each.value
}
input "mysql" "nobody" {
  for_each = []
  address  = each.value
}
processor "relabel" "nobody" {
  for_each = []
  from     = input.mysql.fleet[each.key]
}
output "prometheus" {
  from = [input.mysql.off, input.mysql.fleet["b"], input.mysql.nobody]
}
`)
	if got := addresses(f); got != `input.mysql.fleet["a"] output.prometheus` {
		t.Errorf("blocks: %s", got)
	}
	_, diags := parse(t, "input \"mysql\" \"off\" {\n enabled = false\n adress = \"x\"\n}\n")
	if got := summaries(diags); !strings.Contains(got, `did you mean "address"`) || len(diags) != 1 {
		t.Errorf("a disabled block with a misspelt name:\n%s", got)
	}
}

func TestFilesOfAFolderAreReadAsOne(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("b.hcl", "output \"prometheus\" {\n  from = input.mysql\n}\n")
	write("a.hcl", "\xEF\xBB\xBFinput \"mysql\" \"x\" {\r\n  address = local.a\r\n  user = \"u\"\r\n  password_file = \"secret\"\r\n}\r\n")
	write("locals.hcl", "locals {\n  a = trimspace(file(\"address.txt\"))\n}\n")
	write(".hidden.hcl", "nonsense {")
	write("other.txt", "nonsense {")
	write("empty.hcl", "")
	write("address.txt", "db:3306\n")
	write("secret", "s3\n")
	if err := os.Mkdir(filepath.Join(dir, "sub.hcl"), 0o755); err != nil {
		t.Fatal(err)
	}
	f, diags := config.Load(dir, testOptions())
	if len(diags) > 0 {
		t.Fatal(config.Render(diags, nil, false))
	}
	if got := addresses(f); got != "input.mysql.x output.prometheus" {
		t.Errorf("blocks: %s", got)
	}
	c := f.Blocks[0].Config.(*mysqlConfig)
	if v, err := c.Password.Reveal(); c.Address != "db:3306" || v != "s3" || err != nil {
		t.Errorf("%q, %q, %v", c.Address, v, err)
	}
	write("b.hcl", "output \"prometheus\" {\n  from = input.mysq\n}\n")
	write("a.hcl", "\xEF\xBB\xBFinput \"mysql\" \"x\" { adress = 1 }")
	_, diags = config.Load(dir, testOptions())
	if got := config.Render(diags, nil, false); len(diags) != 2 || !strings.Contains(got, "a.hcl:1:21\n    1 | input \"mysql\" \"x\" { adress = 1 }\n      |                     ^^^^^^") {
		t.Errorf("places after a byte order mark:\n%s", got)
	}
}

func TestFilesThatAreNoConfig(t *testing.T) {
	dir := t.TempDir()
	path := func(name string, content []byte) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	sub := filepath.Join(dir, "empty-folder")
	if err := os.Mkdir(sub, 0o755); err != nil {
		t.Fatal(err)
	}
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	deep := "locals {\n x = " + strings.Repeat("[", 5_000)
	for _, c := range []struct{ name, path, want string }{
		{"missing", filepath.Join(dir, "nope.hcl"), "doesn't exist"},
		{"below a file", path("file", nil) + "/x", "can't be read"},
		{"folder without files", sub, "no file whose name ends in .hcl"},
		{"pipe", fifo, "neither a file nor a folder"},
		{"0 bytes", path("zero.hcl", nil), "agent.hcl.example"},
		{"comments only", path("comments.hcl", []byte("# nothing\n\n// here\n")), "names nothing"},
		{"binary", path("binary.hcl", []byte("\x7fELF\x01\x02")), "byte 0x7F"},
		{"null bytes", path("null.hcl", []byte("input \"host\" {}\n\x00\x00")), "byte 0x00"},
		{"not UTF-8", path("latin1.hcl", []byte("# gr\xfcn\ninput \"host\" {}\n")), "byte 0xFC"},
		{"UTF-16", path("utf16.hcl", []byte("\xff\xfei\x00")), "UTF-16"},
		{"10 MB", path("large.hcl", bytes.Repeat([]byte("# 3456789\n"), 1_000_000)), "at most 4MiB"},
		{"brackets", path("deep.hcl", []byte(deep)), "More than 100 levels of brackets"},
		{"parentheses", path("deep2.hcl", []byte("locals {\n x = "+strings.Repeat("(", 5_000))), "More than 100 levels"},
		{"braces", path("deep3.hcl", []byte(strings.Repeat("a {\n", 5_000))), "More than 100 levels"},
		{"templates", path("deep4.hcl", []byte("locals {\n x = "+strings.Repeat(`"${`, 5_000))), "More than 100 levels"},
		{"operators", path("long.hcl", []byte("locals {\n x = 1"+strings.Repeat(" + 1", 5_000)+"\n}\n")), "More than 1000 operators"},
		{"signs", path("signs.hcl", []byte("locals {\n x = "+strings.Repeat("!", 5_000)+"true\n}\n")), "More than 1000 operators"},
		{"indexes", path("indexes.hcl", []byte("locals {\n x = local.y"+strings.Repeat("[0]", 5_000)+"\n}\n")), "More than 1000 operators"},
		{"directives", path("ifs.hcl", []byte("locals {\n x = \""+strings.Repeat("%{if true}", 5_000)+"\"\n}\n")), "More than 1000 operators"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, diags := config.Load(c.path, testOptions())
			if f != nil || len(diags) != 1 {
				t.Fatalf("file: %v, diagnostics:\n%s", f, summaries(diags))
			}
			text := config.Render(diags, nil, false)
			if !strings.Contains(text, c.want) {
				t.Errorf("the text lacks %q:\n%s", c.want, text)
			}
			if len(text) > 2000 {
				t.Errorf("the text has %d bytes", len(text))
			}
		})
	}
	if os.Geteuid() != 0 {
		locked := path("locked.hcl", []byte("x"))
		if err := os.Chmod(locked, 0); err != nil {
			t.Fatal(err)
		}
		if _, diags := config.Load(locked, testOptions()); len(diags) != 1 || !strings.Contains(diags[0].Summary, locked+" can't be read by this user") {
			t.Errorf("an unreadable file: %s", summaries(diags))
		}
	}
}

func TestALongChainOfLocalsIsRefused(t *testing.T) {
	var b strings.Builder
	b.WriteString("locals {\n  a0 = 1\n")
	for i := 1; i < 5000; i++ {
		b.WriteString("  a" + itoa(i) + " = local.a" + itoa(i-1) + "\n")
	}
	// Read from its end the chain is as long as it is.
	src := "agent {\n  host = local.a4999\n}\n" + b.String() + "}\n"
	f, diags := parse(t, src)
	if f != nil || len(diags) != 1 || !strings.Contains(diags[0].Summary, "in a row") {
		t.Errorf("%s", summaries(diags))
	}
}

func itoa(i int) string {
	var b []byte
	for ; i > 0 || b == nil; i /= 10 {
		b = append([]byte{byte('0' + i%10)}, b...)
	}
	return string(b)
}

func TestNoDiagnosticLeadsToValues(t *testing.T) {
	names, err := filepath.Glob("testdata/*.hcl")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		_, diags := config.Load(name, testOptions())
		for _, d := range diags {
			if d.Expression != nil || d.EvalContext != nil {
				t.Errorf("%s: %q holds its expression", name, d.Summary)
			}
			if strings.Contains(d.Summary+d.Detail, "hunter2") && !strings.Contains(name, "literal") {
				t.Errorf("%s: a secret is told: %s: %s", name, d.Summary, d.Detail)
			}
		}
	}
}

func TestDiagnosticsAreSortedAndToldOnce(t *testing.T) {
	r := func(file string, line int) hcl.Range {
		return hcl.Range{Filename: file, Start: hcl.Pos{Line: line, Column: 1, Byte: line * 10}}
	}
	diags := config.Sort(hcl.Diagnostics{
		config.Error(r("b", 1), "b1", ""), config.Warning(r("a", 2), "w", ""), config.Error(r("a", 2), "e", ""), nil,
		config.Error(r("a", 10), "a10", ""), config.Error(r("b", 1), "b1", ""), config.Error(r("b", 1), "b1", "detail"),
		{Severity: hcl.DiagError, Summary: "nowhere"},
	})
	var got []string
	for _, d := range diags {
		got = append(got, d.Summary+d.Detail)
	}
	if s := strings.Join(got, " "); s != "nowhere e w a10 b1 b1detail" {
		t.Error(s)
	}
}
