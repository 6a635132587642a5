package redis

import (
	"slices"
	"strings"
	"testing"

	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// shown are the lines that INFO gives, without those of redis_instance_info.
func shown(t testing.TB, text string) []string {
	t.Helper()
	in := bare(t)
	var b metrics.Batch
	b.Begin(&metrics.Source{}, 1, 1_700_000_000_000)
	in.info.collect([]byte(strings.ReplaceAll(text, "\n", "\r\n")), &b)
	return slices.DeleteFunc(render(&b), func(l string) bool { return strings.HasPrefix(l, "instance_info") })
}

// bare is an input that asks nobody.
func bare(t testing.TB) *input {
	t.Helper()
	return newRig(t, "127.0.0.1:1", nil).input
}

func expect(t *testing.T, got []string, want string) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(want), "\n")
	slices.Sort(lines)
	for _, l := range lines {
		if !slices.Contains(got, l) {
			t.Errorf("missing %s", l)
		}
	}
	for _, l := range got {
		if !slices.Contains(lines, l) {
			t.Errorf("not wanted: %s", l)
		}
	}
}

func TestFieldsAreShownByTheirSection(t *testing.T) {
	expect(t, shown(t, `# Server
uptime_in_seconds:100
hz:10
configured_hz:20
executable:/usr/bin/redis-server
listener0:name=tcp,bind=127.0.0.1,port=6379

# Memory
used_memory:702728
used_memory_human:686.26K
mem_fragmentation_ratio:19.94
total_system_memory:25276502016
maxmemory:0

# Persistence
rdb_last_bgsave_status:ok
aof_last_write_status:err

# Stats
latest_fork_usec:1500
keyspace_hits:7
used_active_time_main_thread:1.5
used_active_time_io_thread_3:2.5
nothing

# Errorstats
errorstat_ERR:count=4
errorstat_NOAUTH:count=x

# Keyspace
db0:keys=3,expires=1,avg_ttl=1500,subexpiry=2
db1:keys=4,expires=0,avg_ttl=0,cached_keys=9
db2:keys=x,expires=0
dbsize:3

# Keysizes
db0_distrib_strings_sizes:1=2,2=1`), `
start_time_seconds{} 1.6999999e+09
uptime_in_seconds{} 100
hz{} 10
configured_hz{} 20
memory_used_bytes{} 702728
mem_fragmentation_ratio{} 19.94
memory_max_bytes{} 0
rdb_last_bgsave_status{} 1
aof_last_write_status{} 0
latest_fork_seconds{} 0.0015
keyspace_hits_total{} 7
active_time_main_thread_seconds_total{} 1.5
active_time_io_thread_seconds_total{thread="3"} 2.5
errors_total{err="ERR"} 4
db_keys{db="db0"} 3
db_keys_expiring{db="db0"} 1
db_avg_ttl_seconds{db="db0"} 1.5
db_keys{db="db1"} 4
db_keys_expiring{db="db1"} 0
db_avg_ttl_seconds{db="db1"} 0
db_keys_cached{db="db1"} 9
dbsize{} 3`)
}

func TestCommandsAreShownWithTheirPercentiles(t *testing.T) {
	expect(t, shown(t, `# Latencystats
latency_percentiles_usec_get:p50=1.003,p99.9=4.015
latency_percentiles_usec_gone:p50=1.003
latency_percentiles_usec_set:p50=x
# Commandstats
cmdstat_get:calls=21,usec=175000,usec_per_call=8.33,rejected_calls=1,failed_calls=2
cmdstat_set:calls=2,usec=10,usec_per_call=5.00
cmdstat_bad:calls=2
cmdstat_worse:calls=2,usec=x,usec_per_call=5.00`), `
commands_total{cmd="get"} 21
commands_duration_seconds_total{cmd="get"} 0.175
commands_rejected_calls_total{cmd="get"} 1
commands_failed_calls_total{cmd="get"} 2
commands_total{cmd="set"} 2
commands_duration_seconds_total{cmd="set"} 1e-05
latency_percentiles_usec{cmd="get", quantile="50"} 1.003
latency_percentiles_usec{cmd="get", quantile="99.9"} 4.015
latency_percentiles_usec_sum{cmd="get"} 175000
latency_percentiles_usec_count{cmd="get"} 21`)
}

func TestAReplicaShowsItsMastersAndItsReplicas(t *testing.T) {
	expect(t, shown(t, `# Replication
role:slave
master_host:10.0.0.1
master_port:6379
master_link_status:up
master_last_io_seconds_ago:3
master_sync_in_progress:0
slave_read_repl_offset:14
slave_repl_offset:15
master_1_host:10.0.0.2
master_1_port:6380
master_1_link_status:down
master_1_last_io_seconds_ago:-1
master_1_sync_in_progress:1
slave_priority:100
slave_read_only:1
connected_slaves:2
slave0:ip=10.0.0.3,port=6381,state=online,offset=14,lag=1,type=replica
slave1:ip=fd00::4,port=6382,state=wait_bgsave,offset=0
slave2:ip=10.0.0.5,port=6383,state=online,offset=x,lag=0
master_repl_offset:15`), `
master_link_up{master_host="10.0.0.1", master_port="6379"} 1
master_last_io_seconds_ago{master_host="10.0.0.1", master_port="6379"} 3
master_sync_in_progress{master_host="10.0.0.1", master_port="6379"} 0
slave_repl_offset{master_host="10.0.0.1", master_port="6379"} 15
master_link_up{master_host="10.0.0.2", master_port="6380"} 0
master_last_io_seconds_ago{master_host="10.0.0.2", master_port="6380"} -1
master_sync_in_progress{master_host="10.0.0.2", master_port="6380"} 1
slave_priority{} 100
connected_slaves{} 2
connected_slave_offset_bytes{slave_ip="10.0.0.3", slave_port="6381", slave_state="online"} 14
connected_slave_lag_seconds{slave_ip="10.0.0.3", slave_port="6381", slave_state="online"} 1
connected_slave_offset_bytes{slave_ip="fd00::4", slave_port="6382", slave_state="wait_bgsave"} 0
master_repl_offset{} 15
slave_info{master_host="10.0.0.2", master_port="6380", read_only="1"} 1`)
}

func TestASentinelShowsItsMasters(t *testing.T) {
	expect(t, shown(t, `# Sentinel
sentinel_masters:1
sentinel_tilt:0
sentinel_tilt_since_seconds:-1
sentinel_running_scripts:0
sentinel_scripts_queue_length:0
sentinel_simulate_failure_flags:0
master0:name=cache,status=odown,address=10.0.0.1:6379,slaves=2,sentinels=3
master1:name=bad,status=ok,address=10.0.0.1:6379,slaves=x,sentinels=3`), `
sentinel_masters{} 1
sentinel_tilt{} 0
sentinel_running_scripts{} 0
sentinel_scripts_queue_length{} 0
sentinel_simulate_failure_flags{} 0
sentinel_master_status{master_address="10.0.0.1:6379", master_name="cache", master_status="odown"} 0
sentinel_master_slaves{master_address="10.0.0.1:6379", master_name="cache"} 2
sentinel_master_sentinels{master_address="10.0.0.1:6379", master_name="cache"} 3`)
}

func TestValkeyIsToldApart(t *testing.T) {
	in := bare(t)
	var b metrics.Batch
	b.Begin(&metrics.Source{}, 1, 1)
	in.info.collect([]byte("# Server\r\nredis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:9.1.2\r\nvalkey_release_stage:ga\r\nredis_mode:standalone\r\n"+
		"os:Linux\r\n# Replication\r\nrole:master\r\n"), &b)
	want := `instance_info{master_replid="", maxmemory_policy="", os="Linux", process_id="", redis_build_id="", redis_mode="standalone", redis_version="7.2.4", ` +
		`role="master", run_id="", tcp_port="", valkey_release_stage="ga", valkey_version="9.1.2"} 1`
	if got := render(&b); len(got) != 1 || got[0] != want {
		t.Errorf("%q", got)
	}
}

// The help texts, types and units of what has no words of its own follow from its name.
func TestFamiliesAreDescribedAsTheExporterDoes(t *testing.T) {
	in := bare(t)
	for name, want := range map[string]metrics.Desc{
		"used_memory":   {Name: "redis_memory_used_bytes", Help: "memory_used_bytes metric", Unit: "bytes", Kind: metrics.Gauge},
		"keyspace_hits": {Name: "redis_keyspace_hits_total", Help: "keyspace_hits_total metric", Kind: metrics.Counter},
		"used_cpu_sys":  {Name: "redis_cpu_sys_seconds_total", Help: "cpu_sys_seconds_total metric", Unit: "seconds", Kind: metrics.Counter},
		// A counter that isn't called one.
		"total_reads_processed": {Name: "redis_total_reads_processed", Help: "total_reads_processed metric", Kind: metrics.Counter},
	} {
		if got := in.info.fields[name]; got == nil || *got.desc != want {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if n := len(in.info.fields); n != len(gaugeFields)+len(counterFields) {
		t.Errorf("%d fields: one stands twice", n)
	}
}

const latencyHistogram = "*4\r\n$3\r\nget\r\n*4\r\n$5\r\ncalls\r\n:3\r\n$14\r\nhistogram_usec\r\n*4\r\n:1\r\n:1\r\n:16\r\n:3\r\n" +
	"$6\r\nconfig\r\n*4\r\n$5\r\ncalls\r\n:2\r\n$14\r\nhistogram_usec\r\n*2\r\n:33554432\r\n:2\r\n"

func TestHistogramsGrowBucketsAndSumTheirSubcommands(t *testing.T) {
	in := bare(t)
	collect := func(cycle uint64, histogram string) []string {
		var b metrics.Batch
		b.Begin(&metrics.Source{}, cycle, 1)
		in.info.collect([]byte("# Commandstats\r\ncmdstat_get:calls=3,usec=20,usec_per_call=1\r\ncmdstat_config|get:calls=1,usec=7,usec_per_call=1\r\n"+
			"cmdstat_config|set:calls=1,usec=5,usec_per_call=1\r\n"), &b)
		b.Samples = b.Samples[:0]
		in.info.commands.histograms(mustRead(t, histogram), &b)
		return render(&b)
	}
	expect(t, collect(1, latencyHistogram), `
commands_latencies_usec_bucket{cmd="get", le="1"} 1
commands_latencies_usec_bucket{cmd="get", le="16"} 3
commands_latencies_usec_bucket{cmd="get", le="+Inf"} 3
commands_latencies_usec_sum{cmd="get"} 20
commands_latencies_usec_count{cmd="get"} 3
commands_latencies_usec_bucket{cmd="config", le="3.3554432e+07"} 2
commands_latencies_usec_bucket{cmd="config", le="+Inf"} 2
commands_latencies_usec_sum{cmd="config"} 12
commands_latencies_usec_count{cmd="config"} 2`)
	expect(t, collect(2, "*2\r\n$3\r\nget\r\n*4\r\n$5\r\ncalls\r\n:5\r\n$14\r\nhistogram_usec\r\n*6\r\n:1\r\n:1\r\n:4\r\n:2\r\n:16\r\n:5\r\n"), `
commands_latencies_usec_bucket{cmd="get", le="1"} 1
commands_latencies_usec_bucket{cmd="get", le="4"} 2
commands_latencies_usec_bucket{cmd="get", le="16"} 5
commands_latencies_usec_bucket{cmd="get", le="+Inf"} 5
commands_latencies_usec_sum{cmd="get"} 20
commands_latencies_usec_count{cmd="get"} 5`)
	if got := collect(3, "*3\r\n$3\r\nget\r\n*1\r\n:1\r\n$3\r\nset\r\n"); len(got) != 0 {
		t.Errorf("from a broken reply: %q", got)
	}
}

func TestASteadyInfoDoesNotAllocate(t *testing.T) {
	in := bare(t)
	text := largeInfo()
	histogram := mustRead(t, latencyHistogram)
	var b metrics.Batch
	source := &metrics.Source{}
	cycle := uint64(0)
	run := func() {
		cycle++
		b.Begin(source, cycle, 1)
		in.info.collect(text, &b)
		in.info.empty(16, &b)
		in.info.commands.histograms(histogram, &b)
		in.info.commands.rows.Sweep(cycle)
	}
	for range 3 {
		run()
	}
	if n := testing.AllocsPerRun(50, run); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// largeInfo is INFO of a server on which a hundred commands were used.
func largeInfo() []byte {
	var b strings.Builder
	b.WriteString("# Server\r\nredis_version:8.0.6\r\nos:Linux\r\nrun_id:2a6bebdf381432393ae547948c37192f8e8522be\r\nuptime_in_seconds:9\r\nhz:10\r\n# Memory\r\n")
	for _, list := range [][]string{gaugeFields[:], counterFields[:]} {
		for _, f := range list {
			name, _, _ := strings.Cut(f, "=")
			b.WriteString(name + ":123456\r\n")
		}
	}
	b.WriteString("# Replication\r\nrole:master\r\nslave0:ip=10.0.0.3,port=6381,state=online,offset=14,lag=1\r\n# Commandstats\r\n")
	for i := range 100 {
		b.WriteString("cmdstat_command" + string(rune('a'+i%26)) + strings.Repeat("x", i/26) + ":calls=21,usec=175,usec_per_call=8.33,rejected_calls=0,failed_calls=0\r\n")
	}
	b.WriteString("cmdstat_config|get:calls=21,usec=175,usec_per_call=8.33,rejected_calls=0,failed_calls=0\r\n# Errorstats\r\nerrorstat_ERR:count=4\r\n# Latencystats\r\n")
	for i := range 100 {
		b.WriteString("latency_percentiles_usec_command" + string(rune('a'+i%26)) + strings.Repeat("x", i/26) + ":p50=1.003,p99=3.007,p99.9=4.015\r\n")
	}
	b.WriteString("# Keyspace\r\ndb0:keys=3,expires=1,avg_ttl=1500,subexpiry=2\r\n")
	return []byte(b.String())
}

func BenchmarkInfo(b *testing.B) {
	in := bare(b)
	text := largeInfo()
	var batch metrics.Batch
	source := &metrics.Source{}
	cycle := uint64(0)
	b.ReportAllocs()
	for b.Loop() {
		cycle++
		batch.Begin(source, cycle, 1)
		in.info.collect(text, &batch)
	}
}

func FuzzInfo(f *testing.F) {
	f.Add("# Keyspace\r\ndb0:keys=1,expires=0\r\n# Commandstats\r\ncmdstat_a|b:calls=1,usec=2,usec_per_call=3\r\n")
	f.Add("# Latencystats\r\nlatency_percentiles_usec_get:p=1,=2,p50\r\n# Replication\r\nslave0:=,\r\nmaster_1_link_status:up\r\nmaster_\r\n")
	f.Add("# Sentinel\r\nmaster0:name\r\n# Errorstats\r\nerrorstat_\xff:count=1\r\nx:y\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		in := bare(t)
		var b metrics.Batch
		for cycle := range uint64(2) {
			b.Begin(&metrics.Source{}, cycle+1, 1)
			in.info.collect([]byte(text), &b)
			in.info.modules([]byte(text), in.module, &b)
			in.info.pairs([]byte(text), &b)
			in.clients.collect(value{text}, &b)
		}
		for _, s := range b.Samples {
			if !strings.HasPrefix(s.Series.Name(), prefix) {
				t.Fatalf("%s", s.Series.Labels())
			}
		}
	})
}
