package ecstask

import (
	"time"

	"github.com/hermod-agent/hermod/internal/ecs"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// counters is how many there are of an interface: bytes, packets, dropped packets and errors, received and sent, in this order.
const counters = 8

func countersOf(i *ecs.Interface) [counters]float64 {
	return [...]float64{i.RxBytes, i.RxPackets, i.RxDropped, i.RxErrors, i.TxBytes, i.TxPackets, i.TxDropped, i.TxErrors}
}

type networkSeries struct {
	ecs, cadvisor [counters]*metrics.Series // those of cadvisor are nil without cadvisor_names

	last  [counters]float64 // of an interface that all containers share
	given bool
}

// speaker is the container whose reading of the shared interfaces was given last, and when it was taken.
type speaker struct {
	id string
	at time.Time
}

// setNetworks gives each interface once. In a task whose containers share a network every container reports the same interface, read at a
// moment of its own: one of them speaks for it as long as it runs. When it is gone, the next one's reading may be older; then what was given last
// is given again, so that the counters don't step back.
func (s *series) setNetworks(b *metrics.Batch, task *ecs.Task, stats map[string]*ecs.Stats) {
	for _, c := range s.current {
		st := stats[c.ID]
		if st == nil || !c.OwnNetwork() {
			continue
		}
		for name, counts := range st.Networks {
			s.key = append(append(append(s.key[:0], name...), 0xff), c.ID...)
			r := s.networks.Row(s.key, b.Cycle, func(string) networkSeries { return s.newNetwork(task, c, name) })
			r.last = countersOf(&counts)
			r.set(b)
		}
	}
	c := s.speakerOf(stats)
	if c == nil {
		return
	}
	st := stats[c.ID]
	at, _ := time.Parse(time.RFC3339Nano, st.Read) // one that can't be read is older than any
	older := c.ID != s.speaker.id && at.Before(s.speaker.at)
	for name, counts := range st.Networks {
		s.key = append(s.key[:0], name...)
		r := s.networks.Row(s.key, b.Cycle, func(string) networkSeries { return s.newNetwork(task, nil, name) })
		if !older || !r.given {
			r.last, r.given = countersOf(&counts), true
		}
		r.set(b)
	}
	if !older {
		s.speaker = speaker{c.ID, at}
	}
}

// speakerOf is the container whose reading of the shared interfaces is taken: the one that was last, else ECS's own that holds the network, else
// the first by name. nil when there is none.
func (s *series) speakerOf(stats map[string]*ecs.Stats) *ecs.Container {
	var best *ecs.Container
	for _, c := range s.current {
		if st := stats[c.ID]; st == nil || len(st.Networks) == 0 || c.OwnNetwork() {
			continue
		}
		if best == nil || s.rank(c) < s.rank(best) || s.rank(c) == s.rank(best) && c.Name < best.Name {
			best = c
		}
	}
	return best
}

func (s *series) rank(c *ecs.Container) int {
	switch {
	case c.ID == s.speaker.id:
		return 0
	case c.Pause():
		return 1
	}
	return 2
}

func (r *networkSeries) set(b *metrics.Batch) {
	for i, v := range r.last {
		b.Set(r.ecs[i], v)
	}
	if r.cadvisor[0] == nil {
		return
	}
	for i, v := range r.last {
		b.Set(r.cadvisor[i], v)
	}
}

// newNetwork makes the series of an interface; c is the container that has it for itself, or nil.
func (s *series) newNetwork(task *ecs.Task, c *ecs.Container, name string) networkSeries {
	var r networkSeries
	labels := append(s.task.identity, "interface", name)
	if c != nil {
		labels = append(labels, "container_name", c.Name)
	}
	for i, d := range s.descs.network {
		r.ecs[i] = s.registry.New(d, labels...)
	}
	if s.cadvisor == nil {
		return r
	}
	labels = append(s.cadvisorLabels(task, c), "interface", name)
	for i, d := range [...]string{
		"container_network_receive_bytes_total", "container_network_receive_packets_total",
		"container_network_receive_packets_dropped_total", "container_network_receive_errors_total",
		"container_network_transmit_bytes_total", "container_network_transmit_packets_total",
		"container_network_transmit_packets_dropped_total", "container_network_transmit_errors_total",
	} {
		r.cadvisor[i] = s.registry.New(s.cadvisor.Desc(d), labels...)
	}
	return r
}
