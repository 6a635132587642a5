package mysql

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// picoseconds is what timers of the performance schema count in.
const picoseconds = 1e12

func newEventsWaits(m *making) collector {
	return &table{
		series:    m.series,
		statement: always("SELECT event_name, count_star, sum_timer_wait FROM performance_schema.events_waits_summary_global_by_event_name"),
		labels:    []string{"event_name"},
		values: []value{
			{desc: counter("mysql_perf_schema_events_waits_total", "The total events waits by event name.")},
			{desc: counter("mysql_perf_schema_events_waits_seconds_total", "The total seconds of events waits by event name."), per: picoseconds},
		},
	}
}

func newFileEvents(m *making) collector {
	events := counter("mysql_perf_schema_file_events_total", "The total file events by event name/mode.")
	seconds := counter("mysql_perf_schema_file_events_seconds_total", "The total seconds of file events by event name/mode.")
	size := counter("mysql_perf_schema_file_events_bytes_total", "The total bytes of file events by event name/mode.")
	read, write, misc := []string{"mode", "read"}, []string{"mode", "write"}, []string{"mode", "misc"}
	return &table{
		series: m.series,
		statement: always(`SELECT event_name, count_read, sum_timer_read, sum_number_of_bytes_read, count_write, sum_timer_write,
			sum_number_of_bytes_write, count_misc, sum_timer_misc FROM performance_schema.file_summary_by_event_name`),
		labels: []string{"event_name"},
		values: []value{
			{desc: events, with: read}, {desc: seconds, with: read, per: picoseconds}, {desc: size, with: read},
			{desc: events, with: write}, {desc: seconds, with: write, per: picoseconds}, {desc: size, with: write},
			{desc: events, with: misc}, {desc: seconds, with: misc, per: picoseconds},
		},
	}
}

func newFileInstances(m *making) collector {
	count := counter("mysql_perf_schema_file_instances_total", "The total number of file read/write operations.")
	size := counter("mysql_perf_schema_file_instances_bytes", "The number of bytes processed by file read/write operations.")
	read, write := []string{"mode", "read"}, []string{"mode", "write"}
	prefix := []byte(m.cfg.FileInstances.RemovePrefix)
	return &table{
		series: m.series,
		statement: always(`SELECT file_name, event_name, count_read, count_write, sum_number_of_bytes_read, sum_number_of_bytes_write
			FROM performance_schema.file_summary_by_instance WHERE file_name REGEXP ?`, m.cfg.FileInstances.Filter),
		labels: []string{"file_name", "event_name"},
		values: []value{{desc: count, with: read}, {desc: count, with: write}, {desc: size, with: read}, {desc: size, with: write}},
		rename: func(label int, v []byte) []byte {
			if label == 0 {
				return bytes.TrimPrefix(v, prefix)
			}
			return v
		},
	}
}

func newTableIOWaits(m *making) collector {
	return &table{
		series: m.series,
		statement: always(`SELECT object_schema, object_name, count_fetch, count_insert, count_update, count_delete,
			sum_timer_fetch, sum_timer_insert, sum_timer_update, sum_timer_delete
			FROM performance_schema.table_io_waits_summary_by_table WHERE object_schema NOT IN ('mysql', 'performance_schema')`),
		labels: []string{"schema", "name"},
		values: operations(
			counter("mysql_perf_schema_table_io_waits_total", "The total number of table I/O wait events for each table and operation."),
			counter("mysql_perf_schema_table_io_waits_seconds_total", "The total time of table I/O wait events for each table and operation."), nil),
	}
}

func newIndexIOWaits(m *making) collector {
	// An insert belongs to the table, not to one of its indexes.
	noIndex := func(labels []string) bool { return labels[2] == "NONE" }
	return &table{
		series: m.series,
		statement: always(`SELECT object_schema, object_name, ifnull(index_name, 'NONE'), count_fetch, count_insert, count_update, count_delete,
			sum_timer_fetch, sum_timer_insert, sum_timer_update, sum_timer_delete
			FROM performance_schema.table_io_waits_summary_by_index_usage WHERE object_schema NOT IN ('mysql', 'performance_schema')`),
		labels: []string{"schema", "name", "index"},
		values: operations(
			counter("mysql_perf_schema_index_io_waits_total", "The total number of index I/O wait events for each index and operation."),
			counter("mysql_perf_schema_index_io_waits_seconds_total", "The total time of index I/O wait events for each index and operation."), noIndex),
	}
}

