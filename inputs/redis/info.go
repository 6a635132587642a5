package redis

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// field is a number of INFO or CLUSTER INFO.
type field struct {
	desc   *metrics.Desc
	series *metrics.Series // made when the field was first seen
	micro  bool            // the server gives microseconds, the metric is in seconds
}

// info shows what INFO says (https://redis.io/docs/latest/commands/info/): sections that begin with "# Name", and lines "field:value". Fields
// are told apart by their section where redis_exporter does so.
type info struct {
	in     *input
	fields map[string]*field
	// more are fields that aren't listed but belong to what is listed by its beginning: cluster_*, db*.
	more     metrics.Table[*field]
	makeMore func(string) *field

	start, hz, configuredHz *metrics.Series

	instance                                       *family // of Redis
	valkey                                         *family
	replica                                        *family
	masterLink, masterIO, masterSync, masterOffset *family
	slaveOffset, slaveLag                          *family
	keys, expiring, cached, ttl                    *family
	failures                                       *family
	ioThread                                       *family

	sentinel                                            map[string]*metrics.Series
	sentinelStatus, sentinelSlaves, sentinelMasterPeers *family

	commands commands

	dbs     [][]byte // names of databases by number
	dbsSeen []bool   // in this cycle
}

// facts are what the rest of a collection has to know of INFO. The texts are parts of it.
type facts struct {
	role, version, build, mode, os, policy, port, runID, process, replID []byte
	valkeyVersion, valkeyStage                                           []byte
	masterHost, masterPort, readOnly                                     []byte
	cluster, sentinel                                                    bool
}

func newInfo(in *input) *info {
	i := &info{in: in, fields: make(map[string]*field, len(gaugeFields)+len(counterFields))}
	for kind, list := range map[metrics.Kind][]string{metrics.Gauge: gaugeFields[:], metrics.Counter: counterFields[:]} {
		for _, entry := range list {
			name, metric, renamed := strings.Cut(entry, "=")
			if !renamed {
				metric = name
			}
			micro := name == "latest_fork_usec"
			if micro {
				metric = "latest_fork_seconds"
			}
			i.fields[name] = &field{desc: plain(metric, kind), micro: micro}
		}
	}
	if in.cfg.IncludeSystemMetrics {
		i.fields["total_system_memory"] = &field{desc: plain("total_system_memory_bytes", metrics.Gauge)}
	}
	i.makeMore = func(name string) *field { return &field{desc: plain(sanitize(name), metrics.Gauge)} }

	i.start = in.env.Series.New(gauge("start_time_seconds", "Start time of the Redis instance since unix epoch in seconds."))
	i.hz = in.env.Series.New(plain("hz", metrics.Gauge))
	i.configuredHz = in.env.Series.New(plain("configured_hz", metrics.Gauge))

	labels := []string{"role", "redis_version", "redis_build_id", "redis_mode", "os", "maxmemory_policy", "tcp_port", "run_id", "process_id", "master_replid"}
	i.instance = in.family(plain("instance_info", metrics.Gauge), labels...)
	i.valkey = in.family(i.instance.desc, append(labels[:len(labels):len(labels)], "valkey_version", "valkey_release_stage")...)
	i.replica = in.family(gauge("slave_info", "Information about the Redis slave"), "master_host", "master_port", "read_only")
	master := func(name, help string) *family { return in.family(gauge(name, help), "master_host", "master_port") }
	i.masterLink = master("master_link_up", "Master link status on Redis slave")
	i.masterIO = master("master_last_io_seconds_ago", "Master last io seconds ago")
	i.masterSync = master("master_sync_in_progress", "Master sync in progress")
	i.masterOffset = master("slave_repl_offset", "Slave replication offset")
	slave := func(name, help string) *family {
		return in.family(gauge(name, help), "slave_ip", "slave_port", "slave_state")
	}
	i.slaveOffset = slave("connected_slave_offset_bytes", "Offset of connected slave")
	i.slaveLag = slave("connected_slave_lag_seconds", "Lag of connected slave")
	db := func(name, help string) *family { return in.family(gauge(name, help), "db") }
	i.keys = db("db_keys", "Total number of keys by DB")
	i.expiring = db("db_keys_expiring", "Total number of expiring keys by DB")
	i.cached = db("db_keys_cached", "Total number of cached keys by DB")
	i.ttl = db("db_avg_ttl_seconds", "Avg TTL in seconds")
	i.failures = in.family(counter("errors_total", "Total number of errors per error type"), "err")
	i.ioThread = in.family(plain("active_time_io_thread_seconds_total", metrics.Counter), "thread")

	i.sentinel = map[string]*metrics.Series{}
	for name, help := range map[string]string{
		"sentinel_masters":                "The number of masters this sentinel is watching",
		"sentinel_tilt":                   "Sentinel is in TILT mode",
		"sentinel_running_scripts":        "Number of scripts in execution right now",
		"sentinel_scripts_queue_length":   "Queue of user scripts to execute",
		"sentinel_simulate_failure_flags": "Failures simulations",
	} {
		i.sentinel[name] = in.env.Series.New(gauge(name, help))
	}
	i.sentinelStatus = in.family(gauge("sentinel_master_status", "Master status on Sentinel"), "master_name", "master_address", "master_status")
	i.sentinelSlaves = in.family(gauge("sentinel_master_slaves", "The number of slaves of the master"), "master_name", "master_address")
	i.sentinelMasterPeers = in.family(gauge("sentinel_master_sentinels", "The number of sentinels monitoring this master"), "master_name", "master_address")
	i.commands = newCommands(in)
	return i
}

