package redis

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"net"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// stream is a connection from which what a reader holds is read, and to which anything may be sent.
type stream struct {
	net.Conn
	from io.Reader
}

func (s stream) Read(p []byte) (int, error)       { return s.from.Read(p) }
func (s stream) Write(p []byte) (int, error)      { return len(p), nil }
func (s stream) Close() error                     { return nil }
func (s stream) SetDeadline(time.Time) error      { return nil }
func (s stream) SetReadDeadline(time.Time) error  { return nil }
func (s stream) SetWriteDeadline(time.Time) error { return nil }

// read reads that many replies through the guard and the library.
func read(from io.Reader, n int) ([]value, error) {
	c := newConn(stream{from: from})
	defer c.close()
	return c.exchange(context.Background(), slices.Repeat([]call{words("PING")}, n))
}

func mustRead(t testing.TB, text string) value {
	t.Helper()
	replies, err := read(strings.NewReader(text), 1)
	if err != nil {
		t.Fatal(err)
	}
	return replies[0]
}

// show writes a value for comparison.
func show(v value) string {
	switch {
	case v.is == nil:
		return "null"
	case v.isArray():
		var parts []string
		for i := range v.len() {
			parts = append(parts, show(v.at(i)))
		}
		return "[" + strings.Join(parts, " ") + "]"
	case v.isError():
		return "-" + strconv.Quote(string(v.text()))
	case v.isString():
		return strconv.Quote(string(v.text()))
	}
	return string(v.text())
}

// howeverTheyCome are readers of the text that give it in pieces of several sizes.
func howeverTheyCome(text string) map[string]io.Reader {
	return map[string]io.Reader{
		"at once":      strings.NewReader(text),
		"with the end": iotest.DataErrReader(strings.NewReader(text)),
		"in halves":    iotest.HalfReader(strings.NewReader(text)),
		"byte by byte": iotest.OneByteReader(strings.NewReader(text)),
	}
}

func TestRepliesAreReadHoweverTheyCome(t *testing.T) {
	long := strings.Repeat("x", 100<<10)
	text := "+OK\r\n-ERR no\r\n:-7\r\n$5\r\na\r\nb\r\r\n$0\r\n\r\n$-1\r\n*-1\r\n*0\r\n*3\r\n*2\r\n:1\r\n*0\r\n$1\r\nx\r\n*1\r\n*1\r\n+y\r\n:9\r\n" + bulk(long) +
		"+\r\n" + "-MOVED 1 a:1\r\n"
	want := []string{
		`"OK"`, `-"ERR no"`, `-7`, `"a\r\nb\r"`, `""`, `null`, `null`, `[]`, `[[1 []] "x" [["y"]]]`, `9`, strconv.Quote(long), `""`, `-"MOVED 1 a:1"`,
	}
	for name, reader := range howeverTheyCome(text) {
		got, err := read(reader, len(want))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for i := range want {
			if show(got[i]) != want[i] {
				t.Errorf("%s: reply %d is %.100s, want %.100s", name, i, show(got[i]), want[i])
			}
		}
	}
}

// The library would take what is behind such an error in an array for the next reply.
func TestAnErrorWithinAnArrayEndsNothing(t *testing.T) {
	for _, code := range []string{"NOPERM", "LOADING", "READONLY", "MOVED 1", "ERR"} {
		text := "*3\r\n+a\r\n-" + code + " x\r\n:3\r\n+next\r\n"
		for name, reader := range howeverTheyCome(text) {
			got, err := read(reader, 2)
			if err != nil || show(got[0]) != `["a" "`+code+` x" 3]` || show(got[1]) != `"next"` {
				t.Errorf("%s, %s: %v %v", code, name, got, err)
			}
		}
	}
}

