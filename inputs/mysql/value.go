package mysql

import (
	"bytes"
	"database/sql/driver"
	"strconv"
	"strings"
	"time"

	"github.com/hermod-agent/hermod/internal/pseudofile"
)

// text appends a cell of a row as the server wrote it; a NULL is nothing. The driver gives integers of the text protocol as numbers.
func text(dst []byte, cell driver.Value) []byte {
	switch v := cell.(type) {
	case []byte:
		return append(dst, v...)
	case string:
		return append(dst, v...)
	case int64:
		return strconv.AppendInt(dst, v, 10)
	case uint64:
		return strconv.AppendUint(dst, v, 10)
	case float64:
		return strconv.AppendFloat(dst, v, 'g', -1, 64)
	case float32:
		return strconv.AppendFloat(dst, float64(v), 'g', -1, 32)
	case bool:
		return strconv.AppendBool(dst, v)
	case time.Time:
		return v.AppendFormat(dst, time.DateTime)
	}
	return dst
}

// number is a cell that holds a number. There is none in a NULL.
func number(cell driver.Value) (float64, bool) {
	switch v := cell.(type) {
	case int64:
		return float64(v), true
	case uint64:
		return float64(v), true
	case float64:
		return v, true
	case float32:
		return float64(v), true
	case []byte:
		return parseNumber(v)
	case string:
		return parseNumber([]byte(v))
	}
	return 0, false
}

// parseNumber reads a decimal number. Digits alone, which is nearly every value, take the short way.
func parseNumber(b []byte) (float64, bool) {
	if n, ok := pseudofile.ParseUint(b); ok {
		return float64(n), true
	}
	v, err := strconv.ParseFloat(string(b), 64)
	return v, err == nil
}

// The ways in which a server writes a time in a variable: that of the end of its certificate, and DATETIME.
const certificateTime = "Jan _2 15:04:05 2006 MST"

// parseState reads the value of a status variable, a system variable or a column of the replica status as mysqld_exporter does: words for
// on and off are 1 and 0, times are seconds since 1970, and what is no number has no value.
func parseState(b []byte) (float64, bool) {
	if n, ok := pseudofile.ParseUint(b); ok {
		return float64(n), true
	}
	if v, ok := parseWord(b); ok {
		return v, true
	}
	s := string(b)
	if t, err := time.Parse(certificateTime, s); err == nil {
		return float64(t.Unix()), true
	}
	if t, err := time.Parse(time.DateTime, s); err == nil {
		return float64(t.Unix()), true
	}
	v, err := strconv.ParseFloat(s, 64)
	return v, err == nil
}

// parseWord knows the words that stand for a number: those of switches, Slave_IO_Running's Connecting, which isn't running, and
// wsrep_cluster_status's.
func parseWord(b []byte) (float64, bool) {
	if len(b) < len("on") || len(b) > len("disconnected") {
		return 0, false
	}
	for _, w := range [...]struct {
		word  string
		value float64
	}{
		{"on", 1}, {"off", 0}, {"yes", 1}, {"no", 0}, {"disabled", 0}, {"connecting", 0},
		{"primary", 1}, {"non-primary", 0}, {"disconnected", 0},
	} {
		if len(b) == len(w.word) && bytes.EqualFold(b, []byte(w.word)) {
			return w.value, true
		}
	}
	return 0, false
}

// state is the last value of something that parseState reads, kept so that what doesn't change is read once.
type state struct {
	raw   []byte
	value float64
	ok    bool
	known bool
}

// read is parseState.
func (s *state) read(b []byte) (float64, bool) {
	if n, ok := pseudofile.ParseUint(b); ok { // as cheap as the comparison
		return float64(n), true
	}
	if !s.known || !bytes.Equal(s.raw, b) {
		s.raw, s.known = append(s.raw[:0], b...), true
		s.value, s.ok = parseState(b)
	}
	return s.value, s.ok
}

// metricName turns a name of the server into a part of a metric's name, as mysqld_exporter does.
func metricName(name string) string { return strings.ToLower(validName(name)) }

// validName puts an underscore in the place of each character that a metric's name can't have.
func validName(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' {
			return r
		}
		return '_'
	}, name)
}
