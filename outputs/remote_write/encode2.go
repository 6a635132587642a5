package remotewrite

import (
	"encoding/binary"
	"errors"
	"math"
	"strings"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/hermod-agent/hermod/internal/wire"
	"github.com/hermod-agent/hermod/pipeline/metrics"
	"github.com/hermod-agent/hermod/pipeline/queue"
)

// protocol2 names bodies of remote write 2.0: io.prometheus.write.v2.Request (prompb/io/prometheus/write/v2/types.proto), snappy block format.
//
//	Request    { repeated string symbols = 4; repeated TimeSeries timeseries = 5; }
//	TimeSeries { repeated uint32 labels_refs = 1; repeated Sample samples = 2; repeated Histogram histograms = 3;
//	             repeated Exemplar exemplars = 4; Metadata metadata = 5; int64 created_timestamp = 6; }
//	Sample     { double value = 1; int64 timestamp = 2; int64 start_timestamp = 3; }
//	Exemplar   { repeated uint32 labels_refs = 1; double value = 2; int64 timestamp = 3; }
//	Metadata   { MetricType type = 1; uint32 help_ref = 3; uint32 unit_ref = 4; }
//	Histogram  as in 1.0, and { int64 start_timestamp = 17; }
//
// Until 2.0-rc.4 created_timestamp was the place of what start_timestamp is now. Its number is reserved since: servers that know the new place pass it
// over, those that don't (Prometheus 3.5, Mimir) have it.
//
// A reference is the place of a text in symbols, whose first one is empty. Every TimeSeries of ours holds one sample or histogram, and the
// exemplars that belong to it: it counts as many items as that makes.
const protocol2 = "prometheus.remote_write.v2"

// symbol is a text that series of a shard have in common. It gets a place in the first body that needs it.
type symbol struct {
	text string
	used int    // by series that are known
	body uint64 // in which place is right
	ref  uint64
}

// symbols are those of a shard.
type symbols struct {
	known map[string]*symbol
	body  uint64 // counts bodies, from 1
	count uint64 // places given in this body
	raw   []byte // the field symbols of this body, encoded
	// passing are those of this body that no series holds when they come.
	passing []*symbol
}

func newSymbols() *symbols {
	s := &symbols{known: map[string]*symbol{}}
	s.next()
	return s
}

// next begins a body: the empty text comes first.
func (s *symbols) next() {
	for _, x := range s.passing {
		if x.used == 0 {
			delete(s.known, x.text)
		}
	}
	clear(s.passing)
	s.passing = s.passing[:0]
	s.body++
	s.count = 1
	s.raw = append(s.raw[:0], wire.Tag(4, wire.Bytes), 0)
}

// hold returns the symbol of a text, for a series that keeps it until release.
func (s *symbols) hold(text string) *symbol {
	x := s.known[text]
	if x == nil {
		x = &symbol{text: text}
		s.known[text] = x
	}
	x.used++
	return x
}

func (s *symbols) release(held []*symbol) {
	for _, x := range held {
		if x.used--; x.used == 0 {
			s.passing = append(s.passing, x) // it may have its place in this body already
		}
	}
}

// ref is the place of a symbol in this body.
func (s *symbols) ref(x *symbol) uint64 {
	if x.text == "" {
		return 0
	}
	if x.body != s.body {
		x.body, x.ref = s.body, s.count
		s.count++
		s.raw = wire.AppendString(s.raw, 4, x.text)
	}
	return x.ref
}

// seen gives the place of a text that no series has, as the labels of exemplars are.
func (s *symbols) seen(text string) uint64 {
	x := s.known[text]
	if x == nil {
		x = &symbol{text: text}
		s.known[text] = x
		s.passing = append(s.passing, x)
	}
	return s.ref(x)
}

// holdLabels returns the symbols of a series: names and values in turn, then its help and its unit.
func (s *symbols) holdLabels(l labels.Labels, d *metrics.Desc) (held []*symbol) {
	l.Range(func(l labels.Label) {
		l = sanitize(l)
		held = append(held, s.hold(l.Name), s.hold(l.Value))
	})
	help, unit := "", ""
	if d != nil {
		help, unit = d.Help, d.Unit
	}
	return append(held, s.hold(sanitize(labels.Label{Value: help}).Value), s.hold(sanitize(labels.Label{Value: unit}).Value))
}

// sample2 appends a TimeSeries with a sample.
func (b *builder) sample2(s *series, x *metrics.Sample, exemplars []*metrics.Exemplar) {
	b.count(x.Time)
	m := wire.AppendFixed8(b.out.part[:0], 1, math.Float64bits(x.Value))
	m = wire.AppendVarint(m, 2, uint64(x.Time))
	b.out.part = wire.AppendVarint(m, 3, uint64(x.Start))
	b.series2(s, 2, b.out.part, x.Start, exemplars)
}