func TestWhatIsNoReplyIsRefused(t *testing.T) {
	for text, want := range map[string]string{
		"HTTP/1.1 400 Bad Request\r\n":          `it answers "HTTP/1.1 400 Bad Request"`,
		"SSH-2.0-OpenSSH_9.2":                   `it answers "SSH-2.0-OpenSSH_9.2"`,
		"J\x00\x00\x00\x0a8.4.0\x00":            "it answers",
		"\r\n":                                  `it answers ""`,
		"+OK\n":                                 `it answers "+OK"`,
		"+\n":                                   `it answers "+"`,
		":x\r\n":                                `"x" is not a number`,
		":\r\n":                                 `"" is not a number`,
		"$-2\r\n":                               "a string of -2 bytes",
		"*-2\r\n":                               "an array of -2 values",
		"$1\r\nabc\r\n":                         "longer than was said",
		"$1\r\na\rx":                            "longer than was said",
		"$99999999999\r\n":                      "more than",
		"$9223372036854775807\r\n":              "more than",
		"$99999999999999999999\r\n":             "is not a number",
		"*99999999999\r\n":                      "more than",
		"*9223372036854775807\r\n":              "more than",
		strings.Repeat("*1\r\n", 20) + ":1\r\n": "within each other",
		"+" + strings.Repeat("x", 70<<10):       "a line doesn't end",
		// Of RESP3, which nobody asked for.
		"%1\r\n+a\r\n:1\r\n":       "it answers",
		"|1\r\n+a\r\n:1\r\n:1\r\n": "it answers",
		">1\r\n+a\r\n:1\r\n":       "it answers",
		"=5\r\ntxt:a\r\n":          "it answers",
		"_\r\n":                    "it answers",
	} {
		for name, reader := range howeverTheyCome(text) {
			if _, err := read(reader, 1); err == nil || !strings.Contains(err.Error(), want) && (name == "at once" || !strings.Contains(err.Error(), "it answers")) {
				t.Errorf("%.40q %s: %v, want %q", text, name, err, want)
			}
		}
	}
	if _, err := read(strings.NewReader("$10\r\nabc"), 1); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a reply that is cut: %v", err)
	}
	if _, err := read(strings.NewReader(""), 1); !errors.Is(err, io.EOF) {
		t.Errorf("no reply: %v", err)
	}
	if replies, err := read(strings.NewReader("-DENIED x\r\n"), 2); err == nil || !strings.Contains(err.Error(), "DENIED x") {
		t.Errorf("a refusal and no more: %v %v", replies, err)
	}
}

// What a server announces costs nothing until it is sent, but for what fits into the bounds of an exchange.
func TestLengthsThatAreOnlySaidCostNothing(t *testing.T) {
	most := "*" + strconv.Itoa(maxValues) + "\r\n"
	for name, tt := range map[string]struct {
		from    io.Reader
		replies int
	}{
		"a string":                    {strings.NewReader("$" + strconv.Itoa(maxReplies+1) + "\r\n"), 1},
		"the longest string":          {strings.NewReader("$" + strconv.Itoa(math.MaxInt64) + "\r\n"), 1},
		"an array":                    {strings.NewReader("*" + strconv.Itoa(maxValues+1) + "\r\n"), 1},
		"arrays within arrays":        {strings.NewReader(strings.Repeat("*262144\r\n", 8)), 1},
		"arrays one after another":    {repeat("*2\r\n*262142\r\n"), 1},
		"an array that comes":         {io.MultiReader(strings.NewReader(most), repeat("*1\r\n:1\r\n")), 1},
		"many arrays that come":       {repeat("*1000\r\n" + strings.Repeat(":1\r\n", 1000)), 2000},
		"many strings that come":      {repeat(bulk(strings.Repeat("x", 1<<20))), 100},
		"depth":                       {repeat("*1\r\n"), 1},
		"a line that doesn't end":     {io.MultiReader(strings.NewReader("+"), repeat("x")), 1},
		"a string without an end":     {io.MultiReader(strings.NewReader("$5\r\n"), repeat("x")), 1},
		"a header that doesn't end":   {io.MultiReader(strings.NewReader("$"), repeat("1")), 1},
		"an error that doesn't end":   {io.MultiReader(strings.NewReader("*1\r\n-"), repeat("x")), 1},
		"more than was asked for":     {repeat("+OK\r\n"), 1},
		"strings that say too little": {repeat("$1\r\nxx\r\n"), 1},
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := read(tt.from, tt.replies)
			runtime.ReadMemStats(&after)
			if (err == nil) != (name == "more than was asked for") {
				t.Error(err)
			} else if strings.Contains(name, "that come") && !errors.Is(err, errTooLarge) {
				t.Error(err)
			}
			// The values themselves: an interface of 16 bytes each, and what arrived.
			if got := after.TotalAlloc - before.TotalAlloc; got > maxReplies+maxValues*24 {
				t.Errorf("%d MiB were allocated", got>>20)
			} else if !strings.Contains(name, "come") && !strings.Contains(name, "arrays") && got > 1<<20 {
				t.Errorf("%d KiB were allocated", got>>10)
			}
		})
	}
}

