package redis

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/hermod-agent/hermod/internal/discover"
	"github.com/hermod-agent/hermod/internal/httpclient"
	"github.com/hermod-agent/hermod/pipeline/config"
)

// Config is what a user writes in the block; the comments are the reference page.
type Config struct {
	// Where the server listens: "redis.example.com:6379", "unix:/run/redis/redis.sock", "container://NAME:6379" or
	// "compose://PROJECT/SERVICE:6379". The port is 6379 when none is given. A replica, a Sentinel and each node of a cluster is a server of its
	// own: name them in one block with for_each.
	Address config.Address `hcl:"address,optional"`
	// Name of the ACL user (Redis 6 and newer). Without it the password is that of the user "default".
	User string `hcl:"user,optional"`
	// Password.
	Password config.Secret `hcl:"password,optional"`
	// Speak TLS; an empty block is enough where the server's certificate is from an authority that the system trusts.
	TLS *httpclient.TLS `hcl:"tls,block"`

	Discovery discover.Config `hcl:",squash"`

	// Give the agent's connection the name "hermod" in the server's CLIENT LIST.
	SetClientName bool `hcl:"set_client_name,optional"`
	// Measure how long a PING takes: redis_exporter_last_scrape_ping_time_seconds.
	PingOnConnect bool `hcl:"ping_on_connect,optional"`
	// What CONFIG is called on this server, where it was renamed. "-" leaves it alone, as managed servers want it.
	ConfigCommand string `hcl:"config_command,optional"`
	// Give every setting of the server as well, as redis_config_key_value and redis_config_value. Passwords are left out.
	IncludeConfigMetrics bool `hcl:"include_config_metrics,optional"`
	// Give redis_total_system_memory_bytes as well.
	IncludeSystemMetrics bool `hcl:"include_system_metrics,optional"`
	// Give what loaded modules tell, and redis_module_info.
	IncludeModulesMetrics bool `hcl:"include_modules_metrics,optional"`
	// Give redis_sentinel_peer_info for each Sentinel that a Sentinel knows.
	IncludeSentinelPeerInfo bool `hcl:"include_sentinel_peer_info,optional"`
	// Leave out redis_commands_latencies_usec, redis_latency_spike_last and redis_latency_spike_duration_seconds.
	ExcludeLatencyHistogramMetrics bool `hcl:"exclude_latency_histogram_metrics,optional"`
	// Give redis_db_keys and redis_db_keys_expiring also for databases without keys.
	IncludeMetricsForEmptyDatabases bool `hcl:"include_metrics_for_empty_databases,optional"`

	// Give redis_connected_client_* for each connection of the server.
	ExportClientList bool `hcl:"export_client_list,optional"`
	// Have the port of each client in redis_connected_client_info: each new connection is then a new series.
	ExportClientPort bool `hcl:"export_client_port,optional"`

	// Keys whose size, memory and value are given, found by patterns: "user:*", or "db3=user:*" for another database than 0. Each collection
	// walks through all keys of the database (SCAN).
	CheckKeys []string `hcl:"check_keys,optional"`
	// Keys whose size, memory and value are given, by their names.
	CheckSingleKeys []string `hcl:"check_single_keys,optional"`
	// Patterns whose keys are counted: "db0=session:*". Each collection walks through all keys of the database (SCAN).
	CountKeys []string `hcl:"count_keys,optional"`
	// Streams that are looked into, found by patterns.
	CheckStreams []string `hcl:"check_streams,optional"`
	// Streams that are looked into, by their names.
	CheckSingleStreams []string `hcl:"check_single_streams,optional"`
	// Leave out the series of each consumer of a stream.
	StreamsExcludeConsumerMetrics bool `hcl:"streams_exclude_consumer_metrics,optional"`
	// How many keys the server looks at in one step of a walk.
	CheckKeysBatchSize int `hcl:"check_keys_batch_size,optional"`
	// Leave out the values of the keys that are checked.
	DisableExportingKeyValues bool `hcl:"disable_exporting_key_values,optional"`
	// Look at keys and streams only while the server is a replica.
	SkipCheckKeysForRoleMaster bool `hcl:"skip_checkkeys_for_role_master,optional"`
	// The server is a node of a cluster, and the keys and streams that are named may be on other nodes: these are asked for them.
	IsCluster bool `hcl:"is_cluster,optional"`

	// Files with Lua scripts that the server runs at each collection; each returns names and numbers in turn.
	Script []string `hcl:"script,optional"`
	// Run the scripts with EVAL_RO (Redis 7 and newer), so that they can't write.
	LuaScriptReadOnly bool `hcl:"lua_script_read_only,optional"`
}

