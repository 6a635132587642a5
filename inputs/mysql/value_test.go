package mysql

import (
	"bytes"
	"context"
	"database/sql/driver"
	"io"
	"math"
	"net"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	mysql "github.com/go-sql-driver/mysql"
)

func TestValuesOfVariablesAreReadAsTheExporterReadsThem(t *testing.T) {
	for _, tt := range []struct {
		raw  string
		want float64
		ok   bool
	}{
		{"0", 0, true}, {"18446744073709551615", math.MaxUint64, true}, {"18446744073709551616", 18446744073709551616, true},
		{"-1", -1, true}, {"0.000227664", 0.000227664, true}, {"1e3", 1000, true},
		{"ON", 1, true}, {"Off", 0, true}, {"YES", 1, true}, {"no", 0, true}, {"DISABLED", 0, true}, {"Connecting", 0, true},
		{"Primary", 1, true}, {"non-Primary", 0, true}, {"Disconnected", 0, true},
		{"Nov 24 13:11:01 2036 GMT", 2111145061, true}, {"Nov  4 13:11:01 2036 GMT", 2109417061, true}, {"2026-11-26 13:36:34", 1795700194, true},
		{"5.7", 5.7, true}, {"5.7.44", 0, false}, {"binlog.000123", 0, false}, {"", 0, false}, {"ONN", 0, false}, {"/var/lib/mysql/", 0, false},
		{"1e999", 0, false},
	} {
		got, ok := parseState([]byte(tt.raw))
		if ok != tt.ok || ok && got != tt.want {
			t.Errorf("%q is %v, %v; want %v, %v", tt.raw, got, ok, tt.want, tt.ok)
		}
	}
}

func TestAValueThatChangesIsReadAgain(t *testing.T) {
	var s state
	for _, tt := range []struct {
		raw  string
		want float64
		ok   bool
	}{{"ON", 1, true}, {"ON", 1, true}, {"OFF", 0, true}, {"words", 0, false}, {"7", 7, true}, {"words", 0, false}, {"ON", 1, true}} {
		if got, ok := s.read([]byte(tt.raw)); ok != tt.ok || ok && got != tt.want {
			t.Errorf("%q is %v, %v", tt.raw, got, ok)
		}
	}
}

func FuzzParseState(f *testing.F) {
	for _, s := range []string{"ON", "1", "-1.5", "Nov 24 13:11:01 2036 GMT", "2026-11-26 13:36:34", "0x1p-2", "\xff"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		before := string(b)
		v, ok := parseState(b)
		var s state
		if again, still := s.read(b); still != ok || ok && again != v && !math.IsNaN(v) {
			t.Errorf("%q: %v, %v and then %v, %v", b, v, ok, again, still)
		}
		if want, err := strconv.ParseFloat(before, 64); err == nil && (!ok || v != want && !math.IsNaN(want)) {
			t.Errorf("%q is a number: %v, %v", b, v, ok)
		}
		if string(b) != before {
			t.Error("the value was changed")
		}
	})
}

func TestCellsAreTextAndNumbersWhateverTheDriverMakesOfThem(t *testing.T) {
	for _, tt := range []struct {
		cell   driver.Value
		text   string
		number float64
		ok     bool
	}{
		{[]byte("12"), "12", 12, true}, {"12.5", "12.5", 12.5, true}, {int64(-3), "-3", -3, true}, {uint64(math.MaxUint64), "18446744073709551615", math.MaxUint64, true},
		{1.5, "1.5", 1.5, true}, {float32(0.5), "0.5", 0.5, true}, {nil, "", 0, false}, {[]byte("x"), "x", 0, false},
	} {
		if got := string(text(nil, tt.cell)); got != tt.text {
			t.Errorf("%v is %q", tt.cell, got)
		}
		if got, ok := number(tt.cell); ok != tt.ok || got != tt.number {
			t.Errorf("%v is %v, %v", tt.cell, got, ok)
		}
	}
}

func TestVersionsOfServers(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"9.7.4-2", "MySQL 9.7.4"}, {"8.0.36-28.1", "MySQL 8.0.36"}, {"5.7.44-log", "MySQL 5.7.44"}, {"8.0.mysql_aurora.3.04.0", ""},
		{"10.11.18-MariaDB-0+deb12u1-log", "MariaDB 10.11.18"}, {"5.5.5-10.3.39-MariaDB-1:10.3.39+maria~ubu2004", "MariaDB 10.3.39"}, {"5.5.68-MariaDB", "MariaDB 5.5.68"},
		{"", ""}, {"eight", ""}, {"8", ""},
	} {
		v, err := parseVersion(tt.text)
		if tt.want == "" {
			if err == nil {
				t.Errorf("%q is %v", tt.text, v)
			}
			continue
		}
		if err != nil || v.String() != tt.want {
			t.Errorf("%q is %v, %v", tt.text, v, err)
		}
	}
	if v, _ := parseVersion("10.5.9-MariaDB"); !v.mariadbSince(10, 5, 9) || v.mariadbSince(10, 5, 10) || !v.mariadbSince(10, 4, 30) || v.mysqlSince(8, 0, 0) {
		t.Error("10.5.9 is not between its neighbours")
	}
}

