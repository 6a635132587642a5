package mysql

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/hermod-agent/hermod/internal/pseudofile"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

func newInnodbCmp(m *making) collector {
	return &table{
		series: m.series,
		statement: always(`SELECT page_size, compress_ops, compress_ops_ok, compress_time, uncompress_ops, uncompress_time
			FROM information_schema.innodb_cmp`),
		labels: []string{"page_size"},
		values: []value{
			{desc: counter("mysql_info_schema_innodb_cmp_compress_ops_total", "Number of times a B-tree page of the size PAGE_SIZE has been compressed.")},
			{desc: counter("mysql_info_schema_innodb_cmp_compress_ops_ok_total",
				"Number of times a B-tree page of the size PAGE_SIZE has been successfully compressed.")},
			{desc: counter("mysql_info_schema_innodb_cmp_compress_time_seconds_total", "Total time in seconds spent in attempts to compress B-tree pages.")},
			{desc: counter("mysql_info_schema_innodb_cmp_uncompress_ops_total", "Number of times a B-tree page of the size PAGE_SIZE has been uncompressed.")},
			{desc: counter("mysql_info_schema_innodb_cmp_uncompress_time_seconds_total", "Total time in seconds spent in uncompressing B-tree pages.")},
		},
	}
}

func newInnodbCmpmem(m *making) collector {
	return &table{
		series: m.series,
		statement: always(`SELECT page_size, buffer_pool_instance, pages_used, pages_free, relocation_ops, relocation_time
			FROM information_schema.innodb_cmpmem`),
		labels: []string{"page_size", "buffer_pool"},
		values: []value{
			{desc: counter("mysql_info_schema_innodb_cmpmem_pages_used_total", "Number of blocks of the size PAGE_SIZE that are currently in use.")},
			{desc: counter("mysql_info_schema_innodb_cmpmem_pages_free_total", "Number of blocks of the size PAGE_SIZE that are currently available for allocation.")},
			{desc: counter("mysql_info_schema_innodb_cmpmem_relocation_ops_total", "Number of times a block of the size PAGE_SIZE has been relocated.")},
			{desc: counter("mysql_info_schema_innodb_cmpmem_relocation_time_seconds_total", "Total time in seconds spent in relocating blocks."), per: 1000},
		},
	}
}

// innodbTablespaces is information_schema.innodb_tablespaces, under its name before MySQL 8 and in MariaDB innodb_sys_tablespaces.
type innodbTablespaces struct {
	table
	source string // the table's name at this server; "" until it was asked
	asked  version
}

func newInnodbTablespaces(m *making) collector {
	c := &innodbTablespaces{table: table{
		series: m.series,
		labels: []string{"tablespace_name", "file_format", "row_format", "space_type"},
		values: []value{
			{desc: gauge("mysql_info_schema_innodb_tablespace_space_info", "The Tablespace information and Space ID.")},
			{desc: gauge("mysql_info_schema_innodb_tablespace_file_size_bytes",
				"The apparent size of the file, which represents the maximum size of the file, uncompressed."), only: 1},
			{desc: gauge("mysql_info_schema_innodb_tablespace_allocated_size_bytes",
				"The actual size of the file, which is the amount of space allocated on disk."), only: 1},
		},
	}}
	c.statement = func(v version) (string, []string) {
		spaceType := "ifnull(space_type, 'NONE')"
		if v.mariadbSince(10, 5, 0) { // https://jira.mariadb.org/browse/MDEV-19940 took the column away
			spaceType = "''"
		}
		return `SELECT name,
			ifnull((SELECT column_name FROM information_schema.columns
				WHERE table_schema = 'information_schema' AND table_name = ? AND column_name = 'FILE_FORMAT' LIMIT 1), 'NONE'),
			ifnull(row_format, 'NONE'), ` + spaceType + `, space, file_size, allocated_size
			FROM information_schema.` + c.source, []string{c.source}
	}
	return c
}

func (c *innodbTablespaces) collect(ctx context.Context, s *session, b *metrics.Batch) error {
	if c.source == "" || c.asked != s.version {
		name, ok, err := s.scalar(ctx, `SELECT table_name FROM information_schema.tables
			WHERE table_schema = 'information_schema' AND table_name IN ('INNODB_SYS_TABLESPACES', 'INNODB_TABLESPACES')`)
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("this server has neither innodb_tablespaces nor innodb_sys_tablespaces in information_schema")
		}
		// Not as the server wrote it: what it sends never becomes a part of a statement.
		c.source, c.asked = "INNODB_TABLESPACES", s.version
		if strings.EqualFold(name, "INNODB_SYS_TABLESPACES") {
			c.source = "INNODB_SYS_TABLESPACES"
		}
	}
	return c.table.collect(ctx, s, b)
}

// innodbMetrics is information_schema.innodb_metrics: those of InnoDB's counters that are switched on.
type innodbMetrics struct {
	series                      *metrics.Registry
	read, written, pages, dirty *metrics.Desc
	enabled                     string // the condition that this server knows; "" until it was asked
	asked                       version
	counters                    metrics.Table[*metrics.Series] // nil for one that isn't shown
	key                         []byte
}

func newInnodbMetrics(m *making) collector {
	return &innodbMetrics{
		series:  m.series,
		read:    counter("mysql_info_schema_innodb_metrics_buffer_page_read_total", "Total number of buffer pages read total."),
		written: counter("mysql_info_schema_innodb_metrics_buffer_page_written_total", "Total number of buffer pages written total."),
		pages:   gauge("mysql_info_schema_innodb_metrics_buffer_pool_pages", "Total number of buffer pool pages by state."),
		dirty:   gauge("mysql_info_schema_innodb_metrics_buffer_pool_dirty_pages", "Total number of dirty pages in the buffer pool."),
	}
}