// histogram2 appends a TimeSeries with a native histogram.
func (b *builder) histogram2(s *series, x *metrics.NativeHistogram, exemplars []*metrics.Exemplar) {
	b.count(x.Time)
	m := appendHistogram(b.out.part[:0], x)
	if x.Start != 0 {
		const number = 17 // a key of two bytes
		m = binary.AppendUvarint(m, number<<3|wire.Varint)
		m = binary.AppendUvarint(m, uint64(x.Start))
	}
	b.out.part = m
	b.series2(s, 3, b.out.part, x.Start, exemplars)
}

// series2 appends a TimeSeries whose field number is value.
func (b *builder) series2(s *series, number byte, value []byte, start int64, exemplars []*metrics.Exemplar) {
	t := b.out.symbols[b.shard]
	names := s.more.symbols[:len(s.more.symbols)-2]
	m := b.out.message[:0]
	refs := b.out.refs[:0]
	for _, x := range names {
		refs = binary.AppendUvarint(refs, t.ref(x))
	}
	m = wire.AppendBytes(m, 1, refs)
	m = wire.AppendBytes(m, number, value)
	for _, x := range exemplars {
		b.count(x.Time)
		m = wire.AppendBytes(m, 4, appendExemplar2(nil, t, x))
	}
	help, unit := t.ref(s.more.symbols[len(names)]), t.ref(s.more.symbols[len(names)+1])
	end := len(refs)
	refs = wire.AppendVarint(refs, 1, uint64(s.more.kind))
	refs = wire.AppendVarint(refs, 3, help)
	refs = wire.AppendVarint(refs, 4, unit)
	m = wire.AppendBytes(m, 5, refs[end:])
	m = wire.AppendVarint(m, 6, uint64(start))
	b.raw = wire.AppendBytes(b.raw, 5, m)
	b.out.message, b.out.refs = m, refs
}

func appendExemplar2(dst []byte, t *symbols, x *metrics.Exemplar) []byte {
	var refs []byte
	x.Labels.Range(func(l labels.Label) {
		l = sanitize(l)
		refs = binary.AppendUvarint(refs, t.seen(l.Name))
		refs = binary.AppendUvarint(refs, t.seen(l.Value))
	})
	if len(refs) > 0 {
		dst = wire.AppendBytes(dst, 1, refs)
	}
	dst = wire.AppendFixed8(dst, 2, math.Float64bits(x.Value))
	return wire.AppendVarint(dst, 3, uint64(x.Time))
}

var errRefs = errors.New("a reference leads to no symbol")

// request2 is a body of 2.0 taken apart.
type request2 struct {
	symbols []string
	series  [][]byte // messages
}

func parse2(raw []byte) (r request2, err error) {
	for len(raw) > 0 {
		f, rest, err := wire.Next(raw)
		if err != nil {
			return r, err
		}
		raw = rest
		switch {
		case f.Number == 4 && f.Type == wire.Bytes:
			r.symbols = append(r.symbols, string(f.Bytes))
		case f.Number == 5 && f.Type == wire.Bytes:
			r.series = append(r.series, f.Bytes)
		}
	}
	return r, nil
}

// fields calls f for each field of a message.
func fields(message []byte, f func(wire.Field) error) error {
	for len(message) > 0 {
		x, rest, err := wire.Next(message)
		if err != nil {
			return err
		}
		message = rest
		if err := f(x); err != nil {
			return err
		}
	}
	return nil
}

// itemsOf counts what a TimeSeries holds.
func itemsOf(message []byte) (items int, err error) {
	err = fields(message, func(f wire.Field) error {
		if f.Number >= 2 && f.Number <= 4 {
			items++
		}
		return nil
	})
	return items, err
}

// split2 divides a body of 2.0 in two. Each half has all symbols: which of them it needs isn't worth the search for what is sent once.
func split2(raw []byte, items int) (bodies [2][]byte, counts [2]int, err error) {
	r, err := parse2(raw)
	if err != nil {
		return bodies, counts, err
	}
	if len(r.series) < 2 {
		return bodies, counts, errors.New("a single series can't be divided")
	}
	for half := range bodies {
		for _, s := range r.symbols {
			bodies[half] = wire.AppendString(bodies[half], 4, s)
		}
	}
	for i, m := range r.series {
		n, err := itemsOf(m)
		if err != nil {
			return bodies, counts, err
		}
		half := 0
		if counts[0] >= items/2 || i > 0 && i == len(r.series)-1 && counts[1] == 0 {
			half = 1
		}
		bodies[half] = wire.AppendBytes(bodies[half], 5, m)
		counts[half] += n
	}
	return bodies, counts, nil
}

// refsOf reads packed references.
func (r *request2) refsOf(packed []byte) (texts []string, err error) {
	for len(packed) > 0 {
		ref, n := binary.Uvarint(packed)
		if n <= 0 || ref >= uint64(len(r.symbols)) {
			return nil, errRefs
		}
		texts = append(texts, r.symbols[ref])
		packed = packed[n:]
	}
	if len(texts)%2 != 0 {
		return nil, errRefs
	}
	return texts, nil
}

