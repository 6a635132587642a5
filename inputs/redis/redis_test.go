package redis

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const plainInfo = "# Server\r\nredis_version:8.0.6\r\nredis_mode:standalone\r\nuptime_in_seconds:9\r\n# Replication\r\nrole:master\r\n"

// answers are those of a server to which nothing happened.
func answers() map[string]string {
	const conf = "CONFIG GET databases io-threads maxclients maxmemory repl-backlog-size client-output-buffer-limit"
	return map[string]string{
		"INFO ALL": bulk(plainInfo), "INFO": bulk(plainInfo),
		"CLIENT SETNAME hermod": "+OK\r\n",
		conf: array("databases", "2", "maxclients", "10000", "client-output-buffer-limit", "normal 0 0 0 slave 268435456 67108864 60",
			"requirepass", "secret"),
		"LATENCY LATEST":    "*1\r\n*4\r\n$4\r\nfork\r\n:1700000000\r\n:250\r\n:900\r\n",
		"LATENCY HISTOGRAM": latencyHistogram,
		"SLOWLOG LEN":       ":7\r\n",
		"SLOWLOG GET 1":     "*1\r\n*6\r\n:41\r\n:1700000000\r\n:2500000\r\n*1\r\n$3\r\nGET\r\n$0\r\n\r\n$0\r\n\r\n",
	}
}

const configGet = "CONFIG GET databases io-threads maxclients maxmemory repl-backlog-size client-output-buffer-limit"

// withoutSelf leaves out what differs from one collection to the next.
func withoutSelf(lines []string) []string {
	return slices.DeleteFunc(slices.Clone(lines), func(l string) bool {
		return strings.HasPrefix(l, "exporter_") || strings.HasPrefix(l, "commands_latencies") || strings.HasPrefix(l, "instance_info")
	})
}

func TestACollectionShowsAllThatTheServerTells(t *testing.T) {
	s := newServer(t, answers())
	r := newRig(t, s.listener.Addr().String(), nil)
	for range 3 {
		lines, err := r.collect()
		if err != nil {
			t.Fatal(err)
		}
		expect(t, withoutSelf(lines), `
up{} 1
uptime_in_seconds{} 9
start_time_seconds{} 1.699999991e+09
config_maxclients{} 10000
config_client_output_buffer_limit_bytes{class="normal", limit="hard"} 0
config_client_output_buffer_limit_bytes{class="normal", limit="soft"} 0
config_client_output_buffer_limit_overcome_seconds{class="normal", limit="soft"} 0
config_client_output_buffer_limit_bytes{class="slave", limit="hard"} 2.68435456e+08
config_client_output_buffer_limit_bytes{class="slave", limit="soft"} 6.7108864e+07
config_client_output_buffer_limit_overcome_seconds{class="slave", limit="soft"} 60
latency_spike_last{event_name="fork"} 1.7e+09
latency_spike_duration_seconds{event_name="fork"} 0.25
slowlog_length{} 7
slowlog_last_id{} 41
last_slow_execution_duration_seconds{} 2.5
last_key_groups_scrape_duration_milliseconds{} 0
target_scrape_request_errors_total{} 0
db_keys{db="db0"} 0
db_keys{db="db1"} 0
db_keys_expiring{db="db0"} 0
db_keys_expiring{db="db1"} 0`)
	}
	if lines, _ := r.collect(); !has(lines, "exporter_scrapes_total{} 4") || !has(lines, `exporter_last_scrape_error{err=""} 0`) ||
		!has(lines, "exporter_last_scrape_connect_time_seconds{} 0") {
		t.Errorf("%q", lines)
	}
	if n := s.count("CLIENT SETNAME hermod"); n != 1 {
		t.Errorf("%d connections", n)
	}
	if f := r.faults(); len(f) != 0 {
		t.Errorf("faults: %v", f)
	}
}