// sanitize makes a field's name that of a metric.
func sanitize(name string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '_'
	}, name)
}

// collect shows a reply to INFO.
func (i *info) collect(text []byte, b *metrics.Batch) facts {
	var f facts
	clear(i.dbsSeen)
	i.commands.begin()
	section := ""
	for len(text) > 0 {
		var line []byte
		line, text = cutLine(text)
		if len(line) > 1 && line[0] == '#' && line[1] == ' ' {
			section = sectionOf(line[2:])
			f.sentinel = f.sentinel || section == "Sentinel"
			continue
		}
		colon := bytes.IndexByte(line, ':')
		if colon <= 0 {
			continue
		}
		key, value := line[:colon], line[colon+1:]
		switch section {
		case "Commandstats":
			i.commands.stats(key, value, b)
			continue
		case "Latencystats":
			i.commands.percentiles(key, value)
			continue
		case "Errorstats":
			if name, ok := bytes.CutPrefix(key, []byte("errorstat_")); ok {
				if v, ok := named(value); ok {
					i.failures.set(b, v, name)
				}
			}
			continue
		}
		f.note(key, value)
		switch section {
		case "Server":
			i.server(key, value, b)
		case "Replication":
			if i.replication(&f, key, value, b) {
				continue
			}
		case "Keyspace":
			if i.keyspace(key, value, b) {
				continue
			}
		case "Sentinel":
			i.sentinels(key, value, b)
		}
		i.number(key, value, b)
	}
	i.commands.end(b)
	i.about(&f, b)
	return f
}

// facts reads INFO without showing it.
func (i *info) facts(text []byte) facts {
	var f facts
	for len(text) > 0 {
		var line []byte
		line, text = cutLine(text)
		if key, value, ok := bytes.Cut(line, []byte(":")); ok {
			f.note(key, value)
		} else if string(line) == "# Sentinel" {
			f.sentinel = true
		}
	}
	return f
}

// modules shows INFO MODULES.
func (i *info) modules(text []byte, about *family, b *metrics.Batch) {
	for len(text) > 0 {
		var line []byte
		line, text = cutLine(text)
		key, value, ok := bytes.Cut(line, []byte(":"))
		if !ok || bytes.IndexByte(value, ':') >= 0 {
			continue
		}
		if string(key) != "module" {
			i.number(key, value, b)
			continue
		}
		var values [7][]byte
		n := 0
		for ; len(value) > 0; n++ {
			var part []byte
			part, value, _ = bytes.Cut(value, []byte(","))
			if n < len(values) {
				_, values[n], _ = bytes.Cut(part, []byte("="))
			}
		}
		if n == len(values) {
			about.set(b, 1, values[:6]...)
		}
	}
}

// cutLine takes a line off text, without what ends it.
func cutLine(text []byte) (line, rest []byte) {
	if end := bytes.IndexByte(text, '\n'); end >= 0 {
		line, rest = text[:end], text[end+1:]
	} else {
		line = text
	}
	return bytes.TrimSpace(line), rest
}

// sectionOf gives the names of sections that matter without making a string of them.
func sectionOf(name []byte) string {
	for _, known := range [...]string{"Server", "Replication", "Commandstats", "Latencystats", "Errorstats", "Keyspace", "Sentinel"} {
		if string(name) == known {
			return known
		}
	}
	return ""
}

// note keeps what says which server it is.
func (f *facts) note(key, value []byte) {
	switch string(key) {
	case "role":
		f.role = value
	case "redis_version":
		f.version = value
	case "redis_build_id":
		f.build = value
	case "redis_mode":
		f.mode = value
	case "os":
		f.os = value
	case "maxmemory_policy":
		f.policy = value
	case "tcp_port":
		f.port = value
	case "run_id":
		f.runID = value
	case "process_id":
		f.process = value
	case "master_replid":
		f.replID = value
	case "valkey_version":
		f.valkeyVersion = value
	case "valkey_release_stage":
		f.valkeyStage = value
	case "master_host":
		f.masterHost = value
	case "master_port":
		f.masterPort = value
	case "slave_read_only":
		f.readOnly = value
	case "cluster_enabled":
		f.cluster = string(value) == "1"
	}
}

