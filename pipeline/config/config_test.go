package config_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"

	"github.com/hermod-agent/hermod/pipeline/config"
)

var update = flag.Bool("update", false, "write the golden files anew")

// httpConfig stands for what several components share.
type httpConfig struct {
	BasicAuth *basicAuth        `hcl:"basic_auth,block"`
	Headers   map[string]string `hcl:"headers,optional"`
	TLS       tlsConfig         `hcl:"tls,block"`
}

type basicAuth struct {
	User     string        `hcl:"user"`
	Password config.Secret `hcl:"password"`
}

func (b *basicAuth) Validate() []error {
	if strings.Contains(b.User, ":") {
		return []error{config.Attr("user", fmt.Errorf("a user can't hold a colon, as %s does", b.User))}
	}
	return nil
}

type tlsConfig struct {
	CAFile string `hcl:"ca_file,optional"`
	Skip   bool   `hcl:"skip_verify,optional"`
}

type mysqlConfig struct {
	Address  string        `hcl:"address"`
	User     string        `hcl:"user,optional"`
	Password config.Secret `hcl:"password,optional"`
	Port     uint16        `hcl:"port,optional"`
	Tables   []string      `hcl:"tables,optional"`
	Ratio    float64       `hcl:"ratio,optional"`
	Verbose  *bool         `hcl:"verbose,optional"`
}

func (c *mysqlConfig) Validate() []error {
	if c.Password.IsSet() && c.User == "" {
		return []error{config.Attr("password", errors.New("a password needs a user"))}
	}
	return nil
}

type hostConfig struct {
	Procfs string `hcl:"procfs,optional"`
}

type filesConfig struct {
	Paths    []string `hcl:"paths"`
	Encoding string   `hcl:"encoding,optional"`
}

func (c *filesConfig) Validate() []error {
	if len(c.Paths) == 1 && c.Paths[0] == "-" && c.Encoding == "" {
		return []error{config.Attr("encoding", errors.New("it must be set where the name doesn't tell it"))}
	}
	return nil
}

type relabelConfig struct {
	Rules []rule `hcl:"rule,block"`
}

type rule struct {
	Source      []string      `hcl:"source_labels,optional"`
	Regex       config.Regexp `hcl:"regex,optional"`
	Replacement string        `hcl:"replacement,optional"`
	Action      string        `hcl:"action,optional"`
}

func (r *rule) SetDefaults() { r.Action = "replace" }

func (r *rule) Validate() []error {
	if r.Action == "labeldrop" && len(r.Source) > 0 {
		return []error{config.Attr("source_labels", errors.New("labeldrop looks at all labels"))}
	}
	return nil
}

type stagesConfig struct {
	JSON   *jsonStage  `hcl:"json,block"`
	Labels labelsStage `hcl:"labels,block"`
}

type jsonStage struct {
	Fields map[string]string `hcl:"fields"`
}

type labelsStage struct {
	Values []string `hcl:"values,optional"`
}

type lokiConfig struct {
	URL       config.URL      `hcl:"url"`
	BatchSize config.Size     `hcl:"batch_size,optional"`
	BatchWait config.Duration `hcl:"batch_wait,optional"`
	HTTP      httpConfig      `hcl:",squash"`
}

type promConfig struct {
	Listen string `hcl:"listen,optional"`
}

func testTypes() []config.BlockType {
	in := func(typ string, metrics, logs bool, fresh func() any) config.BlockType {
		return config.BlockType{Kind: "input", Type: typ, New: fresh, EmitsMetrics: metrics, EmitsLogs: logs}
	}
	return []config.BlockType{
		in("host", true, false, func() any { return &hostConfig{} }),
		in("mysql", true, false, func() any { return &mysqlConfig{Port: 3306} }),
		in("files", false, true, func() any { return &filesConfig{} }),
		in("docker_logs", false, true, func() any { return &struct{}{} }),
		{Kind: "processor", Type: "relabel", New: func() any { return &relabelConfig{} }, TakesMetrics: true, EmitsMetrics: true, TakesLogs: true, EmitsLogs: true},
		{Kind: "processor", Type: "stages", New: func() any { return &stagesConfig{} }, TakesLogs: true, EmitsLogs: true},
		{Kind: "output", Type: "loki", New: func() any { return &lokiConfig{BatchSize: 1 << 20} }, TakesLogs: true},
		{Kind: "output", Type: "prometheus", New: func() any { return &promConfig{Listen: "127.0.0.1:9100"} }, TakesMetrics: true},
	}
}

