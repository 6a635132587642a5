// Package pseudofile has what every parser of the kernel's text files (/proc, /sys, cgroups) is made of: lines, fields and numbers, in place and
// without an allocation.
package pseudofile

import (
	"bytes"
	"math"
)

// CutLine splits off the first line, without its newline.
func CutLine(b []byte) (line, rest []byte) {
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		return b[:i], b[i+1:]
	}
	return b, nil
}

// CutField splits off the first field; blanks and tabs part fields. The field is empty at the end of the line.
func CutField(b []byte) (field, rest []byte) {
	i := 0
	for i < len(b) && (b[i] == ' ' || b[i] == '\t') {
		i++
	}
	j := i
	for j < len(b) && b[j] != ' ' && b[j] != '\t' {
		j++
	}
	return b[i:j], b[j:]
}

// ParseUint reads decimal digits and nothing else.
func ParseUint(b []byte) (uint64, bool) {
	if len(b) == 0 || len(b) > 20 {
		return 0, false
	}
	var n uint64
	for _, c := range b {
		d := uint64(c - '0')
		if d > 9 || n > (math.MaxUint64-d)/10 {
			return 0, false
		}
		n = n*10 + d
	}
	return n, true
}
