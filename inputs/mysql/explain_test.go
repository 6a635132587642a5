package mysql

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	mysql "github.com/go-sql-driver/mysql"
	"go.uber.org/goleak"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// collectOnce runs a cycle that may fail.
func collectOnce(t *testing.T, in *input) (*metrics.Batch, error) {
	t.Helper()
	var b metrics.Batch
	b.Begin(nil, 1, 1)
	err := in.Collect(t.Context(), &b)
	return &b, err
}

func TestEveryRefusalOfALoginSaysWhatToRun(t *testing.T) {
	mysql9, mariadb10, mariadb11 := "9.7.4", "10.4.2-MariaDB", "11.8.9-MariaDB"
	denied := "Access denied for user 'exporter'@'172.18.0.1' (using password: YES)"
	const create = "CREATE USER 'exporter'@'172.18.0.1' IDENTIFIED BY 'PASSWORD' WITH MAX_USER_CONNECTIONS 3; GRANT "
	for _, tt := range []struct {
		version  string
		number   uint16
		message  string
		password string
		what     string
		remedy   string
	}{
		{mysql9, 1045, denied, "hunter2", "db:3306 (MySQL 9.7.4) refuses the password of 'exporter'@'172.18.0.1', or has no such account", create + "REPLICATION CLIENT, PROCESS ON *.* TO 'exporter'@'172.18.0.1';"},
		{mariadb11, 1045, denied, "hunter2", "(MariaDB 11.8.9) refuses", create + "SLAVE MONITOR, PROCESS ON *.* TO 'exporter'@'172.18.0.1';"},
		{mariadb10, 1045, denied, "hunter2", "(MariaDB 10.4.2) refuses", create + "REPLICATION CLIENT, PROCESS ON *.*"},
		{mysql9, 1045, "Access denied for user 'exporter'@'172.18.0.1' (using password: NO)", "", "lets 'exporter'@'172.18.0.1' in with a password only, and none was sent", "write user and password in the block"},
		{mariadb11, 1698, "Access denied for user 'root'@'localhost'", "hunter2", "refuses the password of 'root'@'localhost'", "CREATE USER 'root'@'localhost'"},
		{"", 1130, "Host '172.18.0.5' is not allowed to connect to this MySQL server", "hunter2", "has no account for any user at host 172.18.0.5", "CREATE USER 'exporter'@'172.18.0.5'"},
		{"", 1130, "Host '172.18.0.5' is not allowed to connect to this MariaDB server", "hunter2", "172.18.0.5", "SLAVE MONITOR in place of REPLICATION CLIENT"},
		{"", 1129, "Host '172.18.0.5' is blocked because of many connection errors; unblock with 'mysqladmin flush-hosts'", "hunter2", "has blocked this host", "TRUNCATE TABLE performance_schema.host_cache"},
		{"", 1040, "Too many connections", "hunter2", "as many connections as it allows", "SET GLOBAL max_connections"},
		{mysql9, 1203, "User exporter already has more than 'max_user_connections' active connections", "hunter2", "no more connections", "MAX_USER_CONNECTIONS 3"},
		{mysql9, 1226, "User 'exporter' has exceeded the 'max_user_connections' resource (current value: 1)", "hunter2", "no more connections", "MAX_USER_CONNECTIONS 3"},
		{mysql9, 3118, "Access denied for user 'exporter'@'%'. Account is locked.", "hunter2", "the account 'exporter'@'%' is locked", "ALTER USER 'exporter'@'%' ACCOUNT UNLOCK"},
		{mysql9, 1862, "Your password has expired.", "hunter2", "has expired", "PASSWORD EXPIRE NEVER"},
		{mysql9, 3159, "Connections using insecure transport are prohibited while --require_secure_transport=ON.", "hunter2", "takes connections with TLS only", "write a tls block"},
		{mysql9, 1049, "Unknown database 'x'", "hunter2", "into the database of the dsn", "leave the database out"},
		{mysql9, 9999, "Something new", "hunter2", "refuses the connection: Error 9999: Something new", "see the server's log"},
	} {
		cfg := defaults()
		cfg.Address, cfg.User, cfg.Password = address(t, "db:3306"), "exporter", config.NewSecret(tt.password)
		in, err := openServer(testEnv(), &cfg)
		if err != nil {
			t.Fatal(err)
		}
		l, err := cfg.login()
		if err != nil {
			t.Fatal(err)
		}
		try := &attempt{login: l}
		if tt.version != "" {
			if try.version, err = parseVersion(tt.version); err != nil {
				t.Fatal(err)
			}
		}
		cause := &mysql.MySQLError{Number: tt.number, Message: tt.message}
		got := in.explain(cause, try)
		remedy, what := component.Remedy(got)
		if !strings.Contains(what, tt.what) || !strings.Contains(what, tt.message) && tt.number != 9999 {
			t.Errorf("%d: %q, want %q", tt.number, what, tt.what)
		}
		if !strings.Contains(remedy, tt.remedy) {
			t.Errorf("%d: remedy %q, want %q", tt.number, remedy, tt.remedy)
		}
		if strings.Contains(got.Error(), "hunter2") {
			t.Errorf("%d: the password is told: %q", tt.number, got)
		}
		if !errors.Is(got, cause) {
			t.Errorf("%d: the cause is lost", tt.number)
		}
	}
}

