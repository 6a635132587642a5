// Package dockerlogs reads the logs of all containers of a Docker engine, from the json-file driver's files where it may and through
// the engine for every other driver.
package dockerlogs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hermod-agent/hermod/internal/docker"
	"github.com/hermod-agent/hermod/internal/tail"
	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/positions"
)

// settleLimit is how long the first start waits at most for the save of where the logs are begun.
const settleLimit = 5 * time.Second

// firstSync is the key of the position that says that the containers which existed at the first start were all seen: those without a
// position are new.
const firstSync = "first sync"

type input struct {
	env       *component.Env
	config    Config
	selection selection
	back      time.Duration // how far back to begin with what exists at the first start
	beginning bool
	own       docker.Own
	// atEnd are the containers that existed when the input was started for the first time just now, whose files needn't be read from
	// their beginning to find the place by its time. Run's goroutine alone uses it.
	atEnd map[string]bool

	engine  *docker.Engine
	release func() error

	buffers sync.Pool     // *[]byte, for chunks of files
	watcher *tail.Watcher // while Run runs
	// catchingUp bounds how many logs of ended containers are asked of the engine at once: it reads each of them from its first byte.
	catchingUp chan struct{}
	// comparable is the time, in nanoseconds since 1970, from which on a log may be read once more to compare it, where it isn't urgent.
	comparable atomic.Int64
	// stuckAfter is how long a stream may give nothing once its container has ended, silentFor how long before it is looked whether there
	// is something to give.
	stuckAfter, silentFor time.Duration

	mu        sync.Mutex // guards what follows
	followers map[string]*follower
	odd       bool // that a line could not be decoded was logged
}

var (
	_ component.Starter = (*input)(nil)
	_ component.Runner  = (*input)(nil)
	_ component.Stopper = (*input)(nil)
)

func open(env *component.Env, c *Config) (*input, error) {
	in := &input{env: env, config: *c, followers: map[string]*follower{}, atEnd: map[string]bool{}, catchingUp: make(chan struct{}, 4),
		stuckAfter: 10 * time.Second, silentFor: time.Minute}
	var err error
	if in.back, in.beginning, err = c.start(); err != nil {
		return nil, fmt.Errorf("start: %w", err)
	}
	if in.selection.include, err = compileSelectors("include", c.Include); err != nil {
		return nil, err
	}
	if in.selection.exclude, err = compileSelectors("exclude", c.Exclude); err != nil {
		return nil, err
	}
	size := tail.BufferSize(0)
	in.buffers.New = func() any { b := make([]byte, size); return &b }
	return in, nil
}

// Start takes the process' connection to the engine. That nobody answers there isn't an error: the engine may come later.
func (in *input) Start(context.Context) error {
	if in.engine != nil {
		return nil
	}
	e, err := docker.ParseEndpoint(cmp.Or(in.config.Endpoint, in.env.Docker.Endpoint), nil)
	if err != nil {
		return err
	}
	in.engine, in.release, err = docker.Acquire(in.env.Pool, docker.Options{Endpoint: e, UserAgent: "hermod/" + in.env.Version, Log: in.env.Log})
	in.own = docker.FindOwn("/proc")
	return err
}

// Stop gives the connection back.
func (in *input) Stop(context.Context) error {
	if in.release == nil {
		return nil
	}
	return in.release()
}

// Run follows containers until ctx ends.
func (in *input) Run(ctx context.Context) error {
	if err := in.Start(ctx); err != nil {
		return err
	}
	in.watcher = tail.NewWatcher(tail.WatcherOptions{Log: in.env.Log})
	defer in.watcher.Close()
	var followers sync.WaitGroup
	defer followers.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	in.env.Status.Detail(in.details)
	begun := time.Now()
	sub := in.engine.Subscribe()
	defer sub.Close()
	synced := false
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-sub.C():
		}
		in.env.Status.Fault("", in.engine.Err())
		if !synced && !in.engine.Synced() {
			continue // what is to be read from where is decided for all that exists at once
		}
		changed := sub.Take()
		if !synced {
			if in.first(changed, begun.Add(in.engine.Info().Ahead)) {
				in.settle(ctx)
			}
			synced = true
		}
		for i := range changed {
			in.update(ctx, &followers, &changed[i])
		}
		in.env.Status.Ready()
		if in.engine.Err() == nil {
			in.pokeAll() // who lost the engine may go on at once
		}
	}
}

