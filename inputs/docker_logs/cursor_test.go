package dockerlogs

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hermod-agent/hermod/internal/docker"
	"github.com/hermod-agent/hermod/internal/multiline"
	"github.com/hermod-agent/hermod/pipeline/config"
	"github.com/hermod-agent/hermod/pipeline/positions"
)

// The model of a log: a sequence of messages that can be read from a place in the file, or through an engine that leaves out what is
// older than it was asked for.
type modelLog struct {
	messages []message
	deleted  int // messages that were rotated away from the front

	multiline *multiline.Config
}

// modelPlace is the number of a message standing for its place in the file.
type modelPlace int

func (p modelPlace) place() positions.Position {
	return positions.Position{Path: "model", Device: 1, Inode: 1, Offset: int64(p)}
}

// engine20 is what a 20.10 engine sends: it looks at the time of every message.
func (l *modelLog) engine20(since int64) (out []message) {
	for _, m := range l.messages[l.deleted:] {
		if m.time >= since {
			out = append(out, m)
		}
	}
	return out
}

// engine23 is what newer engines send: after the first message that is new enough they send everything.
func (l *modelLog) engine23(since int64) []message {
	all := l.messages[l.deleted:]
	for i, m := range all {
		if m.time >= since {
			return all[i:]
		}
	}
	return nil
}

func (l *modelLog) locate(last int64) int64 {
	for i, m := range l.messages[l.deleted:] {
		if m.time == last {
			return int64(i) + 1
		}
	}
	return 0
}

// newModelFollower is a follower without input or output around it.
func newModelFollower(t testing.TB, s *sink, book *positions.Book) *follower {
	env, _ := newEnv(t, s, book)
	in := &input{env: env, config: defaults()}
	return newFollower(in, &docker.Container{ID: "model", Name: "model", Inspected: true, Running: true})
}

func clone(m message) *message {
	m.text = slices.Clone(m.text)
	return &m
}

// readFileFrom takes n messages of the log by way of its file, at most batch at a time.
func (l *modelLog) readFileFrom(t testing.TB, f *follower, n, batch int) {
	p, known := f.begin()
	exact := p.Inode != 0 && int(p.Offset) >= l.deleted
	at := l.deleted
	if exact {
		at = int(p.Offset)
	}
	anyhow := false
again:
	f.cursor.resume(p, known, exact)
	if anyhow || p.Inode != 0 && !exact && f.cursor.phase == seeking {
		f.cursor.settle()
	}
	for i, m := range l.messages[at:min(at+n, len(l.messages))] {
		if f.take(clone(m), modelPlace(at+i)) == lost {
			f.begin()
			anyhow = true
			goto again
		}
		if (i+1)%batch == 0 {
			l.flush(t, f)
		}
	}
	l.flush(t, f)
}

