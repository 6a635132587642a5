//go:build integration

package integration

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"database/sql"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql" // the driver of database/sql

	"github.com/hermod-agent/hermod/integration/harness"
	"github.com/hermod-agent/hermod/pipeline/graph"
)

// mysqlDifferences are the series that mysqld_exporter's page and the agent's don't share, for good reasons.
func mysqlDifferences() []difference {
	return []difference{
		{regexp.MustCompile(`^hermod_`), "the agent's page on its input"},
		{regexp.MustCompile(`file_instances.*#sql`), "files of temporary tables have names of their own for each statement"},
	}
}

// mysqlMoving are the series whose values move and may move back between two scrapes.
func mysqlMoving() []difference {
	return []difference{
		{regexp.MustCompile(`^mysql_exporter_collector_duration_seconds`), "a time"},
		{regexp.MustCompile(`^mysql_global_status_threads_(connected|cached|running)$`), "the exporter connects for a scrape and counts itself; the agent's connections are there all the time"},
		{regexp.MustCompile(`^mysql_info_schema_processlist_(processes_by_(host|user)|threads|seconds)\{`),
			"each leaves its own connection out and sees the other's; that they count alike is tested with a thread that waits"},
		{regexp.MustCompile(`^mysql_(info_schema_(user|client)_statistics_concurrent_connections|sys_current_)`), "connections and memory of the two themselves"},
		{regexp.MustCompile(`^mysql_perf_schema_memory_events_used_bytes`), "memory of the statement that asks, and of connections"},
	}
}

// freshPassword is a password that is seen nowhere else.
func freshPassword() string {
	var b [12]byte
	rand.Read(b[:])
	return "s3cr3t-" + hex.EncodeToString(b[:])
}

// exporterAccount are the statements that make an account with all that the collectors need.
func exporterAccount(m *harness.MySQL, mariadb bool, password string) {
	privileges := "PROCESS, REPLICATION CLIENT, REPLICATION SLAVE, SELECT, EXECUTE"
	if mariadb {
		privileges = "PROCESS, BINLOG MONITOR, SLAVE MONITOR, REPLICATION MASTER ADMIN, SELECT, EXECUTE"
	}
	m.SQL(fmt.Sprintf("SET sql_log_bin = 0; CREATE USER exporter@'%%' IDENTIFIED BY '%s' WITH MAX_USER_CONNECTIONS 3; GRANT %s ON *.* TO exporter@'%%';", password, privileges))
}

// shop are a few tables with rows, statements about them, and a heartbeat.
const shop = `
CREATE DATABASE shop; USE shop;
CREATE TABLE orders (id INT UNSIGNED AUTO_INCREMENT PRIMARY KEY, name VARCHAR(20), KEY (name));
INSERT INTO orders (name) VALUES ('a'), ('b'), ('c');
SELECT * FROM orders WHERE name = 'b';
CREATE DATABASE heartbeat;
CREATE TABLE heartbeat.heartbeat (ts VARCHAR(26) NOT NULL, server_id INT UNSIGNED NOT NULL PRIMARY KEY);
INSERT INTO heartbeat.heartbeat VALUES ('2026-11-26 12:00:00.000000', 7);
CREATE DATABASE beats; CREATE TABLE beats.beat LIKE heartbeat.heartbeat;
INSERT INTO beats.beat VALUES ('2026-11-26 12:00:00.000000', 8);
`

// optIn are the collectors that don't run by themselves.
func optIn() []string {
	return []string{"auto_increment.columns", "binlog_size", "engine_innodb_status", "engine_tokudb_status", "heartbeat", "info_schema.clientstats",
		"info_schema.innodb_metrics", "info_schema.innodb_tablespaces", "info_schema.processlist", "info_schema.replica_host", "info_schema.rocksdb_perf_context",
		"info_schema.schemastats", "info_schema.tables", "info_schema.tablestats", "info_schema.userstats", "mysql.user", "perf_schema.eventsstatements",
		"perf_schema.eventsstatementssum", "perf_schema.eventswaits", "perf_schema.file_events", "perf_schema.file_instances", "perf_schema.indexiowaits",
		"perf_schema.memory_events", "perf_schema.replication_applier_status_by_worker", "perf_schema.replication_group_member_stats",
		"perf_schema.replication_group_members", "perf_schema.tableiowaits", "perf_schema.tablelocks", "slave_hosts", "sys.user_summary"}
}

func hclList(words []string) string { return `["` + strings.Join(words, `", "`) + `"]` }

