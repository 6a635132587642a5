// Package mysql collects what a MySQL or MariaDB server says of itself, under the names of mysqld_exporter 0.20.
//
// A server is asked over one connection that is kept: each collector sends its statement and turns the rows into samples of series that it
// made when it first saw them. Statements, and what the columns mean, are mysqld_exporter's
// (https://github.com/prometheus/mysqld_exporter); where the server's version decides over the statement, it is chosen by the version and not
// by trying.
//
// On purpose it is different from mysqld_exporter in this:
//   - The connection is kept, so the server's counters of connections and of aborted ones don't rise with each collection.
//   - A NULL in a row leaves that one value out; mysqld_exporter gives up the collector.
//   - What only some servers have (query_response_time, replica_host) is asked for once a connection.
package mysql

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	driver "github.com/go-sql-driver/mysql"

	"github.com/hermod-agent/hermod/internal/discover"
	"github.com/hermod-agent/hermod/internal/target"
	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// Definition of input "mysql".
var Definition = component.MetricsInput("mysql", "Status, variables, replication, InnoDB and more of a MySQL or MariaDB server, as mysqld_exporter names them.",
	defaults, open, component.Example(example))

const example = `
input "mysql" "shop" {
  address  = "db.example.com:3306"
  user     = "exporter"
  password = env("MYSQL_PASSWORD", "change-me") # or password_file = "/run/secrets/mysql"

  # Besides what runs anyway. The names are those of mysqld_exporter's flags: --collect.info_schema.processlist
  collect = ["info_schema.processlist", "perf_schema.eventsstatements"]
  perf_schema_eventsstatements {
    limit = 100
  }
}

# On the same machine, by the socket.
input "mysql" "local" {
  address = "/run/mysqld/mysqld.sock"
  my_cnf  = "/root/.my.cnf" # user and password
}

# Every container that asks for it by a label, whatever the network that it is on:
#   hermod.mysql.port     port inside the container; 3306 when not set
#   hermod.mysql.user     account; that of user when not set
#   hermod.mysql.secret   one of the secrets below: the account's password
#   hermod.mysql.collect  collectors besides those of the block, with commas between
input "mysql" "labelled" {
  discover = true
  user     = "exporter"
  secrets  = { shop = env("SHOP_MYSQL_PASSWORD", "change-me") }
}
`

// How long a connection is kept. Now and then a new one finds a name's new address, a new password and new privileges; sooner where a
// collector was refused and somebody may have given the privilege since.
const (
	maxAge     = 5 * time.Minute
	refusedAge = 30 * time.Second
)

// input is one server.
type input struct {
	env      *component.Env
	cfg      *Config
	instance string
	timeout  time.Duration

	up, connecting *metrics.Series
	collectors     []*job

	busy    chan struct{} // holds a token while Collect, Check or Stop runs, which guards what follows
	stopped bool
	session *session // kept; nil when there is none
	refused bool     // a collector was refused on this connection: only a new one sees a privilege that was given since
	target  *target.Target
}

// job is a collector and what is told about it.
type job struct {
	kind
	c                 collector
	duration, success *metrics.Series
	told              bool // a fault of this collector is shown
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
		Env: env, Port: defaultPort, Labels: labelNames(), Secrets: cfg.Discovery.Secrets, Up: up(),
		Open: func(env *component.Env, f discover.Found) (discover.Server, error) {
			own, err := cfg.labelled(&f)
			if err != nil {
				return nil, err
			}
			return openServer(env, own)
		},
	})
}

func up() *metrics.Desc { return gauge("mysql_up", "Whether the MySQL server is up.") }

func openServer(env *component.Env, cfg *Config) (*input, error) {
	timeout := time.Duration(cfg.QueryTimeout)
	if env.Timeout > 0 {
		// What takes all of the time that the engine gives is abandoned with all that it has found, that the server is down included.
		timeout = min(timeout, env.Timeout*3/4)
	}
	in := &input{
		env: env, cfg: cfg, timeout: timeout, busy: make(chan struct{}, 1),
		up: env.Series.New(up()),
	}
	// A file that can't be read now may be there later: that is told by Collect and Check, and the address is the usual one until then.
	address := config.Address{}
	if l, err := cfg.login(); err == nil {
		address = l.address
	} else if cfg.Address.IsSet() {
		address = cfg.Address
	}
	in.instance = instanceOf(env.Host.Name, address.WithPort(defaultPort))

	duration := gauge("mysql_exporter_collector_duration_seconds", "Collector time duration.")
	success := gauge("mysql_exporter_collector_success", "mysqld_exporter: Whether a collector succeeded.")
	in.connecting = env.Series.New(duration, "collector", "connection")
	m := &making{cfg: cfg, series: env.Series}
	for _, k := range kinds() {
		if cfg.runs(k) {
			in.collectors = append(in.collectors, &job{
				kind: k, c: k.open(m),
				duration: env.Series.New(duration, "collector", "collect."+k.name),
				success:  env.Series.New(success, "collector", "collect."+k.name),
			})
		}
	}
	return in, nil
}