// about shows which server it is.
func (i *info) about(f *facts, b *metrics.Batch) {
	values := [...][]byte{f.role, f.version, f.build, f.mode, f.os, f.policy, f.port, f.runID, f.process, f.replID, f.valkeyVersion, f.valkeyStage}
	if f.valkeyVersion != nil {
		i.valkey.set(b, 1, values[:]...)
	} else {
		i.instance.set(b, 1, values[:10]...)
	}
	if string(f.role) == "slave" {
		i.replica.set(b, 1, f.masterHost, f.masterPort, f.readOnly)
	}
}

// number shows a field that is one number, where it is one of those that are shown.
func (i *info) number(key, value []byte, b *metrics.Batch) {
	f := i.fields[string(key)]
	if f == nil {
		if thread, ok := bytes.CutPrefix(key, []byte("used_active_time_io_thread_")); ok {
			if _, is := parseInt(thread); is {
				if v, ok := parseFloat(value); ok {
					i.ioThread.set(b, v, thread)
				}
			}
			return
		}
		if !bytes.HasPrefix(key, []byte("cluster_")) && !bytes.HasPrefix(key, []byte("db")) {
			return
		}
	}
	var v float64
	switch string(value) {
	case "ok", "true":
		v = 1
	case "err", "fail", "false":
	default:
		var ok bool
		if v, ok = parseFloat(value); !ok {
			return
		}
	}
	if f == nil {
		f = *i.more.Row(key, b.Cycle, i.makeMore)
	}
	if f.micro {
		v /= 1e6
	}
	if f.series == nil {
		f.series = i.in.env.Series.New(f.desc)
	}
	b.Set(f.series, v)
}

// server shows the fields of the section Server that are numbers of their own.
func (i *info) server(key, value []byte, b *metrics.Batch) {
	var s *metrics.Series
	switch string(key) {
	case "uptime_in_seconds":
		if v, ok := parseFloat(value); ok {
			b.Set(i.start, float64(b.Time/1000)-v)
		}
		return
	case "hz":
		s = i.hz
	case "configured_hz":
		s = i.configuredHz
	default:
		return
	}
	if v, ok := parseInt(value); ok {
		b.Set(s, float64(v))
	}
}

// replication shows the fields of the section Replication that have labels. KeyDB's replicas may have several masters: master_host,
// master_1_host and so on, each before the fields that are about it.
func (i *info) replication(f *facts, key, value []byte, b *metrics.Batch) bool {
	if name, ok := masterField(key); ok {
		switch name {
		case "host":
			f.masterHost = value
		case "port":
			f.masterPort = value
		case "link_status":
			up := 0.0
			if string(value) == "up" {
				up = 1
			}
			i.masterLink.set(b, up, f.masterHost, f.masterPort)
			return true
		case "last_io_seconds_ago":
			i.masterIO.set(b, orZero(value), f.masterHost, f.masterPort)
			return true
		case "sync_in_progress":
			i.masterSync.set(b, orZero(value), f.masterHost, f.masterPort)
			return true
		}
		return false
	}
	if string(key) == "slave_repl_offset" {
		i.masterOffset.set(b, orZero(value), f.masterHost, f.masterPort)
		return true
	}
	return i.slave(key, value, b)
}

// masterField says which field of a master key is: the number of the master is left out.
func masterField(key []byte) (string, bool) {
	rest, ok := bytes.CutPrefix(key, []byte("master_"))
	if !ok {
		return "", false
	}
	if digits := len(rest) - len(bytes.TrimLeft(rest, "0123456789")); digits > 0 && digits < len(rest) && rest[digits] == '_' {
		rest = rest[digits+1:]
	}
	for _, known := range [...]string{"host", "port", "link_status", "last_io_seconds_ago", "sync_in_progress"} {
		if string(rest) == known {
			return known, true
		}
	}
	return "", false
}

func orZero(value []byte) float64 {
	v, _ := parseInt(value)
	return float64(v)
}