func TestMySQLAndItsExporterSayTheSame(t *testing.T) {
	t.Parallel()
	images := harness.MySQLImages(t)
	network := harness.MySQLNetwork(t)
	password := freshPassword()
	type pair struct {
		name           string
		mariadb        bool
		source, server *harness.MySQL
		replicate      string
	}
	pairs := []*pair{
		{name: "mysql", replicate: "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '%s', SOURCE_USER = 'repl', SOURCE_PASSWORD = '%s', GET_SOURCE_PUBLIC_KEY = 1; START REPLICA;"},
		{name: "mariadb", mariadb: true, replicate: "CHANGE MASTER 'north' TO MASTER_HOST = '%s', MASTER_USER = 'repl', MASTER_PASSWORD = '%s', " +
			"MASTER_USE_GTID = slave_pos, MASTER_SSL_VERIFY_SERVER_CERT = 0; START SLAVE 'north';"},
	}
	pairs[0].source = harness.StartMySQL(t, images["MYSQL_IMAGE"], network, "--log-bin", "--server-id=1")
	pairs[0].server = harness.StartMySQL(t, images["MYSQL_IMAGE"], network, "--log-bin", "--server-id=2", "--report-host=replica")
	pairs[1].source = harness.StartMySQL(t, images["MARIADB_IMAGE"], network, "--log-bin", "--server-id=1", "--userstat=ON")
	pairs[1].server = harness.StartMySQL(t, images["MARIADB11_IMAGE"], network, "--log-bin", "--server-id=2", "--userstat=ON", "--report-host=replica")
	listen := harness.FreeAddress(t)
	config := ""
	for _, p := range pairs {
		for _, m := range []*harness.MySQL{p.source, p.server} {
			m.Await()
			exporterAccount(m, p.mariadb, password)
			m.SQL(fmt.Sprintf("SET sql_log_bin = 0; CREATE USER repl@'%%' IDENTIFIED BY '%s'; GRANT REPLICATION SLAVE ON *.* TO repl@'%%';", password))
		}
		p.server.SQL(fmt.Sprintf(p.replicate, p.source.Host, password))
		p.source.SQL(shop)
		harness.Eventually(t, time.Minute, "the replica has the rows", func() (bool, string) {
			rows := p.server.SQL("SELECT count(*) FROM information_schema.tables WHERE table_schema = 'shop'")
			return rows == "1" && p.server.SQL("SELECT count(*) FROM shop.orders") == "3", rows
		})
		for role, m := range map[string]*harness.MySQL{"source": p.source, "replica": p.server} {
			config += fmt.Sprintf(`
input "mysql" "%[1]s_%[2]s" {
  address  = %[3]q
  user     = "exporter"
  password = env("MYSQL_PASSWORD")
}
input "mysql" "%[1]s_%[2]s_all" {
  address  = %[3]q
  user     = "exporter"
  password = env("MYSQL_PASSWORD")
  collect  = %[4]s
}
`, p.name, role, m.Address(), hclList(optIn()))
		}
	}
	agent := harness.NewAgent(t, harness.AgentOptions{Environment: []string{"MYSQL_PASSWORD=" + password}, Config: config + fmt.Sprintf(`
output "prometheus" {
  from    = input
  listen  = %q
  max_age = "1ms"
}
`, listen)})
	agent.Start()
	agent.AwaitReady()

	var flags []string
	for _, name := range optIn() {
		flags = append(flags, "--collect."+name)
	}
	pageOf := harness.MysqldExporter(t, images["MYSQL_IMAGE"], network, "exporter", password, flags...)
	for _, p := range pairs {
		for role, m := range map[string]*harness.MySQL{"source": p.source, "replica": p.server} {
			exporter := pageOf(m)
			six := exporter + "&collect[]=global_status&collect[]=global_variables&collect[]=slave_status&collect[]=info_schema.innodb_cmp" +
				"&collect[]=info_schema.innodb_cmpmem&collect[]=info_schema.query_response_time"
			t.Run(p.name+" "+role+" by default", func(t *testing.T) {
				c := comparison{exporter: six, agent: fmt.Sprintf("http://%s/metrics?input=mysql.%s_%s", listen, p.name, role), only: mysqlDifferences(), moving: mysqlMoving()}
				got := c.await(t)
				if len(got.values) < 800 || got.values["mysql_up"] != "1" {
					t.Errorf("%d series, mysql_up %s", len(got.values), got.values["mysql_up"])
				}
				checkReplicaStatus(t, got, p.mariadb, role, p.source.Host)
			})
			t.Run(p.name+" "+role+" with all collectors", func(t *testing.T) {
				c := comparison{exporter: exporter, agent: fmt.Sprintf("http://%s/metrics?input=mysql.%s_%s_all", listen, p.name, role), only: mysqlDifferences(), moving: mysqlMoving()}
				got := c.await(t)
				if len(got.values) < 2500 {
					t.Errorf("%d series", len(got.values))
				}
				for _, series := range []string{`mysql_heartbeat_stored_timestamp_seconds{server_id="7"}`, `mysql_info_schema_table_rows{schema="shop",table="orders"}`,
					`mysql_info_schema_auto_increment_column{column="id",schema="shop",table="orders"}`, "mysql_binlog_files", `mysql_mysql_max_user_connections{hostmask="%",mysql_user="exporter"}`} {
					if got.values[series] == "" {
						t.Errorf("no %s", series)
					}
				}
			})
		}
	}
	withOptions := harness.MysqldExporter(t, images["MYSQL_IMAGE"], network, "options", password, "--no-collect.global_status", "--no-collect.slave_status",
		"--collect.mysql.user", "--collect.mysql.user.privileges", "--collect.info_schema.processlist", "--collect.info_schema.processlist.min_time=1",
		"--no-collect.info_schema.processlist.processes_by_user", "--no-collect.info_schema.processlist.processes_by_host",
		"--collect.info_schema.tables", "--collect.info_schema.tables.databases=heartbeat,mysql",
		"--collect.perf_schema.eventsstatements", "--collect.perf_schema.eventsstatements.limit=2", "--collect.perf_schema.eventsstatements.digest_text_limit=12",
		"--collect.perf_schema.eventsstatements.timelimit=3600", "--collect.perf_schema.eventsstatements.exclude_schemas=heartbeat",
		"--collect.perf_schema.file_instances", "--collect.perf_schema.file_instances.filter=shop", "--collect.perf_schema.file_instances.remove_prefix=/var/lib/",
		"--collect.perf_schema.memory_events", "--collect.perf_schema.memory_events.remove_prefix=memory/sql/", "--collect.heartbeat", "--collect.heartbeat.utc",
		"--collect.heartbeat.database=beats", "--collect.heartbeat.table=beat", "--exporter.lock_wait_timeout=3")
	for _, p := range pairs {
		t.Run(p.name+" with options", func(t *testing.T) {
			p.source.SQL(fmt.Sprintf("SET sql_log_bin = 0; CREATE USER options@'%%' IDENTIFIED BY '%s'; GRANT PROCESS, SELECT ON *.* TO options@'%%';", password))
			page := harness.FreeAddress(t)
			other := harness.NewAgent(t, harness.AgentOptions{Environment: []string{"MYSQL_PASSWORD=" + password}, Config: fmt.Sprintf(`
input "mysql" "options" {
  dsn        = "options:${env("MYSQL_PASSWORD")}@tcp(%s)/"
  no_collect = ["global_status", "slave_status"]
  lock_wait_timeout = "3s"
  collect    = ["mysql.user", "info_schema.processlist", "info_schema.tables", "perf_schema.eventsstatements", "perf_schema.file_instances", "perf_schema.memory_events", "heartbeat"]
  mysql_user {
    privileges = true
  }
  info_schema_processlist {
    min_time          = 1
    processes_by_user = false
    processes_by_host = false
  }
  info_schema_tables {
    databases = ["heartbeat", "mysql"]
  }
  perf_schema_eventsstatements {
    limit             = 2
    digest_text_limit = 12
    timelimit         = "1h"
    exclude_schemas   = ["heartbeat"]
  }
  perf_schema_file_instances {
    filter        = "shop"
    remove_prefix = "/var/lib/"
  }
  perf_schema_memory_events {
    remove_prefix = "memory/sql/"
  }
  heartbeat {
    database = "beats"
    table    = "beat"
    utc      = true
  }
}
output "prometheus" {
  from    = input
  listen  = %q
  max_age = "1ms"
}
`, p.source.Address(), page)})
			other.Start()
			other.AwaitReady()
			c := comparison{exporter: withOptions(p.source), agent: "http://" + page + "/metrics", only: mysqlDifferences(), moving: mysqlMoving()}
			got := c.await(t)
			if n := len(matching(got, "mysql_perf_schema_events_statements_total{")); n == 0 || n > 2 {
				t.Errorf("%d digests with a limit of 2", n)
			}
			if len(matching(got, "mysql_mysql_select_priv{")) == 0 || len(matching(got, "mysql_info_schema_processlist_processes_by_")) > 0 ||
				got.values[`mysql_heartbeat_stored_timestamp_seconds{server_id="8"}`] == "" {
				t.Error("the options have no effect")
			}
		})
	}
	t.Run("threads are counted alike", func(t *testing.T) {
		m := pairs[0].source
		m.SQL(fmt.Sprintf("CREATE USER waiter@'%%' IDENTIFIED BY '%s'", password))
		db, err := sql.Open("mysql", fmt.Sprintf("waiter:%s@tcp(%s)/", password, m.Address()))
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { _, err := db.ExecContext(ctx, "DO sleep(300)"); done <- err }()
		defer func() { cancel(); <-done }()
		harness.Eventually(t, time.Minute, "the waiting thread is seen", func() (bool, string) {
			text, err := harness.Fetch(fmt.Sprintf("http://%s/metrics?input=mysql.mysql_source_all", listen))
			if err != nil {
				return false, err.Error()
			}
			got := parseExposition(text)
			return got.values[`mysql_info_schema_processlist_processes_by_user{mysql_user="waiter"}`] == "1" &&
				got.values[`mysql_info_schema_processlist_threads{command="query",state="user_sleep"}`] == "1", fmt.Sprint(matching(got, "mysql_info_schema_processlist"))
		})
	})
	if text := agent.Log(); strings.Contains(text, password) {
		t.Error("the password is in the log")
	}
	harness.Conserved(t, agent)
}