// instanceOf names a server: by its address, and where that is good on this machine only, by the machine's name.
func instanceOf(host string, a config.Address) string {
	if !a.IsSet() {
		a = config.Address{Kind: config.AddressTCP, Host: "localhost"}.WithPort(defaultPort)
	}
	switch {
	case host == "":
		return a.String()
	case a.Kind == config.AddressUnix:
		return host + ":" + a.Path
	case a.Kind == config.AddressTCP && loopback(a.Host):
		return net.JoinHostPort(host, fmt.Sprint(a.Port))
	case a.Kind == config.AddressTCP:
		return net.JoinHostPort(a.Host, fmt.Sprint(a.Port))
	}
	_, name, _ := strings.Cut(a.String(), "://")
	return name
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// Instance implements component.Instancer.
func (in *input) Instance() string { return in.instance }

// Collect implements component.Collector. When there is no connection mysql_up is 0 and nothing else is there.
func (in *input) Collect(ctx context.Context, b *metrics.Batch) error {
	in.busy <- struct{}{} // never waits but for a Stop
	defer func() { <-in.busy }()
	if in.stopped {
		return component.ErrStopped
	}
	begin := time.Now()
	if err := in.connect(ctx); err != nil {
		b.Set(in.up, 0)
		return err
	}
	b.Set(in.up, 1)
	b.Set(in.connecting, time.Since(begin).Seconds())

	var first error
	well := 0
	for _, j := range in.collectors {
		if in.session != nil && !in.session.version.since(j.major, j.minor, 0) {
			continue
		}
		begin := time.Now()
		err := in.run(ctx, j, b)
		b.Set(j.duration, time.Since(begin).Seconds())
		if err == nil {
			b.Set(j.success, 1)
			well++
		} else {
			b.Set(j.success, 0)
			if first == nil {
				first = fmt.Errorf("%s: %w", j.name, err)
			}
		}
		in.tell(j, err)
	}
	if in.session != nil && in.session.broken {
		in.disconnect()
	}
	if first != nil && well == 0 {
		return first
	}
	return nil
}

// run runs one collector, on a new connection when the one before it left none.
func (in *input) run(ctx context.Context, j *job, b *metrics.Batch) error {
	if in.session != nil && in.session.broken {
		in.disconnect()
	}
	if in.session == nil {
		if err := in.connect(ctx); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, in.timeout)
	defer cancel()
	if err := j.c.collect(ctx, in.session, b); err != nil {
		return in.explainCollector(&j.kind, err)
	}
	return nil
}

// tell shows what is wrong with a collector, or what it doesn't see, or that it is right again.
func (in *input) tell(j *job, err error) {
	if in.env.Status == nil {
		return
	}
	note := err == nil
	if note {
		err = in.hidden(&j.kind)
	}
	switch {
	case err == nil && j.told:
		in.env.Status.Fault(j.name, nil)
	case err != nil && note:
		in.env.Status.Note(j.name, err)
	case err != nil:
		in.env.Status.Fault(j.name, err)
	}
	j.told = err != nil
}

// connect makes sure of a connection that answers. Its errors say what to do.
func (in *input) connect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, in.timeout)
	defer cancel()
	if s := in.session; s != nil {
		if in.stale() {
			in.disconnect()
		} else if err := s.conn.Ping(ctx); err != nil {
			in.disconnect()
			if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
				return in.explain(err, nil)
			}
			// The server has closed it: it was restarted, or has waited for too long.
		}
	}
	if in.session != nil {
		return nil
	}
	s, err := in.dial(ctx)
	if err != nil {
		return err
	}
	in.session = s
	return nil
}

