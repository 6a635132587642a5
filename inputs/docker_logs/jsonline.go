package dockerlogs

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

// message is one entry of a container's log as the engine keeps it: a line, or a part of one that is longer than 16 KiB.
type message struct {
	stream stream
	time   int64  // nanoseconds since 1970; 0 when the entry has none
	text   []byte // without its line end
	ends   bool   // a line end stood behind it
	fresh  bool   // it wasn't taken before
	given  bool   // it is known to have been handed on
}

// stream is what the container wrote to.
type stream uint8

const (
	stdout stream = iota
	stderr
)

func (s stream) String() string {
	if s == stderr {
		return "stderr"
	}
	return "stdout"
}

// decodeLine reads a line of a json-file log:
//
//	{"log":"text\n","stream":"stdout","time":"2026-01-02T03:04:05.123456789Z"}
//
// with its keys in any order and others among them (attrs). Escapes are undone in place: line is changed, and text is a part of it.
// It says false for what isn't such a line.
func decodeLine(line []byte, m *message) bool {
	d := decoder{line: line}
	if d.object(m) {
		return true
	}
	if d.wrote {
		return false // the line isn't as it was, so it can't be read again
	}
	return decodeSlow(line, m)
}

// decodeSlow is for lines that are JSON and odd.
func decodeSlow(line []byte, m *message) bool {
	var e struct {
		Log    *string `json:"log"`
		Stream string  `json:"stream"`
		Time   string  `json:"time"`
	}
	if json.Unmarshal(line, &e) != nil || e.Log == nil {
		return false
	}
	m.time, _ = parseTime([]byte(e.Time))
	m.setStream([]byte(e.Stream))
	m.setLog([]byte(*e.Log))
	return true
}

func (m *message) setStream(name []byte) {
	m.stream = stdout
	if string(name) == "stderr" {
		m.stream = stderr
	}
}

func (m *message) setLog(b []byte) {
	n := len(b)
	m.ends = n > 0 && b[n-1] == '\n'
	if m.ends {
		b = b[: n-1 : n-1]
	}
	m.text = b
}

type decoder struct {
	line []byte
	at   int
	// wrote says that an escape was undone, so that the line is not what it was.
	wrote bool
}

func (d *decoder) object(m *message) bool {
	*m = message{}
	d.space()
	if !d.byte('{') {
		return false
	}
	var raw []byte // the text with its escapes: they are undone last, when the rest was found to be right
	var escaped, found bool
	for {
		d.space()
		key, odd, ok := d.str()
		if !ok || odd {
			return false
		}
		d.space()
		if !d.byte(':') {
			return false
		}
		d.space()
		switch string(key) {
		case "log":
			if raw, escaped, ok = d.str(); !ok {
				return false
			}
			found = true
		case "stream":
			name, odd, ok := d.str()
			if !ok || odd {
				return false
			}
			m.setStream(name)
		case "time":
			when, odd, ok := d.str()
			if !ok || odd {
				return false
			}
			m.time, _ = parseTime(when)
		default:
			if !d.skip() {
				return false
			}
		}
		d.space()
		if d.byte('}') {
			break
		}
		if !d.byte(',') {
			return false
		}
	}
	d.space()
	if !found || d.at != len(d.line) {
		return false
	}
	if !escaped {
		m.text = raw
		return true
	}
	// Nearly every line has one escape, the \n at its end.
	if n := len(raw) - 2; n >= 0 && raw[n] == '\\' && raw[n+1] == 'n' && bytes.IndexByte(raw[:n], '\\') < 0 {
		m.text, m.ends = raw[:n:n], true
		return true
	}
	d.wrote = true
	text, ok := unescape(raw)
	if !ok {
		return false
	}
	m.setLog(text)
	return true
}

func (d *decoder) space() {
	for d.at < len(d.line) {
		switch d.line[d.at] {
		case ' ', '\t', '\r', '\n':
			d.at++
		default:
			return
		}
	}
}

func (d *decoder) byte(c byte) bool {
	if d.at < len(d.line) && d.line[d.at] == c {
		d.at++
		return true
	}
	return false
}

