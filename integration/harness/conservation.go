//go:build integration

package harness

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hermod-agent/hermod/pipeline/graph"
)

// Conserved asserts that nothing vanished inside the agent: what the edges that lead to an output passed was taken by it, and what it
// took is delivered, queued, rejected or dropped with a reason. It waits for a moment at which the numbers, which are read one after
// another, stand still.
func Conserved(t testing.TB, a *Agent) graph.Status {
	t.Helper()
	return balance(t, a, true)
}

// ConservedSinceReload is Conserved for outputs that a reload changed: they count from the reload on, the edges that lead to them from
// the start of the agent.
func ConservedSinceReload(t testing.TB, a *Agent) graph.Status {
	t.Helper()
	return balance(t, a, false)
}

func balance(t testing.TB, a *Agent, edges bool) graph.Status {
	t.Helper()
	var status graph.Status
	Eventually(t, 10*time.Second, "records are conserved", func() (bool, string) {
		var err error
		status, err = a.Status()
		if err != nil {
			return false, err.Error()
		}
		fault := unbalanced(status, edges)
		return fault == "", fault
	})
	return status
}

// unbalanced says where records went missing or came from nothing, or "".
func unbalanced(status graph.Status, edges bool) string {
	passed := map[string]uint64{}
	for _, e := range status.Edges {
		passed[e.To] += e.Passed
	}
	for _, n := range status.Nodes {
		if n.Traffic == nil {
			continue
		}
		var lost uint64
		for reason, count := range n.Losses {
			if !strings.HasPrefix(reason, "rejected_") { // these are Rejected, by reason
				lost += count
			}
		}
		tr := n.Traffic
		if tr.Taken != tr.Delivered+tr.Queued+tr.Rejected+lost {
			return fmt.Sprintf("%s took %d and has delivered %d, queued %d, rejected %d, lost %v", n.Address, tr.Taken, tr.Delivered, tr.Queued, tr.Rejected, n.Losses)
		}
		if edges && passed[n.Address] != tr.Taken-tr.Restored {
			return fmt.Sprintf("%s was passed %d and took %d, %d of them from its disk", n.Address, passed[n.Address], tr.Taken, tr.Restored)
		}
	}
	return ""
}

// Passed is how many records or samples the edges that lead to an output passed since the agent started.
func Passed(status graph.Status, output string) (passed int) {
	for _, e := range status.Edges {
		if e.To == output {
			passed += int(e.Passed)
		}
	}
	return passed
}

// NodeOf finds a component in a status.
func NodeOf(t testing.TB, status graph.Status, address string) graph.Node {
	t.Helper()
	for _, n := range status.Nodes {
		if n.Address == address {
			return n
		}
	}
	t.Fatalf("no %s in the status", address)
	return graph.Node{}
}
