// Package files follows log files and gives their lines.
package files

import (
	"container/list"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nxadm/tail/ratelimiter"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/hermod-agent/hermod/internal/tail"
	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/logs"
)

// Definition of input "files".
var Definition = component.LogsInput("files", "Lines of log files, through rotation and restarts.", defaults, open, component.Example(example))

const example = `input "files" "nginx" {
  paths   = ["/var/log/nginx/*.log", "/srv/**/log/*.log"]
  exclude = ["*-debug.log"]
  labels  = { job = "nginx" }

  # A stack trace is one record.
  multiline {
    indented = true
  }

  # Lines over the limit wait in their files.
  rate_limit {
    lines = 50000
  }
}
`

// Input follows the files that its patterns match.
type Input struct {
	env      *component.Env
	cfg      *Config
	patterns []pattern
	start    tail.Start
	recent   time.Duration
	ran      bool          // Run was called before: what exists now isn't what existed when the input first started
	slack    time.Duration // unnoticed; a test's is shorter

	settleLimit, copyWait time.Duration // the constants of these names, but in tests

	mu      sync.Mutex         // guards sources and what the fields of a source say it guards
	sources map[string]*source // by path
}

// source is one path that is followed.
type source struct {
	path   string
	log    *tail.Log
	stream *logs.Stream
	queued bool // in the queue, whose lock guards it
	held   int  // descriptors; this and place belong to descriptors
	place  *list.Element

	err  error     // why it can't be read; guarded by Input.mu, written by the goroutine of Run
	last time.Time // when its lines were last taken; guarded by Input.mu
}

var _ component.Runner = (*Input)(nil)

func open(env *component.Env, cfg *Config) (*Input, error) {
	in := &Input{env: env, cfg: cfg, sources: map[string]*source{}, slack: unnoticed, settleLimit: settleLimit, copyWait: copyWait}
	var err error
	if in.start, in.recent, err = parseStart(cfg.Start); err != nil {
		return nil, err
	}
	for _, text := range cfg.Paths {
		in.patterns = append(in.patterns, newPatterns(text)...)
	}
	return in, nil
}

// Run follows the files until ctx ends. It returns an error only when the consumer refuses a batch for good; what it had not taken is read again
// by the next Run.
func (in *Input) Run(ctx context.Context) error {
	r := &run{
		in: in, env: in.env, queue: newQueue(), rescan: make(chan struct{}, 1), folders: map[string]*tail.Subscription{},
		registry: tail.NewRegistry(in.env.Positions), noted: map[string]bool{},
		copies:      map[string]time.Time{},
		descriptors: newDescriptors(in.cfg.MaxOpenFiles),
		unfinished:  newUnfinished(in.cfg.Multiline, int(in.cfg.MaxLineSize)),
		buf:         make([]byte, tail.BufferSize(int(in.cfg.MaxLineSize))), maxRecords: maxRecords,
	}
	if limit := in.cfg.RateLimit; limit != nil {
		r.bucket = ratelimiter.NewLeakyBucket(uint16(limit.burst()), time.Second/time.Duration(limit.Lines)) //nolint:gosec // validated
		r.maxRecords = min(r.maxRecords, limit.burst(), limit.Lines)
	}
	r.watcher = tail.NewWatcher(tail.WatcherOptions{Poll: time.Duration(in.cfg.PollInterval), Log: in.env.Log})
	in.env.Status.Detail(in.details)
	defer in.close()
	defer r.watcher.Close()
	err := r.loop(ctx)
	if ctx.Err() != nil {
		return nil //nolint:nilerr // an end that was asked for
	}
	return err
}

// close lets go of all files.
func (in *Input) close() {
	in.mu.Lock()
	defer in.mu.Unlock()
	for path, s := range in.sources {
		s.log.Close()
		delete(in.sources, path)
	}
}

// maxRows is how many files are shown one by one.
const maxRows = 200

// details gives a row for each file; those that can't be read come first.
func (in *Input) details() []component.Detail {
	in.mu.Lock()
	type row struct {
		log  *tail.Log
		path string
		err  error
		last time.Time
	}
	all := make([]row, 0, len(in.sources))
	for path, s := range in.sources {
		all = append(all, row{s.log, path, s.err, s.last})
	}
	in.mu.Unlock()
	slices.SortFunc(all, func(a, b row) int {
		if (a.err != nil) != (b.err != nil) {
			if a.err != nil {
				return -1
			}
			return 1
		}
		return strings.Compare(a.path, b.path)
	})
	rows := make([]component.Detail, 0, min(len(all), maxRows+1))
	var rest component.Detail
	for i, x := range all {
		stat := x.log.Stat()
		d := component.Detail{Name: x.path, State: "following", Via: "file", Unread: stat.Unread, Last: x.last}
		switch {
		case x.err != nil:
			_, what := component.Remedy(x.err)
			d.State, d.Note = "failing", what
		case stat.Shared:
			d.State, d.Note = "shared", "the same file is read under another path"
		case !stat.Exists && stat.Files > 0:
			d.State, d.Note = "ending", "renamed or deleted; what is left of it is read"
		case !stat.Exists:
			d.State = "waiting"
		case stat.Files > 1:
			d.Note = "what was rotated away is read too"
		}
		if i < maxRows {
			rows = append(rows, d)
			continue
		}
		rest.Unread += d.Unread
		if d.Last.After(rest.Last) {
			rest.Last = d.Last
		}
	}
	if n := len(all) - maxRows; n > 0 {
		rest.Name, rest.State, rest.Via = fmt.Sprintf("and %d more files", n), "following", "file"
		rows = append(rows, rest)
	}
	return rows
}

// newStream makes the stream of a file.
func (in *Input) newStream(path string) *logs.Stream {
	l := labels.EmptyLabels()
	if in.cfg.FilenameLabel != "" {
		l = labels.FromStrings(in.cfg.FilenameLabel, strings.ToValidUTF8(path, "\uFFFD"))
	}
	return in.env.Streams.New(l, "")
}
