// Package discover makes targets of containers that ask for it by their labels: one input of the config collects from each of them, tells
// them apart by the label instance, and lets none hold up another.
package discover

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/hermod-agent/hermod/internal/docker"
	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// maxTargets bounds the containers of one input.
const maxTargets = 256

// Config is squashed into the config of an input whose servers may be discovered.
type Config struct {
	// Collect from every container that has labels of this input, in place of one server: what the block says holds for all of them, and a
	// container's labels for itself. Containers come and go without a change here. Each is told apart by its label instance, "NAME:PORT". The
	// example shows the labels.
	Discover bool `hcl:"discover,optional"`
	// Secrets that containers may name in their label "secret". A label never holds a secret itself, and no file or other address either.
	Secrets map[string]config.Secret `hcl:"secrets,optional"`
}

// Validate checks what the types can't say.
func (c *Config) Validate() []error {
	if len(c.Secrets) > 0 && !c.Discover {
		return []error{config.Attr("secrets", errors.New("secrets are for containers that are discovered; add discover = true"))}
	}
	return nil
}

// Server is one target: a collector that is stopped when its container is gone.
type Server interface {
	component.Collector
	component.Stopper
}

// Options of a Fleet.
type Options struct {
	Env *component.Env
	// Port is the server's usual one, for containers without the label port.
	Port int
	// Labels are the names that may stand behind the prefix, besides port and secret.
	Labels []string
	// Secrets are those of the config.
	Secrets map[string]config.Secret
	// Up is the family that says whether a target could be collected from. The fleet gives 0 where the server can't say it itself: it could not
	// be opened, or hangs.
	Up *metrics.Desc
	// Open makes the server of a container. It makes no connection.
	Open func(env *component.Env, f Found) (Server, error)
}

// Found is a container that asks to be collected from.
type Found struct {
	Container string         // its name
	Address   config.Address // container://NAME:PORT
	Labels    map[string]string
	// Secret is what the label secret names; not set where there is no such label.
	Secret config.Secret
}

// Fleet is a collector of many servers.
type Fleet struct {
	o       Options
	prefix  string // of labels
	engine  *docker.Engine
	own     docker.Own
	release func() error

	// Of the collection alone.
	sub     *docker.Subscription
	members map[string]*member // by container id

	calls sync.WaitGroup // collections under way
	mu    sync.Mutex     // guards what follows
	rows  []component.Detail
}

// member is a container with its server.
type member struct {
	container docker.Container
	instance  string
	server    Server // nil where err says why it could not be opened
	err       error
	status    *component.Status // of the server's own
	noted     map[string]bool   // its faults that the input tells
	up        *metrics.Series

	busy  bool // a collection was left behind and has not returned
	done  chan error
	batch *metrics.Batch
}

var (
	_ component.Collector = (*Fleet)(nil)
	_ component.Checker   = (*Fleet)(nil)
	_ component.Stopper   = (*Fleet)(nil)
)

// New readies a fleet. No connection is made.
func New(o Options) (*Fleet, error) {
	endpoint, err := docker.ParseEndpoint(o.Env.Docker.Endpoint, nil)
	if err != nil {
		return nil, err
	}
	f := &Fleet{o: o, prefix: "hermod." + o.Env.Type + ".", own: docker.FindOwn("/proc"), members: map[string]*member{}}
	f.engine, f.release, err = docker.Acquire(o.Env.Pool, docker.Options{Endpoint: endpoint, UserAgent: "hermod/" + o.Env.Version, Log: o.Env.Log})
	if err != nil {
		return nil, err
	}
	o.Env.Status.Detail(f.details)
	return f, nil
}

// Stop stops the servers and waits for collections under way until ctx ends.
func (f *Fleet) Stop(ctx context.Context) error {
	var errs []error
	for id, m := range f.members {
		errs = append(errs, m.stop(ctx))
		delete(f.members, id)
	}
	if f.sub != nil {
		f.sub.Close()
		f.sub = nil
	}
	over := make(chan struct{})
	go func() {
		f.calls.Wait()
		close(over)
	}()
	select {
	case <-over:
	case <-ctx.Done():
	}
	return errors.Join(append(errs, f.release())...)
}

func (m *member) stop(ctx context.Context) error {
	if m.server == nil {
		return nil
	}
	return m.server.Stop(ctx)
}