func defaults() Config {
	return Config{
		SetClientName: true, ConfigCommand: "CONFIG", IncludeMetricsForEmptyDatabases: true, CheckKeysBatchSize: 1000,
	}
}

// Validate implements config.Validator.
func (c *Config) Validate() []error {
	var errs []error
	switch found := c.Discovery.Discover; {
	case found && c.Address.IsSet():
		errs = append(errs, config.Attr("address", errors.New("with discover = true the addresses are those of the containers; take address away")))
	case !found && !c.Address.IsSet():
		errs = append(errs, config.Attr("address", errors.New(`is missing: write where the server listens, like "127.0.0.1:6379", or discover = true`)))
	}
	if c.Discovery.Discover && c.Password.IsSet() {
		errs = append(errs, config.Attr("password", errors.New("with discover = true every container with a label would be offered this password; "+
			"put it into secrets, and its name into the label hermod.redis.secret")))
	}
	if c.User != "" && !c.Password.IsSet() && !c.Discovery.Discover {
		errs = append(errs, config.Attr("user", errors.New("a user without a password can't be used; set password as well (any will do for a user with nopass)")))
	}
	if c.ConfigCommand == "" {
		errs = append(errs, config.Attr("config_command", errors.New(`is empty; write "-" to leave CONFIG alone`)))
	}
	if c.CheckKeysBatchSize < 1 {
		errs = append(errs, config.Attr("check_keys_batch_size", errors.New("must be at least 1")))
	}
	if c.ExportClientPort && !c.ExportClientList {
		errs = append(errs, config.Attr("export_client_port", errors.New("needs export_client_list = true")))
	}
	for _, l := range [...]struct {
		attr string
		keys []string
	}{
		{"check_keys", c.CheckKeys}, {"check_single_keys", c.CheckSingleKeys}, {"count_keys", c.CountKeys},
		{"check_streams", c.CheckStreams}, {"check_single_streams", c.CheckSingleStreams},
	} {
		for _, text := range l.keys {
			if k, err := parseKey(text); err != nil {
				errs = append(errs, config.Attr(l.attr, err))
			} else if c.IsCluster && k.db != 0 {
				errs = append(errs, config.Attr(l.attr, fmt.Errorf("%q: a cluster has the database 0 only", text)))
			}
		}
	}
	for _, path := range c.Script {
		if path == "" {
			errs = append(errs, config.Attr("script", errors.New("a file name is empty")))
		}
	}
	return errs
}

// dbKey is a key, or a pattern of keys, of a database.
type dbKey struct {
	db  int
	key string
}

// parseKey reads "key", "db3=key" or "3=key". A key that holds a = is written with its database.
func parseKey(text string) (dbKey, error) {
	before, after, cut := strings.Cut(text, "=")
	if digits := strings.TrimPrefix(before, "db"); cut && digits != "" && strings.Trim(digits, "0123456789") == "" {
		db, err := strconv.Atoi(digits)
		if err != nil || db > 1<<20 {
			return dbKey{}, fmt.Errorf("%q: there is no database %s", text, digits)
		}
		if after == "" {
			return dbKey{}, fmt.Errorf("%q: no key stands behind the database", text)
		}
		return dbKey{db, after}, nil
	}
	if text == "" {
		return dbKey{}, errors.New("a key is empty")
	}
	return dbKey{0, text}, nil
}

// parseKeys is parseKey for what Validate has looked at.
func parseKeys(texts []string) []dbKey {
	var keys []dbKey
	for _, text := range texts {
		if k, err := parseKey(text); err == nil {
			keys = append(keys, k)
		}
	}
	return keys
}
