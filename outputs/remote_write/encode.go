package remotewrite

import (
	"encoding/binary"
	"math"
	"slices"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/hermod-agent/hermod/internal/wire"
	"github.com/hermod-agent/hermod/pipeline/delivery"
	"github.com/hermod-agent/hermod/pipeline/metrics"
	"github.com/hermod-agent/hermod/pipeline/queue"
)

// protocol names the bodies: prometheus.WriteRequest of remote write 1.0 (prompb/remote.proto and types.proto), snappy block format. Those
// of zstdProtocol are the same, compressed by zstd.
//
//	WriteRequest   { repeated TimeSeries timeseries = 1; repeated MetricMetadata metadata = 3; }
//	TimeSeries     { repeated Label labels = 1; repeated Sample samples = 2; repeated Exemplar exemplars = 3; repeated Histogram histograms = 4; }
//	Label          { string name = 1; string value = 2; }
//	Sample         { double value = 1; int64 timestamp = 2; }
//	Exemplar       { repeated Label labels = 1; double value = 2; int64 timestamp = 3; }
//	MetricMetadata { MetricType type = 1; string metric_family_name = 2; string help = 4; string unit = 5; }
//
// Every TimeSeries of ours holds one sample, histogram or exemplar, so their number is that of the items.
const (
	protocol     = "prometheus.remote_write.v1"
	zstdProtocol = protocol + "+zstd"
)

// series is what an output knows of a metrics.Series. Its labels are put together of its own and those that it shares, for each sample: the
// encoded text of each would be a large part of the agent's memory.
type series struct {
	common *common
	family *family
	size   uint32 // of the encoded labels
	shard  uint32
	more   *more // nil for most
}

// more is what an output knows of a series where that is more than usual.
type more struct {
	// labels are those of a TimeSeries, encoded; "" where common and what the series has of its own do.
	labels string
	// symbols are those of 2.0: names and values in turn, help, unit; nil where that isn't wanted.
	symbols []*symbol
	kind    metrics.Kind
}

// common is what is written of all series that share labels and come from one source.
type common struct {
	source  *metrics.Source
	names   []string
	encoded []byte
	ends    []int // of each label in encoded
	plain   bool  // all names are such as 1.0 allows
	used    bool  // by a series that is still known
}

type commonKey struct {
	shared *metrics.Common
	source *metrics.Source
}

func newCommon(key commonKey, agent labels.Labels) *common {
	c := &common{source: key.source, plain: true}
	metrics.PushCommon(key.shared, key.source, agent).Range(func(l labels.Label) {
		c.encoded = appendLabel(c.encoded, sanitize(l))
		c.names, c.ends = append(c.names, l.Name), append(c.ends, len(c.encoded))
		c.plain = c.plain && isPlain(l.Name, l.Value)
	})
	return c
}

// fits says whether the labels of a series are its own and these, each as it is.
func (c *common) fits(x *metrics.Series) bool {
	ok := c.plain
	x.RangeOwn(func(name, value string) {
		ok = ok && !slices.Contains(c.names, name) && isPlain(name, value) && utf8.ValidString(value)
	})
	return ok
}

// appendLabels appends the labels of a series.
func (s *series) appendLabels(raw []byte, x *metrics.Series) []byte {
	if s.more != nil && s.more.labels != "" {
		return append(raw, s.more.labels...)
	}
	c := s.common
	done, j := 0, 0 // of what is common, in bytes and in labels
	x.RangeOwn(func(name, value string) {
		if !metrics.Pushed(name, value) {
			return
		}
		for j < len(c.names) && c.names[j] < name {
			j++
		}
		if j > 0 && done < c.ends[j-1] {
			raw = append(raw, c.encoded[done:c.ends[j-1]]...)
			done = c.ends[j-1]
		}
		raw = appendLabel(raw, labels.Label{Name: name, Value: value})
	})
	return append(raw, c.encoded[done:]...)
}

// family is a metric family whose metadata is sent now and then.
type family struct {
	encoded []byte // a field of the WriteRequest
	due     int64  // when it is sent next, in milliseconds
}

func shardOf(labels []byte, shards int) uint32 { return uint32(xxhash.Sum64(labels) % uint64(shards)) }

// appendLabels appends sorted labels as fields of a TimeSeries or an Exemplar.
func appendLabels(dst []byte, l labels.Labels) []byte {
	l.Range(func(l labels.Label) { dst = appendLabel(dst, sanitize(l)) })
	return dst
}

func appendLabel(dst []byte, l labels.Label) []byte {
	dst = binary.AppendUvarint(append(dst, wire.Tag(1, wire.Bytes)), uint64(wire.SizeString(l.Name)+wire.SizeString(l.Value)))
	dst = wire.AppendString(dst, 1, l.Name)
	return wire.AppendString(dst, 2, l.Value)
}