func appendPairs(dst []byte, texts []string) []byte {
	for i := 0; i+1 < len(texts); i += 2 {
		dst = binary.AppendUvarint(append(dst, wire.Tag(1, wire.Bytes)), uint64(wire.SizeString(texts[i])+wire.SizeString(texts[i+1])))
		dst = wire.AppendString(dst, 1, texts[i])
		dst = wire.AppendString(dst, 2, texts[i+1])
	}
	return dst
}

// without copies a message without one field.
func without(message []byte, number uint64) (out []byte, err error) {
	err = fields(message, func(f wire.Field) error {
		if f.Number != number {
			out = append(out, f.Whole...)
		}
		return nil
	})
	return out, err
}

// toVersion1 makes a body of 1.0 of one of 2.0: a TimeSeries for each item, and the metadata of each family once. Created times have no place
// in it.
func toVersion1(raw []byte) (out []byte, items int, err error) {
	r, err := parse2(raw)
	if err != nil {
		return nil, 0, err
	}
	families := map[string]bool{}
	for _, m := range r.series {
		var pairs []byte
		var name string
		var parts []wire.Field
		var meta []byte
		err := fields(m, func(f wire.Field) error {
			switch {
			case f.Number == 6:
			case f.Type != wire.Bytes:
				return wire.ErrBroken
			case f.Number == 1:
				texts, err := r.refsOf(f.Bytes)
				if err != nil {
					return err
				}
				plain := plainNames(labels.FromStrings(texts...))
				name = plain.Get(labels.MetricName)
				pairs = appendLabels(nil, plain)
				return nil
			case f.Number >= 2 && f.Number <= 4:
				parts = append(parts, f)
			case f.Number == 5:
				meta = f.Bytes
			}
			return nil
		})
		if err != nil {
			return nil, 0, err
		}
		for _, f := range parts {
			number, message := byte(0), f.Bytes
			switch f.Number {
			case 2:
				number = 2
				message, err = without(message, 3)
			case 3:
				number = 4
				message, err = without(message, 17)
			case 4:
				number = 3
				message, err = r.exemplar1(message)
			}
			if err != nil {
				return nil, 0, err
			}
			out = wire.AppendBytes(out, 1, wire.AppendBytes(append([]byte(nil), pairs...), number, message))
			items++
		}
		family, encoded, err := r.metadata1(name, meta)
		if err != nil {
			return nil, 0, err
		}
		if family != "" && !families[family] {
			families[family] = true
			out = wire.AppendBytes(out, 3, encoded)
		}
	}
	return out, items, nil
}

func (r *request2) exemplar1(message []byte) (out []byte, err error) {
	err = fields(message, func(f wire.Field) error {
		if f.Number != 1 {
			out = append(out, f.Whole...)
			return nil
		}
		texts, err := r.refsOf(f.Bytes)
		out = appendPairs(out, texts)
		return err
	})
	return out, err
}

// metadata1 makes a MetricMetadata of a series' Metadata.
func (r *request2) metadata1(name string, meta []byte) (family string, out []byte, err error) {
	var kind, help, unit uint64
	err = fields(meta, func(f wire.Field) error {
		switch f.Number {
		case 1:
			kind = f.Value
		case 3:
			help = f.Value
		case 4:
			unit = f.Value
		}
		return nil
	})
	if err != nil || name == "" {
		return "", nil, err
	}
	if max(help, unit) >= uint64(len(r.symbols)) {
		return "", nil, errRefs
	}
	family = name
	switch metrics.Kind(kind) {
	case metrics.Histogram, metrics.GaugeHistogram, metrics.Summary:
		for _, suffix := range []string{"_bucket", "_count", "_sum"} {
			if cut, ok := strings.CutSuffix(name, suffix); ok {
				family = cut
			}
		}
	}
	out = wire.AppendVarint(nil, 1, kind)
	out = wire.AppendString(out, 2, family)
	if text := r.symbols[help]; text != "" {
		out = wire.AppendString(out, 4, text)
	}
	if text := r.symbols[unit]; text != "" {
		out = wire.AppendString(out, 5, text)
	}
	return family, out, nil
}

// downgrade makes a block of 1.0 of one of 2.0.
func (o *output) downgrade(b *queue.Block) (*queue.Block, error) {
	raw, err := inflate(b)
	if err != nil {
		return nil, err
	}
	body, items, err := toVersion1(raw)
	if err != nil {
		return nil, err
	}
	if items != b.Items {
		return nil, errors.New("the body doesn't hold as many items as it should")
	}
	form := protocol
	return &queue.Block{
		Body: o.packer.packAs(form, nil, body), Protocol: form, Tenant: b.Tenant, Shard: b.Shard, Items: b.Items,
		OldestTime: b.OldestTime, NewestTime: b.NewestTime,
	}, nil
}
