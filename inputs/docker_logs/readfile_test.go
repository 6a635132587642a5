package dockerlogs

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hermod-agent/hermod/internal/tail"
)

func TestNearEndPassesOverLittleAndMissesNothing(t *testing.T) {
	base := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	line := func(i, length int) string {
		return fmt.Sprintf(`{"log":"%d %s\n","stream":"stdout","time":%q}`+"\n", i, strings.Repeat("x", length), base.Add(time.Duration(i)*time.Second).Format(time.RFC3339Nano))
	}
	// lines gives the log and where each line begins.
	lines := func(n, length int) (log []byte, at []int64) {
		for i := range n {
			at = append(at, int64(len(log)))
			log = append(log, line(i, length)...)
		}
		return log, at
	}
	short, shortAt := lines(10_000, 100)
	long, longAt := lines(40, 90_000)
	few, fewAt := lines(3, 10)
	for name, c := range map[string]struct {
		log   []byte
		at    []int64
		first int   // the line from which on nothing may be missing
		most  int64 // how much before it may be read
	}{
		"the last lines":         {short, shortAt, 9_999, firstLook},
		"none of them":           {short, shortAt, 10_000, firstLook},
		"more than the look":     {short, shortAt, 5_000, 3 << 20},
		"all":                    {short, shortAt, 0, 0},
		"lines beyond the look":  {long, longAt, 38, 4 << 20},
		"half a line at the end": {append(bytes.Clone(short), `{"log":"half`...), append(shortAt, int64(len(short))), 10_000, firstLook},
		"a line that is no JSON": {append([]byte("nonsense\n"), few...), []int64{9, 9 + fewAt[1], 9 + fewAt[2]}, 1, firstLook},
		"a short file":           {few, fewAt, 2, firstLook},
		"an empty file":          {nil, nil, 0, 0},
	} {
		path := filepath.Join(t.TempDir(), "x-json.log")
		if err := os.WriteFile(path, c.log, 0o600); err != nil {
			t.Fatal(err)
		}
		p, ok := nearEnd(path, base.Add(time.Duration(c.first)*time.Second).UnixNano(), make([]byte, tail.BufferSize(0)))
		want := int64(len(c.log))
		if c.first < len(c.at) {
			want = c.at[c.first]
		}
		if !ok || p.Offset > want || want-p.Offset > c.most || p.Offset > 0 && c.log[p.Offset-1] != '\n' || p.Inode == 0 {
			t.Errorf("%s: %v, begins %d bytes before the first line that is wanted: %+v", name, ok, want-p.Offset, p)
		}
	}
	if _, ok := nearEnd(filepath.Join(t.TempDir(), "none"), 0, make([]byte, 1024)); ok {
		t.Error("a file that isn't there has an end")
	}
}
