package delivery

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
	"github.com/hermod-agent/hermod/pipeline/queue"
)

// numbers is a Builder whose items are numbers of 8 bytes.
type numbers struct {
	shard int
	body  []byte
}

func (n *numbers) Size() int  { return len(n.body) }
func (n *numbers) Items() int { return len(n.body) / 8 }

func (n *numbers) Build() *queue.Block {
	if len(n.body) == 0 {
		return nil
	}
	b := blockOf(n.shard, n.body)
	n.body = nil
	return b
}

func blockOf(shard int, body []byte) *queue.Block {
	now := time.Now().UnixNano()
	return &queue.Block{Body: slices.Clone(body), Protocol: "numbers", Shard: shard, Items: len(body) / 8, OldestTime: now, NewestTime: now}
}

// request is what the backend was asked.
type request struct {
	at    time.Time
	shard int
	items []uint64
}

// backend is a fake: answer decides, what it says yes to is stored.
type backend struct {
	mu       sync.Mutex
	answer   func(r request) Answer
	refusal  func(b *queue.Block, a Answer) Refusal
	took     time.Duration // how long it takes to answer
	requests []request
	stored   []uint64
	inflight int
	most     int // requests in flight at once
}

func items(b *queue.Block) []uint64 {
	var out []uint64
	for at := 0; at < len(b.Body); at += 8 {
		out = append(out, binary.LittleEndian.Uint64(b.Body[at:]))
	}
	return out
}

func (f *backend) Send(ctx context.Context, b *queue.Block) Answer {
	r := request{at: time.Now(), shard: b.Shard, items: items(b)}
	f.mu.Lock()
	f.requests = append(f.requests, r)
	f.inflight++
	f.most = max(f.most, f.inflight)
	took := f.took
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.inflight--
		f.mu.Unlock()
	}()
	if took > 0 {
		select {
		case <-time.After(took):
		case <-ctx.Done():
			return Answer{Err: ctx.Err()}
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	a := Answer{Status: 204}
	if f.answer != nil {
		a = f.answer(r)
	}
	if a.Status/100 == 2 {
		f.stored = append(f.stored, r.items...)
	}
	return a
}

func (f *backend) Split(b *queue.Block) (*queue.Block, *queue.Block, error) {
	if b.Items < 2 {
		return nil, nil, errors.New("one item")
	}
	cut := b.Items / 2 * 8
	return blockOf(b.Shard, b.Body[:cut]), blockOf(b.Shard, b.Body[cut:]), nil
}

func (f *backend) Refusal(b *queue.Block, a Answer) Refusal {
	if f.refusal != nil {
		return f.refusal(b, a)
	}
	return Refusal{Counts: []Count{{Reason: "bad", Items: b.Items}}}
}

func (f *backend) Advice(reason string) string {
	if reason == "too_old" {
		return "begin later"
	}
	return ""
}

func (f *backend) Explain(a Answer) error {
	if a.Err != nil {
		return component.WithRemedy(a.Err, "start it")
	}
	return component.WithRemedy(fmt.Errorf("the backend answered %d", a.Status), "change it")
}

func (f *backend) set(answer func(request) Answer) {
	f.mu.Lock()
	f.answer = answer
	f.mu.Unlock()
}

func (f *backend) seen() []request {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.requests)
}

func (f *backend) kept() []uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.stored)
}

// rig is an output under test.
type rig struct {
	t    *testing.T
	env  *component.Env
	d    *Delivery
	b    *backend
	per  int // items a batch is closed at
	next uint64
	run  func() // ends Run and waits for it
}

func newRig(t *testing.T, pool *component.Pool, b *backend, change func(*Options)) *rig {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	env := &component.Env{
		Address: "output.test", Log: log, Status: component.NewStatus(log), Losses: new(component.Losses), Self: prometheus.NewRegistry(),
		Pool: pool,
	}
	r := &rig{t: t, env: env, b: b, per: 10}
	o := Options{
		Env: env, Config: Defaults(queue.Wait, 1), Backend: b, Waits: true,
		NewBuilder: func(shard int, _ string) Builder { return &numbers{shard: shard} },
	}
	if change != nil {
		change(&o)
	}
	r.d = New(o)
	return r
}

// start starts and runs the output.
func (r *rig) start() *rig {
	r.t.Helper()
	if err := r.d.Start(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	r.running()
	return r
}

func (r *rig) running() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.d.Run(ctx) }()
	r.run = func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Errorf("Run: %v", err)
		}
	}
}

// put offers n items to the shards in turn.
func (r *rig) put(ctx context.Context, n int) error {
	if err := r.d.Begin(ctx); err != nil {
		return err
	}
	for range n {
		r.next++
		shard := int(r.next) % r.d.cfg.Shards
		batch := r.d.Batch(shard, "")
		b := batch.Builder().(*numbers)
		b.body = binary.LittleEndian.AppendUint64(b.body, r.next)
		if b.Items() >= r.per {
			r.d.Close(batch)
		}
	}
	r.d.End(n)
	return nil
}

func (r *rig) mustPut(n int) {
	r.t.Helper()
	if err := r.put(r.t.Context(), n); err != nil {
		r.t.Fatalf("put: %v", err)
	}
}

// stop ends the output as the engine does.
func (r *rig) stop(drain time.Duration) {
	r.t.Helper()
	if r.run != nil {
		r.run()
	}
	ctx, cancel := context.WithTimeout(context.Background(), drain)
	defer cancel()
	for range 2 {
		if err := r.d.Stop(ctx); err != nil {
			r.t.Errorf("Stop: %v", err)
		}
	}
	r.balance()
	if err := r.put(context.Background(), 1); !errors.Is(err, component.ErrStopped) {
		r.t.Errorf("put after Stop: %v, want ErrStopped", err)
	}
}

// balance holds the output to the conservation of records, and returns its traffic.
func (r *rig) balance() component.Traffic {
	r.t.Helper()
	synctest.Wait()
	t := r.d.Traffic()
	lost, rejected := uint64(0), uint64(0)
	for reason, n := range r.env.Losses.Counts() {
		lost += n
		if strings.HasPrefix(reason, "rejected_") {
			rejected += n
		}
	}
	if t.Taken != t.Delivered+t.Queued+lost || t.Rejected != rejected {
		r.t.Errorf("taken %d isn't delivered %d + queued %d + lost %v (rejected %d)", t.Taken, t.Delivered, t.Queued, r.env.Losses.Counts(), t.Rejected)
	}
	return t
}

func (r *rig) fault() *component.Fault {
	for _, f := range r.env.Status.Faults() {
		if f.Key == "" {
			return &f
		}
	}
	return nil
}

func (r *rig) wantStored(want uint64) {
	r.t.Helper()
	got := r.b.kept()
	if !slices.IsSorted(got) && r.d.cfg.Shards == 1 {
		r.t.Errorf("stored out of order: %v", got)
	}
	slices.Sort(got)
	if uint64(len(got)) != want || uint64(len(slices.Compact(got))) != want {
		r.t.Errorf("stored %d items, want %d, each once: %v", len(got), want, got)
	}
}

func status(code int) func(request) Answer {
	return func(request) Answer { return Answer{Status: code, Words: "words"} }
}

func smallQueue(policy queue.Policy, size config.Size) func(*Options) {
	return func(o *Options) {
		o.Config.Queue.MaxSize, o.Config.Queue.WhenFull = size, string(policy)
		o.Waits = policy == queue.Wait
	}
}
