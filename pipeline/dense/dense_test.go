package dense

import (
	"runtime"
	"testing"
	"time"
)

type thing struct {
	id   uint32
	name string
}

func newThing(ids *IDs, name string) *thing {
	x := &thing{name: name}
	x.id = Assign(ids, x)
	return x
}

func TestAnIdentityIsReusedOnlyWhenNoCacheHoldsItsOwner(t *testing.T) {
	var ids IDs
	var cache Cache[thing, int]
	for range 100 {
		x := newThing(&ids, "kept")
		cache.Put(x.id, x, 1, 7)
	}
	collect(t, &ids, func() bool { return true }, 5)
	if x := newThing(&ids, "new"); x.id != 100 {
		t.Fatalf("identity %d was handed out while a cache holds its owner", x.id)
	}
	cache.Sweep(2, nil)
	if cache.Len() != 0 {
		t.Fatalf("%d left after the sweep", cache.Len())
	}
	collect(t, &ids, func() bool {
		ids.mu.Lock()
		defer ids.mu.Unlock()
		return len(ids.free) >= 100
	}, 1000)
	if x := newThing(&ids, "new"); x.id >= 101 {
		t.Fatalf("identity %d: those of the swept owners were not taken back", x.id)
	}
}

// collect runs the garbage collector until done, at most n times.
func collect(t *testing.T, _ *IDs, done func() bool, n int) {
	t.Helper()
	for range n {
		runtime.GC()
		if done() {
			return
		}
		runtime.Gosched()
		<-time.After(time.Millisecond)
	}
	if !done() {
		t.Fatal("the garbage collector did not get there")
	}
}

func TestACacheKnowsItsKeyNotOnlyItsIdentity(t *testing.T) {
	var cache Cache[thing, string]
	a, b := &thing{id: 3, name: "a"}, &thing{id: 3, name: "b"}
	cache.Put(3, a, 1, "of a")
	if cache.Get(3, b, 1) != nil {
		t.Fatal("b got what was kept for a")
	}
	cache.Put(3, b, 1, "of b")
	if v := cache.Get(3, b, 1); v == nil || *v != "of b" || cache.Get(3, a, 1) != nil || cache.Len() != 1 {
		t.Fatalf("%v, %d", v, cache.Len())
	}
	if cache.Get(4000, a, 1) != nil {
		t.Fatal("beyond the slice")
	}
}

func TestSweepForgetsWhatWasNotAskedFor(t *testing.T) {
	var ids IDs
	var cache Cache[thing, int]
	old, used := newThing(&ids, "old"), newThing(&ids, "used")
	cache.Put(old.id, old, 1000, 1)
	cache.Put(used.id, used, 1000, 2)
	cache.SweepEvery(1000, 500, nil)
	cache.Get(used.id, used, 1400)
	var gone []string
	cache.SweepEvery(1499, 500, func(x *thing, _ *int) { gone = append(gone, x.name) })
	if gone != nil {
		t.Fatalf("swept before its time: %v", gone)
	}
	cache.Get(used.id, used, 1600)
	cache.SweepEvery(1600, 500, func(x *thing, _ *int) { gone = append(gone, x.name) })
	if len(gone) != 1 || gone[0] != "old" || cache.Len() != 1 {
		t.Fatalf("%v, %d left", gone, cache.Len())
	}
}

func BenchmarkCacheGet(b *testing.B) {
	var ids IDs
	var cache Cache[thing, int]
	things := make([]*thing, 700)
	for i := range things {
		things[i] = newThing(&ids, "x")
		cache.Put(things[i].id, things[i], 0, i)
	}
	b.ReportAllocs()
	sum := 0
	for i := 0; b.Loop(); i++ {
		x := things[i%len(things)]
		sum += *cache.Get(x.id, x, int64(i))
	}
	_ = sum
}

func TestABlocksIdentitiesAreReusedWhenNobodyRefersToAnyOfItsOwners(t *testing.T) {
	var ids IDs
	var block Block[thing]
	var kept *thing
	for range 5 * blockSize {
		x, id := block.New(&ids)
		*x = thing{id: id, name: "x"}
		if id == 2*blockSize+3 {
			kept = x
		}
	}
	free := func() int {
		ids.mu.Lock()
		defer ids.mu.Unlock()
		return len(ids.blocks)
	}
	collect(t, &ids, func() bool { return free() == 4 }, 1000)
	got := map[uint32]bool{}
	for range 4 * blockSize {
		_, id := block.New(&ids)
		if id/blockSize == kept.id/blockSize || id >= 5*blockSize || got[id] {
			t.Fatalf("identity %d was handed out", id)
		}
		got[id] = true
	}
	runtime.KeepAlive(kept)
}

func TestACacheHasNoMemoryForWhatItHasForgotten(t *testing.T) {
	var cache Cache[thing, [100]byte]
	things := make([]*thing, 10*pageSize)
	for i := range things {
		things[i] = &thing{id: uint32(i)}
		cache.Put(things[i].id, things[i], int64(i/pageSize), [100]byte{1})
	}
	cache.Sweep(7, nil)
	pages := 0
	for _, p := range cache.pages {
		if p != nil {
			pages++
		}
	}
	if pages != 3 || cache.Len() != 3*pageSize || cache.Get(things[0].id, things[0], 9) != nil || cache.Get(things[9*pageSize].id, things[9*pageSize], 9) == nil {
		t.Errorf("%d pages, %d keys", pages, cache.Len())
	}
}
