package mysql

import (
	"slices"
	"strings"

	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// making is what a collector is made of.
type making struct {
	cfg    *Config
	series *metrics.Registry
}

// kind is a collector that a config can name.
type kind struct {
	name     string // mysqld_exporter's flag without --collect.
	standard bool   // runs unless it is left out
	// MySQL has it from this version on; MariaDB's versions are all higher.
	major, minor int
	open         func(m *making) collector
	// needs are the privileges without which the server refuses what the collector asks, or hides rows from it.
	needs func(v version, cfg *Config) []grant
}

// grant is a privilege and where it is needed: PROCESS, *.*.
type grant struct{ privilege, on string }

// kinds are all collectors of mysqld_exporter 0.20, in the order of a collection: the cheap ones first.
func kinds() []kind {
	onAll := func(privilege string) func(version, *Config) []grant {
		return func(version, *Config) []grant { return []grant{{privilege, "*.*"}} }
	}
	reads := func(on ...string) func(version, *Config) []grant {
		return func(version, *Config) []grant {
			var g []grant
			for _, o := range on {
				g = append(g, grant{"SELECT", o})
			}
			return g
		}
	}
	nothing := func(version, *Config) []grant { return nil }
	process, tables, performance := onAll("PROCESS"), reads("*.*"), reads("performance_schema.*")
	heartbeat := func(_ version, cfg *Config) []grant {
		return []grant{{"SELECT", quoteName(cfg.Heartbeat.Database) + "." + quoteName(cfg.Heartbeat.Table)}}
	}
	summary := func(version, *Config) []grant {
		return []grant{{"SELECT", "sys.*"}, {"SELECT", "performance_schema.*"}, {"EXECUTE", "sys.*"}}
	}
	return []kind{
		{"global_status", true, 5, 1, newGlobalStatus, nothing},
		{"global_variables", true, 5, 1, newGlobalVariables, nothing},
		{"slave_status", true, 5, 1, newReplicaStatus, replicaStatusNeeds},
		{"info_schema.innodb_cmp", true, 5, 5, newInnodbCmp, process},
		{"info_schema.innodb_cmpmem", true, 5, 5, newInnodbCmpmem, process},
		{"info_schema.query_response_time", true, 5, 5, newQueryResponseTime, process},

		{"binlog_size", false, 5, 1, newBinlogSize, binlogNeeds},
		{"slave_hosts", false, 5, 1, newReplicaHosts, replicaHostsNeeds},
		{"heartbeat", false, 5, 1, newHeartbeat, heartbeat},
		{"info_schema.processlist", false, 5, 1, newProcesslist, process},
		{"info_schema.innodb_metrics", false, 5, 6, newInnodbMetrics, process},
		{"info_schema.innodb_tablespaces", false, 5, 7, newInnodbTablespaces, process},
		{"info_schema.userstats", false, 5, 1, newUserStats, process},
		{"info_schema.clientstats", false, 5, 5, newClientStats, process},
		{"info_schema.schemastats", false, 5, 1, newSchemaStats, tables},
		{"info_schema.tablestats", false, 5, 1, newTableStats, tables},
		{"info_schema.replica_host", false, 5, 6, newReplicaHost, nothing},
		{"info_schema.rocksdb_perf_context", false, 5, 6, newRocksdbPerfContext, process},
		{"engine_innodb_status", false, 5, 1, newEngineInnodbStatus, process},
		{"engine_tokudb_status", false, 5, 6, newEngineTokudbStatus, process},
		{"mysql.user", false, 5, 1, newMySQLUser, reads("mysql.user")},
		{"perf_schema.eventswaits", false, 5, 5, newEventsWaits, performance},
		{"perf_schema.file_events", false, 5, 6, newFileEvents, performance},
		{"perf_schema.file_instances", false, 5, 5, newFileInstances, performance},
		{"perf_schema.memory_events", false, 5, 7, newMemoryEvents, performance},
		{"perf_schema.tablelocks", false, 5, 6, newTableLocks, performance},
		{"perf_schema.tableiowaits", false, 5, 6, newTableIOWaits, performance},
		{"perf_schema.indexiowaits", false, 5, 6, newIndexIOWaits, performance},
		{"perf_schema.eventsstatementssum", false, 5, 7, newEventsStatementsSum, performance},
		{"perf_schema.eventsstatements", false, 5, 6, newEventsStatements, performance},
		{"perf_schema.replication_group_members", false, 5, 7, newGroupMembers, performance},
		{"perf_schema.replication_group_member_stats", false, 5, 7, newGroupMemberStats, performance},
		{"perf_schema.replication_applier_status_by_worker", false, 8, 0, newApplierWorkers, performance},
		{"sys.user_summary", false, 5, 7, newUserSummary, summary},
		{"auto_increment.columns", false, 5, 1, newAutoIncrement, tables},
		{"info_schema.tables", false, 5, 1, newSchemaTables, tables},
	}
}

// replicaStatusNeeds: MariaDB made a privilege of its own of it in 10.5.2, and another one in 10.5.9.
func replicaStatusNeeds(v version, _ *Config) []grant {
	switch {
	case v.mariadbSince(10, 5, 9):
		return []grant{{"SLAVE MONITOR", "*.*"}}
	case v.mariadbSince(10, 5, 2):
		return []grant{{"REPLICATION SLAVE ADMIN", "*.*"}}
	}
	return []grant{{"REPLICATION CLIENT", "*.*"}}
}

func binlogNeeds(v version, _ *Config) []grant {
	if v.mariadbSince(10, 5, 2) {
		return []grant{{"BINLOG MONITOR", "*.*"}}
	}
	return []grant{{"REPLICATION CLIENT", "*.*"}}
}

func replicaHostsNeeds(v version, _ *Config) []grant {
	if v.mariadbSince(10, 5, 2) {
		return []grant{{"REPLICATION MASTER ADMIN", "*.*"}}
	}
	return []grant{{"REPLICATION SLAVE", "*.*"}}
}

// names are the collectors' names.
func names() []string {
	var all []string
	for _, k := range kinds() {
		all = append(all, k.name)
	}
	return all
}

// grants writes the statements that give an account what is needed, one for each place.
func grants(needs []grant, account string) string {
	var places []string
	privileges := map[string][]string{}
	for _, g := range needs {
		if !slices.Contains(places, g.on) {
			places = append(places, g.on)
		}
		if !slices.Contains(privileges[g.on], g.privilege) {
			privileges[g.on] = append(privileges[g.on], g.privilege)
		}
	}
	var all []string
	for _, on := range places {
		all = append(all, "GRANT "+strings.Join(privileges[on], ", ")+" ON "+on+" TO "+account+";")
	}
	return strings.Join(all, " ")
}
