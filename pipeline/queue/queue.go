// Package queue holds encoded request bodies between an output's encoders and its backend: first in, first out within a shard, bounded
// in bytes, and handed over whole when a reload replaces the output.
package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/hermod-agent/hermod/pipeline/config"
)

// ErrClosed is returned by Safe when the queue was closed before the blocks in question were dealt with.
var ErrClosed = errors.New("the queue was closed with blocks in it")

// Block is an encoded and compressed request body, ready to be sent. It is not changed after Append.
type Block struct {
	Body     []byte
	Protocol string // what the body is, so that whoever finds it on a disk knows: "loki.push.v1"
	Tenant   string // "" for none
	Shard    int    // blocks of one shard are delivered in the order of their Append
	Items    int    // samples or records in the body
	// OldestTime and NewestTime of the items, in nanoseconds since 1970.
	OldestTime, NewestTime int64

	seq    uint64 // place in the queue, from 1; the parts of a replaced block share its place
	era    uint32 // rises when the layout changes
	layout int    // among how many shards its items were spread
	queued int64  // when it was appended, nanoseconds since 1970
	taken  bool   // a sender has it
	halved int    // how often it was divided
}

// Halved says how often the block that this one is a part of was divided.
func (b *Block) Halved() int { return b.halved }

// inherit makes b a part of another block, or another form of it.
func (b *Block) inherit(of *Block, part bool) {
	b.Shard, b.seq, b.era, b.layout, b.queued, b.taken, b.halved = of.Shard, of.seq, of.era, of.layout, of.queued, false, of.halved
	if part {
		b.halved++
	}
}

// Reasons for which a queue gives items up.
const (
	lostFull    = "queue_full"
	lostExpired = "queue_expired"
	lostDamaged = "queue_damaged"
)

// Queue is what an output keeps its blocks in. Blocks are taken, tried and either acknowledged, replaced by others, or put back; what was
// not acknowledged is there to be taken again. It is safe for concurrent use.
type Queue interface {
	io.Closer
	// Append adds blocks at the end of their shards. It never waits and never fails: what can't be put on a disk is in memory, and then
	// there is soon no Room for more. It may give up what is oldest, where the limits say so. The sequence number of the last block is
	// Tail().
	Append(blocks ...*Block)
	// Take gives the oldest block of a shard to a sender: nobody else gets it and it isn't dropped until the sender calls Ack, Replace
	// or Return. It is nil when there is none now; changed is then closed when it makes sense to ask again.
	Take(shard int) (b *Block, changed <-chan struct{})
	// Waiting is Take without taking.
	Waiting(shard int) (ok bool, changed <-chan struct{})
	// Ack removes a taken block for good: it was delivered, or given up and counted.
	Ack(b *Block)
	// Replace puts blocks in the place of a taken one, in their order.
	Replace(b *Block, with ...*Block)
	// Return puts a taken block back into its place.
	Return(b *Block)
	// Room says whether more may be taken in while extra bytes lie outside of the queue and will come into it. When not, changed is
	// closed when it makes sense to ask again. There is always room when the limits say DropOldest.
	Room(extra int64) (ok bool, changed <-chan struct{})
	// Tail is the sequence number of the newest block, 0 when there never was one.
	Tail() uint64
	// Safe waits until every block up to seq is on disk, acknowledged or given up. Drained waits until none of them is there any more.
	Safe(ctx context.Context, seq uint64) error
	Drained(ctx context.Context, seq uint64) error
	// Layout says among how many shards the blocks that come from now on are spread. When that differs from before, none of them is given
	// out while one from before is there: what belongs together may have been in another shard.
	Layout(shards int)
	// Shards is one more than the highest shard that has a block, or 0.
	Shards() int
	SetLimits(Limits)
	// Observe names who is told from now on.
	Observe(Observer)
	Stats() Stats
	// Abandon says that nobody will take the blocks that are there, and how many items are in them. Those on a disk stay there.
	Abandon() (items int)
	// KeepAside puts a copy of what a backend has refused where somebody can look at it, if there is such a place.
	KeepAside(b *Block, reason string)
}

// Observer is told what happens in a queue. Its functions are called with the queue locked: they must not call it. Nil ones are not called.
type Observer struct {
	// Lost tells of items that are given up: "queue_full", "queue_expired", "queue_damaged".
	Lost func(reason string, items int)
	// Fault tells what is wrong with the disk, nil when it is right again.
	Fault func(err error)
}

func (o *Observer) lost(reason string, items int) {
	if o.Lost != nil && items > 0 {
		o.Lost(reason, items)
	}
}

func (o *Observer) fault(err error) {
	if o.Fault != nil {
		o.Fault(err)
	}
}

// Stats says what is in a queue.
type Stats struct {
	Blocks int
	Items  int
	Bytes  int64
	Limit  int64
	Oldest int64 // nanoseconds since 1970 of the oldest item of the blocks that are next; 0 without blocks
}

// OldestTime is Oldest as a time, zero without blocks.
func (s Stats) OldestTime() time.Time {
	if s.Blocks == 0 || s.Oldest == 0 {
		return time.Time{}
	}
	return time.Unix(0, s.Oldest)
}