func TestSettingsAreAskedForOneByOneSinceRedis7(t *testing.T) {
	for version, want := range map[string]string{"7.0.0": configGet, "6.2.14": "CONFIG GET *", "": "CONFIG GET *"} {
		a := answers()
		a["INFO ALL"] = bulk("# Server\r\nredis_version:" + version + "\r\n")
		s := newServer(t, a)
		r := newRig(t, s.listener.Addr().String(), nil)
		_, _ = r.collect()
		if s.count(want) != 1 {
			t.Errorf("%s: %s wasn't asked for", version, want)
		}
	}
}

func TestAllSettingsAreShownButPasswords(t *testing.T) {
	a := answers()
	a["CONFIG GET *"] = array("maxmemory", "100", "requirepass", "hidden", "masterauth", "hidden", "save", "3600 1", "tls-key-file-pass", "hidden")
	s := newServer(t, a)
	r := newRig(t, s.listener.Addr().String(), func(c *Config) { c.IncludeConfigMetrics = true })
	lines, err := r.collect()
	if err != nil || !has(lines, `config_key_value{key="save", value="3600 1"} 1`) || !has(lines, `config_value{key="maxmemory"} 100`) || !has(lines, "config_maxmemory{} 100") {
		t.Errorf("%v %q", err, lines)
	}
	if strings.Contains(strings.Join(lines, "\n"), "hidden") {
		t.Errorf("a password is shown: %q", lines)
	}
}

func TestRefusalsSayWhatToDoAndNeverShowThePassword(t *testing.T) {
	const secret = "Tr0ub4dor"
	asUser := func(c *Config) { c.User, c.Password = "exporter", config.NewSecret(secret) }
	withPassword := func(c *Config) { c.Password = config.NewSecret(secret) }
	for name, tt := range map[string]struct {
		change       func(*Config)
		answers      map[string]string
		greeting     string
		what, remedy string
	}{
		"no password given": {nil, map[string]string{"INFO ALL": "-NOAUTH Authentication required.\r\n", "INFO": "-NOAUTH Authentication required.\r\n"}, "",
			"wants a password (NOAUTH)", "ACL SETUSER hermod on >PASSWORD +info +config|get"},
		"wrong password": {withPassword, map[string]string{"AUTH " + secret: "-WRONGPASS invalid username-password pair or user is disabled.\r\n"}, "",
			`doesn't accept the password of user "default" (WRONGPASS)`, "requirepass"},
		"wrong password of a user": {asUser, map[string]string{"AUTH exporter " + secret: "-WRONGPASS invalid username-password pair\r\n"}, "",
			`doesn't accept user "exporter" with this password (WRONGPASS)`, "ACL SETUSER exporter on resetpass >PASSWORD +info +config|get"},
		"wrong password before Redis 6": {withPassword, map[string]string{"AUTH " + secret: "-ERR invalid password\r\n"}, "",
			"(WRONGPASS)", "requirepass"},
		"a user before Redis 6": {asUser, map[string]string{"AUTH exporter " + secret: "-ERR wrong number of arguments for 'auth' command\r\n"}, "",
			"knows no users", "leave user out"},
		"AUTH renamed": {withPassword, map[string]string{"AUTH " + secret: "-ERR unknown command 'AUTH', with args beginning with: '" + secret + "'\r\n"}, "",
			"AUTH with unknown command", "renamed"},
		"AUTH answered oddly": {withPassword, map[string]string{"AUTH " + secret: "-" + secret + " is no password\r\n"}, "",
			"AUTH with an error", "check user and password"},
		"INFO not allowed": {asUser, map[string]string{"AUTH exporter " + secret: "+OK\r\n",
			"INFO ALL": "-NOPERM User exporter has no permissions to run the 'info' command\r\n", "INFO": "-NOPERM x\r\n"}, "",
			`doesn't let user "exporter" run INFO (NOPERM)`, "ACL SETUSER exporter +info +config|get"},
		"protected mode": {withPassword, nil, "-DENIED Redis is running in protected mode because protected mode is enabled ...\r\n",
			"protected mode: it takes connections from its own machine only (DENIED)", "CONFIG SET protected-mode no"},
		"too many clients": {withPassword, nil, "-ERR max number of clients reached\r\n",
			"no connection left (max number of clients reached)", "CONFIG SET maxclients NUMBER"},
		"no Redis": {withPassword, nil, "HTTP/1.1 400 Bad Request\r\n", `is no Redis server: it answers "HTTP/1.1 400 Bad Request"`, "check the address and the port"},
		"TLS":      {nil, nil, "\x15\x03\x01\x00\x02\x02\x16\r\n", "speaks TLS", "add tls { }"},
		"silence":  {nil, nil, "+", "closed the connection", "add tls { }"},
		"busy": {nil, map[string]string{"INFO ALL": bulk(plainInfo), "INFO": bulk(plainInfo), configGet: array(), "SLOWLOG LEN": "-BUSY Redis is busy running a script.\r\n"}, "",
			"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, tt.answers)
			s.mu.Lock()
			s.greeting = tt.greeting
			s.mu.Unlock()
			r := newRig(t, s.listener.Addr().String(), tt.change)
			lines, err := r.collect()
			if name == "busy" {
				f := r.faults()["SLOWLOG LEN"]
				if err != nil || !strings.Contains(f.What, "busy with a script (BUSY)") || !strings.Contains(f.Remedy, "SCRIPT KILL") {
					t.Errorf("%v %+v", err, f)
				}
				return
			}
			remedy, what := component.Remedy(err)
			if !strings.Contains(what, tt.what) || !strings.Contains(remedy, tt.remedy) || !strings.Contains(what, s.listener.Addr().String()) {
				t.Errorf("%q, remedy %q", what, remedy)
			}
			// Nothing but how it went.
			for _, l := range lines {
				if !strings.HasPrefix(l, "up{} 0") && !strings.HasPrefix(l, "exporter_") && !strings.HasPrefix(l, "target_scrape_request_errors_total") {
					t.Errorf("shown although it failed: %s", l)
				}
			}
			if !has(lines, "up{} 0") || !has(lines, `exporter_last_scrape_error{err="`) {
				t.Errorf("%q", lines)
			}
			for _, text := range append(lines, err.Error(), r.log.String()) {
				if strings.Contains(text, secret) {
					t.Errorf("the password is shown: %s", text)
				}
			}
		})
	}
}

