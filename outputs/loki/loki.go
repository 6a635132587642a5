// Package loki pushes log records to Loki, or whatever speaks its push API
// (https://grafana.com/docs/loki/latest/reference/loki-http-api/#ingest-logs), as snappy-compressed protobuf.
package loki

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"
	"github.com/golang/snappy"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/hermod-agent/hermod/internal/httpclient"
	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
	"github.com/hermod-agent/hermod/pipeline/delivery"
	"github.com/hermod-agent/hermod/pipeline/dense"
	"github.com/hermod-agent/hermod/pipeline/logs"
	"github.com/hermod-agent/hermod/pipeline/queue"
)

// pushPath is where Loki takes pushes.
const pushPath = "/loki/api/v1/push"

// Definition of output "loki".
var Definition = component.NewOutput("loki", "Pushes log records to Loki.", component.Logs, defaults, open, component.Example(example))

const example = `output "loki" "main" {
  from   = input
  url    = "http://loki:3100/loki/api/v1/push"
  tenant = "team-a" # for a Loki with several tenants

  basic_auth { # when a proxy before Loki asks for it
    username = "hermod"
    password = env("LOKI_PASSWORD", "change-me")
  }

  queue { # on disk, where the agent has a data_dir
    max_size  = "1GiB"
    when_full = "block" # files and containers are read later, and nothing is lost
  }
}
`

// Config is what a user writes in the block.
type Config struct {
	// Address of Loki's push API, like "http://loki:3100/loki/api/v1/push".
	URL config.URL `hcl:"url"`
	// Tenant that the records are stored under (the X-Scope-OrgID header). A stream's own tenant goes before it.
	Tenant string `hcl:"tenant,optional"`
	// A batch is sent when its records have this many bytes before compression, or when batch_wait has passed.
	BatchSize config.Size `hcl:"batch_size,optional"`
	// Longer lines are cut to this many bytes: Loki refuses lines longer than its max_line_size, which is 256KB unless it was changed.
	MaxLineSize config.Size `hcl:"max_line_size,optional"`

	HTTP     httpclient.Config `hcl:",squash"`
	Delivery delivery.Config   `hcl:",squash"`
}

func defaults() Config {
	return Config{BatchSize: 1 << 20, MaxLineSize: 256 << 10, Delivery: delivery.Defaults(queue.Wait, 1)}
}

// Validate checks what the types can't say.
func (c *Config) Validate() []error {
	var errs []error
	if u := c.URL; u.IsSet() {
		switch {
		case u.Scheme != "http" && u.Scheme != "https":
			errs = append(errs, config.Attr("url", fmt.Errorf("%s is not the address of an HTTP server; begin it with http:// or https://", u)))
		case u.Path == "" || u.Path == "/":
			errs = append(errs, config.Attr("url", fmt.Errorf("the path is missing; write %q", u.JoinPath(pushPath).Redacted())))
		}
	}
	if !headerValue(c.Tenant) {
		errs = append(errs, config.Attr("tenant", errors.New("the tenant holds control characters")))
	}
	if c.BatchSize < 16<<10 || c.BatchSize > 16<<20 {
		errs = append(errs, config.Attr("batch_size", fmt.Errorf("%s is not between 16KiB and 16MiB", c.BatchSize)))
	}
	if c.MaxLineSize < 1<<10 || c.MaxLineSize > 16<<20 {
		errs = append(errs, config.Attr("max_line_size", fmt.Errorf("%s is not between 1KiB and 16MiB", c.MaxLineSize)))
	}
	return errs
}

// headerValue says whether s can be sent as a header.
func headerValue(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return false
		}
	}
	return true
}

// output encodes records into the open batch of their shard and tenant.
type output struct {
	env    *component.Env
	cfg    *Config
	client *httpclient.Client
	d      *delivery.Delivery
	cut    prometheus.Counter

	// Guarded by d: used between Begin and End, and in Build.
	streams dense.Cache[logs.Stream, stream]
	raw     []byte // body before compression
	packed  []byte // and after
}

var (
	_ component.LogsConsumer    = (*output)(nil)
	_ component.Flusher         = (*output)(nil)
	_ component.Starter         = (*output)(nil)
	_ component.Runner          = (*output)(nil)
	_ component.Stopper         = (*output)(nil)
	_ component.Remover         = (*output)(nil)
	_ component.TrafficReporter = (*output)(nil)
	_ component.Checker         = (*output)(nil)
	_ delivery.Backend          = (*output)(nil)
	_ delivery.Adviser          = (*output)(nil)
)

func open(env *component.Env, cfg *Config) (*output, error) {
	if err := cfg.Delivery.Check(env); err != nil {
		return nil, err
	}
	client, err := httpclient.New(cfg.URL, cfg.HTTP, httpclient.Options{Name: "loki", UserAgent: "hermod/" + env.Version})
	if err != nil {
		return nil, err
	}
	o := &output{
		env: env, cfg: cfg, client: client,
		cut: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hermod_output_cut_lines_total", Help: "Lines that were cut to max_line_size.",
		}),
	}
	if env.Self != nil {
		_ = env.Self.Register(o.cut) // a fault costs the counter, not the output
	}
	o.d = delivery.New(delivery.Options{
		Env: env, Config: cfg.Delivery, Backend: o, Waits: queue.Policy(cfg.Delivery.Queue.WhenFull) == queue.Wait,
		NewBuilder: func(shard int, tenant string) delivery.Builder { return &builder{out: o, shard: shard, tenant: tenant} },
	})
	return o, nil
}

