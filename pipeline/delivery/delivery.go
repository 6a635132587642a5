// Package delivery takes what an output has encoded to its backend: it keeps the open batches, closes them by size or age, queues the
// blocks, sends them in order with one request in flight a shard, and does what the backend's answers ask for.
//
// An output gives it a Backend (how to send, divide and explain) and builders (how to encode), and forwards the calls of the engine.
package delivery

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
	"github.com/hermod-agent/hermod/pipeline/queue"
)

// ErrFull is returned by Begin when there is no room and the caller must not wait.
var ErrFull = errors.New("the queue is full")

// Backend is what a protocol brings to a Delivery. Its methods are called by several senders at once.
type Backend interface {
	// Send sends the block once. ctx ends at the request's timeout.
	Send(ctx context.Context, b *queue.Block) Answer
	// Split divides a block of several items into two of about the same size.
	Split(b *queue.Block) (first, second *queue.Block, err error)
	// Refusal says what a 400, 409 or 422 means.
	Refusal(b *queue.Block, a Answer) Refusal
	// Explain puts an answer that isn't a success into words: what was asked of whom, what came back, and (component.WithRemedy) what to
	// do. Without credentials.
	Explain(a Answer) error
}

// Transcoder is a Backend that knows another encoding for a backend that doesn't support the first (415).
type Transcoder interface {
	// Transcode makes a block in the other encoding of b. It returns nil when there is none.
	Transcode(b *queue.Block) (*queue.Block, error)
}

// Adviser is a Backend that knows what to do so that items aren't refused for a reason.
type Adviser interface {
	// Advice is for the reason of a Count. It is "" where the backend's own words are all that is known.
	Advice(reason string) string
}

// Refusal is what a backend has refused for good.
type Refusal struct {
	// Counts are the refused items by reason; what they leave of the block was stored.
	Counts []Count
	// NothingStored says that the backend refused the whole body for the sake of some items: smaller parts are tried, so that the others
	// arrive.
	NothingStored bool
}

// Count is a number of items under a reason: a short word with underscores.
type Count struct {
	Reason string
	Items  int
}

// Builder encodes what belongs to one shard and tenant into one body. It is called under the Delivery's lock.
type Builder interface {
	// Size is about how many bytes are in the builder, Items how many items.
	Size() int
	Items() int
	// Build returns the block and empties the builder. It is nil when the builder is empty.
	Build() *queue.Block
}

// Config is what every output that delivers lets its user set.
type Config struct {
	// How many requests may be in flight at once. What belongs to one stream or series always goes the same way, so its order is kept.
	Shards int `hcl:"shards,optional"`
	// How long a batch waits to be filled before it is sent.
	BatchWait config.Duration `hcl:"batch_wait,optional"`
	// How long the backend may take to answer a request.
	Timeout config.Duration `hcl:"request_timeout,optional"`
	// What to do when the backend refuses the credentials (401, 403, 407): "hold" keeps everything in the queue and tries again every 30
	// seconds to 5 minutes; "drop" gives up and counts what was sent.
	OnAuthError string `hcl:"on_auth_error,optional"`
	// The queue of what waits to be delivered.
	Queue queue.Config `hcl:"queue,block"`
}

// Defaults are those of an output whose queue does whenFull.
func Defaults(whenFull queue.Policy, shards int) Config {
	return Config{
		Shards: shards, BatchWait: config.Duration(time.Second), Timeout: config.Duration(15 * time.Second), OnAuthError: "hold",
		Queue: queue.Defaults(whenFull),
	}
}

// Validate checks the values.
func (c *Config) Validate() []error {
	var errs []error
	if c.Shards < 1 || c.Shards > 64 {
		errs = append(errs, config.Attr("shards", fmt.Errorf("%d is not between 1 and 64", c.Shards)))
	}
	if d := time.Duration(c.BatchWait); d < 10*time.Millisecond || d > time.Minute {
		errs = append(errs, config.Attr("batch_wait", fmt.Errorf("%s is not between 10ms and 1m", d)))
	}
	if d := time.Duration(c.Timeout); d < 100*time.Millisecond || d > 10*time.Minute {
		errs = append(errs, config.Attr("request_timeout", fmt.Errorf("%s is not between 100ms and 10m", d)))
	}
	if c.OnAuthError != "hold" && c.OnAuthError != "drop" {
		errs = append(errs, config.Attr("on_auth_error", fmt.Errorf(`%q is not known; write "hold" or "drop"`, c.OnAuthError)))
	}
	return errs
}