func TestAPasswordThatNobodyWantsIsWorthANote(t *testing.T) {
	a := answers()
	a["AUTH x"] = "-ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?\r\n"
	r := newRig(t, newServer(t, a).listener.Addr().String(), func(c *Config) { c.Password = config.NewSecret("x") })
	lines, err := r.collect()
	if f := r.faults()["password"]; err != nil || !has(lines, "up{} 1") || !f.Note || !strings.Contains(f.What, "has no password") {
		t.Errorf("%v %+v", err, f)
	}
}

func TestCommandsThatMayNotBeRunAreNamedWithTheirRights(t *testing.T) {
	a := answers()
	a["AUTH exporter x"] = "+OK\r\n"
	a["LATENCY LATEST"] = "-NOPERM User exporter has no permissions to run the 'latency|latest' command\r\n"
	a["SLOWLOG LEN"] = "-NOPERM this user has no permissions to run the 'slowlog' command or its subcommand\r\n"
	s := newServer(t, a)
	r := newRig(t, s.listener.Addr().String(), func(c *Config) { c.User, c.Password = "exporter", config.NewSecret("x") })
	for range 3 {
		lines, err := r.collect()
		if err != nil || !has(lines, "up{} 1") || !has(lines, "slowlog_last_id{} 41") || has(lines, "slowlog_length") {
			t.Fatalf("%v %q", err, lines)
		}
	}
	f := r.faults()[permissions]
	if !strings.Contains(f.What, `doesn't let user "exporter" run LATENCY LATEST, SLOWLOG LEN (NOPERM)`) ||
		!strings.HasSuffix(f.Remedy, "ACL SETUSER exporter +latency|latest +slowlog|len") {
		t.Errorf("%+v", f)
	}
	if n := s.count("SLOWLOG LEN"); n != 1 {
		t.Errorf("asked %d times", n)
	}
	// Somebody has run the line.
	s.set("SLOWLOG LEN", ":7\r\n")
	s.set("LATENCY LATEST", "*0\r\n")
	for range retryDenied {
		_, _ = r.collect()
	}
	if lines, _ := r.collect(); !has(lines, "slowlog_length{} 7") || len(r.faults()) != 0 {
		t.Errorf("%q %v", lines, r.faults())
	}
}

