// Package relabel changes labels as Prometheus does, by its own library (https://prometheus.io/docs/prometheus/latest/configuration/configuration/#relabel_config):
// once for each series and each stream, whose result is remembered.
package relabel

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/relabel"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
	"github.com/hermod-agent/hermod/pipeline/logs"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// Definition of processor "relabel".
var Definition = component.NewProcessor("relabel", "Labels changed, series and streams dropped by their labels, as Prometheus does it.",
	component.Metrics|component.Logs, defaults, open,
	component.Example(`processor "relabel" "tidy" {
  from = [input.host, input.docker_logs]
  rule {
    source_labels = ["mountpoint"]
    regex         = "/var/lib/docker/.*"
    action        = "drop"
  }
  rule {
    source_labels = ["compose_project", "compose_service"]
    separator     = "/"
    regex         = "(.+/.+)"
    target_label  = "service"
    replacement   = "$1" # in HCL a group is $1 or $${1}
  }
}
`))

// Config is what a user writes in the block.
type Config struct {
	// Rules, applied in their order.
	Rules []Rule `hcl:"rule,block"`
	// Allow all characters in the names of labels, not only letters, digits and underscores. Loki and older storages refuse such names.
	UTF8Names bool `hcl:"utf8_names,optional"`
}

// Rule is one step. Its attributes mean what they mean in Prometheus.
type Rule struct {
	// Labels whose values are joined and matched. The name of a series is the label "__name__"; "job" and "instance" are those of the
	// input where the series has none.
	SourceLabels []string `hcl:"source_labels,optional"`
	// Text between the joined values.
	Separator string `hcl:"separator,optional"`
	// Regular expression for the whole of the joined values.
	Regex string `hcl:"regex,optional"`
	// Modulus of the hash of the joined values, for hashmod.
	Modulus uint64 `hcl:"modulus,optional"`
	// Label that is written.
	TargetLabel string `hcl:"target_label,optional"`
	// Value that is written; $1 or $${1} stands for the first group of regex.
	Replacement string `hcl:"replacement,optional"`
	// What is done: "replace", "keep", "drop", "keepequal", "dropequal", "hashmod", "labelmap", "labeldrop", "labelkeep", "lowercase" or
	// "uppercase".
	Action string `hcl:"action,optional"`
}

// SetDefaults gives a rule the values that it has in Prometheus.
func (r *Rule) SetDefaults() {
	*r = Rule{Separator: ";", Regex: defaultRegex, Replacement: "$1", Action: string(relabel.Replace)}
}

const defaultRegex = "(.*)"

func defaults() Config { return Config{} }

var (
	_ config.Validator          = (*Config)(nil)
	_ config.Defaulter          = (*Rule)(nil)
	_ component.MetricsConsumer = (*processor)(nil)
	_ component.LogsConsumer    = (*processor)(nil)
	_ component.Stopper         = (*processor)(nil)
)

// Validate checks the rules as Prometheus does.
func (c *Config) Validate() []error {
	_, faults := c.compile()
	return faults
}

// compile makes the library's rules of ours.
func (c *Config) compile() ([]*relabel.Config, []error) {
	if len(c.Rules) == 0 {
		return nil, []error{config.Attr("rule", errors.New("there is no rule: add a block rule { ... }, or take from the sources directly"))}
	}
	scheme := model.LegacyValidation
	if c.UTF8Names {
		scheme = model.UTF8Validation
	}
	var rules []*relabel.Config
	var faults []error
	for i, r := range c.Rules {
		rule, attr, err := r.compile(scheme)
		if err != nil {
			faults = append(faults, config.Attr(fmt.Sprintf("rule[%d]%s", i, attr), err))
			continue
		}
		rules = append(rules, rule)
	}
	return rules, faults
}