// streamStays is how long what is known about a stream is kept without a record of it, in milliseconds.
const streamStays = 10 * 60 * 1000

// ConsumeLogs encodes the records into the open batches. It waits for room in the queue.
func (o *output) ConsumeLogs(ctx context.Context, b *logs.Batch) error {
	if len(b.Records) == 0 {
		return nil
	}
	if err := o.d.Begin(ctx); err != nil {
		return err
	}
	defer o.d.End(len(b.Records))
	now := time.Now().UnixMilli()
	o.streams.SweepEvery(now, streamStays, nil)
	most := int(o.cfg.MaxLineSize)
	for i := range b.Records {
		r := &b.Records[i]
		s := o.streams.Get(r.Stream.ID, r.Stream, now)
		if s == nil {
			s = o.know(r.Stream, now)
		}
		if s.batch == nil || s.batch.Gone() {
			s.batch = o.d.Batch(s.shard, s.tenant)
			s.builder = s.batch.Builder().(*builder)
			s.round = 0
		}
		line := r.Line
		if len(line) > most {
			line = cutLine(line, most)
			o.cut.Inc()
		}
		s.builder.add(s, r, line)
		if s.builder.size >= int(o.cfg.BatchSize) {
			o.d.Close(s.batch)
		}
	}
	return nil
}

// know works out what doesn't change about a stream.
func (o *output) know(s *logs.Stream, now int64) *stream {
	tenant := s.Tenant
	if tenant == "" || !headerValue(tenant) {
		tenant = o.cfg.Tenant
	}
	text := render(logs.PushLabels(s, o.env.AgentLabels))
	shard := int(xxhash.Sum64String(text) % uint64(o.cfg.Delivery.Shards))
	return o.streams.Put(s.ID, s, now, stream{labels: text, tenant: tenant, shard: shard})
}

// cutLine cuts a line to at most most bytes, between characters where the line is UTF-8.
func cutLine(line []byte, most int) []byte {
	cut := most
	for cut > most-utf8.UTFMax && !utf8.RuneStart(line[cut]) {
		cut--
	}
	if !utf8.RuneStart(line[cut]) {
		cut = most
	}
	return line[:cut]
}

// Start acquires the queue.
func (o *output) Start(ctx context.Context) error {
	o.client.Warn(o.env.Status)
	return o.d.Start(ctx)
}

// Run sends.
func (o *output) Run(ctx context.Context) error { return o.d.Run(ctx) }

// Stop drains the queue, or hands it to the successor.
func (o *output) Stop(ctx context.Context) error {
	defer o.client.Close()
	return o.d.Stop(ctx)
}

// Removed counts what can't be delivered any more as dropped.
func (o *output) Removed() { o.d.Removed() }

// Flush waits until what was taken is on disk or delivered.
func (o *output) Flush(ctx context.Context) error { return o.d.Flush(ctx) }

// Traffic says what became of what was taken.
func (o *output) Traffic() component.Traffic { return o.d.Traffic() }

// Check pushes an empty request. Loki refuses one of those with its own words since version 3, once it has let the request in.
func (o *output) Check(ctx context.Context, report func(component.Finding)) {
	o.client.Warn(o.env.Status)
	empty := &queue.Block{Protocol: protocol, Tenant: o.cfg.Tenant, Body: snappy.Encode(nil, nil)}
	report(delivery.Try(ctx, o, o.cfg.URL, empty, func(a delivery.Answer) bool {
		return a.Status == http.StatusUnprocessableEntity && strings.Contains(a.Words, "at least one valid stream is required")
	}))
}

// Send implements delivery.Backend.
func (o *output) Send(ctx context.Context, b *queue.Block) delivery.Answer {
	header := http.Header{"Content-Type": {"application/x-protobuf"}}
	if b.Tenant != "" {
		header["X-Scope-Orgid"] = []string{b.Tenant}
	}
	reply, err := o.client.Post(ctx, header, b.Body)
	if err != nil {
		explained, permanent := o.client.Explain(err)
		return delivery.Answer{Err: explained, Misconfigured: permanent}
	}
	a := delivery.Answered(reply.Status, reply.Header, reply.Body, time.Now())
	a.Truncated = reply.Truncated
	a.Misconfigured = httpclient.SpeaksTLS(reply.Status, reply.Body)
	if reply.Status == http.StatusTooManyRequests {
		raw := 0
		if b.Protocol == protocol {
			raw, _ = snappy.DecodedLen(b.Body)
		}
		a.TooLarge = largerThanRate(string(reply.Body), raw)
	}
	return a
}

// Explain implements delivery.Backend.
func (o *output) Explain(a delivery.Answer) error {
	if a.Err != nil {
		return a.Err
	}
	err := o.client.ExplainStatus(a.Status, a.Words, a.Location)
	_, what := component.Remedy(err)
	if remedy := remedy(a); remedy != "" {
		return component.WithRemedy(errors.New(what), remedy)
	}
	return err
}