// Check says what of the config doesn't fit the agent that it is part of.
func (c *Config) Check(env *component.Env) error {
	if c.Queue.Disk(false) && env.DataDir == "" {
		return config.Attr("queue.storage", errors.New("the agent has no folder for it; set agent.data_dir, or leave this out for a queue in memory"))
	}
	return nil
}

// Options of a Delivery.
type Options struct {
	Env     *component.Env
	Config  Config
	Backend Backend
	// NewBuilder makes the builder of a shard and a tenant.
	NewBuilder func(shard int, tenant string) Builder
	// Waits says that Begin waits for room: for logs. Metrics are refused instead.
	Waits bool
}

// Delivery is the part of an output that all outputs with a backend have in common. Create one with New, and forward Start, Run, Stop,
// Removed, Flush and Traffic to it.
type Delivery struct {
	env      *component.Env
	cfg      Config
	backend  Backend
	build    func(shard int, tenant string) Builder
	waits    bool
	counters *counters
	gate     gate

	began    chan struct{} // closed when the senders run
	stopping chan struct{} // closed when nothing is taken any more

	quit     context.Context // ends when senders are to end after what they have in flight
	endQuit  context.CancelFunc
	inflight context.Context // ends when requests are to be given up
	endSends context.CancelFunc
	work     sync.WaitGroup // senders and closer

	mu      sync.Mutex // guards what follows; held while records are encoded
	state   state
	removed bool
	shared  *shared
	release func() error
	batches map[batchKey]*Batch
	pending []*queue.Block // closed before the senders ran: the predecessor at this address may still append what is older
	nextDue time.Time      // when the closer wakes
	wake    chan struct{}

	open, pend   totals // in open batches and in pending
	taken        uint64 // less what was handed over
	restored     uint64 // part of taken
	delivered    uint64
	rejected     uint64
	sentBytes    uint64
	lastDelivery time.Time
	handedOver   bool

	telling sync.Mutex // guards what follows; never held with a call for mu
	notes   map[string]*refusalNote
	faulted bool
}

type totals struct {
	items int
	bytes int64
}

type state uint8

const (
	opened state = iota // made, not started
	started
	running
	stopped
)

// shared is what outlives a reload under the output's address.
type shared struct {
	queue.Queue
	users atomic.Int32
	// given counts the items that a user which never ran left to the one that runs.
	given atomic.Int64
	dir   string // where it is on disk; "" in memory
	// found is what the process before left on disk, until the first user that runs has counted it.
	found atomic.Pointer[queue.Recovered]
}

// limits are those that a config sets for a queue of this kind.
func (s *shared) limits(c *queue.Config) queue.Limits { return c.Limits(s.dir != "") }

// openQueue opens the queue of the output's address.
func (d *Delivery) openQueue() (*shared, error) {
	dir := filepath.Join(d.env.DataDir, "queue")
	if !d.cfg.Queue.Disk(d.env.DataDir != "") {
		d.tellLeft(dir)
		return &shared{Queue: queue.NewMemory(d.cfg.Queue.Limits(false))}, nil
	}
	q, found, err := queue.OpenDisk(queue.DiskOptions{Dir: dir, Limits: d.cfg.Queue.Limits(true), Log: d.env.Log})
	if err != nil {
		return nil, fmt.Errorf("open the queue: %w", explainDisk(err))
	}
	if found.Items > 0 {
		d.env.Log.Info("the queue holds what an earlier run did not deliver", "items", found.Items, "blocks", found.Blocks, "folder", dir)
	}
	s := &shared{Queue: q, dir: dir}
	s.found.Store(&found)
	return s, nil
}

// New makes a Delivery. Nothing runs and nothing is acquired before Start.
func New(o Options) *Delivery {
	d := &Delivery{
		env: o.Env, cfg: o.Config, backend: o.Backend, build: o.NewBuilder, waits: o.Waits,
		counters: newCounters(o.Env.Self),
		began:    make(chan struct{}), stopping: make(chan struct{}), wake: make(chan struct{}, 1),
		batches: map[batchKey]*Batch{}, notes: map[string]*refusalNote{},
	}
	return d
}

