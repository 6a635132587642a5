//go:build integration

package torture

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hermod-agent/hermod/integration/harness"
)

// full says that the long form runs: many more kills, more lines.
func full() bool { return os.Getenv("HERMOD_TORTURE") == "full" }

// times is how often something is done in the short form and in full.
func times(short, long int) int {
	if full() {
		return long
	}
	return short
}

// groups are the parts of the table, in its order.
var groups = []string{"Crash and stop", "Disk", "Backend", "Rotation of files", "Content of files", "Docker", "Servers that are asked", "Simulations"}

// row is one line of the table. Its result is that of the test that began it.
type row struct {
	Group, Case  string
	Cases        []int // the numbers of those that it shows
	Source, User string
	// Written is how many lines or samples the writer wrote, Delivered how many different ones of them the backend has, Repeated how many came more
	// than once, each time counted.
	Written, Delivered, Repeated int
	// Note says what a reader of the numbers has to know.
	Note string

	failed bool
}

// report collects the rows of a run.
var report struct {
	mu   sync.Mutex // guards rows
	rows []*row
}

// begin adds a row, which stands in the table when its test ends without having been skipped.
func begin(t *testing.T, r row) *row {
	t.Helper()
	if !slices.Contains(groups, r.Group) {
		t.Fatalf("the table has no group %q", r.Group)
	}
	t.Cleanup(func() {
		r.failed = t.Failed()
		report.mu.Lock()
		defer report.mu.Unlock()
		if !t.Skipped() {
			report.rows = append(report.rows, &r)
		}
	})
	return &r
}

// shows says which of the cases the row is one of.
func (r *row) shows(numbers ...int) *row {
	r.Cases = numbers
	return r
}

const header = `<!-- Written by integration/torture. Do not edit. -->

# What was tried, and what came of it

Each row is a run of the agent that is passed on, as a process of its own, on a real filesystem, with a real Docker engine, Loki and Prometheus where they
matter. A writer wrote numbered lines or numbered samples; a backend counted what came. *Delivered* is how many of them are at the backend, *repeated* how
many came more than once. A row passes when nothing that could be read is missing.

- Rows of kills ask besides that what came again had not been delivered before the last save of the positions but one, save for one request a shard and
  kill, whose answer nobody read. Rows without a kill ask that nothing came again but requests that the backend stored without answering.
- A sample is written when a collection ends well. A kill may take those that no queue has had yet: rows of samples and kills compare what came with what
  was delivered or lay on disk at the moment of each kill.
- All rows but those of reloads, of many files and those that say otherwise ask that the agent holds hardly more descriptors and goroutines at the end
  than at the beginning, but for the files that its pattern matches, and less than 100 MB.
- What has to do with reading runs for files and for Docker's logs, from disk and through the engine; what happens behind the reading (queue, disk,
  backend) is the same code for all of them and runs for files and for samples.

%s

What may be missing, and is then counted: what ` + "`when_full = \"drop_oldest\"`" + ` drops from a full queue, what is longer than a limit on size, what a backend
refuses for good (400, 409, 422), and bytes that a truncation destroyed before anybody could read them.

Not solved: the driver ` + "`local`" + ` of Docker 20.10, read through the engine while it rotates. Of 54 containers that were watched three lacked a whole rotated
file, always the one before the newest, and no cause was found; so the row is in the long form alone. A ` + "`max-size`" + ` that is not reached in
seconds makes it rare.

What nobody can count is what a backend drops and calls stored. Loki 3.7 does that with lines over ` + "`per_stream_rate_limit`" + ` in all streams of a
request but the last, and so with a stream that it splits itself (` + "`shard_streams`" + `, on by default): it answers 204, and only its own
` + "`loki_discarded_samples_total`" + ` tells. The agent puts the loudest stream last, which is the one that meets the limit, sends again what is refused with 429, and
names the limit in its status; where that happens, raise the limit and switch ` + "`shard_streams`" + ` off.

## The cases

| No. | What is done, and what is asked | Shown by rows of |
| ---: | --- | --- |
`

// table is the report as Markdown.
func table(rows []*row) string {
	rows = slices.Clone(rows)
	slices.SortFunc(rows, func(a, b *row) int {
		return cmp.Or(
			cmp.Compare(slices.Index(groups, a.Group), slices.Index(groups, b.Group)),
			cmp.Compare(a.Case, b.Case), cmp.Compare(a.Source, b.Source), cmp.Compare(a.User, b.User),
		)
	})
	var b strings.Builder
	form := "This is the long form; `make test` runs a short one."
	if !full() {
		form = "This is the short form; `make torture` writes the long one here, with more of everything."
	}
	fmt.Fprintf(&b, header, form)
	for n := 1; n < len(cases); n++ {
		fmt.Fprintf(&b, "| %d | %s | %s |\n", n, cases[n], shownBy(rows, n))
	}
	group := ""
	for _, r := range rows {
		if r.Group != group {
			group = r.Group
			fmt.Fprintf(&b, "\n## %s\n\n| Case | No. | Source | User | Result | Written | Delivered | Repeated | |\n"+
				"| --- | ---: | --- | --- | --- | ---: | ---: | ---: | --- |\n", group)
		}
		result := "passed"
		if r.failed {
			result = "**failed**"
		}
		counts := " | | "
		if r.Written > 0 {
			counts = fmt.Sprintf("%d | %d | %d", r.Written, r.Delivered, r.Repeated)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s |\n", r.Case, numbers(r.Cases), r.Source, r.User, result, counts, r.Note)
	}
	return b.String()
}

// numbers are those of cases as they stand in a cell.
func numbers(cases []int) string {
	return strings.ReplaceAll(strings.Trim(fmt.Sprint(cases), "[]"), " ", ", ")
}

// shownBy says which rows show a case: their groups, and how many.
func shownBy(rows []*row, n int) string {
	count := map[string]int{}
	for _, r := range rows {
		if slices.Contains(r.Cases, n) {
			count[r.Group]++
		}
	}
	if len(count) == 0 {
		return "the long form alone"
	}
	var out []string
	for _, g := range groups {
		if count[g] > 0 {
			out = append(out, fmt.Sprintf("[%s](#%s): %d", g, strings.ReplaceAll(strings.ToLower(g), " ", "-"), count[g]))
		}
	}
	return strings.Join(out, ", ")
}

// publish writes the table where HERMOD_TORTURE_REPORT says.
func publish() error {
	report.mu.Lock()
	defer report.mu.Unlock()
	incomplete := complete(report.rows)
	path := os.Getenv("HERMOD_TORTURE_REPORT")
	if path == "" {
		return incomplete
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return errors.Join(incomplete, os.WriteFile(path, []byte(table(report.rows)), 0o644))
}

// complete says which cases have no row, after a run of all tests.
func complete(rows []*row) error {
	if flag.Lookup("test.run").Value.String() != "" || flag.Lookup("test.skip").Value.String() != "" || flag.Lookup("test.list").Value.String() != "" || os.Getuid() != 0 {
		return nil
	}
	var without []int
	for n := 1; n < len(cases); n++ {
		if !slices.ContainsFunc(rows, func(r *row) bool { return slices.Contains(r.Cases, n) }) {
			without = append(without, n)
		}
	}
	if len(without) > 0 {
		return fmt.Errorf("the cases %v have no row", without)
	}
	return nil
}

// user is whom the agent runs as.
type user struct {
	name string
	id   uint32
}

var users = []user{{"root", 0}, {"65532", harness.Unprivileged}}

// requireRoot skips what only root can do: run the agent as root and as somebody else.
func requireRoot(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can run the agent as another user")
	}
}
