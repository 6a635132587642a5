// Package stdout writes metrics and log records to the standard output, a line each, for people or as JSON.
package stdout

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"golang.org/x/sys/unix"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
	"github.com/hermod-agent/hermod/pipeline/dense"
	"github.com/hermod-agent/hermod/pipeline/logs"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// Definition of output "stdout".
var Definition = component.NewOutput("stdout", "Metrics and logs on the terminal, a line each.", component.Metrics|component.Logs, defaults, open,
	component.Example(`output "stdout" "terminal" {
  from   = input.docker_logs
  format = "text" # or "json", a JSON object each line
}
`))

// Config is what a user writes in the block.
type Config struct {
	// "text" for people, or "json" for programs.
	Format string `hcl:"format,optional"`
	// Write every label and the structured metadata of a log record in text, not only what it is called by: container and stream, or the
	// file. JSON always has them.
	ShowLabels bool `hcl:"show_labels,optional"`
}

func defaults() Config { return Config{Format: "text"} }

// Validate checks what the types can't say.
func (c *Config) Validate() []error {
	if c.Format != "text" && c.Format != "json" {
		return []error{config.Attr("format", fmt.Errorf(`there is no format %q; write "text" or "json"`, c.Format))}
	}
	return nil
}

var (
	_ config.Validator          = (*Config)(nil)
	_ component.MetricsConsumer = (*output)(nil)
	_ component.LogsConsumer    = (*output)(nil)
	_ component.Flusher         = (*output)(nil)
	_ component.Starter         = (*output)(nil)
	_ component.Stopper         = (*output)(nil)
	_ component.TrafficReporter = (*output)(nil)
)

type output struct {
	env  *component.Env
	form form
	sink *sink
	// stdout opens what is written to: a descriptor of its own for the standard output, unless a test says otherwise.
	stdout func() (io.WriteCloser, error)

	mu      sync.Mutex // guards the caches
	series  dense.Cache[metrics.Series, string]
	streams dense.Cache[logs.Stream, string]
}

// form is how a line is written. What depends on the series or the stream alone is worked out once, by series and stream.
type form interface {
	series(s *metrics.Series) string
	sample(dst []byte, prefix, source string, s *metrics.Sample) []byte
	stream(s *logs.Stream) string
	record(dst []byte, prefix, source string, r *logs.Record) []byte
}

func open(env *component.Env, c *Config) (*output, error) {
	o := &output{env: env, form: text{all: c.ShowLabels, zone: time.Local}, sink: newSink(env), stdout: duplicate}
	if c.Format == "json" {
		o.form = jsonLines{}
	}
	return o, nil
}

// duplicate opens a second descriptor of the standard output. Writing to a closed pipe under descriptor 1 ends a Go process with
// SIGPIPE; under another number it is an error like any other.
func duplicate() (io.WriteCloser, error) {
	fd, err := unix.FcntlInt(os.Stdout.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, component.WithRemedy(fmt.Errorf("open the standard output: %w", err), "run the agent with its standard output open, or leave this output out")
	}
	return os.NewFile(uintptr(fd), os.Stdout.Name()), nil
}

// Start opens the standard output.
func (o *output) Start(context.Context) error {
	w, err := o.stdout()
	if err != nil {
		return err
	}
	o.sink.start(w)
	return nil
}

// sweepAfter, in milliseconds, is how long the text of a series or stream outlives its last use.
const sweepAfter = 10 * 60 * 1000

// ConsumeMetrics writes the samples, if there is room for them.
func (o *output) ConsumeMetrics(_ context.Context, b *metrics.Batch) error {
	source := ""
	if b.Source != nil {
		source = b.Source.Address
	}
	return o.sink.try(len(b.Samples), func(dst []byte) []byte {
		o.mu.Lock()
		defer o.mu.Unlock()
		for i := range b.Samples {
			s := &b.Samples[i]
			if math.Float64bits(s.Value) == value.StaleNaN {
				continue // a mark for storage, not a number
			}
			prefix := o.series.Get(s.Series.ID, s.Series, b.Time)
			if prefix == nil {
				prefix = o.series.Put(s.Series.ID, s.Series, b.Time, o.form.series(s.Series))
			}
			dst = o.form.sample(dst, *prefix, source, s)
		}
		o.series.SweepEvery(b.Time, sweepAfter, nil)
		return dst
	})
}

// ConsumeLogs waits for room and takes the records; Flush says when they are written.
func (o *output) ConsumeLogs(ctx context.Context, b *logs.Batch) error {
	return o.sink.put(ctx, len(b.Records), func(dst []byte) []byte {
		o.mu.Lock()
		defer o.mu.Unlock()
		now := time.Now().UnixMilli()
		for i := range b.Records {
			r := &b.Records[i]
			prefix := o.streams.Get(r.Stream.ID, r.Stream, now)
			if prefix == nil {
				prefix = o.streams.Put(r.Stream.ID, r.Stream, now, o.form.stream(r.Stream))
			}
			dst = o.form.record(dst, *prefix, b.Source, r)
		}
		o.streams.SweepEvery(now, sweepAfter, nil)
		return dst
	})
}

// Flush waits until everything that was taken before is written.
func (o *output) Flush(ctx context.Context) error { return o.sink.flush(ctx) }

// Stop waits for what is being written until ctx ends.
func (o *output) Stop(ctx context.Context) error {
	err := o.sink.stop(ctx)
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return component.WithRemedy(fmt.Errorf("the standard output takes nothing: %w", err), "see whether what reads it hangs, or a terminal is paused (Ctrl-Q resumes it)")
	}
	return err
}

// Traffic is what became of records and samples.
func (o *output) Traffic() component.Traffic { return o.sink.traffic() }

// hidden says whether a label is for the graph alone.
func hidden(name string) bool { return len(name) > 1 && name[0] == '_' && name[1] == '_' }

// each calls f for the labels that are shown.
func each(l labels.Labels, f func(labels.Label)) {
	l.Range(func(x labels.Label) {
		if !hidden(x.Name) {
			f(x)
		}
	})
}
