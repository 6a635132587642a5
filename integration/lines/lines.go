// Package lines is what the integration tests write and expect: numbered lines, some of them longer than a Docker frame, with
// identical lines among them. The writer and the checker both take it from here.
package lines

import (
	"strconv"
	"strings"
)

const (
	// everyTick numbered lines are followed by two identical ones, written at once.
	everyTick = 10
	// everyStderr-th numbered line goes to stderr where both are written.
	everyStderr = 9
	// everyLong-th numbered line is longer than the 16 KiB at which Docker cuts.
	everyLong = 5000
	longBytes = 40_000

	tick    = " tick"
	padding = " level=info msg=\"the ship is laden and the wind stands fair\" took=12ms"
)

// Line is one line without its end.
type Line struct {
	Text   string
	Stderr bool
}

// Each calls f for every line of a source in order, until f returns false. n counts the numbered lines.
func Each(source string, n int, stderr bool, f func(Line) bool) {
	tick := source + tick
	for i := range n {
		if !f(Line{Text: Numbered(source, i), Stderr: stderr && i%everyStderr == 1}) {
			return
		}
		if i%everyTick != everyTick-1 {
			continue
		}
		for range 2 {
			if !f(Line{Text: tick}) {
				return
			}
		}
	}
}

// Numbered is the i-th numbered line of a source.
func Numbered(source string, i int) string {
	digits := strconv.Itoa(i)
	text := source + " " + strings.Repeat("0", max(0, 8-len(digits))) + digits + padding
	if i%everyLong == everyLong-1 {
		text += " " + strings.Repeat("x", longBytes)
	}
	return text
}

// Unique says of a line of Each that no other is like it.
func Unique(text string) bool { return !strings.HasSuffix(text, tick) }

// Count is how many lines Each gives for n numbered ones.
func Count(n int) int { return n + n/everyTick*2 }

// Want is how often each text of a source must arrive.
func Want(source string, n int) map[string]int {
	want := make(map[string]int, n+1)
	Each(source, n, false, func(l Line) bool {
		want[l.Text]++
		return true
	})
	return want
}
