package nginx

import (
	"bytes"
	"errors"
	"fmt"
)

// stub is what a stub_status page holds.
type stub struct {
	active, accepted, handled, requests, reading, writing, waiting uint64
}

// errNotStub says that a page isn't one of stub_status.
var errNotStub = errors.New("the page is not one of stub_status")

// parseStub reads a stub_status page:
//
//	Active connections: 291
//	server accepts handled requests
//	 16630948 16630948 31070465
//	Reading: 6 Writing: 179 Waiting: 106
//
// The four numbers with a word before them may stand in any order and with any white space between. The three of the table are those
// below its heading, whose words say which is which: Tengine adds request_time there, before or after.
func parseStub(page []byte) (stub, error) {
	var s stub
	var err error
	read := func(word string) (n uint64) {
		if err == nil {
			n, err = after(page, word)
		}
		return n
	}
	s.active, s.reading, s.writing, s.waiting = read("Active connections"), read("Reading"), read("Writing"), read("Waiting")
	if err == nil {
		err = s.table(page)
	}
	if err != nil {
		return stub{}, err
	}
	return s, nil
}

// after is the number that stands behind a word and a colon.
func after(page []byte, word string) (uint64, error) {
	at := bytes.Index(page, []byte(word))
	if at < 0 {
		return 0, fmt.Errorf("%w: there is no %q", errNotStub, word)
	}
	rest, ok := bytes.CutPrefix(bytes.TrimLeft(page[at+len(word):], " \t"), []byte(":"))
	if !ok {
		return 0, fmt.Errorf("%w: no colon follows %q", errNotStub, word)
	}
	n, _, ok := cutNumber(rest)
	if !ok {
		return 0, fmt.Errorf("%w: no number follows %q", errNotStub, word)
	}
	return n, nil
}

// table reads the heading that begins with "server" and the numbers below it.
func (s *stub) table(page []byte) error {
	for len(page) > 0 {
		var line []byte
		line, page, _ = bytes.Cut(page, []byte("\n"))
		word, heading := cutWord(line)
		if string(word) != "server" {
			continue
		}
		line, _, _ = bytes.Cut(page, []byte("\n"))
		seen := 0
		for {
			if word, heading = cutWord(heading); len(word) == 0 {
				break
			}
			n, rest, ok := cutNumber(line)
			if !ok {
				return fmt.Errorf("%w: there are more words than numbers in its table", errNotStub)
			}
			line = rest
			switch string(word) {
			case "accepts":
				s.accepted, seen = n, seen|1
			case "handled":
				s.handled, seen = n, seen|2
			case "requests":
				s.requests, seen = n, seen|4
			}
		}
		if seen != 7 {
			return fmt.Errorf("%w: its table lacks accepts, handled or requests", errNotStub)
		}
		return nil
	}
	return fmt.Errorf("%w: there is no table", errNotStub)
}

// cutWord takes the first word off a line.
func cutWord(line []byte) (word, rest []byte) {
	line = bytes.TrimLeft(line, " \t\r")
	end := bytes.IndexAny(line, " \t\r")
	if end < 0 {
		end = len(line)
	}
	return line[:end], line[end:]
}

// cutNumber takes a whole number off the beginning of b, behind white space.
func cutNumber(b []byte) (n uint64, rest []byte, ok bool) {
	b = bytes.TrimLeft(b, " \t\r\n")
	i := 0
	for ; i < len(b) && b[i] >= '0' && b[i] <= '9'; i++ {
		digit := uint64(b[i] - '0')
		if n > (1<<64-1-digit)/10 {
			return 0, b, false
		}
		n = n*10 + digit
	}
	return n, b[i:], i > 0
}
