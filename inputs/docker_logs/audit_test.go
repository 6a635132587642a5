package dockerlogs

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hermod-agent/hermod/internal/docker"
	"github.com/hermod-agent/hermod/internal/docker/dockertest"
	"github.com/hermod-agent/hermod/internal/multiline"
	"github.com/hermod-agent/hermod/pipeline/config"
	"github.com/hermod-agent/hermod/pipeline/positions"
)

func TestSizesAreReadAsDockerWritesThem(t *testing.T) {
	for text, want := range map[string]int64{
		"20m": 20_000_000, "512k": 512_000, "1.5g": 1_500_000_000, "10MB": 10_000_000, "1000": 1000, "-1": 0, "": 0, "many": 0, "9999p9": 0,
	} {
		if got := parseSize(text); got != want {
			t.Errorf("%q: got %d, want %d", text, got, want)
		}
	}
	for driver, want := range map[string]int64{"local": 20_000_000, "json-file": 0, "journald": 0, "none": 0} {
		if got, _ := rotation(&docker.Container{LogDriver: driver}); got != want {
			t.Errorf("%s: got %d, want %d", driver, got, want)
		}
	}
}

// rotating is a container whose log is rotated at a size.
func rotating(b *bench, id, size string) {
	b.create(id, "local", func(c *dockertest.Container) { c.LogOptions = map[string]string{"max-size": size} })
	b.fake.Start(id)
}

// numbers are lines.
func numbers(from, to int) []string {
	var out []string
	for i := from; i <= to; i++ {
		out = append(out, fmt.Sprintf("line %d", i))
	}
	return out
}

func TestWhatAStreamLeavesOutAtARotationIsReadAfterwards(t *testing.T) {
	for name, end := range map[string]func(b *bench){
		"more comes":                  func(b *bench) { b.write("web", numbers(31, 60)...) },
		"nothing comes for a while":   func(*bench) {},
		"the container ends":          func(b *bench) { b.fake.Die("web") },
		"the file is begun once more": func(b *bench) { b.fake.Write("web", dockertest.Message{Time: b.now, Text: "line 30\n"}) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.quick = true
			b.run(nil).ready()
			rotating(b, "web", "1k")
			b.write("web", numbers(1, 5)...)
			b.want(numbers(1, 5)...)
			b.fake.Skip(between(10, 20))
			b.write("web", numbers(6, 30)...)
			b.until("the last line", func() bool { return slices.Contains(b.texts(), "line 30") })
			end(b)
			b.until("what was left out", func() bool {
				got := b.texts()
				return !slices.ContainsFunc(numbers(1, 30), func(l string) bool { return !slices.Contains(got, l) })
			})
			b.stop()
			for line, n := range b.counts() {
				if n != 1 && (line != "line 30" || name != "the file is begun once more") {
					t.Errorf("%q came %d times", line, n)
				}
			}
		})
	}
}

// between picks the lines with these numbers.
func between(from, to int) func(m dockertest.Message) bool {
	return func(m dockertest.Message) bool {
		var n int
		_, err := fmt.Sscanf(m.Text, "line %d", &n)
		return err == nil && n > from && n < to
	}
}

// counts is how often each line came.
func (b *bench) counts() map[string]int {
	out := map[string]int{}
	for _, l := range b.texts() {
		out[l]++
	}
	return out
}

// wantEach waits until each line has come once, in whatever order, and nothing else.
func (b *bench) wantEach(lines ...string) {
	b.t.Helper()
	b.until("every line", func() bool {
		got := b.counts()
		return !slices.ContainsFunc(lines, func(l string) bool { return got[l] == 0 })
	})
	if got := b.texts(); len(got) != len(lines) {
		b.t.Fatalf("%d lines came, want %d: %q", len(got), len(lines), got)
	}
}

