package delivery

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/queue"
)

const (
	// limitedTries is how often in a row a body is refused with 429 before it is halved: it may be larger than what the backend ever takes
	// at once, and small bodies do no harm.
	limitedTries = 4
	// maxIsolations bounds how often the parts of one block are halved to find the items for which a backend refused the whole.
	maxIsolations = 32
	// limitedFaults is how often in a row a backend may answer 429 before that is a fault and no longer a note.
	limitedFaults = 5
	// unauthorizedReason says nothing against what was refused.
	unauthorizedReason = "unauthorized"
	// slowFailure is how long a request takes whose failure is told at the first time: it has held the data up already.
	slowFailure = 5 * time.Second
)

var (
	errQueueFull    = errors.New("the queue is full and its oldest records are given up")
	errQueueExpired = errors.New("records have waited for longer than max_age and are given up")
	errQueueDamaged = errors.New("a part of the queue on disk is damaged or missing")
)

// sender is what the sender of a shard remembers from one request to the next.
type sender struct {
	shard      int
	last       *queue.Block
	limited    int  // 429s in a row for last
	isolations int  // for the block of which parts are being tried
	slow       bool // the last request took long enough for a failure to be worth telling at once
}

// sendAll sends what comes into a shard, one block after the other.
func (d *Delivery) sendAll(shard int) {
	s := &sender{shard: shard}
	for {
		waiting, changed := d.shared.Waiting(shard)
		if !waiting {
			select {
			case <-changed:
				continue
			case <-d.quit.Done():
				return
			}
		}
		p, ok := d.gate.enter(d.quit, shard)
		if !ok {
			return
		}
		b, changed := d.shared.Take(shard)
		if b == nil { // dropped meanwhile, or the disk doesn't give it now
			d.gate.leave(p)
			select {
			case <-changed:
				continue
			case <-d.quit.Done():
				return
			}
		}
		ctx, cancel := context.WithTimeout(d.inflight, time.Duration(d.cfg.Timeout))
		began := time.Now()
		a := d.backend.Send(ctx, b)
		cancel()
		if a.Status == 0 && d.inflight.Err() != nil { // given up by Stop
			d.shared.Return(b)
			d.gate.leave(p)
			return
		}
		took := time.Since(began)
		d.counters.request(a.Status, took)
		s.slow = took >= slowFailure
		d.act(s, b, p, a)
	}
}

// act does what an answer asks for.
func (d *Delivery) act(s *sender, b *queue.Block, p pass, a Answer) {
	if s.last != b {
		s.last, s.limited = b, 0
		if b.Halved() == 0 {
			s.isolations = 0
		}
	}
	switch v := judge(a); v {
	case delivered:
		d.succeed(p)
		d.finish(b, a)
	case retry, hold:
		d.again(s, b, p, v, a)
	case limited:
		if a.Status == http.StatusTooManyRequests { // a server that is away says nothing about the body
			s.limited++
		}
		if (a.TooLarge || s.limited >= limitedTries) && b.Items > 1 {
			d.halve(b, a)
			b = nil
		}
		d.again(s, b, p, v, a)
	case tooLarge:
		d.succeed(p)
		if b.Items > 1 {
			d.halve(b, a)
		} else {
			d.finish(b, a, Count{Reason: "too_large", Items: b.Items})
		}
	case unsupported:
		if t, can := d.backend.(Transcoder); can {
			other, err := t.Transcode(b)
			if err == nil && other != nil {
				d.succeed(p)
				d.replace(b, other)
				return
			}
		}
		d.again(s, b, p, hold, a)
	case unauthorized:
		if d.cfg.OnAuthError != "drop" {
			d.again(s, b, p, hold, a)
			return
		}
		d.gate.succeed(p)
		d.fault(d.backend.Explain(a), false)
		d.finish(b, a, Count{Reason: unauthorizedReason, Items: b.Items})
	case refused:
		d.succeed(p)
		r := d.backend.Refusal(b, a)
		if r.NothingStored && b.Items > 1 && s.isolations < maxIsolations {
			s.isolations++
			d.halve(b, a)
			return
		}
		d.finish(b, a, r.Counts...)
	}
}

// succeed notes that the backend is there and lets us in.
func (d *Delivery) succeed(p pass) {
	d.gate.succeed(p)
	d.fault(nil, false)
}