func (l *modelLog) flush(t testing.TB, f *follower) {
	if err := f.flush(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// readAPIFrom takes n messages through an engine.
func (l *modelLog) readAPIFrom(t testing.TB, f *follower, engine func(since int64) []message, n, batch int) {
	p, known := f.begin()
	f.cursor.resume(p, known, false)
	since := f.cursor.ask()
again:
	for i, m := range engine(since) {
		if i >= n {
			break
		}
		if f.take(clone(m), nil) == lost {
			f.begin()
			f.cursor.resume(p, known, false)
			f.cursor.replayFirst(l.locate(p.Time))
			since = 0
			goto again
		}
		if (i+1)%batch == 0 {
			l.flush(t, f)
		}
	}
	l.flush(t, f)
}

// wanted is what a reader that sees the whole log once gives, without the parts that still wait.
func (l *modelLog) wanted() (out []string) {
	j := joiner{max: int(defaults().MaxLineSize)}
	var records []record
	lines := lines{Config: l.multiline, max: int(defaults().MaxLineSize)}
	for i, m := range l.messages {
		records = j.add(clone(m), int64(i), 0, records[:0])
		for _, r := range lines.add(records, nil) {
			out = append(out, fmt.Sprint(r.stream, r.time, string(r.text)))
		}
	}
	return out
}

// generate makes a log with what real ones have: equal lines at equal times, steps back between the streams, lines in parts whose parts
// lie among other lines, and, if asked for, clocks that are set back.
func generate(t *rapid.T, setBacks, equalTimes bool) []message {
	var out []message
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano()
	type openLine struct {
		time int64
		left int
	}
	var open [2]openLine
	used := map[int64]bool{}
	n := rapid.IntRange(1, 80).Draw(t, "messages")
	for range n {
		switch rapid.IntRange(0, 9).Draw(t, "clock") {
		case 0, 1, 2:
			if !equalTimes {
				now++
			}
		case 3, 4, 5:
			now += rapid.Int64Range(1, 1000).Draw(t, "ns")
		case 6, 7:
			now += rapid.Int64Range(1, 400e6).Draw(t, "ms")
		case 8:
			now += rapid.Int64Range(1, 20e9).Draw(t, "s")
		case 9:
			if setBacks && open[0].left+open[1].left == 0 && rapid.IntRange(0, 4).Draw(t, "set back") == 0 {
				now -= int64(2 * time.Hour)
			}
		}
		for !equalTimes && used[now] {
			now++
		}
		s := stream(rapid.IntRange(0, 1).Draw(t, "stream"))
		m := message{stream: s, time: now, ends: true, text: []byte{"ab"[rapid.IntRange(0, 1).Draw(t, "line")]}}
		if o := &open[s]; o.left > 0 {
			o.left--
			m.time, m.ends = o.time, o.left == 0
		} else if rapid.IntRange(0, 9).Draw(t, "parts") == 0 {
			*o = openLine{now, rapid.IntRange(1, 3).Draw(t, "left")}
			m.ends = false
		} else if len(out) > 0 && rapid.IntRange(0, 5).Draw(t, "late") == 0 {
			// Stamped before the message that stands before it.
			m.time -= rapid.Int64Range(0, 2e9).Draw(t, "by") | 1
		}
		for first := m.time; !equalTimes && m.ends && open[s].time != m.time && used[m.time]; first++ {
			m.time = first
		}
		used[m.time] = true
		out = append(out, m)
	}
	return out
}

func keys(s *sink) (out []string) {
	for _, r := range s.all() {
		st := stdout
		if strings.Contains(r.labels, "stderr") {
			st = stderr
		}
		out = append(out, fmt.Sprint(st, r.time, r.line))
	}
	return out
}

// However often the reading is broken off, after whatever message, and whichever way it goes on: each line comes once, in order.
func TestNothingIsLostOrRepeatedAcrossRestartsAndPaths(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		l := &modelLog{messages: generate(rt, false, true)}
		s, book := newSink(), newBook(t)
		ways := rapid.SliceOfN(rapid.IntRange(0, 2), 0, 12).Draw(rt, "ways")
		for i, way := range append(ways, 0, 1) {
			f := newModelFollower(t, s, book) // a restart of the agent
			n := 1 << 30
			if i < len(ways) {
				n = rapid.IntRange(0, len(l.messages)).Draw(rt, "n")
			}
			batch := rapid.IntRange(1, 10).Draw(rt, "batch")
			switch way {
			case 0:
				l.readFileFrom(t, f, n, batch)
			case 1:
				l.readAPIFrom(t, f, l.engine20, n, batch)
			case 2:
				l.readAPIFrom(t, f, l.engine23, n, batch)
			}
		}
		if got, want := keys(s), l.wanted(); !slices.Equal(got, want) {
			rt.Fatalf("ways %v\n got %q\nwant %q", ways, got, want)
		}
	})
}

// The same where lines are joined: every record of an undisturbed reading comes whole. What one stream gave behind the start of a record of the other one
// that wasn't whole comes again, and where that is amid a record or a line in parts, the rest of it.
func TestRecordsOfSeveralLinesComeWholeAcrossRestartsAndPaths(t *testing.T) {
	re, err := config.ParseRegexp("^a")
	if err != nil {
		t.Fatal(err)
	}
	joined := &multiline.Config{FirstLine: re}
	joined.SetDefaults()
	rapid.Check(t, func(rt *rapid.T) {
		l := &modelLog{messages: generate(rt, false, false), multiline: joined}
		s, book := newSink(), newBook(t)
		ways := rapid.SliceOfN(rapid.IntRange(0, 2), 0, 12).Draw(rt, "ways")
		for i, way := range append(ways, 0, 1) {
			f := newModelFollower(t, s, book)
			f.lines.Config = joined
			n := 1 << 30
			if i < len(ways) {
				n = rapid.IntRange(0, len(l.messages)).Draw(rt, "n")
			}
			batch := rapid.IntRange(1, 10).Draw(rt, "batch")
			switch way {
			case 0:
				l.readFileFrom(t, f, n, batch)
			case 1:
				l.readAPIFrom(t, f, l.engine20, n, batch)
			case 2:
				l.readAPIFrom(t, f, l.engine23, n, batch)
			}
		}
		var got []string
		for _, key := range keys(s) {
			if !slices.Contains(got, key) {
				got = append(got, key)
			}
		}
		want := l.wanted()
		for _, key := range want {
			if !slices.Contains(got, key) {
				rt.Fatalf("ways %v: %q is missing\n got %q\nwant %q", ways, key, got, want)
			}
		}
		for _, r := range s.all() {
			rest := func(key string) bool { return strings.HasSuffix(key, r.line) }
			if key := keys(&sink{records: []taken{r}})[0]; !slices.Contains(want, key) && !slices.ContainsFunc(want, rest) {
				rt.Fatalf("ways %v: %q was never written\n got %q\nwant %q", ways, key, got, want)
			}
		}
	})
}