func TestACollectorThatIsRefusedNamesItsGrant(t *testing.T) {
	for _, tt := range []struct{ version, name, message, remedy string }{
		{"9.7.4", "slave_status", "Access denied; you need (at least one of) the SUPER, REPLICATION CLIENT privilege(s) for this operation", "GRANT REPLICATION CLIENT ON *.* TO 'exporter'@'%';"},
		{"11.8.9-MariaDB", "slave_status", "Access denied; you need (at least one of) the SLAVE MONITOR privilege(s) for this operation", "GRANT SLAVE MONITOR ON *.* TO 'exporter'@'%';"},
		{"10.5.3-MariaDB", "slave_status", "Access denied", "GRANT REPLICATION SLAVE ADMIN ON *.* TO 'exporter'@'%';"},
		{"10.3.39-MariaDB", "slave_status", "Access denied", "GRANT REPLICATION CLIENT ON *.* TO 'exporter'@'%';"},
		{"11.8.9-MariaDB", "binlog_size", "Access denied", "GRANT BINLOG MONITOR ON *.* TO 'exporter'@'%';"},
		{"9.7.4", "info_schema.innodb_cmp", "Access denied", "GRANT PROCESS ON *.* TO 'exporter'@'%'; or write no_collect = [\"info_schema.innodb_cmp\"]"},
		{"9.7.4", "mysql.user", "SELECT command denied", "GRANT SELECT ON mysql.user TO 'exporter'@'%'; or leave mysql.user out of collect"},
		{"9.7.4", "perf_schema.eventswaits", "SELECT command denied", "GRANT SELECT ON performance_schema.* TO 'exporter'@'%';"},
		{"9.7.4", "sys.user_summary", "denied", "GRANT SELECT, EXECUTE ON sys.* TO 'exporter'@'%'; GRANT SELECT ON performance_schema.* TO 'exporter'@'%';"},
		{"9.7.4", "heartbeat", "SELECT command denied", "GRANT SELECT ON `heartbeat`.`heartbeat` TO 'exporter'@'%';"},
	} {
		cfg := defaults()
		in, _ := connected(t, testEnv(), &cfg, tt.version, "others")
		for _, k := range kinds() {
			if k.name != tt.name {
				continue
			}
			err := in.explainCollector(&k, &mysql.MySQLError{Number: errPrivilege, Message: tt.message})
			remedy, what := component.Remedy(err)
			if !strings.Contains(what, "a privilege is missing: "+tt.message) || !strings.Contains(remedy, tt.remedy) {
				t.Errorf("%s: %q, remedy %q", tt.name, what, remedy)
			}
		}
		in.session.opened = time.Now().Add(-refusedAge)
		if !in.stale() {
			t.Error("a privilege that is given now is seen by a new connection only")
		}
	}
}