// The comparison comes to an end although the log is written to all the time, and what comes meanwhile comes once.
func TestWhatAStreamLeavesOutIsReadOnceWhileTheLogIsWrittenTo(t *testing.T) {
	b := newBench(t)
	b.quick = true
	b.run(nil).ready()
	rotating(b, "web", "1k")
	b.write("web", "first")
	b.want("first")
	b.fake.Skip(func(m dockertest.Message) bool {
		var n int
		_, err := fmt.Sscanf(m.Text, "line %d", &n)
		return err == nil && n%100 >= 40 && n%100 < 60
	})
	var mu sync.Mutex // of the writing
	late := 0
	b.fake.Reread(func(_ int64, log []dockertest.Message) []dockertest.Message {
		mu.Lock()
		defer mu.Unlock()
		if late++; late < 1000 {
			b.write("web", fmt.Sprintf("line %d", 10_000+100*late)) // comes behind what is being read
		}
		return log
	})
	var want []string
	for i := range 20 {
		lines := numbers(100*i, 100*i+99)
		want = append(want, lines...)
		mu.Lock()
		b.write("web", lines...)
		mu.Unlock()
		b.until("the lines so far", func() bool {
			got := b.counts()
			return !slices.ContainsFunc(lines, func(l string) bool { return got[l] == 0 })
		})
	}
	b.stop()
	got := b.counts()
	for _, l := range want {
		if got[l] != 1 {
			t.Errorf("%q came %d times", l, got[l])
		}
	}
	for l, n := range got {
		if n != 1 {
			t.Errorf("%q came %d times", l, n)
		}
	}
}
func TestAStreamThatLeavesNothingOutIsComparedWithoutARepeat(t *testing.T) {
	b := newBench(t)
	b.quick = true
	b.run(nil).ready()
	rotating(b, "web", "1k")
	var want []string
	for i := range 40 {
		lines := numbers(100*i, 100*i+15)
		want = append(want, lines...)
		b.write("web", lines...)
		// Parts of a line, between which the stream may be left.
		b.now += 1000
		whole := ""
		for part := range 3 {
			text := strings.Repeat(fmt.Sprint(part), 400)
			whole += text
			if part == 2 {
				text += "\n"
			}
			b.fake.Write("web", dockertest.Message{Time: b.now, Text: text})
			if i%4 == 0 {
				b.until("the lines before", func() bool { return len(b.texts()) >= len(want) })
			}
		}
		want = append(want, whole)
	}
	b.want(want...)
	reads := 0
	for _, r := range b.fake.Requests() {
		if strings.HasSuffix(r, "/logs") {
			reads++
		}
	}
	if reads < 5 {
		t.Errorf("the log was read %d times: nothing was compared", reads)
	}
}

// A kill, or a stop, before the comparison: what the stream left out is read when the agent starts again, and nothing comes again when it left out nothing.
func TestWhatWasNotComparedIsKnownAgain(t *testing.T) {
	for _, hole := range []bool{false, true} {
		t.Run(fmt.Sprint("left out ", hole), func(t *testing.T) {
			b := newBench(t)
			b.run(nil).ready()
			rotating(b, "web", "100k")
			b.write("web", numbers(1, 5)...)
			b.want(numbers(1, 5)...)
			if hole {
				b.fake.Skip(between(10, 20))
			}
			b.write("web", numbers(6, 15)...)
			b.write("web", numbers(16, 30)...)
			b.until("the last line", func() bool { return b.counts()["line 30"] > 0 })
			b.fake.Skip(nil)
			b.run(nil).ready()
			if hole {
				b.until("what was left out", func() bool {
					got := b.counts()
					return !slices.ContainsFunc(numbers(1, 30), func(l string) bool { return got[l] == 0 })
				})
			}
			b.write("web", numbers(31, 40)...)
			b.until("the last line", func() bool { return b.counts()["line 40"] > 0 })
			b.run(nil).ready()
			b.write("web", numbers(41, 45)...)
			b.until("the last line", func() bool { return b.counts()["line 45"] > 0 })
			if !hole {
				b.wantEach(numbers(1, 45)...)
			}
		})
	}
}

