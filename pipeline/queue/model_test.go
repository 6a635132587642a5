package queue

import (
	"bytes"
	"encoding/binary"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// item is what the model knows of a block.
type item struct {
	id    uint64
	seq   uint64 // in the queue
	shard int
	items int
	gone  bool // acknowledged or given up
	safe  bool // Safe said so
	lasts bool // and that was about power cuts, too: sync wasn't "off" when it was written
	torn  bool // its header reached the disk before a power cut, its body didn't: that is found out when it is taken
	// settled says that the cursor tells that it is gone, settledFor that it does so after a power cut, too.
	settled, settledFor bool
}

// body is what a block of that number holds: bytes that are nowhere else.
func body(id uint64, size int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, id)
	return append(b, bytes.Repeat([]byte{byte(id)}, size)...)
}

func idOf(b *Block) uint64 { return binary.LittleEndian.Uint64(b.Body) }

// world is a queue on a disk that isn't one, and what it is to hold.
type world struct {
	now    time.Time
	disk   *disk
	q      *Disk
	limits Limits
	next   uint64
	items  map[uint64]*item
	bySeq  map[uint64]uint64 // numbers of blocks here by those in the queue
	taken  map[int]*Block
	lost   map[string]int
	put    int  // items since the queue was opened
	done   int  // of them acknowledged
	faulty bool // the disk fails now and then
	// squeezed says that the disk was full at a time: then the cursor may be older than what was removed to free space.
	squeezed bool
	// off says that sync was "off" at a time, offUpTo up to which block, and offCut that there was a power cut after it.
	off, offCut bool
	offUpTo     uint64
}

func (w *world) open(t *rapid.T) Recovered {
	w.q = newDisk(DiskOptions{Dir: "/q", Limits: w.limits, Log: slog.New(slog.DiscardHandler)}, w.disk)
	w.now = w.now.Add(time.Second) // nothing starts twice in a moment
	w.q.clock = func() time.Time { return w.now }
	found, err := w.q.recover()
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	w.lost, w.taken = map[string]int{}, map[int]*Block{}
	w.q.Observe(Observer{Lost: func(reason string, items int) { w.lost[reason] += items }})
	w.put, w.done = found.Items, 0
	return found
}

func (w *world) append(t *rapid.T, size int) {
	w.next++
	b := &Block{
		Protocol: "p", Tenant: "t", Body: body(w.next, size), Shard: rapid.IntRange(0, 2).Draw(t, "shard"), Items: rapid.IntRange(1, 9).Draw(t, "items"),
		OldestTime: int64(w.next), NewestTime: int64(w.next) + 1,
	}
	w.items[w.next] = &item{id: w.next, shard: b.Shard, items: b.Items}
	w.put += b.Items
	w.q.Append(b)
	w.items[w.next].seq = b.seq
	w.bySeq[b.seq] = w.next
}

// sweep learns what the queue has given up by itself, from what is left in it.
func (w *world) sweep() {
	if len(w.lost) == 0 {
		return
	}
	there := map[uint64]bool{}
	for i := range w.q.shards {
		for _, e := range w.q.shards[i].entries {
			there[e.seq] = true
		}
	}
	for _, x := range w.items {
		if !there[x.seq] {
			x.gone = true
		}
	}
}

// check asserts that what the queue holds is what it is to hold, and that every item is accounted for.
func (w *world) check(t *rapid.T) {
	w.sweep()
	items, given := 0, 0
	for i := range w.q.shards {
		last := uint64(0)
		for _, e := range w.q.shards[i].entries {
			if e.seq <= last {
				t.Fatalf("shard %d isn't in order", i)
			}
			last = e.seq
			items += int(e.items)
		}
		if head := w.q.shards[i].head; len(head) > 0 { // parts of it may be delivered
			items -= int(w.q.shards[i].entries[0].items)
			for _, b := range head {
				items += b.Items
			}
		}
	}
	for _, n := range w.lost {
		given += n
	}
	s := w.q.Stats()
	if s.Items != items || w.put != s.Items+w.done+given {
		t.Fatalf("put %d, delivered %d, given up %v, waiting %d (%d counted)", w.put, w.done, w.lost, s.Items, items)
	}
	if limit := w.limits.MaxSize + 4*(overhead+201000); w.limits.WhenFull == DropOldest && s.Bytes > limit {
		t.Fatalf("%d bytes wait, more than %d", s.Bytes, w.limits.MaxSize)
	}
	var unwrittenBytes, unsyncedBytes, resident int64
	live := map[*segment]int{}
	for i := range w.q.shards {
		for _, e := range w.q.shards[i].entries {
			switch e.state {
			case unwritten:
				unwrittenBytes += e.size()
			case unsynced:
				unsyncedBytes += e.size()
			}
			if e.block != nil {
				resident += e.size()
			}
			if e.segment != nil {
				live[e.segment]++
			}
			if e.state != safe && e.block == nil {
				t.Fatalf("a block that isn't safe is not in memory")
			}
		}
	}
	if unwrittenBytes != w.q.unwrittenBytes || unsyncedBytes != w.q.unsyncedBytes || resident != w.q.resident {
		t.Fatalf("unwritten %d (%d), unsynced %d (%d), in memory %d (%d)", w.q.unwrittenBytes, unwrittenBytes, w.q.unsyncedBytes, unsyncedBytes,
			w.q.resident, resident)
	}
	for _, s := range w.q.segments {
		if s.live != live[s] {
			t.Fatalf("segment %d has %d blocks, counts %d", s.number, live[s], s.live)
		}
	}
}