// handshake is the greeting of a server.
func handshake(version string) []byte {
	payload := append([]byte("\x0a"+version+"\x00"), make([]byte, 60)...)
	return append([]byte{byte(len(payload)), 0, 0, 0}, payload...)
}

// FuzzGreeting hands what passes as a greeting to the driver, which must not panic.
func FuzzGreeting(f *testing.F) {
	f.Add(handshake("9.7.4-2"))
	f.Add([]byte("\x2e\x00\x00\x00\xffj\x04Host '172.18.0.5' is not allowed to connect"))
	f.Add([]byte("\x0f\x00\x00\x00SSH-2.0-OpenSSH"))
	f.Add([]byte("\x10\x00\x00\x00\x0a8\x00aaaaaaaaaaaaa\xff"))
	f.Fuzz(func(t *testing.T, sent []byte) {
		packet, err := readGreeting(bytes.NewReader(sent))
		if err != nil {
			return
		}
		g := &greeting{Conn: nobody{}, packet: packet, version: greetingVersion(packet)}
		cfg := mysql.NewConfig()
		cfg.Logger = &mysql.NopLogger{}
		cfg.DialFunc = func(context.Context, string, string) (net.Conn, error) { return g, nil }
		connector, err := mysql.NewConnector(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if c, err := connector.Connect(t.Context()); err == nil {
			_ = c.Close()
			t.Error("logged in to nobody")
		}
	})
}

// nobody is a connection whose other side says nothing more.
type nobody struct{ net.Conn }

func (nobody) Read([]byte) (int, error)    { return 0, io.EOF }
func (nobody) Write(b []byte) (int, error) { return len(b), nil }
func (nobody) Close() error                { return nil }

func TestAGreetingMayComeInPieces(t *testing.T) {
	sent := handshake("5.5.5-10.11.18-MariaDB")
	here, there := net.Pipe()
	defer here.Close()
	go func() {
		for i := range sent {
			_, _ = there.Write(sent[i : i+1])
		}
		_ = there.Close()
	}()
	g, err := greet(t.Context(), here)
	if err != nil || g.version.String() != "MariaDB 10.11.18" {
		t.Fatal(g, err)
	}
	if got, err := io.ReadAll(g); err != nil || !bytes.Equal(got, sent) {
		t.Errorf("the driver reads %q, %v", got, err)
	}
}

func TestNamesOfStatesAndMetrics(t *testing.T) {
	for in, want := range map[string]string{
		"": "unknown", "Waiting for table flush": "waiting_for_table_flush", "Opening tables.": "opening_tables", "Has sent all binlog; waiting (a-b)": "has_sent_all_binlog_waiting_a_b",
	} {
		if got := string(appendState(nil, []byte(in))); got != want {
			t.Errorf("%q is %q", in, got)
		}
	}
	if got := metricName("Rpl_semi-sync.Ümlaut"); got != "rpl_semi_sync__mlaut" {
		t.Error(got)
	}
	if got := tokudbName("ft: nonleaf node evictions (bytes)"); got != "ft_nonleaf_node_evictions_bytes" {
		t.Error(got)
	}
}

func FuzzOptionFile(f *testing.F) {
	f.Add("[client]\nuser = a\npassword=\"p#w\"\n")
	f.Add("[client\n=\n!include x\n;")
	f.Fuzz(func(t *testing.T, s string) {
		options, found := parseOptions([]byte(s), "client")
		if !found && len(options) > 0 {
			t.Errorf("options of no section: %v", options)
		}
		for name := range options {
			if strings.ContainsAny(name, "=\n") {
				t.Errorf("%q", name)
			}
		}
	})
}

func TestOptionFile(t *testing.T) {
	options, found := parseOptions([]byte(`# a comment
user = nobody
[mysqld]
password = wrong
[client]
user=exporter
password = "pa#ss$w'ord"
host = db.example.com
port=3307
ssl_ca = '/etc/ca.pem'
enable-cleartext-plugin
; another
!includedir /etc/my.cnf.d
[mysqldump]
user = dump
`), "client")
	want := map[string]string{"user": "exporter", "password": "pa#ss$w'ord", "host": "db.example.com", "port": "3307", "ssl-ca": "/etc/ca.pem", "enable-cleartext-plugin": ""}
	if !found || len(options) != len(want) {
		t.Errorf("%v %q", found, options)
	}
	for name, value := range want {
		if options[name] != value {
			t.Errorf("%s is %q", name, options[name])
		}
	}
}

func TestTextThatIsNoUTF8CanBeALabel(t *testing.T) {
	for _, s := range splitKey("a\xff\xc3\x28b\xff") {
		if !utf8.ValidString(s) {
			t.Errorf("%q", s)
		}
	}
}