func TestWhatAnOldServerLacksIsLeftOut(t *testing.T) {
	a := answers()
	delete(a, "LATENCY HISTOGRAM")
	delete(a, configGet)
	s := newServer(t, a)
	r := newRig(t, s.listener.Addr().String(), nil)
	for range 5 {
		if lines, err := r.collect(); err != nil || !has(lines, `db_keys{db="db15"} 0`) {
			t.Fatalf("%v %q", err, lines)
		}
	}
	if s.count("LATENCY HISTOGRAM") != 1 {
		t.Error("asked again for what the server lacks")
	}
	f := r.faults()
	if c := f["CONFIG GET"]; len(f) != 1 || !c.Note || !strings.Contains(c.Remedy, `config_command`) {
		t.Errorf("%+v", f)
	}
}

func TestAConnectionThatTheServerClosedIsNoFault(t *testing.T) {
	s := newServer(t, answers())
	r := newRig(t, s.listener.Addr().String(), nil)
	_, _ = r.collect()
	s.drop()
	if lines, err := r.collect(); err != nil || !has(lines, "up{} 1") {
		t.Errorf("after the server dropped it: %v", err)
	}
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	if _, err := r.collect(); err != nil {
		t.Errorf("after the server closed it at a command: %v", err)
	}
	if n := s.count("CLIENT SETNAME hermod"); n != 3 {
		t.Errorf("%d connections", n)
	}
}

// hanging is a server that answered one collection and says nothing any more.
func hanging(t *testing.T) (*fakeServer, *rig) {
	t.Helper()
	s := newServer(t, answers())
	r := newRig(t, s.listener.Addr().String(), nil)
	_, _ = r.collect()
	s.mu.Lock()
	s.stuck = true
	s.mu.Unlock()
	return s, r
}

func TestAServerThatHangsIsToldBeforeTheTimeIsUp(t *testing.T) {
	s, r := hanging(t)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	lines, err := r.collectBy(ctx)
	if ctx.Err() != nil {
		t.Log("the machine is too slow to see it")
	}
	if err == nil || !strings.Contains(err.Error(), "doesn't answer in time") || !has(lines, "up{} 0") || has(lines, "slowlog_length") {
		t.Errorf("%v %q", err, lines)
	}
	s.mu.Lock()
	s.stuck = false
	s.mu.Unlock()
	if lines, err := r.collect(); err != nil || !has(lines, "up{} 1") {
		t.Errorf("when it is well again: %v", err)
	}
}

func TestNobodyListens(t *testing.T) {
	r := newRig(t, refused(t), nil)
	if _, err := r.collect(); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Error(err)
	}
	r = newRig(t, "unix:"+filepath.Join(t.TempDir(), "none"), nil)
	if _, err := r.collect(); err == nil || !strings.Contains(err.Error(), "there is no socket") {
		t.Error(err)
	}
}

func TestAStopEndsACollectionToCome(t *testing.T) {
	s := newServer(t, answers())
	r := newRig(t, s.listener.Addr().String(), nil)
	_, _ = r.collect()
	if err := r.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := r.collect(); err == nil {
		t.Error("it went on")
	}
}

