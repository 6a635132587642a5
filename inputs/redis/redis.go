// Package redis collects the numbers of a Redis or Valkey server, of a Sentinel or of a cluster's node, under the names of redis_exporter
// 1.88.
//
// All that is asked of the server in each collection goes out in one piece on a connection that is kept, through go-redis: docs/design/redis.md
// says what is left to it and what isn't.
//
// Names, labels, types, help texts and values are compared with a running redis_exporter. On purpose it is different where that one's
// answer is wrong or none:
//   - When the server can't be asked, redis_up is 0 and all else but redis_exporter_* is absent.
//   - redis_db_keys_cached is shown where the server has such a number (KeyDB). redis_exporter takes the fourth one of a database for it,
//     which since Redis 7.4 is how many hashes have fields that expire.
//   - The sum of redis_commands_latencies_usec is right for commands with a dash, an underscore or a dot in their names, too; in
//     redis_exporter it is 0.
//   - redis_exporter_last_scrape_connect_time_seconds is 0 where the connection was there already.
//   - The err of redis_exporter_last_scrape_error is what the status page says, and holds nothing that changes with each attempt.
//   - A script that fails doesn't make redis_up 0: redis_script_result says so.
//   - A key that a walk finds twice is shown once. Values of keys are shown up to 2 KiB, and strings are taken for HyperLogLogs by their
//     first bytes, not by trying PFCOUNT on each, which counts as an error of the server.
//   - Of all settings those that are passwords are left out for a Sentinel too.
package redis

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hermod-agent/hermod/internal/discover"
	"github.com/hermod-agent/hermod/internal/target"
	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// Definition of input "redis".
var Definition = component.MetricsInput("redis", "Memory, keys, commands, clients and replication of a Redis or Valkey server, as redis_exporter names them.",
	defaults, open, component.Job("redis"), component.Example(example))

const example = `
input "redis" "sessions" {
  address = "sessions.example.com:6379"

  # An ACL user of the agent's own. Without user the password is the server's requirepass.
  user     = "hermod"
  password = env("REDIS_PASSWORD", "change me")

  # Each of these costs the server a walk through its keys at every collection.
  count_keys = ["session:*", "db1=job:*"]
  check_keys = ["queue:*"]

  # Streams by their names cost little.
  check_single_streams = ["events"]

  # For a server with TLS and an authority of one's own.
  tls {
    ca_file = "/etc/ssl/redis-ca.pem"
  }
}

# Every container that asks for it by a label, whatever the network that it is on:
#   hermod.redis.port    port inside the container; 6379 when not set
#   hermod.redis.user    ACL user; that of user when not set
#   hermod.redis.secret  one of the secrets below: the password; none is sent when not set
input "redis" "labelled" {
  discover = true
  secrets  = { cache = env("CACHE_REDIS_PASSWORD", "change me") }
}
`

// defaultPort is that of an address without one.
const defaultPort = 6379

// input is one server.
type input struct {
	env    *component.Env
	cfg    *Config
	server *target.Target

	self     self
	info     *info
	config   *configs
	logs     *logs
	sentinel *sentinel
	clients  *clients
	keys     *keys
	streams  *streams
	scripts  []script
	module   *family
	families []*family

	conn *conn
	// For the server that conn leads to.
	plainInfo   bool // INFO ALL isn't known there
	noPassword  bool // our password wasn't needed
	replica     bool
	steps       []*step
	request     []call // those of sent
	sent        []*step
	planChanged bool
	deniedAt    uint64

	cycle  uint64
	told   map[string]uint64 // keys of faults, and in which cycle each was told last
	report func(component.Finding)

	busy    chan struct{} // holds a token while Collect, Check or Stop runs
	stopped bool          // guarded by busy
}

var (
	_ component.Collector = (*input)(nil)
	_ component.Stopper   = (*input)(nil)
	_ component.Instancer = (*input)(nil)
	_ component.Checker   = (*input)(nil)
	_ discover.Server     = (*input)(nil)
)

func open(env *component.Env, cfg *Config) (component.Collector, error) {
	if !cfg.Discovery.Discover {
		return openServer(env, cfg)
	}
	return discover.New(discover.Options{
		Env: env, Port: defaultPort, Labels: []string{"user"}, Secrets: cfg.Discovery.Secrets, Up: up(),
		Open: func(env *component.Env, f discover.Found) (discover.Server, error) {
			own, err := cfg.labelled(&f)
			if err != nil {
				return nil, err
			}
			return openServer(env, own)
		},
	})
}

func openServer(env *component.Env, cfg *Config) (*input, error) {
	server, err := target.Open(env, cfg.Address, defaultPort)
	if err != nil {
		return nil, err
	}
	in, err := newInput(env, cfg, server)
	if err != nil {
		_ = server.Close()
		return nil, err
	}
	return in, nil
}

// newInput makes the input of one server, which is its own from then on.
func newInput(env *component.Env, cfg *Config, server *target.Target) (*input, error) {
	in := &input{env: env, cfg: cfg, server: server, told: map[string]uint64{}, busy: make(chan struct{}, 1)}
	var err error
	if in.scripts, err = loadScripts(in); err != nil {
		return nil, err
	}
	in.self = newSelf(in)
	in.info = newInfo(in)
	in.config = newConfigs(in)
	in.logs = newLogs(in)
	in.sentinel = newSentinel(in)
	in.clients = newClients(in)
	in.keys = newKeys(in)
	in.streams = newStreams(in)
	in.module = in.family(gauge("module_info", "Information about loaded Redis module"), "name", "ver", "api", "filters", "usedby", "using")
	return in, nil
}

