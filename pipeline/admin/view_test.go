package admin

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/graph"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; look at it and run the test with -update\n%s", path, got)
	}
}

func TestTheTableSaysEachSituationInWords(t *testing.T) {
	for name, r := range situations() {
		t.Run(name, func(t *testing.T) { golden(t, name+".txt", Text(&r, TextOptions{Width: 120})) })
	}
}

func TestThePageSaysEachSituationInWords(t *testing.T) {
	for name, r := range situations() {
		t.Run(name, func(t *testing.T) {
			html := string(page(&r))
			golden(t, name+".html", strings.Replace(html, style, "", 1))
		})
	}
}

func TestPageAndTableSayTheSame(t *testing.T) {
	tags := regexp.MustCompile(`<[^>]*>`)
	for name, r := range situations() {
		html := string(page(&r))
		v := newView(&r)
		for _, s := range v.Sections {
			for _, row := range s.Rows {
				for _, l := range row.Lines {
					if text := Text(&r, TextOptions{}); !strings.Contains(text, l.Text) {
						t.Errorf("%s: the table lacks %q", name, l.Text)
					}
				}
			}
		}
		if tags.ReplaceAllString(html, "") == html {
			t.Errorf("%s: no page", name)
		}
	}
}

func TestHostileTextsStayText(t *testing.T) {
	r := situations()["hostile"]
	html, text := string(page(&r)), Text(&r, TextOptions{Width: 100})
	if strings.Contains(html, "<script") {
		t.Error("markup from outside reached the page")
	}
	for name, s := range map[string]string{"page": html, "table": text} {
		for _, c := range []string{"\x1b", "\u202e", "\xff"} {
			if strings.Contains(s, c) {
				t.Errorf("%s: %q reached the reader as it is", name, c)
			}
		}
		if !utf8.ValidString(s) {
			t.Errorf("%s: broken UTF-8", name)
		}
	}
	if !strings.Contains(text, `\x1b[2J\u202exe`) {
		t.Errorf("control characters are not shown escaped:\n%s", text)
	}
}