// endless is a text over and over.
type endless struct {
	text string
	at   int
}

func repeat(text string) io.Reader { return &endless{text: text} }

func (e *endless) Read(p []byte) (int, error) {
	for n := 0; n < len(p); {
		took := copy(p[n:], e.text[e.at:])
		e.at = (e.at + took) % len(e.text)
		n += took
	}
	return len(p), nil
}

func TestFieldsOfAnArray(t *testing.T) {
	v := mustRead(t, "*5\r\n$1\r\na\r\n*1\r\n$1\r\nb\r\n$1\r\nb\r\n:2\r\n$1\r\nc\r\n")
	if got, ok := v.field("b"); !ok || show(got) != "2" {
		t.Errorf("b is %v", ok)
	}
	for _, name := range []string{"c", "d"} {
		if _, ok := v.field(name); ok {
			t.Errorf("there is a %s", name)
		}
	}
	if _, ok := mustRead(t, ":1\r\n").field("a"); ok {
		t.Error("a number has fields")
	}
	if got := v.at(7); got.is != nil || got.len() != 0 || got.text() != nil {
		t.Error("there is a seventh value")
	}
	if n, ok := v.at(3).integer(); !ok || n != 2 {
		t.Errorf("%d %v", n, ok)
	}
}

// What a server sends reaches the library as far as the guard has followed it, and then both are at the same place.
func FuzzReplies(f *testing.F) {
	f.Add([]byte("+OK\r\n"), uint8(1))
	f.Add([]byte("*2\r\n$1\r\na\r\n*1\r\n:5\r\n$-1\r\n"), uint8(2))
	f.Add([]byte("*3\r\n*-1\r\n$0\r\n\r\n-ERR x\r\n"), uint8(1))
	f.Add([]byte("*2\r\n-NOPERM x\r\n+y\r\n:1\r\n"), uint8(2))
	f.Add([]byte("$-01\r\n*+0\r\n:+3\r\n"), uint8(3))
	f.Fuzz(func(t *testing.T, text []byte, n uint8) {
		replies := int(n%5) + 1
		var seen [2][]string
		for i, from := range []io.Reader{bytes.NewReader(text), iotest.OneByteReader(bytes.NewReader(text))} {
			c := newConn(stream{from: from})
			got, err := c.exchange(t.Context(), slices.Repeat([]call{words("PING")}, replies))
			c.close()
			if err != nil {
				continue
			}
			if c.guard.broken == nil && c.guard.whole < replies {
				t.Fatalf("the library has read %d replies, and the guard seen %d", replies, c.guard.whole)
			}
			for _, v := range got {
				seen[i] = append(seen[i], show(v))
			}
		}
		if !slices.Equal(seen[0], seen[1]) && seen[0] != nil && seen[1] != nil {
			t.Fatalf("at once %q, byte by byte %q", seen[0], seen[1])
		}
	})
}
