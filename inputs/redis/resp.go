package redis

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
)

// The protocol is RESP2 (https://redis.io/docs/latest/develop/reference/protocol-spec/), which every server speaks until it is asked for
// another one. A line begins with the kind of what follows and ends in CR LF:
//
//	+text            a simple string
//	-CODE text       an error
//	:number          an integer
//	$length          a string of that many bytes, which follow with a CR LF of their own; -1 is no string
//	*count           an array of that many values, which follow; -1 is no array
const (
	kindSimple  = '+'
	kindError   = '-'
	kindInteger = ':'
	kindBulk    = '$'
	kindArray   = '*'
	kindNull    = '_' // not of RESP2: stands for a length of -1
)

const (
	// maxReplies bounds what is read in one exchange, in bytes, and maxNodes in values. INFO of a server with every command in use has
	// about 50 KiB; what can be large is the list of clients, and keys that a pattern finds.
	maxReplies = 64 << 20
	maxNodes   = 1 << 20
	// maxLine bounds a line, and maxDepth arrays within arrays.
	maxLine  = 64 << 10
	maxDepth = 8
	// keepBuffer is what stays allocated from one exchange to the next.
	keepBuffer = 256 << 10
)

// tape holds the replies of an exchange as they came, and where in them each value stands. It is filled anew by each exchange, so what it
// gave is dead by then. Once it has grown to the size of the replies, nothing is allocated any more.
type tape struct {
	buf   []byte
	nodes []node
	at    int // how far buf is parsed
	open  []openArray
	whole int // replies that are complete
	roots []int32
}

// node is a value.
type node struct {
	kind     byte
	from, to int32 // the text in buf
	next     int32 // the node after this one and all that it holds
	n        int64 // the integer, or how many values an array holds
}

// openArray is an array that isn't complete.
type openArray struct {
	node    int32
	missing int64
}

// protocolError says that the other side doesn't speak RESP2.
type protocolError struct{ text string }

func (e *protocolError) Error() string { return e.text }

// errTooLarge says that an exchange went over one of the bounds.
var errTooLarge = fmt.Errorf("the answer has more than %d MiB or %d values", maxReplies>>20, maxNodes)

