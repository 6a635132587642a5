package dockerlogs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/hermod-agent/hermod/internal/docker"
	"github.com/hermod-agent/hermod/internal/hostinfo"
	"github.com/hermod-agent/hermod/internal/tail"
	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/logs"
	"github.com/hermod-agent/hermod/pipeline/positions"
)

// follower reads the log of one container for as long as the container exists, through its ends and starts.
type follower struct {
	in   *input
	id   string
	stop context.CancelFunc
	wake chan struct{} // holds one: the container, its file or the engine may have changed

	mu    sync.Mutex // guards what follows
	c     docker.Container
	state string
	via   string
	note  string
	last  int64     // time of the newest record taken
	file  *tail.Log // while it is read

	// What follows belongs to the goroutine of run.
	cursor  cursor
	joiner  joiner
	lines   lines
	batch   logs.Batch
	parted  []record // lines of the message at hand
	records []record
	named   string // the container's name in streams
	streams [2]*logs.Stream
	// endedAt is Container.Starts of the run of the container that was read to its end.
	endedAt uint64
	ended   bool
	noFile  string // why the file isn't read although there is one
	atEnd   bool   // the file's end is where to begin
	behind  bool   // the engine's log is read to its end before it is followed
	audit   audit  // of a stream that follows a log which the engine rotates
	rotates int64  // the size at which it does, while such a stream is read; else 0
	files   int64  // that it keeps then
	notes   bool   // what a reading takes is to be noted from the next place on before which no message waits
	check   check  // of what was handed on behind the saved position
	checks  bool   // it is to be checked
	first   int64  // the time of its first message, which comes again because it didn't match; else 0
	steps   int    // readings that were left because a message was older than it should be
	stepped int64  // the time of such a message in a log that is so
	// vain is the time of the newest message for which a silent stream was given up; it is used beside run.
	vain  atomic.Int64
	fresh uint64 // messages that were taken since the agent started
}

func newFollower(in *input, c *docker.Container) *follower {
	return &follower{in: in, id: c.ID, wake: make(chan struct{}, 1), c: *c, state: "waiting", joiner: joiner{max: int(in.config.MaxLineSize)},
		lines: lines{Config: in.config.Multiline, max: int(in.config.MaxLineSize)}}
}

// set tells what is new about the container.
func (f *follower) set(c *docker.Container) {
	f.mu.Lock()
	if !c.Inspected && f.c.Inspected {
		old := f.c
		old.Gone, old.Running = c.Gone, c.Running
		f.c = old
	} else {
		f.c = *c
	}
	f.mu.Unlock()
	f.poke()
}

func (f *follower) poke() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *follower) container() docker.Container {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.c
}

func (f *follower) name() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.c.Name
}

// key names the container in faults and notes.
func (f *follower) key() string { return "container " + f.name() }

func (f *follower) show(state, via, note string) {
	f.mu.Lock()
	f.state, f.via, f.note = state, via, note
	f.mu.Unlock()
}

func (f *follower) detail() component.Detail {
	f.mu.Lock()
	defer f.mu.Unlock()
	d := component.Detail{Name: f.c.Name, State: f.state, Via: f.via, Note: f.note, Unread: -1}
	if f.last > 0 {
		d.Last = time.Unix(0, f.last)
	}
	switch {
	case f.file != nil:
		d.Unread = f.file.Stat().Unread
	case f.state == "ended":
		d.Unread = 0
	}
	return d
}

// pause waits until something may have changed, at most for d when that isn't 0.
func (f *follower) pause(ctx context.Context, d time.Duration) {
	var over <-chan time.Time
	if d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		over = t.C
	}
	select {
	case <-ctx.Done():
	case <-f.wake:
	case <-over:
	}
}

// errGone says that the container was removed and that nothing is left to read.
var errGone = errors.New("the container was removed")

func (f *follower) run(ctx context.Context) {
	for ctx.Err() == nil {
		c := f.container()
		if f.ended && (c.Running || c.Starts != f.endedAt) {
			f.ended = false
		}
		switch {
		case c.Gone && (f.ended || !c.EverStarted()):
			f.forget()
			return
		case f.ended:
			f.show("ended", f.viaNow(), f.noFile)
			f.pause(ctx, 0)
			continue
		case !c.EverStarted():
			f.show("waiting", "", "not started yet")
			f.pause(ctx, 0)
			continue
		case !c.Running && !c.Gone && f.nothingNew(&c):
			f.ended, f.endedAt = true, c.Starts
			continue
		}
		path, why := f.filePath(&c)
		f.noFile = why
		var err error
		if path != "" {
			if err = f.readFile(ctx, path); err != nil && ctx.Err() == nil && !errors.Is(err, errGone) && !errors.Is(err, component.ErrStopped) {
				f.noFile = err.Error()
				path = ""
			}
		}
		if path == "" && ctx.Err() == nil {
			err = f.readAPI(ctx)
		}
		switch {
		case errors.Is(err, errGone):
			f.forget()
			return
		case errors.Is(err, component.ErrStopped):
			return
		}
	}
}

