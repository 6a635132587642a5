package redis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/hermod-agent/hermod/internal/target"
	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// keys shows the sizes and values of keys, and counts keys.
type keys struct {
	in                            *input
	patterns, single, count       []dbKey
	size, memory, number, text, n *family

	// groups is how long the walk for groups of keys took. There is no such walk, as in redis_exporter unless it is told of groups, and that
	// one shows the 0 all the same.
	groups *metrics.Series

	nodes map[string]*clusterNode // of a cluster, by address
}

// clusterNode is another node of the cluster.
type clusterNode struct {
	to   *target.Target
	conn *conn
}

const (
	// maxKeys bounds how many keys a pattern may find.
	maxKeys = 100_000
	// keyBatch is how many keys one exchange is about.
	keyBatch = 500
	// maxValue bounds a string whose value is asked for. A HyperLogLog has at most 12304 bytes.
	maxValue = 16 << 10
	// maxLabel bounds a value that becomes a label; it is what Mimir takes.
	maxLabel = 2048
	// maxClusterNodes: a cluster has at most a thousand.
	maxClusterNodes = 1000
)

func newKeys(in *input) *keys {
	labels := []string{"db", "key"}
	return &keys{
		in:       in,
		patterns: parseKeys(in.cfg.CheckKeys), single: parseKeys(in.cfg.CheckSingleKeys), count: parseKeys(in.cfg.CountKeys),
		size:   in.family(gauge("key_size", `The length or size of "key"`), labels...),
		memory: in.family(gauge("key_memory_usage_bytes", `The memory usage of "key" in bytes`), labels...),
		number: in.family(gauge("key_value", `The value of "key"`), labels...),
		text:   in.family(gauge("key_value_as_string", `The value of "key" as a string`), "db", "key", "val"),
		n:      in.family(gauge("keys_count", "Count of keys"), labels...),
		groups: in.env.Series.New(gauge("last_key_groups_scrape_duration_milliseconds", "Duration of the last key group metrics scrape in milliseconds")),
		nodes:  map[string]*clusterNode{},
	}
}

// grants is what an ACL user needs for the keys and streams that are asked for.
func (k *keys) grants() []string {
	cfg := k.in.cfg
	var rights []string
	if len(cfg.CheckKeys)+len(cfg.CountKeys)+len(cfg.CheckStreams) > 0 {
		rights = append(rights, "+scan")
	}
	if len(cfg.CheckKeys)+len(cfg.CheckSingleKeys) > 0 {
		rights = append(rights, "+type", "+memory|usage", "+strlen", "+get", "+pfcount", "+llen", "+scard", "+zcard", "+hlen", "+xlen")
	}
	if len(cfg.CheckStreams)+len(cfg.CheckSingleStreams) > 0 {
		rights = append(rights, "+xinfo")
	}
	if len(rights) > 0 {
		rights = append(rights, "+select", "~*")
	}
	if cfg.IsCluster {
		rights = append(rights, "+readonly")
	}
	return rights
}

// otherDatabase says whether the connection may be left at another database than 0.
func (k *keys) otherDatabase() bool {
	cfg := k.in.cfg
	return len(cfg.CheckKeys)+len(cfg.CheckSingleKeys)+len(cfg.CountKeys)+len(cfg.CheckStreams)+len(cfg.CheckSingleStreams) > 0
}

func (k *keys) collect(ctx context.Context, b *metrics.Batch) error {
	found, err := k.find(ctx, k.single, k.patterns, "check_keys")
	if err != nil {
		return err
	}
	for db := range byDatabase(found) {
		if err := k.check(ctx, k.in.conn, db.number, db.names, b, true); err != nil {
			return err
		}
	}
	for _, c := range k.count {
		n := 0
		if ok, err := k.scan(ctx, c, "count_keys", func([]byte) bool { n++; return true }); err != nil {
			return err
		} else if ok {
			k.n.set(b, float64(n), dbLabel(c.db), []byte(c.key))
		}
	}
	return nil
}

func dbLabel(db int) []byte { return strconv.AppendInt([]byte("db"), int64(db), 10) }

// database is names of keys in one database.
type database struct {
	number int
	names  []string
}

// byDatabase gives keys database by database.
func byDatabase(all []dbKey) func(func(database) bool) {
	names := map[int][]string{}
	for _, key := range all {
		names[key.db] = append(names[key.db], key.key)
	}
	return func(yield func(database) bool) {
		for _, db := range slices.Sorted(maps.Keys(names)) {
			if !yield(database{db, names[db]}) {
				return
			}
		}
	}
}