func TestKeysAreShownByTheirTypes(t *testing.T) {
	a := answers()
	for k, v := range map[string]string{
		"SELECT 0": "+OK\r\n", "SELECT 2": "+OK\r\n",
		"SCAN 0 MATCH q:* COUNT 1000":  "*2\r\n$2\r\n17\r\n" + array("q:1", "q:1"),
		"SCAN 17 MATCH q:* COUNT 1000": "*2\r\n$1\r\n0\r\n" + array("q:2"),
		"SCAN 0 MATCH j* COUNT 1000":   "*2\r\n$1\r\n0\r\n" + array("j1", "j2", "j3"),
		"TYPE q:1":                     "+list\r\n", "MEMORY USAGE q:1": ":100\r\n", "LLEN q:1": ":5\r\n",
		"TYPE q:2": "+string\r\n", "MEMORY USAGE q:2": ":50\r\n", "STRLEN q:2": ":3\r\n", "GET q:2": bulk("1.5"),
		"TYPE text": "+string\r\n", "MEMORY USAGE text": ":51\r\n", "STRLEN text": ":5\r\n", "GET text": bulk("hello"),
		"TYPE log": "+string\r\n", "MEMORY USAGE log": ":60\r\n", "STRLEN log": ":20\r\n", "GET log": bulk("HYLL\x01" + strings.Repeat("x", 15)), "PFCOUNT log": ":4\r\n",
		"TYPE big": "+string\r\n", "MEMORY USAGE big": ":99999\r\n", "STRLEN big": ":99990\r\n",
		"TYPE none": "+none\r\n", "MEMORY USAGE none": "$-1\r\n",
	} {
		a[k] = v
	}
	r := newRig(t, newServer(t, a).listener.Addr().String(), func(c *Config) {
		c.CheckKeys = []string{"q:*"}
		c.CheckSingleKeys = []string{"text", "log", "big", "none", "q:1"}
		c.CountKeys = []string{"db2=j*"}
	})
	lines, err := r.collect()
	if err != nil {
		t.Fatal(err)
	}
	expect(t, slices.DeleteFunc(lines, func(l string) bool { return !strings.HasPrefix(l, "key") || strings.HasPrefix(l, "keyspace") }), `
key_size{db="db0", key="q:1"} 5
key_size{db="db0", key="q:2"} 3
key_size{db="db0", key="text"} 5
key_size{db="db0", key="log"} 4
key_size{db="db0", key="big"} 99990
key_size{db="db0", key="none"} 0
key_memory_usage_bytes{db="db0", key="q:1"} 100
key_memory_usage_bytes{db="db0", key="q:2"} 50
key_memory_usage_bytes{db="db0", key="text"} 51
key_memory_usage_bytes{db="db0", key="log"} 60
key_memory_usage_bytes{db="db0", key="big"} 99999
key_value{db="db0", key="q:2"} 1.5
key_value_as_string{db="db0", key="text", val="hello"} 1
keys_count{db="db2", key="j*"} 3`)
}

func TestKeysAreLeftAloneOnAMasterWhereThatIsWanted(t *testing.T) {
	a := answers()
	a["SELECT 0"], a["TYPE k"], a["MEMORY USAGE k"], a["LLEN k"] = "+OK\r\n", "+list\r\n", ":9\r\n", ":1\r\n"
	a["PING"] = "+PONG\r\n"
	s := newServer(t, a)
	r := newRig(t, s.listener.Addr().String(), func(c *Config) {
		c.CheckSingleKeys, c.SkipCheckKeysForRoleMaster, c.PingOnConnect = []string{"k"}, true, true
	})
	if lines, err := r.collect(); err != nil || has(lines, "key_size") || !has(lines, "exporter_last_scrape_ping_time_seconds{}") {
		t.Errorf("a master: %v %q", err, lines)
	}
	s.set("INFO ALL", bulk(strings.Replace(plainInfo, "role:master", "role:slave", 1)))
	if lines, err := r.collect(); err != nil || !has(lines, `key_size{db="db0", key="k"} 1`) {
		t.Errorf("a replica: %v %q", err, lines)
	}
}

