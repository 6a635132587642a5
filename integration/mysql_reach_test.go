//go:build integration

package integration

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hermod-agent/hermod/integration/harness"
)

// A server by its socket and by its port, as an account of an option file, of a dsn and of the block itself: each input is seen by the server as one
// connection, however often it has asked, with the limits of its session.
func TestMySQLIsAskedOverOneConnectionWhateverWayItIsReached(t *testing.T) {
	t.Parallel()
	images := harness.MySQLImages(t)
	network := harness.MySQLNetwork(t)
	password := freshPassword()
	dir := harness.Dir(t)
	listen := harness.FreeAddress(t)
	servers := map[string]*harness.MySQL{}
	config := ""
	for _, product := range []string{"mysql", "mariadb"} {
		image := images["MYSQL_IMAGE"]
		if product == "mariadb" {
			image = images["MARIADB11_IMAGE"]
		}
		m, socket := harness.StartMySQLWithSocket(t, image, network, "--performance-schema=ON")
		m.Await()
		servers[product] = m
		statements := "CREATE DATABASE heartbeat; CREATE TABLE heartbeat.heartbeat (ts VARCHAR(26) NOT NULL, server_id INT UNSIGNED NOT NULL PRIMARY KEY);\n" +
			"INSERT INTO heartbeat.heartbeat VALUES ('2026-11-26 12:00:00.000000', 7);\n" + slowView
		monitor := "REPLICATION CLIENT"
		if product == "mariadb" {
			monitor = "SLAVE MONITOR"
		}
		for _, user := range []string{"by_socket", "by_file", "by_dsn", "by_name", "who_waits", "who_is_slow"} {
			statements += fmt.Sprintf("CREATE USER %[1]s@'%%' IDENTIFIED BY '%[2]s' WITH MAX_USER_CONNECTIONS 3; GRANT PROCESS, SELECT, %[3]s ON *.* TO %[1]s@'%%';\n", user, password, monitor)
		}
		statements += fmt.Sprintf("CREATE USER admin@'%%' IDENTIFIED BY '%s'; GRANT ALL ON *.* TO admin@'%%';", password)
		m.SQL(statements)

		authority, files := "", filepath.Join(dir, product+".cnf")
		if product == "mysql" {
			authority = filepath.Join(dir, "ca.pem")
			m.Copy("/var/lib/mysql/ca.pem", authority)
			authority = "ssl-mode = VERIFY_CA\nssl-ca = " + authority + "\n"
		}
		text := fmt.Sprintf("[client]\nuser = by_file\npassword = \"%s\"\nsocket = %s\n[shop]\nuser=by_name\npassword=%s\nhost=%s\nport=3306\n%s", password, socket, password, m.Host, authority)
		if err := os.WriteFile(files, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		config += fmt.Sprintf(`
input "mysql" "%[1]s_by_socket" {
  address  = %[2]q
  user     = "by_socket"
  password = env("MYSQL_PASSWORD")
}
input "mysql" "%[1]s_by_file" {
  my_cnf = %[3]q
}
input "mysql" "%[1]s_by_dsn" {
  dsn = "by_dsn:${env("MYSQL_PASSWORD")}@unix(%[2]s)/"
}
input "mysql" "%[1]s_by_name" {
  my_cnf         = %[3]q
  my_cnf_section = "shop"
}
input "mysql" "%[1]s_who_waits" {
  address           = %[2]q
  user              = "who_waits"
  password          = env("MYSQL_PASSWORD")
  collect           = ["heartbeat"]
  lock_wait_timeout = "1s"
}
input "mysql" "%[1]s_who_is_slow" {
  address       = %[2]q
  user          = "who_is_slow"
  password      = env("MYSQL_PASSWORD")
  collect       = ["heartbeat"]
  query_timeout = "2s"
  heartbeat {
    database = "slow"
    table    = "view"
  }
}
`, product, socket, files)
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

	ask := func(t *testing.T, input, want string) {
		t.Helper()
		harness.Eventually(t, 90*time.Second, input+" shows "+want, func() (bool, string) {
			got, err := scrapeInTime(fmt.Sprintf("http://%s/metrics?input=mysql.%s", listen, input), 20*time.Second)
			if err != nil {
				return false, err.Error()
			}
			series, value, _ := strings.Cut(want, " ")
			return got.values[series] == value, fmt.Sprintf("%s; %s", matching(got, "mysql_exporter_collector_success"), faultsOf(t, agent, "input.mysql."+input))
		})
	}
	const heartbeat = `mysql_exporter_collector_success{collector="collect.heartbeat"}`
	for product, m := range servers {
		t.Run(product, func(t *testing.T) {
			for _, user := range []string{"by_socket", "by_file", "by_dsn", "by_name", "who_waits", "who_is_slow"} {
				for range 5 {
					ask(t, product+"_"+user, "mysql_up 1")
				}
			}
			ask(t, product+"_who_waits", heartbeat+" 1")

			// Somebody holds the table: the statement is given up when lock_wait_timeout ends, and the rest is there.
			db, err := sql.Open("mysql", fmt.Sprintf("admin:%s@tcp(%s)/", password, m.Address()))
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			held, err := db.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer held.Close()
			if _, err := held.ExecContext(t.Context(), "LOCK TABLES heartbeat.heartbeat WRITE"); err != nil {
				t.Fatal(err)
			}
			ask(t, product+"_who_waits", heartbeat+" 0")
			sayings(t, agent, "input.mysql."+product+"_who_waits", "heartbeat: a statement waited for a lock for more than lock_wait_timeout")
			ask(t, product+"_who_waits", `mysql_exporter_collector_success{collector="collect.global_status"} 1`)
			if _, err := held.ExecContext(t.Context(), "UNLOCK TABLES"); err != nil {
				t.Fatal(err)
			}
			ask(t, product+"_who_waits", heartbeat+" 1")

			// A statement that is too slow is ended by the server.
			ask(t, product+"_who_is_slow", heartbeat+" 0")
			sayings(t, agent, "input.mysql."+product+"_who_is_slow", "heartbeat: the statement needs more than the 2s that query_timeout allows")
			ask(t, product+"_who_is_slow", `mysql_exporter_collector_success{collector="collect.global_status"} 1`)

			// On a busy machine the server may be too late to end the statement; then the connection goes with it, and the next collection makes a new one.
			settled := func(what, query, want string) {
				t.Helper()
				harness.Eventually(t, 90*time.Second, what, func() (bool, string) {
					seen := m.SQL(query)
					if seen != want {
						ask(t, product+"_who_is_slow", "mysql_up 1")
					}
					return seen == want, seen
				})
			}
			settled("connections as the server counts them, now and ever", `SELECT user, current_connections, IF(user = 'who_is_slow', 1, total_connections)
FROM performance_schema.users WHERE user LIKE 'by%' OR user LIKE 'who%' ORDER BY user`,
				"by_dsn\t1\t1\nby_file\t1\t1\nby_name\t1\t1\nby_socket\t1\t1\nwho_is_slow\t1\t1\nwho_waits\t1\t1")
			if product == "mysql" { // where a session's settings can be seen from outside
				settled("lock_wait_timeout and max_execution_time of the sessions", `SELECT processlist_user, variable_value
FROM performance_schema.variables_by_thread JOIN performance_schema.threads USING (thread_id)
WHERE processlist_user IN ('by_socket', 'who_waits', 'who_is_slow') AND variable_name IN ('lock_wait_timeout', 'max_execution_time') ORDER BY processlist_user, variable_name`,
					"by_socket\t2\nby_socket\t4500\nwho_is_slow\t2\nwho_is_slow\t1800\nwho_waits\t1\nwho_waits\t4500")
				if seen := m.SQL("SELECT connection_type FROM performance_schema.threads WHERE processlist_user = 'by_name'"); seen != "SSL/TLS" {
					t.Errorf("the option file asks for TLS, and the connection is one by %s", seen)
				}
			}
		})
	}
	if text := agent.Log(); strings.Contains(text, password) {
		t.Error("the password is in the log")
	}
}

// slowView is a heartbeat that takes for ever: a hundred rows, five times over.
const slowView = `
CREATE DATABASE slow;
CREATE TABLE slow.hundred (n INT);
INSERT INTO slow.hundred VALUES (1), (2), (3), (4), (5), (6), (7), (8), (9), (10);
INSERT INTO slow.hundred SELECT a.n FROM slow.hundred a, slow.hundred b LIMIT 90;
CREATE VIEW slow.view AS SELECT 7 AS server_id, now(6) AS ts FROM slow.hundred a, slow.hundred b, slow.hundred c, slow.hundred d, slow.hundred e
WHERE sin(a.n + b.n * c.n + d.n * e.n) > 2;
`
