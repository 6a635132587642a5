package mysql

import (
	"context"
	"strconv"
	"strings"

	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// processlist counts the threads of the server by what they do, by user and by client host.
type processlist struct {
	series    *metrics.Registry
	cfg       *ProcesslistConfig
	statement string

	threads, seconds, byUser, byHost *metrics.Desc
	states                           metrics.Table[*threadState] // by command and state
	users, hosts                     metrics.Table[*threadCount]
	order                            struct {
		states       []*threadState
		users, hosts []*threadCount
	}
	key []byte
}

type threadState struct {
	threads, seconds *metrics.Series
	count, time      float64
}

type threadCount struct {
	series *metrics.Series
	count  float64
}

func newProcesslist(m *making) collector {
	return &processlist{
		series: m.series, cfg: &m.cfg.Processlist,
		statement: `SELECT user, substring_index(host, ':', 1), coalesce(command, ''), coalesce(state, ''), count(*), sum(time)
			FROM information_schema.processlist
			WHERE id <> connection_id() AND time >= ` + strconv.Itoa(m.cfg.Processlist.MinTime) + ` GROUP BY 1, 2, 3, 4`,
		threads: gauge("mysql_info_schema_processlist_threads", "The number of threads split by current state."),
		seconds: gauge("mysql_info_schema_processlist_seconds", "The number of seconds threads have used split by current state."),
		byUser:  gauge("mysql_info_schema_processlist_processes_by_user", "The number of processes by user."),
		byHost:  gauge("mysql_info_schema_processlist_processes_by_host", "The number of processes by host."),
	}
}

func (c *processlist) collect(ctx context.Context, s *session, b *metrics.Batch) error {
	r, err := s.query(ctx, c.statement)
	if err != nil {
		return err
	}
	defer r.close()
	c.begin()
	o := &c.order
	for {
		row, err := r.next()
		if err != nil {
			return err
		}
		if row == nil {
			break
		}
		count, _ := number(row[4])
		seconds, _ := number(row[5])

		c.key = append(appendState(c.key[:0], text(nil, row[2])), 0xff)
		c.key = append(appendState(c.key, text(nil, row[3])), 0xff)
		state := *c.states.Row(c.key, b.Cycle, c.newState)
		if state.count == 0 {
			o.states = append(o.states, state)
		}
		state.count += count
		state.time += seconds

		c.key = text(c.key[:0], row[0])
		o.users = add(c.users.Row(c.key, b.Cycle, c.newUser), count, o.users)
		if c.key = text(c.key[:0], row[1]); len(c.key) == 0 {
			c.key = append(c.key, "unknown"...)
		}
		o.hosts = add(c.hosts.Row(c.key, b.Cycle, c.newHost), count, o.hosts)
	}
	for _, state := range o.states {
		b.Set(state.threads, state.count)
		b.Set(state.seconds, state.time)
	}
	if c.cfg.ProcessesByHost {
		setCounts(b, o.hosts)
	}
	if c.cfg.ProcessesByUser {
		setCounts(b, o.users)
	}
	c.states.Sweep(b.Cycle)
	c.users.Sweep(b.Cycle)
	c.hosts.Sweep(b.Cycle)
	return nil
}

// begin sets what was counted last to nothing: all of a collection, or what one that broke off had come to.
func (c *processlist) begin() {
	o := &c.order
	for _, state := range o.states {
		state.count, state.time = 0, 0
	}
	for _, counts := range [...][]*threadCount{o.users, o.hosts} {
		for _, t := range counts {
			t.count = 0
		}
	}
	o.states, o.users, o.hosts = o.states[:0], o.users[:0], o.hosts[:0]
}

// add counts, and notes who was counted for the first time in this collection.
func add(into **threadCount, count float64, seen []*threadCount) []*threadCount {
	if (*into).count == 0 {
		seen = append(seen, *into)
	}
	(*into).count += count
	return seen
}

func setCounts(b *metrics.Batch, counts []*threadCount) {
	for _, c := range counts {
		b.Set(c.series, c.count)
	}
}

func (c *processlist) newState(key string) *threadState {
	parts := splitKey(key)
	return &threadState{
		threads: c.series.New(c.threads, "command", parts[0], "state", parts[1]),
		seconds: c.series.New(c.seconds, "command", parts[0], "state", parts[1]),
	}
}

func (c *processlist) newUser(key string) *threadCount {
	return &threadCount{series: c.series.New(c.byUser, "mysql_user", valid(key))}
}

func (c *processlist) newHost(key string) *threadCount {
	return &threadCount{series: c.series.New(c.byHost, "client_host", valid(key))}
}

// appendState appends a command or a state as mysqld_exporter writes them: lower case, underscores for blanks and dashes, and without
// punctuation.
func appendState(dst, state []byte) []byte {
	if len(state) == 0 {
		return append(dst, "unknown"...)
	}
	for _, c := range strings.ToLower(string(state)) {
		switch c {
		case ';', ',', ':', '.', '(', ')':
		case ' ', '-':
			dst = append(dst, '_')
		default:
			dst = append(dst, string(c)...)
		}
	}
	return dst
}
