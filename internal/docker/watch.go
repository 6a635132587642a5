package docker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/events"
)

// entry is a container in the cache. The engine's lock guards it.
type entry struct {
	c Container
	// looking says that an inspection runs, again that another has to follow because something happened meanwhile, and changed that
	// the running one may be older than what events said of the container's state.
	looking, again, changed bool
	first                   bool // the first list waits for its inspection
	seenStart, seenOOM      time.Time
}

// run keeps a session with the engine until ctx ends.
func (e *Engine) run(ctx context.Context) {
	defer e.jobs.Done()
	pause := e.o.Retry
	for ctx.Err() == nil {
		begun := time.Now()
		err := e.session(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(begun) > time.Minute {
			pause = e.o.Retry
		}
		e.setErr(explain(ctx, e.o.Endpoint, err))
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, 4*e.o.Retry)
	}
}

func (e *Engine) setErr(err error) {
	e.mu.Lock()
	e.err = err
	for s := range e.subs {
		s.poke()
	}
	e.mu.Unlock()
}

// session connects, takes a list and follows events until something fails.
func (e *Engine) session(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c, err := connect(ctx, e.o.Endpoint, e.o.UserAgent)
	if err != nil {
		return err
	}
	info, err := c.info(ctx)
	if err != nil {
		c.close()
		return err
	}
	e.mu.Lock()
	old := e.conn
	e.conn, e.info = c, info
	since := e.newestEvent
	if since.IsZero() {
		since = time.Now().Add(info.Ahead - 2*time.Second)
	}
	e.mu.Unlock()
	if old != nil {
		old.close()
	}

	// The engine answers before it begins to collect events for us, hence the time in the past: what is told twice does no harm.
	stream := c.events(ctx, since)
	if err := e.reconcile(ctx, c); err != nil {
		return err
	}
	e.setErr(nil)

	tick := time.NewTicker(e.o.Reconcile)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case m := <-stream.Messages:
			e.event(ctx, c, &m)
		case err := <-stream.Err:
			return fmt.Errorf("docker's event stream ended: %w", orClosed(err))
		case <-tick.C:
			if err := e.reconcile(ctx, c); err != nil {
				return err
			}
		}
	}
}

func orClosed(err error) error {
	if err == nil {
		return errors.New("closed by the engine")
	}
	return err
}

// reconcile compares the cache with the engine's list.
func (e *Engine) reconcile(ctx context.Context, c *conn) error {
	e.mu.Lock()
	before := maps.Clone(e.containers)
	e.mu.Unlock()
	list, err := c.list(ctx)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := range list {
		s := &list[i]
		x := e.containers[s.ID]
		switch {
		case x == nil:
			x = &entry{c: Container{ID: s.ID, Name: s.name()}}
			e.containers[s.ID] = x
			fallthrough
		case !x.c.Inspected:
			if !e.synced && !x.first {
				x.first = true
				e.waiting++
			}
			e.look(ctx, c, x)
		case x.c.Running != s.running() || s.name() != "" && s.name() != x.c.Name:
			e.look(ctx, c, x)
		default:
			e.amend(x, s)
		}
		delete(before, s.ID)
	}
	for id, x := range before { // known before the list was asked for and not on it
		if e.containers[id] == x {
			e.remove(x)
		}
	}
	e.checkSynced()
	return nil
}

// amend takes over what the list knows better than the events: what became of a container that ended, and what an event told while
// nobody listened. The lock is held.
func (e *Engine) amend(x *entry, s *summary) {
	health, known := s.health()
	if !known {
		health = x.c.Health
	}
	if x.looking || s.State == "" || s.State == x.c.State && health == x.c.Health {
		return
	}
	x.c.State, x.c.Health = s.State, health
	e.tell(x)
}

