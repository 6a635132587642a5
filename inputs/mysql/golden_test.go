package mysql

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

var update = flag.Bool("update", false, "write the golden files anew")

// connected is an input that is connected to a server of this version, which answers with the replies of a file.
func connected(t testing.TB, env *component.Env, cfg *Config, server, file string) (*input, *replies) {
	t.Helper()
	in, err := openServer(env, cfg)
	if err != nil {
		t.Fatal(err)
	}
	r := readReplies(t, filepath.Join("testdata", file+".replies"))
	in.session = &session{conn: r, user: "exporter@172.18.0.1", account: "exporter@%", opened: time.Now()}
	if in.session.version, err = parseVersion(server); err != nil {
		t.Fatal(err)
	}
	if in.target, err = in.aim(config.Address{Kind: config.AddressTCP, Host: "db"}.WithPort(defaultPort)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Stop(context.Background()) })
	return in, r
}

// collectAll runs a cycle.
func collectAll(t testing.TB, in *input, cycle uint64) *metrics.Batch {
	t.Helper()
	var b metrics.Batch
	b.Begin(nil, cycle, 1)
	if err := in.Collect(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	return &b
}

// render writes samples as text, sorted: a line for each, and one for each family whose help text isn't shared by hundreds.
func render(b *metrics.Batch) string {
	var lines []string
	for _, s := range b.Samples {
		d := s.Series.Desc
		if !strings.HasPrefix(d.Help, "Generic ") {
			lines = append(lines, "# "+d.Name+" "+d.Kind.String()+" "+d.Help)
		}
		value := strconv.FormatFloat(s.Value, 'g', -1, 64)
		if strings.HasPrefix(d.Name, "mysql_exporter_collector_duration") {
			value = "-"
		}
		var l []string
		s.Series.Labels().Range(func(x labels.Label) {
			if x.Name != labels.MetricName {
				l = append(l, x.Name+"="+strconv.Quote(x.Value))
			}
		})
		lines = append(lines, s.Series.Name()+"{"+strings.Join(l, ",")+"} "+value)
	}
	slices.Sort(lines)
	return strings.Join(slices.Compact(lines), "\n") + "\n"
}

func compareGolden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got == string(want) {
		return
	}
	wanted := strings.Split(string(want), "\n")
	given := strings.Split(got, "\n")
	for _, line := range given {
		if _, found := slices.BinarySearch(wanted, line); !found && line != "" {
			t.Errorf("not in %s: %s", path, line)
		}
	}
	for _, line := range wanted {
		if !slices.Contains(given, line) {
			t.Errorf("missing: %s", line)
		}
	}
}

// The recordings hold what real servers answered to every collector; the golden files were compared with mysqld_exporter's pages of the
// same servers by the integration tests.
func TestRecordedServersGiveTheSameSeriesAsEver(t *testing.T) {
	for _, tt := range []struct{ version, file string }{
		{"9.7.4", "mysql-9.7"}, {"11.8.9-MariaDB", "mariadb-11.8"},
	} {
		t.Run(tt.file, func(t *testing.T) {
			cfg := defaults()
			cfg.Collect = names()
			in, _ := connected(t, testEnv(), &cfg, tt.version, tt.file)
			first := render(collectAll(t, in, 1))
			compareGolden(t, tt.file, first)
			if in.session == nil {
				t.Fatal("the connection was not kept")
			}
			if again := render(collectAll(t, in, 2)); again != first {
				t.Error("a second cycle over the same replies gives something else")
			}
		})
	}
}

// A statement that the server ends in the middle of its rows leaves nothing behind for the collection after it.
func TestWhatBrokeOffIsWholeAgainTheNextTime(t *testing.T) {
	for _, tt := range []struct{ version, file string }{{"9.7.4", "mysql-9.7"}, {"11.8.9-MariaDB", "mariadb-11.8"}} {
		cfg := defaults()
		cfg.Collect = names()
		in, r := connected(t, testEnv(), &cfg, tt.version, tt.file)
		first := render(collectAll(t, in, 1))
		r.broken = true
		var b metrics.Batch
		b.Begin(nil, 2, 1)
		if err := in.Collect(t.Context(), &b); err != nil || in.session == nil {
			t.Fatalf("%v, or the connection was given up", err)
		}
		if part := render(&b); len(part) > len(first)/2 {
			t.Errorf("nothing broke off:\n%s", part)
		}
		r.broken = false
		if again := render(collectAll(t, in, 3)); again != first {
			t.Errorf("%s gives something else then:\n%s", tt.file, diff(first, again))
		}
	}
}

// diff are the lines that only one of two texts has.
func diff(a, b string) string {
	in := map[string]int{}
	for line := range strings.Lines(a) {
		in[line]++
	}
	for line := range strings.Lines(b) {
		in[line]--
	}
	text := ""
	for line, n := range in {
		if n != 0 {
			text += fmt.Sprintf("%+d %s", -n, line)
		}
	}
	return text
}

