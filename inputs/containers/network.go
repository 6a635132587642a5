package containers

import (
	"strings"

	"github.com/hermod-agent/hermod/internal/pseudofile"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// network is an interface of a container.
type network struct {
	name    string
	ignored bool
	series  [interfaceFields]*metrics.Series
}

// sharesNetwork says that a container has no interfaces of its own: those of the host, or of another container, which has them as its own.
func sharesNetwork(mode string) bool {
	return mode == "host" || strings.HasPrefix(mode, "container:") || strings.HasPrefix(mode, "ns:")
}

// ignoredInterface is what cAdvisor leaves out.
func ignoredInterface(name string) bool {
	name = strings.ToLower(name)
	for _, prefix := range [...]string{"lo", "veth", "docker", "nerdctl"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// collectNetwork reads the interfaces in the network namespace of the container's first process. Its net/dev isn't kept open: that would
// keep the namespace from going away with the container.
func (in *input) collectNetwork(c *container, b *metrics.Batch) {
	if c.proc.fd == 0 || sharesNetwork(c.about.NetworkMode) {
		return
	}
	data, err := in.reader.readOnce(c.proc, "net/dev\x00")
	if err != nil {
		if !vanished(err) {
			in.bad(&unixError{in.procfs + "/PID of container " + c.about.Name, "net/dev\x00", err})
		}
		return
	}
	place := 0
	for len(data) > 0 {
		var line []byte
		line, data = pseudofile.CutLine(data)
		name, values, ok := parseInterface(line)
		if !ok {
			in.bad(badFile("/proc/PID of container "+c.about.Name, "net/dev\x00", line))
			continue
		}
		if name == nil {
			continue
		}
		n := c.network(place, name)
		place++
		if n.ignored {
			continue
		}
		for i, v := range values {
			if n.series[i] == nil {
				n.series[i] = c.series.New(networkDescs[i], "interface", n.name)
			}
			b.Set(n.series[i], float64(v))
		}
	}
	c.nets = c.nets[:place]
}

// network returns the interface that stands at a place of the list; most of the time it is the one that stood there before.
func (c *container) network(place int, name []byte) *network {
	if place < len(c.nets) && c.nets[place].name == string(name) {
		return c.nets[place]
	}
	for i := place; i < len(c.nets); i++ {
		if c.nets[i].name == string(name) {
			c.nets[place], c.nets[i] = c.nets[i], c.nets[place]
			return c.nets[place]
		}
	}
	n := &network{name: string(name), ignored: ignoredInterface(string(name))}
	c.nets = append(c.nets, n)
	last := len(c.nets) - 1
	c.nets[place], c.nets[last] = c.nets[last], c.nets[place]
	return n
}
