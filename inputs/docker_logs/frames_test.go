package dockerlogs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

const stamp1, stamp2 = "2026-11-21T06:01:57.723048088Z ", "2026-11-21T06:01:58.000000000Z "

func frame(kind byte, text string) string {
	b := make([]byte, frameHeader)
	b[0] = kind
	binary.BigEndian.PutUint32(b[4:], uint32(len(text)))
	return string(b) + text
}

type got struct {
	stream stream
	time   int64
	text   string
	ends   bool
}

// readFrames takes all messages of a stream.
func readFrames(r io.Reader, tty bool) (all []got, cut int, err error) {
	f := newFrames(r, tty)
	f.whole = true
	for {
		fillErr := f.fill()
		for {
			var m message
			ok, err := f.next(&m)
			if err != nil {
				return all, f.cut, err
			}
			if !ok {
				break
			}
			all = append(all, got{m.stream, m.time, string(m.text), m.ends})
		}
		if fillErr != nil {
			return all, f.cut, fillErr
		}
	}
}

func nanos(stamp string) int64 {
	t, err := time.Parse(time.RFC3339Nano, strings.TrimSpace(stamp))
	if err != nil {
		panic(err)
	}
	return t.UnixNano()
}

func TestFramesComeOutHoweverTheStreamIsCut(t *testing.T) {
	long := strings.Repeat("x", 16<<10)
	in := frame(1, stamp1+"one\n") + frame(2, stamp1+"two\n") + frame(1, stamp2+long) + frame(2, stamp2+"\n") + frame(1, stamp2+"end\r\n") + frame(0, "no time\n")
	t1, t2 := nanos(stamp1), nanos(stamp2)
	want := []got{{stdout, t1, "one", true}, {stderr, t1, "two", true}, {stdout, t2, long, false}, {stderr, t2, "", true}, {stdout, t2, "end\r", true}, {stdout, 0, "no time", true}}
	for name, r := range map[string]io.Reader{
		"whole": strings.NewReader(in), "one byte": iotest.OneByteReader(strings.NewReader(in)), "halves": iotest.HalfReader(strings.NewReader(in)),
		"data with error": iotest.DataErrReader(strings.NewReader(in)),
	} {
		all, cut, err := readFrames(r, false)
		if !errors.Is(err, io.EOF) || cut != 0 {
			t.Errorf("%s: error %v, cut %d", name, err, cut)
		}
		checkGot(t, name, all, want)
	}
}

func checkGot(t *testing.T, name string, all, want []got) {
	t.Helper()
	if len(all) != len(want) {
		t.Errorf("%s: %d messages, want %d: %.300v", name, len(all), len(want), all)
		return
	}
	for i := range want {
		if all[i] != want[i] {
			t.Errorf("%s: message %d: got %.100v, want %.100v", name, i, all[i], want[i])
		}
	}
}

func TestLinesOfATTYComeOutWithTheirParts(t *testing.T) {
	long := strings.Repeat("y", 16<<10)
	in := stamp1 + "one\r\n" + stamp2 + long + stamp2 + long + stamp2 + "rest\r\n" + stamp2 + "\r\n" + "no time\n" + stamp2 + "no end"
	t1, t2 := nanos(stamp1), nanos(stamp2)
	want := []got{{stdout, t1, "one\r", true}, {stdout, t2, long, false}, {stdout, t2, long, false}, {stdout, t2, "rest\r", true}, {stdout, t2, "\r", true}, {stdout, 0, "no time", true}, {stdout, t2, "no end", false}}
	for name, r := range map[string]io.Reader{
		"whole": strings.NewReader(in), "one byte": iotest.OneByteReader(strings.NewReader(in)), "halves": iotest.HalfReader(strings.NewReader(in)),
	} {
		all, _, err := readFrames(r, true)
		if !errors.Is(err, io.EOF) {
			t.Errorf("%s: %v", name, err)
		}
		checkGot(t, name, all, want)
	}
}