// With clocks that are set back nothing is lost; by way of the file nothing is repeated either.
func TestNothingIsLostWhenTheClockIsSetBack(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		l := &modelLog{messages: generate(rt, true, true)}
		s, book := newSink(), newBook(t)
		onlyFile := rapid.Bool().Draw(rt, "only file")
		for i := range 8 {
			f := newModelFollower(t, s, book)
			n := 1 << 30
			if i < 7 {
				n = rapid.IntRange(0, len(l.messages)).Draw(rt, "n")
			}
			if onlyFile {
				l.readFileFrom(t, f, n, 3)
			} else {
				l.readAPIFrom(t, f, l.engine23, n, 3)
			}
		}
		got, want := keys(s), l.wanted()
		if onlyFile {
			if !slices.Equal(got, want) {
				rt.Fatalf("\n got %q\nwant %q", got, want)
			}
			return
		}
		missing := map[string]int{}
		for _, k := range want {
			missing[k]++
		}
		for _, k := range got {
			missing[k]--
		}
		for k, n := range missing {
			if n > 0 {
				rt.Fatalf("%d times %q is missing\n got %q\nwant %q", n, k, got, want)
			}
		}
	})
}

// What was rotated away before it was read is gone; nothing that is still there is lost for it, and little is repeated.
func TestNothingThatIsThereIsLostAfterARotation(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		l := &modelLog{messages: generate(rt, false, false)}
		l.messages = slices.Insert(l.messages, 0, message{time: l.messages[0].time - 1e9, ends: true, text: []byte("y")})
		last := l.messages[len(l.messages)-1] // what shows an engine's reader that the anchor will not come
		l.messages = append(l.messages, message{time: last.time + 60e9, ends: true, text: []byte("z")})
		s, book := newSink(), newBook(t)
		first := rapid.IntRange(0, len(l.messages)).Draw(rt, "first")
		way := rapid.IntRange(0, 1).Draw(rt, "way")
		f := newModelFollower(t, s, book)
		l.readAPIFrom(t, f, l.engine20, first, 4)
		taken := f.cursor.taken
		if n := int(taken); n > 0 && (!l.messages[n-1].ends || partOf(l.messages, n-1)) {
			return // broken off amid a line in parts, whose time the parts behind the rotation share
		}
		l.deleted = rapid.IntRange(0, len(l.messages)).Draw(rt, "deleted")
		f = newModelFollower(t, s, book)
		if way == 0 {
			l.readAPIFrom(t, f, l.engine23, 1<<30, 4)
		} else {
			l.readFileFrom(t, f, 1<<30, 4)
		}
		got := map[string]int{}
		for _, r := range s.all() {
			got[fmt.Sprint(r.time, r.line)]++
		}
		for i, m := range l.messages {
			if i < l.deleted && i >= int(taken) || !m.ends || i > 0 && m.time == l.messages[i-1].time {
				continue
			}
			if len(m.text) == 1 && !partOf(l.messages, i) && got[fmt.Sprint(m.time, string(m.text))] == 0 {
				for j, m := range l.messages {
					rt.Logf("%d: %v %d %q %v", j, m.stream, m.time, m.text, m.ends)
				}
				rt.Fatalf("message %d %q is missing: %d taken, %d deleted, way %d; got %v", i, m.text, taken, l.deleted, way, s.all())
			}
		}
	})
}

// partOf says whether message i ends a line in parts.
func partOf(all []message, i int) bool {
	for _, m := range all[:i] {
		if m.stream == all[i].stream && m.time == all[i].time && !m.ends {
			return true
		}
	}
	return false
}

func TestTrackAllocatesNothing(t *testing.T) {
	var c cursor
	now := int64(1e18)
	at := modelPlace(3)
	if n := testing.AllocsPerRun(1000, func() {
		now += int64(time.Millisecond)
		c.judge(now)
		c.track(now, true, false, &at)
		c.position(none)
	}); n > 0.2 {
		t.Errorf("%v allocations a message", n)
	}
}
