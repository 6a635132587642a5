package stdout

import (
	"path"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/hermod-agent/hermod/pipeline/logs"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// text writes lines for people:
//
//	2026-11-21 06:10:01.123 input.host.nas node_load1 0.52
//	2026-11-21 06:10:01.123 web stderr | what the container wrote
type text struct {
	all  bool // every label
	zone *time.Location
}

const textTime = "2006-01-02 15:04:05.000"

func (t text) series(s *metrics.Series) string {
	b := appendSafe(nil, s.Name())
	separator := byte('{')
	each(s.Labels(), func(l labels.Label) {
		b = append(b, separator)
		separator = ','
		b = appendSafe(b, l.Name)
		b = append(b, '=')
		b = appendQuoted(b, l.Value)
	})
	if separator == ',' {
		b = append(b, '}')
	}
	return string(b)
}

func (t text) sample(dst []byte, prefix, source string, s *metrics.Sample) []byte {
	dst = time.UnixMilli(s.Time).In(t.zone).AppendFormat(dst, textTime)
	dst = append(dst, ' ')
	if source != "" {
		dst = append(dst, source...)
		dst = append(dst, ' ')
	}
	dst = append(dst, prefix...)
	dst = append(dst, ' ')
	dst = appendNumber(dst, s.Value)
	return append(dst, '\n')
}

// stream is what stands between the time and the line: what the stream is called by, without its names where everybody knows them.
func (t text) stream(s *logs.Stream) string {
	var b []byte
	named := map[string]bool{}
	name := func(label, shown string) bool {
		if shown == "" {
			return false
		}
		named[label] = true
		b = append(b, ' ')
		b = appendSafe(b, shown)
		return true
	}
	known := name("container", s.Labels.Get("container"))
	if !known {
		if file := s.Labels.Get("filename"); file != "" {
			known = name("filename", path.Base(file))
		}
	}
	name("stream", s.Labels.Get("stream"))
	if t.all || !known {
		each(s.Labels, func(l labels.Label) {
			if named[l.Name] && l.Name != "filename" {
				return
			}
			b = append(b, ' ')
			b = appendSafe(b, l.Name)
			b = append(b, '=')
			b = appendWord(b, l.Value)
		})
	}
	return string(b)
}

func (t text) record(dst []byte, prefix, _ string, r *logs.Record) []byte {
	dst = time.Unix(0, r.Time).In(t.zone).AppendFormat(dst, textTime)
	dst = append(dst, prefix...)
	if t.all {
		each(r.Meta, func(l labels.Label) {
			dst = append(dst, ' ')
			dst = appendSafe(dst, l.Name)
			dst = append(dst, '=')
			dst = appendWord(dst, l.Value)
		})
	}
	dst = append(dst, " | "...)
	dst = appendEscaped(dst, r.Line, "\n  | ")
	return append(dst, '\n')
}

func appendSafe(dst []byte, s string) []byte { return appendEscaped(dst, []byte(s), `\n`) }

// appendWord writes a value in quotes where it would not be one word without.
func appendWord(dst []byte, s string) []byte {
	if s == "" {
		return append(dst, '"', '"')
	}
	for _, c := range []byte(s) {
		if c <= ' ' || c == '"' || c == '|' {
			return appendQuoted(dst, s)
		}
	}
	return appendSafe(dst, s)
}

func appendQuoted(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := range len(s) {
		if c := s[i]; c == '"' || c == '\\' {
			dst = appendSafe(dst, s[start:i])
			dst = append(dst, '\\')
			start = i
		}
	}
	dst = appendSafe(dst, s[start:])
	return append(dst, '"')
}

// appendEscaped writes what a terminal shows as it is, and escapes what a terminal obeys: control characters (but tabs), those that turn
// the direction of writing, and bytes that aren't UTF-8. newLine stands for a line break within a record.
func appendEscaped(dst, line []byte, newLine string) []byte {
	const hex = "0123456789abcdef"
	start := 0
	for i := 0; i < len(line); {
		c := line[i]
		if c >= ' ' && c < 0x7f || c == '\t' {
			i++
			continue
		}
		r, size := rune(c), 1
		if c >= utf8.RuneSelf {
			r, size = utf8.DecodeRune(line[i:])
			if (r != utf8.RuneError || size > 1) && !obeyed(r) {
				i += size
				continue
			}
		}
		dst = append(dst, line[start:i]...)
		switch {
		case c == '\n':
			dst = append(dst, newLine...)
		case c == '\r':
			dst = append(dst, `\r`...)
		case size == 1:
			dst = append(dst, '\\', 'x', hex[c>>4], hex[c&15])
		default:
			dst = append(dst, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
		}
		i += size
		start = i
	}
	return append(dst, line[start:]...)
}

// obeyed says whether a terminal does something else with the character than show it: the second set of control characters, the
// separators of lines and paragraphs, and the marks of writing direction. All lie below 0x10000.
func obeyed(r rune) bool {
	return r >= 0x80 && r <= 0x9f || r == 0x061c || r >= 0x200e && r <= 0x200f || r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069
}

func appendNumber(dst []byte, v float64) []byte {
	// People read 12345678 more easily than 1.2345678e+07.
	if i := int64(v); float64(i) == v && i > -1e15 && i < 1e15 {
		return strconv.AppendInt(dst, i, 10)
	}
	return strconv.AppendFloat(dst, v, 'g', -1, 64)
}
