// Package config turns HCL files into checked structs: it decodes, evaluates functions and locals, expands for_each, resolves
// references and reports every fault of a file at once with its place and a remedy.
//
// It knows the language and the common attributes, and no concrete component: the caller hands in the block types.
package config

import (
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/prometheus/prometheus/model/labels"
)

// BlockType is a component that the file may name. The graph makes them from Definitions.
type BlockType struct {
	Kind string // input, processor, output
	Type string
	New  func() any // pointer to a config struct that holds the defaults
	// Emits and Takes decide which common attributes make sense: see Common.
	EmitsMetrics, EmitsLogs, TakesMetrics, TakesLogs bool
}

// Options for Load.
type Options struct {
	Types []BlockType
	// Hostname is what hostname() gives when neither agent.host nor HERMOD_HOST is set.
	Hostname func() string
	// Also is asked, when there are errors, what else is wrong with the blocks that could be decoded (a wrong signal, a cycle), so that
	// every fault is told at once. It may be nil.
	Also func(*File) hcl.Diagnostics
	// Getenv is os.LookupEnv unless a test says otherwise.
	Getenv func(string) (string, bool)
	// Metadata is what the functions ec2 and ecs ask: what the machine or the task is told about itself. It has deadlines of its own. Its error may
	// be one of Remedied. Nil means that there is nothing of the kind.
	Metadata func(function, item string) (string, error)
}

// File is a decoded config. Blocks stand in file order; the instances of a for_each follow one another in the order of their keys.
type File struct {
	Agent  Agent
	Blocks []*Block
	// Sources are the files' bytes by name, for diagnostics.
	Sources map[string]*hcl.File
}

// Block is one component instance.
type Block struct {
	Kind, Type, Name string
	Key              string // each.key, "" without for_each
	Address          string // input.mysql.fleet["a"]; input.host for a block without a name
	Common           Common
	Config           any // what BlockType.New gave, decoded
	// Range is the block's header; AttrRange finds an attribute of it.
	Range hcl.Range
	// Fingerprint changes when anything changes that the component or the engine sees of the block: decoded config (secrets
	// included, hashed), common attributes. It doesn't change with comments or layout.
	Fingerprint [32]byte

	attrs map[string]hcl.Range
}

// AttrRange is where an attribute of the block stands, or the block's header when it isn't set.
func (b *Block) AttrRange(name string) hcl.Range {
	if r, ok := b.attrs[name]; ok {
		return r
	}
	return b.Range
}

// Common are the attributes that the engine looks after. Zero means not set.
type Common struct {
	From      []Ref             // consumers
	Where     []*labels.Matcher // consumers; anchored
	Enabled   bool
	Interval  time.Duration
	Timeout   time.Duration
	Labels    labels.Labels // inputs
	Job       string        // metrics inputs
	Instance  string        // metrics inputs
	MaxSeries int           // metrics inputs
}

// Ref is a reference to a component or to all below a prefix: input, input.mysql, input.mysql.fleet, input.mysql.fleet["a"].
type Ref struct {
	Kind, Type, Name, Key string // empty from the first part that was not written
	Range                 hcl.Range
}

// Agent is the agent block. Its comments are the reference page, like those of any config struct.
type Agent struct {
	// Folder for queues and positions. Without it both live in memory only and a restart begins anew.
	DataDir string `hcl:"data_dir,optional"`
	// Address of the admin listener: health, the status page, own metrics, reload. "off" opens none.
	Listen string `hcl:"listen,optional"`
	// How often metrics inputs are collected.
	Interval Duration `hcl:"interval,optional"`
	// How long a collection may take; the interval when not set, at most 10s.
	Timeout Duration `hcl:"timeout,optional"`
	// Labels that pushed outputs add to every series and stream that doesn't have them.
	Labels map[string]string `hcl:"labels,optional"`
	// The host's name, in place of the one that is found.
	Host string `hcl:"host,optional"`
	// Level of the agent's own log: "debug", "info", "warn" or "error".
	LogLevel string `hcl:"log_level,optional"`
	// Format of the agent's own log: "logfmt" or "json".
	LogFormat string `hcl:"log_format,optional"`
	// How long a stop goes on sending what is queued.
	DrainTimeout Duration `hcl:"drain_timeout,optional"`
	// Docker, through which servers are found that run in containers: addresses like "container://NAME:3306".
	Docker AgentDocker `hcl:"docker,block"`
}

// AgentDocker is how the agent uses Docker.
type AgentDocker struct {
	// The Docker engine: "unix:///var/run/docker.sock" or "tcp://host:2375". When not set, DOCKER_HOST counts, and DOCKER_CERT_PATH and
	// DOCKER_TLS_VERIFY as they do for the docker command; else the socket in /var/run.
	Endpoint string `hcl:"endpoint,optional"`
	// Whether an agent that runs in a container may join its own container to the networks of the servers that it collects from, where it shares
	// none with them. It leaves such a network when the last of those servers there stops, and touches no other container. An agent on the
	// host's network doesn't need it. A proxy before the socket has to let POST to /networks/ID/connect and /disconnect pass.
	JoinNetworks bool `hcl:"join_networks,optional"`
}

// Validator is a config struct that checks what its types can't say. It returns one error a fault; an AttrError has its place.
type Validator interface {
	Validate() []error
}

// AttrError is a fault of one attribute. Attr may name an attribute in a nested block: "tls.cert_file".
type AttrError struct {
	Attr string
	Err  error
}

func (e *AttrError) Error() string { return e.Attr + ": " + e.Err.Error() }
func (e *AttrError) Unwrap() error { return e.Err }

// Attr makes an AttrError.
func Attr(name string, err error) error { return &AttrError{Attr: name, Err: err} }
