package graph

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	dto "github.com/prometheus/client_model/go"

	"github.com/hermod-agent/hermod/pipeline/component"
)

var _ prometheus.Gatherer = (*Engine)(nil)

// Gather gives everything that the agent knows of itself: hermod_* of the engine and of each component, go_* and process_*.
func (e *Engine) Gather() ([]*dto.MetricFamily, error) {
	gatherers := prometheus.Gatherers{e.self}
	if g := e.current.Load(); g != nil {
		for _, n := range g.nodes {
			gatherers = append(gatherers, n.self)
		}
	}
	return gatherers.Gather()
}

func newSelfRegistry(e *Engine) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), engineCollector{e})
	return r
}

// engineCollector turns the engine's status into metrics.
type engineCollector struct{ engine *Engine }

var (
	descBuild     = prometheus.NewDesc("hermod_build_info", "Version of the agent; the value is 1.", []string{"version", "goversion"}, nil)
	descReady     = prometheus.NewDesc("hermod_ready", "Whether every input has opened its sources or completed a collection.", nil, nil)
	descReload    = prometheus.NewDesc("hermod_config_last_reload_success", "Whether the last reload of the config was taken.", nil, nil)
	descLoaded    = prometheus.NewDesc("hermod_config_loaded_timestamp_seconds", "When the running config was taken.", nil, nil)
	descFailing   = prometheus.NewDesc("hermod_component_failing", "Whether something is wrong with the component.", []string{"component"}, nil)
	descDropped   = prometheus.NewDesc("hermod_dropped_total", "Samples or log records that the component gave up, by reason.", []string{"component", "reason"}, nil)
	descCycles    = prometheus.NewDesc("hermod_collections_total", "Collections of the input.", []string{"component"}, nil)
	descSkipped   = prometheus.NewDesc("hermod_collections_skipped_total", "Ticks at which the collection before was still running.", []string{"component"}, nil)
	descDuration  = prometheus.NewDesc("hermod_collection_duration_seconds", "How long the last collection of the input took.", []string{"component"}, nil)
	descSeries    = prometheus.NewDesc("hermod_collection_series", "Series in the last collection of the input.", []string{"component"}, nil)
	descUnread    = prometheus.NewDesc("hermod_unread_bytes", "Bytes of the input's log sources that were not read yet.", []string{"component"}, nil)
	descOffered   = prometheus.NewDesc("hermod_edge_offered_total", "Samples or log records that came to the edge.", []string{"from", "to", "signal"}, nil)
	descPassed    = prometheus.NewDesc("hermod_edge_passed_total", "Samples or log records that the consumer took.", []string{"from", "to", "signal"}, nil)
	descBytes     = prometheus.NewDesc("hermod_edge_bytes_total", "Bytes of log lines that the consumer took.", []string{"from", "to", "signal"}, nil)
	descErrors    = prometheus.NewDesc("hermod_edge_errors_total", "Batches that the consumer refused.", []string{"from", "to", "signal"}, nil)
	descLast      = prometheus.NewDesc("hermod_edge_last_timestamp_seconds", "When the consumer last took something.", []string{"from", "to", "signal"}, nil)
	descTaken     = prometheus.NewDesc("hermod_traffic_taken_total", "Samples or log records that the output took.", []string{"component"}, nil)
	descDelivered = prometheus.NewDesc("hermod_traffic_delivered_total", "Samples or log records that the backend has accepted.", []string{"component"}, nil)
	descRejected  = prometheus.NewDesc("hermod_traffic_rejected_total", "Samples or log records that the backend refused for good.", []string{"component"}, nil)
	descQueued    = prometheus.NewDesc("hermod_traffic_queued", "Samples or log records that wait to be delivered.", []string{"component"}, nil)
	descQueueSize = prometheus.NewDesc("hermod_traffic_queued_bytes", "Bytes that wait to be delivered, as encoded.", []string{"component"}, nil)
	descSent      = prometheus.NewDesc("hermod_traffic_sent_bytes_total", "Bytes of request bodies that the backend has accepted.", []string{"component"}, nil)
)

// Describe describes nothing: which series there are depends on the graph.
func (engineCollector) Describe(chan<- *prometheus.Desc) {}

// Collect gives what Status says.
func (c engineCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, l ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, l...)
	}
	counter := func(d *prometheus.Desc, v uint64, l ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), l...)
	}
	s := c.engine.Status()
	gauge(descBuild, 1, s.Version, runtime.Version())
	gauge(descReady, boolean(s.Ready))
	gauge(descReload, boolean(s.ReloadError == ""))
	gauge(descLoaded, float64(s.Loaded.UnixMilli())/1000)
	for i := range s.Nodes {
		n := &s.Nodes[i]
		gauge(descFailing, boolean(n.State == Failing), n.Address)
		for reason, count := range n.Losses {
			counter(descDropped, count, n.Address, reason)
		}
		if n.Interval > 0 {
			counter(descCycles, n.Cycles, n.Address)
			counter(descSkipped, n.Skipped, n.Address)
			gauge(descDuration, n.LastDuration, n.Address)
			gauge(descSeries, float64(n.Series), n.Address)
		} else if n.Kind == string(component.Input) && n.Unread >= 0 {
			gauge(descUnread, float64(n.Unread), n.Address)
		}
		if t := n.Traffic; t != nil {
			counter(descTaken, t.Taken, n.Address)
			counter(descDelivered, t.Delivered, n.Address)
			counter(descRejected, t.Rejected, n.Address)
			gauge(descQueued, float64(t.Queued), n.Address)
			gauge(descQueueSize, float64(t.QueuedBytes), n.Address)
			counter(descSent, t.SentBytes, n.Address)
		}
	}
	for i := range s.Edges {
		x := &s.Edges[i]
		counter(descOffered, x.Offered, x.From, x.To, x.Signal)
		counter(descPassed, x.Passed, x.From, x.To, x.Signal)
		counter(descErrors, x.Errors, x.From, x.To, x.Signal)
		if x.Signal == component.Logs.String() {
			counter(descBytes, x.Bytes, x.From, x.To, x.Signal)
		}
		if !x.Last.IsZero() {
			gauge(descLast, float64(x.Last.UnixMilli())/1000, x.From, x.To, x.Signal)
		}
	}
}

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