// read fills the tape with that many replies.
func (t *tape) read(r io.Reader, replies int) error {
	t.reset()
	for idle := 0; ; {
		if err := t.parse(replies); err != nil {
			return err
		}
		if t.whole >= replies {
			return nil
		}
		if len(t.buf) >= maxReplies {
			return errTooLarge
		}
		if cap(t.buf)-len(t.buf) < 512 {
			t.buf = slices.Grow(t.buf, max(16<<10, len(t.buf)))
		}
		n, err := r.Read(t.buf[len(t.buf):cap(t.buf)])
		t.buf = t.buf[:len(t.buf)+n]
		if n > 0 {
			idle = 0
			continue // an error comes again
		}
		if idle++; err == nil && idle > 100 {
			err = io.ErrNoProgress
		}
		if err != nil {
			if errors.Is(err, io.EOF) && len(t.buf) > t.at {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
}

func (t *tape) reset() {
	if cap(t.buf) > keepBuffer {
		t.buf = nil
	}
	if cap(t.nodes) > keepBuffer/16 {
		t.nodes = nil
	}
	t.buf, t.nodes, t.open, t.roots = t.buf[:0], t.nodes[:0], t.open[:0], t.roots[:0]
	t.at, t.whole = 0, 0
}

// parse goes on as far as what was read allows.
func (t *tape) parse(replies int) error {
	for t.whole < replies {
		rest := t.buf[t.at:]
		end := bytes.IndexByte(rest, '\n')
		if end < 0 {
			if len(rest) > maxLine {
				return &protocolError{"a line doesn't end"}
			}
			if len(rest) > 0 && !isKind(rest[0]) {
				return notRESP(rest)
			}
			return nil
		}
		if end == 0 || rest[end-1] != '\r' || !isKind(rest[0]) {
			return notRESP(rest[:end])
		}
		line := rest[1 : end-1]
		n := node{kind: rest[0], from: int32(t.at + 1), to: int32(t.at + end - 1)}
		next := t.at + end + 1
		if n.kind == kindInteger || n.kind == kindBulk || n.kind == kindArray {
			v, ok := parseInt(line)
			if !ok {
				return &protocolError{fmt.Sprintf("%s is not a number", quote(line))}
			}
			n.n = v
		}
		switch n.kind {
		case kindBulk:
			switch {
			case n.n == -1:
				n.kind = kindNull
			case n.n < 0:
				return &protocolError{fmt.Sprintf("a string of %d bytes", n.n)}
			case n.n > maxReplies:
				return errTooLarge
			default:
				n.from, n.to = int32(next), int32(next)+int32(n.n)
				if next += int(n.n) + 2; next > len(t.buf) {
					// What is said isn't there yet: no more than this is laid aside for it.
					t.buf = slices.Grow(t.buf, min(next-len(t.buf), 1<<20))
					return nil
				}
				if t.buf[next-2] != '\r' || t.buf[next-1] != '\n' {
					return &protocolError{"a string is longer than was said"}
				}
			}
		case kindArray:
			switch {
			case n.n == -1:
				n.kind = kindNull
			case n.n < 0:
				return &protocolError{fmt.Sprintf("an array of %d values", n.n)}
			case n.n > maxNodes:
				return errTooLarge
			}
		}
		if len(t.nodes) >= maxNodes {
			return errTooLarge
		}
		if len(t.open) == 0 {
			t.roots = append(t.roots, int32(len(t.nodes)))
		}
		n.next = int32(len(t.nodes)) + 1
		t.nodes = append(t.nodes, n)
		t.at = next
		if n.kind == kindArray && n.n > 0 {
			if len(t.open) == maxDepth {
				return &protocolError{fmt.Sprintf("more than %d arrays within each other", maxDepth)}
			}
			t.open = append(t.open, openArray{node: int32(len(t.nodes)) - 1, missing: n.n})
			continue
		}
		t.close()
	}
	return nil
}

// close counts a value that is complete, and the arrays that are so with it.
func (t *tape) close() {
	for len(t.open) > 0 {
		last := &t.open[len(t.open)-1]
		if last.missing--; last.missing > 0 {
			return
		}
		t.nodes[last.node].next = int32(len(t.nodes))
		t.open = t.open[:len(t.open)-1]
	}
	t.whole++
}

func isKind(c byte) bool {
	switch c {
	case kindSimple, kindError, kindInteger, kindBulk, kindArray:
		return true
	}
	return false
}

func notRESP(line []byte) error {
	return &protocolError{fmt.Sprintf("it answers %s", quote(bytes.TrimRight(line, "\r\n")))}
}

// quote makes text that came from elsewhere fit for a message: one line, bounded.
func quote(text []byte) string {
	const most = 100
	if len(text) > most {
		return strconv.Quote(string(text[:most])) + "..."
	}
	return strconv.Quote(string(text))
}

// reply is the i-th reply of the exchange.
func (t *tape) reply(i int) value { return value{t, t.roots[i]} }

// value is one of a tape's.
type value struct {
	t *tape
	i int32
}

func (v value) node() *node { return &v.t.nodes[v.i] }

// text is that of a string, an error or an integer; of anything else it is empty.
func (v value) text() []byte {
	n := v.node()
	if n.kind == kindArray || n.kind == kindNull {
		return nil
	}
	return v.t.buf[n.from:n.to]
}

// isError says whether the server answered with an error; text is what it said.
func (v value) isError() bool { return v.node().kind == kindError }

func (v value) isString() bool { return v.node().kind == kindBulk || v.node().kind == kindSimple }
func (v value) isArray() bool  { return v.node().kind == kindArray }

// integer is that of an integer, or of a string of digits.
func (v value) integer() (int64, bool) {
	n := v.node()
	switch n.kind {
	case kindInteger:
		return n.n, true
	case kindBulk, kindSimple:
		return parseInt(v.t.buf[n.from:n.to])
	}
	return 0, false
}

// len is how many values an array holds.
func (v value) len() int {
	if n := v.node(); n.kind == kindArray {
		return int(n.n)
	}
	return 0
}

// children are what an array holds: for c, end := v.children(); c.i < end; c = c.next().
func (v value) children() (first value, end int32) {
	n := v.node()
	if n.kind != kindArray {
		return value{v.t, v.i + 1}, v.i + 1
	}
	return value{v.t, v.i + 1}, n.next
}

// next is the value after this one and all that it holds. It must not be looked at where there is none.
func (v value) next() value { return value{v.t, v.node().next} }

// field is what stands behind name in an array of names and values.
func (v value) field(name string) (value, bool) {
	for c, end := v.children(); c.i < end; {
		is := string(c.text()) == name
		if c = c.next(); c.i >= end {
			break
		}
		if is {
			return c, true
		}
		c = c.next()
	}
	return value{}, false
}

// appendCommand appends a command as a client sends it: an array of strings.
func appendCommand(dst []byte, words ...string) []byte {
	dst = append(dst, kindArray)
	dst = strconv.AppendInt(dst, int64(len(words)), 10)
	dst = append(dst, '\r', '\n')
	for _, w := range words {
		dst = append(dst, kindBulk)
		dst = strconv.AppendInt(dst, int64(len(w)), 10)
		dst = append(dst, '\r', '\n')
		dst = append(dst, w...)
		dst = append(dst, '\r', '\n')
	}
	return dst
}

// parseInt reads a decimal number.
func parseInt(s []byte) (int64, bool) {
	digits, negative := s, false
	if len(s) > 0 && (s[0] == '-' || s[0] == '+') {
		digits, negative = s[1:], s[0] == '-'
	}
	if len(digits) == 0 || len(digits) > 19 {
		return 0, false
	}
	var n uint64
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	if negative {
		if n > 1<<63 {
			return 0, false
		}
		return -int64(n), true
	}
	if n > math.MaxInt64 {
		return 0, false
	}
	return int64(n), true
}

// parseFloat reads a number as strconv.ParseFloat does. The usual ones are read in place; only those that are written in another way cost
// a string.
func parseFloat(s []byte) (float64, bool) {
	var n uint64
	digits, fraction, point := 0, 0, false
	rest := s
	negative := len(rest) > 0 && rest[0] == '-'
	if negative {
		rest = rest[1:]
	}
	for _, c := range rest {
		switch {
		case c >= '0' && c <= '9':
			n = n*10 + uint64(c-'0')
			digits++
			if point {
				fraction++
			}
		case c == '.' && !point:
			point = true
		default:
			digits = 100 // not one of the usual ones
		}
	}
	// Numbers below 2^53 and powers of ten up to 22 are exact, and so their quotient is the nearest float64 (Clinger's fast path, as
	// strconv has it).
	if digits == 0 || digits > 18 || n > 1<<53 || fraction >= len(powersOfTen) {
		v, err := strconv.ParseFloat(string(s), 64)
		return v, err == nil
	}
	v := float64(n) / powersOfTen[fraction]
	if negative {
		v = -v
	}
	return v, true
}

var powersOfTen = [...]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18}
