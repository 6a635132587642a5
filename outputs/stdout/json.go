package stdout

import (
	"math"
	"time"
	"unicode/utf8"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/hermod-agent/hermod/pipeline/logs"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// jsonLines writes an object each line:
//
//	{"time":"2026-11-21T06:10:01.123Z","source":"input.host.nas","name":"node_load1","labels":{},"value":0.52}
//	{"time":"2026-11-21T06:10:01.123456789Z","source":"input.docker_logs","labels":{"container":"web"},"line":"..."}
type jsonLines struct{}

func (jsonLines) series(s *metrics.Series) string {
	b := append([]byte(nil), `,"name":`...)
	b = appendString(b, s.Name())
	b = append(b, `,"labels":`...)
	return string(appendLabels(b, s.Labels()))
}

func (jsonLines) sample(dst []byte, prefix, source string, s *metrics.Sample) []byte {
	dst = appendHead(dst, time.UnixMilli(s.Time), source)
	dst = append(dst, prefix...)
	dst = append(dst, `,"value":`...)
	switch {
	case math.IsNaN(s.Value): // JSON has no word for these
		dst = append(dst, `"NaN"`...)
	case math.IsInf(s.Value, 1):
		dst = append(dst, `"+Inf"`...)
	case math.IsInf(s.Value, -1):
		dst = append(dst, `"-Inf"`...)
	default:
		dst = appendNumber(dst, s.Value)
	}
	return append(dst, '}', '\n')
}

func (jsonLines) stream(s *logs.Stream) string {
	b := append([]byte(nil), `,"labels":`...)
	b = appendLabels(b, s.Labels)
	if s.Tenant != "" {
		b = append(b, `,"tenant":`...)
		b = appendString(b, s.Tenant)
	}
	return string(b)
}

func (jsonLines) record(dst []byte, prefix, source string, r *logs.Record) []byte {
	dst = appendHead(dst, time.Unix(0, r.Time), source)
	dst = append(dst, prefix...)
	if !r.Meta.IsEmpty() {
		dst = append(dst, `,"metadata":`...)
		dst = appendLabels(dst, r.Meta)
	}
	dst = append(dst, `,"line":`...)
	dst = appendString(dst, r.Line)
	return append(dst, '}', '\n')
}

func appendHead(dst []byte, at time.Time, source string) []byte {
	dst = append(dst, `{"time":"`...)
	dst = at.UTC().AppendFormat(dst, time.RFC3339Nano)
	dst = append(dst, `","source":`...)
	return appendString(dst, source)
}

func appendLabels(dst []byte, l labels.Labels) []byte {
	dst = append(dst, '{')
	first := true
	each(l, func(x labels.Label) {
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = appendString(dst, x.Name)
		dst = append(dst, ':')
		dst = appendString(dst, x.Value)
	})
	return append(dst, '}')
}

// appendString writes a JSON string (RFC 8259, section 7). Bytes that aren't UTF-8 become U+FFFD; what a terminal obeys is escaped, for
// JSON is looked at in terminals as well.
func appendString[S string | []byte](dst []byte, s S) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c < 0x7f {
			i++
			continue
		}
		r, size := rune(c), 1
		if c >= utf8.RuneSelf {
			r, size = utf8.DecodeRuneInString(string(s[i:min(len(s), i+utf8.UTFMax)]))
			if (r != utf8.RuneError || size > 1) && !obeyed(r) {
				i += size
				continue
			}
		}
		dst = append(dst, s[start:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\t':
			dst = append(dst, '\\', 't')
		case '\r':
			dst = append(dst, '\\', 'r')
		default:
			dst = append(dst, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
		}
		i += size
		start = i
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}