// find gives the keys that are named and those that the patterns find, each once. A pattern without wildcards is a name.
func (k *keys) find(ctx context.Context, single, patterns []dbKey, what string) ([]dbKey, error) {
	var found []dbKey
	seen := map[dbKey]bool{}
	add := func(key dbKey) {
		if !seen[key] {
			seen[key] = true
			found = append(found, key)
		}
	}
	for _, s := range single {
		add(s)
	}
	for _, p := range patterns {
		if !strings.ContainsAny(p.key, `?*[]^`) {
			add(p)
			continue
		}
		_, err := k.scan(ctx, p, what, func(name []byte) bool {
			if len(found) >= maxKeys {
				return false
			}
			add(dbKey{p.db, string(name)})
			return true
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// scan walks through the keys that a pattern finds. ok says that it came to the end; what kept it from that is told as a fault.
func (k *keys) scan(ctx context.Context, p dbKey, what string, each func(name []byte) bool) (ok bool, err error) {
	key := what + " " + p.key
	batch := strconv.Itoa(k.in.cfg.CheckKeysBatchSize)
	for cursor := "0"; ; {
		replies, err := k.in.conn.exchange(ctx, []call{selecting(p.db), words("SCAN", cursor, "MATCH", p.key, "COUNT", batch)})
		if err != nil {
			return false, err
		}
		for i, v := range replies {
			if v.isError() {
				k.in.keyFault(key, [...]string{"SELECT", "SCAN"}[i], string(v.text()))
				return false, nil
			}
		}
		if replies[1].len() != 2 {
			return false, &protocolError{"the answer to SCAN has no cursor and keys"}
		}
		next, names := replies[1].at(0), replies[1].at(1)
		for i := range names.len() {
			if !each(names.at(i).text()) {
				k.in.fault(key, component.WithRemedy(fmt.Errorf("the pattern finds more than %d keys; the others are left out", maxKeys), "write a narrower pattern, or use count_keys"))
				return false, nil
			}
		}
		if cursor = string(next.text()); cursor == "0" || cursor == "" {
			return true, nil
		}
	}
}

// selecting begins a request at a database. Nodes of a cluster have one only, but know the command.
func selecting(db int) call { return words("SELECT", strconv.Itoa(db)) }

// keyFault tells that the server refused a command about keys.
func (in *input) keyFault(key, command, text string) {
	in.fault(key, in.explain(&serverError{command, text}))
}

// sizeCommand is how the size of a key of that type is asked for.
func sizeCommand(kind string) string {
	switch kind {
	case "string":
		return "STRLEN"
	case "list":
		return "LLEN"
	case "set":
		return "SCARD"
	case "zset":
		return "ZCARD"
	case "hash":
		return "HLEN"
	case "stream":
		return "XLEN"
	case "array":
		return "ARCOUNT"
	}
	return ""
}

// check shows keys of a database. follow says that those which lie on other nodes of the cluster are asked for there.
func (k *keys) check(ctx context.Context, c *conn, db int, names []string, b *metrics.Batch, follow bool) error {
	label := dbLabel(db)
	moved := map[string][]string{}
	for batch := range slices.Chunk(names, keyBatch) {
		if err := k.checkBatch(ctx, c, db, label, batch, b, moved); err != nil {
			return err
		}
	}
	if !follow {
		return nil
	}
	for _, address := range slices.Sorted(maps.Keys(moved)) {
		if err := k.elsewhere(ctx, address, db, moved[address], b); err != nil {
			if ctx.Err() != nil {
				return err
			}
			k.in.fault("node "+address, k.in.explain(err))
		}
	}
	return nil
}

func (k *keys) checkBatch(ctx context.Context, c *conn, db int, label []byte, names []string, b *metrics.Batch, moved map[string][]string) error {
	// The types and the memory,
	request := []call{selecting(db)}
	for _, name := range names {
		request = append(request, words("TYPE", name), words("MEMORY", "USAGE", name))
	}
	replies, err := c.exchange(ctx, request)
	if err != nil {
		return err
	}
	if v := replies[0]; v.isError() {
		k.in.keyFault(string(label), "SELECT", string(v.text()))
		return nil
	}
	type typed struct{ name, kind string }
	var there []typed
	for i, name := range names {
		kind, usage := replies[1+2*i], replies[2+2*i]
		if kind.isError() {
			if address, ok := movedTo(kind.text()); ok {
				moved[address] = append(moved[address], name)
			} else {
				k.in.keyFault("check_keys", "TYPE", string(kind.text()))
			}
			continue
		}
		if n, ok := usage.integer(); ok {
			k.memory.set(b, float64(n), label, []byte(name))
		} else if usage.isError() {
			k.in.keyFault("check_keys", "MEMORY USAGE", string(usage.text()))
		}
		if s := string(kind.text()); sizeCommand(s) != "" {
			there = append(there, typed{name, s})
		} else if s == "none" && !k.in.cfg.IsCluster {
			k.size.set(b, 0, label, []byte(name)) // as redis_exporter has it: a list that was worked off is empty
		}
	}
	if len(there) == 0 {
		return nil
	}
	// then the sizes by type,
	request = request[:0]
	for _, key := range there {
		request = append(request, words(sizeCommand(key.kind), key.name))
	}
	if replies, err = c.exchange(ctx, request); err != nil {
		return err
	}
	var strs []typed
	var sizes []int64
	request = request[:0]
	for i, key := range there {
		v := replies[i]
		n, ok := v.integer()
		switch {
		case v.isError():
			k.in.keyFault("check_keys", sizeCommand(key.kind), string(v.text()))
		case !ok:
		case key.kind == "string" && n > 0 && n <= maxValue:
			strs, sizes = append(strs, key), append(sizes, n)
			request = append(request, words("GET", key.name))
		default:
			k.size.set(b, float64(n), label, []byte(key.name))
		}
	}
	if len(strs) == 0 {
		return nil
	}
	// then the strings themselves, of which some are HyperLogLogs and have another size.
	if replies, err = c.exchange(ctx, request); err != nil {
		return err
	}
	var logs []string
	request = request[:0]
	for i, key := range strs {
		v := replies[i]
		if v.isError() {
			k.in.keyFault("check_keys", "GET", string(v.text()))
		}
		if v.isString() && bytes.HasPrefix(v.text(), []byte("HYLL")) {
			logs = append(logs, key.name)
			request = append(request, words("PFCOUNT", key.name))
			continue
		}
		k.size.set(b, float64(sizes[i]), label, []byte(key.name))
		if !v.isString() || k.in.cfg.DisableExportingKeyValues || len(v.text()) == 0 {
			continue
		}
		if n, ok := parseFloat(v.text()); ok {
			k.number.set(b, n, label, []byte(key.name))
		} else if len(v.text()) <= maxLabel {
			k.text.set(b, 1, label, []byte(key.name), v.text())
		}
	}
	if len(logs) == 0 {
		return nil
	}
	if replies, err = c.exchange(ctx, request); err != nil {
		return err
	}
	for i, name := range logs {
		if n, ok := replies[i].integer(); ok {
			k.size.set(b, float64(n), label, []byte(name))
		}
	}
	return nil
}

// movedTo reads the address of "MOVED 3999 127.0.0.1:6381".
func movedTo(text []byte) (string, bool) {
	rest, ok := bytes.CutPrefix(text, []byte("MOVED "))
	if !ok {
		return "", false
	}
	_, address, ok := bytes.Cut(rest, []byte(" "))
	return string(address), ok && len(address) > 0
}

// elsewhere checks keys that are on another node.
func (k *keys) elsewhere(ctx context.Context, address string, db int, names []string, b *metrics.Batch) error {
	n, err := k.node(ctx, address)
	if err != nil {
		return err
	}
	if err := k.check(ctx, n.conn, db, names, b, false); err != nil {
		n.conn.close()
		n.conn = nil
		return err
	}
	return nil
}

// node gives a connection to the node of the cluster at address.
func (k *keys) node(ctx context.Context, address string) (*clusterNode, error) {
	n := k.nodes[address]
	if n == nil {
		if len(k.nodes) >= maxClusterNodes {
			return nil, errors.New("the cluster has too many nodes")
		}
		if strings.HasPrefix(address, ":") { // the host that we know already
			address = k.in.cfg.Address.Host + address
		}
		to, err := config.ParseAddress(address)
		if err != nil {
			return nil, err
		}
		opened, err := target.Open(k.in.env, to, defaultPort)
		if err != nil {
			return nil, err
		}
		n = &clusterNode{to: opened}
		k.nodes[address] = n
	}
	if n.conn == nil {
		c, _, err := k.in.dial(ctx, n.to, words("PING"))
		if err != nil {
			return nil, err
		}
		n.conn = c
	}
	return n, nil
}

// hangUp gives the connections to other nodes up.
func (k *keys) hangUp() {
	for address, n := range k.nodes {
		if n.conn != nil {
			n.conn.close()
		}
		_ = n.to.Close()
		delete(k.nodes, address)
	}
}
