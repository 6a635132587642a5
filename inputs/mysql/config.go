package mysql

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hermod-agent/hermod/internal/discover"
	"github.com/hermod-agent/hermod/internal/httpclient"
	"github.com/hermod-agent/hermod/pipeline/config"
)

// Config is what a user writes in the block; the comments are the reference page.
type Config struct {
	// Where the server listens: "db:3306", or a socket's path. The port is 3306 when none is written. "localhost:3306" when not set. MySQL (and
	// Percona Server) 5.7 to 9 and MariaDB 10.3 to 11 are understood. The tests run against MySQL 9.7 and MariaDB 10.11 and 11.8; what is particular
	// to the others is made after their documentation.
	Address config.Address `hcl:"address,optional"`
	// Account on the server.
	User string `hcl:"user,optional"`
	// Password of the account.
	Password config.Secret `hcl:"password,optional"`
	// Makes the connection one with TLS; an empty block verifies the server by the system's authorities and the host in the address. For the
	// certificate that MySQL made itself, name its ca.pem as ca_file and set tls_any_name.
	TLS *httpclient.TLS `hcl:"tls,block"`
	// Takes a certificate for any name, as long as an authority of the tls block's ca_file has signed it (ssl-mode=VERIFY_CA of MySQL's own
	// programs): the certificates that MySQL makes itself are for no name.
	TLSAnyName bool `hcl:"tls_any_name,optional"`
	// An option file of MySQL's own programs, such as /root/.my.cnf, for what isn't set here: user, password, host, port, socket, ssl-ca, ssl-cert,
	// ssl-key, ssl-mode and mysqld_exporter's own tls, tls-server-name, tls-min-version and ssl-skip-verfication. It is read again for each new
	// connection. Values are taken as they stand, # and $ in a password included; double or single quotes around a value are taken off.
	MyCnf string `hcl:"my_cnf,optional"`
	// Section of the option file.
	MyCnfSection string `hcl:"my_cnf_section,optional"`
	// In place of all of the above, for experts: the address with everything in the form of Go's driver, as mysqld_exporter took it in
	// DATA_SOURCE_NAME before 0.15: "user:password@tcp(db:3306)/?tls=skip-verify".
	DSN config.Secret `hcl:"dsn,optional"`

	Discovery discover.Config `hcl:",squash"`

	// Collectors to run besides the six that run anyway (global_status, global_variables, slave_status, info_schema.innodb_cmp,
	// info_schema.innodb_cmpmem, info_schema.query_response_time). The names are those of mysqld_exporter's flags without "--collect.":
	// auto_increment.columns, binlog_size, engine_innodb_status, engine_tokudb_status, heartbeat, info_schema.clientstats,
	// info_schema.innodb_metrics, info_schema.innodb_tablespaces, info_schema.processlist, info_schema.replica_host,
	// info_schema.rocksdb_perf_context, info_schema.schemastats, info_schema.tables, info_schema.tablestats, info_schema.userstats, mysql.user,
	// perf_schema.eventsstatements, perf_schema.eventsstatementssum, perf_schema.eventswaits, perf_schema.file_events,
	// perf_schema.file_instances, perf_schema.indexiowaits, perf_schema.memory_events, perf_schema.replication_applier_status_by_worker,
	// perf_schema.replication_group_member_stats, perf_schema.replication_group_members, perf_schema.tableiowaits, perf_schema.tablelocks,
	// slave_hosts, sys.user_summary.
	Collect []string `hcl:"collect,optional"`
	// Collectors not to run: --no-collect.NAME of mysqld_exporter.
	NoCollect []string `hcl:"no_collect,optional"`

	// How long connecting, and each collector, may take; at most three quarters of timeout. The server is told to end a statement by then as well. A server that doesn't answer
	// delays no other input, however long this is.
	QueryTimeout config.Duration `hcl:"query_timeout,optional"`
	// How long a statement may wait for another one that changes a table's definition (the session's lock_wait_timeout), in whole seconds. 0s
	// leaves the server's own, which is a year.
	LockWaitTimeout config.Duration `hcl:"lock_wait_timeout,optional"`
	// Keeps the collections out of the slow query log (the session's log_slow_filter). Percona Server and MariaDB know this, MySQL doesn't.
	LogSlowFilter bool `hcl:"log_slow_filter,optional"`

	// Options of the collector info_schema.processlist.
	Processlist ProcesslistConfig `hcl:"info_schema_processlist,block"`
	// Options of the collector info_schema.tables.
	Tables TablesConfig `hcl:"info_schema_tables,block"`
	// Options of the collector mysql.user.
	Accounts AccountsConfig `hcl:"mysql_user,block"`
	// Options of the collector perf_schema.eventsstatements.
	EventsStatements EventsStatementsConfig `hcl:"perf_schema_eventsstatements,block"`
	// Options of the collector perf_schema.file_instances.
	FileInstances FileInstancesConfig `hcl:"perf_schema_file_instances,block"`
	// Options of the collector perf_schema.memory_events.
	MemoryEvents MemoryEventsConfig `hcl:"perf_schema_memory_events,block"`
	// Options of the collector heartbeat.
	Heartbeat HeartbeatConfig `hcl:"heartbeat,block"`
}