// matching are the series that begin with this, with their values.
func matching(p exposition, prefix string) []string {
	var all []string
	for series, value := range p.values {
		if strings.HasPrefix(series, prefix) {
			all = append(all, series+" "+value)
		}
	}
	slices.Sort(all)
	return all
}

// checkReplicaStatus looks at what a dashboard of replicas reads.
func checkReplicaStatus(t *testing.T, p exposition, mariadb bool, role, source string) {
	t.Helper()
	running := "mysql_slave_status_replica_sql_running"
	if mariadb {
		running = "mysql_slave_status_slave_sql_running"
	}
	found := ""
	for series, value := range p.values {
		if strings.HasPrefix(series, running+"{") && strings.Contains(series, fmt.Sprintf("master_host=%q", source)) {
			found = value
		}
	}
	if want := map[string]string{"source": "", "replica": "1"}[role]; found != want {
		t.Errorf("%s of %s is %q, want %q", running, role, found, want)
	}
	if mariadb && role == "replica" && !slices.ContainsFunc(slices.Collect(maps.Keys(p.values)), func(s string) bool { return strings.HasPrefix(s, "mysql_slave_status_gtid_slave_pos{") }) {
		t.Error("no position of GTIDs")
	}
}

// otherAuthority makes the certificate of an authority that has signed nothing.
func otherAuthority(t *testing.T, dir string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "other.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// faultsOf are what /api/graph says is wrong with an input, with the remedies.
func faultsOf(t *testing.T, agent *harness.Agent, address string) string {
	t.Helper()
	status, err := agent.Status()
	if err != nil {
		return err.Error()
	}
	for _, n := range status.Nodes {
		if n.Address != address {
			continue
		}
		text := n.Why + " | " + n.Remedy
		for _, f := range n.Faults {
			text += "\n" + f.Key + ": " + f.What + " | " + f.Remedy
		}
		return text
	}
	return "there is no " + address
}

// sayings waits until an input's faults hold each of the words.
func sayings(t *testing.T, agent *harness.Agent, address string, words ...string) {
	t.Helper()
	harness.Eventually(t, 90*time.Second, address+" says what is wrong", func() (bool, string) {
		said := faultsOf(t, agent, address)
		for _, w := range words {
			if !strings.Contains(said, w) {
				return false, fmt.Sprintf("no %q in %s", w, said)
			}
		}
		return true, ""
	})
}

// wellAgain waits until nothing is wrong with an input.
func wellAgain(t *testing.T, agent *harness.Agent, address string) {
	t.Helper()
	harness.Eventually(t, 90*time.Second, address+" is well", func() (bool, string) {
		said := faultsOf(t, agent, address)
		return said == " | ", said
	})
}

func TestMySQLSaysWhatToRunWhenAServerRefuses(t *testing.T) {
	t.Parallel()
	images := harness.MySQLImages(t)
	network := harness.MySQLNetwork(t)
	good, bad := freshPassword(), freshPassword()
	server := harness.StartMySQL(t, images["MYSQL_IMAGE"], network)
	mariadb := harness.StartMySQL(t, images["MARIADB11_IMAGE"], network)
	// Without TLS and without RSA keys: how caching_sha2_password has no way to verify a password over a connection in the clear.
	bare := harness.StartMySQL(t, images["MYSQL_IMAGE"], network, "--tls-version=", "--auto-generate-certs=OFF",
		"--caching-sha2-password-auto-generate-rsa-keys=OFF", "--caching-sha2-password-private-key-path=none.pem", "--caching-sha2-password-public-key-path=none-public.pem")
	server.Await()
	server.SQL(fmt.Sprintf(`
CREATE USER exporter@'%%' IDENTIFIED BY '%[1]s' WITH MAX_USER_CONNECTIONS 3; GRANT PROCESS, REPLICATION CLIENT ON *.* TO exporter@'%%';
CREATE USER poor@'%%' IDENTIFIED BY '%[1]s';
CREATE USER locked@'%%' IDENTIFIED BY '%[1]s' ACCOUNT LOCK;
CREATE USER single@'%%' IDENTIFIED BY '%[1]s' WITH MAX_USER_CONNECTIONS 1; GRANT PROCESS, REPLICATION CLIENT ON *.* TO single@'%%';
CREATE USER secure@'%%' IDENTIFIED BY '%[1]s' REQUIRE SSL; GRANT PROCESS, REPLICATION CLIENT ON *.* TO secure@'%%';`, good))
	mariadb.Await()
	mariadb.SQL(fmt.Sprintf("CREATE USER poor@'%%' IDENTIFIED BY '%s';", good))
	bare.Await()

	// The authority that signed the server's certificate.
	dir := harness.Dir(t)
	authority := filepath.Join(dir, "ca.pem")
	server.Copy("/var/lib/mysql/ca.pem", authority)

	input := func(name string, m *harness.MySQL, user, password string, more ...string) string {
		text := fmt.Sprintf("input \"mysql\" %q {\n  address = %q\n  user = %q\n", name, m.Address(), user)
		if password != "" {
			text += "  password = env(\"" + password + "\")\n"
		}
		return text + strings.Join(more, "\n") + "\n}\n"
	}
	agent := harness.NewAgent(t, harness.AgentOptions{Agent: `interval = "1s"`, Environment: []string{"GOOD=" + good, "BAD=" + bad}, Config: "" +
		input("well", server, "exporter", "GOOD") +
		input("wrong", server, "exporter", "BAD") +
		input("missing", server, "nobody", "BAD") +
		input("silent", server, "exporter", "") +
		input("poor", server, "poor", "GOOD", `  collect = ["mysql.user", "perf_schema.eventswaits", "sys.user_summary", "binlog_size", "slave_hosts", "info_schema.processlist"]`) +
		input("locked", server, "locked", "GOOD") +
		input("single", server, "single", "GOOD") +
		input("second", server, "single", "GOOD") +
		input("clear", server, "secure", "GOOD") +
		input("tls", server, "secure", "GOOD", "  tls_any_name = true", fmt.Sprintf("  tls {\n    ca_file = %q\n  }", authority)) +
		input("name", server, "secure", "GOOD", fmt.Sprintf("  tls {\n    ca_file = %q\n  }", authority)) +
		input("stranger", server, "secure", "GOOD", "  tls_any_name = true", fmt.Sprintf("  tls {\n    ca_file = %q\n  }", otherAuthority(t, dir))) +
		input("maria_wrong", mariadb, "poor", "BAD") +
		input("maria_poor", mariadb, "poor", "GOOD", `  collect = ["slave_hosts"]`) +
		input("host", bare, "exporter", "GOOD") +
		input("no_tls", bare, "exporter", "GOOD", "  tls {\n  }") +
		fmt.Sprintf("output \"prometheus\" {\n  from = input\n  listen = %q\n}\n", harness.FreeAddress(t))})
	agent.Start()

	in := func(name string) string { return "input.mysql." + name }
	sayings(t, agent, in("wrong"), "(MySQL 9.", "refuses the password of 'exporter'@'", "(using password: YES)", "CREATE USER 'exporter'@'", "IDENTIFIED BY 'PASSWORD' WITH MAX_USER_CONNECTIONS 3; GRANT REPLICATION CLIENT, PROCESS ON *.* TO 'exporter'@'")
	sayings(t, agent, in("missing"), "or has no such account", "CREATE USER 'nobody'@'")
	sayings(t, agent, in("silent"), "with a password only, and none was sent", "(using password: NO)", "write user and password in the block")
	sayings(t, agent, in("locked"), "the account 'locked'@'", "is locked", "ACCOUNT UNLOCK;")
	sayings(t, agent, in("clear"), "refuses the password of 'secure'@'", "REQUIREs SSL, which needs a tls block")
	sayings(t, agent, in("name"), "the certificate of", "is for another name", "tls_any_name")
	sayings(t, agent, in("stranger"), "signed by an authority that isn't trusted here", "ca_file")
	sayings(t, agent, in("poor"), "slave_status: a privilege is missing", "GRANT REPLICATION CLIENT ON *.* TO 'poor'@'%';",
		"info_schema.innodb_cmp: a privilege is missing", "GRANT PROCESS ON *.* TO 'poor'@'%';",
		"mysql.user: a privilege is missing", "GRANT SELECT ON mysql.user TO 'poor'@'%';",
		"perf_schema.eventswaits: a privilege is missing", "GRANT SELECT ON performance_schema.* TO 'poor'@'%';",
		"info_schema.processlist: the account lacks PROCESS, so the server shows it only what is its own",
		"sys.user_summary: a privilege is missing", "slave_hosts: a privilege is missing", "GRANT REPLICATION SLAVE ON *.* TO 'poor'@'%';")
	sayings(t, agent, in("maria_wrong"), "(MariaDB 11.", "refuses the password of 'poor'@'", "GRANT SLAVE MONITOR, PROCESS ON *.* TO 'poor'@'")
	sayings(t, agent, in("maria_poor"), "slave_status: a privilege is missing", "GRANT SLAVE MONITOR ON *.* TO 'poor'@'%';",
		"slave_hosts: a privilege is missing", "GRANT REPLICATION MASTER ADMIN ON *.* TO 'poor'@'%';")
	sayings(t, agent, in("host"), "has no account for any user at host ", "is not allowed to connect to this MySQL server", "CREATE USER 'exporter'@'")
	harness.Eventually(t, time.Minute, "one of two is refused by MAX_USER_CONNECTIONS 1", func() (bool, string) {
		said := faultsOf(t, agent, in("single")) + faultsOf(t, agent, in("second"))
		return strings.Contains(said, "allows the account 'single'@'") && strings.Contains(said, "MAX_USER_CONNECTIONS 3"), said
	})
	wellAgain(t, agent, in("well"))
	wellAgain(t, agent, in("tls"))

	t.Run("hermod check says the same", func(t *testing.T) {
		// It asks all servers at once: on a busy machine one answers too late now and then.
		var code int
		var out, stderr string
		harness.Eventually(t, time.Minute, "all servers answer in time", func() (bool, string) {
			code, out, stderr = agent.Run("check", agent.ConfigFile())
			for _, want := range []string{
				"ok     input.mysql.tls: connect to " + server.Address() + ": MySQL 9.",
				"as secure@", "account 'secure'@'%'",
				"FAILED input.mysql.wrong: connect to " + server.Address(), "refuses the password of 'exporter'@'",
				"FAILED input.mysql.poor: collect slave_status: a privilege is missing", "run on the server: GRANT REPLICATION CLIENT ON *.* TO 'poor'@'%';",
				"FAILED input.mysql.maria_poor: collect slave_status", "run on the server: GRANT SLAVE MONITOR ON *.* TO 'poor'@'%';",
			} {
				if !strings.Contains(out, want) {
					return false, fmt.Sprintf("no %q in\n%s%s", want, out, stderr)
				}
			}
			return true, ""
		})
		if code != 1 {
			t.Errorf("exit code %d", code)
		}
		if text := out + stderr; strings.Contains(text, good) || strings.Contains(text, bad) {
			t.Error("a password is told")
		}
	})

	// What was said to be run is run, and helps.
	server.SQL(`GRANT REPLICATION CLIENT, PROCESS, REPLICATION SLAVE ON *.* TO 'poor'@'%'; GRANT SELECT ON mysql.user TO 'poor'@'%';
GRANT SELECT ON performance_schema.* TO 'poor'@'%'; GRANT SELECT, EXECUTE ON sys.* TO 'poor'@'%'; ALTER USER 'locked'@'%' ACCOUNT UNLOCK;
GRANT REPLICATION CLIENT, PROCESS ON *.* TO 'locked'@'%'; ALTER USER 'single'@'%' WITH MAX_USER_CONNECTIONS 3;`)
	mariadb.SQL("GRANT SLAVE MONITOR, PROCESS, REPLICATION MASTER ADMIN ON *.* TO 'poor'@'%';")
	bare.SQL(fmt.Sprintf("CREATE USER exporter@'%%' IDENTIFIED BY '%s';", good))
	for _, name := range []string{"poor", "locked", "single", "second", "maria_poor"} {
		wellAgain(t, agent, in(name))
	}
	sayings(t, agent, in("host"), `can't verify the password of "exporter" (caching_sha2_password) without TLS`, "write a tls block in the input")
	sayings(t, agent, in("no_tls"), "doesn't offer TLS", "take the tls block out")

	// No connections are left for those that aren't connected, root included: the limit is changed over a connection that stays.
	server.SQL(fmt.Sprintf("CREATE USER admin@'%%' IDENTIFIED BY '%s'; GRANT ALL ON *.* TO admin@'%%';", good))
	db, err := sql.Open("mysql", fmt.Sprintf("admin:%s@tcp(%s)/", good, server.Address()))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	limit := func(n int) {
		t.Helper()
		if _, err := db.ExecContext(t.Context(), fmt.Sprintf("SET GLOBAL max_connections = %d", n)); err != nil {
			t.Fatal(err)
		}
	}
	limit(1)
	sayings(t, agent, in("wrong"), "has as many connections as it allows: Too many connections", "SET GLOBAL max_connections")
	limit(100)
	sayings(t, agent, in("wrong"), "refuses the password")

	// A client that breaks its connections off has this host blocked.
	server.SQL("SET GLOBAL max_connect_errors = 1")
	harness.Eventually(t, time.Minute, "the host is blocked", func() (bool, string) {
		c, err := net.Dial("tcp", server.Address())
		if err == nil {
			_, _ = c.Write([]byte("nonsense"))
			_ = c.Close()
		}
		said := faultsOf(t, agent, in("wrong"))
		return strings.Contains(said, "has blocked this host after too many broken connections"), said
	})
	sayings(t, agent, in("wrong"), "TRUNCATE TABLE performance_schema.host_cache;")
	server.SQL("SET GLOBAL max_connect_errors = 1000; TRUNCATE TABLE performance_schema.host_cache;")
	sayings(t, agent, in("wrong"), "refuses the password")
	wellAgain(t, agent, in("well"))

	graph, err := agent.Get("/api/graph")
	if err != nil {
		t.Fatal(err)
	}
	overview, err := agent.Get("/")
	if err != nil {
		t.Fatal(err)
	}
	for where, text := range map[string]string{"log": agent.Log(), "/api/graph": graph, "page": overview} {
		if strings.Contains(text, good) || strings.Contains(text, bad) {
			t.Errorf("a password is in the %s", where)
		}
	}
	if !strings.Contains(agent.Log(), "refuses the password of") {
		t.Error("the log doesn't say it")
	}
}

// scrapeInTime scrapes as Prometheus does, which gives up after its timeout.
func scrapeInTime(address string, timeout time.Duration) (exposition, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return exposition{}, err
	}
	request.Header.Set("X-Prometheus-Scrape-Timeout-Seconds", fmt.Sprint(timeout.Seconds()))
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return exposition{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = errors.New(response.Status)
	}
	return parseExposition(string(text)), err
}

