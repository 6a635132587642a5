// Package metrics is what flows on a metrics edge: series that are made once and shared by pointer, and batches of samples
// that are borrowed for the length of a call.
package metrics

import (
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
)

// Kind is the type of a metric family as OpenMetrics names it.
type Kind uint8

// The kinds of families. Unknown is what the text format calls "untyped".
const (
	Unknown Kind = iota
	Counter
	Gauge
	Histogram
	GaugeHistogram
	Summary
	Info
	StateSet
)

// String returns the word that OpenMetrics uses for the kind.
func (k Kind) String() string {
	return [...]string{"unknown", "counter", "gauge", "histogram", "gaugehistogram", "summary", "info", "stateset"}[k]
}

// Desc describes a family. There is one for each family of a source; series point to it.
type Desc struct {
	Name string // as exposed in the text format, with _total where the family has it
	Help string
	Unit string // only where the name ends in it
	Kind Kind
}

// Sample is a value of a series.
type Sample struct {
	Series *Series
	Value  float64
	Time   int64 // milliseconds since 1970; the batch's time unless the source has one of its own
	Start  int64 // created time of a counter in milliseconds, or 0 when unknown
}

// NativeHistogram is a native histogram sample. Exactly one of Int and Float is set.
type NativeHistogram struct {
	Series *Series
	Int    *histogram.Histogram
	Float  *histogram.FloatHistogram
	Time   int64
	Start  int64
}

// Exemplar points from a series to a trace.
type Exemplar struct {
	Series *Series
	Labels labels.Labels
	Value  float64
	Time   int64
}

// Source is the input that a batch began at. Outputs write its job and instance on what they push.
type Source struct {
	Address  string // input.host.nas
	Type     string // host
	Job      string // node
	Instance string
	Interval time.Duration
	// Labels are those that the user set on the input; its series carry them already, up and its like get them too.
	Labels labels.Labels
}

// Batch is what one cycle of one source gave. It is borrowed: whoever needs it after ConsumeMetrics has returned copies
// what it needs, and only a component whose Definition says Mutates may change it.
type Batch struct {
	Source *Source
	Cycle  uint64 // rises by one with each cycle of the source
	Time   int64  // milliseconds; one wall time for the whole cycle, taken at its start
	// Full says that the batch holds everything that the source has: a series that was there in the cycle before and is
	// missing now has vanished.
	Full bool
	// Up is false when the collection failed or was abandoned; the batch then holds what could be had, often nothing.
	Up bool
	// Duration is how long the collection took.
	Duration time.Duration
	// OwnTime says that samples carry the source's own times, which a scrape page then writes.
	OwnTime bool

	Samples    []Sample
	Histograms []NativeHistogram
	Exemplars  []Exemplar
}

// Set appends the value of a series at the batch's time.
func (b *Batch) Set(s *Series, value float64) {
	b.Samples = append(b.Samples, Sample{Series: s, Value: value, Time: b.Time})
}

// Begin empties the batch and readies it for a cycle.
func (b *Batch) Begin(source *Source, cycle uint64, at int64) {
	clear(b.Samples)
	clear(b.Histograms)
	clear(b.Exemplars)
	*b = Batch{
		Source: source, Cycle: cycle, Time: at, Full: true, Up: true,
		Samples: b.Samples[:0], Histograms: b.Histograms[:0], Exemplars: b.Exemplars[:0],
	}
}

// CopyHeaders makes dst a batch of its own with the same contents: the series behind the pointers stay shared.
func (b *Batch) CopyHeaders(dst *Batch) {
	samples, histograms, exemplars := dst.Samples[:0], dst.Histograms[:0], dst.Exemplars[:0]
	*dst = *b
	dst.Samples = append(samples, b.Samples...)
	dst.Histograms = append(histograms, b.Histograms...)
	dst.Exemplars = append(exemplars, b.Exemplars...)
}