// step lets the writer work, and notes what the cursor says afterwards.
func (w *world) step(last bool) {
	w.q.step(last)
	pending, _ := w.q.cursor.pending()
	for _, x := range w.items {
		x.settled = x.settled || x.gone
		x.settledFor = x.settledFor || x.settled && !pending && !w.off
	}
}

// promise notes what is safe now.
func (w *world) promise() {
	w.q.mu.Lock()
	defer w.q.mu.Unlock()
	for _, x := range w.items {
		if !x.gone && !w.q.unsafeUpTo(x.seq) {
			x.safe = !x.torn
			x.lasts = x.lasts || x.safe && x.seq > w.offUpTo
		}
	}
}

// reopened holds what was found after a crash against what was promised.
func (w *world) reopened(t *rapid.T, found Recovered, cut bool) {
	there := map[uint64]bool{}
	for i := range w.q.shards {
		last := uint64(0)
		for _, e := range w.q.shards[i].entries {
			x := w.items[w.bySeq[e.seq]]
			if x == nil || x.shard != i || x.items != int(e.items) || e.seq <= last {
				t.Fatalf("block %d of shard %d was never appended like that, or comes twice: %+v", e.seq, i, x)
			}
			last = e.seq
			there[x.id] = true
			b, err := e.block, error(nil)
			if b == nil {
				b, err = w.q.read(e)
			}
			if err != nil || !bytes.Equal(b.Body, body(x.id, len(b.Body)-8)) || b.Protocol != "p" || b.Tenant != "t" ||
				b.OldestTime != int64(x.id) || b.NewestTime != int64(x.id)+1 {
				if x.torn = x.torn || cut && !x.safe; x.torn {
					continue
				}
				t.Fatalf("block %d can't be read: %v", e.seq, err)
			}
		}
	}
	for _, x := range w.items {
		if x.safe && !x.gone && !there[x.id] {
			t.Fatalf("block %d was safe and is gone", x.id)
		}
	}
	// Without a cursor nobody knows what was synced. What wasn't, because it wasn't to be, is missing after a power cut.
	w.offCut = w.offCut || cut && w.off
	known := w.q.cursor.generation > 0 && !w.offCut
	if found.Lost > 0 && known && !w.faulty && !w.squeezed {
		t.Fatalf("%d items are said to be lost", found.Lost)
	}
	for _, x := range w.items { // what isn't there will never come; what is comes once more
		if again := x.settled && !cut || x.settledFor; again && there[x.id] && !w.faulty && !w.squeezed {
			t.Fatalf("block %d was gone and is there again", x.id)
		}
		x.gone = !there[x.id]
		x.settled, x.settledFor = x.gone && x.settled, x.gone && x.settledFor
		x.safe, x.lasts = false, false
	}
	w.lost = map[string]int{}
}

// cut says what a power cut may take.
func (w *world) cut() {
	for _, x := range w.items {
		x.safe = x.safe && x.lasts
	}
}

// kill says what a kill may not take: what was written.
func (w *world) kill() {
	for _, x := range w.items {
		e := w.entry(x)
		x.safe = !x.torn && (x.safe || e != nil && e.state != unwritten)
	}
}

// setSync notes what is promised while sync is so.
func (w *world) setSync(mode Sync) {
	w.limits.Sync = mode
	if w.off = w.off || mode == SyncOff; mode == SyncOff {
		w.offUpTo = 1 << 63
	} else if w.offUpTo > 0 && w.q != nil {
		w.offUpTo = w.q.tail
	}
}

// TestDiskLosesNothingThatIsSafe tries a thousand histories: a hundred, which is what rapid does, seldom have what the rarer faults take.
func TestDiskLosesNothingThatIsSafe(t *testing.T) {
	for range 10 {
		rapid.Check(t, history)
	}
}

