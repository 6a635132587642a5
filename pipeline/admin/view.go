package admin

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/graph"
)

// view is what a reader is told, in the order in which he is told it. The page and `hermod status` are both made from it, so that they
// say the same. All texts are clean; none is escaped for HTML.
type view struct {
	Title    string // of the browser's tab: begins with what is wrong
	Headline line   // whether anything needs somebody
	About    []string
	Alerts   []line   // of the agent as a whole
	Refused  []string // the lines of why the last reload was refused
	Sections []section
	Edges    []edge
}

// section is the components of one kind.
type section struct {
	Title string
	Rows  []row
}

// row is a component.
type row struct {
	State   graph.State
	For     string // how long it has been in that state
	Address string
	Flow    string // what flows through it
	Lines   []line
	Details []detail
	More    string // about the details that are not shown
}

// tone says how a line is meant.
type tone string

const (
	good tone = "good"
	bad  tone = "bad"  // somebody has to do something
	note tone = "note" // somebody should know
	info tone = "info"
)

// line is a sentence, and what to do about it.
type line struct {
	Tone tone
	Text string
	Do   string
}

// detail is a file or a container below a log input.
type detail struct {
	Tone  tone
	Name  string
	Facts []string
}

// edge is a connection.
type edge struct {
	From, To string
	Facts    []string
	Trouble  string
}

// How much is shown of what others decide the length of.
const (
	maxText    = 600 // runes of a fault's text
	maxName    = 200
	maxDetails = 50 // rows below a component; the JSON has all
	maxFaults  = 20
	maxRefused = 60 // lines of a refused reload
)

// newView puts a report into words.
func newView(r *Report) *view {
	v := &view{}
	v.About = about(r)
	var failing, losing, noted, waiting []string
	for _, kind := range []struct{ kind, title string }{
		{string(component.Input), "Inputs"}, {string(component.Processor), "Processors"}, {string(component.Output), "Outputs"},
	} {
		s := section{Title: kind.title}
		for i := range r.Nodes {
			n := &r.Nodes[i]
			if n.Kind != kind.kind {
				continue
			}
			row := newRow(r, n)
			s.Rows = append(s.Rows, row)
			switch {
			case n.State == graph.Failing:
				failing = append(failing, row.Address)
			case loses(n, r.Trends[n.Address]):
				losing = append(losing, row.Address)
			case n.State == graph.Noted:
				noted = append(noted, row.Address)
			case n.State == graph.Waiting:
				waiting = append(waiting, row.Address)
			}
		}
		if len(s.Rows) > 0 {
			v.Sections = append(v.Sections, s)
		}
	}
	for i := range r.Edges {
		v.Edges = append(v.Edges, newEdge(r, &r.Edges[i]))
	}

	var ours string // what is wrong beside the components
	if r.ReloadError != "" {
		ours = "the last reload was refused"
	}
	for _, l := range faults(r.Now, r.Faults) {
		if l.Tone == bad {
			ours = "something is wrong with the agent itself"
		}
		v.Alerts = append(v.Alerts, l)
	}
	if r.ReloadError != "" {
		v.Alerts = append(v.Alerts, line{Tone: bad,
			Text: fmt.Sprintf("the last reload was refused; the agent runs on with the config loaded %s", ago(r.Now, r.Loaded)),
			Do:   "mend what is told below and reload again"})
		v.Refused = cleanLines(r.ReloadError, maxRefused)
	}
	if !r.Ready {
		for _, why := range r.NotReady {
			v.Alerts = append(v.Alerts, line{Tone: note, Text: "not ready yet: " + clean(why, maxText)})
		}
	}
	v.Headline = headline(failing, losing, noted, waiting, ours, len(r.Nodes))
	v.Headline = waitsFor(r, v.Headline)
	v.Title = "hermod on " + clean(r.Host, maxName)
	if v.Headline.Tone == bad {
		v.Title = "failing: " + v.Title
	}
	return v
}

