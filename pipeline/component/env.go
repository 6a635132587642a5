package component

import (
	"context"
	"log/slog"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/hermod-agent/hermod/pipeline/logs"
	"github.com/hermod-agent/hermod/pipeline/metrics"
	"github.com/hermod-agent/hermod/pipeline/positions"
)

// Env is what the engine gives a component when it opens it. Components reach nothing of the agent by another way.
type Env struct {
	Address string // input.mysql.fleet["a"]
	Type    string // mysql
	Name    string // fleet

	// Log carries the component's address.
	Log *slog.Logger
	// Status is where the component says how it is.
	Status *Status
	// Losses counts what the component had to give up.
	Losses *Losses
	// Self registers counters of the component's own; the label component is added, and they leave with the component. Their names
	// begin with hermod_.
	Self prometheus.Registerer
	// SelfGatherer gives everything that the agent knows of itself: hermod_*, go_* and process_*.
	SelfGatherer prometheus.Gatherer

	// Series makes series; labels that the user set on the input are merged.
	Series *metrics.Registry
	// Streams makes streams, likewise.
	Streams *logs.Registry

	// Metrics and Logs are what comes after this component: for processors, and for inputs that emit when something happens.
	Metrics MetricsConsumer
	Logs    LogsConsumer

	// Positions holds where each source of a log input was read to. The input sets a position after ConsumeLogs has returned nil for
	// what lies before it; the engine flushes the outputs and saves.
	Positions *positions.Book

	// Host is the machine as this agent sees it.
	Host Host
	// Docker is how the agent may use Docker.
	Docker Docker
	// AgentLabels are the labels that a pushed output adds where a series or stream doesn't have them.
	AgentLabels labels.Labels
	// DataDir is a folder of the component's own. It isn't there before the component makes it. Empty when the agent has no data_dir.
	DataDir string
	// Interval and Timeout are those of the component's block, else the agent's.
	Interval time.Duration
	Timeout  time.Duration
	// Version of the agent, for User-Agent headers.
	Version string

	// Pool shares what is to exist once a process, or to outlive a reload.
	Pool *Pool
	// Listen opens a listener through a pool, so that the successor of a component can open the same address before the
	// predecessor has closed it. address is host:port, or unix:/path.
	Listen func(address string) (net.Listener, error)

	// Inputs lists the metrics inputs that feed this output now.
	Inputs func() []*metrics.Source
	// Pull runs the cycle of those inputs that feed this output and whose last one is older than the larger of maxAge and the input's
	// own (all of them, or only the input with this address), together with the rest of the graph that they feed, and waits until all
	// are done or ctx ends. It returns one Pulled for each input asked.
	Pull func(ctx context.Context, maxAge time.Duration, only string) []Pulled
}

// Docker is what the agent's config says of Docker.
type Docker struct {
	// Endpoint of the engine; empty means the usual one.
	Endpoint string
	// JoinNetworks permits the agent to join its own container to networks.
	JoinNetworks bool
}

// Pulled is how an input stands after a Pull.
type Pulled struct {
	Source *metrics.Source
	// Done says that the cycle was run or was fresh enough; false means that ctx ended first.
	Done bool
	// Up says that the last finished cycle was a success, Err why not.
	Up  bool
	Err error
	// Duration of the last finished cycle.
	Duration time.Duration
}

// Host is the machine that the agent describes, which isn't always the one whose files it sees as its own: in a container the
// machine's are mounted below other folders.
type Host struct {
	Name      string // the host's name
	Procfs    string // /proc, or where the machine's is mounted
	Sysfs     string // /sys
	Rootfs    string // /, or where the machine's root is mounted
	Container bool   // the agent runs in a container
	// Missing says, a sentence each, which of the machine's folders are not mounted and what is wrong with the numbers because of it.
	Missing []string
}