// nothingNew says of a container that isn't running that all it has written was read before the agent was started, or lies before where
// it is to begin.
func (f *follower) nothingNew(c *docker.Container) bool {
	p, known := f.in.env.Positions.Get(f.id)
	if !known {
		return false
	}
	if uncertain(p) {
		return false
	}
	if p.Time == 0 { // noted by first
		return !c.Finished.IsZero() && p.Since > c.Finished.Add(time.Minute).UnixNano()
	}
	return readToEnd(p, c.Started.UnixNano())
}

// forget ends the story of a container that was removed.
func (f *follower) forget() {
	f.in.env.Positions.Delete(f.id)
	f.in.drop(f)
}

func (f *follower) viaNow() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.via
}

// filePath is where the log can be read from disk, or why it can't. Both are empty for a driver that writes no readable file.
func (f *follower) filePath(c *docker.Container) (path, why string) {
	switch {
	case c.LogDriver != "json-file":
		return "", ""
	case !f.in.config.ReadFiles:
		return "", "read_files is false"
	case c.Gone:
		return "", "the container was removed"
	}
	logPath := c.LogPath
	if logPath == "" {
		// The engine names it only when the container is up, and this may be the moment before.
		dir := f.in.engine.Info().DockerRootDir
		if dir == "" {
			return "", "Docker names no log file"
		}
		logPath = filepath.Join(dir, "containers", c.ID, c.ID+"-json.log")
	}
	err := readable(logPath)
	if err == nil {
		return logPath, ""
	}
	if root := f.in.env.Host.Rootfs; root != "" && root != "/" {
		below, rootErr := hostinfo.InRoot(root, logPath)
		if rootErr == nil {
			if rootErr = readable(below); rootErr == nil {
				return below, ""
			}
		}
		if errors.Is(err, os.ErrNotExist) {
			err = rootErr
		}
	}
	why = "its log file can't be read: " + err.Error()
	if errors.Is(err, os.ErrNotExist) {
		why = fmt.Sprintf("its log file isn't mounted: add -v %[1]s:%[1]s:ro to read it from disk", filepath.Dir(filepath.Dir(logPath)))
	}
	return "", why
}

// readable says why the file, or the folder of one that isn't there yet, can't be opened.
func readable(path string) error {
	st, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		path = filepath.Dir(path)
	} else if err == nil && !st.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", path)
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	return file.Close()
}

// take passes a message on to the batch. at is where it lies in the file, or nil.
func (f *follower) take(m *message, at placer) verdict {
	if m.time == 0 {
		// An entry without a time belongs to the one before it.
		if m.time = max(f.cursor.last, f.cursor.since); m.time == 0 {
			m.time = f.in.engine.Now().UnixNano()
		}
	}
	v := f.cursor.judge(m.time)
	if v == outside || v == lost {
		return v
	}
	given, matches := false, true
	switch {
	case v == fresh && f.check.n > 0:
		given, matches = true, f.check.took(m)
		if f.audit.noting {
			f.audit.took(m, f.cursor.taken)
		}
	case v == fresh && f.audit.reading:
		if given = f.audit.compared(m, f.cursor.taken); f.audit.gone {
			f.audit.gone = false
			f.rotatedAway()
		}
	case v == fresh && (f.rotates > 0 || f.audit.noting):
		f.audit.took(m, f.cursor.taken)
	}
	if !matches {
		return differs
	}
	if v == fresh && f.first != 0 {
		if m.time > f.first {
			f.rotatedAway()
		}
		f.first = 0
	}
	if given {
		v = replay
	}
	m.fresh, m.given = v == fresh, given
	whole, waits := m.ends && !f.joiner.waits(m), f.joiner.pending() != none
	f.parted = f.joiner.add(m, f.cursor.taken, f.cursor.last, f.parted[:0])
	f.records = f.lines.add(f.parted, f.records[:0])
	if v == replay && f.cursor.phase == passing && !f.audit.reading {
		// What was taken ends before the first record that wasn't whole.
		f.lines.reset()
	}
	if first, _ := f.lines.earliest(); first < f.cursor.taken {
		waits = true
	}
	f.cursor.track(m.time, whole, waits || v == replay, at)
	if v == fresh {
		f.fresh++
	}
	f.emit(v == fresh)
	if f.notes || f.audit.noting {
		f.remember()
	}
	return v
}

// remember goes on with noting what a reading takes: from here on, when up to here nothing is missing or there is no room for all of it.
func (f *follower) remember() {
	if f.audit.noting {
		f.notes = f.audit.crowded()
	}
	if !f.notes || f.audit.reading || f.check.n > 0 || f.cursor.phase != passing || f.pending() != none {
		return
	}
	if p, ok := f.cursor.position(none); ok {
		f.audit.note(p, true)
		f.notes = false
	}
}

// rotatedAway counts a place in a log before which the engine has thrown away what wasn't read.
func (f *follower) rotatedAway() {
	f.in.env.Losses.Add("rotated_away", 1)
	f.in.env.Log.Warn("the log was rotated past where it was read to: lines may be missing", "container", f.name())
}

