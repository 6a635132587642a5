package nginx

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// errNotVTS says that a page isn't the JSON of VTS.
var errNotVTS = errors.New("the page is not the JSON of the module VTS")

// vtsPage is what is used of the module's JSON (ngx_http_vhost_traffic_status_display_json.h). Fields that a version lacks stay nil or
// zero.
type vtsPage struct {
	HostName      string
	ModuleVersion string
	NginxVersion  string
	LoadMsec      float64
	NowMsec       float64
	Connections   *struct {
		Active, Reading, Writing, Waiting, Accepted, Handled, Requests float64
	}
	SharedZones *struct {
		Name                        string
		MaxSize, UsedSize, UsedNode float64
		FreeSize                    *float64
	}
	ServerZones   map[string]vtsZone
	FilterZones   map[string]map[string]vtsZone
	UpstreamZones map[string][]vtsZone
	CacheZones    map[string]vtsCacheZone
}

// vtsZone is a virtual host, a value of a filter, or a server of an upstream group.
type vtsZone struct {
	Server              string // of an upstream group
	RequestCounter      float64
	InBytes, OutBytes   float64
	Responses           vtsResponses
	RequestMsecCounter  float64
	RequestMsec         float64
	RequestBuckets      vtsBuckets
	ResponseMsecCounter float64 // of an upstream group, as the rest
	ResponseMsec        float64
	ResponseBuckets     vtsBuckets
	StatusCodes         map[string]float64
}

type vtsResponses struct {
	OneXX   float64 `json:"1xx"`
	TwoXX   float64 `json:"2xx"`
	ThreeXX float64 `json:"3xx"`
	FourXX  float64 `json:"4xx"`
	FiveXX  float64 `json:"5xx"`
	vtsCacheStatus
}

// vtsCacheStatus counts by what the cache had. Miss is nil where nginx was built without one.
type vtsCacheStatus struct {
	Miss                                                       *float64
	Bypass, Expired, Stale, Updating, Revalidated, Hit, Scarce float64
}

// vtsBuckets are the upper bounds of a histogram and the cumulated counts; both are empty where none is configured.
type vtsBuckets struct {
	Msecs, Counters []float64
}

type vtsCacheZone struct {
	MaxSize, UsedSize, InBytes, OutBytes float64
	Responses                            vtsCacheStatus
}

// parseVTS reads the module's JSON.
func parseVTS(page []byte) (*vtsPage, error) {
	s := new(vtsPage)
	if err := json.Unmarshal(page, s); err != nil {
		return nil, fmt.Errorf("%w: %w", errNotVTS, err)
	}
	if s.Connections == nil || s.NginxVersion == "" {
		return nil, fmt.Errorf("%w: it has no connections or no nginxVersion", errNotVTS)
	}
	return s, nil
}

// leaveOutLongNames takes away what is counted under a name that is too long for a label. It says how many those were, and gives one.
func (s *vtsPage) leaveOutLongNames() (example string, n int) {
	long := func(name string) bool {
		if len(name) <= maxName {
			return false
		}
		example = name
		n++
		return true
	}
	leaveOut(s.ServerZones, long)
	for _, z := range s.ServerZones {
		leaveOut(z.StatusCodes, long)
	}
	leaveOut(s.FilterZones, long)
	for _, zones := range s.FilterZones {
		leaveOut(zones, long)
	}
	leaveOut(s.UpstreamZones, long)
	for name, servers := range s.UpstreamZones {
		s.UpstreamZones[name] = slices.DeleteFunc(servers, func(z vtsZone) bool { return long(z.Server) })
	}
	leaveOut(s.CacheZones, long)
	for _, text := range []*string{&s.HostName, &s.ModuleVersion, &s.NginxVersion} {
		if long(*text) {
			*text = ""
		}
	}
	if s.SharedZones != nil && long(s.SharedZones.Name) {
		s.SharedZones = nil
	}
	return example, n
}

func leaveOut[V any](m map[string]V, long func(name string) bool) {
	maps.DeleteFunc(m, func(name string, _ V) bool { return long(name) })
}

// vtsCollector gives what a page holds under one set of names.
type vtsCollector interface {
	collect(b *metrics.Batch, s *vtsPage)
}

// set gives values to series, both in the same order.
func set(b *metrics.Batch, series []*metrics.Series, values ...float64) {
	for i, s := range series {
		b.Set(s, values[i])
	}
}

// byCode are the values of the labels 1xx to 5xx.
func (r *vtsResponses) byCode() (one, two, three, four, five float64) {
	return r.OneXX, r.TwoXX, r.ThreeXX, r.FourXX, r.FiveXX
}

// names are the keys of a map in order, so that a batch has the same order in every cycle.
func names[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// family makes series of one family.
type family struct {
	registry *metrics.Registry
	desc     *metrics.Desc
}

func newFamily(r *metrics.Registry, kind metrics.Kind, name, help string) family {
	return family{r, &metrics.Desc{Name: name, Help: help, Kind: kind}}
}

func (f family) series(labels ...string) *metrics.Series { return f.registry.New(f.desc, labels...) }

// each makes a series for each value of one label, behind the labels that they share.
func (f family) each(name string, values []string, shared ...string) []*metrics.Series {
	out := make([]*metrics.Series, 0, len(values))
	for _, v := range values {
		out = append(out, f.registry.New(f.desc, append(slices.Clone(shared), name, v)...))
	}
	return out
}
