package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/hermod-agent/hermod/internal/pseudofile"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// pressure is /proc/pressure: how long tasks waited for CPU, memory and I/O (https://docs.kernel.org/accounting/psi.html).
type pressure struct {
	resources [4]psi
}

// psi is one resource. some and full are nil where node_exporter has no metric for the line.
type psi struct {
	file       file
	some, full *metrics.Series
}

func newPressure(m *machine) *pressure {
	series := func(name, help string) *metrics.Series {
		return m.series.New(counter("node_pressure_"+name+"_seconds_total", help))
	}
	return &pressure{[...]psi{
		{m.proc("pressure/cpu"), series("cpu_waiting", "Total time in seconds that processes have waited for CPU time"), nil},
		{m.proc("pressure/io"), series("io_waiting", "Total time in seconds that processes have waited due to IO congestion"),
			series("io_stalled", "Total time in seconds no process could make progress due to IO congestion")},
		{m.proc("pressure/memory"), series("memory_waiting", "Total time in seconds that processes have waited for memory"),
			series("memory_stalled", "Total time in seconds no process could make progress due to memory congestion")},
		{m.proc("pressure/irq"), nil, series("irq_stalled", "Total time in seconds no process could make progress due to IRQ congestion")},
	}}
}

func (c *pressure) collect(_ context.Context, b *metrics.Batch) error {
	var bad error
	found := false
	for i := range c.resources {
		r := &c.resources[i]
		data, err := r.file.read()
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue // irq came with Linux 6.1, the others with 4.20
		case errors.Is(err, unix.EOPNOTSUPP):
			return fmt.Errorf("%w: pressure is switched off; start the kernel with psi=1", errNoData)
		case err != nil:
			firstError(&bad, err)
			continue
		}
		found = true
		firstError(&bad, r.parse(data, b))
	}
	if !found && bad == nil {
		return fmt.Errorf("%w: there is no %s; the kernel is older than 4.20 or was built without CONFIG_PSI", errNoData, c.resources[0].file.path)
	}
	return bad
}

// parse reads lines as `some avg10=0.06 avg60=0.21 avg300=0.99 total=8537362`, the total in microseconds.
func (r *psi) parse(data []byte, b *metrics.Batch) error {
	var bad error
	some, full := r.some == nil, r.full == nil // there, or not wanted
	for n := 1; len(data) > 0; n++ {
		var line []byte
		line, data = pseudofile.CutLine(data)
		kind, rest := pseudofile.CutField(line)
		var s *metrics.Series
		switch string(kind) {
		case "some":
			s, some = r.some, true
		case "full":
			s, full = r.full, true
		}
		if s == nil {
			continue
		}
		ok := false
		for {
			var field []byte
			if field, rest = pseudofile.CutField(rest); len(field) == 0 {
				break
			}
			if total, is := bytes.CutPrefix(field, []byte("total=")); is {
				var us uint64
				if us, ok = pseudofile.ParseUint(total); ok {
					b.Set(s, float64(us)/1000/1000)
				}
			}
		}
		if !ok {
			firstError(&bad, badLine(r.file.path, n, line, "no total"))
		}
	}
	if bad == nil && (!some || !full) {
		bad = fmt.Errorf("%s has no line of the kind that is expected there", r.file.path)
	}
	return bad
}

func (c *pressure) close(context.Context) {
	for i := range c.resources {
		c.resources[i].file.close()
	}
}
