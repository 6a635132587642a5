package loki

import (
	"encoding/binary"
	"errors"
	"strconv"
	"strings"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/hermod-agent/hermod/internal/wire"
	"github.com/hermod-agent/hermod/pipeline/delivery"
	"github.com/hermod-agent/hermod/pipeline/logs"
	"github.com/hermod-agent/hermod/pipeline/queue"
)

// protocol names the bodies: PushRequest of loki's push.proto, snappy block format.
//
//	PushRequest   { repeated Stream streams = 1; }
//	Stream        { string labels = 1; repeated Entry entries = 2; }
//	Entry         { Timestamp timestamp = 1; string line = 2; repeated LabelPair structuredMetadata = 3; }
//	Timestamp     { int64 seconds = 1; int32 nanos = 2; }
//	LabelPair     { string name = 1; string value = 2; }
const protocol = "loki.push.v1"

// keptBuffers bounds what a builder keeps of its streams' buffers from one batch to the next, in bytes.
const keptBuffers = 2 << 20

// stream is what an output knows of a logs.Stream.
type stream struct {
	labels string // rendered: {a="b", c="d"}
	tenant string
	shard  int

	batch   *delivery.Batch
	builder *builder
	round   uint64 // of the builder in which at is right
	at      int    // index in builder.open
}

// builder collects the entries of one shard and tenant, those of a stream together and in order.
type builder struct {
	out    *output
	shard  int
	tenant string

	open           []entries // of this batch; their buffers are used again
	round          uint64    // counts batches, from 1
	size           int       // bytes of lines and structured metadata
	items          int
	oldest, newest int64
}

var _ delivery.Builder = (*builder)(nil)

// entries are those of a stream, encoded.
type entries struct {
	labels string
	body   []byte
}

// Size implements delivery.Builder.
func (b *builder) Size() int { return b.size }

// Items implements delivery.Builder.
func (b *builder) Items() int { return b.items }

// add encodes a record.
func (b *builder) add(s *stream, r *logs.Record, line []byte) {
	if b.round == 0 {
		b.round = 1
	}
	if s.round != b.round {
		s.round, s.at = b.round, len(b.open)
		if len(b.open) < cap(b.open) {
			b.open = b.open[:len(b.open)+1]
		} else {
			b.open = append(b.open, entries{})
		}
		e := &b.open[s.at]
		e.labels, e.body = s.labels, e.body[:0]
	}
	e := &b.open[s.at]
	before := len(e.body)
	e.body = appendEntry(e.body, r.Time, line, r.Meta)
	b.size += len(e.body) - before
	if b.items == 0 || r.Time < b.oldest {
		b.oldest = r.Time
	}
	if b.items == 0 || r.Time > b.newest {
		b.newest = r.Time
	}
	b.items++
}

// appendEntry appends an Entry as a field of its Stream.
func appendEntry(dst []byte, at int64, line []byte, meta labels.Labels) []byte {
	seconds, nanos := at/1e9, at%1e9
	if nanos < 0 {
		seconds, nanos = seconds-1, nanos+1e9
	}
	stamp := 0
	if seconds != 0 {
		stamp += 1 + wire.Size(uint64(seconds))
	}
	if nanos != 0 {
		stamp += 1 + wire.Size(uint64(nanos))
	}
	size := 2 + stamp
	if len(line) > 0 {
		size += 1 + wire.Size(uint64(len(line))) + len(line)
	}
	if !meta.IsEmpty() {
		meta.Range(func(l labels.Label) {
			pair := wire.SizeString(l.Name) + wire.SizeString(l.Value)
			size += 1 + wire.Size(uint64(pair)) + pair
		})
	}
	dst = binary.AppendUvarint(append(dst, wire.Tag(2, wire.Bytes)), uint64(size))
	dst = append(dst, wire.Tag(1, wire.Bytes), byte(stamp))
	dst = wire.AppendVarint(dst, 1, uint64(seconds))
	dst = wire.AppendVarint(dst, 2, uint64(nanos))
	if len(line) > 0 {
		dst = wire.AppendBytes(dst, 2, line)
	}
	if !meta.IsEmpty() {
		meta.Range(func(l labels.Label) {
			pair := wire.SizeString(l.Name) + wire.SizeString(l.Value)
			dst = binary.AppendUvarint(append(dst, wire.Tag(3, wire.Bytes)), uint64(pair))
			dst = wire.AppendString(dst, 1, l.Name)
			dst = wire.AppendString(dst, 2, l.Value)
		})
	}
	return dst
}

// Build implements delivery.Builder.
func (b *builder) Build() *queue.Block {
	if b.items == 0 {
		return nil
	}
	b.loudestLast()
	raw := b.out.raw[:0]
	kept := 0
	for i := range b.open {
		e := &b.open[i]
		raw = appendStream(raw, e.labels, e.body)
		e.labels = ""
		if kept += cap(e.body); kept > keptBuffers {
			e.body = nil
		}
	}
	// The encoder's buffer has room for what doesn't compress; what is queued is to be as small as it counts.
	packed := snappy.Encode(b.out.packed[:cap(b.out.packed)], raw)
	block := &queue.Block{
		Body: append(make([]byte, 0, len(packed)), packed...), Protocol: protocol, Tenant: b.tenant, Shard: b.shard, Items: b.items,
		OldestTime: b.oldest, NewestTime: b.newest,
	}
	b.out.raw, b.out.packed = raw, packed
	if cap(raw) > 2*int(b.out.cfg.BatchSize)+keptBuffers {
		b.out.raw, b.out.packed = nil, nil
	}
	b.open = b.open[:0]
	b.round++
	b.size, b.items, b.oldest, b.newest = 0, 0, 0, 0
	return block
}

