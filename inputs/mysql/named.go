package mysql

import (
	"context"
	"slices"

	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// named is a collector whose statement selects all columns of a table that differs between servers: what a column becomes depends on its
// name. With a label the first column is its value.
type named struct {
	series    *metrics.Registry
	statement string
	label     string
	family    func(column string) *metrics.Desc // nil for a column that isn't shown

	table   table
	columns []string
}

func (c *named) collect(ctx context.Context, s *session, b *metrics.Batch) error {
	r, err := s.query(ctx, c.statement)
	if err != nil {
		return err
	}
	defer r.close()
	c.learn(r.columns())
	defer c.table.rows.Sweep(b.Cycle)
	for {
		row, err := r.next()
		if err != nil || row == nil {
			return err
		}
		if err := c.table.set(row, b); err != nil {
			return err
		}
	}
}

// learn makes the table of the columns, as long as they are the same.
func (c *named) learn(columns []string) {
	if slices.Equal(columns, c.columns) {
		return
	}
	c.columns = slices.Clone(columns)
	c.table = table{series: c.series}
	if c.label != "" && len(columns) > 0 {
		c.table.labels = []string{c.label}
		columns = columns[1:]
	}
	for _, column := range columns {
		c.table.values = append(c.table.values, value{desc: c.family(column)})
	}
}