// testEnv is the environment of the tests: nothing of the machine is seen.
func testEnv(name string) (string, bool) {
	v, ok := map[string]string{
		"PASSWORD": "hunter2", "EMPTY": "", "PORT": "3307", "NOT_A_NUMBER": "hunter2", "HOSTS": "a,b",
	}[name]
	return v, ok
}

func testOptions() config.Options {
	return config.Options{Types: testTypes(), Getenv: testEnv, Hostname: func() string { return "machine" }}
}

func parse(t *testing.T, src string) (*config.File, hcl.Diagnostics) {
	t.Helper()
	return config.Parse(map[string][]byte{"test.hcl": []byte(src)}, testOptions())
}

// mustParse parses what has no fault.
func mustParse(t *testing.T, src string) *config.File {
	t.Helper()
	f, diags := parse(t, src)
	if len(diags) > 0 {
		t.Fatalf("unexpected diagnostics:\n%s", config.Render(diags, nil, false))
	}
	return f
}

var expectation = regexp.MustCompile(`# (ERROR|WARNING): ([^#]*)`)

// Every fixture marks on its lines which faults stand there; no other may be told, and none twice.
func TestFixturesGiveExactlyTheMarkedDiagnostics(t *testing.T) {
	names, err := filepath.Glob("testdata/*.hcl")
	if err != nil || len(names) == 0 {
		t.Fatalf("no fixtures: %v", err)
	}
	for _, name := range names {
		t.Run(filepath.Base(name), func(t *testing.T) {
			src, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			type want struct {
				line int
				text string
			}
			var wants []want
			for i, line := range strings.Split(string(src), "\n") {
				for _, m := range expectation.FindAllStringSubmatch(line, -1) {
					wants = append(wants, want{i + 1, m[1] + ": " + strings.TrimSpace(m[2])})
				}
			}
			file, diags := config.Load(name, testOptions())
			if (file == nil) != diags.HasErrors() {
				t.Errorf("file is nil: %v, errors: %v", file == nil, diags.HasErrors())
			}
			last := 0
			for _, d := range diags {
				severity := "ERROR"
				if d.Severity == hcl.DiagWarning {
					severity = "WARNING"
				}
				text := severity + ": " + d.Summary + ": " + d.Detail
				if d.Subject == nil {
					t.Errorf("a diagnostic without a place: %s", text)
					continue
				}
				if d.Subject.Start.Line < last {
					t.Errorf("line %d is told after line %d", d.Subject.Start.Line, last)
				}
				last = d.Subject.Start.Line
				found := false
				for i, w := range wants {
					if w.line == last && strings.Contains(text, strings.TrimPrefix(w.text, severity+": ")) && strings.HasPrefix(w.text, severity) {
						wants = append(wants[:i], wants[i+1:]...)
						found = true
						break
					}
				}
				if !found {
					t.Errorf("unexpected at line %d:\n%s", last, config.Render(hcl.Diagnostics{d}, nil, false))
				}
			}
			for _, w := range wants {
				t.Errorf("line %d: missing %s", w.line, w.text)
			}
		})
	}
}

// The text for people is compared whole for a config with five different faults and for one that is hard to draw.
func TestRenderMatchesItsGolden(t *testing.T) {
	for _, name := range []string{"five", "drawing", "secrets"} {
		t.Run(name, func(t *testing.T) {
			_, diags := config.Load(filepath.Join("testdata", name+".hcl"), testOptions())
			got := config.Render(diags, nil, false)
			golden := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("Render has changed (run the test with -update if that is right):\n%s", got)
			}
			if name == "five" && len(diags) != 5 {
				t.Errorf("%d diagnostics", len(diags))
			}
			if strings.Contains(got, "hunter") {
				t.Errorf("a secret is printed:\n%s", got)
			}
		})
	}
}

func summaries(diags hcl.Diagnostics) string {
	var out []string
	for _, d := range diags {
		line := 0
		if d.Subject != nil {
			line = d.Subject.Start.Line
		}
		out = append(out, fmt.Sprintf("%d: %s", line, d.Summary))
	}
	return strings.Join(out, "\n")
}