// appendMetadata appends a family's metadata as a field of the WriteRequest. Kinds have the numbers of MetricType.
func appendMetadata(dst []byte, d *metrics.Desc) []byte {
	m := wire.AppendVarint(nil, 1, uint64(d.Kind))
	for _, f := range []struct {
		number byte
		text   string
	}{{2, plainName(d.Name, true)}, {4, d.Help}, {5, d.Unit}} {
		if f.text != "" {
			m = wire.AppendString(m, f.number, sanitize(labels.Label{Value: f.text}).Value)
		}
	}
	return wire.AppendBytes(dst, 3, m)
}

// builder collects what belongs to one shard.
type builder struct {
	out            *output
	shard          int
	tenant         string
	raw            []byte // the body before compression; of 2.0 without its symbols
	second         bool   // the body is one of 2.0
	items          int
	oldest, newest int64 // milliseconds
}

var _ delivery.Builder = (*builder)(nil)

// Size implements delivery.Builder.
func (b *builder) Size() int {
	if b.second {
		return len(b.raw) + len(b.out.symbols[b.shard].raw)
	}
	return len(b.raw)
}

// Items implements delivery.Builder.
func (b *builder) Items() int { return b.items }

func (b *builder) count(at int64) {
	if b.items == 0 || at < b.oldest {
		b.oldest = at
	}
	if b.items == 0 || at > b.newest {
		b.newest = at
	}
	b.items++
}

// sample appends a TimeSeries with a sample. NaNs keep their bits: some of them are staleness markers.
func (b *builder) sample(s *series, x *metrics.Sample) {
	b.count(x.Time)
	size := 1 + 8
	if x.Time != 0 {
		size += 1 + wire.Size(uint64(x.Time))
	}
	raw := binary.AppendUvarint(append(b.raw, wire.Tag(1, wire.Bytes)), uint64(int(s.size)+2+size))
	raw = s.appendLabels(raw, x.Series)
	raw = append(raw, wire.Tag(2, wire.Bytes), byte(size))
	raw = wire.AppendFixed8(raw, 1, math.Float64bits(x.Value))
	b.raw = wire.AppendVarint(raw, 2, uint64(x.Time))
}

// exemplar appends a TimeSeries with an exemplar.
func (b *builder) exemplar(s *series, x *metrics.Exemplar) {
	b.count(x.Time)
	m := appendLabels(nil, x.Labels)
	m = wire.AppendFixed8(m, 2, math.Float64bits(x.Value))
	b.part(s, x.Series, 3, wire.AppendVarint(m, 3, uint64(x.Time)))
}

// histogram appends a TimeSeries with a native histogram.
func (b *builder) histogram(s *series, x *metrics.NativeHistogram) {
	b.count(x.Time)
	b.part(s, x.Series, 4, appendHistogram(nil, x))
}

func (b *builder) part(s *series, x *metrics.Series, number byte, message []byte) {
	size := int(s.size) + 1 + wire.Size(uint64(len(message))) + len(message)
	raw := binary.AppendUvarint(append(b.raw, wire.Tag(1, wire.Bytes)), uint64(size))
	b.raw = wire.AppendBytes(s.appendLabels(raw, x), number, message)
}

// appendHistogram appends a Histogram:
//
//	{ uint64 count_int = 1; double count_float = 2; double sum = 3; sint32 schema = 4; double zero_threshold = 5;
//	  uint64 zero_count_int = 6; double zero_count_float = 7; repeated BucketSpan negative_spans = 8; repeated sint64 negative_deltas = 9;
//	  repeated double negative_counts = 10; repeated BucketSpan positive_spans = 11; repeated sint64 positive_deltas = 12;
//	  repeated double positive_counts = 13; ResetHint reset_hint = 14; int64 timestamp = 15; repeated double custom_values = 16; }
//
// of which count and zero_count are oneofs, written even when they are zero.
func appendHistogram(dst []byte, x *metrics.NativeHistogram) []byte {
	if h := x.Int; h != nil {
		dst = binary.AppendUvarint(append(dst, wire.Tag(1, wire.Varint)), h.Count)
		dst = wire.AppendFixed8(dst, 3, math.Float64bits(h.Sum))
		dst = wire.AppendVarint(dst, 4, wire.ZigZag(int64(h.Schema)))
		dst = wire.AppendFixed8(dst, 5, math.Float64bits(h.ZeroThreshold))
		dst = binary.AppendUvarint(append(dst, wire.Tag(6, wire.Varint)), h.ZeroCount)
		dst = appendSpans(dst, 8, h.NegativeSpans)
		dst = appendDeltas(dst, 9, h.NegativeBuckets)
		dst = appendSpans(dst, 11, h.PositiveSpans)
		dst = appendDeltas(dst, 12, h.PositiveBuckets)
		return appendEnd(dst, h.CounterResetHint, x.Time, h.CustomValues)
	}
	h := x.Float
	if h == nil {
		h = &histogram.FloatHistogram{}
	}
	dst = wire.AppendFixed8(dst, 2, math.Float64bits(h.Count))
	dst = wire.AppendFixed8(dst, 3, math.Float64bits(h.Sum))
	dst = wire.AppendVarint(dst, 4, wire.ZigZag(int64(h.Schema)))
	dst = wire.AppendFixed8(dst, 5, math.Float64bits(h.ZeroThreshold))
	dst = wire.AppendFixed8(dst, 7, math.Float64bits(h.ZeroCount))
	dst = appendSpans(dst, 8, h.NegativeSpans)
	dst = appendDoubles(dst, 10, h.NegativeBuckets)
	dst = appendSpans(dst, 11, h.PositiveSpans)
	dst = appendDoubles(dst, 13, h.PositiveBuckets)
	return appendEnd(dst, h.CounterResetHint, x.Time, h.CustomValues)
}

