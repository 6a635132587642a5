package host

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"github.com/hermod-agent/hermod/internal/pseudofile"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// sockstat is /proc/net/sockstat and sockstat6: sockets by protocol, a line each as `TCP: inuse 4 orphan 0 tw 4 alloc 9 mem 1`.
type sockstat struct {
	files    [2]file // of IPv4 and IPv6
	series   *metrics.Registry
	pageSize float64
	used     *metrics.Series
	protos   memo[sockets]
}

// sockStates are the numbers of a protocol. mem is in pages.
var sockStates = [...]string{"inuse", "orphan", "tw", "alloc", "mem", "memory"}

const (
	sockInuse = 0
	sockMem   = 4
)

type sockets struct {
	states   [len(sockStates)]*metrics.Series // made when first seen
	memBytes *metrics.Series
	proto    string
}

func newSockstat(m *machine) *sockstat {
	return &sockstat{
		files: [...]file{m.net("sockstat"), m.net("sockstat6")}, series: m.series, pageSize: float64(os.Getpagesize()),
		used: m.series.New(gauge("node_sockstat_sockets_used", "Number of IPv4 sockets in use.")),
	}
}

func (c *sockstat) collect(_ context.Context, b *metrics.Batch) error {
	var bad error
	for i := range c.files {
		data, err := c.files[i].read()
		switch {
		case errors.Is(err, fs.ErrNotExist): // that protocol is switched off
		case err != nil:
			firstError(&bad, err)
		default:
			firstError(&bad, c.parse(&c.files[i], data, b))
		}
	}
	return bad
}

func (c *sockstat) parse(f *file, data []byte, b *metrics.Batch) error {
	var bad error
	for n := 1; len(data) > 0; n++ {
		var line []byte
		line, data = pseudofile.CutLine(data)
		name, rest := pseudofile.CutField(line)
		if len(name) < 2 || name[len(name)-1] != ':' {
			firstError(&bad, badLine(f.path, n, line, "no protocol"))
			continue
		}
		name = name[:len(name)-1]
		var ok bool
		if string(name) == "sockets" {
			ok = c.parseUsed(rest, b)
		} else {
			ok = c.protos.get(n, name, newSockets).read(c, rest, b)
		}
		if !ok {
			firstError(&bad, badLine(f.path, n, line, "not names and numbers in turn"))
		}
	}
	return bad
}

func (c *sockstat) parseUsed(rest []byte, b *metrics.Batch) bool {
	key, rest := pseudofile.CutField(rest)
	field, _ := pseudofile.CutField(rest)
	v, ok := parseNumber(field)
	if ok && string(key) == "used" {
		b.Set(c.used, v)
	}
	return ok
}

func newSockets(proto string) sockets { return sockets{proto: proto} }

// read sets the numbers of a protocol: inuse always, the others where the line has them.
func (s *sockets) read(c *sockstat, rest []byte, b *metrics.Batch) bool {
	if !isMetricName(s.proto) {
		return false
	}
	var values [len(sockStates)]float64
	var there [len(sockStates)]bool
	there[sockInuse] = true
	for {
		var key, field []byte
		if key, rest = pseudofile.CutField(rest); len(key) == 0 {
			break
		}
		field, rest = pseudofile.CutField(rest)
		v, ok := parseNumber(field)
		if !ok {
			return false
		}
		for i, state := range sockStates {
			if string(key) == state {
				values[i], there[i] = v, true
			}
		}
	}
	for i, state := range sockStates {
		if !there[i] {
			continue
		}
		if s.states[i] == nil {
			s.states[i] = s.newSeries(c, state)
		}
		b.Set(s.states[i], values[i])
	}
	if there[sockMem] {
		if s.memBytes == nil {
			s.memBytes = s.newSeries(c, "mem_bytes")
		}
		b.Set(s.memBytes, values[sockMem]*c.pageSize)
	}
	return true
}

func (s *sockets) newSeries(c *sockstat, state string) *metrics.Series {
	return c.series.New(gauge("node_sockstat_"+s.proto+"_"+state, "Number of "+s.proto+" sockets in state "+state+"."))
}

func (c *sockstat) close(context.Context) {
	for i := range c.files {
		c.files[i].close()
	}
}