// history is one of a queue and its disk.
func history(t *rapid.T) {
	w := &world{now: time.Unix(1e9, 0), disk: newSim(), items: map[uint64]*item{}, bySeq: map[uint64]uint64{}, faulty: rapid.Bool().Draw(t, "faulty")}
	w.limits = Limits{
		MaxSize: 1 << 20, WhenFull: rapid.SampledFrom([]Policy{Wait, DropOldest}).Draw(t, "policy"),
	}
	syncs := rapid.SampledFrom([]Sync{SyncBatch, SyncAlways, SyncOff})
	w.setSync(syncs.Draw(t, "sync"))
	if w.limits.WhenFull == DropOldest {
		w.limits.MaxSize = 300_000
	}
	w.open(t)
	chance := func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "chance") }
	many := func() func(int) int {
		return rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)).IntN
	}
	shard := func(t *rapid.T) int { return rapid.IntRange(0, 2).Draw(t, "shard") }
	t.Repeat(map[string]func(*rapid.T){
		"append": func(t *rapid.T) { w.append(t, rapid.SampledFrom([]int{0, 100, 2000, 70000, 200000}).Draw(t, "size")) },
		"work":   func(t *rapid.T) { w.step(false) },
		"flush": func(t *rapid.T) {
			w.q.mu.Lock()
			w.q.wanted = w.q.tail
			w.q.retry = w.q.retry.AddDate(-1, 0, 0)
			w.q.mu.Unlock()
			w.step(false)
			w.promise()
		},
		"take": func(t *rapid.T) {
			s := shard(t)
			before := 0
			if s < len(w.q.shards) {
				before = len(w.q.shards[s].entries)
			}
			b, _ := w.q.Take(s)
			w.sweep()
			if b == nil {
				return
			}
			if w.taken[s] != nil || before == 0 {
				t.Fatal("gave out what isn't there")
			}
			for _, x := range w.items {
				if x.shard == s && !x.gone && x.id < idOf(b) {
					t.Fatalf("gave out %d before %d", idOf(b), x.id)
				}
			}
			w.taken[s] = b
		},
		"ack": func(t *rapid.T) {
			s := shard(t)
			if b := w.taken[s]; b != nil {
				w.q.Ack(b)
				w.q.Ack(b) // does nothing
				w.items[w.bySeq[b.seq]].gone = len(w.q.shards[s].head) == 0
				w.done += b.Items
				delete(w.taken, s)
			}
		},
		"return": func(t *rapid.T) {
			s := shard(t)
			if b := w.taken[s]; b != nil {
				w.q.Return(b)
				delete(w.taken, s)
			}
		},
		"divide": func(t *rapid.T) {
			s := shard(t)
			if b := w.taken[s]; b != nil && b.Items > 1 {
				half := func(n int) *Block { return &Block{Body: b.Body, Items: n, Shard: 9} }
				w.q.Replace(b, half(1), half(b.Items-1))
				delete(w.taken, s)
			}
		},
		"power cut": func(t *rapid.T) {
			w.disk = w.disk.powerCut(many())
			w.cut()
			w.reopened(t, w.open(t), true)
		},
		"kill": func(t *rapid.T) {
			w.kill()
			w.reopened(t, w.open(t), false)
		},
		// Between any two changes that the queue makes to the disk in a step, or at a start.
		"interrupted": func(t *rapid.T) {
			cut, start := rapid.Bool().Draw(t, "cut"), rapid.Bool().Draw(t, "start")
			if w.promise(); cut {
				w.cut()
			} else {
				w.kill()
			}
			if start {
				w.q = newDisk(DiskOptions{Dir: "/q", Limits: w.limits, Log: slog.New(slog.DiscardHandler)}, w.disk)
				w.q.clock = func() time.Time { return w.now }
			}
			w.disk.imageIn, w.disk.image = 1+chance(15), nil
			if start {
				if _, err := w.q.recover(); err != nil {
					t.Fatal(err)
				}
			}
			w.q.step(true)
			if w.disk.image == nil {
				w.disk.image = w.disk.clone() // at the end
			}
			w.disk = w.disk.image
			if cut {
				w.disk = w.disk.powerCut(many())
			}
			w.reopened(t, w.open(t), cut)
		},
		"another sync": func(t *rapid.T) {
			w.setSync(syncs.Draw(t, "sync"))
			w.q.SetLimits(w.limits)
		},
		"stop and start": func(t *rapid.T) {
			if err := w.q.Close(); err == nil {
				for _, x := range w.items {
					x.safe = !x.gone && !x.torn
				}
			} else if w.disk.capacity == 0 && !w.faulty {
				t.Fatal(err)
			}
			w.reopened(t, w.open(t), false)
		},
		"full": func(t *rapid.T) {
			w.disk.capacity = max(1, w.disk.used()+chance(3000))
			w.squeezed = true
		},
		"room": func(t *rapid.T) { w.disk.capacity = 0 },
		"write fails": func(t *rapid.T) {
			if w.faulty {
				w.disk.failWrites = 1
			}
		},
		"sync fails": func(t *rapid.T) {
			if w.faulty {
				w.disk.failSyncs = 1 + chance(2)
			}
		},
		"time passes": func(t *rapid.T) { w.now = w.now.Add(time.Duration(chance(1500)) * time.Millisecond) },
		"":            func(t *rapid.T) { w.check(t) },
	})
}

func (w *world) entry(x *item) *entry {
	if x.shard >= len(w.q.shards) {
		return nil
	}
	for _, e := range w.q.shards[x.shard].entries {
		if e.seq == x.seq {
			return e
		}
	}
	return nil
}
