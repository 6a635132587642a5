//go:build integration

package integration

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hermod-agent/hermod/integration/harness"
)

// exposition is what a scrape gave: values by series as they are written, types and help texts by family.
type exposition struct {
	values      map[string]string
	types, help map[string]string
}

func parseExposition(text string) exposition {
	p := exposition{values: map[string]string{}, types: map[string]string{}, help: map[string]string{}}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(line, "# TYPE "):
			name, kind, _ := strings.Cut(line[len("# TYPE "):], " ")
			p.types[name] = kind
		case strings.HasPrefix(line, "# HELP "):
			name, help, _ := strings.Cut(line[len("# HELP "):], " ")
			p.help[name] = help
		case line != "" && line[0] != '#':
			i := strings.LastIndexByte(line, ' ')
			p.values[line[:i]] = line[i+1:]
		}
	}
	return p
}

// difference is something in which a page of the agent may differ from the exporter's, and why that is right.
type difference struct {
	series *regexp.Regexp
	why    string
}

// comparison compares a page of the agent with one of the exporter that it replaces.
type comparison struct {
	exporter, agent string // addresses
	// only are series that one of the two has alone.
	only []difference
	// moving are series whose value may change between two scrapes and back.
	moving []difference
}

// await compares until both say the same: something on the server may change between their scrapes. The exporter is asked before and
// after the agent, and what it gives the same both times is what the agent must give.
func (c *comparison) await(t *testing.T) (agreed exposition) {
	t.Helper()
	harness.Eventually(t, 90*time.Second, "the agent and the exporter agree", func() (bool, string) {
		var pages [3]exposition
		for i, address := range []string{c.exporter, c.agent, c.exporter} {
			text, err := harness.Fetch(address)
			if err != nil {
				return false, err.Error()
			}
			pages[i] = parseExposition(text)
		}
		agreed = pages[1]
		faults := c.compare(pages[0], pages[1], pages[2])
		if len(faults) > 20 {
			faults = append(faults[:20], fmt.Sprintf("and %d more", len(faults)-20))
		}
		return len(faults) == 0, strings.Join(faults, "\n")
	})
	return agreed
}

func (c *comparison) compare(before, agent, after exposition) []string {
	var faults []string
	excused := func(series string, by []difference) bool {
		return slices.ContainsFunc(by, func(d difference) bool { return d.series.MatchString(series) })
	}
	for series, value := range before.values {
		now, there := agent.values[series]
		switch later, still := after.values[series]; {
		case !there && still && !excused(series, c.only):
			faults = append(faults, fmt.Sprintf("the agent lacks %s %s", series, value))
		case there && still && value == later && now != value && !excused(series, c.moving):
			faults = append(faults, fmt.Sprintf("%s: the exporter has %s, the agent %s", series, value, now))
		}
	}
	for series, value := range agent.values {
		_, was := before.values[series]
		_, is := after.values[series]
		if !was && !is && !excused(series, c.only) {
			faults = append(faults, fmt.Sprintf("the exporter lacks %s %s", series, value))
		}
	}
	for family, kind := range before.types {
		if is, there := agent.types[family]; there && is != kind {
			faults = append(faults, fmt.Sprintf("%s is a %s at the exporter and a %s at the agent", family, kind, is))
		}
		if is, there := agent.help[family]; there && is != before.help[family] {
			faults = append(faults, fmt.Sprintf("%s: help %q at the exporter and %q at the agent", family, before.help[family], is))
		}
	}
	slices.Sort(faults)
	return faults
}