// Instance implements component.Instancer.
func (in *input) Instance() string { return in.server.String() }

// Collect implements component.Collector. When the server can't be asked, the batch says so and nothing else.
func (in *input) Collect(ctx context.Context, b *metrics.Batch) error {
	in.busy <- struct{}{} // never waits but for a Stop
	defer func() { <-in.busy }()
	if in.stopped {
		return component.ErrStopped
	}
	return in.cycleOnce(ctx, b)
}

func (in *input) cycleOnce(ctx context.Context, b *metrics.Batch) error {
	begin := time.Now()
	before := len(b.Samples)
	in.cycle = b.Cycle
	in.self.connect, in.self.ping = 0, 0
	err := in.collect(ctx, b)
	if err != nil {
		err = in.explain(err)
		clear(b.Samples[before:])
		b.Samples = b.Samples[:before]
	} else {
		in.untell(false)
	}
	for _, f := range in.families {
		f.rows.Sweep(b.Cycle)
	}
	in.info.more.Sweep(b.Cycle)
	in.info.commands.rows.Sweep(b.Cycle)
	in.self.set(b, err, time.Since(begin))
	return err
}

// collect asks the server. The connection is given up when something went wrong with it.
func (in *input) collect(ctx context.Context, b *metrics.Batch) error {
	err := in.ask(ctx, b)
	if err != nil && in.conn != nil && in.conn.used && gone(err) && ctx.Err() == nil {
		// Servers close connections that are quiet for long (timeout in redis.conf), and when they are restarted.
		in.hangUp()
		err = in.ask(ctx, b)
	}
	if err != nil {
		in.hangUp()
	}
	return err
}

// ask runs the commands of a collection, on a new connection where there is none.
func (in *input) ask(ctx context.Context, b *metrics.Batch) error {
	if in.conn == nil {
		if err := in.connect(ctx); err != nil {
			return err
		}
	}
	in.retry(b.Cycle)
	if in.cfg.PingOnConnect {
		begin := time.Now()
		if _, err := in.conn.exchange(ctx, []call{words("PING")}); err != nil {
			return err
		}
		in.self.ping = time.Since(begin)
	}
	replies, err := in.conn.exchange(ctx, in.request)
	if err != nil {
		return err
	}
	in.conn.used = true
	answer := replies[0]
	if answer.isError() {
		return &serverError{command: "INFO", text: string(answer.text())}
	}
	if len(answer.text()) == 0 {
		return errNoInfo
	}
	f := in.info.collect(answer.text(), b)
	in.replica = string(f.role) == "slave"
	in.config.begin()
	for i, s := range in.sent[1:] {
		switch v := replies[i+1]; {
		case v.isError():
			in.refuse(s, string(v.text()))
			if failed := s.failed; failed != nil {
				failed(b)
			}
		case s.show != nil:
			s.show(v, b)
		}
	}
	if in.planChanged {
		in.replan(b.Cycle)
	}
	if in.cfg.IncludeMetricsForEmptyDatabases {
		databases := in.config.databases
		if f.cluster {
			databases = 1
		}
		in.info.empty(databases, b)
	}
	if err := in.sentinel.ask(ctx, b); err != nil {
		return err
	}
	b.Set(in.keys.groups, 0)
	if in.replica || !in.cfg.SkipCheckKeysForRoleMaster {
		if err := in.keys.collect(ctx, b); err != nil {
			return err
		}
		return in.streams.collect(ctx, b)
	}
	return nil
}

// connect makes a connection, and the plan for the server at its end.
func (in *input) connect(ctx context.Context) error {
	begin := time.Now()
	c, replies, err := in.dial(ctx, in.server, words("INFO", "ALL"), words("INFO"))
	if err != nil {
		return err
	}
	answer := replies[0]
	if in.plainInfo = answer.isError() || len(answer.text()) == 0; in.plainInfo {
		answer = replies[1]
	}
	if answer.isError() {
		err := &serverError{command: "INFO", text: string(answer.text())}
		c.close()
		return err
	}
	in.conn = c
	in.self.connect = time.Since(begin)
	in.untell(true)
	if in.noPassword {
		in.stick("password", component.WithRemedy(fmt.Errorf("%s has no password and lets everybody in who reaches it", in.server),
			"take password out of the block, or give the server one (requirepass)"), true)
	}
	in.planChanged = false
	f := in.info.facts(answer.text())
	in.prepare(&f)
	return nil
}

// hangUp gives the connection up.
func (in *input) hangUp() {
	if in.conn != nil {
		in.conn.close()
		in.conn = nil
	}
	in.keys.hangUp()
}

// modules shows INFO MODULES: fields of modules, and a line for each: module:name=search,ver=21005,api=1,filters=0,usedby=[],using=[],options=[].
func (in *input) modules(v value, b *metrics.Batch) { in.info.modules(v.text(), in.module, b) }

// Stop implements component.Stopper. It waits for a collection that was abandoned.
func (in *input) Stop(ctx context.Context) error {
	if err := component.Enter(ctx, in.busy); err != nil {
		return err
	}
	defer func() { <-in.busy }()
	if in.stopped {
		return nil
	}
	in.stopped = true
	in.hangUp()
	return in.server.Close()
}

var errNoInfo = errors.New("the answer to INFO is empty")