func headline(failing, losing, noted, waiting []string, ours string, nodes int) line {
	few := func(addresses []string) string {
		if len(addresses) > 4 {
			return fmt.Sprintf("%d components (%s, ...)", len(addresses), strings.Join(addresses[:3], ", "))
		}
		return list(addresses)
	}
	are := func(addresses []string, one, many string) string {
		if len(addresses) == 1 {
			return few(addresses) + " " + one
		}
		return few(addresses) + " " + many
	}
	switch {
	case nodes == 0:
		return line{Tone: note, Text: "Nothing runs: no output of the config takes from an input."}
	case len(failing) > 0 && ours != "":
		return line{Tone: bad, Text: are(failing, "is failing", "are failing") + ", and " + ours + "."}
	case len(failing) > 0:
		return line{Tone: bad, Text: are(failing, "is failing.", "are failing.")}
	case len(losing) > 0 && ours != "":
		return line{Tone: bad, Text: "Not everything arrives: " + are(losing, "loses", "lose") + " data, and " + ours + "."}
	case len(losing) > 0:
		return line{Tone: note, Text: "Not everything arrives: " + are(losing, "loses", "lose") + " data."}
	case ours != "":
		return line{Tone: bad, Text: "Everything flows, but " + ours + "."}
	case len(noted) > 0:
		return line{Tone: note, Text: "Everything flows; there is something to know about " + few(noted) + "."}
	case len(waiting) > 0:
		return line{Tone: good, Text: "Nothing is wrong; " + are(waiting, "has", "have") + " seen no data yet."}
	}
	return line{Tone: good, Text: "Everything flows."}
}

// waitsFor adds to the headline that inputs are held back.
func waitsFor(r *Report, l line) line {
	var held []string
	var by string
	for i := range r.Nodes {
		n := &r.Nodes[i]
		if n.Kind != string(component.Input) {
			continue
		}
		if waits := heldBack(r, n); len(waits) > 0 {
			held = append(held, clean(n.Address, maxName))
			by, _, _ = strings.Cut(waits[0].Text, ",")
		}
	}
	switch {
	case len(held) == 0:
		return l
	case l.Tone == bad && len(held) == 1:
		l.Text += " " + held[0] + " waits for that."
		return l
	case l.Tone == bad:
		l.Text += " " + list(held) + " wait for that."
		return l
	}
	return line{Tone: note, Text: "Not everything flows: " + held[0] + " is " + by + "."}
}

func about(r *Report) []string {
	facts := []string{
		"hermod " + clean(r.Version, maxName) + " on " + clean(r.Host, maxName),
		"up " + span(r.Now.Sub(r.Started)),
	}
	config := "config " + clean(r.Config, maxName)
	if r.Loaded.Sub(r.Started) > 10*time.Second {
		config += ", loaded " + ago(r.Now, r.Loaded)
	}
	facts = append(facts, config)
	if r.DataDir == "" {
		facts = append(facts, "no data_dir: positions and queues are lost at a stop")
	} else {
		facts = append(facts, "data in "+clean(r.DataDir, maxName))
	}
	return append(facts, "as of "+r.Now.UTC().Format("2006-01-02 15:04:05")+" UTC")
}

func newRow(r *Report, n *graph.Node) row {
	out := row{State: n.State, Address: clean(n.Address, maxName)}
	if !n.Since.IsZero() {
		out.For = span(r.Now.Sub(n.Since))
	}
	trend := r.Trends[n.Address]
	what := noun(r, n)
	in, through := flow(r.Edges, n.Address)
	var lines []line
	switch component.Kind(n.Kind) {
	case component.Input:
		if n.Interval > 0 {
			out.Flow = collected(r.Now, n)
		} else {
			out.Flow, lines = read(r.Now, n, through, trend, what)
		}
	case component.Output:
		out.Flow, lines = sent(r.Now, n, in, trend, what)
	default:
		out.Flow = processed(r.Now, n, in, through, trend, what)
	}

	told := faults(r.Now, n.Faults)
	held := heldBack(r, n)
	if n.Why != "" && len(told)+len(held) == 0 { // otherwise the engine's summary of these
		t, prefix := info, ""
		switch n.State {
		case graph.Failing:
			t, prefix = bad, "failing for "+out.For+": "
		case graph.Noted:
			t = note
		}
		told = []line{{Tone: t, Text: prefix + clean(n.Why, maxText), Do: clean(n.Remedy, maxText)}}
	}
	if len(held) > 0 {
		for i := range lines {
			lines[i].Do = "" // the line below says who is the cause
		}
	}
	out.Lines = slices.Concat(told, lines, held)
	if n.Skipped > 0 {
		out.Lines = append(out.Lines, line{Tone: note,
			Text: count(n.Skipped, "collection") + " left out because the one before was still running",
			Do:   "look at what takes so long, or give the input a longer interval"})
	}
	out.Lines = append(out.Lines, losses(n.Losses, trend, what)...)
	out.Details, out.More = details(r.Now, n.Details, n.Kind == string(component.Input))
	return out
}

