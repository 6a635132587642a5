package redis

import (
	"math"
	"strconv"
	"testing"
)

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