// Collect looks for containers that came or went, and collects from all of them at once. One that fails is a fault of its own, and no fault
// of the input.
func (f *Fleet) Collect(ctx context.Context, b *metrics.Batch) error {
	deadline := time.Now().Add(f.o.Env.Timeout)
	if d, ok := ctx.Deadline(); ok {
		deadline = d
	}
	// The rest of the time is for what comes behind: whoever is not done by then is left behind.
	left := time.Until(deadline)
	err := f.look(ctx, left/4)
	own, cancel := context.WithTimeout(ctx, left*8/10)
	defer cancel()
	last, enough := context.WithTimeout(ctx, left*9/10)
	defer enough()

	order := slices.SortedFunc(maps.Values(f.members), func(a, b *member) int { return cmp.Compare(a.instance, b.instance) })
	for _, m := range order {
		if m.server == nil || m.busy {
			continue
		}
		m.busy = true
		m.batch.Begin(b.Source, b.Cycle, b.Time)
		batch := m.batch
		f.calls.Go(func() { m.done <- collect(own, m.server, batch) })
	}
	rows := make([]component.Detail, 0, len(order))
	for _, m := range order {
		rows = append(rows, f.take(last, m, b))
	}
	f.mu.Lock()
	f.rows = rows
	f.mu.Unlock()
	return err
}

// collect calls a server, whose panic is its own fault.
func collect(ctx context.Context, s Server, b *metrics.Batch) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = component.WithRemedy(fmt.Errorf("panic: %v", p), "please report this")
		}
	}()
	return s.Collect(ctx, b)
}

// take waits for a member's collection until ctx ends, and adds what it gave.
func (f *Fleet) take(ctx context.Context, m *member, b *metrics.Batch) component.Detail {
	err := m.err
	if m.busy {
		var over bool
		select {
		case err = <-m.done:
			over = true
		default:
			select {
			case err = <-m.done:
				over = true
			case <-ctx.Done():
			}
		}
		if over {
			m.busy = false
			b.Samples = append(b.Samples, m.batch.Samples...)
			b.Histograms = append(b.Histograms, m.batch.Histograms...)
			b.Exemplars = append(b.Exemplars, m.batch.Exemplars...)
		} else {
			err = component.WithRemedy(errors.New("the collection has not returned yet"), "see why the server hangs, or raise timeout in the block if it is slow")
		}
	}
	if m.server == nil || m.busy {
		b.Set(m.up, 0)
	}
	f.o.Env.Status.Fault(m.instance, err)
	f.passOn(m)
	row := component.Detail{Name: m.instance, State: "collected"}
	if err != nil {
		_, what := component.Remedy(err)
		row.State, row.Note = "failing", what
	}
	return row
}

// passOn tells the faults that a server tells of itself as those of the input.
func (f *Fleet) passOn(m *member) {
	now := map[string]bool{}
	for _, fault := range m.status.Faults() {
		err := errors.New(fault.What)
		if fault.Remedy != "" {
			err = component.WithRemedy(err, fault.Remedy)
		}
		key := strings.TrimSpace(m.instance + " " + fault.Key)
		if key == m.instance {
			key += " server" // the collection's own error has the plain one
		}
		now[key] = true
		if fault.Note {
			f.o.Env.Status.Note(key, err)
		} else {
			f.o.Env.Status.Fault(key, err)
		}
	}
	for key := range m.noted {
		if !now[key] {
			f.o.Env.Status.Fault(key, nil)
		}
	}
	m.noted = now
}

// details are the rows of the status page: a target each.
func (f *Fleet) details() []component.Detail {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.rows)
}

