package component

import (
	"fmt"
	"reflect"
	"time"
)

// Kind is the noun of the config language that a component stands under.
type Kind string

// The three nouns.
const (
	Input     Kind = "input"
	Processor Kind = "processor"
	Output    Kind = "output"
)

// Signal is what flows on an edge; a set of them says what a component takes or emits.
type Signal uint8

// The signals.
const (
	Metrics Signal = 1 << iota
	Logs
)

// String names the signals in a set.
func (s Signal) String() string {
	switch s {
	case Metrics:
		return "metrics"
	case Logs:
		return "logs"
	case Metrics | Logs:
		return "metrics and logs"
	}
	return "nothing"
}

// Definition makes a component known to the engine. The lists of them in inputs, processors and outputs are all that the engine
// knows of concrete components.
type Definition struct {
	Kind    Kind
	Type    string // as written in the config: `input "docker_logs"`
	Summary string // one sentence for the reference and for `hermod help`
	Takes   Signal // processors and outputs
	Emits   Signal // inputs and processors; a processor emits what it takes
	// Config returns a pointer to a config struct that holds the defaults.
	Config func() any
	// Open makes the component from what Config returned, decoded. It has no effect that shows from outside.
	Open func(env *Env, config any) (any, error)

	// Job is the default job label of an input.
	Job string
	// Mutates says that the component changes the batches that it is given.
	Mutates bool
	// Pushes says that an output sends metrics on by itself: the edges that lead to it are thinned to the interval and carry
	// staleness markers and up.
	Pushes bool
	// MaxAge is how old an input's last cycle may be before a scrape runs it again; 0 means a second. Dear inputs set more.
	MaxAge time.Duration
	// Example is a complete block with a comment for each line that needs one. It is part of the reference page, and the
	// conformance suite decodes and opens it.
	Example string
}

// Address is the key under which the type is looked up: "input.host".
func (d *Definition) Address() string { return string(d.Kind) + "." + d.Type }

// ConfigType is the struct type of the config, for the reference.
func (d *Definition) ConfigType() reflect.Type { return reflect.TypeOf(d.Config()).Elem() }

// Listens is a config that opens listeners, so that two blocks on one address are found before anything starts.
type Listens interface {
	ListenAddresses() []string
}

// Option sets what most Definitions leave alone.
type Option func(*Definition)

// Job sets an input's default job label.
func Job(job string) Option { return func(d *Definition) { d.Job = job } }

// Mutates says that the component changes the batches that it is given.
func Mutates() Option { return func(d *Definition) { d.Mutates = true } }

// Pushes says that the output sends metrics on by itself.
func Pushes() Option { return func(d *Definition) { d.Pushes = true } }

// Example sets the documented example.
func Example(hcl string) Option { return func(d *Definition) { d.Example = hcl } }

// MaxAge sets how old an input's last cycle may be before a scrape runs it again.
func MaxAge(age time.Duration) Option { return func(d *Definition) { d.MaxAge = age } }

// MetricsInput defines an input that is collected at every interval.
func MetricsInput[C any, T Collector](typ, summary string, defaults func() C, open func(*Env, *C) (T, error), options ...Option) Definition {
	d := define(Input, typ, summary, defaults, open, options)
	d.Emits = Metrics
	if d.Job == "" {
		d.Job = typ
	}
	return d
}

// LogsInput defines an input that reads logs: a Runner that calls Env.Logs.
func LogsInput[C any, T Runner](typ, summary string, defaults func() C, open func(*Env, *C) (T, error), options ...Option) Definition {
	d := define(Input, typ, summary, defaults, open, options)
	d.Emits = Logs
	return d
}

// NewProcessor defines a processor. What Open returns implements the consumers of the signals that it takes.
func NewProcessor[C, T any](typ, summary string, takes Signal, defaults func() C, open func(*Env, *C) (T, error), options ...Option) Definition {
	d := define(Processor, typ, summary, defaults, open, options)
	d.Takes, d.Emits = takes, takes
	return d
}

// NewOutput defines an output. What Open returns implements the consumers of the signals that it takes.
func NewOutput[C, T any](typ, summary string, takes Signal, defaults func() C, open func(*Env, *C) (T, error), options ...Option) Definition {
	d := define(Output, typ, summary, defaults, open, options)
	d.Takes = takes
	return d
}

func define[C, T any](kind Kind, typ, summary string, defaults func() C, open func(*Env, *C) (T, error), options []Option) Definition {
	d := Definition{
		Kind: kind, Type: typ, Summary: summary,
		Config: func() any { c := defaults(); return &c },
		Open: func(env *Env, config any) (any, error) {
			c, ok := config.(*C)
			if !ok {
				return nil, fmt.Errorf("%s.%s was given a config of type %T", kind, typ, config)
			}
			return open(env, c)
		},
	}
	for _, o := range options {
		o(&d)
	}
	return d
}