// event applies what happened. The engine's lock isn't held.
func (e *Engine) event(ctx context.Context, c *conn, m *events.Message) {
	if m.Type != events.ContainerEventType || m.Actor.ID == "" {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	at := time.Unix(0, m.TimeNano)
	if at.After(e.newestEvent) {
		e.newestEvent = at
	}
	x := e.containers[m.Actor.ID]
	if x == nil {
		if m.Action == events.ActionDestroy {
			return // told twice, or made and removed before the first list
		}
		x = &entry{c: fromEvent(m)}
		e.containers[m.Actor.ID] = x
	}
	switch m.Action {
	case events.ActionOOM:
		if at.After(x.seenOOM) {
			x.seenOOM = at
			x.c.OOMs++
			e.tell(x)
		}
		return
	case events.ActionPause, events.ActionUnPause:
		e.look(ctx, c, x)
		return
	}
	if strings.HasPrefix(string(m.Action), string(events.ActionHealthStatus)) { // "health_status: healthy"
		e.look(ctx, c, x)
		return
	}
	x.changed = true
	switch m.Action {
	case events.ActionCreate:
		e.look(ctx, c, x)
	case events.ActionStart:
		if !at.After(x.seenStart) {
			return // told again after a reconnect
		}
		x.seenStart = at
		x.c.Starts++
		x.c.Started, x.c.Running, x.c.State, x.c.Stopping = at, true, "running", time.Time{}
		e.tell(x)
		e.look(ctx, c, x)
	case events.ActionKill:
		if !x.c.Inspected {
			e.look(ctx, c, x)
		}
		if endsIt(m.Actor.Attributes["signal"]) && x.c.Running {
			x.c.Stopping = at
			e.tell(x)
		}
	case events.ActionDie:
		if !at.After(x.c.Finished) || at.Before(x.seenStart) {
			return
		}
		x.c.Finished, x.c.Running, x.c.PID, x.c.State, x.c.Stopping = at, false, 0, "exited", time.Time{}
		if code, err := strconv.Atoi(m.Actor.Attributes["exitCode"]); err == nil {
			x.c.ExitCode = code
		}
		if !x.c.Inspected {
			e.look(ctx, c, x)
		}
		e.tell(x)
	case events.ActionRename:
		if n := strings.TrimPrefix(m.Actor.Attributes["name"], "/"); n != "" {
			x.c.Name = n
		}
		e.tell(x)
		e.look(ctx, c, x) // one that runs already may bring the old name
	case events.ActionDestroy:
		e.remove(x)
	}
}

// endsIt says whether a signal, by its number as events have it, is one by which containers are stopped: HUP, USR1 and their like are not.
func endsIt(signal string) bool {
	switch signal {
	case "2", "3", "9", "15": // INT, QUIT, KILL, TERM
		return true
	}
	return false
}

// fromEvent is what an event says of a container: labels stand among its attributes.
func fromEvent(m *events.Message) Container {
	c := Container{ID: m.Actor.ID, Name: m.Actor.Attributes["name"], Image: m.Actor.Attributes["image"], Labels: map[string]string{}}
	for k, v := range m.Actor.Attributes {
		switch k {
		case "name", "image", "exitCode", "signal", "oldName", "execID", "execDuration":
		default:
			c.Labels[k] = v
		}
	}
	if m.Action == events.ActionCreate {
		c.Created = time.Unix(0, m.TimeNano)
	}
	return c
}

// remove forgets a container and tells. The lock is held.
func (e *Engine) remove(x *entry) {
	delete(e.containers, x.c.ID)
	x.c.Gone, x.c.Running, x.c.PID = true, false, 0
	e.lookedFirst(x)
	for s := range e.subs {
		s.put(x.c)
	}
}

// tell passes the container on to the subscriptions, once enough is known of it. The lock is held.
func (e *Engine) tell(x *entry) {
	if !x.c.Inspected {
		return
	}
	for s := range e.subs {
		s.put(x.c)
	}
}

// look inspects a container in the background, one inspection a container at a time: the engine holds them up while a container
// starts. The lock is held.
func (e *Engine) look(ctx context.Context, c *conn, x *entry) {
	if x.looking {
		x.again = true
		return
	}
	x.looking, x.again, x.changed = true, false, false
	e.jobs.Add(1)
	go e.inspect(ctx, c, x)
}

func (e *Engine) inspect(ctx context.Context, c *conn, x *entry) {
	defer e.jobs.Done()
	for {
		select {
		case e.slot <- struct{}{}:
		case <-ctx.Done():
			e.mu.Lock()
			x.looking = false
			e.mu.Unlock()
			return
		}
		got, err := c.inspect(ctx, x.c.ID)
		<-e.slot

		e.mu.Lock()
		e.apply(x, &got, err)
		if !x.again || err != nil || ctx.Err() != nil || e.containers[x.c.ID] != x {
			x.looking = false
			if ctx.Err() == nil { // else the next session's list looks again
				e.lookedFirst(x)
				e.checkSynced()
			}
			e.mu.Unlock()
			return
		}
		x.again, x.changed = false, false
		e.mu.Unlock()
	}
}

// apply merges what an inspection found. The lock is held.
func (e *Engine) apply(x *entry, got *Container, err error) {
	if e.containers[x.c.ID] != x {
		return // removed meanwhile
	}
	if err != nil {
		var answer *Error
		if errors.As(err, &answer) && answer.NotFound() {
			return // its destroy event or the next list removes it
		}
		if e.ctx.Err() == nil && !errors.Is(err, context.Canceled) {
			e.o.Log.Warn("can't inspect a container; the next list tries again", "container", x.c.Name, "id", ShortID(x.c.ID), "err", err)
		}
		return
	}
	got.Starts, got.OOMs = x.c.Starts, x.c.OOMs
	if got.Running && !got.Started.After(x.c.Stopping) {
		got.Stopping = x.c.Stopping
	}
	if x.changed {
		// Events that came while the engine answered know better.
		got.Running, got.Started, got.Finished, got.State, got.ExitCode = x.c.Running, x.c.Started, x.c.Finished, x.c.State, x.c.ExitCode
		if !got.Running {
			got.PID = 0
		}
	} else if got.EverStarted() && (x.c.Started.IsZero() || got.Started.After(x.seenStart.Add(5*time.Second)) && !got.Started.Equal(x.c.Started)) {
		// A start that no event told of. The event of a start comes some milliseconds to seconds after the time that the engine notes.
		got.Starts++
		x.seenStart = got.Started
	}
	x.c = *got
	x.c.Inspected = true
	e.tell(x)
}

func (e *Engine) lookedFirst(x *entry) {
	if x.first {
		x.first = false
		e.waiting--
	}
}

// checkSynced says once that the first list is worked through. The lock is held.
func (e *Engine) checkSynced() {
	if e.synced || e.waiting > 0 {
		return
	}
	e.synced = true
	for s := range e.subs {
		s.poke()
	}
}
