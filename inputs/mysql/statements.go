package mysql

import (
	"strconv"
	"strings"
	"time"

	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// newEventsStatements shows the statements that took the most time, by their digest.
func newEventsStatements(m *making) collector {
	counted := func(name, help string) value {
		return value{desc: counter("mysql_perf_schema_events_statements_"+name, help)}
	}
	timed := func(name, help string) value {
		v := counted(name, help)
		v.per = picoseconds
		return v
	}
	latency := desc("mysql_perf_schema_events_statements_latency", "A summary of statement latency by digest", metrics.Summary)
	quantile := func(q string) value { return value{desc: latency, with: []string{"quantile", q}, per: picoseconds} }
	return &table{
		series:    m.series,
		statement: func(v version) (string, []string) { return eventsStatements(v, &m.cfg.EventsStatements) },
		labels:    []string{"schema", "digest", "digest_text"},
		values: []value{
			counted("total", "The total count of events statements by digest."),
			timed("seconds_total", "The total time of events statements by digest."),
			counted("errors_total", "The errors of events statements by digest."),
			counted("warnings_total", "The warnings of events statements by digest."),
			counted("rows_affected_total", "The total rows affected of events statements by digest."),
			counted("rows_sent_total", "The total rows sent of events statements by digest."),
			counted("rows_examined_total", "The total rows examined of events statements by digest."),
			counted("tmp_disk_tables_total", "The total tmp disk tables of events statements by digest."),
			counted("tmp_tables_total", "The total tmp tables of events statements by digest."),
			counted("sort_merge_passes_total", "The total number of merge passes by the sort algorithm performed by digest."),
			counted("sort_rows_total", "The total number of sorted rows by digest."),
			counted("no_index_used_total", "The total number of statements that used full table scans by digest."),
			timed("lock_time_seconds_total", "The total lock time of events statements by digest."),
			timed("cpu_time_seconds_total", "The total cpu time of events statements by digest."),
			quantile("95"), quantile("99"), quantile("999"),
			{desc: latency, part: "_sum", per: picoseconds},
			{desc: latency, part: "_count"},
		},
	}
}

// eventsStatements is the statement for this server. Lock time and the columns after it are there since MySQL 8.0.28, and 0 before, as
// in mysqld_exporter.
func eventsStatements(v version, cfg *EventsStatementsConfig) (statement string, args []string) {
	recent := "0, 0, 0, 0, 0"
	if v.mysqlSince(8, 0, 28) {
		recent = "sum_lock_time, sum_cpu_time, quantile_95, quantile_99, quantile_999"
	}
	args = append([]string{"mysql", "performance_schema", "information_schema"}, cfg.ExcludeSchemas...)
	seconds := strconv.FormatInt(int64(time.Duration(cfg.TimeLimit)/time.Second), 10)
	return `SELECT ifnull(schema_name, 'NONE'), digest, left(digest_text, ` + strconv.Itoa(cfg.DigestTextLimit) + `),
		count_star, sum_timer_wait, sum_errors, sum_warnings, sum_rows_affected, sum_rows_sent, sum_rows_examined, sum_created_tmp_disk_tables,
		sum_created_tmp_tables, sum_sort_merge_passes, sum_sort_rows, sum_no_index_used, ` + recent + `, sum_timer_wait, count_star
		FROM performance_schema.events_statements_summary_by_digest
		WHERE schema_name NOT IN (?` + strings.Repeat(", ?", len(args)-1) + `) AND last_seen > date_sub(now(), INTERVAL ` + seconds + ` SECOND)
		ORDER BY sum_timer_wait DESC LIMIT ` + strconv.Itoa(cfg.Limit), args
}

// newEventsStatementsSum adds all digests up.
func newEventsStatementsSum(m *making) collector {
	var columns []string
	var values []value
	for _, c := range [...]struct {
		name, column, help string
		per                float64
	}{
		{"total", "count_star", "The total count of events statements.", 0},
		{"created_tmp_disk_tables", "", "The number of on-disk temporary tables created.", 0},
		{"created_tmp_tables", "", "The number of temporary tables created.", 0},
		{"errors", "", "Number of errors.", 0},
		{"lock_time", "", "Time in picoseconds spent waiting for locks.", 0},
		{"no_good_index_used", "", "Number of times no good index was found.", 0},
		{"no_index_used", "", "Number of times no index was found.", 0},
		{"rows_affected", "", "Number of rows affected by statements.", 0},
		{"rows_examined", "", "Number of rows read during statements' execution.", 0},
		{"rows_sent", "", "Number of rows returned.", 0},
		{"select_full_join", "", "Number of joins performed by statements which did not use an index.", 0},
		{"select_full_range_join", "", "Number of joins performed by statements which used a range search of the first table.", 0},
		{"select_range", "", "Number of joins performed by statements which used a range of the first table.", 0},
		{"select_range_check", "", "Number of joins without keys performed by statements that check for key usage after each row.", 0},
		{"select_scan", "", "Number of joins performed by statements which used a full scan of the first table.", 0},
		{"sort_merge_passes", "", "Number of merge passes by the sort algorithm performed by statements.", 0},
		{"sort_range", "", "Number of sorts performed by statements which used a range.", 0},
		{"sort_rows", "", "Number of rows sorted.", 0},
		{"sort_scan", "", "Number of sorts performed by statements which used a full table scan.", 0},
		{"timer_wait", "", "Total wait time of the summarized events that are timed.", picoseconds},
		{"warnings", "", "Number of warnings.", 0},
	} {
		column := c.column
		if column == "" {
			column = "sum_" + c.name
		}
		columns = append(columns, "sum("+column+")")
		values = append(values, value{desc: counter("mysql_perf_schema_events_statements_sum_"+c.name, c.help), per: c.per})
	}
	return &table{
		series:    m.series,
		statement: always("SELECT " + strings.Join(columns, ", ") + " FROM performance_schema.events_statements_summary_by_digest"),
		values:    values,
	}
}
