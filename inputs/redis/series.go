package redis

import (
	"strings"

	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// prefix begins the names of all metrics.
const prefix = "redis_"

// described makes a family with a help text of its own; name is without the prefix.
func described(name, help string, kind metrics.Kind) *metrics.Desc {
	d := &metrics.Desc{Name: prefix + name, Help: help, Kind: kind}
	for _, unit := range [...]string{"seconds", "bytes"} {
		if strings.HasSuffix(strings.TrimSuffix(name, "_total"), "_"+unit) {
			d.Unit = unit
		}
	}
	return d
}

// plain makes a family with the help text that redis_exporter gives those that it has no words for.
func plain(name string, kind metrics.Kind) *metrics.Desc {
	return described(name, name+" metric", kind)
}

func gauge(name, help string) *metrics.Desc   { return described(name, help, metrics.Gauge) }
func counter(name, help string) *metrics.Desc { return described(name, help, metrics.Counter) }

// family is a metric with labels of one kind: its series are kept by their labels' values.
type family struct {
	registry *metrics.Registry
	desc     *metrics.Desc
	labels   []string
	rows     metrics.Table[*metrics.Series]
	key      []byte
	make     func(key string) *metrics.Series
}

// separator stands between values in a key; it is in no UTF-8 text.
const separator = "\xff"

func (in *input) family(d *metrics.Desc, labels ...string) *family {
	f := &family{registry: in.env.Series, desc: d, labels: labels}
	f.make = func(key string) *metrics.Series {
		values := strings.Split(key, separator)
		var pairs []string
		for i, name := range f.labels {
			pairs = append(pairs, name, values[i])
		}
		return f.registry.New(f.desc, pairs...)
	}
	in.families = append(in.families, f)
	return f
}

// set sets the value of the series with these labels, in the order of the family's.
func (f *family) set(b *metrics.Batch, v float64, values ...[]byte) {
	f.key = f.key[:0]
	for i, text := range values {
		if i > 0 {
			f.key = append(f.key, separator...)
		}
		f.key = appendValid(f.key, text)
	}
	b.Set(*f.rows.Row(f.key, b.Cycle, f.make), v)
}

// appendValid appends text as it may stand in a label: valid UTF-8. What isn't becomes U+FFFD, as Prometheus would have it.
func appendValid(dst, text []byte) []byte {
	for _, c := range text {
		if c >= 0x80 {
			return append(dst, strings.ToValidUTF8(string(text), "\uFFFD")...)
		}
	}
	return append(dst, text...)
}
