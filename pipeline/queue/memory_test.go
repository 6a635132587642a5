package queue

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

func block(shard, items, size int) *Block {
	return &Block{Body: make([]byte, size), Shard: shard, Items: items, OldestTime: time.Now().UnixNano()}
}

// model is what a queue is supposed to hold, by shard, oldest first.
type model map[int][]*Block

func (m model) count() (blocks, items int, bytes int64) {
	for _, shard := range m {
		for _, b := range shard {
			blocks++
			items += b.Items
			bytes += int64(len(b.Body)) + overhead
		}
	}
	return blocks, items, bytes
}

func (m model) remove(t *rapid.T, b *Block) int {
	for i, x := range m[b.Shard] {
		if x == b {
			m[b.Shard] = append(m[b.Shard][:i:i], m[b.Shard][i+1:]...)
			return i
		}
	}
	t.Fatalf("a block that isn't there: %+v", b)
	return 0
}

// oldest is the block that goes first when there is no room for the newest.
func (m model) oldest(newest *Block, taken map[int]*Block) (oldest *Block) {
	for shard, blocks := range m {
		for _, b := range blocks {
			if b != newest && taken[shard] != b && (oldest == nil || b.seq < oldest.seq) {
				oldest = b
			}
		}
	}
	return oldest
}

func TestMemoryIsAFifoAShard(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limits := Limits{MaxSize: 20 * (overhead + 50), WhenFull: rapid.SampledFrom([]Policy{Wait, DropOldest}).Draw(t, "policy")}
		q := NewMemory(limits)
		m := model{}
		taken := map[int]*Block{}
		put, gone := 0, 0
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				b := block(rapid.IntRange(0, 3).Draw(t, "shard"), rapid.IntRange(1, 9).Draw(t, "items"), rapid.IntRange(1, 100).Draw(t, "size"))
				put += b.Items
				dropped := 0
				q.Observe(Observer{Lost: func(_ string, items int) { dropped += items }})
				q.Append(b)
				m[b.Shard] = append(m[b.Shard], b)
				gone += dropped
				for dropped > 0 {
					d := m.oldest(b, taken)
					if d == nil || limits.WhenFull == Wait {
						t.Fatalf("dropped the newest or a taken block")
					}
					m.remove(t, d)
					dropped -= d.Items
				}
				if _, _, bytes := m.count(); dropped < 0 || limits.WhenFull == DropOldest && bytes > limits.MaxSize+4*(overhead+100) {
					t.Fatalf("%d dropped too many, %d bytes", dropped, bytes)
				}
			},
			"take": func(t *rapid.T) {
				shard := rapid.IntRange(0, 3).Draw(t, "shard")
				b, _ := q.Take(shard)
				switch {
				case taken[shard] != nil || len(m[shard]) == 0:
					if b != nil {
						t.Fatalf("gave a block that isn't to be had")
					}
				case b != m[shard][0]:
					t.Fatalf("gave %p, not the oldest", b)
				default:
					taken[shard] = b
				}
			},
			"ack": func(t *rapid.T) {
				shard := rapid.IntRange(0, 3).Draw(t, "shard")
				if b := taken[shard]; b != nil {
					q.Ack(b)
					q.Ack(b) // does nothing
					m.remove(t, b)
					gone += b.Items
					delete(taken, shard)
				}
			},
			"return": func(t *rapid.T) {
				shard := rapid.IntRange(0, 3).Draw(t, "shard")
				if b := taken[shard]; b != nil {
					q.Return(b)
					delete(taken, shard)
				}
			},
			"replace": func(t *rapid.T) {
				shard := rapid.IntRange(0, 3).Draw(t, "shard")
				if b := taken[shard]; b != nil && b.Items > 1 {
					first, second := block(9, 1, 1), block(9, b.Items-1, 1)
					q.Replace(b, first, second)
					m[shard] = append([]*Block{first, second}, m[shard][1:]...)
					delete(taken, shard)
					if first.Halved() != b.Halved()+1 || first.Shard != shard {
						t.Fatalf("part: %+v", first)
					}
				}
			},
			"clear": func(t *rapid.T) {
				if rapid.IntRange(0, 9).Draw(t, "seldom") > 0 {
					return
				}
				items := q.Abandon()
				gone += items
				for shard := range m {
					for _, b := range slices.Clone(m[shard]) {
						if taken[shard] != b {
							m.remove(t, b)
							items -= b.Items
						}
					}
				}
				if items != 0 {
					t.Fatalf("%d items too many were given up", items)
				}
			},
			"": func(t *rapid.T) {
				blocks, items, bytes := m.count()
				if s := q.Stats(); s.Blocks != blocks || s.Items != items || s.Bytes != bytes {
					t.Fatalf("stats %+v, want %d blocks, %d items, %d bytes", s, blocks, items, bytes)
				}
				if put != gone+items {
					t.Fatalf("put %d, gone %d, there %d", put, gone, items)
				}
				if ok, _ := q.Room(0); ok != (limits.WhenFull == DropOldest || bytes < limits.MaxSize) {
					t.Fatalf("room = %v with %d bytes", ok, bytes)
				}
			},
		})
	})
}

func TestSafeWaitsForWhatWasThereBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewMemory(Limits{MaxSize: MinSize, WhenFull: Wait})
		if err := q.Safe(t.Context(), q.Tail()); err != nil {
			t.Error(err)
		}
		a, b, c := block(0, 2, 1), block(1, 1, 1), block(0, 1, 1)
		q.Append(a, b)
		safe := make(chan error, 1)
		go func() { safe <- q.Safe(context.Background(), q.Tail()) }()
		synctest.Wait()
		q.Append(c)
		step := func(what string, f func()) {
			t.Helper()
			f()
			synctest.Wait()
			select {
			case err := <-safe:
				t.Fatalf("safe (%v) after %s", err, what)
			default:
			}
		}
		var part *Block
		step("a split", func() { q.Take(0); q.Replace(a, block(0, 1, 1), block(0, 1, 1)) })
		step("half", func() { part, _ = q.Take(0); q.Ack(part) })
		step("all of one shard", func() { part, _ = q.Take(0); q.Ack(part) })
		q.Take(1)
		q.Ack(b)
		if err := <-safe; err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := q.Safe(ctx, q.Tail()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("err = %v", err)
		}
		go func() { safe <- q.Safe(context.Background(), q.Tail()) }()
		synctest.Wait()
		if err := q.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-safe; !errors.Is(err, ErrClosed) {
			t.Errorf("err = %v", err)
		}
	})
}

func TestNewLayoutWaitsForTheOld(t *testing.T) {
	q := NewMemory(Limits{MaxSize: MinSize, WhenFull: Wait})
	q.Layout(1)
	old := block(0, 1, 1)
	q.Append(old)
	q.Layout(3)
	late := block(2, 1, 1)
	q.Append(late)
	if b, _ := q.Take(2); b != nil {
		t.Fatal("gave out a block of the new layout before the old one was gone")
	}
	if ok, changed := q.Waiting(2); ok || changed == nil {
		t.Fatal("a block waits that must not be taken")
	}
	if b, _ := q.Take(0); b != old {
		t.Fatal("the old block isn't given out")
	}
	_, changed := q.Take(2)
	q.Ack(old)
	<-changed
	if b, _ := q.Take(2); b != late {
		t.Fatal("the new block isn't given out")
	}
	if q.Shards() != 3 {
		t.Errorf("shards = %d", q.Shards())
	}
}

func TestConfigIsChecked(t *testing.T) {
	c := Defaults(DropOldest)
	if errs := c.Validate(); len(errs) > 0 {
		t.Error(errs)
	}
	c = Config{MaxSize: 5, WhenFull: "explode", Storage: "tape", Sync: "never", MaxAge: 1}
	if errs := c.Validate(); len(errs) != 5 {
		t.Errorf("errors = %v", errs)
	}
}