// slave shows a connected replica: slave0:ip=10.0.0.1,port=6379,state=online,offset=14,lag=0.
func (i *info) slave(key, value []byte, b *metrics.Batch) bool {
	if number, ok := bytes.CutPrefix(key, []byte("slave")); !ok || len(number) == 0 || number[0] < '0' || number[0] > '9' {
		return false
	}
	var ip, port, state, offset, lag []byte
	for len(value) > 0 {
		var part []byte
		part, value, _ = bytes.Cut(value, []byte(","))
		name, v, ok := bytes.Cut(part, []byte("="))
		if !ok {
			return false
		}
		switch string(name) {
		case "ip":
			ip = v
		case "port":
			port = v
		case "state":
			state = v
		case "offset":
			offset = v
		case "lag":
			lag = v
		}
	}
	at, ok := parseFloat(offset)
	if !ok {
		return false
	}
	behind, hasLag := parseFloat(lag) // before Redis 3 there was none
	if lag != nil && !hasLag {
		return false
	}
	i.slaveOffset.set(b, at, ip, port, state)
	if hasLag && behind > -1 {
		i.slaveLag.set(b, behind, ip, port, state)
	}
	return true
}

// keyspace shows a database: db0:keys=1,expires=0,avg_ttl=0. KeyDB adds cached_keys, Redis 7.4 subexpiry.
func (i *info) keyspace(key, value []byte, b *metrics.Batch) bool {
	digits, ok := bytes.CutPrefix(key, []byte("db"))
	if !ok {
		return false
	}
	var numbers [4]float64
	var has [4]bool
	for len(value) > 0 {
		var part []byte
		part, value, _ = bytes.Cut(value, []byte(","))
		at := 0
		name, text, ok := bytes.Cut(part, []byte("="))
		if !ok {
			return false
		}
		switch string(name) {
		case "keys":
		case "expires":
			at = 1
		case "avg_ttl":
			at = 2
		case "cached_keys":
			at = 3
		default:
			continue
		}
		if numbers[at], has[at] = parseFloat(text); !has[at] {
			return false
		}
	}
	if !has[0] || !has[1] {
		return false
	}
	i.keys.set(b, numbers[0], key)
	i.expiring.set(b, numbers[1], key)
	if has[2] {
		i.ttl.set(b, numbers[2]/1000, key)
	}
	if has[3] {
		i.cached.set(b, numbers[3], key)
	}
	if n, ok := parseInt(digits); ok && n >= 0 && n < maxDatabases {
		i.reserve(int(n) + 1)
		i.dbsSeen[n] = true
	}
	return true
}

// maxDatabases bounds for how many databases without keys there are series.
const maxDatabases = 1024

// reserve makes room for n databases.
func (i *info) reserve(n int) {
	for len(i.dbs) < n {
		i.dbs = append(i.dbs, strconv.AppendInt([]byte("db"), int64(len(i.dbs)), 10))
		i.dbsSeen = append(i.dbsSeen, false)
	}
}

// empty shows the databases below n that have no keys.
func (i *info) empty(n int, b *metrics.Batch) {
	n = min(n, maxDatabases)
	i.reserve(n)
	for db := range n {
		if !i.dbsSeen[db] {
			i.keys.set(b, 0, i.dbs[db])
			i.expiring.set(b, 0, i.dbs[db])
		}
	}
}

// sentinels shows the fields of the section Sentinel: numbers, and master0:name=a,status=ok,address=10.0.0.1:6379,slaves=1,sentinels=3.
func (i *info) sentinels(key, value []byte, b *metrics.Batch) {
	if s := i.sentinel[string(key)]; s != nil {
		b.Set(s, orZero(value))
		return
	}
	if number, ok := bytes.CutPrefix(key, []byte("master")); !ok || len(number) == 0 || number[0] < '0' || number[0] > '9' {
		return
	}
	var name, status, address, slaves, peers []byte
	for len(value) > 0 {
		var part []byte
		part, value, _ = bytes.Cut(value, []byte(","))
		k, v, _ := bytes.Cut(part, []byte("="))
		switch string(k) {
		case "name":
			name = v
		case "status":
			status = v
		case "address":
			address = v
		case "slaves":
			slaves = v
		case "sentinels":
			peers = v
		}
	}
	n, ok := parseFloat(slaves)
	m, also := parseFloat(peers)
	if !ok || !also {
		return
	}
	well := 0.0
	if string(status) == "ok" {
		well = 1
	}
	i.sentinelStatus.set(b, well, name, address, status)
	i.sentinelSlaves.set(b, n, name, address)
	i.sentinelMasterPeers.set(b, m, name, address)
}

// pairs shows the lines of CLUSTER INFO, which are fields too.
func (i *info) pairs(text []byte, b *metrics.Batch) {
	for len(text) > 0 {
		var line []byte
		line, text = cutLine(text)
		if key, value, ok := bytes.Cut(line, []byte(":")); ok && bytes.IndexByte(value, ':') < 0 {
			i.number(key, value, b)
		}
	}
}

// named reads the number of "name=number".
func named(text []byte) (float64, bool) {
	_, number, ok := bytes.Cut(text, []byte("="))
	if !ok {
		return 0, false
	}
	return parseFloat(number)
}
