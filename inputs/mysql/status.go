package mysql

import (
	"context"
	"strings"

	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// globalStatus is SHOW GLOBAL STATUS. Most variables are a family of their own; of some groups the rest of the name is a label.
type globalStatus struct {
	series    *metrics.Registry
	variables metrics.Table[variable]
	groups    statusGroups

	galera  info
	latency []*metrics.Series // of the group's communication, in the order of the fields of wsrep_evs_repl_latency
}

// statusGroups are the families that several status variables share.
type statusGroups struct {
	commands, handlers, errors, pages, dirty, changes, rows, lost *metrics.Desc
}

// variable is what is known of a status or system variable.
type variable struct {
	name   string // as the server writes it
	state  state
	series *metrics.Series // made when the first value is seen
	hidden bool
}

// galeraTexts are the status variables of Galera that are shown as labels, or taken apart.
type galeraTexts struct{ localState, clusterState, provider, latency string }

func newGlobalStatus(m *making) collector {
	c := &globalStatus{series: m.series}
	c.groups = statusGroups{
		commands: counter("mysql_global_status_commands_total", "Total number of executed MySQL commands."),
		handlers: counter("mysql_global_status_handlers_total", "Total number of executed MySQL handlers."),
		errors:   counter("mysql_global_status_connection_errors_total", "Total number of MySQL connection errors."),
		pages:    gauge("mysql_global_status_buffer_pool_pages", "Innodb buffer pool pages by state."),
		dirty:    gauge("mysql_global_status_buffer_pool_dirty_pages", "Innodb buffer pool dirty pages."),
		changes:  counter("mysql_global_status_buffer_pool_page_changes_total", "Innodb buffer pool page state changes."),
		rows:     counter("mysql_global_status_innodb_row_ops_total", "Total number of MySQL InnoDB row operations."),
		lost: counter("mysql_global_status_performance_schema_lost_total",
			"Total number of MySQL instrumentations that could not be loaded or created due to memory constraints."),
	}
	c.galera = info{series: m.series, desc: gauge("mysql_galera_status_info", "PXC/Galera status information.")}
	return c
}

func (c *globalStatus) collect(ctx context.Context, s *session, b *metrics.Batch) error {
	r, err := s.query(ctx, "SHOW GLOBAL STATUS")
	if err != nil {
		return err
	}
	defer r.close()
	defer c.variables.Sweep(b.Cycle)
	var texts galeraTexts
	for {
		row, err := r.next()
		if err != nil {
			return err
		}
		if row == nil {
			break
		}
		name, ok := row[0].([]byte)
		raw, isText := row[1].([]byte)
		if !ok || !isText {
			continue
		}
		v := c.variables.Row(name, b.Cycle, newVariable)
		if value, ok := v.state.read(raw); ok {
			if v.series == nil && !v.hidden {
				v.series = c.newSeries(v.name)
				v.hidden = v.series == nil
			}
			if !v.hidden {
				b.Set(v.series, value)
			}
			continue
		}
		switch v.name {
		case "wsrep_local_state_uuid":
			texts.localState = string(raw)
		case "wsrep_cluster_state_uuid":
			texts.clusterState = string(raw)
		case "wsrep_provider_version":
			texts.provider = string(raw)
		case "wsrep_evs_repl_latency":
			texts.latency = string(raw)
		}
	}
	if texts.localState != "" {
		c.galera.set(b, "wsrep_local_state_uuid", texts.localState, "wsrep_cluster_state_uuid", texts.clusterState, "wsrep_provider_version", texts.provider)
	}
	c.setLatency(b, texts.latency)
	return nil
}

func newVariable(name string) variable { return variable{name: name} }

// newSeries makes the series of a status variable, or none when it isn't shown.
func (c *globalStatus) newSeries(name string) *metrics.Series {
	name = metricName(name)
	g := &c.groups
	for _, group := range [...]struct {
		prefix, label string
		desc          *metrics.Desc
	}{
		{"com_", "command", g.commands},
		{"handler_", "handler", g.handlers},
		{"connection_errors_", "error", g.errors},
		{"innodb_rows_", "operation", g.rows},
		{"performance_schema_", "instrumentation", g.lost},
	} {
		if rest, ok := strings.CutPrefix(name, group.prefix); ok {
			return c.series.New(group.desc, group.label, rest)
		}
	}
	if rest, ok := strings.CutPrefix(name, "innodb_buffer_pool_pages_"); ok {
		switch rest {
		case "total": // the sum of the others
			return nil
		case "data", "free", "misc", "old":
			return c.series.New(g.pages, "state", rest)
		case "dirty": // counted among the data pages as well
			return c.series.New(g.dirty)
		}
		return c.series.New(g.changes, "operation", rest)
	}
	return c.series.New(&metrics.Desc{Name: "mysql_global_status_" + name, Help: "Generic metric from SHOW GLOBAL STATUS."})
}

// setLatency takes wsrep_evs_repl_latency apart: minimum, average, maximum and standard deviation in seconds, and the size of the sample,
// with slashes between (https://galeracluster.com/library/documentation/galera-status-variables.html).
func (c *globalStatus) setLatency(b *metrics.Batch, latency string) {
	if latency == "" {
		return
	}
	fields := strings.Split(latency, "/")
	descs := [...]*metrics.Desc{
		gauge("mysql_galera_evs_repl_latency_min_seconds", "PXC/Galera group communication latency. Min value."),
		gauge("mysql_galera_evs_repl_latency_avg_seconds", "PXC/Galera group communication latency. Avg value."),
		gauge("mysql_galera_evs_repl_latency_max_seconds", "PXC/Galera group communication latency. Max value."),
		gauge("mysql_galera_evs_repl_latency_stdev", "PXC/Galera group communication latency. Standard Deviation."),
		gauge("mysql_galera_evs_repl_latency_sample_size", "PXC/Galera group communication latency. Sample Size."),
	}
	if len(fields) != len(descs) {
		return
	}
	var values [len(descs)]float64
	for i, f := range fields {
		v, ok := parseNumber([]byte(f))
		if !ok {
			return
		}
		values[i] = v
	}
	if c.latency == nil {
		for _, d := range descs {
			c.latency = append(c.latency, c.series.New(d))
		}
	}
	for i, s := range c.latency {
		b.Set(s, values[i])
	}
}
