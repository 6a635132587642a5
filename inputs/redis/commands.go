package redis

import (
	"bytes"
	"slices"
	"strconv"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// commands shows what the server tells of each command: counts and times (INFO's section Commandstats), percentiles of the time (Latencystats)
// and a histogram of it (LATENCY HISTOGRAM).
type commands struct {
	registry *metrics.Registry

	total, duration, rejected, failed *metrics.Desc
	summary, histogram                *metrics.Desc

	rows    metrics.Table[command]
	make    func(name string) command
	pending []percentiles // of this cycle
}

// command is a command or, with a | in its name, a subcommand.
type command struct {
	name string

	total, duration  *metrics.Series
	rejected, failed *metrics.Series // nil before Redis 6.2

	cycle       uint64 // in which the following was counted
	calls, usec float64
	below       float64 // microseconds of the subcommands
	belowCycle  uint64

	quantiles  []quantile
	sum, count *metrics.Series // of the summary

	buckets     []bucket
	all         *metrics.Series // the bucket without a bound
	hSum, hCall *metrics.Series
}

type quantile struct {
	text   string // as the server writes it: p99.9
	series *metrics.Series
}

type bucket struct {
	usec   int64
	series *metrics.Series
}

// percentiles is a line of Latencystats, which is shown when the counts are known.
type percentiles struct{ name, text []byte }

func newCommands(in *input) commands {
	c := commands{
		registry:  in.env.Series,
		total:     counter("commands_total", "Total number of calls per command"),
		duration:  counter("commands_duration_seconds_total", "Total amount of time in seconds spent per command"),
		rejected:  counter("commands_rejected_calls_total", "Total number of errors within command execution per command"),
		failed:    counter("commands_failed_calls_total", "Total number of errors prior command execution per command"),
		summary:   described("latency_percentiles_usec", "A summary of latency percentile distribution per command", metrics.Summary),
		histogram: described("commands_latencies_usec", "A histogram of latencies per command", metrics.Histogram),
	}
	c.make = func(name string) command { return command{name: name} }
	return c
}

func (c *commands) begin() {
	clear(c.pending)
	c.pending = c.pending[:0]
}

// stats shows a line: cmdstat_get:calls=21,usec=175,usec_per_call=8.33, and since Redis 6.2 rejected_calls=0,failed_calls=0.
func (c *commands) stats(key, value []byte, b *metrics.Batch) {
	name, ok := bytes.CutPrefix(key, []byte("cmdstat_"))
	if !ok {
		return
	}
	var numbers [5]float64
	n := 0
	for ; n < len(numbers) && len(value) > 0; n++ {
		var part []byte
		part, value, _ = bytes.Cut(value, []byte(","))
		if numbers[n], ok = named(part); !ok {
			return
		}
	}
	if n < 3 {
		return
	}
	row := c.rows.Row(name, b.Cycle, c.make)
	if row.total == nil {
		row.total = c.registry.New(c.total, "cmd", row.name)
		row.duration = c.registry.New(c.duration, "cmd", row.name)
	}
	row.cycle, row.calls, row.usec = b.Cycle, numbers[0], numbers[1]
	b.Set(row.total, numbers[0])
	b.Set(row.duration, numbers[1]/1e6)
	if n == len(numbers) {
		if row.rejected == nil {
			row.rejected = c.registry.New(c.rejected, "cmd", row.name)
			row.failed = c.registry.New(c.failed, "cmd", row.name)
		}
		b.Set(row.rejected, numbers[3])
		b.Set(row.failed, numbers[4])
	}
	if bar := bytes.IndexByte(name, '|'); bar >= 0 {
		above := c.rows.Row(name[:bar], b.Cycle, c.make)
		if above.belowCycle != b.Cycle {
			above.below, above.belowCycle = 0, b.Cycle
		}
		above.below += numbers[1]
	}
}

// percentiles keeps a line: latency_percentiles_usec_get:p50=1.003,p99=3.007,p99.9=4.015.
func (c *commands) percentiles(key, value []byte) {
	if name, ok := bytes.CutPrefix(key, []byte("latency_percentiles_usec_")); ok {
		c.pending = append(c.pending, percentiles{name: name, text: value})
	}
}

// end shows the percentiles of the commands that were counted.
func (c *commands) end(b *metrics.Batch) {
	for _, p := range c.pending {
		row := c.rows.Row(p.name, b.Cycle, c.make)
		if row.cycle != b.Cycle || !valid(p.text) {
			continue
		}
		text := p.text
		for n := 0; len(text) > 0; n++ {
			var part []byte
			part, text, _ = bytes.Cut(text, []byte(","))
			of, number, _ := bytes.Cut(part, []byte("="))
			v, _ := parseFloat(number)
			if n == len(row.quantiles) {
				row.quantiles = append(row.quantiles, quantile{})
			}
			q := &row.quantiles[n]
			if q.text != string(of) {
				rank, _ := parseFloat(of[1:])
				*q = quantile{text: string(of), series: c.registry.Part(c.summary, c.summary.Name, "cmd", row.name, "quantile", formatBound(rank))}
			}
			b.Set(q.series, v)
		}
		if row.sum == nil {
			row.sum = c.registry.Part(c.summary, c.summary.Name+"_sum", "cmd", row.name)
			row.count = c.registry.Part(c.summary, c.summary.Name+"_count", "cmd", row.name)
		}
		b.Set(row.sum, row.usec)
		b.Set(row.count, row.calls)
	}
}

// valid says whether a line of percentiles can be read to its end, so that a summary is whole or not there.
func valid(text []byte) bool {
	for len(text) > 0 {
		var part []byte
		part, text, _ = bytes.Cut(text, []byte(","))
		of, number, ok := bytes.Cut(part, []byte("="))
		if !ok || len(of) < 2 {
			return false
		}
		if _, ok := parseFloat(of[1:]); !ok {
			return false
		}
		if _, ok := parseFloat(number); !ok {
			return false
		}
	}
	return true
}

// histograms shows the reply to LATENCY HISTOGRAM: for each command its name and [calls, n, histogram_usec, [bound, count, bound, count, ...]],
// in which the counts are cumulative.
func (c *commands) histograms(v value, b *metrics.Batch) {
	for name, details := range v.pairs {
		c.histogramOf(name.text(), details, b)
	}
}

func (c *commands) histogramOf(name []byte, details value, b *metrics.Batch) {
	callsValue, ok := details.field("calls")
	if !ok {
		return
	}
	calls, ok := callsValue.integer()
	counts, has := details.field("histogram_usec")
	if !ok || !has {
		return
	}
	row := c.rows.Row(name, b.Cycle, c.make)
	n := 0
	for bound, below := range counts.pairs {
		usec, ok := bound.integer()
		count, also := below.integer()
		if !ok || !also {
			break
		}
		for n < len(row.buckets) && row.buckets[n].usec < usec {
			n++
		}
		if n == len(row.buckets) || row.buckets[n].usec != usec {
			s := c.registry.Part(c.histogram, c.histogram.Name+"_bucket", "cmd", row.name, labels.BucketLabel, formatBound(float64(usec)))
			row.buckets = slices.Insert(row.buckets, n, bucket{usec: usec, series: s})
		}
		b.Set(row.buckets[n].series, float64(count))
	}
	if row.all == nil {
		row.all = c.registry.Part(c.histogram, c.histogram.Name+"_bucket", "cmd", row.name, labels.BucketLabel, "+Inf")
		row.hSum = c.registry.Part(c.histogram, c.histogram.Name+"_sum", "cmd", row.name)
		row.hCall = c.registry.Part(c.histogram, c.histogram.Name+"_count", "cmd", row.name)
	}
	sum := 0.0
	if row.cycle == b.Cycle {
		sum += row.usec
	}
	if row.belowCycle == b.Cycle {
		sum += row.below
	}
	b.Set(row.all, float64(calls))
	b.Set(row.hSum, sum)
	b.Set(row.hCall, float64(calls))
}

// formatBound writes a bound as client_golang does in the text format.
func formatBound(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
