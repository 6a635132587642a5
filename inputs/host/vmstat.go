package host

import (
	"context"
	"regexp"

	"github.com/hermod-agent/hermod/internal/pseudofile"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// vmstat is /proc/vmstat, a name and a number a line.
type vmstat struct {
	file   file
	series *metrics.Registry
	shown  *regexp.Regexp
	fields memo[*metrics.Series] // nil for a field that isn't shown
}

func newVmstat(m *machine) *vmstat {
	return &vmstat{file: m.proc("vmstat"), series: m.series, shown: m.cfg.Vmstat.Fields.Regexp}
}

func (c *vmstat) collect(_ context.Context, b *metrics.Batch) error {
	data, err := c.file.read()
	if err != nil {
		return err
	}
	return c.parse(data, b)
}

func (c *vmstat) parse(data []byte, b *metrics.Batch) error {
	var bad error
	for n := 1; len(data) > 0; n++ {
		var line []byte
		line, data = pseudofile.CutLine(data)
		key, rest := pseudofile.CutField(line)
		if len(key) == 0 {
			continue
		}
		s := *c.fields.get(n, key, c.newField)
		if s == nil {
			continue
		}
		field, _ := pseudofile.CutField(rest)
		v, ok := parseNumber(field)
		if !ok {
			firstError(&bad, badLine(c.file.path, n, line, "not a number"))
			continue
		}
		b.Set(s, v)
	}
	return bad
}

func (c *vmstat) newField(key string) *metrics.Series {
	if c.shown != nil && !c.shown.MatchString(key) || !isMetricName(key) {
		return nil
	}
	return c.series.New(untyped("node_vmstat_"+key, "/proc/vmstat information field "+key+"."))
}

func (c *vmstat) close(context.Context) { c.file.close() }

// isMetricName says whether s can be part of a metric's name.
func isMetricName(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '_' {
			return false
		}
	}
	return s != ""
}