// compile returns the library's rule, or what is wrong with which attribute (".regex", or "" for the rule as a whole).
func (r *Rule) compile(scheme model.ValidationScheme) (rule *relabel.Config, attr string, err error) {
	action := relabel.Action(r.Action)
	actions := []relabel.Action{
		relabel.Replace, relabel.Keep, relabel.Drop, relabel.KeepEqual, relabel.DropEqual, relabel.HashMod, relabel.LabelMap,
		relabel.LabelDrop, relabel.LabelKeep, relabel.Lowercase, relabel.Uppercase,
	}
	known := false
	names := make([]string, len(actions))
	for i, a := range actions {
		known = known || a == action
		names[i] = string(a)
	}
	if !known {
		return nil, ".action", fmt.Errorf("there is no action %q%s; the actions are %s", r.Action, config.Suggest(r.Action, names), strings.Join(names, ", "))
	}
	rule = &relabel.Config{
		Separator: r.Separator, Regex: relabel.DefaultRelabelConfig.Regex, Modulus: r.Modulus, TargetLabel: r.TargetLabel,
		Replacement: r.Replacement, Action: action, NameValidationScheme: scheme,
	}
	for _, name := range r.SourceLabels {
		if !scheme.IsValidLabelName(name) {
			return nil, ".source_labels", fmt.Errorf("%q is not the name of a label", name)
		}
		rule.SourceLabels = append(rule.SourceLabels, model.LabelName(name))
	}
	if r.Regex != defaultRegex { // the library knows its default by the pointer
		if _, err := config.ParseRegexp(r.Regex); err != nil {
			return nil, ".regex", err
		}
		if rule.Regex, err = relabel.NewRegexp(r.Regex); err != nil {
			return nil, ".regex", fmt.Errorf("%q is not a regular expression: %w", r.Regex, err)
		}
	}
	if err := rule.Validate(scheme); err != nil {
		return nil, "", err
	}
	if len(rule.SourceLabels) == 0 && (action == relabel.Keep || action == relabel.Drop) {
		return nil, "", fmt.Errorf("%s without source_labels compares nothing with regex, so that it meets all series or none", action)
	}
	return rule, "", nil
}

type processor struct {
	env     *component.Env
	stopped atomic.Bool
	batches sync.Pool // of *metrics.Batch
	records sync.Pool // of *logs.Batch

	// mu guards the memos. They serve all sources: a look-up takes some nanoseconds, and what comes after runs without the lock.
	mu      sync.Mutex
	series  *seriesMemo
	streams *streamMemo
}

func open(env *component.Env, c *Config) (*processor, error) {
	rules, faults := c.compile()
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return &processor{env: env, series: newSeriesMemo(env.Series, rules), streams: newStreamMemo(env.Streams, rules)}, nil
}

// Stop makes later batches be refused. There is nothing to drain: a batch is passed on before it is taken.
func (p *processor) Stop(context.Context) error {
	p.stopped.Store(true)
	return nil
}

// lost counts what a batch lost on its way, by reason.
type lost struct {
	dropped   dropped
	collided  int
	collision *metrics.Series // one of those that collided
}

// dropped are samples or records whose series or stream did not come through the rules, by the reason.
type dropped [misnamed + 1]int

func (p *processor) count(d dropped, unnamedReason string) {
	p.env.Losses.Add("filtered", d[byRule])
	p.env.Losses.Add(unnamedReason, d[unnamed])
	p.env.Losses.Add("relabel_invalid_name", d[misnamed])
}

// ConsumeMetrics passes on the batch with relabelled series.
func (p *processor) ConsumeMetrics(ctx context.Context, b *metrics.Batch) error {
	if p.stopped.Load() {
		return fmt.Errorf("relabel: %w", component.ErrStopped)
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
	lost := p.series.relabel(b, out)
	p.mu.Unlock()
	p.count(lost.dropped, "relabel_no_name")
	p.env.Losses.Add("relabel_collision", lost.collided)
	p.tell(b.Source, lost)
	return p.env.Metrics.ConsumeMetrics(ctx, out)
}

// tell notes that series of a source have become one, or that they have not any more.
func (p *processor) tell(source *metrics.Source, lost lost) {
	address := ""
	if source != nil {
		address = source.Address
	}
	p.mu.Lock()
	changed := p.series.noted[address] != (lost.collided > 0)
	if changed && lost.collided > 0 {
		p.series.noted[address] = true
	} else if changed {
		delete(p.series.noted, address)
	}
	p.mu.Unlock()
	switch {
	case lost.collided > 0:
		p.env.Status.Note("collisions of "+address, component.WithRemedy(
			fmt.Errorf("%d series became one that was there already, and are dropped; one of them is %s", lost.collided, lost.collision),
			"keep a label that tells them apart, or drop the ones that are not wanted"))
	case changed:
		p.env.Status.Note("collisions of "+address, nil)
	}
}

// ConsumeLogs passes on the batch with relabelled streams.
func (p *processor) ConsumeLogs(ctx context.Context, b *logs.Batch) error {
	if p.stopped.Load() {
		return fmt.Errorf("relabel: %w", component.ErrStopped)
	}
	out, _ := p.records.Get().(*logs.Batch)
	if out == nil {
		out = new(logs.Batch)
	}
	defer func() {
		out.Begin("") // lets go of the streams and lines
		p.records.Put(out)
	}()
	p.mu.Lock()
	gone := p.streams.relabel(b, out)
	p.mu.Unlock()
	if len(out.Records) > 0 {
		if err := p.env.Logs.ConsumeLogs(ctx, out); err != nil {
			return err // the batch comes again, and is counted then
		}
	}
	p.count(gone, "relabel_no_labels")
	return nil
}
