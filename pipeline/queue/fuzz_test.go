package queue

import (
	"bytes"
	"log/slog"
	"maps"
	"slices"
	"testing"
)

// FuzzSegment: whatever is in a segment, a start reads it, gives out whole blocks alone and each once, and accounts for what it took in.
func FuzzSegment(f *testing.F) {
	const salt = 7
	whole := appendSegmentHeader(nil, 1, 2, salt)
	var index []byte
	f.Add([]byte{}, uint64(1))
	f.Add(slices.Clone(whole), uint64(1))
	before := uint64(0)
	for i := range 3 {
		b := stored(i+1, 10*i)
		b.seq, b.Shard, b.Items = uint64(i+1), i%2, i+1
		whole = appendRecord(whole, salt, b, before)
		at := len(whole) - recordLength(b)
		index = append(index, whole[at+4:at+4+indexEntry]...)
		before += uint64(b.Items)
	}
	indexed := appendIndex(slices.Clone(whole), salt, index)
	f.Add(indexed, uint64(1))
	f.Add(indexed[:len(indexed)-1], uint64(1))
	// An index that isn't that of the blocks: other items, another shard, another number.
	for _, at := range []int{44, 48, 4} {
		other := slices.Clone(index)
		other[at]++
		f.Add(appendIndex(slices.Clone(whole), salt, other), uint64(1))
	}
	f.Add(slices.Clone(whole), uint64(1))
	f.Add(whole[:len(whole)-5], uint64(1))
	f.Add(append(slices.Clone(whole), whole[segmentHeader:]...), uint64(9))
	f.Add(append(append(slices.Clone(whole), "HQB\x01HQB\x01"...), whole[segmentHeader:]...), uint64(9))
	f.Fuzz(func(t *testing.T, content []byte, number uint64) {
		d := newSim()
		d.names["/q/"+segmentName(number, salt)] = &platter{data: content}
		q := newDisk(DiskOptions{Dir: "/q", Limits: diskLimits(), Log: slog.New(slog.DiscardHandler)}, d)
		found, err := q.recover()
		if err != nil {
			t.Fatal(err)
		}
		lost := 0
		q.Observe(Observer{Lost: func(_ string, items int) { lost += items }})
		items := 0
		seen := map[uint64]bool{}
		for shard := range q.Shards() {
			for {
				b, _ := q.Take(shard)
				if b == nil {
					break
				}
				if b.Shard != shard || seen[b.seq] || !bytes.Contains(content, b.Body) {
					t.Fatalf("gave out %+v", b)
				}
				seen[b.seq] = true
				items += b.Items
				q.Ack(b)
			}
		}
		if left := q.Stats(); left.Items != 0 && q.eraOf() == 0 || items+lost+left.Items != found.Items {
			t.Fatalf("%d items found, %d given out, %d lost, %d left", found.Items, items, lost, left.Items)
		}
		q.Append(stored(1, 1))
		q.step(true)
		if q.unsafeUpTo(q.Tail()) {
			t.Fatal("it doesn't work on")
		}
	})
}

// eraOf says how often the layout changed: then blocks wait for those of another shard.
func (q *Disk) eraOf() uint32 { return q.era }

// FuzzCursor: a cursor is read as it was written or not at all.
func FuzzCursor(f *testing.F) {
	c := cursor{generation: 3, next: 9, synced: 5, waiting: 2, shards: []uint64{4, 5, 9}}
	slot := appendCursor(nil, &c)
	f.Add(slot)
	f.Add(append(append(slices.Clone(slot), make([]byte, slotSize-len(slot))...), slot...))
	f.Add([]byte(cursorMagic))
	f.Fuzz(func(t *testing.T, content []byte) {
		c, ok := parseCursor(content)
		if !ok {
			return
		}
		again, ok := parseCursor(appendCursor(nil, &c))
		if !ok || again.generation != c.generation || again.next != c.next || !slices.Equal(again.shards, c.shards) {
			t.Fatalf("%+v, then %+v", c, again)
		}
		// A start with it loses nothing of what it isn't sure of.
		d := newSim()
		d.names["/q/"+cursorFile] = &platter{data: content}
		q := newDisk(DiskOptions{Dir: "/q", Limits: diskLimits(), Log: slog.New(slog.DiscardHandler)}, d)
		if _, err := q.recover(); err != nil {
			t.Fatal(err)
		}
		if _, there := maps.Clone(d.names)["/q/"+cursorFile]; !there {
			t.Fatal("the cursor is gone")
		}
	})
}