// again puts a block back, unless its parts are there in its place already, and notes why.
func (d *Delivery) again(s *sender, b *queue.Block, p pass, v verdict, a Answer) {
	if b != nil {
		d.shared.Return(b)
	}
	d.counters.retries.Inc()
	next, fails := d.gate.fail(p, v, a.RetryAfter)
	err := d.backend.Explain(a)
	d.env.Log.Debug("to be sent again", "status", a.Status, "err", err, "in", next.Round(time.Millisecond))
	switch {
	case v == hold:
		d.fault(err, false)
	case v == limited && a.Status == http.StatusTooManyRequests:
		d.fault(err, fails < limitedFaults)
	case fails > 1 || s.slow || a.RetryAfter >= slowFailure:
		d.fault(err, false)
	case v == limited:
		d.fault(err, true)
	default: // a single quick failure is nobody's business
	}
}

// fault shows what is wrong with the backend, or that nothing is.
func (d *Delivery) fault(err error, note bool) {
	d.telling.Lock()
	defer d.telling.Unlock()
	switch {
	case err == nil && !d.faulted:
	case note:
		d.env.Status.Note("", err)
	default:
		d.env.Status.Fault("", err)
	}
	d.faulted = err != nil
}

// finish removes a block whose fate is known: counts of it were refused, the rest was stored.
func (d *Delivery) finish(b *queue.Block, a Answer, counts ...Count) {
	if len(counts) > 0 && counts[0].Items > 0 && counts[0].Reason != unauthorizedReason {
		// First of all: were the agent killed in between, nobody would have it.
		d.shared.KeepAside(b, "rejected_"+counts[0].Reason)
	}
	d.mu.Lock()
	d.shared.Ack(b)
	left := b.Items
	for i := range counts {
		c := &counts[i]
		c.Items = min(max(c.Items, 0), left)
		left -= c.Items
		d.rejected += uint64(c.Items)
		d.env.Losses.Add("rejected_"+c.Reason, c.Items)
	}
	d.delivered += uint64(left)
	if left > 0 || len(counts) == 0 {
		d.sentBytes += uint64(len(b.Body))
		d.lastDelivery = time.Now()
	}
	d.mu.Unlock()
	for _, c := range counts {
		if c.Items > 0 {
			d.refusal(c, a)
		}
	}
}

// halve puts two parts of a block in its place. A body that can't be read any more is given up: it would be refused again and again.
func (d *Delivery) halve(b *queue.Block, a Answer) {
	first, second, err := d.backend.Split(b)
	if err == nil && first.Items+second.Items != b.Items {
		err = fmt.Errorf("%d and %d items are not the %d of the whole", first.Items, second.Items, b.Items)
	}
	if err != nil {
		d.env.Log.Error("a body that has to be divided can't be read", "err", err, "protocol", b.Protocol, "items", b.Items)
		d.finish(b, a, Count{Reason: "unreadable", Items: b.Items})
		return
	}
	d.replace(b, first, second)
}

func (d *Delivery) replace(b *queue.Block, with ...*queue.Block) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.shared.Replace(b, with...)
}

// How long a note about refusals stays after the last one, and how often they are logged for each reason.
const (
	noteStays   = 10 * time.Minute
	logInterval = time.Minute
)

// refusalNote is what is told about a kind of refusal.
type refusalNote struct {
	last   time.Time // the last refusal
	logged time.Time
	since  int // items that were refused since it was logged
}

// note shows that something is lost, until that hasn't happened for a while. telling is held.
func (d *Delivery) note(key string, err error) *refusalNote {
	n := d.notes[key]
	if n == nil {
		n = &refusalNote{}
		d.notes[key] = n
		d.env.Status.Note(key, err)
	}
	n.last = time.Now()
	return n
}

// refusal tells of refused items, with the backend's own words.
func (d *Delivery) refusal(c Count, a Answer) {
	d.telling.Lock()
	defer d.telling.Unlock()
	what := fmt.Sprintf("refused %s for good: the backend answered %d", c.Reason, a.Status)
	if a.Words != "" {
		what += " in these words: " + a.Words
	}
	err := errors.New(what)
	if knows, ok := d.backend.(Adviser); ok {
		if advice := knows.Advice(c.Reason); advice != "" {
			err = component.WithRemedy(err, advice)
		}
	}
	n := d.note("refused "+c.Reason, err)
	n.since += c.Items
	if now := time.Now(); now.Sub(n.logged) >= logInterval {
		d.env.Log.Warn("refused by the backend", "reason", c.Reason, "items", n.since, "status", a.Status, "words", a.Words)
		n.logged, n.since = now, 0
	}
}

// forgetNotes takes notes away that are out of date.
func (d *Delivery) forgetNotes(now time.Time) {
	d.telling.Lock()
	defer d.telling.Unlock()
	for key, n := range d.notes {
		if now.Sub(n.last) < noteStays {
			continue
		}
		if n.since > 0 {
			d.env.Log.Warn("refused by the backend", "note", key, "items", n.since)
		}
		delete(d.notes, key)
		d.env.Status.Note(key, nil)
	}
}