// ProcesslistConfig are the options of the collector info_schema.processlist.
type ProcesslistConfig struct {
	// Threads that are in their state for less than so many seconds aren't counted.
	MinTime int `hcl:"min_time,optional"`
	// Whether threads are counted by user.
	ProcessesByUser bool `hcl:"processes_by_user,optional"`
	// Whether threads are counted by the host of their client.
	ProcessesByHost bool `hcl:"processes_by_host,optional"`
}

// TablesConfig are the options of the collector info_schema.tables.
type TablesConfig struct {
	// Databases whose tables are shown; ["*"] is all but the server's own.
	Databases []string `hcl:"databases,optional"`
}

// AccountsConfig are the options of the collector mysql.user.
type AccountsConfig struct {
	// Whether the global privileges of each account are shown, besides its limits.
	Privileges bool `hcl:"privileges,optional"`
}

// EventsStatementsConfig are the options of the collector perf_schema.eventsstatements.
type EventsStatementsConfig struct {
	// How many digests are shown: those that took the most time.
	Limit int `hcl:"limit,optional"`
	// Digests that were not seen for so long aren't shown.
	TimeLimit config.Duration `hcl:"timelimit,optional"`
	// Length to which the text of a digest is cut.
	DigestTextLimit int `hcl:"digest_text_limit,optional"`
	// Schemas to leave out, besides mysql, performance_schema and information_schema.
	ExcludeSchemas []string `hcl:"exclude_schemas,optional"`
}

// FileInstancesConfig are the options of the collector perf_schema.file_instances.
type FileInstancesConfig struct {
	// Regular expression of the server (REGEXP) for the names of the files to show.
	Filter string `hcl:"filter,optional"`
	// Beginning that is taken off the names.
	RemovePrefix string `hcl:"remove_prefix,optional"`
}

// MemoryEventsConfig are the options of the collector perf_schema.memory_events.
type MemoryEventsConfig struct {
	// Beginning that is taken off the names of the events.
	RemovePrefix string `hcl:"remove_prefix,optional"`
}

// HeartbeatConfig are the options of the collector heartbeat.
type HeartbeatConfig struct {
	// Database of the table that the heartbeat is written to.
	Database string `hcl:"database,optional"`
	// The table.
	Table string `hcl:"table,optional"`
	// Whether its times are UTC (pt-heartbeat --utc) and not in the server's time zone.
	UTC bool `hcl:"utc,optional"`
}

// The defaults are mysqld_exporter's, where it has the option.
func defaults() Config {
	return Config{
		MyCnfSection:     "client",
		QueryTimeout:     config.Duration(5 * time.Second),
		LockWaitTimeout:  config.Duration(2 * time.Second),
		Processlist:      ProcesslistConfig{ProcessesByUser: true, ProcessesByHost: true},
		Tables:           TablesConfig{Databases: []string{"*"}},
		EventsStatements: EventsStatementsConfig{Limit: 250, TimeLimit: config.Duration(24 * time.Hour), DigestTextLimit: 120},
		FileInstances:    FileInstancesConfig{Filter: ".*", RemovePrefix: "/var/lib/mysql/"},
		MemoryEvents:     MemoryEventsConfig{RemovePrefix: "memory/"},
		Heartbeat:        HeartbeatConfig{Database: "heartbeat", Table: "heartbeat"},
	}
}

