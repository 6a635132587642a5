package host

import (
	"bytes"
	"errors"
	"io"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"

	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// recorded is what node_exporter showed. testdata/README.md says how it was recorded.
type recorded struct {
	help, kind map[string]string
	values     map[string]float64 // by series
	names      map[string]string  // of the series
}

func readRecorded(t *testing.T, path string) recorded {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r := recorded{map[string]string{}, map[string]string{}, map[string]float64{}, map[string]string{}}
	p := textparse.NewPromParser(data, labels.NewSymbolTable(), false)
	for {
		entry, err := p.Next()
		if errors.Is(err, io.EOF) {
			return r
		}
		if err != nil {
			t.Fatal(err)
		}
		switch entry {
		case textparse.EntryHelp:
			name, help := p.Help()
			r.help[string(name)] = string(help)
		case textparse.EntryType:
			name, kind := p.Type()
			r.kind[string(name)] = string(kind)
		case textparse.EntrySeries:
			_, _, v := p.Series()
			var l labels.Labels
			p.Labels(&l)
			r.values[l.String()], r.names[l.String()] = v, l.Get(labels.MetricName)
		}
	}
}

// Where the output over the fixture may differ from node_exporter's, and why.
var (
	// The value depends on the moment or on the machine that runs the test; node_exporter's statfs asked the disk on which the
	// recording was made.
	valueDiffers = []string{
		"node_scrape_collector_duration_seconds", "node_time_seconds", "node_filesystem_size_bytes", "node_filesystem_free_bytes",
		"node_filesystem_avail_bytes", "node_filesystem_files", "node_filesystem_files_free",
	}
	// The labels are those of the machine: kernel and zone.
	labelsDiffer = []string{"node_uname_info", "node_time_zone_offset_seconds"}
	// The recording was made with --no-collector.netdev.netlink, because netlink can't be pointed to a fixture. With netlink, which is
	// the default, there is one family more; it is compared in TestNetdevIsThatOfNetlink.
	onlyOurs = []string{"node_network_receive_nohandler_total"}
)

func oneOf(names []string, name string) bool {
	for _, n := range names {
		if n == name {
			return true
		}
	}
	return false
}

func TestOutputIsThatOfNodeExporter(t *testing.T) {
	want := readRecorded(t, "testdata/node_exporter.prom")
	c := &cycles{in: mustOpen(t, testEnv(), fixtureConfig(fixture(t)))}
	if err := c.run(t); err != nil {
		t.Fatal(err)
	}
	if len(want.values) < 300 {
		t.Fatalf("only %d series were recorded", len(want.values))
	}
	compared := compare(t, c, want)
	if least := len(want.values) - 80; compared < least {
		t.Errorf("only %d values were compared, at least %d should be", compared, least)
	}
}

// compare checks help, type, series and values, and returns how many values were.
func compare(t *testing.T, c *cycles, want recorded) int {
	t.Helper()
	compared := 0
	families, missing := map[string]bool{}, map[string]bool{}
	for key := range want.values {
		missing[key] = true
	}
	for _, s := range c.b.Samples {
		name, key := s.Series.Name(), s.Series.Labels().String()
		if oneOf(onlyOurs, name) {
			continue
		}
		families[name] = true
		kind := s.Series.Desc.Kind.String()
		if help := s.Series.Desc.Help; help != want.help[name] || kind != want.kind[name] {
			t.Errorf("%s is %s %q, node_exporter has %s %q", name, kind, help, want.kind[name], want.help[name])
		}
		if oneOf(labelsDiffer, name) {
			if !sameLabelNames(s.Series, want, name) {
				t.Errorf("%s: node_exporter has other labels", s.Series.Labels())
			}
			continue
		}
		v, ok := want.values[key]
		if !ok {
			t.Errorf("node_exporter doesn't have %s", key)
			continue
		}
		delete(missing, key)
		if oneOf(valueDiffers, name) {
			continue
		}
		compared++
		if math.Float64bits(v) != math.Float64bits(s.Value) {
			t.Errorf("%s is %v, node_exporter says %v", key, s.Value, v)
		}
	}
	for key := range missing {
		if !oneOf(labelsDiffer, want.names[key]) {
			t.Errorf("missing: %s", key)
		}
	}
	for name := range want.help {
		if !families[name] {
			t.Errorf("missing: the family %s", name)
		}
	}
	return compared
}

func sameLabelNames(s *metrics.Series, want recorded, name string) bool {
	names := func(text string) string {
		var out []string
		for i, part := range strings.Split(text, `="`) {
			if i > 0 {
				out = append(out, part[strings.LastIndexByte(part, '"')+1:])
			} else {
				out = append(out, part)
			}
		}
		return strings.Join(out, " ")
	}
	for key := range want.values {
		if want.names[key] == name {
			return names(key) == names(s.String())
		}
	}
	return false
}

// TestNetdevIsThatOfNetlink compares with a recording of node_exporter's default, in a network namespace that has lo alone.
func TestNetdevIsThatOfNetlink(t *testing.T) {
	want := readRecorded(t, "testdata/node_exporter_netlink.prom")
	root := t.TempDir()
	write(t, root+"/proc/net/dev", "h\nh\n    lo: 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n")
	write(t, root+"/sys/class/net/lo/statistics/rx_nohandler", "0\n")
	c := &cycles{in: mustOpen(t, testEnv(), fixtureConfig(root, "netdev"))}
	if err := c.run(t); err != nil {
		t.Fatal(err)
	}
	ours := map[string]bool{}
	for _, s := range c.b.Samples {
		name, key := s.Series.Name(), s.Series.Labels().String()
		ours[key] = true
		if _, ok := want.values[key]; !ok {
			t.Errorf("node_exporter doesn't have %s", key)
		}
		if s.Series.Desc.Help != want.help[name] || s.Series.Desc.Kind.String() != want.kind[name] {
			t.Errorf("%s: node_exporter has %s %q", name, want.kind[name], want.help[name])
		}
	}
	for key := range want.values {
		if !ours[key] {
			t.Errorf("missing: %s", key)
		}
	}
	if len(ours) != netFields+1+2 {
		t.Errorf("%d series", len(ours))
	}
}

// TestGoldenFileIsATextThatPrometheusReads guards the renderer of these tests.
func TestGoldenFileIsATextThatPrometheusReads(t *testing.T) {
	data, err := os.ReadFile("testdata/fixture.prom")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasSuffix(data, []byte("\n")) {
		t.Error("no newline at the end")
	}
	if n := len(readRecorded(t, "testdata/fixture.prom").values); n < 300 {
		t.Errorf("%d series", n)
	}
}
