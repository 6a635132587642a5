package dockerlogs

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hermod-agent/hermod/internal/docker"
	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/positions"
)

const viaAPI = "Docker API"

// An engine that follows a log (20.10) is at the mercy of its reader, and of its own haste: when either is late at a rotation, it leaves out
// whole files that are still there, sends others twice, or falls silent for good. So a stream that follows is left as soon as it can't be trusted, and
// what is there is read to its end before it is followed again: from the position, or, where the log may have been rotated meanwhile, from where the
// stream began, and compared with what it gave. The position stays there until then. What the reading gives behind that has been seen once, and is compared
// with the next one.
//
// Reading what is there has its traps in the same engine. Asked for a log from a time on, it reads no rotated file at all when the oldest is compressed and
// older: then the log is asked for as a whole. And while one reader has compressed files open, each other is given these under their numbers, though
// they have others by then: what is missing for that shows in what comes twice, or in what the stream gave and the reading doesn't. So a reading is
// never broken off, as far as that is up to the agent, and is done once more when it is odd.
const (
	// stall is how long handing on a batch may take.
	stall = 100 * time.Millisecond
	// stepBack is how much older than the newest message one may be.
	stepBack = 100 * time.Millisecond
	// oddSteps is how often a reading may be left because a message is older than it should be.
	oddSteps = 3
	// silentMost bounds the time between two looks whether a silent stream should give something.
	silentMost = 10 * time.Minute
)

var (
	// errLost says that the anchor isn't where it should be in the log.
	errLost = errors.New("the place that was read to isn't found by its time")
	// errDistrust says that a stream that follows is to be left.
	errDistrust = errors.New("the stream may have left something out")
	// errDiffers says that what comes behind the position isn't what was handed on.
	errDiffers = errors.New("what was handed on isn't all that is there")
)

// readAPI reads the log through the engine until the container has ended, which it returns nil for, or was removed. Other faults are
// shown and tried again.
func (f *follower) readAPI(ctx context.Context) error {
	f.atEnd = false
	if p, known := f.in.env.Positions.Get(f.id); known && (p.Time > 0 || uncertain(p)) {
		f.behind = true
	}
	f.checks, f.steps, f.audit.noting = true, 0, false
	pauses := 0 // without anything new in between
	for ctx.Err() == nil {
		c := f.container()
		before, follow := f.fresh, !f.behind
		err := f.readOnce(ctx, &c, follow)
		if ctx.Err() == nil && (follow && len(f.audit.keys) > 0 || f.audit.reading) {
			f.audit.ask(f.pending())
			f.behind = true
		}
		if f.fresh != before {
			pauses = 0
		}
		var answer *docker.Error
		switch {
		case ctx.Err() != nil, errors.Is(err, component.ErrStopped):
			return err
		case err == nil && f.audit.asked:
			continue
		case err == nil && !c.Running:
			return f.finishAPI(ctx, &c)
		case err == nil && !follow:
			f.behind, f.steps = false, 0
			continue
		case errors.Is(err, errDiffers):
			f.checks = false
			continue
		case errors.Is(err, errDistrust):
			f.behind = true
			f.pause(ctx, stall)
			continue
		case err == nil && pauses == 0:
			// The stream ends with the container, but without what it wrote last when it ended amid a line. So it is opened again at
			// once, before the container is removed.
			pauses++
			continue
		case err == nil:
		case errors.As(err, &answer) && answer.NotFound():
			// What came of a line without end before the container was removed is all there will be of it.
			f.endRecords()
			if err := f.consume(ctx); err != nil {
				return err
			}
			if f.container().Gone {
				return errGone
			}
		case errors.As(err, &answer) && unreadable(answer):
			return f.unreadable(ctx, &c, answer)
		default:
			f.explain(err)
		}
		f.pause(ctx, min(250*time.Millisecond<<min(pauses, 6), 15*time.Second))
		pauses++
	}
	return ctx.Err()
}

// finishAPI is finish for a log whose position lies in no file.
func (f *follower) finishAPI(ctx context.Context, c *docker.Container) error {
	if f.cursor.taken == 0 { // the log held nothing new
		p, _ := f.in.env.Positions.Get(f.id)
		f.cursor.high, f.cursor.last = p.Since, p.Time
	}
	return f.finish(ctx, c, positions.Position{})
}