func TestTheMissingLineEndOfTheLocalDriverIsFound(t *testing.T) {
	long := strings.Repeat("y", 16<<10)
	in := stamp1 + long + stamp1 + "rest\r" + stamp2 + "next\r\n" + stamp2 + "a\r" + stamp1 + "progress\r\n"
	t1, t2 := nanos(stamp1), nanos(stamp2)
	all, _, _ := readFrames(strings.NewReader(in), true)
	checkGot(t, "TTY", all, []got{{stdout, t1, long, false}, {stdout, t1, "rest", true}, {stdout, t2, "next\r", true}, {stdout, t2, "a\r" + stamp1 + "progress\r", true}})

	j := joiner{max: 1 << 20, short: true}
	var records []record
	for _, m := range []message{{time: 1, text: []byte(long)}, {time: 1, text: []byte(long)}, {time: 1, text: []byte("rest")}} {
		records = j.add(&m, 0, 0, records)
	}
	if len(records) != 1 || string(records[0].text) != long+long+"rest" {
		t.Errorf("frames: %d records", len(records))
	}
}

func TestAHugeFrameIsCutAndTheNextOneIsFound(t *testing.T) {
	huge := strings.Repeat("z", 3*maxFrame)
	all, cut, err := readFrames(strings.NewReader(frame(1, stamp1+huge+"\n")+frame(2, stamp2+"next\n")), false)
	if !errors.Is(err, io.EOF) || cut != 1 || len(all) != 2 || all[1].text != "next" || len(all[0].text) != maxFrame-stampSize || !all[0].ends {
		t.Fatalf("frames: %d messages, cut %d, %v", len(all), cut, err)
	}
	all, cut, err = readFrames(strings.NewReader(stamp1+huge+"\n"+stamp2+"next\n"), true)
	if !errors.Is(err, io.EOF) || cut != 1 || len(all) != 2 || all[1].text != "next" || len(all[0].text) != maxFrame-stampSize || !all[0].ends {
		t.Fatalf("TTY: %d messages, cut %d, %v", len(all), cut, err)
	}
}

func TestWhatIsNoFrameIsAnError(t *testing.T) {
	if _, _, err := readFrames(strings.NewReader(stamp1+"text of a TTY\n"), false); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("text was taken for frames: %v", err)
	}
	_, _, err := readFrames(strings.NewReader(frame(1, stamp1+"x\n")+frame(3, "Error grabbing logs: invalid character\n")), false)
	var e engineError
	if !errors.As(err, &e) || e.Error() != "Error grabbing logs: invalid character" {
		t.Errorf("the engine's words: %v", err)
	}
}

func FuzzFrames(f *testing.F) {
	f.Add([]byte(frame(1, stamp1+"one\n")+frame(2, stamp2+"two")+frame(3, "oops")), false, 7)
	f.Add([]byte(stamp1+"one\r\n"+stamp2+"a"+stamp2+"b\n"), true, 1)
	f.Fuzz(func(t *testing.T, in []byte, tty bool, step int) {
		whole, _, err := readFrames(bytes.NewReader(in), tty)
		cut, _, err2 := readFrames(&stepReader{in, max(step, 1)}, tty)
		if (err == nil) != (err2 == nil) || err.Error() != err2.Error() {
			t.Fatalf("%v against %v", err, err2)
		}
		if len(whole) != len(cut) {
			t.Fatalf("%d messages whole, %d cut", len(whole), len(cut))
		}
		for i := range whole {
			if whole[i] != cut[i] {
				t.Fatalf("message %d: %v against %v", i, whole[i], cut[i])
			}
		}
	})
}

// stepReader gives a few bytes at a time.
type stepReader struct {
	rest []byte
	step int
}

func (r *stepReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.rest[:min(len(r.rest), r.step)])
	r.rest = r.rest[n:]
	return n, nil
}

// benchFrames is a stream of n lines of 200 bytes.
func benchFrames(n int) []byte {
	one := frame(1, stamp1+strings.Repeat("a line of text, ", 12)+"\n")
	return bytes.Repeat([]byte(one), n)
}

func BenchmarkFrames(b *testing.B) {
	in := benchFrames(1000)
	f := newFrames(nil, false)
	b.ReportAllocs()
	b.SetBytes(int64(len(in) / 1000))
	var m message
	for i := 0; b.Loop(); i++ {
		ok, err := f.next(&m)
		if err != nil {
			b.Fatal(err)
		}
		for !ok {
			if f.from == nil || f.fill() != nil {
				f.from = bytes.NewReader(in)
			}
			ok, _ = f.next(&m)
		}
	}
}