// loudestLast puts the stream with the most bytes at the end of the body. An ingester of Loki tells only what became of the last stream of a
// request (pkg/ingester/instance.go, Push): where it refused another one for its rate it answers 204, and those lines would be gone.
func (b *builder) loudestLast() {
	last, loudest := len(b.open)-1, 0
	for i := range b.open {
		if len(b.open[i].body) >= len(b.open[loudest].body) {
			loudest = i
		}
	}
	b.open[loudest], b.open[last] = b.open[last], b.open[loudest]
}

// appendStream appends a Stream as a field of the PushRequest.
func appendStream(dst []byte, labels string, body []byte) []byte {
	dst = binary.AppendUvarint(append(dst, wire.Tag(1, wire.Bytes)), uint64(wire.SizeString(labels)+len(body)))
	dst = wire.AppendString(dst, 1, labels)
	return append(dst, body...)
}

// render writes labels the way that Loki reads them. It takes names of letters, digits and underscores alone, so other characters become
// underscores; and it takes no stream without labels, so such a one gets job="hermod".
func render(l labels.Labels) string {
	var b strings.Builder
	b.WriteByte('{')
	seen := map[string]bool{}
	l.Range(func(l labels.Label) {
		name := labelName(l.Name)
		if l.Value == "" || seen[name] {
			return
		}
		if len(seen) > 0 {
			b.WriteString(", ")
		}
		seen[name] = true
		b.WriteString(name)
		b.WriteByte('=')
		b.WriteString(strconv.Quote(l.Value))
	})
	if len(seen) == 0 {
		b.WriteString(`job="hermod"`)
	}
	b.WriteByte('}')
	return b.String()
}

func labelName(s string) string {
	good := s != "" && (s[0] < '0' || s[0] > '9')
	for i := 0; i < len(s) && good; i++ {
		good = nameByte(s[i])
	}
	if good {
		return s
	}
	out := []byte(s)
	for i, c := range out {
		if !nameByte(c) {
			out[i] = '_'
		}
	}
	if s == "" || s[0] >= '0' && s[0] <= '9' {
		return "_" + string(out)
	}
	return string(out)
}

func nameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
}

// maxRaw bounds what a body of our own is inflated to.
const maxRaw = 256 << 20

// inflate decompresses a body.
func inflate(b *queue.Block) ([]byte, error) {
	if n, err := snappy.DecodedLen(b.Body); err != nil || n > maxRaw {
		return nil, errors.Join(errors.New("the body can't be decompressed"), err)
	}
	return snappy.Decode(nil, b.Body)
}

// walk calls f with the labels of every stream of a body, and what f returns with every entry of the stream (the field with its key).
func walk(raw []byte, f func(labels string) (entry func(whole []byte))) error {
	for len(raw) > 0 {
		s, rest, err := wire.Next(raw)
		if err != nil {
			return err
		}
		raw = rest
		if s.Number != 1 || s.Type != wire.Bytes {
			continue
		}
		var entry func([]byte)
		for body := s.Bytes; len(body) > 0; {
			e, rest, err := wire.Next(body)
			if err != nil {
				return err
			}
			body = rest
			switch {
			case e.Number == 1 && e.Type == wire.Bytes:
				entry = f(string(e.Bytes))
			case e.Number == 2 && entry != nil:
				entry(e.Whole)
			}
		}
	}
	return nil
}

// Split implements delivery.Backend: the first half of the entries goes first.
func (o *output) Split(b *queue.Block) (first, second *queue.Block, err error) {
	raw, err := inflate(b)
	if err != nil {
		return nil, nil, err
	}
	type part struct {
		raw   []byte
		items int
		// of the stream being written
		labels string
		body   []byte
	}
	var parts [2]part
	end := func(p *part) {
		if len(p.body) > 0 {
			p.raw = appendStream(p.raw, p.labels, p.body)
			p.body = p.body[:0]
		}
	}
	items := 0
	err = walk(raw, func(labels string) func([]byte) {
		end(&parts[0])
		end(&parts[1])
		parts[0].labels, parts[1].labels = labels, labels
		return func(whole []byte) {
			p := &parts[0]
			if items >= b.Items/2 {
				p = &parts[1]
			}
			p.body = append(p.body, whole...)
			p.items++
			items++
		}
	})
	if err != nil {
		return nil, nil, err
	}
	end(&parts[0])
	end(&parts[1])
	half := func(p part) *queue.Block {
		return &queue.Block{
			Body: snappy.Encode(nil, p.raw), Protocol: b.Protocol, Tenant: b.Tenant, Shard: b.Shard, Items: p.items,
			OldestTime: b.OldestTime, NewestTime: b.NewestTime,
		}
	}
	return half(parts[0]), half(parts[1]), nil
}