func TestThePageHasNoScriptAndLoadsNothing(t *testing.T) {
	r := situations()["calm"]
	html := strings.ToLower(string(page(&r)))
	for _, bad := range []string{"<script", "onclick", "javascript:", `="http`, `="//`, "src=", "<img", "<form", "@import", "url("} {
		if strings.Contains(html, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
}

func TestAQuietContainerIsNoFault(t *testing.T) {
	r := situations()["quiet_container"]
	v := newView(&r)
	if v.Headline.Tone != good || strings.Contains(v.Title, "failing") {
		t.Errorf("a quiet container makes the headline %+v", v.Headline)
	}
	for _, s := range v.Sections {
		for _, row := range s.Rows {
			for _, l := range row.Lines {
				t.Errorf("%s: %+v", row.Address, l)
			}
			for _, d := range row.Details {
				if d.Tone != info {
					t.Errorf("%+v", d)
				}
			}
		}
	}
}

func TestManyDetailsAreCutAndTheWorstComeFirst(t *testing.T) {
	s := calm()
	n := node(&s, "input.docker_logs")
	n.Details = nil
	for i := range 500 {
		n.Details = append(n.Details, component.Detail{Name: fmt.Sprintf("c%03d", i), State: "following"})
	}
	n.Details[400].State = "failing"
	n.Details[300].Note = "look here"
	got, more := details(now, n.Details, true)
	if len(got) != maxDetails || got[0].Name != "c400" || got[1].Name != "c300" || !strings.Contains(more, "450 more") {
		t.Errorf("%d rows, first %v %v, %q", len(got), got[0], got[1], more)
	}
}

func TestTheTableFitsTheTerminal(t *testing.T) {
	for _, width := range []int{60, 80, 120} {
		for name, r := range situations() {
			if name == "refused_reload" {
				continue // a source line with a caret is not broken
			}
			for line := range strings.Lines(Text(&r, TextOptions{Width: width})) {
				if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > width {
					t.Errorf("%s: %d columns of %d: %s", name, n, width, line)
				}
			}
		}
	}
}

func TestColorsCarryNothingThatWordsDoNot(t *testing.T) {
	escapes := regexp.MustCompile("\x1b\\[[0-9]*m")
	for name, r := range situations() {
		plain, colored := Text(&r, TextOptions{}), Text(&r, TextOptions{Color: true})
		if colored == plain || escapes.ReplaceAllString(colored, "") != plain {
			t.Errorf("%s: colours change more than colours", name)
		}
	}
}

func TestSpans(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "less than 1 s", 0: "less than 1 s", 900 * time.Millisecond: "less than 1 s", 1500 * time.Millisecond: "1 s", 119 * time.Second: "119 s",
		2 * time.Minute: "2 min", 119 * time.Minute: "119 min", 2 * time.Hour: "2 h", 133 * time.Minute: "2 h 13 min", 49 * time.Hour: "2 days",
	} {
		if got := span(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
	if got := ago(now, now.Add(time.Hour)); got != "60 min in the future" {
		t.Errorf("a time ahead: %q", got)
	}
}

func TestNumbers(t *testing.T) {
	for n, want := range map[uint64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := number(n); got != want {
			t.Errorf("%d: %q", n, got)
		}
	}
	for n, want := range map[float64]string{0: "0 B", 1023: "1023 B", 1536: "1.5 KiB", 21 << 20: "21.0 MiB", 300 << 30: "300 GiB"} {
		if got := size(n); got != want {
			t.Errorf("%v: %q, want %q", n, got, want)
		}
	}
	for n, want := range map[float64]string{156.4: "156/s", 2.25: "2.2/s", 0.1: "6/min", 0.001: "1/min"} {
		if got := rate(n); got != want {
			t.Errorf("%v: %q, want %q", n, got, want)
		}
	}
}

func TestTrendsCompareWithAMinuteAgo(t *testing.T) {
	var tr trends
	at := now
	look := func(d time.Duration, out uint64, unread int64) Report {
		at = at.Add(d)
		return tr.report(graph.Status{Now: at, Nodes: []graph.Node{{Address: "input.x", Unread: unread}},
			Edges: []graph.Edge{{From: "input.x", To: "output.a", Offered: out, Passed: out}, {From: "input.x", To: "output.b", Offered: out}}})
	}
	if r := look(0, 100, 0); len(r.Trends) != 0 {
		t.Error("a trend from one look")
	}
	if r := look(2*time.Second, 120, 0); len(r.Trends) != 0 {
		t.Error("a trend from two looks that are too close")
	}
	if r := look(8*time.Second, 200, 1000); r.Trends["input.x"].Out != 10 || r.Trends["input.x"].Unread != 100 {
		t.Errorf("%+v", r.Trends)
	}
	for range 60 {
		look(10*time.Second, 200, 1000)
	}
	if r := look(0, 200, 1000); r.Trends["input.x"].Out != 0 || r.Trends["input.x"].Seconds > 80 {
		t.Errorf("a minute of silence gives %+v", r.Trends)
	}
	if len(tr.past) > 10 {
		t.Errorf("%d snapshots are kept", len(tr.past))
	}
	if r := look(10*time.Second, 5, 0); len(r.Trends) != 0 {
		t.Errorf("counters that began anew give %+v", r.Trends)
	}
	if r := look(10*time.Second, 25, 0); r.Trends["input.x"].Out != 2 {
		t.Errorf("after they began anew: %+v", r.Trends)
	}
	if r := look(-time.Hour, 30, 0); len(r.Trends) != 0 {
		t.Errorf("a clock that was set back gives %+v", r.Trends)
	}
}

func TestAFullOutputIsNamedByEverybodyWhoWaitsForIt(t *testing.T) {
	s := calm()
	s.Edges[0].BlockedSince, s.Edges[2].BlockedSince = before(time.Minute), before(time.Minute)
	v := newView(&Report{Status: s})
	if want := "Not everything flows: input.docker_logs is held back for 60 s by output.loki.main."; v.Headline.Text != want {
		t.Errorf("%q, want %q", v.Headline.Text, want)
	}
	s.Edges[0].BlockedSince, s.Edges[2].BlockedSince = before(time.Second), before(time.Second)
	if v := newView(&Report{Status: s}); v.Headline.Tone != good {
		t.Errorf("a moment's wait makes the headline %+v", v.Headline)
	}
}

func TestWhatGoesToTwoOutputsIsCountedOnce(t *testing.T) {
	s := calm()
	s.Edges = append(s.Edges, graph.Edge{From: "input.docker_logs", To: "output.stdout", Signal: "logs", Offered: 48211, Passed: 12})
	if text := Text(&Report{Status: s}, TextOptions{}); !strings.Contains(text, "48,211 records read") {
		t.Error(text)
	}
}

func TestContainerIDsAreShown12DigitsLong(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 4)
	for in, want := range map[string]string{
		"file /containers/" + id + "/" + id + "-json.log": "file /containers/0123456789ab…/0123456789ab…-json.log",
		"file /var/log/dad.log":                           "file /var/log/dad.log", "": "", "ü" + id: "ü0123456789ab…",
	} {
		if got := shortIDs(in); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
}

// What the user wanted to be left out, and lines that arrive without their end, are no loss; what a backend refuses is one.
func TestTheHeadlineSaysThatSomethingIsLostWhileItIs(t *testing.T) {
	for name, c := range map[string]struct {
		losses map[string]uint64
		lost   float64
		want   string
	}{
		"filtered":       {map[string]uint64{"filtered": 9}, 3, "Everything flows."},
		"cut":            {map[string]uint64{"line_too_long": 9}, 0, "Everything flows."},
		"once":           {map[string]uint64{"rejected_too_old": 9}, 0, "Everything flows."},
		"now":            {map[string]uint64{"rejected_too_old": 9, "filtered": 1}, 3, "Not everything arrives: output.loki.main loses data."},
		"without counts": {nil, 0, "Everything flows."},
	} {
		s := calm()
		node(&s, "output.loki.main").Losses = c.losses
		r := Report{Status: s, Trends: map[string]Trend{"output.loki.main": {Seconds: 60, Lost: c.lost}}}
		if got := newView(&r).Headline.Text; got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestLinesThatWereCutAreNoTrendOfLosses(t *testing.T) {
	var past trends
	s := calm()
	node(&s, "input.docker_logs").Losses = map[string]uint64{"line_too_long": 1, "undecodable": 1}
	past.report(s)
	s.Now = s.Now.Add(10 * time.Second)
	node(&s, "input.docker_logs").Losses = map[string]uint64{"line_too_long": 101, "undecodable": 21}
	if got := past.report(s).Trends["input.docker_logs"].Lost; got != 2 {
		t.Errorf("%v lost a second, want the 2 that can't be decoded", got)
	}
}

func TestWhatWaitsForTheNextTryIsNotOnItsWay(t *testing.T) {
	s := calm()
	n := node(&s, "output.loki.main")
	n.State = graph.Noted
	n.Traffic.NextTry = now.Add(20 * time.Second)
	r := Report{Status: s}
	text := Text(&r, TextOptions{})
	if strings.Contains(text, "on the way") || !strings.Contains(text, "12 records wait in the queue") {
		t.Errorf("the table says:\n%s", text)
	}
}