// operations are the columns of fetches, inserts, updates and deletes: first their numbers, then their times.
func operations(count, seconds *metrics.Desc, insert func(labels []string) bool) []value {
	var values []value
	for _, operation := range [...]string{"fetch", "insert", "update", "delete"} {
		v := value{desc: count, with: []string{"operation", operation}}
		if operation == "insert" {
			v.when = insert
		}
		values = append(values, v)
	}
	for _, v := range values {
		v.desc, v.per = seconds, picoseconds
		values = append(values, v)
	}
	return values
}

func newTableLocks(m *making) collector {
	locks := counter("mysql_perf_schema_sql_lock_waits_total", "The total number of SQL lock wait events for each table and operation.")
	seconds := counter("mysql_perf_schema_sql_lock_waits_seconds_total", "The total time of SQL lock wait events for each table and operation.")
	external := counter("mysql_perf_schema_external_lock_waits_total", "The total number of external lock wait events for each table and operation.")
	externalSeconds := counter("mysql_perf_schema_external_lock_waits_seconds_total",
		"The total time of external lock wait events for each table and operation.")
	var columns []string
	var counts, times []value
	for _, operation := range [...]string{"read_normal", "read_with_shared_locks", "read_high_priority", "read_no_insert", "read_external",
		"write_allow_write", "write_concurrent_insert", "write_low_priority", "write_normal", "write_external"} {
		columns = append(columns, operation)
		count, time := value{desc: locks, with: []string{"operation", operation}}, value{desc: seconds, per: picoseconds}
		if mode, ok := strings.CutSuffix(operation, "_external"); ok {
			count, time = value{desc: external, with: []string{"operation", mode}}, value{desc: externalSeconds, per: picoseconds}
		}
		time.with = count.with
		counts, times = append(counts, count), append(times, time)
	}
	return &table{
		series: m.series,
		statement: always("SELECT object_schema, object_name, count_" + strings.Join(columns, ", count_") + ", sum_timer_" + strings.Join(columns, ", sum_timer_") +
			" FROM performance_schema.table_lock_waits_summary_by_table WHERE object_schema NOT IN ('mysql', 'performance_schema', 'information_schema')"),
		labels: []string{"schema", "name"},
		values: append(counts, times...),
	}
}

func newMemoryEvents(m *making) collector {
	prefix := []byte(m.cfg.MemoryEvents.RemovePrefix)
	return &table{
		series: m.series,
		statement: always(`SELECT event_name, sum_number_of_bytes_alloc, sum_number_of_bytes_free, current_number_of_bytes_used
			FROM performance_schema.memory_summary_global_by_event_name WHERE count_alloc > 0`),
		labels: []string{"event_name"},
		values: []value{
			{desc: counter("mysql_perf_schema_memory_events_alloc_bytes_total", "The total number of bytes allocated by events.")},
			{desc: counter("mysql_perf_schema_memory_events_free_bytes_total", "The total number of bytes freed by events.")},
			{desc: gauge("mysql_perf_schema_memory_events_used_bytes", "The number of bytes currently allocated by events.")},
		},
		rename: func(_ int, v []byte) []byte { return bytes.TrimPrefix(v, prefix) },
	}
}

// newGroupMemberStats shows the group replication's numbers of this server. MySQL 5.7 has the first four columns.
func newGroupMemberStats(m *making) collector {
	return &named{
		series:    m.series,
		statement: "SELECT * FROM performance_schema.replication_group_member_stats WHERE member_id = @@server_uuid",
		family: func(column string) *metrics.Desc {
			switch column {
			case "COUNT_TRANSACTIONS_IN_QUEUE":
				return gauge("mysql_perf_schema_transactions_in_queue", "The number of transactions in the queue pending conflict detection checks.")
			case "COUNT_TRANSACTIONS_CHECKED":
				return counter("mysql_perf_schema_transactions_checked_total", "The number of transactions that have been checked for conflicts.")
			case "COUNT_CONFLICTS_DETECTED":
				return counter("mysql_perf_schema_conflicts_detected_total", "The number of transactions that have not passed the conflict detection check.")
			case "COUNT_TRANSACTIONS_ROWS_VALIDATING":
				return counter("mysql_perf_schema_transactions_rows_validating_total",
					"Number of transaction rows which can be used for certification, but have not been garbage collected.")
			case "COUNT_TRANSACTIONS_REMOTE_IN_APPLIER_QUEUE":
				return gauge("mysql_perf_schema_transactions_remote_in_applier_queue",
					"The number of transactions that this member has received from the replication group which are waiting to be applied.")
			case "COUNT_TRANSACTIONS_REMOTE_APPLIED":
				return counter("mysql_perf_schema_transactions_remote_applied_total",
					"Number of transactions this member has received from the group and applied.")
			case "COUNT_TRANSACTIONS_LOCAL_PROPOSED":
				return counter("mysql_perf_schema_transactions_local_proposed_total",
					"Number of transactions which originated on this member and were sent to the group.")
			case "COUNT_TRANSACTIONS_LOCAL_ROLLBACK":
				return counter("mysql_perf_schema_transactions_local_rollback_total",
					"Number of transactions which originated on this member and were rolled back by the group.")
			}
			return nil
		},
	}
}

