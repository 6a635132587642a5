package nginx

import (
	"html"
	"slices"
	"strconv"

	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// nativeVTS gives what VTS counts as the module itself would in its Prometheus format, of version 0.2.3
// (ngx_http_vhost_traffic_status_display_prometheus.h): names, labels, types and help texts are those.
type nativeVTS struct {
	registry *metrics.Registry

	info, start, connections family
	shm                      *family // its help text names the zone
	server, filter           nativeZone
	upstream                 nativeUpstream
	cacheUsage, cacheBytes   family
	cacheRequests            family

	main      []*metrics.Series // connections
	startTime *metrics.Series
	infos     metrics.Table[*metrics.Series]
	shared    []*metrics.Series
	servers   metrics.Table[*nativeRow]
	filters   metrics.Table[*nativeRow]
	peers     metrics.Table[*nativePeer]
	caches    metrics.Table[*nativeCache]
	key       []byte
}

// nativeZone are the families of a virtual host or of a filter.
type nativeZone struct {
	bytes, requests, secondsTotal, seconds, cache, codes family
	duration                                             family
}

type nativeUpstream struct {
	bytes, requests, requestSecondsTotal, requestSeconds, responseSecondsTotal, responseSeconds family
	requestDuration, responseDuration                                                           family
}

// nativeRow are the series of a virtual host or of a value of a filter.
type nativeRow struct {
	labels                []string
	bytes, requests       []*metrics.Series
	secondsTotal, seconds *metrics.Series
	cache                 []*metrics.Series
	duration              histogram
	codes                 map[string]*metrics.Series
}

type nativePeer struct {
	bytes, requests                                                            []*metrics.Series
	requestSecondsTotal, requestSeconds, responseSecondsTotal, responseSeconds *metrics.Series
	requestDuration, responseDuration                                          histogram
}

type nativeCache struct{ usage, bytes, requests []*metrics.Series }

var (
	directions    = []string{"in", "out"}
	codes         = []string{"1xx", "2xx", "3xx", "4xx", "5xx"}
	cacheStatuses = []string{"miss", "bypass", "expired", "stale", "updating", "revalidated", "hit", "scarce"}
)

func newNative(r *metrics.Registry) *nativeVTS {
	counter := func(name, help string) family { return newFamily(r, metrics.Counter, name, help) }
	gauge := func(name, help string) family { return newFamily(r, metrics.Gauge, name, help) }
	histogram := func(name, help string) family { return newFamily(r, metrics.Histogram, name, help) }
	return &nativeVTS{
		registry:    r,
		info:        gauge("nginx_vts_info", "Nginx info"),
		start:       gauge("nginx_vts_start_time_seconds", "Nginx start time"),
		connections: gauge("nginx_vts_main_connections", "Nginx connections"),
		server: nativeZone{
			bytes:        counter("nginx_vts_server_bytes_total", "The request/response bytes"),
			requests:     counter("nginx_vts_server_requests_total", "The requests counter"),
			codes:        counter("nginx_vts_status_code_requests_total", "The requests counter by status code "),
			secondsTotal: counter("nginx_vts_server_request_seconds_total", "The request processing time in seconds"),
			seconds:      gauge("nginx_vts_server_request_seconds", "The average of request processing times in seconds"),
			duration:     histogram("nginx_vts_server_request_duration_seconds", "The histogram of request processing time"),
			cache:        counter("nginx_vts_server_cache_total", "The requests cache counter"),
		},
		filter: nativeZone{
			bytes:        counter("nginx_vts_filter_bytes_total", "The request/response bytes"),
			requests:     counter("nginx_vts_filter_requests_total", "The requests counter"),
			secondsTotal: counter("nginx_vts_filter_request_seconds_total", "The request processing time in seconds counter"),
			seconds:      gauge("nginx_vts_filter_request_seconds", "The average of request processing times in seconds"),
			duration:     histogram("nginx_vts_filter_request_duration_seconds", "The histogram of request processing time"),
			cache:        counter("nginx_vts_filter_cache_total", "The requests cache counter"),
		},
		upstream: nativeUpstream{
			bytes:                counter("nginx_vts_upstream_bytes_total", "The request/response bytes"),
			requests:             counter("nginx_vts_upstream_requests_total", "The upstream requests counter"),
			requestSecondsTotal:  counter("nginx_vts_upstream_request_seconds_total", "The request Processing time including upstream in seconds"),
			requestSeconds:       gauge("nginx_vts_upstream_request_seconds", "The average of request processing times including upstream in seconds"),
			responseSecondsTotal: counter("nginx_vts_upstream_response_seconds_total", "The only upstream response processing time in seconds"),
			responseSeconds:      gauge("nginx_vts_upstream_response_seconds", "The average of only upstream response processing times in seconds"),
			requestDuration:      histogram("nginx_vts_upstream_request_duration_seconds", "The histogram of request processing time including upstream"),
			responseDuration:     histogram("nginx_vts_upstream_response_duration_seconds", "The histogram of only upstream response processing time"),
		},
		cacheUsage:    gauge("nginx_vts_cache_usage_bytes", "THe cache zones info"),
		cacheBytes:    counter("nginx_vts_cache_bytes_total", "The cache zones request/response bytes"),
		cacheRequests: counter("nginx_vts_cache_requests_total", "The cache requests counter"),
	}
}

func (v *nativeVTS) collect(b *metrics.Batch, s *vtsPage) {
	if v.main == nil {
		v.main = v.connections.each("status", []string{"accepted", "active", "handled", "reading", "requests", "waiting", "writing"})
		v.startTime = v.start.series()
	}
	v.key = append(append(append(append(append(v.key[:0], s.HostName...), 0), s.ModuleVersion...), 0), s.NginxVersion...)
	b.Set(*v.infos.Row(v.key, b.Cycle, func(string) *metrics.Series {
		labels := []string{"hostname", s.HostName, "version", s.NginxVersion}
		if s.ModuleVersion != "" {
			labels = append(labels, "module_version", s.ModuleVersion)
		}
		return v.info.series(labels...)
	}), 1)
	b.Set(v.startTime, s.LoadMsec/1000)
	c := s.Connections
	set(b, v.main, c.Accepted, c.Active, c.Handled, c.Reading, c.Requests, c.Waiting, c.Writing)
	v.sharedZone(b, s)

	for _, host := range names(s.ServerZones) {
		z := s.ServerZones[host]
		v.zone(b, v.servers.RowString(host, b.Cycle, func(host string) *nativeRow {
			return v.server.row("host", html.UnescapeString(host))
		}), &v.server, &z)
	}
	for _, filter := range names(s.FilterZones) {
		for _, name := range names(s.FilterZones[filter]) {
			z := s.FilterZones[filter][name]
			v.key = append(append(append(v.key[:0], filter...), 0), name...)
			v.zone(b, v.filters.Row(v.key, b.Cycle, func(string) *nativeRow {
				return v.filter.row("filter", html.UnescapeString(filter), "filter_name", html.UnescapeString(name))
			}), &v.filter, &z)
		}
	}
	for _, upstream := range names(s.UpstreamZones) {
		for i := range s.UpstreamZones[upstream] {
			z := &s.UpstreamZones[upstream][i]
			v.key = append(append(append(v.key[:0], upstream...), 0), z.Server...)
			v.peer(b, *v.peers.Row(v.key, b.Cycle, func(string) *nativePeer {
				return v.upstream.row(html.UnescapeString(upstream), z.Server)
			}), z)
		}
	}
	for _, zone := range names(s.CacheZones) {
		z := s.CacheZones[zone]
		r := *v.caches.RowString(zone, b.Cycle, func(zone string) *nativeCache {
			zone = html.UnescapeString(zone)
			return &nativeCache{
				usage:    v.cacheUsage.each("cache_size", []string{"max", "used"}, "cache_zone", zone),
				bytes:    v.cacheBytes.each("direction", directions, "cache_zone", zone),
				requests: v.cacheRequests.each("status", cacheStatuses, "cache_zone", zone),
			}
		})
		set(b, r.usage, z.MaxSize, z.UsedSize)
		set(b, r.bytes, z.InBytes, z.OutBytes)
		z.Responses.set(b, r.requests)
	}
	v.infos.Sweep(b.Cycle)
	v.servers.Sweep(b.Cycle)
	v.filters.Sweep(b.Cycle)
	v.peers.Sweep(b.Cycle)
	v.caches.Sweep(b.Cycle)
}

// sharedZone tells how full the module's shared memory is.
func (v *nativeVTS) sharedZone(b *metrics.Batch, s *vtsPage) {
	z := s.SharedZones
	if z == nil {
		return
	}
	if help := "Shared memory [" + z.Name + "] info"; v.shm == nil || v.shm.desc.Help != help {
		f := newFamily(v.registry, metrics.Gauge, "nginx_vts_main_shm_usage_bytes", help)
		v.shm, v.shared = &f, f.each("shared", []string{"max_size", "used_size", "used_node", "free_size"})
	}
	if z.FreeSize == nil {
		set(b, v.shared[:3], z.MaxSize, z.UsedSize, z.UsedNode)
		return
	}
	set(b, v.shared, z.MaxSize, z.UsedSize, z.UsedNode, *z.FreeSize)
}

func (f *nativeZone) row(labels ...string) *nativeRow {
	r := &nativeRow{
		labels:       labels,
		bytes:        f.bytes.each("direction", directions, labels...),
		requests:     f.requests.each("code", codes, labels...),
		secondsTotal: f.secondsTotal.series(labels...),
		seconds:      f.seconds.series(labels...),
		cache:        f.cache.each("status", cacheStatuses, labels...),
		duration:     histogram{family: f.duration, labels: labels},
	}
	return r
}

func (v *nativeVTS) zone(b *metrics.Batch, row **nativeRow, f *nativeZone, z *vtsZone) {
	r := *row
	set(b, r.bytes, z.InBytes, z.OutBytes)
	one, two, three, four, five := z.Responses.byCode()
	set(b, r.requests, one, two, three, four, five)
	b.Set(r.secondsTotal, z.RequestMsecCounter/1000)
	b.Set(r.seconds, z.RequestMsec/1000)
	if z.Responses.Miss != nil {
		z.Responses.set(b, r.cache)
	}
	r.duration.set(b, &z.RequestBuckets, z.RequestMsecCounter, z.RequestCounter)
	if f.codes.desc == nil {
		return // filters are not counted by status code
	}
	for _, code := range names(z.StatusCodes) {
		s := r.codes[code]
		if s == nil {
			if r.codes == nil {
				r.codes = map[string]*metrics.Series{}
			}
			s = f.codes.series(append(slices.Clone(r.labels), "code", code)...)
			r.codes[code] = s
		}
		b.Set(s, z.StatusCodes[code])
	}
}

// set gives the counts in the order of cacheStatuses.
func (c *vtsCacheStatus) set(b *metrics.Batch, series []*metrics.Series) {
	miss := 0.0
	if c.Miss != nil {
		miss = *c.Miss
	}
	set(b, series, miss, c.Bypass, c.Expired, c.Stale, c.Updating, c.Revalidated, c.Hit, c.Scarce)
}

func (f *nativeUpstream) row(upstream, backend string) *nativePeer {
	labels := []string{"upstream", upstream, "backend", backend}
	return &nativePeer{
		bytes:                f.bytes.each("direction", directions, labels...),
		requests:             f.requests.each("code", codes, labels...),
		requestSecondsTotal:  f.requestSecondsTotal.series(labels...),
		requestSeconds:       f.requestSeconds.series(labels...),
		responseSecondsTotal: f.responseSecondsTotal.series(labels...),
		responseSeconds:      f.responseSeconds.series(labels...),
		requestDuration:      histogram{family: f.requestDuration, labels: labels},
		responseDuration:     histogram{family: f.responseDuration, labels: labels},
	}
}

func (v *nativeVTS) peer(b *metrics.Batch, r *nativePeer, z *vtsZone) {
	set(b, r.bytes, z.InBytes, z.OutBytes)
	one, two, three, four, five := z.Responses.byCode()
	set(b, r.requests, one, two, three, four, five)
	b.Set(r.requestSecondsTotal, z.RequestMsecCounter/1000)
	b.Set(r.requestSeconds, z.RequestMsec/1000)
	b.Set(r.responseSecondsTotal, z.ResponseMsecCounter/1000)
	b.Set(r.responseSeconds, z.ResponseMsec/1000)
	r.requestDuration.set(b, &z.RequestBuckets, z.RequestMsecCounter, z.RequestCounter)
	r.responseDuration.set(b, &z.ResponseBuckets, z.ResponseMsecCounter, z.RequestCounter)
}

// histogram are the series of one histogram, made anew when its bounds change.
type histogram struct {
	family family
	labels []string
	msecs  []float64
	series []*metrics.Series // buckets, the one without a bound, sum, count
}

// set gives the values; there are none where the server's config names no bounds.
func (h *histogram) set(b *metrics.Batch, v *vtsBuckets, sumMsec, count float64) {
	if len(v.Msecs) == 0 || len(v.Msecs) != len(v.Counters) {
		return
	}
	if !slices.Equal(h.msecs, v.Msecs) {
		h.msecs, h.series = slices.Clone(v.Msecs), nil
		part := func(ending string, more ...string) {
			h.series = append(h.series, h.family.registry.Part(h.family.desc, h.family.desc.Name+ending, append(slices.Clone(h.labels), more...)...))
		}
		for _, m := range h.msecs {
			part("_bucket", "le", strconv.FormatFloat(m/1000, 'f', 3, 64))
		}
		part("_bucket", "le", "+Inf")
		part("_sum")
		part("_count")
	}
	n := len(v.Counters)
	set(b, h.series[:n], v.Counters...)
	set(b, h.series[n:], count, sumMsec/1000, count)
}
