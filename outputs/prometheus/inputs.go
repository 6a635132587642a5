package prometheus

import (
	"time"

	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// inputRow are the series that the page itself gives for each input that it shows.
type inputRow struct {
	up, duration, last *metrics.Series
	used               time.Time
}

var (
	inputUpDesc = &metrics.Desc{
		Name: "hermod_input_up", Kind: metrics.Gauge,
		Help: "Whether the last collection of the input was a success and done in time for this page.",
	}
	inputDurationDesc = &metrics.Desc{
		Name: "hermod_input_last_duration_seconds", Kind: metrics.Gauge, Unit: "seconds",
		Help: "How long the last finished collection of the input took.",
	}
	inputLastDesc = &metrics.Desc{
		Name: "hermod_input_last_timestamp_seconds", Kind: metrics.Gauge, Unit: "seconds",
		Help: "When the collection began whose samples are shown.",
	}
)

// report puts into the layout's own source how the inputs stand. Those of them that have samples are in p.chosen, behind that source and
// in the same order.
func (p *page) report(l *layout, inputs []input, now time.Time) {
	b := &p.batch
	b.Begin(nil, 0, now.UnixMilli())
	shown := p.chosen[1:]
	for i := range inputs {
		address := inputs[i].source.Address
		row := p.inputs[address]
		if row == nil {
			row = &inputRow{
				up:       p.env.Series.New(inputUpDesc, "input", address),
				duration: p.env.Series.New(inputDurationDesc, "input", address),
				last:     p.env.Series.New(inputLastDesc, "input", address),
			}
			p.inputs[address] = row
		}
		row.used = now
		up := 0.0
		if inputs[i].up {
			up = 1
		}
		b.Set(row.up, up)
		b.Set(row.duration, inputs[i].took.Seconds())
		if len(shown) > 0 && shown[0].address == address {
			b.Set(row.last, float64(shown[0].newest())/1000)
			shown = shown[1:]
		}
	}
	for address, row := range p.inputs {
		if now.Sub(row.used) > keepFor*time.Millisecond {
			delete(p.inputs, address)
		}
	}
	own := l.own.parts[0]
	own.back.copyFull(b, own.front, p.nextShape)
	own.front, own.back = own.back, own.front
}

// newest is the time of the cycle that is shown, in milliseconds. mu is held.
func (s *source) newest() int64 {
	newest := int64(0)
	for _, p := range s.parts {
		newest = max(newest, p.front.time)
	}
	return newest
}