// groupMembers shows each member of the replication group, with every column of its row as a label.
type groupMembers struct{ rows info }

func newGroupMembers(m *making) collector {
	return &groupMembers{info{series: m.series, desc: gauge("mysql_perf_schema_replication_group_member_info",
		"Information about the replication group member: channel_name, member_id, member_host, member_port, member_state. "+
			"(member_role and member_version where available)")}}
}

func (c *groupMembers) collect(ctx context.Context, s *session, b *metrics.Batch) error {
	r, err := s.query(ctx, "SELECT * FROM performance_schema.replication_group_members")
	if err != nil {
		return err
	}
	defer r.close()
	columns := r.columns()
	for {
		row, err := r.next()
		if err != nil || row == nil {
			return err
		}
		pairs := make([]string, 0, 2*len(row))
		for i, cell := range row {
			pairs = append(pairs, metricName(columns[i]), string(text(nil, cell)))
		}
		c.rows.set(b, pairs...)
	}
}

// applierWorkers shows the times of the transactions that each worker of the applier handled last and handles now.
type applierWorkers struct {
	series  *metrics.Registry
	descs   []*metrics.Desc
	workers metrics.Table[[]*metrics.Series]
	key     []byte
}

// applierColumns have times in the server's own time zone, which is taken for UTC, as mysqld_exporter does.
var applierColumns = [...]struct{ name, help string }{
	{"last_applied_transaction_original_commit_timestamp", "A timestamp shows when the last transaction applied by this worker was committed on the original master."},
	{"last_applied_transaction_immediate_commit_timestamp", "A timestamp shows when the last transaction applied by this worker was committed on the immediate master."},
	{"last_applied_transaction_start_apply_timestamp", "A timestamp shows when this worker started applying the last applied transaction."},
	{"last_applied_transaction_end_apply_timestamp", "A shows when this worker finished applying the last applied transaction."},
	{"applying_transaction_original_commit_timestamp", "A timestamp that shows when the transaction this worker is currently applying was committed on the original master."},
	{"applying_transaction_immediate_commit_timestamp", "A timestamp shows when the transaction this worker is currently applying was committed on the immediate master."},
	{"applying_transaction_start_apply_timestamp", "A timestamp shows when this worker started its first attempt to apply the transaction that is currently being applied."},
}

func newApplierWorkers(m *making) collector {
	c := &applierWorkers{series: m.series}
	for _, column := range applierColumns {
		c.descs = append(c.descs, gauge("mysql_perf_schema_"+column.name+"_seconds", column.help))
	}
	return c
}

func (c *applierWorkers) collect(ctx context.Context, s *session, b *metrics.Batch) error {
	var columns []string
	for _, column := range applierColumns {
		columns = append(columns, column.name)
	}
	r, err := s.query(ctx, "SELECT channel_name, worker_id, "+strings.Join(columns, ", ")+" FROM performance_schema.replication_applier_status_by_worker")
	if err != nil {
		return err
	}
	defer r.close()
	defer c.workers.Sweep(b.Cycle)
	for {
		row, err := r.next()
		if err != nil || row == nil {
			return err
		}
		if len(row) != 2+len(c.descs) {
			return fmt.Errorf("performance_schema.replication_applier_status_by_worker has %d of the %d columns", len(row), 2+len(c.descs))
		}
		c.key = append(text(c.key[:0], row[0]), 0xff)
		c.key = append(text(c.key, row[1]), 0xff)
		all := *c.workers.Row(c.key, b.Cycle, func(key string) []*metrics.Series {
			parts := splitKey(key)
			var all []*metrics.Series
			for _, d := range c.descs {
				all = append(all, c.series.New(d, "channel_name", parts[0], "member_id", parts[1]))
			}
			return all
		})
		for i, cell := range row[2:] {
			b.Set(all[i], microTime(text(nil, cell)))
		}
	}
}

// microTime reads a TIMESTAMP(6) as seconds since 1970; the zero time, 0000-00-00 00:00:00.000000, is 0.
func microTime(b []byte) float64 {
	t, err := time.Parse("2006-01-02 15:04:05.000000", string(b))
	if err != nil || t.IsZero() {
		return 0
	}
	return float64(t.UnixNano()) / 1e9
}
