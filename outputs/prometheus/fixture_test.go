package prometheus

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"testing"
	"time"

	promclient "github.com/prometheus/client_golang/prometheus"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// bench is an output with an environment that the test controls.
type bench struct {
	*output
	env  *component.Env
	self *promclient.Registry
}

func newBench(t testing.TB, change func(*component.Env, *Config)) *bench {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	self := promclient.NewRegistry()
	env := &component.Env{
		Address: "output.prometheus.scrape", Type: "prometheus", Name: "scrape",
		Log: log, Status: component.NewStatus(log), Losses: new(component.Losses), Self: self,
		Series: metrics.NewRegistry(),
		Listen: func(address string) (net.Listener, error) {
			var l net.ListenConfig
			return l.Listen(t.Context(), "tcp", address)
		},
	}
	c := defaults()
	c.Listen = "127.0.0.1:0"
	if change != nil {
		change(env, &c)
	}
	o, err := open(env, &c)
	if err != nil {
		t.Fatal(err)
	}
	return &bench{output: o, env: env, self: self}
}

// text is the page with these inputs.
func (b *bench) text(inputs []input, whole bool, d dialect) string {
	var out []byte
	b.page.write(nil, inputs, whole, d, func(piece []byte) []byte {
		out = append(out, piece...)
		return piece[:0]
	})
	return string(out)
}

// write puts the page as a whole into memory that is there, and returns it.
func (b *bench) write(body []byte, inputs []input, d dialect) []byte {
	b.page.write(body[:0], inputs, true, d, func(piece []byte) []byte {
		body = piece
		return piece
	})
	return body
}

// own is the sum of a counter of the output's own, over its labels.
func (b *bench) own(t testing.TB, name string) float64 {
	t.Helper()
	families, err := b.self.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

// feed gives the output one full cycle of a source.
func (b *bench) feed(t testing.TB, source *metrics.Source, cycle uint64, fill func(*metrics.Batch)) {
	t.Helper()
	var batch metrics.Batch
	batch.Begin(source, cycle, time.Now().UnixMilli())
	fill(&batch)
	if err := b.ConsumeMetrics(context.Background(), &batch); err != nil {
		t.Fatal(err)
	}
}

func hostSource(name string) *metrics.Source {
	return &metrics.Source{Address: "input.host." + name, Type: "host", Job: "node", Instance: name, Interval: 15 * time.Second}
}

// nodeFixture makes a batch of about 700 series as a host with four CPUs, six disks and eight interfaces gives them.
func nodeFixture(r *metrics.Registry, source *metrics.Source) *metrics.Batch {
	b := new(metrics.Batch)
	b.Begin(source, 1, time.Now().UnixMilli())
	value := 0.0
	set := func(d *metrics.Desc, labels ...string) {
		value += 1037.25
		v := value
		if len(b.Samples)%3 != 0 {
			v = float64(int64(v) * 4093) // most of what a host counts are integers
		}
		b.Set(r.New(d, labels...), v)
	}
	counter := func(name string) *metrics.Desc {
		return &metrics.Desc{Name: name, Help: "Help of " + name + ", as long as such a text usually is.", Kind: metrics.Counter}
	}
	gauge := func(name string) *metrics.Desc {
		return &metrics.Desc{Name: name, Help: "Help of " + name + ", as long as such a text usually is.", Kind: metrics.Gauge}
	}
	cpu := counter("node_cpu_seconds_total")
	for n := range 4 {
		for _, mode := range []string{"idle", "iowait", "irq", "nice", "softirq", "steal", "system", "user"} {
			set(cpu, "cpu", strconv.Itoa(n), "mode", mode)
		}
	}
	for n := range 50 {
		set(gauge(fmt.Sprintf("node_memory_field_%02d_bytes", n)))
	}
	for n := range 18 {
		d := counter(fmt.Sprintf("node_disk_what_%02d_total", n))
		for disk := range 6 {
			set(d, "device", "sd"+string(rune('a'+disk)))
		}
	}
	for n := range 40 {
		d := counter(fmt.Sprintf("node_network_what_%02d_total", n))
		for device := range 8 {
			set(d, "device", "eth"+strconv.Itoa(device))
		}
	}
	for n := range 7 {
		d := gauge(fmt.Sprintf("node_filesystem_what_%d_bytes", n))
		for mount := range 6 {
			set(d, "device", "/dev/sda"+strconv.Itoa(mount), "device_error", "", "fstype", "ext4", "mountpoint", "/volume/"+strconv.Itoa(mount))
		}
	}
	for n := range 150 {
		set(counter(fmt.Sprintf("node_vmstat_what_%03d", n)))
	}
	return b
}
