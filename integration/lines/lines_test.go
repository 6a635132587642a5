package lines

import "testing"

func TestWhatIsWrittenIsWhatIsWanted(t *testing.T) {
	const n = 10_000
	got, toStderr, long := map[string]int{}, 0, 0
	Each("a", n, true, func(l Line) bool {
		got[l.Text]++
		if l.Stderr {
			toStderr++
		}
		if len(l.Text) > 16<<10 {
			long++
		}
		return true
	})
	total := 0
	want := Want("a", n)
	for text, count := range want {
		total += count
		if got[text] != count {
			t.Fatalf("%.40q comes %d times, want %d", text, got[text], count)
		}
	}
	if len(got) != len(want) || total != Count(n) {
		t.Errorf("%d texts and %d lines, want %d and %d", len(got), total, len(want), Count(n))
	}
	if got["a tick"] != 2000 || toStderr == 0 || long != 2 {
		t.Errorf("%d ticks, %d to stderr, %d long ones", got["a tick"], toStderr, long)
	}
}
