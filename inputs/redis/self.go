package redis

import (
	"time"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// self shows how the collections go, under redis_exporter's names.
type self struct {
	up, duration, connectTime, pingTime *metrics.Series
	failure                             *family
	scrapes, sum, count, requestErrors  *metrics.Series

	n             float64
	seconds       float64
	connect, ping time.Duration // of this collection
	withPing      bool
}

func newSelf(in *input) self {
	r := in.env.Series
	scrape := described("exporter_scrape_duration_seconds", "Durations of scrapes by the exporter", metrics.Summary)
	return self{
		up:            r.New(up()),
		duration:      r.New(plain("exporter_last_scrape_duration_seconds", metrics.Gauge)),
		connectTime:   r.New(plain("exporter_last_scrape_connect_time_seconds", metrics.Gauge)),
		pingTime:      r.New(plain("exporter_last_scrape_ping_time_seconds", metrics.Gauge)),
		failure:       in.family(gauge("exporter_last_scrape_error", "The last scrape error status."), "err"),
		scrapes:       r.New(counter("exporter_scrapes_total", "Current total redis scrapes.")),
		sum:           r.Part(scrape, scrape.Name+"_sum"),
		count:         r.Part(scrape, scrape.Name+"_count"),
		requestErrors: r.New(counter("target_scrape_request_errors_total", "Errors in requests to the exporter")),
		withPing:      in.cfg.PingOnConnect,
	}
}

// set shows how a collection went.
func (s *self) set(b *metrics.Batch, err error, took time.Duration) {
	s.n++
	s.seconds += took.Seconds()
	if err == nil {
		b.Set(s.up, 1)
		s.failure.set(b, 0, nil)
	} else {
		_, what := component.Remedy(err)
		b.Set(s.up, 0)
		s.failure.set(b, 1, []byte(what))
	}
	b.Set(s.connectTime, s.connect.Seconds())
	if s.withPing && s.ping > 0 {
		b.Set(s.pingTime, s.ping.Seconds())
	}
	b.Set(s.duration, took.Seconds())
	b.Set(s.scrapes, s.n)
	b.Set(s.sum, s.seconds)
	b.Set(s.count, s.n)
	b.Set(s.requestErrors, 0) // those are requests to the exporter itself, which the engine answers
}

func up() *metrics.Desc { return gauge("up", "Information about the Redis instance") }
