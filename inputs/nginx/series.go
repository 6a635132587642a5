package nginx

import "github.com/hermod-agent/hermod/pipeline/metrics"

// The names, types and help texts are those of nginx-prometheus-exporter 1.5 (collector/nginx.go).
var upDesc = metrics.Desc{Name: "nginx_up", Help: "Status of the last metric scrape", Kind: metrics.Gauge}

// stubSeries are the series of a stub_status page.
type stubSeries struct {
	active, accepted, handled, reading, writing, waiting, requests *metrics.Series
}

func newStubSeries(r *metrics.Registry) stubSeries {
	gauge := func(name, help string) *metrics.Series {
		return r.New(&metrics.Desc{Name: name, Help: help, Kind: metrics.Gauge})
	}
	counter := func(name, help string) *metrics.Series {
		return r.New(&metrics.Desc{Name: name, Help: help, Kind: metrics.Counter})
	}
	return stubSeries{
		active:   gauge("nginx_connections_active", "Active client connections"),
		accepted: counter("nginx_connections_accepted", "Accepted client connections"),
		handled:  counter("nginx_connections_handled", "Handled client connections"),
		reading:  gauge("nginx_connections_reading", "Connections where NGINX is reading the request header"),
		writing:  gauge("nginx_connections_writing", "Connections where NGINX is writing the response back to the client"),
		waiting:  gauge("nginx_connections_waiting", "Idle client connections"),
		requests: counter("nginx_http_requests_total", "Total http requests"),
	}
}

func (s *stubSeries) set(b *metrics.Batch, v *stub) {
	b.Set(s.active, float64(v.active))
	b.Set(s.accepted, float64(v.accepted))
	b.Set(s.handled, float64(v.handled))
	b.Set(s.reading, float64(v.reading))
	b.Set(s.writing, float64(v.writing))
	b.Set(s.waiting, float64(v.waiting))
	b.Set(s.requests, float64(v.requests))
}
