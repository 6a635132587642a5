// Package filter passes on some series, streams and log lines and drops the others.
package filter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
	"github.com/hermod-agent/hermod/pipeline/dense"
	"github.com/hermod-agent/hermod/pipeline/logs"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// Definition of processor "filter".
var Definition = component.NewProcessor("filter", "Series, streams and log lines kept or dropped by name, labels and text.",
	component.Metrics|component.Logs, defaults, open,
	component.Example(`processor "filter" "less" {
  from       = [input.host, input.docker_logs]
  drop_names = ["node_netstat_.*", "node_vmstat_.*"]        # series
  drop_lines = ["GET /healthz", "level=debug"]              # log lines
  keep_labels = { container = "!~test-.*" }                 # both: what has no such label passes
}
`))

// Config is what a user writes in the block. What passes meets every condition that is set.
type Config struct {
	// Names of the series that pass: regular expressions for the whole name, of which one must match. Histograms and summaries are known
	// by their parts' names (x_bucket, x_sum, x_count) and by the common one.
	KeepNames []string `hcl:"keep_names,optional"`
	// Names of the series that are dropped, written as in keep_names.
	DropNames []string `hcl:"drop_names,optional"`
	// Labels of the series and streams that pass, written as in where: "x" equal, "!x" not equal, "~x" a regular expression for the whole
	// value, "!~x" none that matches it. All must fit. A label that isn't there is an empty one.
	KeepLabels map[string]string `hcl:"keep_labels,optional"`
	// Labels of the series and streams that are dropped, written as in keep_labels: those that all fit.
	DropLabels map[string]string `hcl:"drop_labels,optional"`
	// Log lines that pass: regular expressions, of which one must be found anywhere in the line.
	KeepLines []string `hcl:"keep_lines,optional"`
	// Log lines that are dropped, written as in keep_lines.
	DropLines []string `hcl:"drop_lines,optional"`
}

func defaults() Config { return Config{} }

var (
	_ config.Validator          = (*Config)(nil)
	_ component.MetricsConsumer = (*processor)(nil)
	_ component.LogsConsumer    = (*processor)(nil)
	_ component.Stopper         = (*processor)(nil)
)

// Validate checks what the types can't say.
func (c *Config) Validate() []error {
	_, faults := c.compile()
	return faults
}

// conditions are a Config's, ready to use.
type conditions struct {
	keepNames, dropNames   []*labels.FastRegexMatcher
	keepLabels, dropLabels []*labels.Matcher
	keepLines, dropLines   []finder
}

func (c *Config) compile() (*conditions, []error) {
	var faults []error
	names := func(attr string, patterns []string) (out []*labels.FastRegexMatcher) {
		for _, p := range patterns {
			m, err := labels.NewFastRegexMatcher(p)
			if err != nil {
				faults = append(faults, config.Attr(attr, plainer(p, err)))
				continue
			}
			out = append(out, m)
		}
		return out
	}
	matchers := func(attr string, fits map[string]string) (out []*labels.Matcher) {
		for name, text := range fits {
			m, err := matcher(name, text)
			if err != nil {
				faults = append(faults, config.Attr(attr, fmt.Errorf("label %s: %w", name, err)))
				continue
			}
			out = append(out, m)
		}
		slices.SortFunc(out, func(a, b *labels.Matcher) int { return strings.Compare(a.Name, b.Name) })
		return out
	}
	lines := func(attr string, patterns []string) (out []finder) {
		for _, p := range patterns {
			re, err := config.ParseRegexp(p)
			if err != nil {
				faults = append(faults, config.Attr(attr, err))
				continue
			}
			out = append(out, newFinder(re.Regexp))
		}
		return out
	}
	ready := &conditions{
		keepNames: names("keep_names", c.KeepNames), dropNames: names("drop_names", c.DropNames),
		keepLabels: matchers("keep_labels", c.KeepLabels), dropLabels: matchers("drop_labels", c.DropLabels),
		keepLines: lines("keep_lines", c.KeepLines), dropLines: lines("drop_lines", c.DropLines),
	}
	if len(c.KeepNames)+len(c.DropNames)+len(c.KeepLabels)+len(c.DropLabels)+len(c.KeepLines)+len(c.DropLines) == 0 {
		faults = append(faults, errors.New("the filter has no condition: set keep_names, drop_names, keep_labels, drop_labels, keep_lines or drop_lines"))
	}
	slices.SortStableFunc(faults, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) }) // maps have no order
	return ready, faults
}

