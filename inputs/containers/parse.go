package containers

import (
	"bytes"
	"math"

	"github.com/hermod-agent/hermod/internal/pseudofile"
)

// unlimited is what stands for no limit: "max" of cgroup v2.
const unlimited = math.MaxUint64

// parseValue reads a file that holds one number, or "max".
func parseValue(b []byte) (uint64, bool) {
	b = bytes.TrimSuffix(b, []byte("\n"))
	if string(b) == "max" {
		return unlimited, true
	}
	return pseudofile.ParseUint(b)
}

// parseKeyValue splits a line of a flat keyed file ("anon 4096"). ok is false when it isn't one; a negative value counts as 0.
func parseKeyValue(line []byte) (key []byte, v uint64, ok bool) {
	key, rest := pseudofile.CutField(line)
	text, rest := pseudofile.CutField(rest)
	if len(key) == 0 || len(text) == 0 || len(bytes.TrimSpace(rest)) != 0 {
		return nil, 0, false
	}
	if text[0] == '-' {
		_, ok = pseudofile.ParseUint(text[1:])
		return key, 0, ok
	}
	v, ok = pseudofile.ParseUint(text)
	return key, v, ok
}

// parseCPUMax reads cpu.max: "max 100000" or "50000 100000". A quota of 0 means none.
func parseCPUMax(b []byte) (quota, period uint64, ok bool) {
	line, _ := pseudofile.CutLine(b)
	first, rest := pseudofile.CutField(line)
	second, _ := pseudofile.CutField(rest)
	if string(first) != "max" {
		if quota, ok = pseudofile.ParseUint(first); !ok {
			return 0, 0, false
		}
	}
	period, ok = pseudofile.ParseUint(second)
	return quota, period, ok
}

// parsePressure reads the totals, in microseconds, of a pressure file: lines as "some avg10=0.06 avg60=0.21 avg300=0.99 total=8537362".
func parsePressure(b []byte) (some, full uint64, ok bool) {
	for len(b) > 0 {
		var line []byte
		line, b = pseudofile.CutLine(b)
		kind, rest := pseudofile.CutField(line)
		for {
			var field []byte
			if field, rest = pseudofile.CutField(rest); len(field) == 0 {
				break
			}
			text, is := bytes.CutPrefix(field, []byte("total="))
			if !is {
				continue
			}
			total, good := pseudofile.ParseUint(text)
			if !good {
				return 0, 0, false
			}
			switch string(kind) {
			case "some":
				some, ok = total, true
			case "full":
				full = total
			}
		}
	}
	return some, full, ok
}

// parseDevice reads "8:16".
func parseDevice(b []byte) (d device, ok bool) {
	i := bytes.IndexByte(b, ':')
	if i < 0 {
		return device{}, false
	}
	major, ok1 := pseudofile.ParseUint(b[:i])
	minor, ok2 := pseudofile.ParseUint(b[i+1:])
	if !ok1 || !ok2 || major > math.MaxUint32 || minor > math.MaxUint32 {
		return device{}, false
	}
	return device{uint32(major), uint32(minor)}, true
}

// blkioLine is a line of a file of the blkio controller: "8:0 Read 4096", or "8:0 4096" where a file has one number a device.
type blkioLine struct {
	device device
	op     []byte
	value  uint64
}

// parseBlkioLine reads one. skip says that the line is the sum over all devices, or about one that is no more.
func parseBlkioLine(line []byte) (l blkioLine, skip, ok bool) {
	first, rest := pseudofile.CutField(line)
	second, rest := pseudofile.CutField(rest)
	third, rest := pseudofile.CutField(rest)
	if len(bytes.TrimSpace(rest)) != 0 {
		return l, false, false
	}
	if string(first) == unknownDevice {
		return l, true, true
	}
	if string(first) == "Total" && len(third) == 0 {
		_, ok = pseudofile.ParseUint(second)
		return l, true, ok
	}
	if l.device, ok = parseDevice(first); !ok {
		return l, false, false
	}
	value := third
	if len(third) == 0 {
		value = second
	} else {
		l.op = second
	}
	l.value, ok = pseudofile.ParseUint(value)
	return l, false, ok
}

// interfaceFields are the numbers of an interface that are shown, in the order of their series: bytes, packets, errors and drops received,
// then the same sent.
const interfaceFields = 8

// parseInterface reads a line of /proc/PID/net/dev. name is nil for the header.
func parseInterface(line []byte) (name []byte, v [interfaceFields]uint64, ok bool) {
	i := bytes.LastIndexByte(line, ':') // an alias has one in its name
	if i < 0 {
		return nil, v, bytes.IndexByte(line, '|') >= 0
	}
	name, _ = pseudofile.CutField(line[:i])
	rest := line[i+1:]
	for n := range 16 {
		var field []byte
		field, rest = pseudofile.CutField(rest)
		number, good := pseudofile.ParseUint(field)
		if !good {
			return name, v, false
		}
		switch {
		case n < 4:
			v[n] = number
		case n >= 8 && n < 12:
			v[n-4] = number
		}
	}
	return name, v, len(name) > 0
}
