package prometheus

import (
	"math"
	"strconv"
)

// appendValue writes a number as the text format and client_golang do: the shortest digits that give the number back, with an exponent
// from a million on and below a ten thousandth.
func appendValue(dst []byte, v float64) []byte {
	const exact = 1 << 53 // integers up to here have no shorter form than their own digits
	if i := int64(v); float64(i) == v && i > -exact && i < exact {
		return appendInteger(dst, i)
	}
	switch {
	case v != v:
		return append(dst, "NaN"...)
	case math.IsInf(v, +1):
		return append(dst, "+Inf"...)
	case math.IsInf(v, -1):
		return append(dst, "-Inf"...)
	}
	return strconv.AppendFloat(dst, v, 'g', -1, 64)
}

// appendInteger is appendValue for integers, most of what a host's counters give, at a fraction of strconv's price.
func appendInteger(dst []byte, i int64) []byte {
	if i < 0 {
		dst = append(dst, '-')
		i = -i
	}
	if i < 1_000_000 {
		return strconv.AppendInt(dst, i, 10)
	}
	start := len(dst)
	dst = strconv.AppendInt(dst, i, 10)
	exponent := len(dst) - start - 1
	for dst[len(dst)-1] == '0' {
		dst = dst[:len(dst)-1]
	}
	if len(dst)-start > 1 { // a point after the first digit
		dst = append(dst, 0)
		copy(dst[start+2:], dst[start+1:])
		dst[start+1] = '.'
	}
	return append(dst, 'e', '+', byte('0'+exponent/10), byte('0'+exponent%10))
}

// appendFloat writes a number as OpenMetrics wants floats: with a point or an exponent.
func appendFloat(dst []byte, v float64) []byte {
	start := len(dst)
	dst = appendValue(dst, v)
	if v != v || math.IsInf(v, 0) {
		return dst
	}
	for _, c := range dst[start:] {
		if c == '.' || c == 'e' {
			return dst
		}
	}
	return append(dst, '.', '0')
}

// appendCount writes what counts something: digits alone where OpenMetrics allows them.
func appendCount(dst []byte, v float64) []byte {
	if u := uint64(v); v >= 0 && v < 1<<63 && float64(u) == v {
		return strconv.AppendUint(dst, u, 10)
	}
	return appendFloat(dst, v)
}

// appendSeconds writes milliseconds as seconds.
func appendSeconds(dst []byte, ms int64) []byte {
	if ms < 0 {
		dst = append(dst, '-')
		ms = -ms
	}
	dst = strconv.AppendInt(dst, ms/1000, 10)
	rest := ms % 1000
	if rest == 0 {
		return append(dst, '.', '0')
	}
	return append(dst, '.', byte('0'+rest/100), byte('0'+rest/10%10), byte('0'+rest%10))
}