func TestKeysOfOtherNodesAreAskedForThere(t *testing.T) {
	other := newServer(t, map[string]string{
		"READONLY": "+OK\r\n", "PING": "+PONG\r\n", "CLIENT SETNAME hermod": "+OK\r\n", "SELECT 0": "+OK\r\n",
		"TYPE far": "+hash\r\n", "MEMORY USAGE far": ":80\r\n", "HLEN far": ":2\r\n",
	})
	a := answers()
	moved := "-MOVED 3999 " + other.listener.Addr().String() + "\r\n"
	a["READONLY"], a["SELECT 0"], a["TYPE far"], a["MEMORY USAGE far"] = "+OK\r\n", "+OK\r\n", moved, moved
	down := refused(t)
	a["TYPE lost"], a["MEMORY USAGE lost"] = "-MOVED 1 "+down+"\r\n", "-MOVED 1 "+down+"\r\n"
	r := newRig(t, newServer(t, a).listener.Addr().String(), func(c *Config) {
		c.IsCluster, c.CheckSingleKeys = true, []string{"far", "lost"}
	})
	for range 2 {
		lines, err := r.collect()
		if err != nil || !has(lines, `key_size{db="db0", key="far"} 2`) || !has(lines, `key_memory_usage_bytes{db="db0", key="far"} 80`) {
			t.Fatalf("%v %q", err, lines)
		}
	}
	if n := other.count("PING"); n != 1 {
		t.Errorf("%d connections to the other node", n)
	}
	if f := r.faults()["node "+down]; !strings.Contains(f.What, "connection refused") {
		t.Errorf("%v", r.faults())
	}
}

func TestStreamsAreShownWithGroupsAndConsumers(t *testing.T) {
	a := answers()
	stream := "*12\r\n$6\r\nlength\r\n:2\r\n$15\r\nradix-tree-keys\r\n:1\r\n$16\r\nradix-tree-nodes\r\n:2\r\n$17\r\nlast-generated-id\r\n$15\r\n1638006862416-0\r\n" +
		"$6\r\ngroups\r\n:1\r\n$11\r\nfirst-entry\r\n*2\r\n$15\r\n1638006862415-5\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n"
	group := "*1\r\n*8\r\n$4\r\nname\r\n$1\r\ng\r\n$9\r\nconsumers\r\n:1\r\n$7\r\npending\r\n:3\r\n$3\r\nlag\r\n$-1\r\n"
	a["SELECT 0"], a["XINFO STREAM s"], a["XINFO GROUPS s"] = "+OK\r\n", stream, group
	a["XINFO CONSUMERS s g"] = "*1\r\n*6\r\n$4\r\nname\r\n$2\r\nc1\r\n$7\r\npending\r\n:3\r\n$4\r\nidle\r\n:1500\r\n"
	a["XINFO STREAM t"], a["XINFO GROUPS t"] = "-ERR no such key\r\n", "-ERR no such key\r\n"
	r := newRig(t, newServer(t, a).listener.Addr().String(), func(c *Config) { c.CheckSingleStreams = []string{"s", "t"} })
	lines, err := r.collect()
	if err != nil {
		t.Fatal(err)
	}
	expect(t, slices.DeleteFunc(lines, func(l string) bool { return !strings.HasPrefix(l, "stream_") }), `
stream_length{db="db0", stream="s"} 2
stream_radix_tree_keys{db="db0", stream="s"} 1
stream_radix_tree_nodes{db="db0", stream="s"} 2
stream_last_generated_id{db="db0", stream="s"} 1.638006862416e+12
stream_groups{db="db0", stream="s"} 1
stream_max_deleted_entry_id{db="db0", stream="s"} 0
stream_entries_added_total{db="db0", stream="s"} 0
stream_first_entry_id{db="db0", stream="s"} 1.638006862415e+12
stream_last_entry_id{db="db0", stream="s"} 0
stream_group_consumers{db="db0", group="g", stream="s"} 1
stream_group_messages_pending{db="db0", group="g", stream="s"} 3
stream_group_last_delivered_id{db="db0", group="g", stream="s"} 0
stream_group_entries_read{db="db0", group="g", stream="s"} 0
stream_group_lag{db="db0", group="g", stream="s"} 0
stream_group_consumer_messages_pending{consumer="c1", db="db0", group="g", stream="s"} 3
stream_group_consumer_idle_seconds{consumer="c1", db="db0", group="g", stream="s"} 1.5`)
	if f := r.faults(); len(f) != 0 {
		t.Errorf("%v", f)
	}
}