// plainer says in our words what is wrong with a pattern, where they cover it.
func plainer(pattern string, err error) error {
	if _, plain := config.ParseRegexp(pattern); plain != nil {
		return plain
	}
	return fmt.Errorf("%q is not a regular expression: %w", pattern, err)
}

func matcher(name, text string) (*labels.Matcher, error) {
	value, negated := strings.CutPrefix(text, "!")
	value, pattern := strings.CutPrefix(value, "~")
	typ := labels.MatchEqual
	switch {
	case negated && pattern:
		typ = labels.MatchNotRegexp
	case negated:
		typ = labels.MatchNotEqual
	case pattern:
		typ = labels.MatchRegexp
	}
	m, err := labels.NewMatcher(typ, name, value)
	if err != nil {
		return nil, plainer(value, err)
	}
	return m, nil
}

// finder looks for a regular expression in a line. One that is plain text is searched for as such, at a tenth of the price.
type finder struct {
	literal []byte
	re      *regexp.Regexp // nil where literal is all of it
}

func newFinder(re *regexp.Regexp) finder {
	if text, whole := re.LiteralPrefix(); whole {
		return finder{literal: []byte(text)}
	}
	return finder{re: re}
}

func (f finder) in(line []byte) bool {
	if f.re == nil {
		return bytes.Contains(line, f.literal)
	}
	return f.re.Match(line)
}

type processor struct {
	env     *component.Env
	stopped atomic.Bool
	*conditions
	batches sync.Pool // of *metrics.Batch
	records sync.Pool // of *logs.Batch

	mu      sync.Mutex // guards the memos
	series  dense.Cache[metrics.Series, bool]
	streams dense.Cache[logs.Stream, bool]
}

func open(env *component.Env, c *Config) (*processor, error) {
	ready, faults := c.compile()
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return &processor{env: env, conditions: ready}, nil
}

// Stop makes later batches be refused. There is nothing to drain: a batch is passed on before it is taken.
func (p *processor) Stop(context.Context) error {
	p.stopped.Store(true)
	return nil
}

const (
	// sweepAfter, in milliseconds, is how long the answer for a series or stream is remembered after its last sight.
	sweepAfter = 10 * 60 * 1000
	// reason is what is lost on purpose.
	reason = "filtered"
)

// ConsumeMetrics passes on the samples that pass. An empty batch is passed on as well: that all series of a source are gone is news.
func (p *processor) ConsumeMetrics(ctx context.Context, b *metrics.Batch) error {
	if p.stopped.Load() {
		return fmt.Errorf("filter: %w", component.ErrStopped)
	}
	out, _ := p.batches.Get().(*metrics.Batch)
	if out == nil {
		out = new(metrics.Batch)
	}
	defer func() {
		out.Begin(nil, 0, 0) // lets go of the series
		p.batches.Put(out)
	}()
	p.mu.Lock()
	dropped := p.pick(b, out)
	p.mu.Unlock()
	if dropped == 0 && len(out.Exemplars) == len(b.Exemplars) {
		return p.env.Metrics.ConsumeMetrics(ctx, b)
	}
	p.env.Losses.Add(reason, dropped)
	return p.env.Metrics.ConsumeMetrics(ctx, out)
}

