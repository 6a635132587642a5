// Package docker watches a Docker engine for the whole process: one client that can only read, one event stream, and one cache of the
// containers that are there.
//
// The engine is told to begin its events before the list of containers is asked for, so that nothing falls between the two; a list
// every 30 s mends what the events missed. Who wants to know of containers subscribes.
package docker

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/hermod-agent/hermod/pipeline/component"
)

// Options of an Engine.
type Options struct {
	Endpoint  Endpoint
	UserAgent string
	Log       *slog.Logger
	// Reconcile is the time between two lists; 0 means 30 s.
	Reconcile time.Duration
	// Retry is the pause after the first failed attempt to reach the engine; it doubles up to four times that. 0 means 1 s.
	Retry time.Duration
}

// Engine is a connection to one Docker engine, kept alive until Close. It is safe for concurrent use.
type Engine struct {
	o    Options
	stop context.CancelFunc
	ctx  context.Context
	jobs sync.WaitGroup
	slot chan struct{} // one for each inspection that may run at once

	mu          sync.Mutex // guards what follows
	started     bool
	conn        *conn // nil before the first session
	info        Info
	synced      bool // a list was taken and all that stood on it was inspected
	err         error
	containers  map[string]*entry
	waiting     int // inspections that the first list still waits for
	newestEvent time.Time
	subs        map[*Subscription]struct{}
}

// Acquire returns the process' Engine for an endpoint from the pool. The caller calls release when it is done.
func Acquire(p *component.Pool, o Options) (*Engine, func() error, error) {
	return component.Acquire(p, o.Endpoint.Key(), func() (*Engine, error) { return New(o), nil })
}

// New returns an engine that begins to connect with its first subscription.
func New(o Options) *Engine {
	if o.Reconcile <= 0 {
		o.Reconcile = 30 * time.Second
	}
	if o.Retry <= 0 {
		o.Retry = time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.UserAgent == "" {
		o.UserAgent = "hermod"
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Engine{
		o: o, ctx: ctx, stop: cancel, slot: make(chan struct{}, 4),
		containers: map[string]*entry{}, subs: map[*Subscription]struct{}{},
	}
}

var errNotYet = errors.New("not connected to Docker yet")

// Close ends the event stream and waits for all goroutines. Streams of Logs end with their own contexts.
func (e *Engine) Close() error {
	e.stop()
	e.jobs.Wait()
	e.mu.Lock()
	c := e.conn
	e.mu.Unlock()
	if c != nil {
		c.close()
	}
	return nil
}

// Err says why the engine can't be reached now, with a remedy; nil while it can, and before the first attempt.
func (e *Engine) Err() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.err
}

// Synced says that the first list of containers has been worked through: every subscription was told of all of them.
func (e *Engine) Synced() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.synced
}

// Info is what the engine said of itself when it was last connected to.
func (e *Engine) Info() Info {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.info
}

// Now is the time on the engine's clock, by which it stamps logs.
func (e *Engine) Now() time.Time { return time.Now().Add(e.Info().Ahead) }

// LogOptions are what is wanted of a container's log.
type LogOptions struct {
	Follow bool
	Since  int64 // nanoseconds since 1970; what is older is left out by the engine
	Tail   int   // only so many entries from the end; 0 means all
}

// Logs opens a container's log with timestamps: frames, or plain text when the container has a TTY. The stream lives until ctx ends or
// the caller closes it. A refusal of the engine is an *Error.
func (e *Engine) Logs(ctx context.Context, id string, o LogOptions) (io.ReadCloser, error) {
	e.mu.Lock()
	c, err := e.conn, e.err
	e.mu.Unlock()
	if c == nil && err == nil {
		err = errNotYet
	}
	if c == nil {
		return nil, err
	}
	q := url.Values{"stdout": {"1"}, "stderr": {"1"}, "timestamps": {"1"}}
	if o.Follow {
		q.Set("follow", "1")
	}
	if o.Tail > 0 {
		q.Set("tail", strconv.Itoa(o.Tail))
	}
	if o.Since > 0 {
		frac := strconv.FormatInt(o.Since%1e9, 10)
		q.Set("since", strconv.FormatInt(o.Since/1e9, 10)+"."+"000000000"[len(frac):]+frac)
	}
	return c.get(ctx, "/containers/"+id+"/logs", q)
}

// HostName asks the engine at the endpoint once for the name of its machine.
func HostName(ctx context.Context, e Endpoint) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	c, err := connect(ctx, e, "hermod")
	if err != nil {
		return "", explain(ctx, e, err)
	}
	defer c.close()
	i, err := c.info(ctx)
	if err != nil {
		return "", explain(ctx, e, err)
	}
	return i.Name, nil
}