// first notes where to begin with the containers that exist when the input starts for the first time, and forgets the positions of
// those that are gone. It says whether another first start would begin elsewhere.
func (in *input) first(all []docker.Container, begun time.Time) (later bool) {
	exists := map[string]bool{firstSync: true}
	for i := range all {
		exists[all[i].ID] = true
	}
	book := in.env.Positions
	if book.Fresh() {
		cursors := in.promtail()
		later = !in.beginning || len(cursors) > 0
		since := begun.Add(-in.back).UnixNano()
		for i := range all {
			c := &all[i]
			if c.Gone || !c.Created.Before(begun) {
				continue
			}
			if cursor, ok := cursors[c.ID]; ok {
				book.Set(c.ID, positions.Position{Since: cursor.UnixNano()})
			} else if !in.beginning {
				book.Set(c.ID, positions.Position{Since: since})
				in.atEnd[c.ID] = in.back == 0
			}
		}
	}
	book.Each(func(key string, _ positions.Position) bool {
		if !exists[key] {
			book.Delete(key)
		}
		return true
	})
	book.Set(firstSync, positions.Position{Time: begun.UnixNano()})
	return later
}

// settle has it saved where the logs are begun before the input is ready: see positions.Book.Settle. When the positions can't be saved, which the
// engine tells, the lines are more urgent.
func (in *input) settle(ctx context.Context) {
	limited, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	_ = in.env.Positions.Settle(limited)
}

// update starts, tells or ends the follower of a container that has changed.
func (in *input) update(ctx context.Context, wait *sync.WaitGroup, c *docker.Container) {
	in.mu.Lock()
	f := in.followers[c.ID]
	in.mu.Unlock()
	picked := !in.own.Is(c.ID) && in.selection.picks(c)
	switch {
	case f == nil && picked && c.Inspected && !c.Gone:
		f = newFollower(in, c)
		f.atEnd = in.atEnd[c.ID]
		delete(in.atEnd, c.ID)
		in.mu.Lock()
		in.followers[c.ID] = f
		in.mu.Unlock()
		fctx, cancel := context.WithCancel(ctx)
		f.stop = cancel
		wait.Go(func() { f.run(fctx) })
	case f == nil && c.Gone:
		in.env.Positions.Delete(c.ID)
	case f == nil:
	case !picked && !c.Gone: // renamed to a name that isn't wanted
		f.stop()
		in.drop(f)
	default:
		f.set(c)
	}
}

// drop takes a follower off the list. It has ended, or soon will.
func (in *input) drop(f *follower) {
	in.mu.Lock()
	if in.followers[f.id] == f {
		delete(in.followers, f.id)
	}
	in.mu.Unlock()
	in.env.Status.Note(f.key(), nil)
}

func (in *input) pokeAll() {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, f := range in.followers {
		f.poke()
	}
}

// details are the rows of the status page, one for each container.
func (in *input) details() []component.Detail {
	in.mu.Lock()
	all := make([]*follower, 0, len(in.followers))
	for _, f := range in.followers {
		all = append(all, f)
	}
	in.mu.Unlock()
	rows := make([]component.Detail, 0, len(all))
	for _, f := range all {
		rows = append(rows, f.detail())
	}
	slices.SortFunc(rows, func(a, b component.Detail) int { return strings.Compare(a.Name, b.Name) })
	return rows
}

// undecodable counts a line of a json-file log that isn't one. The first is logged.
func (in *input) undecodable(f *follower, line []byte) {
	in.env.Losses.Add("undecodable", 1)
	in.mu.Lock()
	told := in.odd
	in.odd = true
	in.mu.Unlock()
	if !told {
		in.env.Log.Warn("a line of a container's log file is no JSON of the json-file driver and is left out; further ones are only counted",
			"container", f.name(), "line", string(line[:min(len(line), 200)]))
	}
}

var errEngine = errors.New("docker isn't reachable")