// stale says that the connection is to be replaced.
func (in *input) stale() bool {
	age := time.Since(in.session.opened)
	return in.session.broken || age > maxAge || in.refused && age > refusedAge
}

func (in *input) disconnect() {
	in.session.close()
	in.session, in.refused = nil, false
}

// dial logs in.
func (in *input) dial(ctx context.Context) (*session, error) {
	l, err := in.cfg.login()
	if err != nil {
		return nil, err
	}
	to, err := in.aim(l.address)
	if err != nil {
		return nil, err
	}
	try := &attempt{login: l}
	l.driver.Net, l.driver.Addr = l.network()
	l.driver.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) {
		c, err := to.DialContext(ctx)
		if err != nil {
			try.dial = err
			return nil, err
		}
		try.connected = true
		g, err := greet(ctx, c)
		if err != nil {
			_ = c.Close()
			return nil, err
		}
		try.version = g.version
		return g, nil
	}
	l.driver.InterpolateParams = true // one way there and back in place of three
	l.driver.Logger = try
	connector, err := driver.NewConnector(l.driver)
	if err != nil {
		return nil, component.WithRemedy(errors.New("the driver can't be set up: "+err.Error()), "check the dsn")
	}
	c, err := connector.Connect(ctx)
	if err != nil {
		return nil, in.explain(err, try)
	}
	s := &session{conn: c.(conn), opened: time.Now()}
	if err := in.introduce(ctx, s); err != nil {
		s.close()
		return nil, in.explain(err, try)
	}
	return s, nil
}

// aim gives the target at this address. It is made when it is first needed, and again when an option file names another one.
func (in *input) aim(a config.Address) (*target.Target, error) {
	if in.target != nil && in.target.String() == a.String() {
		return in.target, nil
	}
	to, err := target.Open(in.env, a, defaultPort)
	if err != nil {
		return nil, err
	}
	if in.target != nil {
		_ = in.target.Close() // the place that is not asked any more
	}
	in.target = to
	return to, nil
}

// introduce learns who the server is and sets the session's limits.
func (in *input) introduce(ctx context.Context, s *session) error {
	r, err := s.query(ctx, "SELECT @@version, user(), current_user()")
	if err != nil {
		return err
	}
	row, err := r.next()
	if row == nil || err != nil {
		r.close()
		return errors.Join(errors.New("the server doesn't tell its version"), err)
	}
	s.version, err = parseVersion(string(text(nil, row[0])))
	s.user, s.account = string(text(nil, row[1])), string(text(nil, row[2]))
	_, rest := r.next()
	r.close()
	if err := errors.Join(err, rest); err != nil {
		return err
	}
	if slices.ContainsFunc(in.collectors, func(j *job) bool { return j.hides() }) {
		if s.granted, err = askGrants(ctx, s); err != nil {
			return err
		}
	}
	var settings []string
	if wait := time.Duration(in.cfg.LockWaitTimeout); wait > 0 {
		settings = append(settings, fmt.Sprintf("lock_wait_timeout = %d", wait/time.Second))
	}
	if in.cfg.LogSlowFilter {
		settings = append(settings, "log_slow_filter = 'tmp_table_on_disk,filesort_on_disk'")
	}
	if len(settings) > 0 {
		if err := s.exec(ctx, "SET SESSION "+strings.Join(settings, ", ")); err != nil {
			return err
		}
	}
	// The server gives up a little before we do, so that the connection outlives a slow statement.
	limit, statement := in.timeout*9/10, ""
	switch {
	case s.version.mariadbSince(10, 1, 1):
		statement = fmt.Sprintf("SET SESSION max_statement_time = %.3f", limit.Seconds())
	case s.version.mysqlSince(5, 7, 8):
		statement = fmt.Sprintf("SET SESSION max_execution_time = %d", max(1, limit.Milliseconds()))
	default:
		return nil
	}
	if err := s.exec(ctx, statement); err != nil && serverError(err) == nil {
		return err
	}
	return nil // a server or a proxy that doesn't know the limit is bound by ours
}

// Stop implements component.Stopper. It waits for a collection that was abandoned.
func (in *input) Stop(ctx context.Context) error {
	if err := component.Enter(ctx, in.busy); err != nil {
		return err
	}
	defer func() { <-in.busy }()
	in.stopped = true
	if in.session != nil {
		in.disconnect()
	}
	if in.target == nil {
		return nil
	}
	return in.target.Close()
}
