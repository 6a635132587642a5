package config

import (
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// Error makes a diagnostic of severity error.
func Error(at hcl.Range, summary, detail string) *hcl.Diagnostic {
	return &hcl.Diagnostic{Severity: hcl.DiagError, Summary: summary, Detail: detail, Subject: &at}
}

// Warning makes a diagnostic of severity warning.
func Warning(at hcl.Range, summary, detail string) *hcl.Diagnostic {
	return &hcl.Diagnostic{Severity: hcl.DiagWarning, Summary: summary, Detail: detail, Subject: &at}
}

// Sort puts diagnostics in file order and removes repeats.
func Sort(diags hcl.Diagnostics) hcl.Diagnostics {
	type identity struct {
		severity        hcl.DiagnosticSeverity
		at              hcl.Range
		summary, detail string
	}
	seen := map[identity]bool{}
	out := make(hcl.Diagnostics, 0, len(diags))
	for _, d := range diags {
		if d == nil {
			continue
		}
		id := identity{severity: d.Severity, at: subject(d), summary: d.Summary, detail: d.Detail}
		if !seen[id] {
			seen[id] = true
			out = append(out, d)
		}
	}
	slices.SortStableFunc(out, func(a, b *hcl.Diagnostic) int {
		x, y := subject(a), subject(b)
		if c := strings.Compare(x.Filename, y.Filename); c != 0 {
			return c
		}
		if x.Start.Line != y.Start.Line {
			return x.Start.Line - y.Start.Line
		}
		if x.Start.Byte != y.Start.Byte {
			return x.Start.Byte - y.Start.Byte
		}
		return int(a.Severity) - int(b.Severity) // errors first
	})
	return out
}

// subject is where d stands; the zero Range when it stands nowhere.
func subject(d *hcl.Diagnostic) hcl.Range {
	if d.Subject == nil {
		return hcl.Range{}
	}
	return *d.Subject
}

// faults collects diagnostics while a config is read, each fault once.
type faults struct {
	diags hcl.Diagnostics
	seen  map[faultKey]bool
	// repeat is set while the second and later instances of a for_each are decoded: a place at which something was told already
	// isn't told again there, even in other words.
	repeat bool
	// note is added to the detail of what is told of an instance.
	note string
}

type faultKey struct {
	at      hcl.Range
	summary string
}

func newFaults() *faults { return &faults{seen: map[faultKey]bool{}} }

func (f *faults) add(d *hcl.Diagnostic) {
	at := subject(d)
	place := faultKey{at: at}
	if f.repeat && f.seen[place] {
		return
	}
	key := faultKey{at: at, summary: d.Summary}
	if f.seen[key] {
		return
	}
	f.seen[key], f.seen[place] = true, true
	// What can lead to values is dropped: HCL's own writer prints the variables of an expression.
	d.Expression, d.EvalContext, d.Extra = nil, nil, nil
	f.diags = append(f.diags, d)
}

func (f *faults) errorf(at hcl.Range, summary, detail string) { f.add(Error(at, summary, detail)) }

// at returns the range of one byte-less position.
func at(file string, pos hcl.Pos) hcl.Range { return hcl.Range{Filename: file, Start: pos, End: pos} }

// maxSuggestLength bounds the work of Suggest; longer names are not misspelt ones.
const maxSuggestLength = 64

// Suggest returns `; did you mean "x"?` for the candidate that is closest to given, or "".
func Suggest(given string, candidates []string) string {
	if best := closest(given, candidates); best != "" {
		return `; did you mean "` + best + `"?`
	}
	return ""
}

// closest returns the candidate that given was probably meant to be, or "".
func closest(given string, candidates []string) string {
	if given == "" || len(given) > maxSuggestLength {
		return ""
	}
	plain := func(s string) string { return strings.ReplaceAll(strings.ToLower(s), "-", "_") }
	g := plain(given)
	allowed := 3
	switch n := len([]rune(g)); {
	case n <= 3:
		allowed = 1
	case n <= 7:
		allowed = 2
	}
	best, bestDistance := "", allowed+1
	for _, c := range candidates {
		if c == given || len(c) > maxSuggestLength {
			continue
		}
		p := plain(c)
		d := distance(g, p)
		// A word of a longer name: "docker" for docker_logs, "interval" for scrape_interval.
		if len(g) >= 3 && (strings.HasPrefix(p, g) || strings.HasSuffix(p, "_"+g) || len(p) >= 4 && strings.HasPrefix(g, p)) {
			d = min(d, allowed)
		}
		if d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

// distance is the number of runes to insert, delete, replace or swap with their neighbour to make b of a (optimal string alignment).
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	before, last, row := make([]int, len(y)+1), make([]int, len(y)+1), make([]int, len(y)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(x); i++ {
		row[0] = i
		for j := 1; j <= len(y); j++ {
			cost := 1
			if x[i-1] == y[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(y)]
}
