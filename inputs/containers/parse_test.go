package containers

import (
	"bytes"
	"math"
	"testing"

	"github.com/hermod-agent/hermod/internal/pseudofile"
)

func TestParseValue(t *testing.T) {
	for text, want := range map[string]uint64{"0\n": 0, "42": 42, "max\n": math.MaxUint64, "18446744073709551615\n": math.MaxUint64} {
		if v, ok := parseValue([]byte(text)); !ok || v != want {
			t.Errorf("%q: %v %v", text, v, ok)
		}
	}
	for _, text := range []string{"", "\n", "-1\n", "18446744073709551616\n", "4 2\n", "maximum\n", "0x10\n"} {
		if v, ok := parseValue([]byte(text)); ok {
			t.Errorf("%q: %v", text, v)
		}
	}
}

func TestParseCPUMax(t *testing.T) {
	for text, want := range map[string][2]uint64{"max 100000\n": {0, 100000}, "50000 100000\n": {50000, 100000}} {
		if q, p, ok := parseCPUMax([]byte(text)); !ok || q != want[0] || p != want[1] {
			t.Errorf("%q: %v %v %v", text, q, p, ok)
		}
	}
	for _, text := range []string{"", "max", "50000", "x 100000", "-1 100000"} {
		if _, _, ok := parseCPUMax([]byte(text)); ok {
			t.Errorf("%q is taken", text)
		}
	}
}

func TestParsePressure(t *testing.T) {
	some, full, ok := parsePressure([]byte("some avg10=0.06 avg60=0.21 avg300=0.99 total=8537362\nfull avg10=0.00 avg60=0.13 avg300=0.96 total=8183134\n"))
	if !ok || some != 8537362 || full != 8183134 {
		t.Error(some, full, ok)
	}
	// Before Linux 5.13 CPU has no such line.
	if some, full, ok = parsePressure([]byte("some avg10=0.06 avg60=0.21 avg300=0.99 total=7\n")); !ok || some != 7 || full != 0 {
		t.Error(some, full, ok)
	}
	for _, text := range []string{"", "some total=x\n", "some\n", "full avg10=0.00 total=1\n"} {
		if _, _, ok := parsePressure([]byte(text)); ok {
			t.Errorf("%q is taken", text)
		}
	}
}

func TestParseBlkioLine(t *testing.T) {
	l, skip, ok := parseBlkioLine([]byte("8:16 Write 4096"))
	if !ok || skip || l.device != (device{8, 16}) || string(l.op) != "Write" || l.value != 4096 {
		t.Errorf("%+v %v %v", l, skip, ok)
	}
	if l, skip, ok = parseBlkioLine([]byte("253:0 77")); !ok || skip || len(l.op) != 0 || l.value != 77 {
		t.Errorf("%+v %v %v", l, skip, ok)
	}
	if _, skip, ok = parseBlkioLine([]byte("Total 5")); !ok || !skip {
		t.Error(skip, ok)
	}
	for _, text := range []string{"", "8:16", "8 Read 1", "8:x Read 1", "8:1 Read -1", "8:1 Read 1 2", "Total x", "99999999999:1 Read 1"} {
		if _, _, ok := parseBlkioLine([]byte(text)); ok {
			t.Errorf("%q is taken", text)
		}
	}
}

func TestParseInterface(t *testing.T) {
	name, v, ok := parseInterface([]byte("  eth0: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16"))
	if !ok || string(name) != "eth0" || v != [8]uint64{1, 2, 3, 4, 9, 10, 11, 12} {
		t.Error(string(name), v, ok)
	}
	// Old kernels write no blank behind the colon; an alias has one in its name.
	if name, v, ok = parseInterface([]byte("eth0:1:100 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16")); !ok || string(name) != "eth0:1" || v[0] != 100 {
		t.Error(string(name), v, ok)
	}
	for _, header := range []string{"Inter-|   Receive                                                |  Transmit", " face |bytes    packets errs"} {
		if name, _, ok := parseInterface([]byte(header)); !ok || name != nil {
			t.Errorf("%q: %s %v", header, name, ok)
		}
	}
	for _, text := range []string{"", "eth0", "eth0:", "eth0: 1 2 3", "eth0: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 x", ": 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16"} {
		if _, _, ok := parseInterface([]byte(text)); ok {
			t.Errorf("%q is taken", text)
		}
	}
}

// FuzzParse runs every parser over the same text: none may panic, run on for ever, or take what it then can't give back.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"max\n", "50000 100000\n", "some avg10=0.06 total=1\nfull total=2\n", "8:0 Read 4096\nTotal 1\n", "8:0 rbytes=1 wbytes=2\n",
		"  eth0: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n", "anon 4096\nfile -1\n", "36 35 98:0 /mnt1 /mnt\\0402 rw - ext4 /dev/root rw\n", "0::/docker/ab\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		parseValue(data)
		parseCPUMax(data)
		parsePressure(data)
		for rest := data; len(rest) > 0; {
			var line []byte
			line, rest = pseudofile.CutLine(rest)
			if bytes.IndexByte(line, '\n') >= 0 {
				t.Fatalf("%q is no line", line)
			}
			if key, _, ok := parseKeyValue(line); ok && len(key) == 0 {
				t.Fatalf("%q has no key", line)
			}
			if l, skip, ok := parseBlkioLine(line); ok && !skip && len(l.op) > len(line) {
				t.Fatalf("%q", line)
			}
			if name, _, ok := parseInterface(line); ok && name != nil && len(name) == 0 {
				t.Fatalf("%q has no name", line)
			}
			parseDevice(line)
		}
		for _, m := range parseMounts(data) {
			if m.source == "" || m.point == "" {
				t.Fatalf("%q: %+v", data, m)
			}
		}
		if p := cgroupOfProcess(data, "ab"); p != "" && p[0] != '/' && !bytes.Contains(data, []byte(p)) {
			t.Fatalf("%q: %s", data, p)
		}
	})
}