func TestWhatOnlySomeServersHave(t *testing.T) {
	cfg := defaults()
	cfg.NoCollect = []string{"slave_status", "info_schema.innodb_cmp", "info_schema.innodb_cmpmem"}
	cfg.Collect = []string{"engine_tokudb_status", "info_schema.rocksdb_perf_context", "info_schema.replica_host", "slave_hosts"}
	in, _ := connected(t, testEnv(), &cfg, "8.0.36", "others")
	compareGolden(t, "others", render(collectAll(t, in, 1)))

	cfg.NoCollect, cfg.Collect = names()[:6], []string{"slave_hosts"}
	in, _ = connected(t, testEnv(), &cfg, "5.5.62", "others")
	if got := render(collectAll(t, in, 1)); !strings.Contains(got,
		`mysql_heartbeat_mysql_slave_hosts_info{master_id="1",port="3306",server_id="3",slave_host="replica-3",slave_uuid=""} 1`) {
		t.Errorf("MySQL before 5.6 has no UUIDs, but a rank:\n%s", got)
	}
}

func TestEachVersionIsAskedForItsReplicaStatusInItsOwnWay(t *testing.T) {
	mysqlLabels := `{channel_name="north",connection_name="",master_host="source-1",master_uuid="3e11fa47-71ca-11e1-9e33-c80aa9429562"}`
	mariadbLabels := `{channel_name="",connection_name="north",master_host="source-1",master_uuid=""}`
	common := func(l string) []string {
		return []string{
			"mysql_slave_status_slave_io_running" + l + " 1", "mysql_slave_status_slave_sql_running" + l + " 0",
			"mysql_slave_status_read_master_log_pos" + l + " 1458", "mysql_slave_status_last_errno" + l + " 1062",
			"mysql_slave_status_master_server_id" + l + " 1",
		}
	}
	for _, tt := range []struct {
		version, file string
		asked         []string
		want          []string
	}{
		{"5.6.51-rel91.0", "mysql-5.6", []string{"SHOW SLAVE STATUS NONBLOCKING", "SHOW SLAVE STATUS NOLOCK", "SHOW SLAVE STATUS NOLOCK"},
			common(strings.Replace(mysqlLabels, "north", "", 1))},
		{"5.7.44-log", "mysql-5.7", []string{"SHOW SLAVE STATUS", "SHOW SLAVE STATUS"}, common(mysqlLabels)},
		{"8.0.36", "mysql-8.0", []string{"SHOW SLAVE STATUS", "SHOW SLAVE STATUS"}, append(common(mysqlLabels), "mysql_slave_status_get_master_public_key"+mysqlLabels+" 0")},
		{"8.3.0", "mysql-8.0", []string{"SHOW SLAVE STATUS", "SHOW SLAVE STATUS"}, common(mysqlLabels)},
		{"8.4.0", "mysql-9.7", []string{"SHOW REPLICA STATUS", "SHOW REPLICA STATUS"}, nil},
		{"9.7.4", "mysql-9.7", []string{"SHOW REPLICA STATUS", "SHOW REPLICA STATUS"}, nil},
		{"10.3.39-MariaDB-0+deb10u1", "mariadb-10.3", []string{"SHOW ALL SLAVES STATUS", "SHOW ALL SLAVES STATUS"}, append(common(mariadbLabels),
			`mysql_slave_status_gtid_io_pos{channel_name="",connection_name="north",domain_id="0",master_host="source-1",master_uuid="",server_id="1"} 100`,
			`mysql_slave_status_gtid_io_pos{channel_name="",connection_name="north",domain_id="2",master_host="source-1",master_uuid="",server_id="1"} 7`,
			`mysql_slave_status_gtid_slave_pos{channel_name="",connection_name="north",domain_id="0",master_host="source-1",master_uuid="",server_id="1"} 99`)},
		{"11.8.9-MariaDB", "mariadb-11.8", []string{"SHOW ALL SLAVES STATUS", "SHOW ALL SLAVES STATUS"}, nil},
	} {
		t.Run(tt.version, func(t *testing.T) {
			cfg := defaults()
			for _, name := range names()[:6] {
				if name != "slave_status" {
					cfg.NoCollect = append(cfg.NoCollect, name)
				}
			}
			in, r := connected(t, testEnv(), &cfg, tt.version, tt.file)
			got := render(collectAll(t, in, 1))
			collectAll(t, in, 2)
			if !slices.Equal(r.asked, tt.asked) {
				t.Errorf("asked %q", r.asked)
			}
			for _, line := range tt.want {
				if !strings.Contains(got, line+"\n") {
					t.Errorf("missing: %s", line)
				}
			}
			if strings.Contains(got, "seconds_behind_master") && tt.want != nil {
				t.Error("a NULL has a value")
			}
			if tt.want == nil && !strings.Contains(got, "mysql_slave_status_") {
				t.Errorf("nothing of the replica:\n%s", got)
			}
		})
	}
}
