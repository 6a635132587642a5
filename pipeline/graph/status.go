package graph

import (
	"time"

	"github.com/hermod-agent/hermod/pipeline/component"
)

// Status is the truth about the running graph: what the page shows, /api/graph gives as JSON and `hermod status` prints.
type Status struct {
	Version string    `json:"version"`
	Host    string    `json:"host"`
	Started time.Time `json:"started"`
	Now     time.Time `json:"now"`
	Config  string    `json:"config"` // path of the file, or "built-in"
	Loaded  time.Time `json:"loaded"` // when the running config was taken
	// ReloadError is why the last reload was refused; the graph runs on with the config before it.
	ReloadError string `json:"reload_error,omitempty"`
	DataDir     string `json:"data_dir,omitempty"`
	Ready       bool   `json:"ready"`
	// NotReady says, a line each, what Ready waits for.
	NotReady []string `json:"not_ready,omitempty"`
	Nodes    []Node   `json:"nodes"` // inputs, processors, outputs; by address within
	Edges    []Edge   `json:"edges"`
	// Faults of the engine itself: positions that can't be saved, a listener in use.
	Faults []component.Fault `json:"faults,omitempty"`
}

// State of a node in a word.
type State string

// The states. Only Failing and Holding need somebody.
const (
	OK      State = "ok"
	Waiting State = "waiting" // nothing has come yet, and nothing is wrong
	Quiet   State = "quiet"   // worked before and has nothing to do now
	Noted   State = "noted"   // works, and there is something the user should know
	Failing State = "failing"
)

// Node is a component.
type Node struct {
	Address string    `json:"address"`
	Kind    string    `json:"kind"`
	Type    string    `json:"type"`
	State   State     `json:"state"`
	Since   time.Time `json:"since"` // of the state
	Why     string    `json:"why,omitempty"`
	Remedy  string    `json:"remedy,omitempty"`

	Faults  []component.Fault  `json:"faults,omitempty"`
	Details []component.Detail `json:"details,omitempty"`
	Losses  map[string]uint64  `json:"losses,omitempty"`
	Traffic *component.Traffic `json:"traffic,omitempty"`

	// In and Out count what crossed the edges at this node: samples or records.
	In  uint64 `json:"in"`
	Out uint64 `json:"out"`
	// Last is when data last crossed an edge at this node.
	Last time.Time `json:"last,omitzero"`

	// For metrics inputs.
	Interval     float64   `json:"interval_seconds,omitempty"`
	LastCycle    time.Time `json:"last_cycle,omitzero"`
	LastDuration float64   `json:"last_duration_seconds,omitempty"`
	Series       int       `json:"series,omitempty"`
	Cycles       uint64    `json:"cycles,omitempty"`
	Skipped      uint64    `json:"skipped,omitempty"` // ticks that found the collection still running
	// Limit says why series of the input are dropped; nil while none are.
	Limit *SeriesLimit `json:"series_limit,omitempty"`
	// Unread is what log sources hold that was not read yet, in bytes; -1 when that can't be known.
	Unread int64 `json:"unread,omitempty"`
}

// SeriesLimit tells of an input that has more series than its max_series. How many samples were dropped for it stands in Losses, as
// series_limit.
type SeriesLimit struct {
	Max int `json:"max"`
	// Label is the one with the most different values, Values how many that are; "" when no label has several.
	Label  string `json:"label,omitempty"`
	Values int    `json:"values,omitempty"`
	Names  int    `json:"names"` // how many metric names the series have
}

// Edge is a connection between two components, counted by the engine.
type Edge struct {
	From    string    `json:"from"`
	To      string    `json:"to"`
	Signal  string    `json:"signal"`
	Offered uint64    `json:"offered"` // samples or records that came to the edge
	Passed  uint64    `json:"passed"`  // after where and thinning
	Bytes   uint64    `json:"bytes"`   // of log lines passed
	Batches uint64    `json:"batches"`
	Errors  uint64    `json:"errors"`
	LastErr string    `json:"last_error,omitempty"`
	Last    time.Time `json:"last,omitzero"`
	// BlockedSince is when the batch was first offered that the consumer has not taken yet.
	BlockedSince time.Time `json:"blocked_since,omitzero"`
}
