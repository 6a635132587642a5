package mysql

import (
	"context"
	"strings"

	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// userstat is a collector that has something to ask only where Percona's and MariaDB's variable userstat is on.
type userstat struct{ collector }

func (c *userstat) collect(ctx context.Context, s *session, b *metrics.Batch) error {
	r, err := s.query(ctx, "SHOW GLOBAL VARIABLES WHERE variable_name IN ('userstat', 'userstat_running')")
	if err != nil {
		return err
	}
	on := false
	for {
		row, err := r.next()
		if err != nil {
			r.close()
			return err
		}
		if row == nil {
			break
		}
		if raw, ok := row[1].([]byte); ok && string(raw) != "OFF" {
			on = true
		}
	}
	r.close()
	if !on {
		return nil
	}
	return c.collector.collect(ctx, s, b)
}

func newSchemaStats(m *making) collector {
	return &userstat{&table{
		series: m.series,
		statement: always(`SELECT table_schema, sum(rows_read), sum(rows_changed), sum(rows_changed_x_indexes)
			FROM information_schema.table_statistics GROUP BY table_schema`),
		labels: []string{"schema"},
		values: []value{
			{desc: counter("mysql_info_schema_schema_statistics_rows_read_total", "The number of rows read from the schema.")},
			{desc: counter("mysql_info_schema_schema_statistics_rows_changed_total", "The number of rows changed in the schema.")},
			{desc: counter("mysql_info_schema_schema_statistics_rows_changed_x_indexes_total",
				"The number of rows changed in the schema, multiplied by the number of indexes changed.")},
		},
	}}
}

func newTableStats(m *making) collector {
	return &userstat{&table{
		series:    m.series,
		statement: always("SELECT table_schema, table_name, rows_read, rows_changed, rows_changed_x_indexes FROM information_schema.table_statistics"),
		labels:    []string{"schema", "table"},
		values: []value{
			{desc: counter("mysql_info_schema_table_statistics_rows_read_total", "The number of rows read from the table.")},
			{desc: counter("mysql_info_schema_table_statistics_rows_changed_total", "The number of rows changed in the table.")},
			{desc: counter("mysql_info_schema_table_statistics_rows_changed_x_indexes_total",
				"The number of rows changed in the table, multiplied by the number of indexes changed.")},
		},
	}}
}

func newUserStats(m *making) collector {
	return &userstat{&named{
		series: m.series, statement: "SELECT * FROM information_schema.user_statistics", label: "user",
		family: func(column string) *metrics.Desc { return statisticsFamily("user", column) },
	}}
}

func newClientStats(m *making) collector {
	return &userstat{&named{
		series: m.series, statement: "SELECT * FROM information_schema.client_statistics", label: "client",
		family: func(column string) *metrics.Desc { return statisticsFamily("client", column) },
	}}
}

// statisticsFamily is the family of a column of user_statistics or client_statistics; who is user or client. A column without one of its own
// is shown under its name. The help texts are mysqld_exporter's to the letter, with the apostrophes that it has for a client and for a user.
func statisticsFamily(who, column string) *metrics.Desc {
	for _, f := range [...]struct {
		column, name, help string
	}{
		{"TOTAL_CONNECTIONS", "total_connections", "The number of connections created for this client."},
		{"CONCURRENT_CONNECTIONS", "concurrent_connections", "The number of concurrent connections for this client."},
		{"CONNECTED_TIME", "connected_time_seconds_total", "The cumulative number of seconds elapsed while there were connections from this client."},
		{"BUSY_TIME", "busy_seconds_total", "The cumulative number of seconds there was activity on connections from this client."},
		{"CPU_TIME", "cpu_time_seconds_total", "The cumulative CPU time elapsed, in seconds, while servicing this client's connections."},
		{"BYTES_RECEIVED", "bytes_received_total", "The number of bytes received from this client’s connections."},
		{"BYTES_SENT", "bytes_sent_total", "The number of bytes sent to this client’s connections."},
		{"BINLOG_BYTES_WRITTEN", "binlog_bytes_written_total", "The number of bytes written to the binary log from this client’s connections."},
		{"ROWS_READ", "rows_read_total", "The number of rows read by this client’s connections."},
		{"ROWS_SENT", "rows_sent_total", "The number of rows sent by this client’s connections."},
		{"ROWS_DELETED", "rows_deleted_total", "The number of rows deleted by this client’s connections."},
		{"ROWS_INSERTED", "rows_inserted_total", "The number of rows inserted by this client’s connections."},
		{"ROWS_FETCHED", "rows_fetched_total", "The number of rows fetched by this client’s connections."},
		{"ROWS_UPDATED", "rows_updated_total", "The number of rows updated by this client’s connections."},
		{"TABLE_ROWS_READ", "table_rows_read_total", "The number of rows read from tables by this client’s connections. (It may be different from ROWS_FETCHED.)"},
		{"SELECT_COMMANDS", "select_commands_total", "The number of SELECT commands executed from this client’s connections."},
		{"UPDATE_COMMANDS", "update_commands_total", "The number of UPDATE commands executed from this client’s connections."},
		{"OTHER_COMMANDS", "other_commands_total", "The number of other commands executed from this client’s connections."},
		{"COMMIT_TRANSACTIONS", "commit_transactions_total", "The number of COMMIT commands issued by this client’s connections."},
		{"ROLLBACK_TRANSACTIONS", "rollback_transactions_total", "The number of ROLLBACK commands issued by this client’s connections."},
		{"DENIED_CONNECTIONS", "denied_connections_total", "The number of connections denied to this client."},
		{"LOST_CONNECTIONS", "lost_connections_total", "The number of this client’s connections that were terminated uncleanly."},
		{"ACCESS_DENIED", "access_denied_total", "The number of times this client’s connections issued commands that were denied."},
		{"EMPTY_QUERIES", "empty_queries_total", "The number of times this client’s connections sent empty queries to the server."},
		{"TOTAL_SSL_CONNECTIONS", "total_ssl_connections_total", "The number of times this client’s connections connected using SSL to the server."},
		{"MAX_STATEMENT_TIME_EXCEEDED", "max_statement_time_exceeded_total", "The number of times a statement was aborted, because it was executed longer than its MAX_STATEMENT_TIME threshold."},
	} {
		if f.column != column || who == "user" && column == "MAX_STATEMENT_TIME_EXCEEDED" {
			continue
		}
		help := strings.ReplaceAll(f.help, "client", who)
		switch column {
		case "ROWS_READ", "ROWS_SENT", "ROWS_DELETED", "ROWS_INSERTED":
			if who == "user" {
				help = strings.ReplaceAll(help, "’", "'")
			}
		case "CONCURRENT_CONNECTIONS":
			return gauge("mysql_info_schema_"+who+"_statistics_"+f.name, help)
		}
		return counter("mysql_info_schema_"+who+"_statistics_"+f.name, help)
	}
	return &metrics.Desc{Name: "mysql_info_schema_" + who + "_statistics_" + metricName(column), Help: "Unsupported metric from column " + column}
}