// readOnce opens the log and reads it to the end of the stream.
func (f *follower) readOnce(ctx context.Context, c *docker.Container, follow bool) error {
	if !c.Running && time.Since(c.Finished) > time.Minute {
		select {
		case f.in.catchingUp <- struct{}{}:
			defer func() { <-f.in.catchingUp }()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	p, known := f.from(follow)
	replayed := int64(-1)
	if now := f.in.engine.Now().UnixNano(); known && p.Since > now+int64(time.Second) {
		// The clock was set back since. The engine would hold everything back until that time comes again.
		if p.Time == 0 {
			p.Since = now
		} else {
			n, err := f.locate(ctx, c, p.Time)
			if err != nil {
				return err
			}
			replayed = n
		}
	}
	err := f.readStream(ctx, c, opening{follow: follow, replayed: replayed})
	if errors.Is(err, errLost) && follow {
		return errDistrust // it was rotated since the place was read to
	}
	if errors.Is(err, errLost) {
		err = f.readStream(ctx, c, opening{whole: true, replayed: -1})
	}
	if errors.Is(err, errLost) {
		n, locErr := f.locate(ctx, c, p.Time)
		if locErr != nil {
			return locErr
		}
		err = f.readStream(ctx, c, opening{replayed: n, cut: n == 0})
	}
	return err
}

// opening is how a log is opened.
type opening struct {
	follow bool
	whole  bool // not only from shortly before the position on
	// replayed, when it isn't negative, is how many messages of the whole log were taken already.
	replayed int64
	cut      bool // the place that was read to is gone
}

// pending is the number of messages before the first that was taken and not handed on, or none.
func (f *follower) pending() int64 {
	at, _ := f.lines.earliest()
	return min(at, f.joiner.pending())
}

// from is where to read from: the position, or where a stream began that may have left something out.
func (f *follower) from(follow bool) (p positions.Position, known bool) {
	if !follow && f.audit.asked {
		return f.audit.from, f.audit.known
	}
	return f.in.env.Positions.Get(f.id)
}

// readStream opens the log behind the position and returns nil at the end of the stream.
func (f *follower) readStream(ctx context.Context, c *docker.Container, o opening) error {
	begun, follow := time.Now(), o.follow
	streamCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	p, known := f.from(follow)
	f.cursor.resume(p, known, false)
	f.check, f.first = check{}, 0
	size, files := rotation(c)
	f.notes = !follow && size > 0 && files > 1 && o.replayed < 0
	if carries := f.audit.noting && f.pending() == none; follow && carries {
		f.audit.settle(none)
	} else if follow {
		f.audit.begin(p, known, files > 1)
	}
	f.audit.noting = false
	if f.notes && !f.audit.asked && !o.cut {
		f.audit.note(p, known)
		f.notes = false
	}
	switch {
	case follow:
		f.rotates, f.files = size, files
		defer func() { f.rotates = 0 }()
	case f.audit.asked:
		f.audit.compare(o.cut)
		defer func() { f.in.comparable.Store(begun.Add((1 + rest) * time.Since(begun)).UnixNano()) }()
	case !uncertain(p) || o.cut:
	case f.checks:
		f.check = check{n: p.HeadLen, sum: p.Head}
	default:
		f.first = p.Born
	}
	if p.Repeats > 0 {
		f.cursor.until = p.Time
	}
	if o.replayed >= 0 {
		f.cursor.replayFirst(o.replayed)
	}
	since := f.cursor.ask()
	if o.whole {
		since = 0
	}
	body, err := f.in.engine.Logs(streamCtx, f.id, docker.LogOptions{Follow: follow, Since: since})
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	f.begin()
	f.joiner.short = c.LogDriver != "json-file" && c.LogDriver != "journald"
	f.show("following", viaAPI, f.noFile)
	f.in.env.Status.Note(f.key(), nil)

	w := &watched{body: body, from: f.cursor.since}
	w.last.Store(p.Time)
	w.unsure.Store(follow && f.audit.worth(f.rotates))
	if follow {
		var watching sync.WaitGroup
		defer watching.Wait()
		defer cancel()
		watching.Go(func() { f.watchStream(streamCtx, w, cancel, c.TTY) })
	}
	frames := newFrames(w, c.TTY)
	frames.whole = !c.Running
	for {
		fillErr, err := f.fill(ctx, frames, cancel)
		if err == nil {
			err = f.drain(ctx, frames, follow)
		}
		if err != nil {
			return err
		}
		w.last.Store(f.cursor.last)
		w.unsure.Store(follow && f.audit.worth(f.rotates))
		switch {
		case w.silent.Load():
			return errDistrust
		case errors.Is(fillErr, io.EOF), fillErr != nil && w.stuck.Load():
			return f.endOfReading(ctx, follow)
		case fillErr != nil:
			return fillErr
		}
	}
}

// endOfReading says what to make of a log that was read to its end.
func (f *follower) endOfReading(ctx context.Context, follow bool) error {
	switch {
	case follow:
		return nil
	case f.check.n > 0:
		return errDiffers
	case !f.audit.reading:
		f.audit.asked = false
		return nil
	case f.audit.unsure():
		return errDistrust
	}
	f.audit.end()
	return f.flush(ctx)
}

// fill fills frames, and meanwhile hands on the records that are whole because nothing came for a while. cancel ends the stream. ended is how the
// stream ended, if it did.
func (f *follower) fill(ctx context.Context, frames *frames, cancel func()) (ended, err error) {
	wait := f.untilDue()
	if wait == 0 {
		return frames.fill(), nil
	}
	filled := make(chan error, 1)
	go func() { filled <- frames.fill() }() // its end is waited for below
	for {
		t := time.NewTimer(wait)
		select {
		case ended := <-filled:
			t.Stop()
			return ended, nil
		case <-t.C:
		}
		if err := f.flushDue(ctx); err != nil {
			cancel()
			return <-filled, err
		}
		if wait = f.untilDue(); wait == 0 {
			return <-filled, nil
		}
	}
}

// drain takes the messages that are whole in the buffer and hands them on.
func (f *follower) drain(ctx context.Context, frames *frames, follow bool) error {
	c := f.container()
	f.rename(&c)
	var m message
	var bad error
	for bad == nil {
		ok, err := frames.next(&m)
		if err != nil {
			bad = err
			break
		}
		if !ok {
			break
		}
		if follow && f.cursor.phase == passing && m.time < f.cursor.high-int64(stepBack) && m.time != 0 && f.joiner.pending() == none {
			bad = errDistrust
			break
		}
		if f.rotates > 0 && f.cursor.phase == passing && m.time <= f.cursor.high && f.joiner.pending() == none && f.audit.repeats(&m) {
			bad = errDistrust // it begins a file anew, and may have left out what was before it
			break
		}
		if !follow && f.odd(&m) {
			bad = errDistrust
			break
		}
		switch f.take(&m, nil) {
		case lost:
			return errLost // nothing was taken yet
		case differs:
			return errDiffers // nothing was taken yet
		}
	}
	if frames.cut > 0 {
		f.in.env.Losses.Add("line_too_long", frames.cut)
		frames.cut = 0
	}
	begun := time.Now()
	if err := f.flush(ctx); err != nil {
		return err
	}
	if bad != nil {
		return bad
	}
	late := follow && time.Since(begun) > stall
	f.audit.late = f.audit.late || late
	if late && f.rotates == 0 || f.audit.due(f.rotates) && (f.audit.must(f.rotates, f.files) || f.mayCompare()) {
		return errDistrust
	}
	return nil
}

// mayCompare says that the last comparison of a log, of whatever container, was long enough ago.
func (f *follower) mayCompare() bool { return time.Now().UnixNano() >= f.in.comparable.Load() }

// odd says of a reading's next message that it is older than it should be, as if an older file had been given in place of a newer one. When that
// comes again and again it is the log that is so, because a clock was set back.
func (f *follower) odd(m *message) bool {
	if f.cursor.phase != passing || m.time == 0 || m.time >= f.cursor.high-int64(stepBack) || f.joiner.pending() != none || m.time == f.stepped {
		return false
	}
	if f.steps >= oddSteps {
		f.stepped = m.time
		return false
	}
	f.steps++
	return true
}

// locate counts the messages of the whole log up to the first whose time is that of the one taken last; 0 when there is none, because
// what was taken is no longer part of the log.
func (f *follower) locate(ctx context.Context, c *docker.Container, last int64) (int64, error) {
	body, err := f.in.engine.Logs(ctx, f.id, docker.LogOptions{})
	if err != nil {
		return 0, err
	}
	defer func() { _ = body.Close() }()
	frames := newFrames(body, c.TTY)
	var m message
	var found int64
	for n := int64(0); ; {
		fillErr := frames.fill()
		for {
			ok, err := frames.next(&m)
			if err != nil {
				return 0, err
			}
			if !ok {
				break
			}
			if n++; m.time == last && found == 0 {
				found = n
			}
		}
		if errors.Is(fillErr, io.EOF) {
			if found > 0 || f.audit.asked { // else all of that was taken, and what is left may not have been
				return found, nil
			}
			f.rotatedAway()
			return 0, nil
		}
		if fillErr != nil {
			return 0, fillErr
		}
	}
}

// watched notes since when a read has been waiting.
type watched struct {
	body    io.Reader
	from    int64        // what is older isn't waited for
	waiting atomic.Int64 // nanoseconds since 1970; 0 while nobody reads
	last    atomic.Int64 // time of the message taken last
	stuck   atomic.Bool
	silent  atomic.Bool
	unsure  atomic.Bool // a rotation may have left something out
}

func (w *watched) Read(p []byte) (int, error) {
	w.waiting.Store(time.Now().UnixNano())
	n, err := w.body.Read(p)
	w.waiting.Store(0)
	return n, err
}

// watchStream ends a stream that gives nothing although its container has long ended, or although there is something to give.
func (f *follower) watchStream(ctx context.Context, w *watched, cancel func(), tty bool) {
	patience := f.in.silentFor
	var quietSince int64
	for t := time.NewTicker(f.in.stuckAfter); ; {
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
		since := w.waiting.Load()
		if since == 0 {
			continue
		}
		quiet := time.Duration(time.Now().UnixNano() - since)
		if since != quietSince {
			quietSince, patience = since, f.in.silentFor
		}
		c := f.container()
		switch {
		case (c.Gone || !c.Running) && quiet > f.in.stuckAfter:
			w.stuck.Store(true)
			cancel()
		case quiet > f.in.stuckAfter && w.unsure.Load() && f.mayCompare():
			w.silent.Store(true)
			cancel()
		case quiet > patience:
			patience = min(2*patience, quiet+silentMost)
			newest, err := f.newest(ctx, w.from, tty)
			if err == nil && newest > w.from && newest != w.last.Load() && newest != f.vain.Load() && w.waiting.Load() == since {
				f.vain.Store(newest) // once is enough when it brings nothing
				w.silent.Store(true)
				cancel()
			}
		}
	}
}

// newest asks for the time of the last message of the log; 0 when there is none that new.
func (f *follower) newest(ctx context.Context, since int64, tty bool) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	body, err := f.in.engine.Logs(ctx, f.id, docker.LogOptions{Since: since, Tail: 1})
	if err != nil {
		return 0, err
	}
	defer func() { _ = body.Close() }()
	frames := newFrames(body, tty)
	frames.whole = true
	var m message
	var newest int64
	for {
		fillErr := frames.fill()
		for {
			ok, err := frames.next(&m)
			if err != nil {
				return 0, err
			}
			if !ok {
				break
			}
			newest = m.time
		}
		if errors.Is(fillErr, io.EOF) {
			return newest, nil
		}
		if fillErr != nil {
			return 0, fillErr
		}
	}
}

// unreadable says that the engine can't give the log at all, whenever it is asked.
func unreadable(e *docker.Error) bool {
	return strings.Contains(e.Message, "does not support reading") || e.Status == 501
}

// unreadable shows why the log can't be read and waits until the container starts anew, which it does with another driver at best when
// it is another container. The driver none is somebody's decision, and the builder's own (20.10) for each step of an image: its row says so,
// and nobody needs to be alarmed.
func (f *follower) unreadable(ctx context.Context, c *docker.Container, answer *docker.Error) error {
	err := component.WithRemedy(answer, "give the container another log driver, json-file or local, and create it anew "+
		"(--log-driver, or logging.driver in its compose file)")
	if c.LogDriver != "none" && c.LogOptions["cache-disabled"] == "true" {
		err = component.WithRemedy(answer, "take cache-disabled=true out of the container's log options, and create it anew")
	}
	remedy, what := component.Remedy(err)
	if c.LogDriver == "none" {
		f.show("unreadable", "", "driver none: Docker keeps no log of it; to have one, "+remedy)
	} else {
		f.show("unreadable", "", "driver "+c.LogDriver+": "+what+"; "+remedy)
		f.in.env.Status.Note(f.key(), err)
	}
	for ctx.Err() == nil {
		now := f.container()
		if now.Gone {
			return errGone
		}
		if now.Starts != c.Starts {
			return nil
		}
		f.pause(ctx, 0)
	}
	return ctx.Err()
}

// explain shows why a stream broke off.
func (f *follower) explain(err error) {
	if f.in.engine.Err() != nil {
		f.show("waiting", viaAPI, errEngine.Error())
		return
	}
	var said engineError
	if errors.As(err, &said) {
		err = component.WithRemedy(err, "Docker can't read its own log of this container: mount the folder of its log files so that the "+
			"agent reads them itself, or create the container anew")
		f.in.env.Status.Note(f.key(), err)
	}
	f.show("failing", viaAPI, err.Error())
}