func TestAMySQLServerThatStopsOrHangsDelaysNobody(t *testing.T) {
	t.Parallel()
	images := harness.MySQLImages(t)
	network := harness.MySQLNetwork(t)
	password := freshPassword()
	servers := []*harness.MySQL{
		harness.StartMySQL(t, images["MYSQL_IMAGE"], network),
		harness.StartMySQL(t, images["MARIADB_IMAGE"], network),
		harness.StartLabelledMySQL(t, images["MARIADB11_IMAGE"], network, []string{"hermod.mysql.secret=fleet", "hermod.mysql.collect=info_schema.processlist"}),
	}
	for i, m := range servers {
		m.Await()
		exporterAccount(m, i > 0, password)
	}
	listen := harness.FreeAddress(t)
	agent := harness.NewAgent(t, harness.AgentOptions{Agent: `interval = "1s"`, Environment: []string{"MYSQL_PASSWORD=" + password}, Config: fmt.Sprintf(`
input "mysql" "fleet" {
  for_each      = { a = %q, b = %q, c = %q }
  address       = each.value
  user          = "exporter"
  password      = env("MYSQL_PASSWORD")
  query_timeout = "2s"
  timeout       = "1s"
}
input "mysql" "labelled" {
  discover = true
  user     = "exporter"
  secrets  = { fleet = env("MYSQL_PASSWORD") }
}
input "host" {}
output "prometheus" {
  from   = input
  listen = %q
}
`, "container://"+servers[0].Name, servers[1].Address(), servers[2].Address(), listen)})
	agent.Start()
	agent.AwaitReady()
	instances := []string{servers[0].Name + ":3306", servers[1].Address(), servers[2].Address()}
	series := func(name string, i int) string { return fmt.Sprintf("%s{instance=%q}", name, instances[i]) }
	awaitUp := func(what string, up ...string) (got exposition) {
		t.Helper()
		harness.Eventually(t, 90*time.Second, what, func() (bool, string) {
			var err error
			if got, err = scrapeInTime("http://"+listen+"/metrics", 30*time.Second); err != nil {
				return false, err.Error()
			}
			var now []string
			for i := range servers {
				now = append(now, got.values[series("mysql_up", i)])
			}
			return slices.Equal(now, up), fmt.Sprint(now)
		})
		return got
	}

	// Three servers of one block, on one page.
	got := awaitUp("all three are up", "1", "1", "1")
	for i, product := range []string{`version="9.`, `version="10.11.`, `version="11.8.`} {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(got.values)), func(s string) bool {
			return strings.HasPrefix(s, "mysql_version_info{") && strings.Contains(s, product) && strings.Contains(s, fmt.Sprintf("instance=%q", instances[i]))
		}) {
			t.Errorf("no mysql_version_info with %s of %s", product, instances[i])
		}
	}

	// The third one has labels as well, and is found by them.
	labelled := servers[2].Name + ":3306"
	harness.Eventually(t, time.Minute, "the labelled container is collected from", func() (bool, string) {
		got, err := scrapeInTime("http://"+listen+"/metrics", 30*time.Second)
		if err != nil {
			return false, err.Error()
		}
		return got.values[fmt.Sprintf("mysql_up{instance=%q}", labelled)] == "1" &&
			got.values[fmt.Sprintf("mysql_exporter_collector_success{collector=\"collect.info_schema.processlist\",instance=%q}", labelled)] == "1", fmt.Sprint(matching(got, "mysql_up"))
	})

	// One stops. It is down and has nothing else; the others go on. It comes back, and is found wherever Docker puts it.
	servers[0].Signal("TERM")
	servers[0].Wait(time.Minute)
	got = awaitUp("the first one is down", "0", "1", "1")
	for s := range got.values {
		if strings.HasPrefix(s, "mysql_") && !strings.HasPrefix(s, "mysql_up{") && strings.Contains(s, fmt.Sprintf("instance=%q", instances[0])) {
			t.Errorf("a server that is down has %s", s)
		}
	}
	servers[0].Again()
	awaitUp("the first one is back", "1", "1", "1")
	wellAgain(t, agent, `input.mysql.fleet["a"]`)

	// One hangs: it takes connections and says nothing. The other inputs' cycles go on, one a second: those of one that waited for it would take
	// two and more, and skip a tick each. A busy machine makes one late now and then.
	cycles := func() map[string]graph.Node {
		t.Helper()
		status, err := agent.Status()
		if err != nil {
			t.Fatal(err)
		}
		inputs := map[string]graph.Node{}
		for _, n := range status.Nodes {
			if n.Kind == "input" {
				inputs[n.Address] = n
			}
		}
		return inputs
	}
	servers[1].Signal("STOP")
	awaitUp("the second one is down", "1", "0", "1")
	sayings(t, agent, `input.mysql.fleet["b"]`, "doesn't answer within", "see whether the server hangs")
	before := cycles()
	harness.Eventually(t, 90*time.Second, "the others go on", func() (bool, string) {
		now := cycles()
		for _, address := range []string{"input.host", `input.mysql.fleet["a"]`, `input.mysql.fleet["c"]`} {
			done, skipped := now[address].Cycles-before[address].Cycles, now[address].Skipped-before[address].Skipped
			if done < 6 || skipped >= done {
				return false, fmt.Sprintf("%s: %d cycles, %d ticks skipped", address, done, skipped)
			}
		}
		return true, ""
	})
	awaitUp("a scrape is answered", "1", "0", "1")
	servers[1].Signal("CONT")
	awaitUp("the second one is back", "1", "1", "1")
	wellAgain(t, agent, `input.mysql.fleet["b"]`)
	harness.Conserved(t, agent)
}
