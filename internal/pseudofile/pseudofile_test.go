package pseudofile

import (
	"math"
	"strconv"
	"testing"
)

func TestLinesAndFieldsAreCutWhereTheyEnd(t *testing.T) {
	line, rest := CutLine([]byte("a b\nc"))
	if string(line) != "a b" || string(rest) != "c" {
		t.Errorf("%q, %q", line, rest)
	}
	if line, rest = CutLine(rest); string(line) != "c" || rest != nil {
		t.Errorf("%q, %q", line, rest)
	}
	field, rest := CutField([]byte(" \tab  c"))
	if string(field) != "ab" || string(rest) != "  c" {
		t.Errorf("%q, %q", field, rest)
	}
	if field, _ = CutField([]byte(" \t ")); len(field) != 0 {
		t.Errorf("%q", field)
	}
}

func TestOnlyDigitsThatFitAreANumber(t *testing.T) {
	for _, text := range []string{"0", "7", "00012", strconv.FormatUint(math.MaxUint64, 10)} {
		want, err := strconv.ParseUint(text, 10, 64)
		if n, ok := ParseUint([]byte(text)); !ok || n != want || err != nil {
			t.Errorf("%s: %d, %v", text, n, ok)
		}
	}
	for _, text := range []string{"", "-1", "+1", "1.5", "1 ", "x", "18446744073709551616", "99999999999999999999", "000000000000000000001"} {
		if n, ok := ParseUint([]byte(text)); ok {
			t.Errorf("%q is %d", text, n)
		}
	}
}
