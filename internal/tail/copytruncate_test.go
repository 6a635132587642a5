package tail

import (
	"os"
	"testing"
)

func TestACopyThatIsBeingMadeResemblesItsLog(t *testing.T) {
	x := newFixture(t).open(Options{})
	x.append("app.log", "a1\na2\n")
	x.want("a1", "a2")
	for content, want := range map[string]bool{"": true, "a1\n": true, "a1\na2\n": true, "a1\na2\na3\n": true, "b1\n": false, "a1\nb": false} {
		if err := os.WriteFile(x.path+".1", []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := x.log.Resembles(x.path + ".1"); got != want {
			t.Errorf("%q: %v", content, got)
		}
	}
	if x.log.Resembles(x.path) {
		t.Error("a log resembles itself")
	}
	// The log is truncated, and nobody has looked yet.
	if err := os.Truncate(x.path, 0); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(x.path+".1", []byte("a1\na2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if !x.log.Resembles(x.path + ".1") {
		t.Error("the copy of a truncated log isn't recognised")
	}
}
