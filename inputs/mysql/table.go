package mysql

import (
	"context"
	"database/sql/driver"
	"fmt"
	"slices"
	"strings"

	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// collector is one subject, named as mysqld_exporter's flag. It keeps its series from one collection to the next.
type collector interface {
	// collect adds what it could read, also when it returns an error.
	collect(ctx context.Context, s *session, b *metrics.Batch) error
}

// table is a collector whose statement gives label values in its first columns and numbers in the rest, in the order of values.
type table struct {
	series    *metrics.Registry
	statement func(v version) (string, []string) // with its arguments
	labels    []string
	values    []value
	// rename changes the value of a label before it becomes one; nil changes none.
	rename func(label int, v []byte) []byte

	rows metrics.Table[[]*metrics.Series]
	key  []byte
	ends []int
}

// value is a column with numbers.
type value struct {
	desc *metrics.Desc
	part string   // what the name of a summary's or histogram's part has besides that of its family
	with []string // labels that the column has besides those of the row: name, value, ...
	only int      // the series has only the first so many labels of the row; 0 means all
	per  float64  // what the number is divided by; 0 means nothing
	unit float64  // what the number is multiplied by; 0 means nothing
	when func(labels []string) bool
}

// always is a statement that is the same for all servers.
func always(statement string, args ...string) func(version) (string, []string) {
	return func(version) (string, []string) { return statement, args }
}

func (t *table) collect(ctx context.Context, s *session, b *metrics.Batch) error {
	statement, args := t.statement(s.version)
	r, err := s.query(ctx, statement, args...)
	if err != nil {
		return err
	}
	defer r.close()
	defer t.rows.Sweep(b.Cycle)
	if n := len(r.columns()); n != len(t.labels)+len(t.values) {
		return &columnError{statement, fmt.Sprintf("has %d columns in place of %d", n, len(t.labels)+len(t.values))}
	}
	for {
		row, err := r.next()
		if err != nil || row == nil {
			return err
		}
		if err := t.set(row, b); err != nil {
			return err
		}
	}
}

// set gives the values of a row to its series. A NULL has no value.
func (t *table) set(row []driver.Value, b *metrics.Batch) error {
	t.identify(row)
	all := *t.rows.Row(t.key, b.Cycle, t.make)
	for i, cell := range row[len(t.labels):] {
		if all[i] == nil || cell == nil {
			continue
		}
		v, ok := number(cell)
		if !ok {
			return fmt.Errorf("%s: %q is not a number", t.values[i].desc.Name, text(nil, cell))
		}
		if per := t.values[i].per; per != 0 {
			v /= per
		}
		if unit := t.values[i].unit; unit != 0 {
			v *= unit
		}
		b.Set(all[i], v)
	}
	return nil
}

// identify makes the key of a row: the values of its labels, and where each ends.
func (t *table) identify(row []driver.Value) {
	t.key, t.ends = t.key[:0], t.ends[:0]
	for i := range t.labels {
		begin := len(t.key)
		t.key = text(t.key, row[i])
		if t.rename != nil {
			t.key = append(t.key[:begin], t.rename(i, t.key[begin:])...)
		}
		t.ends = append(t.ends, len(t.key))
		t.key = append(t.key, 0xff) // no byte of UTF-8
	}
}

// make makes the series of the row that was identified last.
func (t *table) make(key string) []*metrics.Series {
	labels := make([]string, len(t.ends))
	begin := 0
	for i, end := range t.ends {
		labels[i] = key[begin:end]
		begin = end + 1
	}
	all := make([]*metrics.Series, len(t.values))
	for i, v := range t.values {
		if v.desc == nil || v.when != nil && !v.when(labels) {
			continue
		}
		n := len(labels)
		if v.only != 0 {
			n = v.only
		}
		pairs := make([]string, 0, 2*n+len(v.with))
		for j := range n {
			pairs = append(pairs, t.labels[j], valid(labels[j]))
		}
		all[i] = t.series.Part(v.desc, v.desc.Name+v.part, append(pairs, v.with...)...)
	}
	return all
}

// info keeps the series of a metric that is 1 and says something in its labels.
type info struct {
	series *metrics.Registry
	desc   *metrics.Desc
	rows   metrics.Table[*metrics.Series]
	key    []byte
}

// set gives 1 to the series with these labels: name, value, ...
func (i *info) set(b *metrics.Batch, nameValues ...string) {
	i.key = i.key[:0]
	for _, s := range nameValues {
		i.key = append(append(i.key, s...), 0xff)
	}
	b.Set(*i.rows.Row(i.key, b.Cycle, func(string) *metrics.Series {
		pairs := slices.Clone(nameValues)
		for j := 1; j < len(pairs); j += 2 {
			pairs[j] = valid(pairs[j])
		}
		return i.series.New(i.desc, pairs...)
	}), 1)
	i.rows.Sweep(b.Cycle)
}

// splitKey takes a key of values with 0xff behind each apart.
func splitKey(key string) []string {
	parts := strings.Split(strings.TrimSuffix(key, "\xff"), "\xff")
	for i, p := range parts {
		parts[i] = valid(p)
	}
	return parts
}

// valid is what can be the value of a label: valid UTF-8.
func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

func counter(name, help string) *metrics.Desc { return desc(name, help, metrics.Counter) }
func gauge(name, help string) *metrics.Desc   { return desc(name, help, metrics.Gauge) }

func desc(name, help string, kind metrics.Kind) *metrics.Desc {
	d := &metrics.Desc{Name: name, Help: help, Kind: kind}
	for _, unit := range [...]string{"seconds", "bytes", "percent"} {
		if strings.HasSuffix(strings.TrimSuffix(name, "_total"), "_"+unit) {
			d.Unit = unit
		}
	}
	return d
}
