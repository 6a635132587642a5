package files

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hermod-agent/hermod/internal/multiline"
	"github.com/hermod-agent/hermod/pipeline/config"
)

// multilined is a world whose input joins indented lines and waits long for them.
func multilined(t *testing.T) *world {
	w := newWorld(t, "app*")
	w.cfg.Multiline = &multiline.Config{Indented: true, MaxWait: config.Duration(time.Minute)}
	return w
}

func TestLinesThatBelongTogetherAreOneRecord(t *testing.T) {
	w := multilined(t)
	w.append("app.log", "  without a beginning\na\nb\n  b2\n")
	w.start()
	w.want("app.log", "  without a beginning", "a")
	w.append("app.log", "\tb3\n")
	w.append("app.log", "  b4\nc\n")
	w.want("app.log", "  without a beginning", "a", "b\n  b2\n\tb3\n  b4")
}

func TestARecordBeginsWithALineThatMatches(t *testing.T) {
	w := newWorld(t, "app.log")
	re, err := config.ParseRegexp(`^\d+ `)
	if err != nil {
		t.Fatal(err)
	}
	w.cfg.Multiline = &multiline.Config{FirstLine: re, MaxWait: config.Duration(time.Minute)}
	w.append("app.log", "1 a\r\nmore\r\n\nmore\n2 b\n")
	w.start()
	w.want("app.log", "1 a\nmore\n\nmore")
}

func TestARecordIsWholeWhenNothingFollowsForAWhile(t *testing.T) {
	w := multilined(t)
	w.cfg.Multiline.MaxWait = config.Duration(100 * time.Millisecond)
	w.append("app.log", "a\n  a2\n")
	w.start()
	w.want("app.log", "a\n  a2")
	w.restart()
	w.append("app.log", "b\n")
	w.want("app.log", "a\n  a2", "b")
}

func TestThePositionStaysAtTheStartOfARecordThatIsNotWhole(t *testing.T) {
	for _, renamed := range []string{"", "app.log.1"} {
		for _, killed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s killed=%v", renamed, killed), func(t *testing.T) {
				w := multilined(t)
				w.append("app.log", "a\nb\n  b2\n")
				w.start()
				w.want("app.log", "a")
				if killed {
					w.saveAt(int64(len("a\n")))
					w.kill()
					w.start()
				} else {
					w.restart()
				}
				w.append("app.log", "  b3\n")
				if renamed != "" {
					w.rename("app.log", renamed)
				}
				name := "app.log"
				if renamed != "" {
					w.append(renamed, "c\n")
				} else {
					w.append(name, "c\n")
				}
				w.until("the record", func() bool {
					w.sink.mu.Lock()
					defer w.sink.mu.Unlock()
					return slices.Equal(w.sink.all, []string{"a", "b\n  b2\n  b3"})
				})
			})
		}
	}
}

func TestATruncationEndsARecord(t *testing.T) {
	w := multilined(t)
	w.append("app.log", "a\nb\n  b2\n")
	w.start()
	w.want("app.log", "a")
	if err := os.Truncate(w.path("app.log"), 0); err != nil {
		t.Fatal(err)
	}
	w.append("app.log", "  c1\nd\n")
	w.want("app.log", "a", "b\n  b2", "  c1")
}

func TestALongRecordIsCutAndCountedOnce(t *testing.T) {
	w := multilined(t)
	w.cfg.MaxLineSize = 64
	line := strings.Repeat("x", 40)
	w.append("app.log", "a\n"+line+"\n "+line+"\n "+line+"\n"+line+line+"\n more\nb\n")
	w.start()
	w.want("app.log", "a", line+"\n "+line[:22], (line + line)[:64])
	w.stop() // they count once they are taken
	if got := w.env.Losses.Counts()["line_too_long"]; got != 2 {
		t.Errorf("%d records count as cut", got)
	}
}

func TestALongRecordThatIsReadInPartsCountsOnceItIsHandedOn(t *testing.T) {
	for _, again := range []bool{false, true} {
		t.Run(fmt.Sprintf("read again=%v", again), func(t *testing.T) {
			w := multilined(t)
			w.cfg.MaxLineSize = 64
			read := func() {
				w.until("the file read", func() bool {
					rows := w.env.Status.Details()
					return len(rows) == 1 && rows[0].Unread == 0
				})
			}
			line := strings.Repeat("x", 80)
			w.append("app.log", "a\n")
			w.start()
			for range 3 {
				read()
				w.append("app.log", " "+line+"\n")
			}
			read()
			if again { // what was not handed on
				w.restart()
				read()
			}
			w.append("app.log", "b\n")
			w.want("app.log", "a\n "+line[:61])
			w.stop()
			if got := w.env.Losses.Counts()["line_too_long"]; got != 1 {
				t.Errorf("%d records count as cut", got)
			}
		})
	}
}

func TestUnfinishedRecordsTakeBoundedMemory(t *testing.T) {
	w := multilined(t)
	const files = 100
	line := strings.Repeat("x", 200<<10)
	for k := range files {
		w.append(fmt.Sprintf("app%03d", k), line+"\n")
	}
	w.start()
	w.until("the oldest are handed on", func() bool { return w.sink.total() >= files-maxUnfinished/len(line)-1 })
	w.stop()
	if n := w.sink.total(); n == files {
		t.Error("no record waits")
	}
}

func TestManyRecordsComeWholeAndInOrder(t *testing.T) {
	w := multilined(t)
	w.start()
	const records = 50_000
	var text strings.Builder
	for i := range records {
		fmt.Fprintf(&text, "%d\n  more\n", i)
	}
	w.append("app.log", text.String()+"end\n")
	w.until("all records", func() bool { return w.sink.total() == records })
	for i, line := range w.sink.of(w.path("app.log")) {
		if line != fmt.Sprintf("%d\n  more", i) {
			t.Fatalf("record %d is %q", i, line)
		}
	}
}