// The same when the log is read from disk from then on.
func TestWhatWasNotComparedIsKnownAgainInTheFile(t *testing.T) {
	for _, hole := range []bool{false, true} {
		t.Run(fmt.Sprint("left out ", hole), func(t *testing.T) {
			b := newBench(t)
			b.run(func(c *Config) { c.ReadFiles = false }).ready()
			b.create("web", "json-file", func(c *dockertest.Container) {
				c.LogPath = b.file("web")
				c.LogOptions = map[string]string{"max-size": "100k", "max-file": "3"}
			})
			b.fake.Start("web")
			b.write("web", numbers(1, 5)...)
			b.want(numbers(1, 5)...)
			if hole {
				b.fake.Skip(between(10, 20))
			}
			b.write("web", numbers(6, 30)...)
			b.until("the last line", func() bool { return b.counts()["line 30"] > 0 })
			b.run(nil).ready()
			b.write("web", numbers(31, 40)...)
			b.until("the last line", func() bool { return b.counts()["line 40"] > 0 })
			if row := b.row("web"); !strings.HasPrefix(row.Via, "file ") {
				t.Errorf("read via %s", row.Via)
			}
			if got := b.counts(); hole && got["line 15"] != 1 {
				t.Errorf("what was left out came %d times", got["line 15"])
			}
			if !hole {
				b.wantEach(numbers(1, 40)...)
			}
		})
	}
}

// An engine 20.10 that is asked for a log from a time on reads none of its rotated files when the oldest is compressed and older than that.
func TestRotatedFilesAreReadThoughTheEnginePassesOverThem(t *testing.T) {
	b := newBench(t)
	b.run(nil).ready()
	rotating(b, "web", "100k")
	b.write("web", numbers(1, 30)...)
	b.want(numbers(1, 30)...)
	b.stop()
	b.write("web", numbers(31, 60)...)
	rotated := b.now
	b.write("web", numbers(61, 90)...)
	b.fake.Reread(func(since int64, log []dockertest.Message) []dockertest.Message {
		if since == 0 {
			return log
		}
		return slices.DeleteFunc(log, func(m dockertest.Message) bool { return m.Time <= rotated })
	})
	b.run(nil).ready()
	b.want(numbers(1, 90)...)
	if n := b.env.Losses.Counts()["rotated_away"]; n != 0 {
		t.Errorf("%d times something is said to be lost", n)
	}
}

// An engine 20.10 gives a reader the rotated files that others have open in place of those which have their numbers now.
func TestAReadingThatIsOddIsDoneOnceMore(t *testing.T) {
	b := newBench(t)
	b.run(nil).ready()
	rotating(b, "web", "1k")
	b.write("web", "first")
	b.want("first")
	b.fake.Skip(between(0, 100))
	var oddOnes, readings atomic.Int32
	b.fake.Reread(func(_ int64, log []dockertest.Message) []dockertest.Message {
		readings.Add(1)
		if len(log) < 91 || oddOnes.Add(1) > 2 {
			return log
		}
		// Files of 30: the oldest twice, and not the newest of those that were rotated.
		return slices.Concat(log[:31], log[1:31], log[31:61], log[91:])
	})
	for _, part := range []int{1, 31, 61} {
		for n := part; n < part+30; n++ {
			b.now += int64(10 * time.Millisecond)
			b.write("web", numbers(n, n)...)
		}
	}
	b.write("web", numbers(100, 130)...)
	b.wantEach(slices.Concat([]string{"first"}, numbers(1, 90), numbers(100, 130))...)
	if oddOnes.Load() < 3 {
		t.Errorf("%d readings", readings.Load())
	}
}

