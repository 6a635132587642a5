package redis

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
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
)

const (
	// maxReplies bounds what is read in one exchange, in bytes, and maxValues in values within arrays. INFO of a server with every command in
	// use has about 50 KiB; what can be large is the list of clients, and keys that a pattern finds.
	maxReplies = 64 << 20
	maxValues  = 1 << 20
	// maxLine bounds a line, and maxDepth arrays within arrays.
	maxLine  = 64 << 10
	maxDepth = 8
)

// guard is a connection of which the library reads no more than it can take. The library believes what a server says: before a byte of a
// string or a value of an array is there, it makes room for as many as are announced (2^63-1 ends in a panic), it reads lines of any length,
// and arrays within arrays by a function that calls itself. So guard follows the replies as they pass, and breaks off before the end of
// a line that goes over a bound or isn't RESP2: what the library doesn't see the end of, it doesn't act on.
type guard struct {
	net.Conn
	mute   bool  // nothing is sent; we only listen
	unsent error // why something wasn't sent
	broken error // why nothing is handed on any more

	bytes, values int // of the exchange

	// Where in the replies we are.
	line    []byte // the beginning of a line whose end is still to come
	missing int    // how much is to come of a string and its CR LF
	open    []int  // how many values are to come of the arrays that aren't complete
	whole   int    // replies that are complete
}

// protocolError says that the other side doesn't speak RESP2.
type protocolError struct{ text string }

func (e *protocolError) Error() string { return e.text }

// errTooLarge says that an exchange went over one of the bounds.
var errTooLarge = fmt.Errorf("the answer has more than %d MiB or %d values", maxReplies>>20, maxValues)

// begin begins an exchange.
func (g *guard) begin() { g.bytes, g.values, g.unsent = 0, 0, nil }

// Write implements net.Conn. It always succeeds: a server that refuses us says so and closes, and the library reads what was said only where
// it could send.
func (g *guard) Write(p []byte) (int, error) {
	if !g.mute && g.unsent == nil {
		_, g.unsent = g.Conn.Write(p)
	}
	return len(p), nil
}

// sendError is why something wasn't sent, unless it is only that the time was up.
func (g *guard) sendError() error {
	if errors.Is(g.unsent, os.ErrDeadlineExceeded) {
		return nil
	}
	return g.unsent
}

// Read implements net.Conn.
func (g *guard) Read(p []byte) (int, error) {
	if g.broken != nil {
		return 0, g.broken
	}
	n, err := g.Conn.Read(p)
	good, bad := g.follow(p[:n])
	if bad != nil {
		g.broken = bad
		return good, bad
	}
	return n, err
}

// follow goes on with p. When something is wrong with it, good is how much of it may be handed on.
func (g *guard) follow(p []byte) (good int, err error) {
	if g.bytes += len(p); g.bytes > maxReplies {
		return 0, errTooLarge
	}
	for at := 0; at < len(p); {
		if g.missing > 2 {
			n := min(g.missing-2, len(p)-at)
			g.missing -= n
			at += n
			continue
		}
		if g.missing > 0 {
			if p[at] != "\r\n"[2-g.missing] {
				return at, &protocolError{"a string is longer than was said"}
			}
			at++
			if g.missing--; g.missing == 0 {
				g.complete()
			}
			continue
		}
		rest := p[at:]
		end := bytes.IndexByte(rest, '\n')
		if len(g.line) == 0 {
			switch {
			case !isKind(rest[0]) && end < 0:
				return at, notRESP(rest)
			case !isKind(rest[0]):
				return at, notRESP(rest[:end])
			case rest[0] == kindError && len(g.open) > 0:
				// The library leaves an array at an error with one of the codes that it knows, and takes the rest of it for the next replies.
				// As a string it says the same.
				rest[0] = kindSimple
			}
		}
		line := rest
		if end >= 0 {
			line = rest[:end]
		}
		if len(g.line)+len(line) > maxLine {
			return at, &protocolError{"a line doesn't end"}
		}
		if end < 0 {
			g.line = append(g.line, line...)
			return len(p), nil
		}
		if len(g.line) > 0 {
			g.line = append(g.line, line...)
			line = g.line
		}
		if err := g.header(line); err != nil {
			return at + end, err
		}
		g.line = g.line[:0]
		at += end + 1
	}
	return len(p), nil
}

// header takes a line without its LF.
func (g *guard) header(line []byte) error {
	if line[len(line)-1] != '\r' {
		return notRESP(line)
	}
	text := line[1 : len(line)-1]
	var n int64
	if line[0] == kindInteger || line[0] == kindBulk || line[0] == kindArray {
		var ok bool
		if n, ok = parseInt(text); !ok {
			return &protocolError{fmt.Sprintf("%s is not a number", quote(text))}
		}
	}
	switch {
	case line[0] == kindBulk && n < -1:
		return &protocolError{fmt.Sprintf("a string of %d bytes", n)}
	case line[0] == kindBulk && n >= 0:
		if n > int64(maxReplies-g.bytes) {
			return errTooLarge
		}
		g.missing = int(n) + 2
		return nil
	case line[0] == kindArray && n < -1:
		return &protocolError{fmt.Sprintf("an array of %d values", n)}
	case line[0] == kindArray && n > 0:
		if n > int64(maxValues-g.values) {
			return errTooLarge
		}
		if len(g.open) == maxDepth {
			return &protocolError{fmt.Sprintf("more than %d arrays within each other", maxDepth)}
		}
		g.values += int(n)
		g.open = append(g.open, int(n))
		return nil
	}
	g.complete()
	return nil
}

// complete counts a value that is there, and the arrays that are so with it.
func (g *guard) complete() {
	for last := len(g.open) - 1; last >= 0; last-- {
		if g.open[last]--; g.open[last] > 0 {
			return
		}
		g.open = g.open[:last]
	}
	g.whole++
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
