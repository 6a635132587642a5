package delivery

import (
	"time"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/queue"
)

// idleBatch is how long a builder without items is kept: its buffers have the size of a batch.
const idleBatch = time.Minute

// Batch is an open batch. It stays the same over many blocks, and Gone says when it was given up for being idle.
type Batch struct {
	builder Builder
	due     time.Time // when it is to be closed; zero while it is empty
	used    time.Time
	gone    bool
	next    *closing // what a Flush waits for
}

type batchKey struct {
	shard  int
	tenant string
}

// closing is the end of a batch's current block.
type closing struct {
	done chan struct{}
	seq  uint64 // of the block; set before done is closed
}

func (b *Batch) closing() *closing {
	if b.next == nil {
		b.next = &closing{done: make(chan struct{})}
	}
	return b.next
}

// Builder is what NewBuilder made.
func (b *Batch) Builder() Builder { return b.builder }

// Gone says that the batch is no longer in use and Batch has to be asked again.
func (b *Batch) Gone() bool { return b.gone }

// Batch returns the open batch of a shard and a tenant. It is called between Begin and End.
func (d *Delivery) Batch(shard int, tenant string) *Batch {
	key := batchKey{shard: shard, tenant: tenant}
	b := d.batches[key]
	if b == nil {
		b = &Batch{builder: d.build(shard, tenant)}
		d.batches[key] = b
	}
	return b
}

// Close closes a batch that is full. It is called between Begin and End.
func (d *Delivery) Close(b *Batch) {
	b.due = time.Time{}
	block := b.builder.Build()
	if block == nil {
		return
	}
	d.append(block)
	if b.next != nil {
		b.next.seq = d.shared.Tail()
		close(b.next.done)
		b.next = nil
	}
}

// closeAll closes every batch. mu is held.
func (d *Delivery) closeAll() {
	for _, b := range d.batches {
		d.Close(b)
	}
	d.measure(false)
}

// append queues blocks, or keeps them while a predecessor may still append older ones. mu is held.
func (d *Delivery) append(blocks ...*queue.Block) {
	if len(blocks) == 0 {
		return
	}
	if d.state == started {
		for _, b := range blocks {
			d.pending = append(d.pending, b)
			d.pend.items += b.Items
			d.pend.bytes += int64(len(b.Body))
		}
		limits := d.shared.limits(&d.cfg.Queue)
		for limits.WhenFull == queue.DropOldest && d.pend.bytes > limits.MaxSize && len(d.pending) > 1 {
			b := d.pending[0]
			d.pending = d.pending[1:]
			d.pend.items -= b.Items
			d.pend.bytes -= int64(len(b.Body))
			d.lose("queue_full", b.Items)
		}
		return
	}
	d.shared.Append(blocks...)
}

// lose counts items that are given up. A queue calls it when it is locked.
func (d *Delivery) lose(reason string, items int) {
	d.env.Losses.Add(reason, items)
	if items == 0 {
		return
	}
	d.telling.Lock()
	defer d.telling.Unlock()
	switch reason {
	case "queue_full":
		d.note(reason, component.WithRemedy(errQueueFull,
			"give the output a larger queue (queue { max_size = ... }), or find out why the backend takes less than comes in"))
	case "queue_expired":
		d.note(reason, component.WithRemedy(errQueueExpired, "find out why the backend takes less than comes in, or raise queue { max_age = ... }"))
	case "queue_damaged":
		d.note(reason, component.WithRemedy(errQueueDamaged, "look after the disk; what is left of the damaged blocks is in the folder aside of the queue"))
	}
}

// measure sums up what is in open batches. With schedule it sees to it that batches with items are closed in time. mu is held.
func (d *Delivery) measure(schedule bool) {
	d.open = totals{}
	var now time.Time
	for _, b := range d.batches {
		items := b.builder.Items()
		if items == 0 {
			continue
		}
		d.open.items += items
		d.open.bytes += int64(b.builder.Size())
		if !schedule || !b.due.IsZero() {
			continue
		}
		if now.IsZero() {
			now = time.Now()
		}
		b.used = now
		b.due = now.Add(time.Duration(d.cfg.BatchWait))
		if d.nextDue.IsZero() || b.due.Before(d.nextDue) {
			d.nextDue = b.due
			select {
			case d.wake <- struct{}{}:
			default:
			}
		}
	}
}

// closeBatches closes batches when they are due, until the senders are told to quit.
func (d *Delivery) closeBatches() {
	timer := time.NewTimer(idleBatch)
	defer timer.Stop()
	for {
		select {
		case <-d.quit.Done():
			return
		case <-d.wake:
		case <-timer.C:
		}
		d.mu.Lock()
		now := time.Now()
		next := now.Add(idleBatch)
		for key, b := range d.batches {
			switch {
			case b.due.IsZero() && now.Sub(b.used) >= idleBatch:
				b.gone = true
				delete(d.batches, key)
			case !b.due.IsZero() && !b.due.After(now):
				d.Close(b)
			case !b.due.IsZero() && b.due.Before(next):
				next = b.due
			}
		}
		d.measure(false)
		d.nextDue = next
		d.mu.Unlock()
		d.forgetNotes(now)
		timer.Reset(next.Sub(now))
	}
}
