package mysql

import (
	"context"
	"strings"

	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// engineTokudbStatus is SHOW ENGINE TOKUDB STATUS of Percona Server and MariaDB before 10.6: descriptions in words and their values.
type engineTokudbStatus struct {
	series *metrics.Registry
	rows   metrics.Table[variable]
}

func newEngineTokudbStatus(m *making) collector { return &engineTokudbStatus{series: m.series} }

func (c *engineTokudbStatus) collect(ctx context.Context, s *session, b *metrics.Batch) error {
	r, err := s.query(ctx, "SHOW ENGINE TOKUDB STATUS")
	if err != nil {
		return err
	}
	defer r.close()
	defer c.rows.Sweep(b.Cycle)
	for {
		row, err := r.next()
		if err != nil || row == nil {
			return err
		}
		name, ok := row[1].([]byte)
		raw, isText := row[2].([]byte)
		if !ok || !isText {
			continue
		}
		v := c.rows.Row(name, b.Cycle, newVariable)
		value, ok := v.state.read(raw)
		if !ok {
			continue
		}
		if v.series == nil {
			v.series = c.series.New(&metrics.Desc{
				Name: "mysql_engine_tokudb_" + tokudbName(v.name), Help: "Generic metric from SHOW ENGINE TOKUDB STATUS.",
			})
		}
		b.Set(v.series, value)
	}
}

// tokudbName makes a part of a metric's name of a description, as mysqld_exporter does.
func tokudbName(words string) string {
	return metricName(strings.NewReplacer(">", "", ",", "", ":", "", "(", "", ")", "", " ", "_", "-", "_", "+", "and", "/", "and").
		Replace(strings.ToLower(words)))
}

// rocksdbPerfContext is information_schema.rocksdb_perf_context of MyRocks: a row for each counter of each table.
type rocksdbPerfContext struct {
	series *metrics.Registry
	rows   metrics.Table[*metrics.Series] // nil for a counter without a help text
	key    []byte
}

func newRocksdbPerfContext(m *making) collector { return &rocksdbPerfContext{series: m.series} }

func (c *rocksdbPerfContext) collect(ctx context.Context, s *session, b *metrics.Batch) error {
	r, err := s.query(ctx, `SELECT table_schema, table_name, ifnull(partition_name, ''), stat_type, value FROM information_schema.rocksdb_perf_context`)
	if err != nil {
		return err
	}
	defer r.close()
	defer c.rows.Sweep(b.Cycle)
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
		if series := *c.rows.Row(c.key, b.Cycle, c.newSeries); series != nil {
			b.Set(series, v)
		}
	}
}

func (c *rocksdbPerfContext) newSeries(key string) *metrics.Series {
	parts := splitKey(key)
	help := rocksdbPerfHelp(parts[3])
	if help == "" {
		return nil
	}
	return c.series.New(&metrics.Desc{Name: "mysql_info_schema_rocksdb_perf_context_" + metricName(parts[3]), Help: help, Kind: metrics.Counter},
		"schema", parts[0], "table", parts[1], "part", parts[2])
}

// rocksdbPerfHelp is the help text of a counter of MyRocks; the counters that have none aren't shown.
func rocksdbPerfHelp(stat string) string {
	switch stat {
	case "USER_KEY_COMPARISON_COUNT":
		return "Total number of user key comparisons performed in binary search."
	case "BLOCK_CACHE_HIT_COUNT":
		return "Total number of block read operations from cache."
	case "BLOCK_READ_COUNT":
		return "Total number of block read operations from disk."
	case "BLOCK_READ_BYTE":
		return "Total number of bytes read from disk."
	case "GET_READ_BYTES":
		return "Number of bytes read during Get operations."
	case "MULTIGET_READ_BYTES":
		return "Number of bytes read during MultiGet operations."
	case "ITER_READ_BYTES":
		return "Number of bytes read during iterator operations."
	case "INTERNAL_KEY_SKIPPED_COUNT":
		return "Count of internal keys skipped during operations."
	case "INTERNAL_DELETE_SKIPPED_COUNT":
		return "Count of internal delete operations that were skipped."
	case "INTERNAL_RECENT_SKIPPED_COUNT":
		return "Count of recently skipped internal operations."
	case "INTERNAL_MERGE_COUNT":
		return "Total number of internal merge operations."
	case "GET_FROM_MEMTABLE_COUNT":
		return "Number of Get operations served from the memtable."
	case "SEEK_ON_MEMTABLE_COUNT":
		return "Count of seek operations in the memtable."
	case "NEXT_ON_MEMTABLE_COUNT":
		return "Count of next operations in the memtable."
	case "PREV_ON_MEMTABLE_COUNT":
		return "Count of previous operations in the memtable."
	case "SEEK_CHILD_SEEK_COUNT":
		return "Count of child seek operations in RocksDB."
	case "BLOOM_MEMTABLE_HIT_COUNT":
		return "Count of successful hits in the bloom filter for memtable searches."
	case "BLOOM_MEMTABLE_MISS_COUNT":
		return "Count of misses in the bloom filter for memtable searches."
	case "BLOOM_SST_HIT_COUNT":
		return "Count of successful hits in the bloom filter for SSTable searches."
	case "BLOOM_SST_MISS_COUNT":
		return "Count of misses in the bloom filter for SSTable searches."
	case "KEY_LOCK_WAIT_COUNT":
		return "Count of key lock wait events in RocksDB."
	case "IO_BYTES_WRITTEN":
		return "Total number of bytes written by I/O operations in RocksDB."
	case "IO_BYTES_READ":
		return "Total number of bytes read by I/O operations in RocksDB."
	}
	return ""
}
