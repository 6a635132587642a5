package component

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestARemedyIsFoundBehindWrapping(t *testing.T) {
	err := WithRemedy(errors.New("permission denied"), "add the group docker")
	if remedy, what := Remedy(err); remedy != "add the group docker" || what != "permission denied" {
		t.Errorf("%q, %q", remedy, what)
	}
	wrapped := fmt.Errorf("open socket: %w", err)
	if remedy, what := Remedy(wrapped); remedy != "add the group docker" || !strings.HasPrefix(what, "open socket") {
		t.Errorf("%q, %q", remedy, what)
	}
	if remedy, what := Remedy(errors.New("plain")); remedy != "" || what != "plain" {
		t.Errorf("%q, %q", remedy, what)
	}
	if WithRemedy(nil, "x") != nil {
		t.Error("a remedy for no fault")
	}
}

func TestAFaultIsLoggedOnceAndCounted(t *testing.T) {
	var out bytes.Buffer
	s := NewStatus(slog.New(slog.NewTextHandler(&out, nil)))
	for range 3 {
		s.Fault("web", errors.New("gone"))
	}
	s.Note("", errors.New("worth knowing"))
	f := s.Faults()
	if len(f) != 2 || f[0].Count != 3 || f[0].Note || !f[1].Note {
		t.Fatalf("%+v", f)
	}
	if n := strings.Count(out.String(), "gone"); n != 1 {
		t.Errorf("logged %d times:\n%s", n, &out)
	}
	s.Fault("web", errors.New("still gone"))
	s.Fault("web", nil)
	s.Fault("web", nil)
	if n := strings.Count(out.String(), "recovered"); n != 1 || len(s.Faults()) != 1 {
		t.Errorf("%d recoveries, %+v", n, s.Faults())
	}
}

type closer struct{ closed *int }

func (c closer) Close() error { *c.closed++; return nil }

func TestAPooledValueOutlivesItsFirstUserAndIsClosedByTheLast(t *testing.T) {
	p := NewPool()
	made, closed := 0, 0
	open := func() (closer, error) { made++; return closer{&closed}, nil }
	_, release1, err := Acquire(p, "k", open)
	if err != nil {
		t.Fatal(err)
	}
	_, release2, _ := Acquire(p, "k", open)
	_ = release1()
	_ = release1() // a second call does nothing
	if made != 1 || closed != 0 {
		t.Fatalf("made %d, closed %d", made, closed)
	}
	_ = release2()
	if closed != 1 {
		t.Fatalf("closed %d", closed)
	}
	if _, _, err := Acquire(p, "k", func() (closer, error) { return closer{}, errors.New("no") }); err == nil {
		t.Fatal("an error of make was lost")
	}
	_, release3, _ := Acquire(p, "k", open)
	_ = release3()
	if made != 2 || closed != 2 {
		t.Fatalf("made %d, closed %d", made, closed)
	}
}