// flow is what came into a component, and what it offered to those after it: each of them was offered the same.
func flow(edges []graph.Edge, address string) (in, out uint64) {
	for i := range edges {
		e := &edges[i]
		if e.To == address {
			in += e.Passed
		}
		if e.From == address {
			out = max(out, e.Offered)
		}
	}
	return in, out
}

// noun is what the component's counts count.
func noun(r *Report, n *graph.Node) string {
	var metrics, logs bool
	for i := range r.Edges {
		e := &r.Edges[i]
		if e.From == n.Address || e.To == n.Address {
			metrics = metrics || e.Signal == component.Metrics.String()
			logs = logs || e.Signal == component.Logs.String()
		}
	}
	switch {
	case metrics && logs:
		return "item"
	case metrics:
		return "sample"
	}
	return "record"
}

// collected says what a metrics input does.
func collected(now time.Time, n *graph.Node) string {
	every := "every " + interval(n.Interval)
	if n.Cycles == 0 || n.LastCycle.IsZero() {
		return "not collected yet; due " + every
	}
	return fmt.Sprintf("%s %s, collected %s in %s", count(uint64(max(n.Series, 0)), "series"), every, ago(now, n.LastCycle), took(n.LastDuration))
}

// read says what a log input does.
func read(now time.Time, n *graph.Node, got uint64, trend Trend, what string) (string, []line) {
	flow := "nothing read yet"
	if got > 0 {
		flow = count(got, what) + " read"
		if trend.Out > 0 {
			flow += " (" + rate(trend.Out) + ")"
		}
		if !n.Last.IsZero() {
			flow += ", the last " + ago(now, n.Last)
		}
	}
	if len(n.Details) > 0 {
		flow += fmt.Sprintf(", from %s", count(uint64(len(n.Details)), "source"))
	}
	const slack = 64 << 10 // what is read in the next moment isn't worth a word
	const moves = 1 << 10
	var lines []line
	switch {
	case n.Unread < slack:
	case trend.Seconds > 0 && trend.Unread > moves:
		lines = append(lines, line{Tone: note,
			Text: fmt.Sprintf("%s are waiting to be read, growing by %s/s: more is written than gets through", size(float64(n.Unread)), size(trend.Unread)),
			Do:   "see which output below holds it back, or whether something writes far more than usual"})
	case trend.Seconds > 0 && trend.Unread < -moves:
		left := time.Duration(float64(n.Unread) / -trend.Unread * float64(time.Second))
		lines = append(lines, line{Tone: info,
			Text: fmt.Sprintf("%s are waiting to be read, shrinking by %s/s: read up in about %s", size(float64(n.Unread)), size(-trend.Unread), span(left))})
	default:
		lines = append(lines, line{Tone: info, Text: size(float64(n.Unread)) + " are waiting to be read"})
	}
	return flow, lines
}

// processed says what a processor does.
func processed(now time.Time, n *graph.Node, in, out uint64, trend Trend, what string) string {
	if in == 0 {
		return "nothing has come yet"
	}
	flow := fmt.Sprintf("%s in, %s out", count(in, what), number(out))
	if trend.In > 0 {
		flow += " (" + rate(trend.In) + ")"
	}
	if !n.Last.IsZero() {
		flow += ", the last " + ago(now, n.Last)
	}
	return flow
}

