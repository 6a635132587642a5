package mysql

import (
	"bytes"
	"context"
	"strconv"

	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// queryResponseTime is the distribution of the time that statements took: of Percona Server 5.6 and 5.7 and of MariaDB's plugin
// query_response_time. Where there is none, or it is off, nothing is shown.
type queryResponseTime struct {
	kinds  [3]responseTimes // of all statements, of those that read, of those that write
	absent *session         // the connection on which the server said that it has no such thing
}

func newQueryResponseTime(m *making) collector {
	family := func(name, help string) *metrics.Desc { return desc("mysql_info_schema_"+name, help, metrics.Histogram) }
	// Tables in capitals: in lower case Percona's tables of reads and of writes give the same as the one of all statements.
	return &queryResponseTime{kinds: [...]responseTimes{
		{series: m.series, table: "QUERY_RESPONSE_TIME", desc: family("query_response_time_seconds", "The number of all queries by duration they took to execute.")},
		{series: m.series, table: "QUERY_RESPONSE_TIME_READ", desc: family("read_query_response_time_seconds", "The number of read queries by duration they took to execute.")},
		{series: m.series, table: "QUERY_RESPONSE_TIME_WRITE", desc: family("write_query_response_time_seconds", "The number of write queries by duration they took to execute.")},
	}}
}

func (c *queryResponseTime) collect(ctx context.Context, s *session, b *metrics.Batch) error {
	if c.absent == s {
		return nil
	}
	c.absent = nil
	on, _, err := s.scalar(ctx, "SELECT @@query_response_time_stats")
	if serverError(err) != nil { // no such variable
		c.absent = s
		return nil
	}
	if err != nil || on != "1" {
		return err
	}
	for i := range c.kinds {
		err := c.kinds[i].collect(ctx, s, b)
		if i == 0 && err != nil || err != nil && serverError(err) == nil {
			return err
		}
		// Only some servers part reads from writes.
	}
	return nil
}

// responseTimes is one of the tables: an upper bound, the statements that took at most that and more than the bound before, and their time.
type responseTimes struct {
	series *metrics.Registry
	table  string
	desc   *metrics.Desc

	buckets              metrics.Table[*metrics.Series] // by the bound as the server writes it
	infinite, sum, count *metrics.Series
}

func (c *responseTimes) collect(ctx context.Context, s *session, b *metrics.Batch) error {
	r, err := s.query(ctx, "SELECT TIME, COUNT, TOTAL FROM INFORMATION_SCHEMA."+c.table)
	if err != nil {
		return err
	}
	defer r.close()
	defer c.buckets.Sweep(b.Cycle)
	var count, sum float64
	var bound []byte
	for {
		row, err := r.next()
		if err != nil {
			return err
		}
		if row == nil {
			break
		}
		bound = text(bound[:0], row[0])
		n, _ := number(row[1])
		total, _ := parseNumber(bytes.TrimSpace(text(nil, row[2])))
		count += n
		sum += total
		if at, ok := parseNumber(bytes.TrimSpace(bound)); ok && at != 0 { // the last row's is TOO LONG
			b.Set(*c.buckets.Row(bound, b.Cycle, c.newBucket), count)
		}
	}
	if c.sum == nil {
		c.infinite = c.series.Part(c.desc, c.desc.Name+"_bucket", "le", "+Inf")
		c.sum = c.series.Part(c.desc, c.desc.Name+"_sum")
		c.count = c.series.Part(c.desc, c.desc.Name+"_count")
	}
	b.Set(c.infinite, count)
	b.Set(c.sum, sum)
	b.Set(c.count, count)
	return nil
}

func (c *responseTimes) newBucket(bound string) *metrics.Series {
	at, _ := parseNumber(bytes.TrimSpace([]byte(bound)))
	return c.series.Part(c.desc, c.desc.Name+"_bucket", "le", strconv.FormatFloat(at, 'g', -1, 64))
}