func appendEnd(dst []byte, hint histogram.CounterResetHint, at int64, custom []float64) []byte {
	dst = wire.AppendVarint(dst, 14, uint64(hint))
	dst = wire.AppendVarint(dst, 15, uint64(at))
	if len(custom) == 0 {
		return dst
	}
	const number = 16 // a key of two bytes
	dst = binary.AppendUvarint(dst, number<<3|wire.Bytes)
	return appendPacked(dst, custom)
}

// appendSpans appends BucketSpans: { sint32 offset = 1; uint32 length = 2; }.
func appendSpans(dst []byte, number byte, spans []histogram.Span) []byte {
	for _, s := range spans {
		m := wire.AppendVarint(nil, 1, wire.ZigZag(int64(s.Offset)))
		dst = wire.AppendBytes(dst, number, wire.AppendVarint(m, 2, uint64(s.Length)))
	}
	return dst
}

func appendDeltas(dst []byte, number byte, deltas []int64) []byte {
	if len(deltas) == 0 {
		return dst
	}
	var packed []byte
	for _, d := range deltas {
		packed = binary.AppendUvarint(packed, wire.ZigZag(d))
	}
	return wire.AppendBytes(dst, number, packed)
}

func appendDoubles(dst []byte, number byte, values []float64) []byte {
	if len(values) == 0 {
		return dst
	}
	return appendPacked(append(dst, wire.Tag(number, wire.Bytes)), values)
}

func appendPacked(dst []byte, values []float64) []byte {
	dst = binary.AppendUvarint(dst, uint64(8*len(values)))
	for _, v := range values {
		dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(v))
	}
	return dst
}

// keptBuffer bounds what a builder keeps of its buffer from one batch to the next, in bytes.
const keptBuffer = 2 << 20

// Build implements delivery.Builder.
func (b *builder) Build() *queue.Block {
	if b.items == 0 {
		return nil
	}
	// The encoder's buffer has room for what doesn't compress; what is queued is to be as small as it counts.
	var packed []byte
	var form string
	if b.second {
		t := b.out.symbols[b.shard]
		b.out.message = append(append(b.out.message[:0], t.raw...), b.raw...) // symbols first, for who reads them as they come
		form = protocol2
		packed = b.out.packer.packAs(form, b.out.packed[:0], b.out.message)
		t.next()
	} else {
		packed, form = b.out.packer.pack(b.out.packed[:0], b.raw)
	}
	block := &queue.Block{
		Body: append(make([]byte, 0, len(packed)), packed...), Protocol: form, Tenant: b.tenant, Shard: b.shard, Items: b.items,
		OldestTime: b.oldest * 1e6, NewestTime: b.newest * 1e6,
	}
	b.out.packed, b.raw = packed, b.raw[:0]
	if cap(b.raw) > keptBuffer {
		b.out.packed, b.raw, b.out.message = nil, nil, nil
	}
	b.items, b.oldest, b.newest = 0, 0, 0
	return block
}

// Split implements delivery.Backend: the first half of the series goes first, and the metadata with it.
func (o *output) Split(b *queue.Block) (first, second *queue.Block, err error) {
	raw, err := inflate(b)
	if err != nil {
		return nil, nil, err
	}
	var bodies [2][]byte
	var items [2]int
	if b.Protocol == protocol2 {
		if bodies, items, err = split2(raw, b.Items); err != nil {
			return nil, nil, err
		}
		raw = nil
	}
	for len(raw) > 0 {
		f, rest, err := wire.Next(raw)
		if err != nil {
			return nil, nil, err
		}
		raw = rest
		half := 0
		if f.Number == 1 {
			if items[0] >= b.Items/2 {
				half = 1
			}
			items[half]++
		}
		bodies[half] = append(bodies[half], f.Whole...)
	}
	half := func(i int) *queue.Block {
		return &queue.Block{
			Body: o.packer.packAs(b.Protocol, nil, bodies[i]), Protocol: b.Protocol, Tenant: b.Tenant, Shard: b.Shard, Items: items[i],
			OldestTime: b.OldestTime, NewestTime: b.NewestTime,
		}
	}
	return half(0), half(1), nil
}