// sent says what an output does.
func sent(now time.Time, n *graph.Node, in uint64, trend Trend, what string) (string, []line) {
	t := n.Traffic
	if t == nil {
		if in == 0 {
			return "nothing has come yet", nil
		}
		flow := count(in, what) + " taken"
		if trend.In > 0 {
			flow += " (" + rate(trend.In) + ")"
		}
		if !n.Last.IsZero() {
			flow += ", the last " + ago(now, n.Last)
		}
		return flow, nil
	}

	flow := "nothing delivered yet"
	if t.Delivered > 0 {
		flow = count(t.Delivered, what) + " delivered"
		if !t.LastDelivery.IsZero() {
			flow += ", the last " + ago(now, t.LastDelivery)
		}
	}
	if t.NextTry.After(now) {
		flow += "; next try in " + span(t.NextTry.Sub(now))
	}
	if t.Queued == 0 {
		return flow, nil
	}
	share := 0.0
	if t.QueueLimit > 0 {
		share = float64(t.QueuedBytes) / float64(t.QueueLimit)
	}
	old := !t.OldestQueued.IsZero() && now.Sub(t.OldestQueued) > time.Minute
	if share < 0.1 && !old && n.State != graph.Failing && !t.NextTry.After(now) {
		return flow + fmt.Sprintf("; %s on the way", number(t.Queued)), nil
	}
	l := line{Tone: info, Text: fmt.Sprintf("%s wait in the queue", count(t.Queued, what))}
	if t.Queued == 1 {
		l.Text = "1 " + what + " waits in the queue"
	}
	if t.QueueLimit > 0 {
		l.Text += fmt.Sprintf(", %s of %s", size(float64(t.QueuedBytes)), size(float64(t.QueueLimit)))
		if share >= 0.01 {
			l.Text += fmt.Sprintf(" (%.0f%%)", share*100)
		}
	} else {
		l.Text += ", " + size(float64(t.QueuedBytes))
	}
	if !t.OldestQueued.IsZero() {
		l.Text += ", the oldest from " + ago(now, t.OldestQueued)
	}
	switch {
	case share > 0.95:
		l.Tone, l.Text = note, l.Text+"; the queue is full"
	case trend.Queued > 1 && t.QueueLimit > 0:
		left := time.Duration((float64(t.QueueLimit) - float64(t.QueuedBytes)) / trend.Queued * float64(time.Second))
		if left < 48*time.Hour {
			l.Text += "; full in about " + span(left)
		}
		if left < time.Hour {
			l.Tone = note
		}
	case trend.Queued < -1:
		left := time.Duration(float64(t.QueuedBytes) / -trend.Queued * float64(time.Second))
		l.Text += "; sent in about " + span(left)
	}
	if n.State == graph.Failing && len(n.Losses) == 0 {
		l.Text += "; nothing is lost so far"
	}
	return flow, []line{l}
}

// faults puts faults into lines, with the time for which each lasts.
func faults(now time.Time, faults []component.Fault) []line {
	var out []line
	for i, f := range faults {
		if i == maxFaults {
			return append(out, line{Tone: note, Text: fmt.Sprintf("and %s more; /api/graph has all", number(uint64(len(faults)-i)))})
		}
		text := clean(f.What, maxText)
		if key := clean(f.Key, maxName); key != "" && !strings.Contains(text, key) {
			text = key + ": " + text
		}
		since := span(now.Sub(f.Since))
		if f.Count > 1 {
			since += " (seen " + number(f.Count) + " times)"
		}
		if f.Note {
			out = append(out, line{Tone: note, Text: "note: " + text, Do: clean(f.Remedy, maxText)})
			continue
		}
		out = append(out, line{Tone: bad, Text: "failing for " + since + ": " + text, Do: clean(f.Remedy, maxText)})
	}
	return out
}

// heldBack says which output makes a component wait, and who else goes without because of it.
func heldBack(r *Report, n *graph.Node) []line {
	const patience = 5 * time.Second // a consumer may take a moment
	var out []line
	for i := range r.Edges {
		e := &r.Edges[i]
		if e.From != n.Address || e.BlockedSince.IsZero() || r.Now.Sub(e.BlockedSince) < patience {
			continue
		}
		last, waiting := culprit(r, e)
		l := line{Tone: note, Text: fmt.Sprintf("held back for %s by %s", span(r.Now.Sub(last.BlockedSince)), clean(last.To, maxName))}
		if n.Kind != string(component.Input) { // the input's row says the rest
			out = append(out, l)
			continue
		}
		l.Text += ", which has no room for more; nothing is lost, reading goes on when it has"
		if len(waiting) == 1 {
			l.Text += "; " + waiting[0] + " waits as well"
		} else if len(waiting) > 1 {
			l.Text += "; " + list(waiting) + " wait as well"
		}
		out = append(out, l)
	}
	return out
}

// culprit follows blocked edges down from e to the one whose consumer doesn't take, and names the consumers beside the way that get
// nothing either.
func culprit(r *Report, e *graph.Edge) (last *graph.Edge, waiting []string) {
	for range r.Edges { // a graph has no cycle, but what we were given is data
		var next *graph.Edge
		for i := range r.Edges {
			s := &r.Edges[i]
			switch {
			case s.From == e.From && s.To != e.To && s.Signal == e.Signal && s.BlockedSince.IsZero():
				waiting = append(waiting, clean(s.To, maxName))
			case next == nil && s.From == e.To && s.Signal == e.Signal && !s.BlockedSince.IsZero():
				next = s
			}
		}
		if next == nil {
			break
		}
		e = next
	}
	return e, waiting
}

// Reasons that mean no loss of a record: the user wanted it, or the record arrives without its end.
const (
	filtered = "filtered"
	cut      = "line_too_long"
)

