// Package component is the contract between the engine and what plugs into it. It is the only package of the engine that an input,
// a processor or an output has to import.
//
// The life of a component: its Definition's Open makes it from decoded config (no effect that shows from outside; `hermod validate`
// does just that), Start acquires what can fail (listeners, folders), Run does the work of those that have work of their own, Stop
// drains and releases. Start, Run and Stop are optional interfaces. Stop may be called without Start, more than once, and after a
// failed Start. After Stop, Consume calls return an error wrapping ErrStopped.
package component

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/hermod-agent/hermod/pipeline/logs"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// ErrStopped is returned by Consume calls of a component that was stopped.
var ErrStopped = errors.New("stopped")

// Collector is a metrics input that the engine calls at every interval.
//
// Collect MUST append everything that the source has now, MUST NOT keep b or wait beyond ctx, MUST NOT read the clock for sample
// times (b.Time is the cycle's) and has no goroutine of its own. It MAY set samples and return an error as well: the samples are
// delivered, the input counts as down, and the error's text is shown to the user. It is never called twice at once.
type Collector interface {
	Collect(ctx context.Context, b *metrics.Batch) error
}

// MetricsConsumer takes batches of metrics.
//
// ConsumeMetrics MUST NOT wait for I/O or for room: a batch that can't be taken is refused with an error and counted by the engine; it
// isn't offered again. It MUST NOT keep b, or change it unless its Definition says Mutates. It is called by several sources at once.
type MetricsConsumer interface {
	ConsumeMetrics(ctx context.Context, b *metrics.Batch) error
}

// LogsConsumer takes batches of log records.
//
// ConsumeLogs takes all of the batch or nothing; nil means taken. It MUST wait for room until ctx ends and then return ctx's error;
// besides that it fails only with ErrStopped. It MUST NOT keep b, or change it unless its Definition says Mutates. It is called by
// several sources at once.
type LogsConsumer interface {
	ConsumeLogs(ctx context.Context, b *logs.Batch) error
}

// Flusher is an output that holds log records back before they are safe.
//
// Flush returns nil when everything that was taken before the call is on disk or delivered. Concurrent calls MUST merge. It waits for
// a batch's normal closing, unless Hurry(ctx) is true, when it MUST close batches at once. It returns ctx's error when ctx ends first.
type Flusher interface {
	Flush(ctx context.Context) error
}

// Starter is a component that has to acquire something which can fail. Start MUST have no effect that shows when it fails, and MUST
// work while the component's predecessor at the same address is still running (a reload builds and starts the new before it stops
// the old); what they share comes from Env.Pool and Env.Listen.
type Starter interface {
	Start(ctx context.Context) error
}

// Runner is a component with work of its own: log inputs, senders, servers. Run returns when ctx ends. An error before that is a fault
// of the component: it is shown, and Run is called again after a pause. Run of a successor begins after its predecessor's Stop.
type Runner interface {
	Run(ctx context.Context) error
}

// Stopper is a component that has something to drain or to release. The engine calls Stop when Run has returned and nothing is offered
// to the component any more. Stop drains until ctx ends, then releases. It MUST be safe to call twice.
type Stopper interface {
	Stop(ctx context.Context) error
}

// Remover is a component that wants to know that its address is no longer in the config. The engine calls Removed before Stop.
type Remover interface {
	Removed()
}

// Instancer is an input whose instance label isn't the host's name but the address of what it reads.
type Instancer interface {
	Instance() string
}

// Puller is an output that asks for a cycle when it is asked itself (a scrape page). The edges that lead to it are not thinned.
type Puller interface {
	MetricsConsumer
	// MaxAge is how old the last cycle of an input may be without being run again for a scrape.
	MaxAge() time.Duration
}

// TrafficReporter is an output that can say what became of what it took.
type TrafficReporter interface {
	Traffic() Traffic
}

// Traffic is what became of the records or samples that an output took. Taken = Delivered + Queued + the sum of what its Losses count;
// what was rejected is part of those, under reasons that begin with rejected_.
type Traffic struct {
	Taken       uint64 `json:"taken"`
	Restored    uint64 `json:"restored,omitempty"` // of Taken, what an earlier run had left on disk
	Delivered   uint64 `json:"delivered"`
	Queued      uint64 `json:"queued"`       // in open batches, in the queue and in flight
	QueuedBytes uint64 `json:"queued_bytes"` // as encoded
	QueueLimit  uint64 `json:"queue_limit_bytes"`
	Rejected    uint64 `json:"rejected"` // refused by the backend for good, by reason in Losses
	SentBytes   uint64 `json:"sent_bytes"`
	// OldestQueued is the time of the oldest record that waits, LastDelivery that of the last success; zero when there is none.
	OldestQueued time.Time `json:"oldest_queued,omitzero"`
	LastDelivery time.Time `json:"last_delivery,omitzero"`
	// NextTry is when a backend that is down is asked again; zero while it is well and while it is being asked.
	NextTry time.Time `json:"next_try,omitzero"`
}

type hurryKey struct{}

// WithHurry marks ctx as that of a stop: a Flush under it doesn't wait for batches to fill.
func WithHurry(ctx context.Context) context.Context { return context.WithValue(ctx, hurryKey{}, true) }

// Hurry says whether ctx was marked by WithHurry.
func Hurry(ctx context.Context) bool { return ctx.Value(hurryKey{}) != nil }

type remedyError struct {
	err    error
	remedy string
}

func (e *remedyError) Error() string { return e.err.Error() + ": " + e.remedy }
func (e *remedyError) Unwrap() error { return e.err }

// WithRemedy adds to err what the user can do about it: a whole sentence in the imperative, lower case, without full stop.
func WithRemedy(err error, remedy string) error {
	if err == nil {
		return nil
	}
	return &remedyError{err: err, remedy: remedy}
}

// Remedy returns what the user can do about err, or "", and the error's text without it.
func Remedy(err error) (remedy, what string) {
	if err == nil {
		return "", ""
	}
	var r *remedyError
	if errors.As(err, &r) {
		return r.remedy, strings.Replace(err.Error(), ": "+r.remedy, "", 1)
	}
	return "", err.Error()
}