// defaultPort is MySQL's.
const defaultPort = 3306

// Validate implements config.Validator.
func (c *Config) Validate() []error {
	var errs []error
	fault := func(attr, format string, args ...any) {
		errs = append(errs, config.Attr(attr, fmt.Errorf(format, args...)))
	}
	all := names()
	for _, list := range [...]struct {
		attr  string
		names []string
	}{{"collect", c.Collect}, {"no_collect", c.NoCollect}} {
		for _, name := range list.names {
			if !slices.Contains(all, name) {
				fault(list.attr, "there is no collector %q%s", name, config.Suggest(name, all))
			}
		}
	}
	for _, name := range c.Collect {
		if slices.Contains(c.NoCollect, name) {
			fault("no_collect", "%s is in collect as well; leave one of them out", name)
		}
	}
	if c.Discovery.Discover && c.Address.IsSet() {
		fault("address", "with discover = true the addresses are those of the containers; take address away")
	}
	if c.Discovery.Discover && c.DSN.IsSet() {
		fault("dsn", "with discover = true the addresses are those of the containers; write user and password in place of the dsn")
	}
	if c.Discovery.Discover && (c.Password.IsSet() || c.MyCnf != "") {
		attr := "password"
		if !c.Password.IsSet() {
			attr = "my_cnf"
		}
		fault(attr, "with discover = true every container with a label would be offered this password; put it into secrets, and its name into the label hermod.mysql.secret")
	}
	if c.DSN.IsSet() {
		for _, other := range [...]struct {
			attr string
			set  bool
		}{
			{"address", c.Address.IsSet()}, {"user", c.User != ""}, {"password", c.Password.IsSet()}, {"tls", c.TLS != nil}, {"my_cnf", c.MyCnf != ""},
		} {
			if other.set {
				fault(other.attr, "a dsn says all of it; leave either this or the dsn out")
			}
		}
	}
	if c.TLSAnyName && (c.TLS == nil || c.TLS.CAFile == "") {
		fault("tls_any_name", "needs a tls block with ca_file: a name that doesn't count, and any authority, would verify nobody")
	}
	for _, d := range [...]struct {
		attr  string
		value config.Duration
		least time.Duration
	}{
		{"query_timeout", c.QueryTimeout, time.Millisecond}, {"lock_wait_timeout", c.LockWaitTimeout, 0},
		{"perf_schema_eventsstatements.timelimit", c.EventsStatements.TimeLimit, time.Second},
	} {
		if time.Duration(d.value) < d.least {
			fault(d.attr, "must be at least %s", config.Duration(d.least))
		}
	}
	if time.Duration(c.LockWaitTimeout)%time.Second != 0 {
		fault("lock_wait_timeout", "the server takes whole seconds")
	}
	for _, n := range [...]struct {
		attr         string
		value, least int
	}{
		{"info_schema_processlist.min_time", c.Processlist.MinTime, 0},
		{"perf_schema_eventsstatements.limit", c.EventsStatements.Limit, 1},
		{"perf_schema_eventsstatements.digest_text_limit", c.EventsStatements.DigestTextLimit, 0},
	} {
		if n.value < n.least {
			fault(n.attr, "must be at least %d", n.least)
		}
	}
	if len(c.Tables.Databases) == 0 {
		errs = append(errs, config.Attr("info_schema_tables.databases", errors.New(`the list is empty; ["*"] is all databases`)))
	}
	return errs
}

// runs says whether a collector is to run.
func (c *Config) runs(k kind) bool {
	return (k.standard || slices.Contains(c.Collect, k.name)) && !slices.Contains(c.NoCollect, k.name)
}
