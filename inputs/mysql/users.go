package mysql

import (
	"strings"

	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// newMySQLUser shows the limits of each account, and its global privileges where that is asked for.
func newMySQLUser(m *making) collector {
	columns := []string{"max_questions", "max_updates", "max_connections", "max_user_connections"}
	t := &table{series: m.series, labels: []string{"mysql_user", "hostmask"}}
	for _, column := range columns {
		t.values = append(t.values, value{desc: gauge("mysql_mysql_"+column, "The number of "+column+" by user.")})
	}
	if m.cfg.Accounts.Privileges {
		for _, privilege := range [...]string{"Select", "Insert", "Update", "Delete", "Create", "Drop", "Reload", "Shutdown", "Process", "File", "Grant",
			"References", "Index", "Alter", "Show_db", "Super", "Create_tmp_table", "Lock_tables", "Execute", "Repl_slave", "Repl_client", "Create_view",
			"Show_view", "Create_routine", "Alter_routine", "Create_user", "Event", "Trigger", "Create_tablespace"} {
			column := privilege + "_priv"
			columns = append(columns, column+" = 'Y'")
			t.values = append(t.values, value{desc: gauge("mysql_mysql_"+strings.ToLower(column), column+" by user.")})
		}
	}
	t.statement = always("SELECT user, host, " + strings.Join(columns, ", ") + " FROM mysql.user")
	return t
}

// newUserSummary is sys.x$user_summary: what each user did.
func newUserSummary(m *making) collector {
	return &table{
		series: m.series,
		statement: always("SELECT user, statements, statement_latency, table_scans, file_ios, file_io_latency, current_connections, total_connections, " +
			"unique_hosts, current_memory, total_memory_allocated FROM sys.x$user_summary"),
		labels: []string{"user"},
		values: []value{
			{desc: counter("mysql_sys_statements_total", " The total number of statements for the user")},
			{desc: &metrics.Desc{Name: "mysql_sys_statement_latency", Help: "The total wait time of timed statements for the user", Kind: metrics.Counter}, per: picoseconds},
			{desc: counter("mysql_sys_table_scans_total", "The total number of table scans for the user")},
			{desc: counter("mysql_sys_file_ios_total", "The total number of file I/O events for the user")},
			{desc: counter("mysql_sys_file_io_seconds_total", "The total wait time of timed file I/O events for the user"), per: picoseconds},
			{desc: gauge("mysql_sys_current_connections", "The current number of connections for the user")},
			{desc: counter("mysql_sys_connections_total", "The total number of connections for the user")},
			{desc: counter("mysql_sys_unique_hosts_total", "The number of distinct hosts from which connections for the user have originated")},
			{desc: gauge("mysql_sys_current_memory_bytes", "The current amount of allocated memory for the user")},
			{desc: counter("mysql_sys_memory_allocated_bytes_total", "The total amount of allocated memory for the user")},
		},
	}
}

// newHeartbeat reads a table that pt-heartbeat, or a program like it, writes at the source and that is replicated: the difference between its
// time and the server's is how far the replica is behind.
func newHeartbeat(m *making) collector {
	now := "now(6)"
	if m.cfg.Heartbeat.UTC {
		now = "utc_timestamp(6)"
	}
	return &table{
		series: m.series,
		statement: always("SELECT server_id, unix_timestamp(" + now + "), unix_timestamp(ts) FROM " +
			quoteName(m.cfg.Heartbeat.Database) + "." + quoteName(m.cfg.Heartbeat.Table)),
		labels: []string{"server_id"},
		values: []value{
			{desc: gauge("mysql_heartbeat_now_timestamp_seconds", "Timestamp of the current server.")},
			{desc: gauge("mysql_heartbeat_stored_timestamp_seconds", "Timestamp stored in the heartbeat table.")},
		},
	}
}

// quoteName writes a name for a statement.
func quoteName(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }
