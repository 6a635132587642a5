//go:build integration

package integration

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	cryptorand "crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hermod-agent/hermod/integration/harness"
)

// redisSeries is a scrape page: values by series, types and help texts by family. Labels that only tell inputs apart are left out.
type redisSeries struct {
	values     map[string]float64
	types      map[string]string
	help       map[string]string
	labelsOf   map[string]map[string]string
	familyOf   map[string]string
	fetchedRaw string
}

var (
	sampleLine = regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$`)
	labelPair  = regexp.MustCompile(`([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)",?`)
)

// redisPage fetches the series of Redis from a scrape page.
func redisPage(t *testing.T, url string) redisSeries {
	t.Helper()
	text, err := harness.Fetch(url)
	if err != nil {
		t.Fatal(err)
	}
	p := redisSeries{map[string]float64{}, map[string]string{}, map[string]string{}, map[string]map[string]string{}, map[string]string{}, text}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if rest, ok := strings.CutPrefix(line, "# TYPE redis_"); ok {
			name, kind, _ := strings.Cut(rest, " ")
			p.types["redis_"+name] = kind
			continue
		}
		if rest, ok := strings.CutPrefix(line, "# HELP redis_"); ok {
			name, words, _ := strings.Cut(rest, " ")
			p.help["redis_"+name] = words
			continue
		}
		m := sampleLine.FindStringSubmatch(line)
		if m == nil || !strings.HasPrefix(m[1], "redis_") {
			continue
		}
		labels := map[string]string{}
		for _, l := range labelPair.FindAllStringSubmatch(m[2], -1) {
			if l[1] != "instance" {
				labels[l[1]] = l[2]
			}
		}
		var key strings.Builder
		key.WriteString(m[1])
		for _, name := range slices.Sorted(maps.Keys(labels)) {
			fmt.Fprintf(&key, " %s=%q", name, labels[name])
		}
		v, err := strconv.ParseFloat(m[3], 64)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if _, twice := p.values[key.String()]; twice {
			t.Errorf("%s: %s stands twice", url, key.String())
		}
		p.values[key.String()], p.labelsOf[key.String()], p.familyOf[key.String()] = v, labels, m[1]
	}
	return p
}

// redisDifference is a difference from redis_exporter that is meant, with its proof.
type redisDifference struct {
	series *regexp.Regexp // of a key of page.values
	proof  string
}

func redisDifferences(list map[string]string) []redisDifference {
	var out []redisDifference
	for pattern, proof := range list {
		out = append(out, redisDifference{regexp.MustCompile("^(" + pattern + ")$"), proof})
	}
	return out
}

func isRedisDifference(list []redisDifference, key string) bool {
	return slices.ContainsFunc(list, func(d redisDifference) bool { return d.series.MatchString(key) })
}

// askingCommands are what the agent, redis_exporter and this test's health checks run: asking changes what is told of them.
const askingCommands = `cmd="(client\\|(setname|list)|config\\|get|info|latency\\|(latest|histogram)|slowlog\\|(len|get)|commandlog\\|(len|get)|cluster\\|(info|slots|nodes)|` +
	`sentinel\\|.*|xinfo\\|.*|memory\\|usage|module\\|list|command|scan|type|strlen|get|pfcount|llen|scard|zcard|hlen|xlen|select|eval|dbsize|readonly|asking|` +
	`replconf|ping|publish|psync)"`

// The written list of differences. The files that are named are redis_exporter's.
var (
	// redisMissing is what redis_exporter alone has.
	redisMissing = redisDifferences(map[string]string{
		`redis_db_keys_cached .*`: "info.go takes the fourth number of a database for KeyDB's cached_keys; since Redis 7.4 that is subexpiry, the number of " +
			"hashes with fields that expire (genRedisInfoString in Redis' server.c), so it is another number under that name",
		`redis_config_key_value key="primaryauth" .*`: "the password of Valkey's primary; extractConfigMetrics in exporter.go leaves its older name masterauth " +
			"out and forgets this one",
		`redis_exporter_build_info .*`: "version, commit and compiler of a program that doesn't run here; hermod_build_info has the agent's",
		`redis_commands_latencies_usec_bucket ` + askingCommands + ` le=".*"`: "what a scrape takes longer than those before it adds a bucket, which the page " +
			"before doesn't have",
	})
	// redisAdded is what the agent alone has: redis_exporter 1.88, whose names these are, has it too, but Debian's is 1.86.
	redisAdded = redisDifferences(map[string]string{
		`redis_commandlog_.*`:                 "1.88, commandlog.go",
		`redis_active_time_.*`:                "1.88, metrics.go and exporter.go",
		`redis_stream_entries_added_total .*`: "1.88, streams.go",
		`redis_commands_latencies_usec_bucket ` + askingCommands + ` le=".*"`: "as above",
	})
	// redisMoves is whose value differs because asking changes it, because time goes by, or because it is about the one who asks.
	redisMoves = redisDifferences(map[string]string{
		`redis_exporter_.*`: "about the collection itself",
		`redis_(commands_|latency_percentiles_).* ` + askingCommands + `.*`: "asking runs such commands",
		`redis_commands_latencies_usec_sum cmd=".*[-_.].*"`: "latency.go looks for the sum with an expression that knows no dash, underscore or dot in a " +
			"command's name, and shows 0",
		`redis_(memory_used|mem_|allocator_|cpu_|net_|eventloop_|instantaneous_|active_time_).*`:                                                                   "asking costs it",
		`redis_(commands_processed_total|connections_received_total|connected_clients|total_(reads|writes)_processed|io_threaded_.*|keyspace_(hits|misses)_total)`: "asking counts",
		`redis_(client_recent_.*|reply_buffer_.*|expire_cycle_cpu_time_ms_total)`:                                                                                  "asking costs it",
		`redis_(errors_total .*|unexpected_error_replies|total_error_replies)`:                                                                                     "redis_exporter tries PFCOUNT on every string and commands that the server lacks, which count",
		`redis_(uptime_in_seconds|start_time_seconds|connected_slave_lag_seconds .*|master_last_io_seconds_ago .*|sentinel_master_last_ok_ping_reply_seconds .*)`:  "time goes by",
		`redis_(connected_client_.*|stream_group_consumer_idle_seconds .*|db_avg_ttl_seconds .*)`:                                                                  "time goes by",
		`redis_cluster_.*messages.*`: "nodes talk on",
		`redis_(master_repl_offset|slave_repl_offset .*|connected_slave_offset_bytes .*|repl_backlog_.*)`: "a master pings its replicas",
		`redis_latency_spike_.*`: "a slow machine adds some",
	})
)

// asExporter holds the agent's page against redis_exporter's.
func asExporter(t *testing.T, agent, exporter string) {
	t.Helper()
	// Series come when a command was used for the first time, so each has asked before; and a client may come or go in between.
	redisPage(t, agent)
	redisPage(t, exporter)
	var faults []string
	harness.Eventually(t, 180*time.Second, "the agent shows what redis_exporter shows", func() (bool, string) {
		faults = compareRedis(redisPage(t, agent), redisPage(t, exporter), redisPage(t, agent))
		return len(faults) == 0, strings.Join(faults, "\n")
	})
}

// compareRedis compares what redis_exporter shows with what the agent shows before and after.
func compareRedis(before, theirs, after redisSeries) (faults []string) {
	own := func(labels map[string]string) bool {
		return labels["name"] == "hermod" || labels["name"] == "redis_exporter"
	}
	for key := range theirs.values {
		_, has := after.values[key]
		if _, had := before.values[key]; !has && !had && !isRedisDifference(redisMissing, key) && !own(theirs.labelsOf[key]) {
			faults = append(faults, "missing: "+key)
		}
	}
	for key := range after.values {
		_, had := before.values[key]
		if _, has := theirs.values[key]; had && !has && !isRedisDifference(redisAdded, key) && !own(after.labelsOf[key]) {
			faults = append(faults, "not redis_exporter's: "+key)
		}
	}
	same := func(what string, ours, theirs map[string]string) {
		for name, want := range theirs {
			if got, ok := ours[name]; ok && got != want {
				faults = append(faults, fmt.Sprintf("%s of %s: %q, redis_exporter has %q", what, name, got, want))
			}
		}
	}
	same("type", after.types, theirs.types)
	same("help", after.help, theirs.help)
	for key, want := range theirs.values {
		a, ok := before.values[key]
		b, still := after.values[key]
		if !ok || !still || a != b || isRedisDifference(redisMoves, key) {
			continue
		}
		if a != want {
			faults = append(faults, fmt.Sprintf("%s: %v, redis_exporter has %v", key, a, want))
		}
	}
	slices.Sort(faults)
	return faults
}

// A series that a dashboard reads may not be among the differences.
func TestNoDashboardReadsWhatIsMissingOfRedis(t *testing.T) {
	for _, name := range []string{
		"blocked_clients", "commands_duration_seconds_total", "commands_total", "connected_clients", "db_keys", "db_keys_expiring", "evicted_keys_total",
		"expired_keys_total", "keyspace_hits_total", "keyspace_misses_total", "memory_max_bytes", "memory_used_bytes", "net_input_bytes_total",
		"net_output_bytes_total", "up", "uptime_in_seconds",
	} {
		for _, key := range []string{"redis_" + name, "redis_" + name + ` cmd="get"`, "redis_" + name + ` db="db0"`} {
			if isRedisDifference(redisMissing, key) {
				t.Errorf("%s is missing, and dashboard 763 reads it", key)
			}
		}
	}
}

// redisServers are the programs that are compared.
var redisServers = []struct {
	name    string
	image   func(harness.RedisImages) string
	program string
	version string
}{
	{"Redis 7", func(i harness.RedisImages) string { return i.Redis7 }, "redis-server", "redis_version:7."},
	{"Redis 8", func(i harness.RedisImages) string { return i.Redis8 }, "redis-server", "redis_version:8."},
	{"Valkey", func(i harness.RedisImages) string { return i.Redis8 }, "valkey-server", "valkey_version:9."},
}

const luaScript = `return {"jobs", "3", "workers", tostring(redis.call("DBSIZE"))}`

func TestRedisIsShownAsItsExporterShowsIt(t *testing.T) {
	t.Parallel()
	images := harness.Redis(t)
	for _, s := range redisServers {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			network := harness.RedisNetwork(t)
			server := harness.RunRedis(t, s.image(images), network, nil, s.program, "--protected-mode", "no", "--save", "", "--latency-monitor-threshold", "1",
				"--databases", "5", "--repl-diskless-sync-delay", "0")
			replica := harness.RunRedis(t, s.image(images), network, nil, s.program, "--protected-mode", "no", "--save", "", "--replicaof", server.IP(""), "6379")
			if info := server.Cli("INFO", "SERVER"); !strings.Contains(info, s.version) {
				t.Fatalf("this is no %s: %s", s.name, info)
			}
			fillRedis(t, server)
			harness.Eventually(t, 120*time.Second, "the replica follows", func() (bool, string) {
				info := replica.Cli("INFO", "REPLICATION")
				return strings.Contains(info, "master_link_status:up"), info
			})

			dir := harness.Dir(t)
			script := filepath.Join(dir, "script.lua")
			if err := os.WriteFile(script, []byte(luaScript), 0o644); err != nil {
				t.Fatal(err)
			}
			exporter := func(of *harness.Container, flags ...string) string {
				return exporterOf(t, images, network, []string{"-v", dir + ":" + dir + ":ro"}, of, 6379, flags...)
			}
			plain, all, ofReplica := exporter(server), exporter(server, "-check-keys", "k*,h*", "-check-single-keys", "db1=single,log,none", "-count-keys", "k*,db1=*",
				"-check-streams", "ev*", "-check-single-streams", "audit", "-export-client-list", "-include-config-metrics", "-include-system-metrics",
				"-include-modules-metrics", "-script", script), exporter(replica)

			listen := harness.FreeAddress(t)
			agent := harness.NewAgent(t, harness.AgentOptions{Config: fmt.Sprintf(`
input "redis" "plain" {
  address = "%[1]s"
}
input "redis" "all" {
  address                 = "%[1]s:6379"
  check_keys              = ["k*", "h*"]
  check_single_keys       = ["db1=single", "log", "none"]
  count_keys              = ["k*", "db1=*"]
  check_streams           = ["ev*"]
  check_single_streams    = ["audit"]
  export_client_list      = true
  include_config_metrics  = true
  include_system_metrics  = true
  include_modules_metrics = true
  script                  = ["%[4]s"]
}
input "redis" "replica" {
  address = "%[2]s"
}
output "prometheus" "scrape" {
  from    = input.redis
  listen  = "%[3]s"
  max_age = "0s"
}
`, server.IP(""), replica.IP(""), listen, script)})
			agent.Start()
			agent.AwaitReady()
			of := func(input string) string { return "http://" + listen + "/metrics?input=redis." + input }
			asExporter(t, of("plain"), plain)
			asExporter(t, of("all"), all)
			asExporter(t, of("replica"), ofReplica)

			// Both sides could be empty and equal.
			got := redisPage(t, of("all"))
			for key, want := range map[string]float64{
				"redis_up":                                    1,
				`redis_db_keys db="db0"`:                      9,
				`redis_db_keys_expiring db="db0"`:             1,
				`redis_db_keys db="db4"`:                      0,
				`redis_key_value db="db0" key="k1"`:           42,
				`redis_key_size db="db0" key="log"`:           3,
				`redis_keys_count db="db0" key="k*"`:          3,
				`redis_stream_length db="db0" stream="audit"`: 2,
				`redis_stream_group_messages_pending db="db0" group="g" stream="events"`: 1,
				`redis_commands_rejected_calls_total cmd="get"`:                          0,
				`redis_script_values filename="` + script + `" key="jobs"`:               3,
				"redis_connected_slaves":                                                 1,
			} {
				if v, ok := got.values[key]; !ok || v != want {
					t.Errorf("%s is %v, %v", key, v, ok)
				}
			}
			if v := got.values["redis_errors_total err=\"WRONGTYPE\""]; v < 1 {
				t.Error("no error was counted")
			}
			if v := got.values["redis_slowlog_length"]; v < 1 {
				t.Error("nothing was slow")
			}
			if v := redisPage(t, of("replica")).values[fmt.Sprintf("redis_master_link_up master_host=%q master_port=\"6379\"", server.IP(""))]; v != 1 {
				t.Error("the replica doesn't show its master")
			}
			if faults, err := harness.CheckMetrics(t, got.fetchedRaw); err != nil {
				t.Errorf("promtool: %v: %.2000s", err, faults)
			}
			redisIsWellAgain(t, agent)
		})
	}
}

// fillRedis makes nine keys in database 0 and one in 1, errors, a slow command, a stream with a group.
func fillRedis(t testing.TB, c *harness.Container) {
	t.Helper()
	for _, command := range [][]string{
		{"SET", "k1", "42"}, {"SET", "k2", "words"}, {"SETEX", "k3", "100000", "gone"}, {"HSET", "h1", "a", "1", "b", "2"}, {"LPUSH", "list", "a"},
		{"PFADD", "log", "a", "b", "c"}, {"SADD", "set", "a"},
		{"XADD", "events", "*", "a", "b"}, {"XADD", "audit", "*", "a", "b"}, {"XADD", "audit", "*", "a", "b"},
		{"XGROUP", "CREATE", "events", "g", "0"}, {"XREADGROUP", "GROUP", "g", "worker", "COUNT", "1", "STREAMS", "events", ">"},
		{"-n", "1", "SET", "single", "1"},
		{"LPUSH", "k1", "a"}, {"NOSUCHCOMMAND"}, {"GEORADIUS_RO", "nowhere", "1", "1", "1", "m"},
		{"CONFIG", "SET", "slowlog-log-slower-than", "0"}, {"ECHO", "slow"}, {"CONFIG", "SET", "slowlog-log-slower-than", "10000000"},
		{"EVAL", "local i = 0; while i < 3000000 do i = i + 1 end; return 1", "0"},
	} {
		c.Cli(command...)
	}
}

// redisFaults is what the agent's status says of its Redis inputs, remedies included, by input and key.
func redisFaults(t *testing.T, agent *harness.Agent) map[string]string {
	t.Helper()
	status, err := agent.Status()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, n := range status.Nodes {
		if !strings.HasPrefix(n.Address, "input.redis.") {
			continue
		}
		name := strings.TrimPrefix(n.Address, "input.redis.")
		for _, f := range n.Faults {
			out[strings.TrimSuffix(name+" "+f.Key, " ")] = f.What + ": " + f.Remedy
		}
	}
	return out
}

// exporterOf runs redis_exporter for a server and gives its page.
func exporterOf(t *testing.T, images harness.RedisImages, network string, options []string, of *harness.Container, port int, flags ...string) string {
	t.Helper()
	c := harness.RunRedis(t, images.Redis8, network, options,
		append([]string{"prometheus-redis-exporter", "-redis.addr", fmt.Sprintf("redis://%s:%d", of.IP(""), port), "-web.listen-address", ":9121"}, flags...)...)
	url := "http://" + c.IP("") + ":9121/metrics"
	harness.Eventually(t, 120*time.Second, "redis_exporter answers", func() (bool, string) {
		_, err := harness.Fetch(url)
		return err == nil, fmt.Sprint(err)
	})
	return url
}

func TestASentinelAndAClusterAreShownAsTheExporterShowsThem(t *testing.T) {
	t.Parallel()
	images := harness.Redis(t)
	network := harness.RedisNetwork(t)
	master := harness.RunRedis(t, images.Redis8, network, nil, "redis-server", "--protected-mode", "no", "--save", "")
	sentinels := []*harness.Container{}
	for range 2 {
		sentinels = append(sentinels, harness.RunRedis(t, images.Redis8, network, nil, "sh", "-c", fmt.Sprintf(
			"printf 'port 26379\nprotected-mode no\nsentinel monitor cache %s 6379 2\n' >/tmp/s.conf; exec redis-server /tmp/s.conf --sentinel", master.IP(""))))
	}
	nodes := []*harness.Container{}
	for range 2 {
		nodes = append(nodes, harness.RunRedis(t, images.Redis8, network, nil, "redis-server", "--protected-mode", "no", "--save", "", "--cluster-enabled", "yes"))
	}
	nodes[0].Cli("CLUSTER", "ADDSLOTSRANGE", "0", "8191")
	nodes[1].Cli("CLUSTER", "ADDSLOTSRANGE", "8192", "16383")
	nodes[0].Cli("CLUSTER", "MEET", nodes[1].IP(""), "6379")
	for _, n := range nodes {
		harness.Eventually(t, 180*time.Second, "the cluster is whole", func() (bool, string) {
			info := n.Cli("CLUSTER", "INFO")
			return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_known_nodes:2"), info
		})
	}
	// Some of these belong to the one node and some to the other.
	for _, key := range []string{"a", "b", "c", "d", "e", "f"} {
		nodes[0].Cli("-c", "SET", key, "7")
	}
	for _, s := range sentinels {
		harness.Eventually(t, 180*time.Second, "the sentinels know each other", func() (bool, string) {
			info := s.Cli("-p", "26379", "INFO", "SENTINEL")
			return strings.Contains(info, "status=ok") && strings.Contains(info, "sentinels=2"), info
		})
	}

	listen := harness.FreeAddress(t)
	agent := harness.NewAgent(t, harness.AgentOptions{Config: fmt.Sprintf(`
input "redis" "sentinel" {
  address                    = "%s:26379"
  include_sentinel_peer_info = true
}
input "redis" "node" {
  address           = "%s"
  is_cluster        = true
  check_single_keys = ["a", "b", "c", "d", "e", "f"]
}
output "prometheus" "scrape" {
  from    = input.redis
  listen  = %q
  max_age = "0s"
}
`, sentinels[0].IP(""), nodes[0].IP(""), listen)})
	agent.Start()
	agent.AwaitReady()
	of := func(input string) string { return "http://" + listen + "/metrics?input=redis." + input }
	asExporter(t, of("sentinel"), exporterOf(t, images, network, nil, sentinels[0], 26379, "-include-sentinel-peer-info"))
	asExporter(t, of("node"), exporterOf(t, images, network, nil, nodes[0], 6379, "-is-cluster", "-check-single-keys", "a,b,c,d,e,f"))

	got := redisPage(t, of("sentinel")).values
	if v := got[fmt.Sprintf("redis_sentinel_master_ok_sentinels master_address=%q master_name=\"cache\"", master.IP("")+":6379")]; v != 2 {
		t.Errorf("%v sentinels are well", v)
	}
	got = redisPage(t, of("node")).values
	if got["redis_cluster_state"] != 1 || got["redis_cluster_slots_assigned"] != 16384 {
		t.Errorf("the cluster: state %v, slots %v", got["redis_cluster_state"], got["redis_cluster_slots_assigned"])
	}
	for _, key := range []string{"a", "b", "c", "d", "e", "f"} {
		if v := got[fmt.Sprintf("redis_key_value db=\"db0\" key=%q", key)]; v != 7 {
			t.Errorf("the key %s is %v", key, v)
		}
	}
	redisIsWellAgain(t, agent)
}

func TestARedisThatRefusesSaysWhatToDo(t *testing.T) {
	t.Parallel()
	const secret = "correct-horse-9"
	images := harness.Redis(t)
	network := harness.RedisNetwork(t)
	certs := certificates(t)
	open := harness.RunRedis(t, images.Redis8, network, nil, "redis-server", "--protected-mode", "no", "--save", "", "--maxclients", "20")
	protected := harness.RunRedis(t, images.Redis7, network, nil, "redis-server", "--save", "")
	locked := harness.RunRedis(t, images.Redis7, network, nil, "redis-server", "--save", "", "--requirepass", "right")
	secured := harness.RunRedis(t, images.Redis8, network, []string{"-v", certs + ":" + certs + ":ro"}, "redis-server", "--protected-mode", "no", "--save", "",
		"--port", "0", "--tls-port", "6379", "--tls-cert-file", certs+"/server.pem", "--tls-key-file", certs+"/server.key", "--tls-ca-cert-file", certs+"/ca.pem",
		"--tls-auth-clients", "no")
	strict := harness.RunRedis(t, images.Redis8, network, []string{"-v", certs + ":" + certs + ":ro"}, "redis-server", "--protected-mode", "no", "--save", "",
		"--port", "0", "--tls-port", "6379", "--tls-cert-file", certs+"/server.pem", "--tls-key-file", certs+"/server.key", "--tls-ca-cert-file", certs+"/ca.pem")
	protected.Cli("PING")
	locked.Cli("-a", "right", "ACL", "SETUSER", "few", "on", ">"+secret, "+info")
	locked.Cli("-a", "right", "ACL", "SETUSER", "none", "on", ">"+secret, "+ping")
	open.Cli("PING")
	for _, s := range []*harness.Container{secured, strict} {
		s.Cli("--tls", "--cacert", certs+"/ca.pem", "--cert", certs+"/client.pem", "--key", certs+"/client.key", "PING")
	}

	cases := []struct{ name, config, what, remedy string }{
		{"noauth", `address = "` + locked.IP("") + `"`, "wants a password (NOAUTH)", "ACL SETUSER hermod on >PASSWORD +info +config|get"},
		{"wrongpass", `address = "` + locked.IP("") + "\"\npassword = \"" + secret + `"`, `doesn't accept the password of user "default" (WRONGPASS)`, "requirepass"},
		{"wronguser", `address = "` + locked.IP("") + "\"\nuser = \"nobody\"\npassword = \"" + secret + `"`, `doesn't accept user "nobody" with this password (WRONGPASS)`,
			"ACL SETUSER nobody on resetpass >PASSWORD +info"},
		{"noperm", `address = "` + locked.IP("") + "\"\nuser = \"none\"\npassword = \"" + secret + `"`, `doesn't let user "none" run INFO (NOPERM)`, "ACL SETUSER none +info +config|get"},
		{"protected", `address = "` + protected.IP("") + `"`, "protected mode: it takes connections from its own machine only (DENIED)", "CONFIG SET requirepass PASSWORD"},
		{"refused", `address = "` + open.IP("") + `:6380"`, "connection refused", "start the server"},
		{"plain_to_tls", `address = "` + secured.IP("") + `"`, "closed the connection", "add tls { }"},
		{"tls_to_plain", `address = "` + open.IP("") + "\"\ntls {}", "doesn't answer to TLS in time", "leave tls out of the block"},
		{"authority", `address = "` + secured.IP("") + "\"\ntls { server_name = \"redis.test\" }", "signed by an authority that isn't trusted here", "ca_file"},
		{"name", `address = "` + secured.IP("") + "\"\ntls { ca_file = \"" + certs + "/ca.pem\" }", "is for another name", "server_name"},
		{"client_certificate", `address = "` + strict.IP("") + "\"\ntls {\nca_file = \"" + certs + "/ca.pem\"\nserver_name = \"redis.test\"\n}", "broke the TLS handshake off", "cert_file and key_file"},
		{"partly", `address = "` + locked.IP("") + "\"\nuser = \"few\"\npassword = \"" + secret + `"`, `doesn't let user "few" run CONFIG GET, LATENCY HISTOGRAM, LATENCY LATEST, SLOWLOG GET, SLOWLOG LEN (NOPERM)`,
			"ACL SETUSER few +config|get +latency|latest +latency|histogram +slowlog|len +slowlog|get"},
	}
	config := ""
	for _, c := range cases {
		config += fmt.Sprintf("input \"redis\" %q {\n%s\n}\n", c.name, c.config)
	}
	listen := harness.FreeAddress(t)
	agent := harness.NewAgent(t, harness.AgentOptions{Agent: `interval = "5s"`, Config: config + fmt.Sprintf(`
input "redis" "good" {
  address = "%s"
  tls {
    ca_file     = "%[2]s/ca.pem"
    cert_file   = "%[2]s/client.pem"
    key_file    = "%[2]s/client.key"
    server_name = "redis.test"
  }
}
output "prometheus" "scrape" {
  from   = input.redis
  listen = %[3]q
}
`, strict.IP(""), certs, listen)})
	agent.Start()
	agent.AwaitReady()
	for _, c := range cases {
		key := c.name
		if c.name == "partly" {
			key += " permissions"
		}
		harness.Eventually(t, 90*time.Second, c.name+" is told", func() (bool, string) {
			said := redisFaults(t, agent)[key]
			return strings.Contains(said, c.what) && strings.Contains(said, c.remedy), fmt.Sprintf("%q of %v", said, redisFaults(t, agent))
		})
		url := "http://" + listen + "/metrics?input=redis." + c.name
		if c.name == "partly" {
			harness.Eventually(t, 60*time.Second, "what the user may ask for is there", func() (bool, string) {
				got := redisPage(t, url).values
				return got["redis_up"] == 1 && got["redis_uptime_in_seconds"] > 0, fmt.Sprint(got["redis_up"], redisFaults(t, agent))
			})
			continue
		}
		got := redisPage(t, url)
		for series := range got.values {
			if series != "redis_up" && !strings.HasPrefix(series, "redis_exporter_") && series != "redis_target_scrape_request_errors_total" {
				t.Errorf("%s: shown although the server can't be asked: %s", c.name, series)
			}
		}
		if v, ok := got.values["redis_up"]; !ok || v != 0 || got.values["redis_exporter_scrapes_total"] == 0 {
			t.Errorf("%s: redis_up is %v, %v", c.name, v, ok)
		}
	}
	for _, c := range cases {
		// A text with quotes has them escaped in the log.
		if quoted := strconv.Quote(c.what); !strings.Contains(agent.Log(), quoted[1:len(quoted)-1]) {
			t.Errorf("%s: the log doesn't say %s", c.name, c.what)
		}
	}
	// hermod check says the same of each, and that the good one is well.
	code, table, errs := agent.Run("check", agent.ConfigFile())
	asJSONCode, asJSON, _ := agent.Run("check", "--json", agent.ConfigFile())
	var checked struct {
		OK       bool
		Findings []struct{ Component, What, State, Detail, Error, Remedy string }
	}
	if err := json.Unmarshal([]byte(asJSON), &checked); err != nil || code != 1 || asJSONCode != 1 || checked.OK {
		t.Errorf("hermod check: codes %d and %d, %v, %s", code, asJSONCode, err, errs)
	}
	for _, c := range cases {
		if !slices.ContainsFunc(checked.Findings, func(f struct{ Component, What, State, Detail, Error, Remedy string }) bool {
			return f.Component == "input.redis."+c.name && f.State == "failed" && strings.Contains(f.Error, c.what) && strings.Contains(f.Remedy, c.remedy)
		}) {
			t.Errorf("hermod check doesn't say of %s: %s", c.name, c.what)
		}
		if !strings.Contains(table, c.what) || !strings.Contains(table, c.remedy) {
			t.Errorf("hermod check prints of %s neither what nor why: %s", c.name, table)
		}
	}
	for _, want := range []string{"ok     input.redis.good: connect to " + strict.IP("") + ":6379: Redis 8.", "ok     input.redis.good: LATENCY HISTOGRAM", "ok     input.redis.partly: INFO"} {
		if !strings.Contains(table, want) {
			t.Errorf("hermod check doesn't say %q:\n%s", want, table)
		}
	}
	harness.Eventually(t, 60*time.Second, "by TLS with everything right", func() (bool, string) {
		v := redisPage(t, "http://"+listen+"/metrics?input=redis.good").values["redis_up"]
		return v == 1, fmt.Sprint(v, redisFaults(t, agent))
	})
	// The lines that were named help.
	locked.Cli("-a", "right", "ACL", "SETUSER", "few", "+config|get", "+latency|latest", "+latency|histogram", "+slowlog|len", "+slowlog|get")
	locked.Cli("-a", "right", "ACL", "SETUSER", "none", "+info", "+config|get", "+client|setname", "+cluster|info", "+slowlog|len", "+slowlog|get", "+latency|latest", "+latency|histogram")
	harness.Eventually(t, 120*time.Second, "the rights are enough", func() (bool, string) {
		redisPage(t, "http://"+listen+"/metrics?input=redis.partly") // which collects anew
		faults := redisFaults(t, agent)
		_, few := faults["few permissions"]
		_, partly := faults["partly permissions"]
		_, none := faults["noperm"]
		_, noneToo := faults["noperm permissions"]
		return !few && !partly && !none && !noneToo, fmt.Sprint(faults)
	})
	for name, text := range map[string]func() (string, error){
		"the log":         func() (string, error) { return agent.Log(), nil },
		"/":               func() (string, error) { return agent.Get("/") },
		"/api/graph":      func() (string, error) { return agent.Get("/api/graph") },
		"the scrape page": func() (string, error) { return harness.Fetch("http://" + listen + "/metrics") },
		"hermod check":    func() (string, error) { return table + errs + asJSON, nil },
	} {
		said, err := text()
		if err != nil || said == "" {
			t.Errorf("%s: %v", name, err)
		}
		if strings.Contains(said, secret) {
			t.Errorf("%s shows the password", name)
		}
	}
}