// emit moves the records to the batch, but those that were handed on before. When it is for the sake of a message that isn't fresh, these are all that
// have none that is.
func (f *follower) emit(forFresh bool) {
	for i := range f.records {
		r := &f.records[i]
		if !r.fresh && (r.given || !forFresh) {
			r.text = nil
			continue
		}
		if r.long {
			f.in.env.Losses.Add("line_too_long", 1)
		}
		f.batch.Add(logs.Record{Stream: f.streamOf(r.stream), Time: r.time, Line: r.text})
		r.text = nil
	}
	f.records = f.records[:0]
}

// flush hands the batch on and then notes where the log was read to.
func (f *follower) flush(ctx context.Context) error {
	if err := f.consume(ctx); err != nil {
		return err
	}
	if f.cursor.phase != passing || f.audit.reading || f.check.n > 0 {
		return nil // amid a replay the position noted before is the better one
	}
	if f.rotates > 0 && f.audit.holds {
		if p := f.audit.position(f.pending()); p.HeadLen > 0 {
			f.in.env.Positions.Set(f.id, p)
		}
		return nil
	}
	if p, ok := f.position(); ok {
		f.in.env.Positions.Set(f.id, p)
	}
	return nil
}

// position is behind what was taken: behind all messages, of which parts that wait are replayed, or before the first record that waits for more lines.
func (f *follower) position() (positions.Position, bool) {
	at, prior := f.lines.earliest()
	if at == none {
		return f.cursor.position(f.joiner.pending())
	}
	if part, before := f.joiner.earliest(); part < at {
		at, prior = part, before
	}
	return f.cursor.positionBefore(at, prior)
}

// flushDue hands on the records for whose next line it was waited long enough.
func (f *follower) flushDue(ctx context.Context) error {
	if f.cursor.phase != passing {
		return nil
	}
	f.records = f.lines.end(time.Now(), f.records[:0])
	if len(f.records) == 0 {
		return nil
	}
	f.emit(true)
	return f.flush(ctx)
}

// untilDue is how long it is until flushDue has something to hand on; 0 when nothing waits.
func (f *follower) untilDue() time.Duration {
	at, waits := f.lines.due()
	if !waits || f.cursor.phase != passing {
		return 0
	}
	return max(time.Millisecond, time.Until(at))
}

// endRecords moves what waits to the batch: nothing will come of it any more.
func (f *follower) endRecords() {
	f.parted = f.joiner.end(f.parted[:0])
	f.records = f.lines.end(time.Time{}, f.lines.add(f.parted, f.records[:0]))
	f.emit(true)
}

func (f *follower) consume(ctx context.Context) error {
	n := len(f.batch.Records)
	if n == 0 {
		return nil
	}
	newest := f.batch.Records[n-1].Time
	for refused := false; ; {
		err := f.in.env.Logs.ConsumeLogs(ctx, &f.batch)
		if err == nil {
			if refused {
				f.in.env.Status.Fault(f.key(), nil)
			}
			break
		}
		if ctx.Err() != nil || errors.Is(err, component.ErrStopped) {
			return err
		}
		refused = true
		f.in.env.Status.Fault(f.key(), err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
	f.batch.Begin(f.in.env.Address)
	f.mu.Lock()
	f.last = newest
	f.mu.Unlock()
	return nil
}

// finish takes what waits for a line end as it is, because the container has ended, and notes that everything was read. file is the
// place behind it in the file, if there is one.
func (f *follower) finish(ctx context.Context, c *docker.Container, file positions.Position) error {
	f.endRecords()
	if err := f.consume(ctx); err != nil {
		return err
	}
	f.in.env.Positions.Set(f.id, f.cursor.end(file, c.Started.UnixNano()))
	f.ended, f.endedAt = true, c.Starts
	return nil
}

// begin readies the follower for a reader.
func (f *follower) begin() (p positions.Position, known bool) {
	f.batch.Begin(f.in.env.Address)
	f.joiner.reset()
	f.lines.reset()
	return f.in.env.Positions.Get(f.id)
}

// streamOf gives the stream of stdout or stderr, made anew when the container was renamed.
func (f *follower) streamOf(s stream) *logs.Stream {
	if f.streams[s] == nil {
		c := f.container()
		f.streams[s] = f.in.env.Streams.New(f.in.labelsOf(&c, s), "")
	}
	return f.streams[s]
}

// rename makes new streams when the container has another name.
func (f *follower) rename(c *docker.Container) {
	if f.named != c.Name {
		f.named, f.streams = c.Name, [2]*logs.Stream{}
	}
}

func (in *input) labelsOf(c *docker.Container, s stream) labels.Labels {
	b := labels.NewBuilder(labels.EmptyLabels())
	for _, name := range in.config.ContainerLabels {
		b.Set(labelName(name), c.Labels[name])
	}
	b.Set("container", c.Name)
	b.Set("image", c.Image)
	b.Set("compose_project", c.Project())
	b.Set("compose_service", c.Service())
	b.Set("stream", s.String())
	return b.Labels()
}
