package mysql

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hermod-agent/hermod/internal/httpclient"
	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
)

func TestFaultsOfTheConfigAreTold(t *testing.T) {
	for _, tt := range []struct {
		change func(*Config)
		want   string
	}{
		{func(c *Config) { c.Collect = []string{"perf_schema.eventstatements"} }, `collect: there is no collector "perf_schema.eventstatements"; did you mean "perf_schema.eventsstatements"?`},
		{func(c *Config) { c.NoCollect = []string{"slave-status"} }, `did you mean "slave_status"?`},
		{func(c *Config) { c.Collect, c.NoCollect = []string{"heartbeat"}, []string{"heartbeat"} }, "no_collect: heartbeat is in collect as well"},
		{func(c *Config) { c.DSN, c.User = config.NewSecret("a:b@tcp(db)/"), "a" }, "user: a dsn says all of it"},
		{func(c *Config) { c.Discovery.Discover, c.Address = true, address(t, "db") }, "address: with discover = true"},
		{func(c *Config) { c.Discovery.Discover, c.Password = true, config.NewSecret("x") }, "password: with discover = true every container"},
		{func(c *Config) { c.Discovery.Discover, c.MyCnf = true, "/root/.my.cnf" }, "my_cnf: with discover = true every container"},
		{func(c *Config) { c.QueryTimeout = 0 }, "query_timeout: must be at least"},
		{func(c *Config) { c.LockWaitTimeout = config.Duration(1500 * time.Millisecond) }, "lock_wait_timeout: the server takes whole seconds"},
		{func(c *Config) { c.EventsStatements.Limit = 0 }, "perf_schema_eventsstatements.limit: must be at least 1"},
		{func(c *Config) { c.Tables.Databases = nil }, "info_schema_tables.databases: the list is empty"},
	} {
		cfg := defaults()
		tt.change(&cfg)
		errs := cfg.Validate()
		if len(errs) != 1 || !strings.Contains(errs[0].Error(), tt.want) {
			t.Errorf("want %q, got %v", tt.want, errs)
		}
	}
	cfg := defaults()
	cfg.Collect = names()
	if errs := cfg.Validate(); len(errs) > 0 {
		t.Error(errs)
	}
}

// The list in the comment of Config.Collect is the reference page's.
func TestTheReferenceNamesEveryCollector(t *testing.T) {
	source, err := os.ReadFile("config.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names() {
		if !strings.Contains(string(source), name) {
			t.Errorf("%s isn't in the comment of Config.Collect", name)
		}
	}
	if n := len(names()); n != 36 {
		t.Errorf("%d collectors; mysqld_exporter 0.20 has 36", n)
	}
}