// Policy says what happens when a queue is full.
type Policy string

// The policies.
const (
	Wait       Policy = "block"       // take no more in
	DropOldest Policy = "drop_oldest" // give up the oldest blocks
)

// Limits bound a queue.
type Limits struct {
	MaxSize  int64 // bytes
	WhenFull Policy
	MaxAge   time.Duration // 0 for none
	Sync     Sync          // on a disk
}

// expired says that what was queued then has waited for too long.
func (l *Limits) expired(queued int64, now time.Time) bool {
	return l.MaxAge > 0 && now.Sub(time.Unix(0, queued)) > l.MaxAge
}

// ages is the clock that says how old blocks are. It begins as the clock of the machine and goes on by itself: a clock that is set while the agent
// runs makes no block older or younger.
type ages struct {
	began time.Time
	since func(time.Time) time.Duration // time.Since, which doesn't look at the time of day; a test's is another
}

func newAges() ages { return ages{began: time.Now(), since: time.Since} }

func (a *ages) now() time.Time { return a.began.Add(a.since(a.began)) }

// Sync says when blocks are forced out of the system's memory onto the disk.
type Sync string

// The ways to sync.
const (
	SyncBatch  Sync = "batch"
	SyncAlways Sync = "always"
	SyncOff    Sync = "off"
)

// Storage says where a queue is.
type Storage string

// The places; the empty one is the disk where the agent has a data_dir, else memory.
const (
	OnDisk   Storage = "disk"
	InMemory Storage = "memory"
)

// MinSize is the smallest max_size: there must be room for blocks that are sent and for some that wait.
const MinSize = 1 << 20

// What may wait where max_size isn't set.
const (
	diskSize   = 1 << 30
	memorySize = 64 << 20
)

// Config is the `queue` block of an output.
type Config struct {
	// Where it is: "disk" survives a restart and a crash, in a folder of the output's own below agent.data_dir; "memory" doesn't. When not
	// set it is "disk" where the agent has a data_dir. A change takes effect at the next start of the agent.
	Storage string `hcl:"storage,optional"`
	// How much may wait to be delivered, as encoded and compressed. When not set it is "1GiB" on disk and "64MiB" in memory.
	MaxSize config.Size `hcl:"max_size,optional"`
	// How long something may wait; what has waited longer is given up and counted. "0s" means for ever.
	MaxAge config.Duration `hcl:"max_age,optional"`
	// What to do when max_size waits: "block" takes nothing more in until there is room, so that log files and containers are read later;
	// "drop_oldest" gives up what is oldest and counts it. Metrics can't wait: with "block" it is the new samples that are given up.
	WhenFull string `hcl:"when_full,optional"`
	// When what is on disk is safe from a power cut (it is from a kill right away): "batch" syncs before positions of logs are saved, every
	// 100ms and every 1MiB, unless it was delivered before; "always" syncs each batch; "off" leaves it to the system, and then a power cut
	// may lose logs that were read and not delivered.
	Sync string `hcl:"sync,optional"`
}

// Defaults are those of a queue with the given policy.
func Defaults(whenFull Policy) Config {
	return Config{WhenFull: string(whenFull), Sync: string(SyncBatch)}
}

// Validate checks the values.
func (c *Config) Validate() []error {
	var errs []error
	if s := Storage(c.Storage); s != "" && s != OnDisk && s != InMemory {
		errs = append(errs, config.Attr("storage", fmt.Errorf("%q is not known; write %q or %q", c.Storage, OnDisk, InMemory)))
	}
	if c.MaxSize != 0 && c.MaxSize < MinSize {
		errs = append(errs, config.Attr("max_size", fmt.Errorf("%s is too small; it must be at least %s", c.MaxSize, config.Size(MinSize))))
	}
	if d := time.Duration(c.MaxAge); d != 0 && d < time.Second {
		errs = append(errs, config.Attr("max_age", fmt.Errorf("%s is too short; it must be at least 1s", d)))
	}
	if p := Policy(c.WhenFull); p != Wait && p != DropOldest {
		errs = append(errs, config.Attr("when_full", fmt.Errorf("%q is not known; write %q or %q", c.WhenFull, Wait, DropOldest)))
	}
	if s := Sync(c.Sync); s != SyncBatch && s != SyncAlways && s != SyncOff {
		errs = append(errs, config.Attr("sync", fmt.Errorf("%q is not known; write %q, %q or %q", c.Sync, SyncBatch, SyncAlways, SyncOff)))
	}
	return errs
}

// Disk says whether the queue is on disk when there is a folder for it, or there is none.
func (c *Config) Disk(folder bool) bool {
	return Storage(c.Storage) == OnDisk || c.Storage == "" && folder
}

// Limits are those that the config says for a queue on disk or in memory.
func (c *Config) Limits(disk bool) Limits {
	l := Limits{MaxSize: int64(c.MaxSize), WhenFull: Policy(c.WhenFull), MaxAge: time.Duration(c.MaxAge), Sync: Sync(c.Sync)}
	if l.MaxSize == 0 {
		l.MaxSize = memorySize
		if disk {
			l.MaxSize = diskSize
		}
	}
	return l
}
