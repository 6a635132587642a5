package redis

import (
	"math"
	"strconv"
)

// parseInt reads a decimal number.
func parseInt(s []byte) (int64, bool) {
	digits, negative := s, false
	if len(s) > 0 && (s[0] == '-' || s[0] == '+') {
		digits, negative = s[1:], s[0] == '-'
	}
	if len(digits) == 0 || len(digits) > 19 {
		return 0, false
	}
	var n uint64
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	if negative {
		if n > 1<<63 {
			return 0, false
		}
		return -int64(n), true
	}
	if n > math.MaxInt64 {
		return 0, false
	}
	return int64(n), true
}

// parseFloat reads a number as strconv.ParseFloat does. The usual ones are read in place; only those that are written in another way cost
// a string.
func parseFloat(s []byte) (float64, bool) {
	var n uint64
	digits, fraction, point := 0, 0, false
	rest := s
	negative := len(rest) > 0 && rest[0] == '-'
	if negative {
		rest = rest[1:]
	}
	for _, c := range rest {
		switch {
		case c >= '0' && c <= '9':
			n = n*10 + uint64(c-'0')
			digits++
			if point {
				fraction++
			}
		case c == '.' && !point:
			point = true
		default:
			digits = 100 // not one of the usual ones
		}
	}
	// Numbers below 2^53 and powers of ten up to 22 are exact, and so their quotient is the nearest float64 (Clinger's fast path, as
	// strconv has it).
	if digits == 0 || digits > 18 || n > 1<<53 || fraction >= len(powersOfTen) {
		v, err := strconv.ParseFloat(string(s), 64)
		return v, err == nil
	}
	v := float64(n) / powersOfTen[fraction]
	if negative {
		v = -v
	}
	return v, true
}

var powersOfTen = [...]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18}
