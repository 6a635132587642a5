package admin

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// clean makes a text that came from outside (a log line, a container's name, a server's answer) safe to print on one line of a terminal
// or a page: control characters, characters that steer the layout (U+202E and its like) and broken UTF-8 are shown as escapes, and what
// is longer than limit runes is cut.
func clean(s string, limit int) string {
	var b strings.Builder
	n := 0
	for i := 0; i < len(s); {
		r, width := utf8.DecodeRuneInString(s[i:])
		if n == limit {
			b.WriteString("…")
			break
		}
		switch {
		case r == utf8.RuneError && width == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r == ' ' || unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			q := strconv.QuoteRuneToASCII(r)
			b.WriteString(q[1 : len(q)-1])
		}
		i += width
		n++
	}
	return b.String()
}

// Clean makes a text that came from outside fit for one line of a terminal.
func Clean(s string) string { return clean(s, 2000) }

// cleanLines is clean for a text of several lines, whose line ends it keeps.
func cleanLines(s string, limit int) []string {
	var out []string
	for line := range strings.Lines(s) {
		if len(out) == limit {
			return append(out, "…")
		}
		out = append(out, clean(strings.ReplaceAll(strings.TrimRight(line, "\r\n"), "\t", "    "), 300))
	}
	return out
}

// span says a length of time in the words of somebody who glances at it: "4 s", "3 min", "2 h 13 min", "5 days".
func span(d time.Duration) string {
	d = max(d, 0)
	switch {
	case d < time.Second:
		return "less than 1 s"
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", int(d/time.Second))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d/time.Minute))
	case d < 48*time.Hour:
		h, m := int(d/time.Hour), int(d%time.Hour/time.Minute)
		if m == 0 {
			return fmt.Sprintf("%d h", h)
		}
		return fmt.Sprintf("%d h %d min", h, m)
	}
	return fmt.Sprintf("%d days", int(d/(24*time.Hour)))
}

// ago says when t was, seen from now. Times of records come from other clocks, so t may lie ahead.
func ago(now, t time.Time) string {
	d := now.Sub(t)
	switch {
	case d < -2*time.Second:
		return span(-d) + " in the future"
	case d < time.Second:
		return "just now"
	}
	return span(d) + " ago"
}

// took says how long a piece of work lasted.
func took(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1f ms", seconds*1e3)
	case d < time.Second:
		return fmt.Sprintf("%d ms", d/time.Millisecond)
	case d < 2*time.Minute:
		return fmt.Sprintf("%.1f s", seconds)
	}
	return span(d)
}

// interval says a schedule's period: "15 s".
func interval(seconds float64) string {
	if seconds < 2 {
		return strconv.FormatFloat(seconds, 'g', 3, 64) + " s"
	}
	return span(time.Duration(seconds * float64(time.Second)))
}

// number writes n with a comma between thousands.
func number(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// count writes n with a noun, which takes an s unless there is one of it.
func count(n uint64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	if strings.HasSuffix(noun, "series") {
		return number(n) + " " + noun
	}
	return number(n) + " " + noun + "s"
}

// size writes a number of bytes in binary units.
func size(n float64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	i := 0
	for n >= 1024 && i < len(units)-1 {
		n /= 1024
		i++
	}
	if i == 0 || n >= 100 {
		return fmt.Sprintf("%.0f %s", n, units[i])
	}
	return fmt.Sprintf("%.1f %s", n, units[i])
}

// rate writes how many come in a second, or in a minute where that is easier to picture.
func rate(perSecond float64) string {
	switch {
	case perSecond >= 10:
		return number(uint64(math.Round(perSecond))) + "/s"
	case perSecond >= 1:
		return fmt.Sprintf("%.1f/s", perSecond)
	}
	return fmt.Sprintf("%.0f/min", math.Ceil(perSecond*60))
}

// list joins words as a sentence does: "a, b and c".
func list(words []string) string {
	switch len(words) {
	case 0:
		return ""
	case 1:
		return words[0]
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}

// shortIDs cuts long hexadecimal words, which are the ids of containers, to the twelve digits that people know them by.
func shortIDs(s string) string {
	const long, short = 32, 12
	var b strings.Builder
	for i := 0; i < len(s); {
		n := 0
		for i+n < len(s) && strings.IndexByte("0123456789abcdef", s[i+n]) >= 0 {
			n++
		}
		switch {
		case n >= long:
			b.WriteString(s[i:i+short] + "…")
		case n > 0:
			b.WriteString(s[i : i+n])
		default:
			b.WriteByte(s[i])
			n = 1
		}
		i += n
	}
	return b.String()
}
