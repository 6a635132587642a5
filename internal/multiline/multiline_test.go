package multiline

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/hermod-agent/hermod/pipeline/config"
)

func pattern(t *testing.T, s string) config.Regexp {
	t.Helper()
	re, err := config.ParseRegexp(s)
	if err != nil {
		t.Fatal(err)
	}
	return re
}

func TestWhereARecordBegins(t *testing.T) {
	dated := Config{FirstLine: pattern(t, `^\d{4}-`)}
	indented := Config{Indented: true}
	for _, c := range []struct {
		line            string
		dated, indented bool
	}{
		{"2026-01-01 panic", true, true},
		{"  at main.go:1", false, false},
		{"\tat main.go:1", false, false},
		{"Caused by: x", false, true},
		{"", false, false},
	} {
		if got := dated.Begins([]byte(c.line)); got != c.dated {
			t.Errorf("first_line: %q begins a record: %v", c.line, got)
		}
		if got := indented.Begins([]byte(c.line)); got != c.indented {
			t.Errorf("indented: %q begins a record: %v", c.line, got)
		}
	}
}

func TestARecordIsCutAtItsLimitAndNotAmidARune(t *testing.T) {
	for _, c := range []struct {
		lines []string
		max   int
		want  string
		long  bool
	}{
		{[]string{"one", "two"}, 7, "one\ntwo", false},
		{[]string{"one", "two"}, 6, "one\ntw", true},
		{[]string{"one", "two"}, 4, "one\n", true},
		{[]string{"one", "two"}, 3, "one", true},
		{[]string{"one", "", ""}, 9, "one\n\n", false},
		{[]string{"one", "äöü"}, 7, "one\nä", true},
		{[]string{"ä"}, 1, "", true},
	} {
		var text []byte
		long := false
		for i, line := range c.lines {
			var more bool
			text, more = Append(text, []byte(line), i == 0, c.max)
			long = long || more
		}
		if c.max == 1 { // no room for the rune at all: what is kept may be half of it, and is at most the limit
			if len(text) > 1 {
				t.Errorf("%q is longer than 1 byte", text)
			}
			continue
		}
		if string(text) != c.want || long != c.long || !utf8.Valid(text) {
			t.Errorf("%q in %d bytes: %q, long %v", c.lines, c.max, text, long)
		}
	}
}

func TestFaultsOfTheBlock(t *testing.T) {
	good := Config{Indented: true}
	good.SetDefaults()
	if errs := good.Validate(); len(errs) != 0 {
		t.Error(errs)
	}
	for want, change := range map[string]func(*Config){
		"nothing says":   func(c *Config) { c.Indented = false },
		"one of the two": func(c *Config) { c.FirstLine = pattern(t, "x") },
		"between 100ms":  func(c *Config) { c.MaxWait = config.Duration(time.Millisecond) },
		"and 1m":         func(c *Config) { c.MaxWait = config.Duration(time.Hour) },
	} {
		c := good
		change(&c)
		if errs := c.Validate(); len(errs) != 1 || !strings.Contains(errs[0].Error(), want) {
			t.Errorf("%v, want %q", errs, want)
		}
	}
}
