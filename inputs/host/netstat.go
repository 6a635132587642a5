package host

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"regexp"

	"github.com/hermod-agent/hermod/internal/pseudofile"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// netstat is /proc/net/netstat, snmp and snmp6: counters of the IP protocols (proc_pid_net(5)). In the first two a protocol is a pair of
// lines, names above and numbers below; the third has a name and a number a line.
type netstat struct {
	pairs  [2]file
	snmp6  file
	series *metrics.Registry
	shown  *regexp.Regexp

	protocols memo[protocol]
	fields6   memo[*metrics.Series] // nil for a field that isn't shown
}

// protocol keeps which numbers of a pair of lines are wanted, as long as the line of names is the same.
type protocol struct {
	names  []byte
	count  int // of numbers
	wanted []wantedField
}

type wantedField struct {
	column int // from 0, rising
	series *metrics.Series
}

func newNetstat(m *machine) *netstat {
	return &netstat{
		pairs: [...]file{m.net("netstat"), m.net("snmp")}, snmp6: m.net("snmp6"),
		series: m.series, shown: m.cfg.Netstat.Fields.Regexp,
	}
}

func (c *netstat) collect(_ context.Context, b *metrics.Batch) error {
	var bad error
	for i := range c.pairs {
		data, err := c.pairs[i].read()
		if err != nil {
			firstError(&bad, err)
			continue
		}
		firstError(&bad, c.parsePairs(&c.pairs[i], i, data, b))
	}
	data, err := c.snmp6.read()
	if errors.Is(err, fs.ErrNotExist) {
		return bad // IPv6 is switched off
	}
	if err != nil {
		firstError(&bad, err)
		return bad
	}
	firstError(&bad, c.parse6(data, b))
	return bad
}

func (c *netstat) parsePairs(f *file, which int, data []byte, b *metrics.Batch) error {
	var bad error
	for n := 1; len(data) > 0; n += 2 {
		var names, numbers []byte
		names, data = pseudofile.CutLine(data)
		numbers, data = pseudofile.CutLine(data)
		name, restNames := pseudofile.CutField(names)
		if len(name) == 0 && len(numbers) == 0 {
			continue
		}
		if len(name) < 2 || name[len(name)-1] != ':' || !bytes.HasPrefix(numbers, name) {
			firstError(&bad, badLine(f.path, n, names, "not a pair of lines, names and numbers"))
			continue
		}
		p := c.protocols.get(n/2+which*(maxPlaces/2), name, func(string) protocol { return protocol{} })
		if !bytes.Equal(p.names, names) {
			c.learn(p, names, string(name[:len(name)-1]), restNames)
		}
		if !p.read(numbers[len(name):], b) {
			firstError(&bad, badLine(f.path, n+1, numbers, "not a number for each name above"))
		}
	}
	return bad
}

// learn finds the wanted columns of a line of names.
func (c *netstat) learn(p *protocol, line []byte, name string, names []byte) {
	*p = protocol{names: bytes.Clone(line)}
	for {
		var field []byte
		if field, names = pseudofile.CutField(names); len(field) == 0 {
			return
		}
		if s := c.newField(name, string(field)); s != nil {
			p.wanted = append(p.wanted, wantedField{p.count, s})
		}
		p.count++
	}
}

func (c *netstat) newField(protocol, field string) *metrics.Series {
	key := protocol + "_" + field
	if c.shown != nil && !c.shown.MatchString(key) || !isMetricName(key) {
		return nil
	}
	return c.series.New(untyped("node_netstat_"+key, "Statistic "+protocol+field+"."))
}

// read sets the wanted numbers of a line. Nothing is set when there are not as many numbers as names.
func (p *protocol) read(numbers []byte, b *metrics.Batch) bool {
	before, column, wanted := len(b.Samples), 0, p.wanted
	for {
		var field []byte
		if field, numbers = pseudofile.CutField(numbers); len(field) == 0 {
			break
		}
		if len(wanted) > 0 && wanted[0].column == column {
			v, ok := parseNumber(field)
			if !ok {
				b.Samples = b.Samples[:before]
				return false
			}
			b.Set(wanted[0].series, v)
			wanted = wanted[1:]
		}
		column++
	}
	if column != p.count {
		b.Samples = b.Samples[:before]
		return false
	}
	return true
}

func (c *netstat) parse6(data []byte, b *metrics.Batch) error {
	var bad error
	for n := 1; len(data) > 0; n++ {
		var line []byte
		line, data = pseudofile.CutLine(data)
		key, rest := pseudofile.CutField(line)
		field, _ := pseudofile.CutField(rest)
		if len(field) == 0 {
			continue
		}
		s := *c.fields6.get(n, key, c.newField6)
		if s == nil {
			continue
		}
		v, ok := parseNumber(field)
		if !ok {
			firstError(&bad, badLine(c.snmp6.path, n, line, "not a number"))
			continue
		}
		b.Set(s, v)
	}
	return bad
}

// newField6 splits Ip6InReceives behind the 6 into protocol and field. A name without a 6 isn't shown.
func (c *netstat) newField6(key string) *metrics.Series {
	for i := range len(key) {
		if key[i] == '6' {
			return c.newField(key[:i+1], key[i+1:])
		}
	}
	return nil
}

func (c *netstat) close(context.Context) {
	for i := range c.pairs {
		c.pairs[i].close()
	}
	c.snmp6.close()
}