// Start acquires the queue of the output's address, which the predecessor may still be using.
func (d *Delivery) Start(context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.state != opened {
		return fmt.Errorf("%s was started before", d.env.Address)
	}
	q, release, err := component.Acquire(d.env.Pool, "queue/"+d.env.Address, d.openQueue)
	if err != nil {
		return err
	}
	q.users.Add(1)
	d.shared, d.release, d.state = q, release, started
	d.quit, d.endQuit = context.WithCancel(context.Background())
	d.inflight, d.endSends = context.WithCancel(context.Background())
	return nil
}

// Run starts the senders, which go on until Stop so that a Flush after the end of ctx is still served, and waits for ctx.
func (d *Delivery) Run(ctx context.Context) error {
	d.mu.Lock()
	switch d.state {
	case opened:
		d.mu.Unlock()
		return fmt.Errorf("%s was not started", d.env.Address)
	case stopped:
		d.mu.Unlock()
		return fmt.Errorf("%s: %w", d.env.Address, component.ErrStopped)
	}
	d.begin()
	d.mu.Unlock()
	<-ctx.Done()
	return nil
}

// tellLeft tells of what an earlier run left on disk, where the queue is in memory now.
func (d *Delivery) tellLeft(dir string) {
	if d.env.DataDir == "" || !queue.IsQueue(dir) {
		return
	}
	left, err := queue.Inspect(dir)
	if err != nil || left.Items == 0 {
		return
	}
	d.env.Status.Note("queue.storage", component.WithRemedy(
		fmt.Errorf("%d items of an earlier run are on disk in %s, and are not sent", left.Items, dir),
		`write queue { storage = "disk" } to send them, or drop them: hermod queue drop `+dir))
}

// begin takes the queue over and starts the senders. mu is held.
func (d *Delivery) begin() {
	if d.state != started {
		return
	}
	d.state = running
	q := d.shared
	q.given.Store(0) // it is among what follows
	q.Observe(queue.Observer{Lost: d.lose, Fault: func(err error) { d.env.Status.Fault("queue", explainDisk(err)) }})
	d.taken += uint64(q.Stats().Items)
	if found := q.found.Swap(nil); found != nil {
		d.restored = uint64(found.Items + found.Lost)
		d.taken += uint64(found.Lost)
		d.lose("queue_damaged", found.Lost)
	}
	if disk := q.dir != ""; disk != d.cfg.Queue.Disk(d.env.DataDir != "") {
		d.env.Status.Note("queue.storage", component.WithRemedy(errors.New("the queue stays where it was when the agent started"), "restart the agent to move it"))
	}
	q.SetLimits(q.limits(&d.cfg.Queue))
	q.Layout(d.cfg.Shards)
	pending := d.pending
	d.pending, d.pend = nil, totals{}
	d.append(pending...)
	for shard := range max(d.cfg.Shards, q.Shards()) {
		d.work.Go(func() { d.sendAll(shard) })
	}
	d.work.Go(d.closeBatches)
	close(d.began)
}

// Stop takes nothing more. Where a successor waits, it gets the queue as soon as the requests in flight are answered; else what is queued
// is sent until ctx ends. What is then left stays in the queue. One in memory goes with the process, and the logs in it are read again by the
// next, because their positions were not saved.
func (d *Delivery) Stop(ctx context.Context) error {
	d.mu.Lock()
	switch d.state {
	case stopped:
		d.mu.Unlock()
		return nil
	case opened:
		d.state = stopped
		close(d.stopping)
		d.mu.Unlock()
		return nil
	}
	successor := d.shared.users.Load() > 1
	if !successor {
		d.begin()
	}
	ran := d.state == running
	d.state = stopped
	close(d.stopping)
	if !ran { // the other user of the address goes on with it
		left := d.pend.items + d.open.items
		d.taken -= uint64(left)
		d.shared.given.Add(int64(left))
		pending := d.pending
		d.pending, d.pend = nil, totals{}
		d.append(pending...)
	}
	d.closeAll()
	d.mu.Unlock()

	if ran && !successor {
		d.gate.hurry()
		_ = d.shared.Drained(ctx, d.shared.Tail()) // what isn't delivered by then is told below
	}
	d.endQuit()
	ended := make(chan struct{})
	go func() { d.work.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-ctx.Done():
	}
	d.endSends()
	<-ended

	d.mu.Lock()
	defer d.mu.Unlock()
	if d.removed && !successor {
		items := d.shared.Abandon()
		d.lose("output_removed", items)
		if items > 0 && d.shared.dir != "" {
			d.env.Log.Warn("the output was removed; what it did not deliver stays on disk until somebody drops it (hermod queue) or the output comes back",
				"items", items, "folder", d.shared.dir)
		}
	}
	d.shared.users.Add(-1)
	if successor {
		if ran {
			d.taken += uint64(d.shared.given.Swap(0))
			d.taken -= uint64(d.shared.Stats().Items)
		}
		d.handedOver = true
	} else if n := d.shared.Stats().Items; n > 0 && d.shared.dir != "" {
		d.env.Log.Info("stopped; what is in the queue is sent after the next start", "items", n, "folder", d.shared.dir)
	} else if n > 0 {
		d.env.Log.Warn("stopped with items in the queue", "items", n)
	}
	return d.release()
}