// What a reading gives behind all that the stream gave has been seen once. When it leaves a rotated file out there, nothing comes twice by which that
// would show.
func TestWhatAReadingLeavesOutAtItsEndIsReadAfterwards(t *testing.T) {
	for name, compares := range map[string]bool{"in a comparison": true, "in a reading that catches up": false} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.quick = true
			b.run(nil).ready()
			rotating(b, "web", "1k")
			last := 10
			if compares {
				last = 60
			}
			if !compares {
				b.write("web", numbers(1, last)...)
				b.want(numbers(1, last)...)
				b.stop()
			}
			var once atomic.Bool
			b.fake.Reread(func(_ int64, log []dockertest.Message) []dockertest.Message {
				if len(log) < last || once.Swap(true) {
					return log
				}
				for n := last + 1; n <= last+90; n++ {
					b.now += int64(10 * time.Millisecond)
					m := dockertest.Message{Time: b.now, Text: fmt.Sprintf("line %d\n", n)}
					b.fake.Write("web", m)
					if n > last+50 {
						log = append(log, m)
					}
				}
				return log
			})
			if compares {
				b.write("web", numbers(1, last)...)
			} else {
				b.run(nil).ready()
			}
			b.wantEach(numbers(1, last+90)...)
			if !once.Load() {
				t.Error("nothing was left out")
			}
		})
	}
}

// A record of several lines whose last one was left out.
func TestARecordOfSeveralLinesIsWholeThoughTheStreamLeftOutItsEnd(t *testing.T) {
	b := newBench(t)
	b.quick = true
	b.run(func(c *Config) {
		c.Multiline = &multiline.Config{Indented: true, MaxWait: config.Duration(time.Second)}
	}).ready()
	rotating(b, "web", "1k")
	b.write("web", "0", "1")
	b.until("the first line", func() bool { return len(b.texts()) > 0 })
	b.fake.Skip(func(m dockertest.Message) bool {
		return slices.Contains([]string{"  3 b\n", "4\n", "  4 a\n"}, m.Text)
	})
	b.write("web", "  1 a", "2", "  2 a", "3", "  3 a", "  3 b", "4", "  4 a", "5", "  5 a")
	b.write("web", numbers(1, 30)...)
	b.until("what was left out", func() bool {
		got := b.counts()
		return got["3\n  3 a\n  3 b"] == 1 && got["4\n  4 a"] == 1 && got["line 29"] == 1
	})
	b.stop()
	for line, n := range b.counts() {
		if n != 1 {
			t.Errorf("%q came %d times", line, n)
		}
	}
}

func TestWhatDockerThrewAwayBeforeItWasReadIsCounted(t *testing.T) {
	b := newBench(t)
	b.run(nil).ready()
	rotating(b, "web", "10k")
	b.write("web", numbers(1, 10)...)
	b.want(numbers(1, 10)...)
	b.fake.Skip(between(10, 1000))
	b.write("web", numbers(11, 600)...)
	b.fake.Rotate("web", 300)
	b.fake.Skip(nil)
	b.write("web", numbers(1001, 1300)...) // now it is compared
	b.wantEach(slices.Concat(numbers(1, 10), numbers(301, 600), numbers(1001, 1300))...)
	if n := b.env.Losses.Counts()["rotated_away"]; n != 1 {
		t.Errorf("counted %v", b.env.Losses.Counts())
	}
}

func TestComparisonsArePutOffUntilTheyAreUrgent(t *testing.T) {
	var a audit
	a.begin(positions.Position{}, true, true)
	m := message{text: make([]byte, 1000-entryBytes)}
	for n := range 40 {
		m.time = int64(n)
		a.took(&m, int64(n))
		if got, want := a.due(10_000), n >= 9; got != want {
			t.Errorf("after %d bytes of 10,000 a comparison is due: %v", a.bytes, got)
		}
		// Of five files of 10,000 bytes the engine keeps four whole ones.
		if got, want := a.must(10_000, 5), n >= 29; got != want {
			t.Errorf("after %d bytes of 10,000 in 5 files a comparison is urgent: %v", a.bytes, got)
		}
	}
	late := audit{late: true}
	if late.due(10_000) {
		t.Error("a comparison is due though there is nothing to compare")
	}
	if late.took(&m, 0); !late.due(10_000) || late.must(10_000, 5) {
		t.Error("a stream that was left waiting isn't compared, or at once")
	}
	for n := range mostKeys {
		a.took(&m, int64(n))
	}
	if !a.must(1<<40, 5) || len(a.keys) > mostKeys {
		t.Errorf("%d keys, urgent: %v", len(a.keys), a.must(1<<40, 5))
	}
}