// str reads a string and returns what stands between its quotes, and whether escapes are among it.
func (d *decoder) str() (raw []byte, escaped, ok bool) {
	if !d.byte('"') {
		return nil, false, false
	}
	rest := d.line[d.at:]
	i := 0
	for {
		n := special(rest[i:])
		if n < 0 {
			return nil, false, false
		}
		i += n
		if rest[i] == '"' {
			d.at += i + 1
			return rest[:i:i], escaped, true
		}
		if rest[i] != '\\' {
			return nil, false, false // a control character, which JSON doesn't allow
		}
		escaped = true
		if i += 2; i >= len(rest) {
			return nil, false, false
		}
	}
}

// special finds the first quote, backslash or control character, eight bytes at a time: x minus 1 has its high bit set, and x had not,
// where x is zero (and above a zero, which doesn't matter to the first one); c below 32 likewise.
func special(b []byte) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	i := 0
	for ; i+8 <= len(b); i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
		q := x ^ '"'*ones
		s := x ^ '\\'*ones
		hit := ((q-ones)&^q | (s-ones)&^s | (x-' '*ones)&^x) & highs
		if hit != 0 {
			return i + bits.TrailingZeros64(hit)/8
		}
	}
	for ; i < len(b); i++ {
		if c := b[i]; c == '"' || c == '\\' || c < ' ' {
			return i
		}
	}
	return -1
}

// skip passes over a value of any kind. Whether what is skipped is right beyond its brackets and strings isn't checked: nobody reads it.
func (d *decoder) skip() bool {
	if d.at >= len(d.line) {
		return false
	}
	depth := 0
	for d.at < len(d.line) {
		switch c := d.line[d.at]; c {
		case '"':
			if _, _, ok := d.str(); !ok {
				return false
			}
			if depth == 0 {
				return true
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth < 0 {
				return false
			}
			if depth == 0 {
				d.at++
				return true
			}
		case ',', ':', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return false
			}
		default:
			if depth == 0 { // a number, true, false or null
				for d.at < len(d.line) && !bytes.ContainsRune([]byte(",}] \t\r\n"), rune(d.line[d.at])) {
					d.at++
				}
				return true
			}
		}
		d.at++
	}
	return false
}

// unescape undoes the escapes of a JSON string in place: what they stand for is never longer. A surrogate without its partner becomes
// U+FFFD, as it does in encoding/json.
func unescape(b []byte) ([]byte, bool) {
	to := bytes.IndexByte(b, '\\')
	if to < 0 {
		return b, true
	}
	for from := to; from < len(b); {
		c := b[from]
		if c != '\\' {
			n := bytes.IndexByte(b[from:], '\\')
			if n < 0 {
				n = len(b) - from
			}
			to += copy(b[to:], b[from:from+n])
			from += n
			continue
		}
		if from+1 >= len(b) {
			return nil, false
		}
		e := b[from+1]
		from += 2
		switch e {
		case 'n':
			e = '\n'
		case 't':
			e = '\t'
		case 'r':
			e = '\r'
		case 'b':
			e = '\b'
		case 'f':
			e = '\f'
		case '"', '\\', '/':
		case 'u':
			r, ok := hex4(b[from:])
			if !ok {
				return nil, false
			}
			from += 4
			if utf16.IsSurrogate(r) {
				r = pair(r, b[from:])
				if r != utf8.RuneError {
					from += 6
				}
			}
			to += utf8.EncodeRune(b[to:], r)
			continue
		default:
			return nil, false
		}
		b[to] = e
		to++
	}
	return b[:to:to], true
}

// pair joins a surrogate with the \uXXXX that rest begins with, or gives U+FFFD.
func pair(high rune, rest []byte) rune {
	if len(rest) < 6 || rest[0] != '\\' || rest[1] != 'u' {
		return utf8.RuneError
	}
	low, ok := hex4(rest[2:])
	if !ok {
		return utf8.RuneError
	}
	return utf16.DecodeRune(high, low)
}

func hex4(b []byte) (rune, bool) {
	if len(b) < 4 {
		return 0, false
	}
	var r rune
	for _, c := range b[:4] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}
