package dockerlogs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestDecodeLine(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 123456789, time.UTC).UnixNano()
	const end = `","stream":"stdout","time":"2026-01-02T03:04:05.123456789Z"}`
	tests := []struct {
		name, line, text string
		ends, stderr, no bool
		time             int64
	}{
		{name: "plain", line: `{"log":"hello\n` + end, text: "hello", ends: true, time: at},
		{name: "part without line end", line: `{"log":"hello` + end, text: "hello", time: at},
		{name: "empty line", line: `{"log":"\n` + end, ends: true, time: at},
		{name: "empty text", line: `{"log":"` + end, time: at},
		{name: "backslash before the n", line: `{"log":"a\\n` + end, text: `a\n`, time: at},
		{name: "escapes", line: `{"log":"\"q\" \\ \/ \b\f\t\r \u003c\u00e9\u20AC\n` + end, text: "\"q\" \\ / \b\f\t\r <é€", ends: true, time: at},
		{name: "surrogate pair", line: `{"log":"\ud83d\ude00\n` + end, text: "😀", ends: true, time: at},
		{name: "half a pair", line: `{"log":"\ud83dx\n` + end, text: "\uFFFDx", ends: true, time: at},
		{name: "wrong pair", line: `{"log":"\ud83d\u0041\n` + end, text: "\uFFFDA", ends: true, time: at},
		{name: "NUL", line: `{"log":"a\u0000b\n` + end, text: "a\x00b", ends: true, time: at},
		{
			name: "another order, attrs", ends: true, text: "x", stderr: true, time: at / 1e9 * 1e9,
			line: `{"attrs":{"tag":"a}\"b","n":[1,{"k":null}]},"time":"2026-01-02T03:04:05Z","x":-1.5e3,"stream":"stderr","log":"x\n"}`,
		},
		{name: "spaces", line: ` { "log" : "x\n" , "stream" : "stderr" , "time" : "2026-01-02T03:04:05.5Z" } `, ends: true, text: "x", stderr: true, time: at/1e9*1e9 + 5e8},
		{name: "offset", line: `{"log":"x\n","stream":"stdout","time":"2026-01-02T04:04:05.123456789+01:00"}`, ends: true, text: "x", time: at},
		{name: "no time", line: `{"log":"x\n","stream":"stdout"}`, ends: true, text: "x"},
		{name: "odd time", line: `{"log":"x\n","time":"yesterday"}`, ends: true, text: "x"},
		{name: "escaped key", line: `{"\u006cog":"x\n"}`, ends: true, text: "x"},
		{name: "null stream", line: `{"log":"x\n","stream":null}`, ends: true, text: "x"},
		{name: "no log", line: `{"stream":"stdout","time":"2026-01-02T03:04:05Z"}`, no: true},
		{name: "empty", line: ``, no: true},
		{name: "empty object", line: `{}`, no: true},
		{name: "torn", line: `{"log":"hello\n","stre`, no: true},
		{name: "two torn into one", line: `{"log":"hel{"log":"x\n","stream":"stdout"}`, no: true},
		{name: "behind the object", line: `{"log":"x\n"}{"log":"y\n"}`, no: true},
		{name: "bad escape", line: `{"log":"a\qb\n"}`, no: true},
		{name: "short \\u", line: `{"log":"\u00"}`, no: true},
		{name: "backslash at the end", line: `{"log":"a\`, no: true},
		{name: "a raw control character", line: "{\"log\":\"a\x00b\"}", no: true},
		{name: "number", line: `{"log":5}`, no: true},
		{name: "array", line: `["log"]`, no: true},
		{name: "text", line: `hello world`, no: true},
		{name: "NULs", line: "\x00\x00\x00\x00", no: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var m message
			ok := decodeLine([]byte(tt.line), &m)
			if ok == tt.no {
				t.Fatalf("decodeLine = %v", ok)
			}
			if !ok {
				return
			}
			if string(m.text) != tt.text || m.ends != tt.ends || (m.stream == stderr) != tt.stderr || m.time != tt.time {
				t.Errorf("got %q ends=%v %v %d\nwant %q ends=%v stderr=%v %d", m.text, m.ends, m.stream, m.time, tt.text, tt.ends, tt.stderr, tt.time)
			}
		})
	}
}

func TestParseTimeAgreesWithTheStandardLibrary(t *testing.T) {
	for _, s := range []string{
		"2026-11-21T06:01:57.723048088Z", "2026-11-21T06:01:57.7Z", "2026-11-21T06:01:57Z", "2000-02-29T23:59:59.999999999Z", "2100-02-29T00:00:00Z",
		"2024-02-29T00:00:00Z", "2023-02-29T00:00:00Z", "1971-01-01T00:00:00Z", "1970-01-01T00:00:01Z", "2199-12-31T23:59:59.1Z", "2026-13-01T00:00:00Z",
		"2026-00-01T00:00:00Z", "2026-01-00T00:00:00Z", "2026-01-01T24:00:00Z", "2026-01-01T00:60:00Z", "2026-01-01T00:00:60Z", "2026-01-01T00:00:00.Z",
		"2026-01-01T00:00:00.1234567891Z", "2026-01-01T00:00:00+02:00", "2026-01-01T00:00:00.5-02:30", "2026-01-01 00:00:00Z", "202a-01-01T00:00:00Z",
		"2026-01-01T00:00:00", "0001-01-01T00:00:00Z", "", "Z", "9999-01-01T00:00:00Z", "2026-04-31T00:00:00Z", "2026-12-31T00:00:00Z", "2026-01-31T00:00:00Z",
	} {
		checkTime(t, s)
	}
	day := time.Date(1975, 1, 1, 12, 30, 45, 678, time.UTC)
	for range 60000 {
		checkTime(t, day.Format(time.RFC3339Nano))
		day = day.AddDate(0, 0, 1)
	}
}

func checkTime(t *testing.T, s string) {
	t.Helper()
	got, ok := parseTime([]byte(s))
	want, err := time.Parse(time.RFC3339Nano, s)
	wantOK := err == nil && want.Year() >= 1678 && want.Year() <= 2261
	if ok != wantOK || ok && got != want.UnixNano() {
		t.Errorf("%q: got %d %v, want %d %v", s, got, ok, want.UnixNano(), wantOK)
	}
}

func FuzzParseTime(f *testing.F) {
	f.Add("2026-11-21T06:01:57.723048088Z")
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) <= 64 {
			checkTime(t, s)
		}
	})
}

// What encoding/json can read, decodeLine reads the same; what it refuses and encoding/json takes doesn't exist.
func FuzzDecodeLine(f *testing.F) {
	for _, s := range []string{
		`{"log":"hello\n","stream":"stdout","time":"2026-01-02T03:04:05.123456789Z"}`,
		`{"log":"\ud83d\ude00\u00e9\"\\\/\b\f\n\r\t","stream":"stderr","attrs":{"a":[1,2,{"b":null}],"c":"d"},"time":"2026-01-02T03:04:05Z"}`,
		`{"time":"x","log":"\ud800","n":-1e5,"t":true}`, `{"log":""}`, `{"log":"x"`, ` { "log" : "a" } `,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		// Of the standard library the meaning is known only for UTF-8; the engine writes nothing else.
		if !utf8.Valid(line) {
			var m message
			decodeLine(line, &m)
			return
		}
		var want map[string]json.RawMessage
		jsonErr := json.Unmarshal(line, &want)
		var log string
		isLog := jsonErr == nil && json.Unmarshal(want["log"], &log) == nil && string(want["log"]) != "null"
		for k := range want {
			if k != "log" && strings.EqualFold(k, "log") {
				return // encoding/json takes keys of another case as well
			}
		}
		original := bytes.Clone(line)
		var m message
		ok := decodeLine(line, &m)
		if isLog && !ok {
			var s struct{ Stream, Time string }
			if json.Unmarshal(original, &s) == nil { // else a stream or time of another type
				t.Fatalf("refused %q", original)
			}
			return
		}
		if !ok || !isLog {
			return // decodeLine doesn't look into values that it skips
		}
		got := string(m.text)
		if m.ends {
			got += "\n"
		}
		if got != log {
			t.Fatalf("%q: got %q, want %q", original, got, log)
		}
	})
}

func benchLine(text string) []byte {
	b, _ := json.Marshal(text)
	return fmt.Appendf(nil, `{"log":%s,"stream":"stdout","time":"2026-11-21T06:01:57.723048088Z"}`, b)
}

func BenchmarkDecodeLine(b *testing.B) {
	plain := strings.Repeat("a line of text, ", 12) + "\n"
	for name, text := range map[string]string{
		"plain": plain,
		"json":  `{"level":"info","msg":"` + plain[:100] + `","at":"2026-01-01","n":12,"user":"x","path":"/a/b"}` + "\n",
	} {
		line := benchLine(text)
		work := make([]byte, len(line))
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(line)))
			var m message
			for b.Loop() {
				copy(work, line)
				if !decodeLine(work, &m) {
					b.Fatal("refused")
				}
			}
		})
	}
}

func TestDecodeLineAllocatesNothing(t *testing.T) {
	line := benchLine("a \"quoted\" line <é>\n")
	work := make([]byte, len(line))
	var m message
	if n := testing.AllocsPerRun(100, func() {
		copy(work, line)
		if !decodeLine(work, &m) {
			t.Fatal("refused")
		}
	}); n != 0 {
		t.Errorf("%v allocations a line", n)
	}
}