// Removed says that the output is no longer in the config: what its Stop can't deliver is counted as dropped.
func (d *Delivery) Removed() {
	d.mu.Lock()
	d.removed = true
	d.mu.Unlock()
}

// Begin waits for room, if the output waits, and locks the Delivery for encoding: the caller encodes into batches that it gets from Batch,
// and calls End with the number of items that it has encoded. On an error nothing is locked.
func (d *Delivery) Begin(ctx context.Context) error {
	for {
		d.mu.Lock()
		switch d.state {
		case opened:
			d.mu.Unlock()
			return fmt.Errorf("%s was not started", d.env.Address)
		case stopped:
			d.mu.Unlock()
			return fmt.Errorf("%s: %w", d.env.Address, component.ErrStopped)
		}
		room, changed := d.shared.Room(d.open.bytes + d.pend.bytes)
		if room {
			return nil
		}
		d.mu.Unlock()
		if !d.waits {
			return ErrFull
		}
		select {
		case <-changed:
		case <-d.stopping:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// End unlocks the Delivery and makes sure that what was encoded is sent in time.
func (d *Delivery) End(items int) {
	d.taken += uint64(items)
	d.measure(true)
	d.mu.Unlock()
}

// Flush waits until everything that was taken before the call is on disk, delivered, or given up and counted.
func (d *Delivery) Flush(ctx context.Context) error {
	select {
	case <-d.began:
	case <-d.stopping:
	default:
		d.mu.Lock()
		early := d.state == opened
		d.mu.Unlock()
		if early {
			return nil // nothing can have been taken
		}
		// The predecessor may still be appending what it took.
		select {
		case <-d.began:
		case <-d.stopping:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	d.mu.Lock()
	if d.shared == nil {
		d.mu.Unlock()
		return nil
	}
	if component.Hurry(ctx) {
		d.closeAll()
	}
	var closings []*closing
	for _, b := range d.batches {
		if b.builder.Items() > 0 {
			closings = append(closings, b.closing())
		}
	}
	q := d.shared
	tail := q.Tail()
	d.mu.Unlock()
	for _, c := range closings {
		select {
		case <-c.done:
			tail = max(tail, c.seq)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	err := q.Safe(ctx, tail)
	if errors.Is(err, queue.ErrClosed) {
		return fmt.Errorf("%s: %w: %w", d.env.Address, component.ErrStopped, err)
	}
	return err
}

// Traffic says what became of what was taken.
func (d *Delivery) Traffic() component.Traffic {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.shared != nil && d.state >= running && !d.handedOver {
		d.taken += uint64(d.shared.given.Swap(0))
	}
	t := component.Traffic{
		Taken: d.taken, Restored: d.restored, Delivered: d.delivered, Rejected: d.rejected, SentBytes: d.sentBytes, LastDelivery: d.lastDelivery,
		QueueLimit: uint64(d.cfg.Queue.Limits(d.cfg.Queue.Disk(d.env.DataDir != "")).MaxSize), NextTry: d.gate.next(),
		Queued: uint64(d.open.items + d.pend.items), QueuedBytes: uint64(d.open.bytes + d.pend.bytes),
	}
	if d.shared != nil && d.state >= running && !d.handedOver {
		s := d.shared.Stats()
		t.Queued += uint64(s.Items)
		t.QueuedBytes += uint64(s.Bytes)
		t.OldestQueued = s.OldestTime()
	}
	return t
}
