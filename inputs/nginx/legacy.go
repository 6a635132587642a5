package nginx

import (
	"math"

	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// legacyVTS gives what VTS counts under the names of nginx-vts-exporter 0.10 (nginx_vts_exporter.go), which its dashboards read. The bytes of an
// upstream group are summed over its servers, as that exporter did before it told the servers of a group apart.
type legacyVTS struct {
	info, connections                                                          family
	requests, bytes, cache, requestMsec                                        family
	upstreamRequests, upstreamBytes, upstreamResponseMsec, upstreamRequestMsec family
	filterRequests, filterBytes, filterResponseMsec, filterRequestMsec         family
	cacheRequests, cacheBytes                                                  family

	infos     metrics.Table[*metrics.Series]
	status    []*metrics.Series // connections
	servers   metrics.Table[*legacyZone]
	filters   metrics.Table[*legacyZone]
	peers     metrics.Table[*legacyZone]
	upstreams metrics.Table[[]*metrics.Series] // bytes
	caches    metrics.Table[*legacyZone]
	key       []byte
}

// legacyZone are the series of a virtual host, a value of a filter, a server of an upstream group or a cache; those that don't make sense stay
// empty.
type legacyZone struct {
	requests, bytes, cache    []*metrics.Series
	requestMsec, responseMsec *metrics.Series
}

var (
	legacyCodes  = []string{"total", "1xx", "2xx", "3xx", "4xx", "5xx"}
	legacyStatus = []string{"active", "reading", "waiting", "writing", "accepted", "handled", "requests"}
)

func newLegacy(r *metrics.Registry) *legacyVTS {
	counter := func(name, help string) family { return newFamily(r, metrics.Counter, name, help) }
	gauge := func(name, help string) family { return newFamily(r, metrics.Gauge, name, help) }
	const (
		requests     = "requests counter"
		bytes        = "request/response bytes"
		requestMsec  = "average of request processing times in milliseconds"
		responseMsec = "average of only upstream/backend response processing times in milliseconds"
	)
	return &legacyVTS{
		info:                 gauge("nginx_server_info", "nginx info"),
		connections:          gauge("nginx_server_connections", "nginx connections"),
		requests:             counter("nginx_server_requests", requests),
		bytes:                counter("nginx_server_bytes", bytes),
		cache:                counter("nginx_server_cache", "cache counter"),
		requestMsec:          gauge("nginx_server_requestMsec", requestMsec),
		upstreamRequests:     counter("nginx_upstream_requests", requests),
		upstreamBytes:        counter("nginx_upstream_bytes", bytes),
		upstreamResponseMsec: gauge("nginx_upstream_responseMsec", responseMsec),
		upstreamRequestMsec:  gauge("nginx_upstream_requestMsec", requestMsec),
		filterRequests:       counter("nginx_filter_requests", requests),
		filterBytes:          counter("nginx_filter_bytes", bytes),
		filterResponseMsec:   gauge("nginx_filter_responseMsec", responseMsec),
		filterRequestMsec:    gauge("nginx_filter_requestMsec", requestMsec),
		cacheRequests:        counter("nginx_cache_requests", "cache requests counter"),
		cacheBytes:           counter("nginx_cache_bytes", "cache request/response bytes"),
	}
}

func (v *legacyVTS) collect(b *metrics.Batch, s *vtsPage) {
	if v.status == nil {
		v.status = v.connections.each("status", legacyStatus)
	}
	v.key = append(append(append(v.key[:0], s.HostName...), 0), s.NginxVersion...)
	uptime := math.Trunc((s.NowMsec - s.LoadMsec) / 1000)
	b.Set(*v.infos.Row(v.key, b.Cycle, func(string) *metrics.Series {
		return v.info.series("hostName", s.HostName, "nginxVersion", s.NginxVersion)
	}), uptime)
	c := s.Connections
	set(b, v.status, c.Active, c.Reading, c.Waiting, c.Writing, c.Accepted, c.Handled, c.Requests)

	for _, host := range names(s.ServerZones) {
		z := s.ServerZones[host]
		r := *v.servers.RowString(host, b.Cycle, func(host string) *legacyZone {
			return &legacyZone{
				requests:    v.requests.each("code", legacyCodes, "host", host),
				cache:       v.cache.each("status", cacheStatuses, "host", host),
				bytes:       v.bytes.each("direction", directions, "host", host),
				requestMsec: v.requestMsec.series("host", host),
			}
		})
		r.set(b, &z)
	}
	v.upstreamZones(b, s)
	for _, filter := range names(s.FilterZones) {
		for _, name := range names(s.FilterZones[filter]) {
			z := s.FilterZones[filter][name]
			v.key = append(append(append(v.key[:0], filter...), 0), name...)
			r := *v.filters.Row(v.key, b.Cycle, func(string) *legacyZone {
				labels := []string{"filter", filter, "filterName", name}
				return &legacyZone{
					requests:     v.filterRequests.each("code", legacyCodes, labels...),
					bytes:        v.filterBytes.each("direction", directions, labels...),
					requestMsec:  v.filterRequestMsec.series(labels...),
					responseMsec: v.filterResponseMsec.series(labels...),
				}
			})
			r.set(b, &z)
		}
	}
	for _, zone := range names(s.CacheZones) {
		z := s.CacheZones[zone]
		r := *v.caches.RowString(zone, b.Cycle, func(zone string) *legacyZone {
			return &legacyZone{
				cache: v.cacheRequests.each("status", cacheStatuses, "zone", zone),
				bytes: v.cacheBytes.each("direction", directions, "zone", zone),
			}
		})
		z.Responses.set(b, r.cache)
		set(b, r.bytes, z.InBytes, z.OutBytes)
	}
	v.infos.Sweep(b.Cycle)
	v.servers.Sweep(b.Cycle)
	v.filters.Sweep(b.Cycle)
	v.peers.Sweep(b.Cycle)
	v.upstreams.Sweep(b.Cycle)
	v.caches.Sweep(b.Cycle)
}

func (v *legacyVTS) upstreamZones(b *metrics.Batch, s *vtsPage) {
	for _, upstream := range names(s.UpstreamZones) {
		var in, out float64
		for i := range s.UpstreamZones[upstream] {
			z := &s.UpstreamZones[upstream][i]
			in += z.InBytes
			out += z.OutBytes
			v.key = append(append(append(v.key[:0], upstream...), 0), z.Server...)
			r := *v.peers.Row(v.key, b.Cycle, func(string) *legacyZone {
				labels := []string{"upstream", upstream, "backend", z.Server}
				return &legacyZone{
					requests:     v.upstreamRequests.each("code", legacyCodes, labels...),
					requestMsec:  v.upstreamRequestMsec.series(labels...),
					responseMsec: v.upstreamResponseMsec.series(labels...),
				}
			})
			r.set(b, z)
		}
		set(b, *v.upstreams.RowString(upstream, b.Cycle, func(upstream string) []*metrics.Series {
			return v.upstreamBytes.each("direction", directions, "upstream", upstream)
		}), in, out)
	}
}

func (r *legacyZone) set(b *metrics.Batch, z *vtsZone) {
	one, two, three, four, five := z.Responses.byCode()
	set(b, r.requests, z.RequestCounter, one, two, three, four, five)
	if r.cache != nil {
		z.Responses.vtsCacheStatus.set(b, r.cache)
	}
	set(b, r.bytes, z.InBytes, z.OutBytes)
	b.Set(r.requestMsec, z.RequestMsec)
	if r.responseMsec != nil {
		b.Set(r.responseMsec, z.ResponseMsec)
	}
}