func TestAFailingCollectorIsToldAndTheOthersGoOn(t *testing.T) {
	var log bytes.Buffer
	env := testEnv()
	env.Status = component.NewStatus(slog.New(slog.NewTextHandler(&log, nil)))
	cfg := defaults()
	cfg.NoCollect = []string{"slave_status", "info_schema.innodb_cmp", "info_schema.innodb_cmpmem", "info_schema.query_response_time"}
	cfg.Collect = []string{"binlog_size"}
	in, r := connected(t, env, &cfg, "9.7.4", "others")
	b := collectAll(t, in, 1) // no reply is recorded for binlog_size
	if got := render(b); !strings.Contains(got, `mysql_exporter_collector_success{collector="collect.binlog_size"} 0`) ||
		!strings.Contains(got, `mysql_exporter_collector_success{collector="collect.global_status"} 1`) || !strings.Contains(got, "mysql_up{} 1") {
		t.Error(got)
	}
	if faults := env.Status.Faults(); len(faults) != 1 || faults[0].Key != "binlog_size" || faults[0].Remedy == "" {
		t.Errorf("%+v", faults)
	}
	r.byText["SELECT @@log_bin"] = &reply{columns: []string{"@@log_bin"}, rows: nil}
	r.byText["SHOW BINARY LOGS"] = &reply{columns: []string{"Log_name", "File_size"}, rows: nil}
	collectAll(t, in, 2)
	if faults := env.Status.Faults(); len(faults) != 0 || !strings.Contains(log.String(), "recovered") {
		t.Errorf("%+v\n%s", faults, log.String())
	}
}

func TestCheckNamesTheServerAndEachCollector(t *testing.T) {
	cfg := defaults()
	cfg.Address = address(t, "db")
	cfg.Collect = []string{"perf_schema.replication_applier_status_by_worker", "binlog_size"}
	in, _ := connected(t, testEnv(), &cfg, "5.7.44", "mysql-5.7")
	var got []string
	in.Check(t.Context(), func(f component.Finding) {
		state := "ok " + f.Detail
		if f.Err != nil {
			remedy, what := component.Remedy(f.Err)
			state = fmt.Sprintf("note=%v %s | %s", f.Note, what, remedy)
		}
		got = append(got, f.What+": "+state)
	})
	text := strings.Join(got, "\n")
	for _, want := range []string{
		"connect to db:3306: ok MySQL 5.7.44 as exporter@172.18.0.1, account 'exporter'@'%'",
		"collect slave_status: ok 19 series",
		"collect binlog_size: note=false MySQL 5.7.44 doesn't have what this collector asks for",
		"collect perf_schema.replication_applier_status_by_worker: note=true MySQL 5.7.44 doesn't have this: MySQL has it since 8.0 | leave it out of collect",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("missing %q in\n%s", want, text)
		}
	}
}

func TestRowsThatTheServerHidesAreTold(t *testing.T) {
	given := func(lines ...string) *granted {
		g := &granted{everywhere: map[string]bool{}, anywhere: map[string]bool{}}
		for _, l := range lines {
			g.add(l)
		}
		return g
	}
	usage := "GRANT USAGE ON *.* TO `exporter`@`%` IDENTIFIED BY PASSWORD '*0123'"
	process, tables := []grant{{"PROCESS", "*.*"}}, []grant{{"SELECT", "*.*"}}
	for _, tt := range []struct {
		g              *granted
		process, table bool
	}{
		{nil, false, false},
		{given(usage), true, true},
		{given(usage, "GRANT SELECT, INSERT ON `shop`.* TO `exporter`@`%`"), true, false},
		{given(usage, "GRANT SELECT (`a`, `b`) ON `shop`.`orders` TO `exporter`@`%`"), true, false},
		{given("GRANT SELECT, PROCESS, REPLICATION CLIENT ON *.* TO `exporter`@`%`"), false, false},
		{given("GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost` WITH GRANT OPTION"), false, false},
		{given(usage, "GRANT `monitor`@`%` TO `exporter`@`%`"), false, false},
		{given(usage, "SET DEFAULT ROLE x FOR y"), true, true},
	} {
		if got := len(tt.g.lacks(process)) > 0; got != tt.process {
			t.Errorf("%+v lacks PROCESS: %v", tt.g, got)
		}
		if got := len(tt.g.lacks(tables)) > 0; got != tt.table {
			t.Errorf("%+v lacks SELECT: %v", tt.g, got)
		}
	}

	cfg := defaults()
	cfg.Collect, cfg.NoCollect = []string{"info_schema.processlist"}, names()[:6]
	env := testEnv()
	env.Status = component.NewStatus(slog.New(slog.DiscardHandler))
	in, _ := connected(t, env, &cfg, "9.7.4", "mysql-9.7")
	in.session.granted = given(usage)
	collectAll(t, in, 1)
	faults := env.Status.Faults()
	if len(faults) != 1 || !faults[0].Note || !strings.Contains(faults[0].What, "lacks PROCESS") || !strings.Contains(faults[0].Remedy, "GRANT PROCESS ON *.* TO 'exporter'@'%';") {
		t.Errorf("%+v", faults)
	}
}

