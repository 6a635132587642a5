package mysql

import (
	"context"

	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// schemaTables is information_schema.tables: size and rows of each table, schema by schema, so that no statement is a long one.
type schemaTables struct {
	table
	databases []string // the only ones; empty means all but the server's own
	seen      []string
	schema    string // being asked
}

func newSchemaTables(m *making) collector {
	size := gauge("mysql_info_schema_table_size", "The size of the table components from information_schema.tables")
	c := &schemaTables{table: table{
		series: m.series,
		labels: []string{"schema", "table", "type", "engine", "row_format", "create_options"},
		values: []value{
			{desc: gauge("mysql_info_schema_table_version", "The version number of the table's .frm file")},
			{desc: gauge("mysql_info_schema_table_rows", "The estimated number of rows in the table from information_schema.tables"), only: 2},
			{desc: size, with: []string{"component", "data_length"}, only: 2},
			{desc: size, with: []string{"component", "index_length"}, only: 2},
			{desc: size, with: []string{"component", "data_free"}, only: 2},
		},
	}}
	if all := m.cfg.Tables.Databases; len(all) != 1 || all[0] != "*" {
		c.databases = all
	}
	c.statement = func(version) (string, []string) {
		return `SELECT table_schema, table_name, table_type, ifnull(engine, 'NONE'), ifnull(row_format, 'NONE'), ifnull(create_options, 'NONE'),
			ifnull(version, 0), ifnull(table_rows, 0), ifnull(data_length, 0), ifnull(index_length, 0), ifnull(data_free, 0)
			FROM information_schema.tables WHERE table_schema = ?`, []string{c.schema}
	}
	return c
}

func (c *schemaTables) collect(ctx context.Context, s *session, b *metrics.Batch) error {
	databases := c.databases
	if len(databases) == 0 {
		var err error
		if databases, err = c.list(ctx, s); err != nil {
			return err
		}
	}
	for _, c.schema = range databases {
		if err := c.table.collect(ctx, s, b); err != nil {
			return err
		}
	}
	return nil
}

// list names the schemas that are not the server's own.
func (c *schemaTables) list(ctx context.Context, s *session) ([]string, error) {
	r, err := s.query(ctx, `SELECT schema_name FROM information_schema.schemata
		WHERE schema_name NOT IN ('mysql', 'performance_schema', 'information_schema', 'sys')`)
	if err != nil {
		return nil, err
	}
	defer r.close()
	c.seen = c.seen[:0]
	for {
		row, err := r.next()
		if err != nil || row == nil {
			return c.seen, err
		}
		c.seen = append(c.seen, string(text(nil, row[0])))
	}
}

func newAutoIncrement(m *making) collector {
	return &table{
		series: m.series,
		// A name in the two views may differ in case where the file system knows none: BINARY keeps collations out of it.
		statement: always(`SELECT c.table_schema, c.table_name, c.column_name, t.auto_increment,
			pow(2, CASE c.data_type WHEN 'tinyint' THEN 7 WHEN 'smallint' THEN 15 WHEN 'mediumint' THEN 23 WHEN 'int' THEN 31 WHEN 'bigint' THEN 63 END
				+ (c.column_type LIKE '% unsigned')) - 1
			FROM information_schema.columns c
			STRAIGHT_JOIN information_schema.tables t ON BINARY c.table_schema = t.table_schema AND BINARY c.table_name = t.table_name
			WHERE c.extra = 'auto_increment' AND t.auto_increment IS NOT NULL`),
		labels: []string{"schema", "table", "column"},
		values: []value{
			{desc: gauge("mysql_info_schema_auto_increment_column", "The current value of an auto_increment column from information_schema.")},
			{desc: gauge("mysql_info_schema_auto_increment_column_max", "The max value of an auto_increment column from information_schema.")},
		},
	}
}

// newReplicaHost shows the replicas of an Aurora cluster; other servers don't have the table.
func newReplicaHost(m *making) collector {
	return &absent{unknown: errUnknownTable, collector: &table{
		series: m.series,
		statement: always(`SELECT server_id, if(session_id = 'MASTER_SESSION_ID', 'writer', 'reader'), cpu, master_slave_latency_in_microseconds,
			replica_lag_in_milliseconds, log_stream_speed_in_kib_per_second, current_replay_latency_in_microseconds
			FROM information_schema.replica_host_status`),
		labels: []string{"server_id", "role"},
		values: []value{
			{desc: gauge("mysql_info_schema_replica_host_cpu_percent", "The CPU usage as a percentage.")},
			{desc: gauge("mysql_info_schema_replica_host_replica_latency_seconds", "The source-replica latency in seconds."), unit: 0.000001},
			{desc: gauge("mysql_info_schema_replica_host_lag_seconds", "The replica lag in seconds."), unit: 0.001},
			{desc: gauge("mysql_info_schema_replica_host_log_stream_speed", "The log stream speed in kilobytes per second.")},
			{desc: gauge("mysql_info_schema_replica_host_replay_latency_seconds", "The current replay latency in seconds."), unit: 0.000001},
		},
	}}
}

// absent is a collector that is well when the server doesn't know what it asks for. It asks again on the next connection.
type absent struct {
	collector
	unknown uint16 // the server's error
	at      *session
}

func (c *absent) collect(ctx context.Context, s *session, b *metrics.Batch) error {
	if c.at == s {
		return nil
	}
	c.at = nil
	err := c.collector.collect(ctx, s, b)
	if isServerError(err, c.unknown) {
		c.at = s
		return nil
	}
	return err
}