// look brings the members up to date. The first time it waits for Docker's list.
func (f *Fleet) look(ctx context.Context, wait time.Duration) error {
	if f.sub == nil {
		f.sub = f.engine.Subscribe()
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for waiting := true; waiting && !f.engine.Synced() && f.engine.Err() == nil; {
		select {
		case <-f.sub.C():
		case <-timer.C:
			waiting = false
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for _, c := range f.sub.Take() {
		f.update(ctx, &c)
	}
	return f.engine.Err()
}

// update takes in a container that changed.
func (f *Fleet) update(ctx context.Context, c *docker.Container) {
	m := f.members[c.ID]
	wanted := !c.Gone && c.EverStarted() && !f.own.Is(c.ID) && c.Labels["com.docker.compose.oneoff"] != "True" && f.asks(c)
	switch {
	case m == nil && wanted && len(f.members) >= maxTargets:
		f.o.Env.Status.Fault("targets", component.WithRemedy(fmt.Errorf("more than %d containers ask to be collected from; the rest is left out", maxTargets), "spread them over several agents"))
	case m == nil && wanted:
		f.members[c.ID] = f.open(c)
	case m == nil:
	case !wanted || m.container.Name != c.Name: // gone, or renamed
		f.forget(ctx, m)
		if wanted {
			f.members[c.ID] = f.open(c)
		}
	default:
		m.container = *c
	}
}

func (f *Fleet) forget(ctx context.Context, m *member) {
	delete(f.members, m.container.ID)
	if err := m.stop(ctx); err != nil {
		f.o.Env.Log.Warn("stopping a target whose container is gone", "target", m.instance, "err", err)
	}
	f.o.Env.Status.Fault(m.instance, nil)
	for key := range m.noted {
		f.o.Env.Status.Fault(key, nil)
	}
	f.o.Env.Log.Info("a target is gone with its container", "target", m.instance)
}

// asks says whether a container has labels of this input.
func (f *Fleet) asks(c *docker.Container) bool {
	for name := range c.Labels {
		if strings.HasPrefix(name, f.prefix) {
			return true
		}
	}
	return false
}

// open makes the member of a container. What its labels say wrong is its fault.
func (f *Fleet) open(c *docker.Container) *member {
	env := f.o.Env
	m := &member{container: *c, done: make(chan error, 1), batch: new(metrics.Batch)}
	found, err := f.read(c)
	m.instance = found.Container + ":" + strconv.Itoa(found.Address.Port)
	series := env.Series.And(labels.FromStrings("instance", m.instance))
	m.up = series.New(f.o.Up)
	log := env.Log.With("target", m.instance)
	m.status = component.NewStatus(log)
	if err == nil {
		own := *env
		own.Series, own.Status, own.Log, own.Self = series, m.status, log, prometheus.NewRegistry()
		m.server, err = f.o.Open(&own, found)
	}
	if err != nil {
		m.server, m.err = nil, err
	}
	log.Info("a container asks to be collected from", "container", c.Name)
	return m
}

// read turns a container's labels into what a server is opened with.
func (f *Fleet) read(c *docker.Container) (Found, error) {
	found := Found{Container: c.Name, Labels: map[string]string{}}
	var errs []error
	fault := func(label, what, remedy string) {
		errs = append(errs, component.WithRemedy(fmt.Errorf("the label %s%s of the container %s %s", f.prefix, label, c.Name, what), remedy))
	}
	port := f.o.Port
	for _, name := range slices.Sorted(maps.Keys(c.Labels)) {
		label, ours := strings.CutPrefix(name, f.prefix)
		if !ours {
			continue
		}
		value := c.Labels[name]
		switch {
		case label == "port":
			n, err := strconv.Atoi(value)
			if err != nil || n < 1 || n > 65535 {
				fault(label, fmt.Sprintf("is %q and no port", value), "write a number between 1 and 65535: the port inside the container")
				continue
			}
			port = n
		case label == "secret":
			secret, ok := f.o.Secrets[value]
			if !ok {
				fault(label, fmt.Sprintf("names the secret %q, which the agent doesn't offer", value), fmt.Sprintf("add it to %s: secrets = { %s = env(\"...\") }", f.o.Env.Address, value))
				continue
			}
			found.Secret = secret
		case slices.Contains(f.o.Labels, label):
			found.Labels[label] = value
		default:
			known := append([]string{"port", "secret"}, f.o.Labels...)
			fault(label, "means nothing"+config.Suggest(label, known), "the labels are "+f.prefix+strings.Join(known, ", "+f.prefix))
		}
	}
	address, err := config.ParseAddress("container://" + c.Name)
	if err != nil {
		errs = append(errs, err)
	}
	found.Address = address.WithPort(port)
	if len(errs) > 0 {
		return found, errs[0] // one at a time: a remedy belongs to one fault
	}
	return found, nil
}

// Check looks for containers once and tries each of them.
func (f *Fleet) Check(ctx context.Context, report func(component.Finding)) {
	err := f.look(ctx, 10*time.Second)
	report(component.Finding{What: "look for containers with labels " + f.prefix + "*", Err: err, Detail: fmt.Sprintf("%d found", len(f.members))})
	for _, m := range slices.SortedFunc(maps.Values(f.members), func(a, b *member) int { return cmp.Compare(a.instance, b.instance) }) {
		tell := func(found component.Finding) {
			found.What = strings.TrimSuffix(m.instance+": "+found.What, ": ")
			report(found)
		}
		switch c := m.server.(type) {
		case nil:
			tell(component.Finding{Err: m.err})
		case component.Checker:
			c.Check(ctx, tell)
		default:
			b := new(metrics.Batch)
			b.Begin(&metrics.Source{}, 1, time.Now().UnixMilli())
			err := collect(ctx, m.server, b)
			tell(component.Finding{Err: err, Detail: fmt.Sprintf("%d series", len(b.Samples)+len(b.Histograms))})
		}
	}
}