// loses says that the component gives data up at the moment.
func loses(n *graph.Node, trend Trend) bool {
	if trend.Lost <= 0 {
		return false
	}
	for reason, count := range n.Losses {
		if count > 0 && reason != filtered && reason != cut {
			return true
		}
	}
	return false
}

// losses says what a component gave up, by reason.
func losses(by map[string]uint64, trend Trend, what string) []line {
	type loss struct {
		reason string
		n      uint64
	}
	var all []loss
	var sum uint64
	for reason, n := range by {
		if n > 0 && reason != cut {
			all = append(all, loss{reason, n})
			sum += n
		}
	}
	var out []line
	if n := by[cut]; n > 0 {
		l := line{Tone: note, Text: "cut " + count(n, what) + " short, because a line was longer than max_line_size"}
		if n > 1 {
			l.Text = "cut " + count(n, what) + " short, because their lines were longer than max_line_size"
		}
		out = append(out, l)
	}
	if sum == 0 {
		return out
	}
	slices.SortFunc(all, func(a, b loss) int {
		return cmp.Or(cmp.Compare(b.n, a.n), strings.Compare(a.reason, b.reason))
	})
	parts := make([]string, 0, len(all))
	for _, l := range all {
		parts = append(parts, number(l.n)+" "+clean(l.reason, maxName))
	}
	t := note
	if len(all) == 1 && all[0].reason == filtered {
		t, parts[0] = info, filtered
	}
	text := "dropped " + count(sum, what)
	if trend.Lost > 0 {
		text += " (" + rate(trend.Lost) + " now)"
	}
	return append(out, line{Tone: t, Text: text + ": " + strings.Join(parts, ", ")})
}

// details puts the rows below a component into words: those with something to say first, then by name. logs says that they are sources of
// log lines.
func details(now time.Time, all []component.Detail, logs bool) ([]detail, string) {
	sorted := slices.Clone(all)
	weight := func(d *component.Detail) int {
		switch {
		case d.State == "failing":
			return 0
		case d.Note != "":
			return 1
		case d.Unread > 1<<20:
			return 2
		case d.State == "ended":
			return 4
		}
		return 3
	}
	slices.SortStableFunc(sorted, func(a, b component.Detail) int {
		return cmp.Or(cmp.Compare(weight(&a), weight(&b)), strings.Compare(a.Name, b.Name))
	})
	var out []detail
	for i := range sorted {
		if i == maxDetails {
			return out, fmt.Sprintf("and %s more; /api/graph has all", number(uint64(len(sorted)-i)))
		}
		d := &sorted[i]
		row := detail{Tone: info, Name: clean(d.Name, maxName), Facts: []string{clean(d.State, maxName)}}
		if d.Via != "" {
			row.Facts = append(row.Facts, "via "+clean(shortIDs(d.Via), maxName))
		}
		if d.Unread > 0 {
			row.Facts = append(row.Facts, size(float64(d.Unread))+" unread")
		}
		switch {
		case d.Last.IsZero() && logs:
			row.Facts = append(row.Facts, "no line yet")
		case d.Last.IsZero():
		case logs:
			row.Facts = append(row.Facts, "last line "+ago(now, d.Last))
		default:
			row.Facts = append(row.Facts, "last used "+ago(now, d.Last))
		}
		if d.Note != "" {
			row.Tone = note
			row.Facts = append(row.Facts, clean(d.Note, maxText))
		}
		if d.State == "failing" {
			row.Tone = bad
		}
		out = append(out, row)
	}
	return out, ""
}

func newEdge(r *Report, e *graph.Edge) edge {
	what := "record"
	if e.Signal == component.Metrics.String() {
		what = "sample"
	}
	out := edge{From: clean(e.From, maxName), To: clean(e.To, maxName)}
	switch {
	case e.Offered == 0:
		out.Facts = append(out.Facts, "nothing yet")
	default:
		out.Facts = append(out.Facts, count(e.Passed, what)+" passed")
		if e.Bytes > 0 {
			out.Facts = append(out.Facts, size(float64(e.Bytes)))
		}
		if e.Offered > e.Passed {
			out.Facts = append(out.Facts, number(e.Offered-e.Passed)+" not meant for it")
		}
		if !e.Last.IsZero() {
			out.Facts = append(out.Facts, ago(r.Now, e.Last))
		}
	}
	if e.Errors > 0 {
		out.Trouble = count(e.Errors, "batch")
		if e.Errors > 1 {
			out.Trouble = number(e.Errors) + " batches"
		}
		out.Trouble += " refused"
		if e.LastErr != "" {
			out.Trouble += ": " + clean(e.LastErr, maxText)
		}
	}
	return out
}