func (c *innodbMetrics) collect(ctx context.Context, s *session, b *metrics.Batch) error {
	if c.enabled == "" || c.asked != s.version {
		// MySQL has a column status, MariaDB since 10.5 a column enabled.
		name, ok, err := s.scalar(ctx, `SELECT column_name FROM information_schema.columns
			WHERE table_schema = 'information_schema' AND table_name = 'INNODB_METRICS' AND column_name IN ('status', 'enabled') LIMIT 1`)
		switch {
		case err != nil:
			return err
		case !ok:
			return fmt.Errorf("information_schema.innodb_metrics has neither a column STATUS nor ENABLED here")
		case strings.EqualFold(name, "status"):
			c.enabled = "`status` = 'enabled'"
		default:
			c.enabled = "`enabled` = '1'"
		}
		c.asked = s.version
	}
	r, err := s.query(ctx, "SELECT name, subsystem, type, comment, count FROM information_schema.innodb_metrics WHERE "+c.enabled)
	if err != nil {
		return err
	}
	defer r.close()
	defer c.counters.Sweep(b.Cycle)
	for {
		row, err := r.next()
		if err != nil || row == nil {
			return err
		}
		v, ok := number(row[4])
		if !ok {
			continue
		}
		c.key = c.key[:0]
		for _, cell := range row[:4] {
			c.key = append(text(c.key, cell), 0xff)
		}
		sign := byte('+')
		if v < 0 {
			sign = '-'
		}
		c.key = append(c.key, sign)
		if series := *c.counters.Row(c.key, b.Cycle, c.newSeries); series != nil {
			b.Set(series, v)
		}
	}
}

// newSeries makes the series of a counter. A counter below zero is a fault of some servers (https://bugs.mysql.com/bug.php?id=75966): as
// in mysqld_exporter it is a gauge under another name as long as that lasts.
func (c *innodbMetrics) newSeries(key string) *metrics.Series {
	parts := splitKey(key)
	name, subsystem, kind, comment, negative := parts[0], parts[1], parts[2], parts[3], parts[4] == "-"
	switch subsystem {
	case "buffer_page_io":
		if rest, ok := strings.CutPrefix(name, "buffer_page_read_"); ok {
			return c.series.New(c.read, "type", rest)
		}
		if rest, ok := strings.CutPrefix(name, "buffer_page_written_"); ok {
			return c.series.New(c.written, "type", rest)
		}
		return nil
	case "buffer":
		switch rest, ok := strings.CutPrefix(name, "buffer_pool_pages_"); {
		case !ok:
		case rest == "total": // the sum of the others
			return nil
		case rest == "dirty": // counted among the data pages as well
			return c.series.New(c.dirty)
		default:
			return c.series.New(c.pages, "state", rest)
		}
	}
	name = "mysql_info_schema_innodb_metrics_" + validName(subsystem) + "_" + validName(name)
	if (kind == "counter" || kind == "status_counter") && !negative {
		return c.series.New(&metrics.Desc{Name: name + "_total", Help: comment, Kind: metrics.Counter})
	}
	return c.series.New(&metrics.Desc{Name: name, Help: comment, Kind: metrics.Gauge})
}

// engineInnodbStatus reads two lines of the report of SHOW ENGINE INNODB STATUS.
type engineInnodbStatus struct{ inside, queued, views *metrics.Series }

func newEngineInnodbStatus(m *making) collector {
	return &engineInnodbStatus{
		inside: m.series.New(gauge("mysql_engine_innodb_queries_inside_innodb", "Queries inside InnoDB.")),
		queued: m.series.New(gauge("mysql_engine_innodb_queries_in_queue", "Queries in queue.")),
		views:  m.series.New(gauge("mysql_engine_innodb_read_views_open_inside_innodb", "Read views open inside InnoDB.")),
	}
}

func (c *engineInnodbStatus) collect(ctx context.Context, s *session, b *metrics.Batch) error {
	r, err := s.query(ctx, "SHOW ENGINE INNODB STATUS")
	if err != nil {
		return err
	}
	defer r.close()
	for first := true; ; first = false {
		row, err := r.next()
		if err != nil || row == nil {
			return err
		}
		if report, ok := row[len(row)-1].([]byte); ok && first {
			c.set(report, b)
		}
	}
}

func (c *engineInnodbStatus) set(report []byte, b *metrics.Batch) {
	for line := range bytes.Lines(report) {
		before, after, found := bytes.Cut(line, []byte(" queries inside InnoDB, "))
		if found {
			queued, _, isQueue := bytes.Cut(after, []byte(" queries in queue"))
			inside, ok := pseudofile.ParseUint(lastWord(before))
			waiting, ok2 := pseudofile.ParseUint(queued)
			if isQueue && ok && ok2 {
				b.Set(c.inside, float64(inside))
				b.Set(c.queued, float64(waiting))
			}
			continue
		}
		if before, _, found := bytes.Cut(line, []byte(" read views open inside InnoDB")); found {
			if n, ok := pseudofile.ParseUint(lastWord(before)); ok {
				b.Set(c.views, float64(n))
			}
		}
	}
}

func lastWord(b []byte) []byte { return b[bytes.LastIndexByte(b, ' ')+1:] }
