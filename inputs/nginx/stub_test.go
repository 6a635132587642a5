package nginx

import (
	"errors"
	"testing"
)

const page = "Active connections: 291 \nserver accepts handled requests\n 16630948 16630947 31070465 \nReading: 6 Writing: 179 Waiting: 106 \n"

var pageValues = stub{active: 291, accepted: 16630948, handled: 16630947, requests: 31070465, reading: 6, writing: 179, waiting: 106}

func TestStubStatusIsReadHoweverItIsWritten(t *testing.T) {
	for name, text := range map[string]string{
		"nginx":            page,
		"CRLF":             "Active connections: 291 \r\nserver accepts handled requests\r\n 16630948 16630947 31070465 \r\nReading: 6 Writing: 179 Waiting: 106 \r\n",
		"Tengine":          "Active connections: 291 \nserver accepts handled requests request_time\n 16630948 16630947 31070465 148214\nReading: 6 Writing: 179 Waiting: 106 \n",
		"its field first":  "Active connections: 291 \nserver request_time accepts handled requests\n 1 16630948 16630947 31070465\nReading: 6 Writing: 179 Waiting: 106 \n",
		"no spaces":        "Active connections:291\nserver accepts handled requests\n16630948 16630947 31070465\nReading:6 Writing:179 Waiting:106",
		"more spaces":      "\n Active connections :   291\n\tserver  accepts   handled requests  \n\t16630948\t16630947\t31070465\n Reading :  6\tWriting:  179 Waiting:  106  \n\n",
		"lines in between": "Active connections: 291\nserver accepts handled requests\n16630948 16630947 31070465\nReading: 6\nWriting: 179\nWaiting: 106\nUptime: 5\n",
	} {
		got, err := parseStub([]byte(text))
		if err != nil || got != pageValues {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestWhatIsNoStubStatusIsRefused(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":         "",
		"HTML":            "<html><body>Welcome to nginx!</body></html>",
		"no table":        "Active connections: 291\nReading: 6 Writing: 179 Waiting: 106\n",
		"a short table":   "Active connections: 291\nserver accepts handled requests\n 1 2\nReading: 6 Writing: 179 Waiting: 106\n",
		"other words":     "Active connections: 291\nserver accepts handled\n 1 2 3\nReading: 6 Writing: 179 Waiting: 106\n",
		"no number":       "Active connections: many\nserver accepts handled requests\n 1 2 3\nReading: 6 Writing: 179 Waiting: 106\n",
		"no colon":        "Active connections 1\nserver accepts handled requests\n 1 2 3\nReading: 6 Writing: 179 Waiting: 106\n",
		"a large number":  "Active connections: 18446744073709551616\nserver accepts handled requests\n 1 2 3\nReading: 6 Writing: 179 Waiting: 106\n",
		"a minus":         "Active connections: -1\nserver accepts handled requests\n 1 2 3\nReading: 6 Writing: 179 Waiting: 106\n",
		"cut in a number": "Active connections: 291\nserver accepts handled requests\n 1 2 3\nReading: 6 Writing: 179 Waiting:",
	} {
		if got, err := parseStub([]byte(text)); !errors.Is(err, errNotStub) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if s, err := parseStub([]byte("Active connections: 18446744073709551615\nserver accepts handled requests\n 1 2 3\nReading: 6 Writing: 179 Waiting: 0\n")); err != nil || s.active != 1<<64-1 {
		t.Errorf("the largest number: %d, %v", s.active, err)
	}
}

func FuzzParseStub(f *testing.F) {
	f.Add([]byte(page))
	f.Add([]byte("Active connections: 1\r\nserver accepts handled requests request_time\r\n 1 2 3 4\r\nReading: 0 Writing: 1 Waiting: 2"))
	f.Add([]byte("server server\n1"))
	f.Fuzz(func(t *testing.T, text []byte) {
		before := string(text)
		s, err := parseStub(text)
		if string(text) != before {
			t.Fatal("the page was changed")
		}
		if err != nil && !errors.Is(err, errNotStub) {
			t.Fatalf("another error: %v", err)
		}
		if again, errAgain := parseStub(append(text, '\n')); err == nil && (errAgain != nil || again != s) {
			t.Fatalf("a line end at the end makes a difference: %+v %+v %v", s, again, errAgain)
		}
	})
}

func FuzzParseVTS(f *testing.F) {
	f.Add(testPage(f))
	f.Add([]byte(`{"nginxVersion":"1","connections":{},"upstreamZones":{"a":[{}]},"serverZones":{"x":{"requestBuckets":{"msecs":[1],"counters":[]}}}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := parseVTS(text)
		if err != nil {
			if !errors.Is(err, errNotVTS) {
				t.Fatalf("another error: %v", err)
			}
			return
		}
		for _, c := range []vtsCollector{newNative(registry()), newLegacy(registry())} {
			b := begin(1)
			c.collect(b, s)
			first := len(b.Samples)
			b = begin(2)
			if c.collect(b, s); len(b.Samples) != first {
				t.Fatalf("%d samples, then %d", first, len(b.Samples))
			}
		}
	})
}