// pick fills out with what passes of b. mu is held.
func (p *processor) pick(b, out *metrics.Batch) (dropped int) {
	samples, histograms, exemplars := slices.Grow(out.Samples[:0], len(b.Samples)), out.Histograms[:0], out.Exemplars[:0]
	for i := range b.Samples {
		if p.passes(b.Samples[i].Series, b) {
			samples = append(samples, b.Samples[i])
		}
	}
	for i := range b.Histograms {
		if p.passes(b.Histograms[i].Series, b) {
			histograms = append(histograms, b.Histograms[i])
		}
	}
	for i := range b.Exemplars {
		if p.passes(b.Exemplars[i].Series, b) {
			exemplars = append(exemplars, b.Exemplars[i])
		}
	}
	p.series.SweepEvery(b.Time, sweepAfter, nil)
	*out = *b
	out.Samples, out.Histograms, out.Exemplars = samples, histograms, exemplars
	return len(b.Samples) - len(samples) + len(b.Histograms) - len(histograms)
}

func (p *processor) passes(s *metrics.Series, b *metrics.Batch) bool {
	if known := p.series.Get(s.ID, s, b.Time); known != nil {
		return *known
	}
	return *p.series.Put(s.ID, s, b.Time, p.passesFirst(s, b.Source))
}

func (p *processor) passesFirst(s *metrics.Series, source *metrics.Source) bool {
	name := s.Name()
	named := func(patterns []*labels.FastRegexMatcher) bool {
		for _, m := range patterns {
			if m.MatchString(name) || s.Desc != nil && m.MatchString(s.Desc.Name) {
				return true
			}
		}
		return false
	}
	if len(p.keepNames) > 0 && !named(p.keepNames) || named(p.dropNames) {
		return false
	}
	return p.labelled(func(name string) string {
		value := s.Get(name)
		// Outputs write these on the series, and a user sees them there.
		if value == "" && source != nil {
			switch name {
			case model.JobLabel:
				value = source.Job
			case model.InstanceLabel:
				value = source.Instance
			}
		}
		return value
	})
}

// labelled says whether labels fit. get gives a label's value.
func (p *processor) labelled(get func(name string) string) bool {
	fit := func(matchers []*labels.Matcher) bool {
		for _, m := range matchers {
			if !m.Matches(get(m.Name)) {
				return false
			}
		}
		return true
	}
	return fit(p.keepLabels) && (len(p.dropLabels) == 0 || !fit(p.dropLabels))
}

// ConsumeLogs passes on the records that pass.
func (p *processor) ConsumeLogs(ctx context.Context, b *logs.Batch) error {
	if p.stopped.Load() {
		return fmt.Errorf("filter: %w", component.ErrStopped)
	}
	out, _ := p.records.Get().(*logs.Batch)
	if out == nil {
		out = new(logs.Batch)
	}
	defer func() {
		out.Begin("") // lets go of the streams and lines
		p.records.Put(out)
	}()
	out.Begin(b.Source)
	p.pickStreams(b, out)
	if len(p.keepLines)+len(p.dropLines) > 0 {
		out.Records = slices.DeleteFunc(out.Records, func(r logs.Record) bool { return !p.passesLine(r.Line) })
	}
	if len(out.Records) > 0 {
		if err := p.env.Logs.ConsumeLogs(ctx, out); err != nil {
			return err // the batch comes again, and is counted then
		}
	}
	p.env.Losses.Add(reason, len(b.Records)-len(out.Records))
	return nil
}

// pickStreams fills out with the records whose streams pass.
func (p *processor) pickStreams(b, out *logs.Batch) {
	now := time.Now().UnixMilli()
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range b.Records {
		s := b.Records[i].Stream
		known := p.streams.Get(s.ID, s, now)
		if known == nil {
			known = p.streams.Put(s.ID, s, now, p.labelled(s.Labels.Get))
		}
		if *known {
			out.Add(b.Records[i])
		}
	}
	p.streams.SweepEvery(now, sweepAfter, nil)
}

func (p *processor) passesLine(line []byte) bool {
	found := func(finders []finder) bool {
		for _, f := range finders {
			if f.in(line) {
				return true
			}
		}
		return false
	}
	return (len(p.keepLines) == 0 || found(p.keepLines)) && !found(p.dropLines)
}
