package host

import (
	"context"

	"github.com/hermod-agent/hermod/internal/pseudofile"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// loadavg is /proc/loadavg (proc_loadavg(5)).
type loadavg struct {
	file  file
	loads [3]*metrics.Series
}

func newLoadavg(m *machine) *loadavg {
	return &loadavg{file: m.proc("loadavg"), loads: [...]*metrics.Series{
		m.series.New(gauge("node_load1", "1m load average.")),
		m.series.New(gauge("node_load5", "5m load average.")),
		m.series.New(gauge("node_load15", "15m load average.")),
	}}
}

func (c *loadavg) collect(_ context.Context, b *metrics.Batch) error {
	data, err := c.file.read()
	if err != nil {
		return err
	}
	return c.parse(data, b)
}

func (c *loadavg) parse(data []byte, b *metrics.Batch) error {
	line, _ := pseudofile.CutLine(data)
	rest := line
	for _, s := range c.loads {
		var field []byte
		field, rest = pseudofile.CutField(rest)
		v, ok := parseNumber(field)
		if !ok {
			return badLine(c.file.path, 1, line, "not three load averages")
		}
		b.Set(s, v)
	}
	return nil
}

func (c *loadavg) close(context.Context) { c.file.close() }