func TestClientsAreShown(t *testing.T) {
	a := answers()
	a["CLIENT LIST"] = bulk("id=11 addr=[fd00::1]:63508 laddr=x fd=8 name=web age=60 idle=10 flags=N db=0 sub=1 psub=2 ssub=3 qbuf=4 qbuf-free=5 obl=6 oll=7 omem=8 tot-mem=9 cmd=get user=default resp=3\n" +
		"id=12 addr=10.0.0.1:5 broken\nid=13 name=x\n")
	r := newRig(t, newServer(t, a).listener.Addr().String(), func(c *Config) { c.ExportClientList, c.ExportClientPort = true, true })
	lines, err := r.collect()
	if err != nil {
		t.Fatal(err)
	}
	want := `connected_client_info{db="0", flags="N", host="[fd00::1]", id="11", name="web", port="63508", resp="3", user="default"} 1` + "\n"
	for name, v := range map[string]string{
		"output_buffer_memory_usage_bytes": "8", "total_memory_consumed_bytes": "9", "created_at_timestamp": "1.69999994e+09", "idle_since_timestamp": "1.69999999e+09",
		"channel_subscriptions_count": "1", "pattern_matching_subscriptions_count": "2", "shard_channel_subscriptions_count": "3", "query_buffer_length_bytes": "4",
		"query_buffer_free_space_bytes": "5", "output_buffer_length_bytes": "6", "output_list_length": "7",
	} {
		want += fmt.Sprintf("connected_client_%s{id=\"11\", name=\"web\"} %s\n", name, v)
	}
	expect(t, slices.DeleteFunc(lines, func(l string) bool { return !strings.HasPrefix(l, "connected_client_") }), want)
}

func TestScriptsTellWhetherTheyWorked(t *testing.T) {
	dir := t.TempDir()
	var paths []string
	a := answers()
	for name, answer := range map[string]string{
		"good": array("jobs", "3"), "empty": "*0\r\n", "failing": "-ERR user_script:1: oops\r\n", "words": array("jobs", "many"), "number": ":1\r\n",
	} {
		paths = append(paths, filepath.Join(dir, name))
		if err := os.WriteFile(filepath.Join(dir, name), []byte("return "+name), 0o600); err != nil {
			t.Fatal(err)
		}
		a["EVAL return "+name+" 0 0"] = answer
	}
	r := newRig(t, newServer(t, a).listener.Addr().String(), func(c *Config) { c.Script = paths })
	lines, err := r.collect()
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]int{"good": 1, "empty": 2, "failing": 0, "words": 0, "number": 0} {
		if !has(lines, fmt.Sprintf("script_result{filename=%q} %d", filepath.Join(dir, name), v)) {
			t.Errorf("%s isn't %d", name, v)
		}
	}
	if !has(lines, fmt.Sprintf("script_values{filename=%q, key=\"jobs\"} 3", filepath.Join(dir, "good"))) || !has(lines, "up{} 1") {
		t.Errorf("%q", lines)
	}
	if f := r.faults(); len(f) != 3 {
		t.Errorf("%v", f)
	}
	env := r.env
	cfg := defaults()
	cfg.Script = []string{filepath.Join(dir, "none")}
	if _, err := openServer(env, &cfg); err == nil || !strings.Contains(err.Error(), "none") {
		t.Error(err)
	}
}

