package tail

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
)

func TestLongLinesAreCutCountedAndTheRestSkipped(t *testing.T) {
	const limit = 1000
	for _, n := range []int{limit - 1, limit, limit + 1, 3000, 4096, 5095, 5096, 5097, 100_000, 3_000_000} {
		for _, end := range []string{"\n", ""} {
			t.Run(fmt.Sprintf("%d %q", n, end), func(t *testing.T) {
				x := newFixture(t)
				x.buf = make([]byte, limit+4<<10)
				long := strings.Repeat("x", n)
				x.append("app.log", "before\n"+long+end)
				if end != "" {
					x.append("app.log", "after\n")
				}
				x.open(Options{MaxLine: limit})
				if end == "" {
					x.log.Finish()
				}
				cut := 0
				var lines []string
				for {
					c, err := x.log.Read(x.buf)
					if err != nil && err != io.EOF {
						t.Fatal(err)
					}
					if c.Empty() && !c.More() {
						break
					}
					for line, ok := c.Next(); ok; line, ok = c.Next() {
						lines = append(lines, string(line))
					}
					cut += c.Cut()
					if !c.Empty() {
						x.last = c.Position()
					}
				}
				want := []string{"before", long[:min(n, limit)]}
				if end != "" {
					want = append(want, "after")
				}
				if !slices.Equal(lines, want) {
					t.Errorf("got %d lines, the second of %d bytes", len(lines), len(lines[1]))
				}
				if want := map[bool]int{true: 1}[n > limit]; cut != want {
					t.Errorf("%d lines counted as cut, want %d", cut, want)
				}
				if info, _ := os.Stat(x.path); x.last.Offset != info.Size() {
					t.Errorf("offset %d, the file has %d bytes", x.last.Offset, info.Size())
				}
			})
		}
	}
}

func TestALongLineThatGrowsSlowlyIsCutOnce(t *testing.T) {
	x := newFixture(t).open(Options{MaxLine: 100})
	x.buf = make([]byte, 2000)
	for range 100 {
		x.append("app.log", strings.Repeat("y", 77))
		x.want()
	}
	x.append("app.log", "\nnext\n")
	x.want(strings.Repeat("y", 100), "next")
}

func TestACutLeavesNoHalfRune(t *testing.T) {
	for n := range 12 {
		got := cutLine([]byte("aäöü€😀zzz"), n)
		if !bytes.HasPrefix([]byte("aäöü€😀zzz"), got) || len(got) > n || len(got) < n-3 || strings.ContainsRune(string(got), '\uFFFD') {
			t.Errorf("cut to %d: %q", n, got)
		}
	}
}

func TestMemoryThatIsTooShortIsSaidAndNothingLost(t *testing.T) {
	x := newFixture(t).open(Options{})
	long := strings.Repeat("z", 5000)
	x.append("app.log", "one\n"+long+"\n")
	small := make([]byte, 2000)
	c, err := x.log.Read(small)
	if line, ok := c.Next(); err != nil || !ok || string(line) != "one" {
		t.Fatalf("got %q, %v", line, err)
	}
	if _, err := x.log.Read(small); !errors.Is(err, ErrShortBuffer) {
		t.Fatalf("got error %v", err)
	}
	x.want(long)
}

func TestHolesOfNulBytesAreNotText(t *testing.T) {
	x := newFixture(t).open(Options{MaxLine: 1000})
	x.buf = make([]byte, 8000)
	x.append("app.log", "one\n")
	x.append("app.log", strings.Repeat("\x00", 50_000))
	x.want("one")
	x.append("app.log", "two\n\x00\x00three\n")
	x.want("two", "three")
	x.append("app.log", strings.Repeat("\x00", 9000))
	x.want()
	f, err := os.OpenFile(x.path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// A writer that had made the file longer ahead of time fills it in.
	if _, err := f.WriteAt([]byte("four\n"), x.last.Offset); err != nil {
		t.Fatal(err)
	}
	x.want("four")
	// Truncated under a writer that goes on at its old offset: the file begins with a hole.
	if err := f.Truncate(0); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("five\n"), 1<<40); err != nil {
		t.Fatal(err)
	}
	x.want("five")
	if x.last.Offset != 1<<40+5 {
		t.Errorf("offset %d", x.last.Offset)
	}
}

func TestTextIsValidAndWithoutCarriageReturns(t *testing.T) {
	x := newFixture(t).open(Options{})
	x.append("app.log", "\uFEFFbom\r\nplain\na\x00b\nbad \xff\xfe\xfd utf-8 \xe2\x82\n€\n\r\n\uFEFFkept\n")
	c, err := x.log.Read(x.buf)
	if err != nil {
		t.Fatal(err)
	}
	var arena []byte
	var got []string
	for line, ok := c.NextText(&arena); ok; line, ok = c.NextText(&arena) {
		got = append(got, string(line))
	}
	want := []string{"bom", "plain", "a\uFFFDb", "bad \uFFFD utf-8 \uFFFD", "€", "", "\uFEFFkept"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
