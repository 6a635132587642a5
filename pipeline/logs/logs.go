// Package logs is what flows on a logs edge: streams that are made once and shared by pointer, and batches of records that are
// borrowed for the length of a call.
package logs

import (
	"strings"
	"sync/atomic"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/hermod-agent/hermod/pipeline/dense"
)

// Stream is a set of labels under which records are stored: immutable, made once by a Registry, shared by pointer. Labels that
// begin with __ flow through the graph and are stripped by outputs.
type Stream struct {
	ID     uint32
	Labels labels.Labels
	Tenant string // overrides the output's tenant when set
}

// Record is one log line.
type Record struct {
	Stream *Stream
	Time   int64         // nanoseconds since 1970
	Line   []byte        // without its line end; lies in memory of the batch
	Meta   labels.Labels // structured metadata
}

// Batch is a run of records from one input, in the order in which they were read. It is borrowed: whoever needs it after
// ConsumeLogs has returned copies what it needs, lines included, and only a component whose Definition says Mutates may change
// the records. The bytes of the lines are never changed in place by anyone.
type Batch struct {
	Source  string // address of the input
	Records []Record
	arena   []byte
}

// Begin empties the batch and readies it for the next run of records.
func (b *Batch) Begin(source string) {
	clear(b.Records)
	b.Source, b.Records, b.arena = source, b.Records[:0], b.arena[:0]
}

// Add appends a record whose line lies in memory that stays as it is until the batch has been consumed.
func (b *Batch) Add(r Record) { b.Records = append(b.Records, r) }

// AddCopy appends a record with a copy of its line.
func (b *Batch) AddCopy(r Record) {
	start := len(b.arena)
	b.arena = append(b.arena, r.Line...)
	// When append moved the arena, earlier lines go on living in the old one.
	r.Line = b.arena[start:len(b.arena):len(b.arena)]
	b.Records = append(b.Records, r)
}

// Bytes is the sum of the lengths of the lines.
func (b *Batch) Bytes() int {
	n := 0
	for i := range b.Records {
		n += len(b.Records[i].Line)
	}
	return n
}

// CopyHeaders makes dst a batch of its own with the same records: the bytes of the lines stay shared.
func (b *Batch) CopyHeaders(dst *Batch) {
	dst.Source = b.Source
	dst.Records = append(dst.Records[:0], b.Records...)
}

// Registry makes streams and hands out times to records whose source has none. One of them serves the whole agent; With gives
// a component its own view. It is safe for concurrent use.
type Registry struct {
	shared *shared
	base   labels.Labels
}

type shared struct {
	ids  dense.IDs
	last atomic.Int64 // the newest time that Times has handed out
}

// NewRegistry returns a registry whose identities begin at 0.
func NewRegistry() *Registry { return &Registry{shared: new(shared)} }

// With returns a view that merges base into every stream that New makes. A label that the stream has itself is never
// overridden.
func (r *Registry) With(base labels.Labels) *Registry {
	return &Registry{shared: r.shared, base: base}
}

// New makes a stream from a label set plus the base labels of this view. Empty labels are left out.
func (r *Registry) New(l labels.Labels, tenant string) *Stream {
	b := labels.NewBuilder(l)
	r.base.Range(func(x labels.Label) {
		if !l.Has(x.Name) {
			b.Set(x.Name, x.Value)
		}
	})
	return r.Of(b.Labels(), tenant)
}

// Of makes a stream with exactly these labels.
func (r *Registry) Of(l labels.Labels, tenant string) *Stream {
	s := &Stream{Labels: l.WithoutEmpty(), Tenant: tenant}
	s.ID = dense.Assign(&r.shared.ids, s)
	return s
}

// Times reserves n nanoseconds that no other record of this agent gets and returns the first: now, or what follows the last one
// handed out where that is later. Loki ignores a record that has time and line in common with another of its stream, so equal
// lines need times that differ, in whatever streams they end up after relabelling.
func (r *Registry) Times(now int64, n int) int64 {
	for {
		last := r.shared.last.Load()
		first := max(now, last+1)
		if r.shared.last.CompareAndSwap(last, first+int64(n)-1) {
			return first
		}
	}
}

// PushLabels returns the labels under which an output writes the stream: its own without those that begin with __, then extra
// (agent.labels) where the name isn't there yet.
func PushLabels(s *Stream, extra labels.Labels) labels.Labels {
	b := labels.NewScratchBuilder(s.Labels.Len() + extra.Len())
	s.Labels.Range(func(l labels.Label) {
		if !strings.HasPrefix(l.Name, "__") {
			b.Add(l.Name, l.Value)
		}
	})
	extra.Range(func(l labels.Label) {
		if !s.Labels.Has(l.Name) {
			b.Add(l.Name, l.Value)
		}
	})
	b.Sort()
	return b.Labels()
}