// redisIsWellAgain waits until the agent finds fault with no server. On a busy machine one may have been late.
func redisIsWellAgain(t *testing.T, agent *harness.Agent) {
	t.Helper()
	harness.Eventually(t, 60*time.Second, "all are well", func() (bool, string) {
		f := redisFaults(t, agent)
		return len(f) == 0, fmt.Sprint(f)
	})
}

// certificates makes an authority, and certificates of a server redis.test and of a client, in a folder.
func certificates(t *testing.T) string {
	t.Helper()
	dir := harness.Dir(t)
	write := func(name, kind string, der []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var caKey *ecdsa.PrivateKey
	var ca *x509.Certificate
	for i, name := range []string{"ca", "server", "client"} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), cryptorand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		c := &x509.Certificate{
			SerialNumber: big.NewInt(int64(i + 1)), Subject: pkix.Name{CommonName: "hermod test " + name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, KeyUsage: x509.KeyUsageDigitalSignature,
		}
		switch name {
		case "ca":
			c.IsCA, c.BasicConstraintsValid, c.KeyUsage, c.ExtKeyUsage = true, true, x509.KeyUsageCertSign, nil
			caKey, ca = key, c
		case "server":
			c.DNSNames = []string{"redis.test"}
		}
		der, err := x509.CreateCertificate(cryptorand.Reader, c, ca, &key.PublicKey, caKey)
		if err != nil {
			t.Fatal(err)
		}
		write(name+".pem", "CERTIFICATE", der)
		if der, err = x509.MarshalECPrivateKey(key); err != nil {
			t.Fatal(err)
		}
		write(name+".key", "EC PRIVATE KEY", der)
	}
	return dir
}