// serve takes connections and does with each what the test wants.
func serve(t *testing.T, handle func(net.Conn)) config.Address {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			handle(c)
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return address(t, l.Addr().String())
}

func TestWhatListensMayNotBeAServerThatLetsUsIn(t *testing.T) {
	packet := func(payload string) []byte { return append([]byte{byte(len(payload)), 0, 0, 0}, payload...) }
	for _, tt := range []struct {
		name         string
		send         []byte
		wait         bool
		what, remedy string
	}{
		{"silent", nil, true, "has taken the connection and doesn't answer within", "see whether the server hangs"},
		{"closes", nil, false, "broke the connection off", "see the server's log"},
		{"another protocol", []byte("\x0f\x00\x00\x00SSH-2.0-OpenSSH"), false, "doesn't speak MySQL's protocol", "33060"},
		{"host not allowed", packet("\xff\x6a\x04#HY000Host '127.0.0.9' is not allowed to connect to this MySQL server"), false, "no account for any user at host 127.0.0.9", "CREATE USER 'exporter'@'127.0.0.9'"},
		{"full", packet("\xff\x10\x04Too many connections"), false, "as many connections as it allows", "max_connections"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			release := make(chan struct{})
			at := serve(t, func(c net.Conn) {
				_, _ = c.Write(tt.send)
				if tt.wait {
					<-release
				}
			})
			defer close(release)
			cfg := defaults()
			cfg.Address, cfg.User, cfg.Password = at, "exporter", config.NewSecret("hunter2")
			cfg.QueryTimeout = config.Duration(time.Minute)
			if tt.wait {
				cfg.QueryTimeout = config.Duration(2 * time.Second) // the connection has to be made by then, on a busy machine too
			}
			in, err := openServer(testEnv(), &cfg)
			if err != nil {
				t.Fatal(err)
			}
			b, err := collectOnce(t, in)
			if err == nil || render(b) != "# mysql_up gauge Whether the MySQL server is up.\nmysql_up{} 0\n" {
				t.Fatalf("%v\n%s", err, render(b))
			}
			remedy, what := component.Remedy(err)
			if !strings.Contains(what, tt.what) || !strings.Contains(what, at.String()) || !strings.Contains(remedy, tt.remedy) {
				t.Errorf("%q, remedy %q", what, remedy)
			}
			if err := in.Stop(t.Context()); err != nil {
				t.Error(err)
			}
			if _, err := collectOnce(t, in); !errors.Is(err, component.ErrStopped) {
				t.Errorf("after a stop: %v", err)
			}
		})
	}
}

func TestACollectionIsGivenUpWithItsContext(t *testing.T) {
	release := make(chan struct{})
	at := serve(t, func(net.Conn) { <-release })
	defer close(release)
	cfg := defaults()
	cfg.Address, cfg.QueryTimeout = at, config.Duration(time.Hour)
	in, err := openServer(testEnv(), &cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	var b metrics.Batch
	b.Begin(nil, 1, 1)
	if err := in.Collect(ctx, &b); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}