func TestASentinelIsAskedForItsMasters(t *testing.T) {
	master := array("name", "cache", "ip", "10.0.0.1", "port", "6379", "quorum", "2", "last-ok-ping-reply", "1500", "config-epoch", "4",
		"failover-timeout", "180000", "parallel-syncs", "1", "down-after-milliseconds", "5000")
	info := "# Server\r\nredis_version:8.0.6\r\nredis_mode:sentinel\r\n# Sentinel\r\nsentinel_masters:1\r\n"
	s := newServer(t, map[string]string{
		"INFO ALL": bulk(info), "INFO": bulk(info), "SENTINEL MASTERS": "*1\r\n" + master,
		"SENTINEL CKQUORUM cache":  "-NOQUORUM 1 usable Sentinels\r\n",
		"SENTINEL SENTINELS cache": "*2\r\n" + array("name", "a", "ip", "10.0.0.2", "port", "26379", "runid", "r", "flags", "sentinel") + array("name", "b", "flags", "s_down,sentinel"),
		"SENTINEL SLAVES cache":    "*1\r\n" + array("name", "c", "flags", "slave"),
	})
	r := newRig(t, s.listener.Addr().String(), func(c *Config) { c.IncludeSentinelPeerInfo = true })
	for range 2 {
		lines, err := r.collect()
		if err != nil {
			t.Fatal(err)
		}
		const at = `{master_address="10.0.0.1:6379", master_name="cache"} `
		expect(t, slices.DeleteFunc(lines, func(l string) bool { return !strings.HasPrefix(l, "sentinel_") }), strings.ReplaceAll(`
sentinel_masters{} 1
sentinel_master_ckquorum_status{master_name="cache", message="NOQUORUM 1 usable Sentinels"} 0
sentinel_master_setting_ckquorum@2
sentinel_master_setting_failover_timeout@180000
sentinel_master_setting_parallel_syncs@1
sentinel_master_setting_down_after_milliseconds@5000
sentinel_master_config_epoch@4
sentinel_master_last_ok_ping_reply_seconds@1.5
sentinel_master_ok_sentinels@2
sentinel_master_ok_slaves@1
sentinel_peer_info{flags="sentinel", ip="10.0.0.2", master_address="10.0.0.1:6379", master_name="cache", name="a", port="26379", runid="r"} 1
sentinel_peer_info{flags="s_down,sentinel", ip="", master_address="10.0.0.1:6379", master_name="cache", name="b", port="", runid=""} 1`, "@", at))
	}
	if s.count(configGet) != 0 {
		t.Error("a Sentinel was asked for settings")
	}
}

func TestCheckNamesEachCommand(t *testing.T) {
	a := answers()
	a["SLOWLOG LEN"] = "-NOPERM x\r\n"
	check := func(address string) (found []component.Finding) {
		r := newRig(t, address, nil)
		r.Check(t.Context(), func(f component.Finding) { found = append(found, f) })
		return found
	}
	var got []string
	for _, f := range check(newServer(t, a).listener.Addr().String()) {
		got = append(got, fmt.Sprintf("%s|%v|%s", f.What, f.Err != nil, f.Detail))
	}
	want := []string{`|false|Redis 8.0.6 (standalone, master) as user "default"`, "permissions|true|", "INFO|false|", "CONFIG GET|false|", "LATENCY LATEST|false|", "LATENCY HISTOGRAM|false|", "SLOWLOG GET|false|"}
	if len(got) > 0 {
		_, after, _ := strings.Cut(got[0], "|")
		got[0] = "|" + after
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	down := refused(t)
	failed := check(down)
	if len(failed) != 1 || failed[0].Err == nil || failed[0].What != "connect to "+down {
		t.Errorf("%v", failed)
	}
}

func TestKeysOfTheConfig(t *testing.T) {
	for text, want := range map[string]dbKey{
		"a": {0, "a"}, "db3=a": {3, "a"}, "3=a": {3, "a"}, "a=b": {0, "a=b"}, "db0=a=b": {0, "a=b"}, "=x": {0, "=x"}, "db=x": {0, "db=x"},
	} {
		if got, err := parseKey(text); err != nil || got != want {
			t.Errorf("%q: %v %v", text, got, err)
		}
	}
	for _, text := range []string{"", "db3=", "db99999999999=x"} {
		if _, err := parseKey(text); err == nil {
			t.Errorf("%q is a key", text)
		}
	}
	c := defaults()
	c.User, c.ConfigCommand, c.CheckKeysBatchSize, c.ExportClientPort = "x", "", 0, true
	c.CheckKeys, c.Script, c.IsCluster = []string{"", "db1=a"}, []string{""}, true
	if errs := c.Validate(); len(errs) != 8 {
		t.Errorf("%v", errs)
	}
}