func TestARedisThatHangsOrStopsDelaysNobody(t *testing.T) {
	t.Parallel()
	images := harness.Redis(t)
	network := harness.RedisNetwork(t)
	// The second one keeps its address when it is started again: its port is published on this machine.
	well := harness.RunRedis(t, images.Redis8, network, nil, "redis-server", "--protected-mode", "no", "--save", "")
	ill := harness.RunRedis(t, images.Redis8, network, []string{"-p", "127.0.0.1:" + freePort(t) + ":6379"}, "redis-server", "--protected-mode", "no", "--save", "")
	well.Cli("PING")
	ill.Cli("PING")
	listen := harness.FreeAddress(t)
	agent := harness.NewAgent(t, harness.AgentOptions{Agent: `interval = "2s"`, Config: fmt.Sprintf(`
input "redis" "well" {
  address = "%s"
}
input "redis" "ill" {
  address = "%s"
}
output "prometheus" "scrape" {
  from    = input.redis
  listen  = %q
  max_age = "1h" # the page shows what the intervals brought
}
`, well.IP(""), ill.Published("6379/tcp"), listen)})
	agent.Start()
	agent.AwaitReady()
	of := func(input string) redisSeries { return redisPage(t, "http://"+listen+"/metrics?input=redis."+input) }
	up := func(want float64) {
		t.Helper()
		harness.Eventually(t, 120*time.Second, fmt.Sprintf("redis_up is %v", want), func() (bool, string) {
			got := of("ill").values
			v, ok := got["redis_up"]
			if want == 0 && len(got) > 10 {
				return false, "more is shown than how it went"
			}
			return ok && v == want, fmt.Sprint(v, ok, redisFaults(t, agent))
		})
	}
	// goesOn sees the other input's collections follow one another, and well.
	goesOn := func() {
		t.Helper()
		first, begin := of("well").values["redis_exporter_scrapes_total"], time.Now()
		harness.Eventually(t, 90*time.Second, "the other server is collected on", func() (bool, string) {
			got := of("well").values
			n := got["redis_exporter_scrapes_total"] - first
			faults := maps.Clone(redisFaults(t, agent))
			delete(faults, "ill")
			return n >= 4 && got["redis_up"] == 1 && len(faults) == 0, fmt.Sprintf("%v collections in %v, faults %v", n, time.Since(begin), faults)
		})
	}
	up(1)

	ill.Docker("pause")
	t.Cleanup(func() { ill.Thaw() })
	up(0)
	goesOn()
	if said := redisFaults(t, agent)["ill"]; !strings.Contains(said, "doesn't answer in time") {
		t.Errorf("it hangs: %q", said)
	}
	ill.Docker("unpause")
	up(1)

	ill.Docker("stop", "-t", "0")
	up(0)
	goesOn()
	ill.Docker("start")
	up(1)
	redisIsWellAgain(t, agent)
}

