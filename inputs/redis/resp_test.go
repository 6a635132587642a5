package redis

import (
	"bytes"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
)

// show writes a value for comparison.
func show(v value) string {
	switch n := v.node(); n.kind {
	case kindNull:
		return "null"
	case kindArray:
		var parts []string
		for c, end := v.children(); c.i < end; c = c.next() {
			parts = append(parts, show(c))
		}
		return "[" + strings.Join(parts, " ") + "]"
	case kindInteger:
		return strconv.FormatInt(n.n, 10)
	default:
		return string(n.kind) + strconv.Quote(string(v.text()))
	}
}

func TestRepliesAreReadHoweverTheyCome(t *testing.T) {
	const stream = "+OK\r\n-ERR no\r\n:-7\r\n$5\r\na\r\nb\r\r\n$0\r\n\r\n$-1\r\n*-1\r\n*0\r\n*3\r\n*2\r\n:1\r\n*0\r\n$1\r\nx\r\n*1\r\n*1\r\n+y\r\n:9\r\n"
	want := []string{`+"OK"`, `-"ERR no"`, `-7`, `$"a\r\nb\r"`, `$""`, `null`, `null`, `[]`, `[[1 []] $"x" [[+"y"]]]`, `9`}
	for name, reader := range map[string]io.Reader{
		"at once":      strings.NewReader(stream),
		"in halves":    iotest.HalfReader(strings.NewReader(stream)),
		"byte by byte": iotest.OneByteReader(strings.NewReader(stream)),
	} {
		var tp tape
		if err := tp.read(reader, len(want)); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for i := range want {
			if got := show(tp.reply(i)); got != want[i] {
				t.Errorf("%s: reply %d is %s, want %s", name, i, got, want[i])
			}
		}
	}
}

func TestWhatIsNoReplyIsRefused(t *testing.T) {
	for stream, want := range map[string]string{
		"HTTP/1.1 400 Bad Request\r\n":          `it answers "HTTP/1.1 400 Bad Request"`,
		"SSH-2.0-OpenSSH_9.2":                   `it answers "SSH-2.0-OpenSSH_9.2"`,
		"J\x00\x00\x00\x0a8.4.0\x00":            "it answers",
		"+OK\n":                                 `it answers "+OK"`,
		":x\r\n":                                `"x" is not a number`,
		"$-2\r\n":                               "a string of -2 bytes",
		"*-2\r\n":                               "an array of -2 values",
		"$1\r\nabc\r\n":                         "longer than was said",
		"$99999999999\r\n":                      "more than",
		"*99999999999\r\n":                      "more than",
		strings.Repeat("*1\r\n", 20) + ":1\r\n": "within each other",
		"+" + strings.Repeat("x", 70<<10):       "a line doesn't end",
	} {
		var tp tape
		err := tp.read(strings.NewReader(stream), 1)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", stream, err, want)
		}
	}
	var tp tape
	if err := tp.read(strings.NewReader("$10\r\nabc"), 1); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a reply that is cut: %v", err)
	}
	if err := tp.read(strings.NewReader(""), 1); !errors.Is(err, io.EOF) {
		t.Errorf("no reply: %v", err)
	}
	endless := io.MultiReader(strings.NewReader("*1048576\r\n"), repeat(":1\r\n"))
	if err := tp.read(endless, 1); !errors.Is(err, errTooLarge) {
		t.Errorf("too many values: %v", err)
	}
}

type repeat string

func (r repeat) Read(p []byte) (int, error) {
	n := 0
	for len(p)-n >= len(r) {
		n += copy(p[n:], r)
	}
	return n, nil
}

func TestFieldsOfAnArray(t *testing.T) {
	var tp tape
	if err := tp.read(strings.NewReader("*5\r\n$1\r\na\r\n*1\r\n$1\r\nb\r\n$1\r\nb\r\n:2\r\n$1\r\nc\r\n"), 1); err != nil {
		t.Fatal(err)
	}
	v := tp.reply(0)
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
}

func mustRead(t testing.TB, stream string) value {
	t.Helper()
	tp := new(tape)
	if err := tp.read(strings.NewReader(stream), 1); err != nil {
		t.Fatal(err)
	}
	return tp.reply(0)
}

func TestNumbersAreReadAsStrconvDoes(t *testing.T) {
	for _, s := range []string{"0", "1", "-1", "7.0.15", "", "-", ".", "1.", ".5", "123456789012345678901234", "9007199254740993", "0.1", "12.34", "-0.001",
		"1e5", "inf", "-nan", "nan", "0x10", "1_0", "+5", "18446744073709551615", "1.7976931348623157e308", "99999999999999999", "0.30000000000000004", "- 1"} {
		want, err := strconv.ParseFloat(s, 64)
		got, ok := parseFloat([]byte(s))
		if ok != (err == nil) || ok && got != want && !(math.IsNaN(got) && math.IsNaN(want)) {
			t.Errorf("%q: %v %v, want %v %v", s, got, ok, want, err)
		}
		n, err := strconv.ParseInt(s, 10, 64)
		if i, ok := parseInt([]byte(s)); ok != (err == nil) || ok && i != n {
			t.Errorf("%q: %v %v, want %v %v", s, i, ok, n, err)
		}
	}
	for _, s := range []string{"9223372036854775807", "-9223372036854775808", "9223372036854775808", "-9223372036854775809"} {
		n, err := strconv.ParseInt(s, 10, 64)
		if i, ok := parseInt([]byte(s)); ok != (err == nil) || ok && i != n {
			t.Errorf("%q: %v %v, want %v %v", s, i, ok, n, err)
		}
	}
}

func FuzzReplies(f *testing.F) {
	f.Add([]byte("+OK\r\n"), uint8(1))
	f.Add([]byte("*2\r\n$1\r\na\r\n*1\r\n:5\r\n$-1\r\n"), uint8(2))
	f.Add([]byte("*3\r\n*-1\r\n$0\r\n\r\n-ERR x\r\n"), uint8(1))
	f.Fuzz(func(t *testing.T, stream []byte, n uint8) {
		replies := int(n % 5)
		var whole, slow tape
		err := whole.read(bytes.NewReader(stream), replies)
		slowErr := slow.read(iotest.OneByteReader(bytes.NewReader(stream)), replies)
		if (err == nil) != (slowErr == nil) {
			t.Fatalf("at once %v, byte by byte %v", err, slowErr)
		}
		if err != nil {
			return
		}
		for i := range replies {
			a, b := show(whole.reply(i)), show(slow.reply(i))
			if a != b {
				t.Fatalf("reply %d: %s and %s", i, a, b)
			}
		}
	})
}

func FuzzNumbers(f *testing.F) {
	for _, s := range []string{"1", "-1.5", "1e9", "x", "123456789.123456789"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		want, err := strconv.ParseFloat(s, 64)
		got, ok := parseFloat([]byte(s))
		if ok != (err == nil) || ok && got != want && !(math.IsNaN(got) && math.IsNaN(want)) {
			t.Fatalf("%q: %v %v, want %v %v", s, got, ok, want, err)
		}
	})
}

func TestCommandsAreWrittenAsArrays(t *testing.T) {
	got := appendCommand(nil, "CONFIG", "GET", "")
	if want := "*3\r\n$6\r\nCONFIG\r\n$3\r\nGET\r\n$0\r\n\r\n"; string(got) != want {
		t.Errorf("%q", got)
	}
	if v := mustRead(t, string(got)); v.len() != 3 || show(v) != `[$"CONFIG" $"GET" $""]` {
		t.Error(v.len(), show(v))
	}
}