func TestTheSixDefaultsRunUnlessTheyAreLeftOut(t *testing.T) {
	cfg := defaults()
	cfg.Collect, cfg.NoCollect = []string{"binlog_size"}, []string{"slave_status"}
	in, err := openServer(testEnv(), &cfg)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, j := range in.collectors {
		got = append(got, j.name)
	}
	if want := []string{"global_status", "global_variables", "info_schema.innodb_cmp", "info_schema.innodb_cmpmem", "info_schema.query_response_time", "binlog_size"}; !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "my.cnf")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func address(t *testing.T, s string) config.Address {
	t.Helper()
	a, err := config.ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestWhereAndAsWhomToLogIn(t *testing.T) {
	file := write(t, "[client]\nuser=fromfile\npassword=secret-f\nhost=filehost\nport=3307\n[other]\nuser=other\nsocket=/run/my.sock\n[secure]\nuser=a\nhost=h\ntls=skip-verify\n")
	for _, tt := range []struct {
		name     string
		change   func(*Config)
		want     string // address user password
		insecure bool
	}{
		{"nothing", func(c *Config) {}, "localhost:3306  ", false},
		{"block", func(c *Config) {
			c.Address, c.User, c.Password = address(t, "db"), "exporter", config.NewSecret("p")
		}, "db exporter p", false},
		{"file", func(c *Config) { c.MyCnf = file }, "filehost:3307 fromfile secret-f", false},
		{"the block wins over the file", func(c *Config) { c.MyCnf, c.Address, c.User = file, address(t, "db:1"), "me" }, "db:1 me secret-f", false},
		{"another section", func(c *Config) { c.MyCnf, c.MyCnfSection = file, "other" }, "/run/my.sock other ", false},
		{"tls of the file", func(c *Config) { c.MyCnf, c.MyCnfSection = file, "secure" }, "h:3306 a ", true},
		{"dsn", func(c *Config) { c.DSN = config.NewSecret("u:p@w:x@tcp(db.example.com:3308)/") }, "db.example.com:3308 u p@w:x", false},
		{"dsn by socket", func(c *Config) { c.DSN = config.NewSecret("u@unix(/tmp/my.sock)/?tls=skip-verify") }, "unix:/tmp/my.sock u ", true},
	} {
		cfg := defaults()
		tt.change(&cfg)
		l, err := cfg.login()
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if got := fmt.Sprintf("%s %s %s", l.address, l.driver.User, l.driver.Passwd); got != tt.want {
			t.Errorf("%s: %q", tt.name, got)
		}
		if insecure := l.driver.TLS != nil && l.driver.TLS.InsecureSkipVerify; insecure != tt.insecure {
			t.Errorf("%s: TLS %+v", tt.name, l.driver.TLS)
		}
	}
}

func TestTLSVerifiesTheHostOfTheAddress(t *testing.T) {
	cfg := defaults()
	cfg.Address, cfg.TLS = address(t, "db.example.com:3306"), &httpclient.TLS{}
	l, err := cfg.login()
	if err != nil || l.driver.TLS == nil || l.driver.TLS.ServerName != "db.example.com" || l.driver.TLS.InsecureSkipVerify {
		t.Errorf("%+v %v", l.driver.TLS, err)
	}
	cfg.TLS = &httpclient.TLS{ServerName: "other"}
	if l, err = cfg.login(); err != nil || l.driver.TLS.ServerName != "other" {
		t.Errorf("%+v %v", l.driver.TLS, err)
	}
	cfg.TLS = &httpclient.TLS{CAFile: filepath.Join(t.TempDir(), "none.pem")}
	if _, err = cfg.login(); err == nil || !strings.Contains(err.Error(), "none.pem") {
		t.Error(err)
	}
}

func TestWhatCantBeReadIsToldWithoutItsSecrets(t *testing.T) {
	broken := write(t, "[client]\nuser=a\npassword=hunter2\nport=many\n")
	for _, tt := range []struct {
		change func(*Config)
		want   string
	}{
		{func(c *Config) { c.MyCnf = filepath.Join(t.TempDir(), "none") }, "my_cnf: there is no "},
		{func(c *Config) { c.MyCnf = t.TempDir() }, "is not a regular file"},
		{func(c *Config) { c.MyCnf, c.MyCnfSection = broken, "client2" }, "has no section [client2]"},
		{func(c *Config) { c.MyCnf = broken }, "port is not between"},
		{func(c *Config) { c.DSN = config.NewSecret("u:hunter2@db:3306") }, "the dsn can't be read"},
		{func(c *Config) { c.DSN = config.NewSecret("u:hunter2@tcp(db:3306)/?tls=none") }, "the dsn can't be read"},
		{func(c *Config) { c.DSN = config.NewSecret("u:hunter2@pipe(x)/") }, "the dsn names no address"},
		{func(c *Config) { c.Password = config.NewSecretFile(filepath.Join(t.TempDir(), "none")) }, "doesn't exist"},
	} {
		cfg := defaults()
		tt.change(&cfg)
		_, err := cfg.login()
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("want %q, got %v", tt.want, err)
			continue
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the password is in %q", err)
		}
		// The agent starts all the same, and says it at each collection.
		in, err := openServer(testEnv(), &cfg)
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		b, err := collectOnce(t, in)
		if err == nil || render(b) != "# mysql_up gauge Whether the MySQL server is up.\nmysql_up{} 0\n" {
			t.Errorf("%v\n%s", err, render(b))
		}
		if remedy, _ := component.Remedy(err); remedy == "" && !strings.Contains(tt.want, "port") {
			t.Errorf("nothing says what to do about: %v", err)
		}
	}
}

func TestAnInstanceIsKnownOutsideOfItsMachine(t *testing.T) {
	for in, want := range map[string]string{
		"": "box:3306", "localhost": "box:3306", "127.0.0.1:3307": "box:3307", "[::1]:3306": "box:3306", "/run/my.sock": "box:/run/my.sock",
		"db.example.com": "db.example.com:3306", "container://shop_db": "shop_db:3306", "compose://shop/db:3307": "shop/db:3307",
	} {
		cfg := defaults()
		if in != "" {
			cfg.Address = address(t, in)
		}
		input, err := openServer(testEnv(), &cfg)
		if err != nil {
			t.Fatal(err)
		}
		if got := input.Instance(); got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
}