// A server by its socket, as an ACL user with no more than its rights, and of which CONFIG is not to be had, as on managed servers.
func TestRedisByItsSocketAndWithoutCONFIG(t *testing.T) {
	t.Parallel()
	images, network, dir := harness.Redis(t), harness.RedisNetwork(t), harness.Dir(t)
	for _, program := range []string{"redis-server", "valkey-server"} {
		t.Run(program, func(t *testing.T) {
			t.Parallel()
			socket := filepath.Join(dir, program+".sock")
			server := harness.RunRedis(t, images.Redis8, network, []string{"-v", dir + ":" + dir}, program, "--protected-mode", "no", "--save", "",
				"--unixsocket", socket, "--unixsocketperm", "777", "--rename-command", "CONFIG", "")
			server.Cli("SET", "k", "1")
			listen := harness.FreeAddress(t)
			agent := harness.NewAgent(t, harness.AgentOptions{Environment: []string{"REDIS_PASSWORD=" + redisPassword}, Config: fmt.Sprintf(`
input "redis" "managed" {
  address        = "unix:%[1]s"
  user           = "hermod"
  password       = env("REDIS_PASSWORD")
  config_command = "-"
}
input "redis" "as_usual" {
  address = "unix:%[1]s"
}
output "prometheus" {
  from    = input
  listen  = %[2]q
  max_age = "0s"
}
`, socket, listen)})
			// The rights are those that the agent names: first for any server, then what this one has besides.
			server.Cli("ACL", "SETUSER", "hermod", "on", ">"+redisPassword)
			for lines := 0; ; lines++ {
				_, said, _ := agent.Run("check", agent.ConfigFile())
				_, rights, found := strings.Cut(said, "ACL SETUSER hermod ")
				rights, _, _ = strings.Cut(rights, "\n")
				if !found && lines > 0 {
					break
				}
				if !found || lines > 1 || strings.Contains(rights, "config") {
					t.Fatalf("no line for ACL, another one, or one with CONFIG: %s", said)
				}
				server.Cli(append([]string{"ACL", "SETUSER", "hermod"}, strings.Fields(rights)...)...)
			}

			agent.Start()
			agent.AwaitReady()
			managed := "http://" + listen + "/metrics?input=redis.managed"
			asExporter(t, managed, exporterOf(t, images, network, nil, server, 6379, "-config-command", "-", "-set-client-name=false"))
			got := redisPage(t, managed)
			if got.values["redis_up"] != 1 || got.values[`redis_db_keys db="db0"`] != 1 {
				t.Errorf("redis_up %v, %v keys", got.values["redis_up"], got.values[`redis_db_keys db="db0"`])
			}
			for series := range got.values {
				if strings.HasPrefix(series, "redis_config_") {
					t.Errorf("a setting, although none was asked for: %s", series)
				}
			}
			harness.Eventually(t, time.Minute, "that CONFIG is missing is told where it was asked for", func() (bool, string) {
				redisPage(t, "http://"+listen+"/metrics?input=redis.as_usual") // which collects
				faults := redisFaults(t, agent)
				usual := faults["as_usual CONFIG GET"]
				delete(faults, "as_usual CONFIG GET")
				return len(faults) == 0 && strings.Contains(usual, "the server has no command CONFIG") && strings.Contains(usual, `or to "-" on a managed server`), fmt.Sprint(usual, faults)
			})
		})
	}
}

func freePort(t *testing.T) string {
	address := harness.FreeAddress(t)
	return address[strings.LastIndexByte(address, ':')+1:]
}

const redisPassword = "correct-horse-battery"

// A container's label names the secret that is its password; one without such a label is offered none.
func TestRedisServersAreFoundByTheirLabels(t *testing.T) {
	t.Parallel()
	harness.RequireDocker(t)
	images, network, listen := harness.Redis(t), harness.RedisNetwork(t), harness.FreeAddress(t)
	server := func(labels ...string) *harness.Container {
		var options []string
		for _, l := range labels {
			options = append(options, "--label", l)
		}
		return harness.RunRedis(t, images.Redis7, network, options, "redis-server", "--port", "6380", "--save", "", "--requirepass", redisPassword)
	}
	named := server("hermod.redis.port=6380", "hermod.redis.secret=cache")
	unnamed := server("hermod.redis.port=6380")
	server() // asks for nothing
	agent := harness.NewAgent(t, harness.AgentOptions{Agent: `interval = "1s"`, Environment: []string{"REDIS_PASSWORD=" + redisPassword}, Config: fmt.Sprintf(`
input "redis" "labelled" {
  discover = true
  secrets  = { cache = env("REDIS_PASSWORD") }
}
output "prometheus" {
  from   = input
  listen = %q
}
`, listen)})
	agent.Start()
	agent.AwaitReady()
	harness.Eventually(t, 60*time.Second, "the labelled servers are told, and no other", func() (bool, string) {
		page, err := harness.Fetch("http://" + listen + "/metrics")
		if err != nil {
			return false, err.Error()
		}
		ok := strings.Count(page, "\nredis_up{") == 2
		for name, up := range map[string]string{named.Name: "1", unnamed.Name: "0"} {
			ok = ok && strings.Contains(page, fmt.Sprintf("redis_up{instance=%q} %s\n", name+":6380", up))
		}
		return ok, page
	})
	status, err := agent.Status()
	if err != nil {
		t.Fatal(err)
	}
	if said := fmt.Sprint(status.Nodes); !strings.Contains(said, "NOAUTH") || strings.Contains(said, redisPassword) {
		t.Errorf("the status doesn't say what the server without a secret wants, or says too much: %s", said)
	}
	if strings.Contains(agent.Log(), redisPassword) {
		t.Error("the password is in the log")
	}
}
