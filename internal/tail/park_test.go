package tail

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/hermod-agent/hermod/pipeline/positions"
)

func (x *fixture) park() {
	x.Helper()
	x.log.Park()
	if n := x.log.Descriptors(); n != 0 {
		x.Fatalf("%d descriptors after parking", n)
	}
}

func TestAParkedFileIsReadOnWhenItChanges(t *testing.T) {
	x := newFixture(t).open(Options{})
	x.append("app.log", "one\n")
	x.want("one")
	x.park()
	x.want()
	if n := x.log.Descriptors(); n != 0 {
		t.Errorf("a read without news has opened %d files", n)
	}
	x.append("app.log", "two\nthr")
	x.want("two")
	x.park()
	x.want()
	x.append("app.log", "ee\n")
	x.want("three")
	if s := x.log.Stat(); !s.Exists || s.Truncations != 0 {
		t.Errorf("%+v", s)
	}
}

func TestAFileThatIsParkedBeforeItIsReadIsReadWhole(t *testing.T) {
	x := newFixture(t)
	x.append("app.log", "one\n")
	x.open(Options{})
	x.log.Position()
	x.park()
	if s := x.log.Stat(); s.Unread != 4 {
		t.Errorf("%d bytes are told as unread", s.Unread)
	}
	x.want("one")
}

func TestAParkedFileIsFoundUnderItsNewName(t *testing.T) {
	for _, name := range []string{"app.log.1", "an unusual name"} {
		for _, successor := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s successor=%v", name, successor), func(t *testing.T) {
				x := newFixture(t).open(Options{Lost: func(_ Loss, n int64) { t.Errorf("%d bytes were told as lost", n) }})
				x.append("app.log", "one\n")
				x.want("one")
				x.park()
				x.append("app.log", "two\n")
				x.rename("app.log", name)
				want := []string{"two"}
				if successor {
					x.append("app.log", "three\n")
					want = append(want, "three")
				}
				x.want(want...)
			})
		}
	}
}

func TestAParkedFileThatWasTruncatedIsReadFromItsCopy(t *testing.T) {
	x := newFixture(t).open(Options{})
	x.append("app.log", "a1\n")
	x.want("a1")
	x.park()
	x.append("app.log", "a2\n")
	x.append("app.log.1", "a1\na2\n")
	if err := os.Truncate(x.path, 0); err != nil {
		t.Fatal(err)
	}
	x.append("app.log", "b1\n")
	x.want("a2", "b1")
}

func TestWhatADeletedParkedFileHeldUnreadIsTold(t *testing.T) {
	x := newFixture(t)
	var lost []string
	x.append("app.log", "one\n"+strings.Repeat("x", 96))
	x.open(Options{Lost: func(how Loss, n int64) { lost = append(lost, fmt.Sprint(how == Deleted, n)) }})
	x.log.Position()
	x.park()
	if err := os.Remove(x.path); err != nil {
		t.Fatal(err)
	}
	x.want()
	x.append("app.log", "two\n")
	x.want("two")
	if got := fmt.Sprint(lost); got != "[true 100]" {
		t.Errorf("told %s", got)
	}
}

func testBook(t testing.TB) *positions.Book {
	t.Helper()
	store, err := positions.Open("", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return store.Book("a")
}

func TestAParkedFileBelongsToItsLogUntilItIsRenamed(t *testing.T) {
	x := newFixture(t)
	book := testBook(t)
	r := NewRegistry(book)
	x.append("app.log", "one\n")
	x.open(Options{Registry: r})
	x.want("one")
	book.Set(fmt.Sprintf("%x:%x", x.last.Device, x.last.Inode), x.last)
	x.park()
	if err := os.Link(x.path, x.path+".1"); err != nil {
		t.Fatal(err)
	}
	other := Open(Options{Path: x.path + ".1", Registry: r})
	defer other.Close()
	if c, err := other.Read(x.buf); err != nil || !c.Empty() || !other.Stat().Shared {
		t.Fatalf("%d bytes of another log's file, %v", c.Len(), err)
	}
	if err := os.Remove(x.path); err != nil {
		t.Fatal(err)
	}
	x.append("app.log", "new\n")
	x.want("new")
	x.append("app.log.1", "late\n")
	other.Stir()
	if c, err := other.Read(x.buf); err != nil || c.Len() != 5 {
		t.Errorf("%d bytes, %v", c.Len(), err)
	}
}

func TestAParkedFileThatIsOpenedAgainDoesNotMoveThePositionInTheBook(t *testing.T) {
	x := newFixture(t)
	book := testBook(t)
	x.append("app.log", "one\n")
	x.open(Options{Registry: NewRegistry(book)})
	x.want("one") // and nobody has taken it yet
	x.park()
	x.append("app.log", "two\n")
	x.want("two")
	key := fmt.Sprintf("%x:%x", x.last.Device, x.last.Inode)
	if p, ok := book.Get(key); !ok || p.Offset != 0 {
		t.Errorf("the book says %+v, %v", p, ok)
	}
}
