// Package remotewrite pushes metrics by Prometheus remote write 1.0 and 2.0
// (https://prometheus.io/docs/specs/prw/remote_write_spec/, https://prometheus.io/docs/specs/prw/remote_write_spec_2_0/) to Prometheus, Mimir, Thanos, VictoriaMetrics and whatever else takes it.
package remotewrite

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/hermod-agent/hermod/internal/httpclient"
	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
	"github.com/hermod-agent/hermod/pipeline/delivery"
	"github.com/hermod-agent/hermod/pipeline/dense"
	"github.com/hermod-agent/hermod/pipeline/metrics"
	"github.com/hermod-agent/hermod/pipeline/queue"
)

// Definition of output "remote_write".
var Definition = component.NewOutput("remote_write", "Pushes metrics by Prometheus remote write.", component.Metrics, defaults, open,
	component.Pushes(), component.Example(example))

const example = `output "remote_write" "mimir" {
  from   = input
  url    = "https://mimir.example/api/v1/push" # Prometheus: http://prometheus:9090/api/v1/write
  tenant = "team-a"                            # for a Mimir with several tenants

  basic_auth {
    username = "hermod"
    password = env("MIMIR_PASSWORD", "change-me")
  }

  queue { # on disk, where the agent has a data_dir
    max_size  = "1GiB"
    when_full = "drop_oldest" # after a long outage the newest samples are kept
  }
}
`

// Config is what a user writes in the block.
type Config struct {
	// Address that takes remote write, like "http://prometheus:9090/api/v1/write" or "https://mimir.example/api/v1/push".
	URL config.URL `hcl:"url"`
	// Tenant that the samples are stored under (the X-Scope-OrgID header).
	Tenant string `hcl:"tenant,optional"`
	// How many samples a request holds at most. One whose labels are long holds fewer, those of 256 KiB.
	MaxSamples int `hcl:"max_samples_per_send,optional"`
	// How often the type, help and unit of each metric family are sent; "0" never sends them.
	MetadataInterval config.Duration `hcl:"metadata_interval,optional"`
	// Version of remote write: "1.0", which every server takes, or "2.0", which carries type, help and unit with each series, and created times,
	// and whose answers count what was stored. Compressed it is about as large. Where the server doesn't take 2.0, nothing is lost: what it refused
	// is sent as 1.0, and so is everything after it. In 1.0, what a name may not hold (all but letters, digits and underscores) is sent as an underscore.
	Protocol string `hcl:"protocol,optional"`
	// How requests are compressed: "snappy", which is what remote write 1.0 says, or "zstd", which makes them a good deal smaller and which
	// VictoriaMetrics takes. Where the server doesn't, nothing is lost: what it refused is sent as snappy, and so is everything after it.
	Compression string `hcl:"compression,optional"`

	HTTP     httpclient.Config `hcl:",squash"`
	Delivery delivery.Config   `hcl:",squash"`
}

func defaults() Config {
	return Config{
		MaxSamples: 2000, Protocol: version1, MetadataInterval: config.Duration(time.Minute), Compression: snappyName, Delivery: delivery.Defaults(queue.DropOldest, 1),
	}
}

// Validate checks what the types can't say.
func (c *Config) Validate() []error {
	var errs []error
	if u := c.URL; u.IsSet() {
		switch {
		case u.Scheme != "http" && u.Scheme != "https":
			errs = append(errs, config.Attr("url", fmt.Errorf("%s is not the address of an HTTP server; begin it with http:// or https://", u)))
		case u.Path == "" || u.Path == "/":
			errs = append(errs, config.Attr("url", errors.New("the path is missing: Prometheus takes remote write at /api/v1/write, Mimir at /api/v1/push")))
		}
	}
	if strings.ContainsFunc(c.Tenant, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		errs = append(errs, config.Attr("tenant", errors.New("the tenant holds control characters")))
	}
	if c.MaxSamples < 1 || c.MaxSamples > 100_000 {
		errs = append(errs, config.Attr("max_samples_per_send", fmt.Errorf("%d is not between 1 and 100000", c.MaxSamples)))
	}
	if d := time.Duration(c.MetadataInterval); d != 0 && d < time.Second {
		errs = append(errs, config.Attr("metadata_interval", fmt.Errorf("%s is shorter than a second", d)))
	}
	if c.Compression != snappyName && c.Compression != zstdName {
		errs = append(errs, config.Attr("compression", fmt.Errorf(`%q is not known; write "snappy" or "zstd"`, c.Compression)))
	}
	switch {
	case c.Protocol != version1 && c.Protocol != version2:
		errs = append(errs, config.Attr("protocol", fmt.Errorf("%q is not known; write %q or %q", c.Protocol, version1, version2)))
	case c.Protocol == version2 && c.Compression == zstdName:
		errs = append(errs, config.Attr("compression", fmt.Errorf("remote write %s is compressed by snappy alone", version2)))
	}
	return errs
}

// output encodes samples into the open batch of their shard.
type output struct {
	env    *component.Env
	cfg    *Config
	client *httpclient.Client
	d      *delivery.Delivery
	packer packer
	// firstAlone says that the server doesn't take 2.0, secondTaken that it does.
	firstAlone, secondTaken atomic.Bool

	// Guarded by d: used between Begin and End, and in Build.
	known    dense.Cache[metrics.Series, series]
	commons  map[commonKey]*common
	families map[string]*family
	tidied   int64 // when commons and families were, in milliseconds
	batches  []*delivery.Batch
	packed   []byte // body after compression
	scratch  []byte // the labels of a series
	// Of 2.0.
	symbols             []*symbols // by shard
	part, message, refs []byte     // buffers
	exemplars           map[*metrics.Series][]*metrics.Exemplar
}

var (
	_ component.MetricsConsumer = (*output)(nil)
	_ component.Flusher         = (*output)(nil)
	_ component.Starter         = (*output)(nil)
	_ component.Runner          = (*output)(nil)
	_ component.Stopper         = (*output)(nil)
	_ component.Remover         = (*output)(nil)
	_ component.TrafficReporter = (*output)(nil)
	_ component.Checker         = (*output)(nil)
	_ delivery.Backend          = (*output)(nil)
	_ delivery.Adviser          = (*output)(nil)
	_ delivery.Transcoder       = (*output)(nil)
)

func open(env *component.Env, cfg *Config) (*output, error) {
	if err := cfg.Delivery.Check(env); err != nil {
		return nil, err
	}
	client, err := httpclient.New(cfg.URL, cfg.HTTP, httpclient.Options{Name: "remote_write", UserAgent: "hermod/" + env.Version})
	if err != nil {
		return nil, err
	}
	o := &output{env: env, cfg: cfg, client: client, families: map[string]*family{}, commons: map[commonKey]*common{}, batches: make([]*delivery.Batch, cfg.Delivery.Shards)}
	o.packer.use(cfg.Compression)
	if cfg.Protocol == version2 {
		for range cfg.Delivery.Shards {
			o.symbols = append(o.symbols, newSymbols())
		}
		o.exemplars = map[*metrics.Series][]*metrics.Exemplar{}
	}
	o.d = delivery.New(delivery.Options{
		Env: env, Config: cfg.Delivery, Backend: o,
		NewBuilder: func(shard int, tenant string) delivery.Builder { return &builder{out: o, shard: shard, tenant: tenant} },
	})
	return o, nil
}

// seriesStays is how long what is known about a series or a family is kept without a sample of it, in milliseconds.
const seriesStays = 10 * 60 * 1000

// ConsumeMetrics encodes the samples into the open batches. It never waits.
func (o *output) ConsumeMetrics(ctx context.Context, b *metrics.Batch) error {
	items := len(b.Samples) + len(b.Histograms) + len(b.Exemplars)
	if items == 0 {
		return nil
	}
	if err := o.d.Begin(ctx); err != nil {
		return err
	}
	defer o.d.End(items)
	now := time.Now().UnixMilli()
	o.tidy(now)
	second := o.second()
	for shard := range o.batches {
		o.batches[shard] = o.d.Batch(shard, o.cfg.Tenant)
		if x := o.batches[shard].Builder().(*builder); x.items == 0 {
			x.second = second
		} else if x.second != second {
			o.d.Close(o.batches[shard])
			x.second = second
		}
	}
	if second {
		o.consume2(b, now)
		return nil
	}
	for i := range b.Samples {
		x := &b.Samples[i]
		s, batch := o.find(x.Series, b.Source, now)
		batch.sample(s, x)
		o.close(int(s.shard), batch)
	}
	for i := range b.Histograms {
		x := &b.Histograms[i]
		s, batch := o.find(x.Series, b.Source, now)
		batch.histogram(s, x)
		o.close(int(s.shard), batch)
	}
	for i := range b.Exemplars {
		x := &b.Exemplars[i]
		s, batch := o.find(x.Series, b.Source, now)
		batch.exemplar(s, x)
		o.close(int(s.shard), batch)
	}
	return nil
}

// consume2 encodes a batch for 2.0, where exemplars stand with the sample of their series.
func (o *output) consume2(b *metrics.Batch, now int64) {
	for i := range b.Exemplars {
		x := &b.Exemplars[i]
		o.exemplars[x.Series] = append(o.exemplars[x.Series], x)
	}
	// take gives the exemplars to the first sample of their series.
	take := func(s *metrics.Series) (out []*metrics.Exemplar) {
		if len(o.exemplars) > 0 {
			out = o.exemplars[s]
			delete(o.exemplars, s)
		}
		return out
	}
	for i := range b.Samples {
		x := &b.Samples[i]
		s, batch := o.find(x.Series, b.Source, now)
		batch.sample2(s, x, take(x.Series))
		o.close(int(s.shard), batch)
	}
	for i := range b.Histograms {
		x := &b.Histograms[i]
		s, batch := o.find(x.Series, b.Source, now)
		batch.histogram2(s, x, take(x.Series))
		o.close(int(s.shard), batch)
	}
	for _, left := range o.exemplars {
		o.env.Losses.Add("exemplar_without_sample", len(left)) // 2.0 has no place for them
	}
	clear(o.exemplars)
}

// find gives what is known about a series and the builder it goes to, which gets the family's metadata when it is time for that.
func (o *output) find(x *metrics.Series, src *metrics.Source, now int64) (*series, *builder) {
	s := o.known.Get(x.ID, x, now)
	if s == nil || s.common.source != src {
		s = o.know(x, src, now)
	}
	b := o.batches[s.shard].Builder().(*builder)
	if f := s.family; f != nil && f.due <= now && !b.second {
		b.raw = append(b.raw, f.encoded...)
		f.due = now + time.Duration(o.cfg.MetadataInterval).Milliseconds()
	}
	return s, b
}

// maxBody is from how many bytes on, before compression, a batch is full though it has not so many samples as it may. Bodies larger than that save
// nothing, neither by compression nor in requests that would matter, and there is memory for two of them as long as the agent runs.
const maxBody = 256 << 10

// close closes a batch that is full.
func (o *output) close(shard int, b *builder) {
	if b.items >= o.cfg.MaxSamples || b.Size() >= maxBody {
		o.d.Close(o.batches[shard])
	}
}

// know works out what doesn't change about a series.
func (o *output) know(x *metrics.Series, src *metrics.Source, now int64) *series {
	s := o.labelled(x, src)
	if o.symbols != nil {
		if before := o.known.Get(x.ID, x, now); before != nil { // from another source
			o.forget(x, before)
		}
		if s.more == nil {
			s.more = new(more)
		}
		s.more.symbols = o.symbols[s.shard].holdLabels(metrics.PushLabels(x, src, o.env.AgentLabels), x.Desc)
		if x.Desc != nil {
			s.more.kind = x.Desc.Kind
		}
	}
	if d := x.Desc; d != nil && d.Name != "" && o.cfg.MetadataInterval > 0 {
		s.family = o.families[d.Name]
		if s.family == nil {
			s.family = &family{encoded: appendMetadata(nil, d)}
			o.families[d.Name] = s.family
		}
	}
	return o.known.Put(x.ID, x, now, s)
}

// labelled works out how the labels of a series are written, and to which shard it goes by them.
func (o *output) labelled(x *metrics.Series, src *metrics.Source) series {
	key := commonKey{x.Common(), src}
	s := series{common: o.commons[key]}
	if s.common == nil {
		s.common = newCommon(key, o.env.AgentLabels)
		o.commons[key] = s.common
	}
	if s.common.fits(x) {
		o.scratch = s.appendLabels(o.scratch[:0], x)
	} else {
		o.scratch = appendLabels(o.scratch[:0], plainNames(metrics.PushLabels(x, src, o.env.AgentLabels)))
		s.more = &more{labels: string(o.scratch)}
	}
	s.size = uint32(len(o.scratch))
	s.shard = shardOf(o.scratch, o.cfg.Delivery.Shards)
	return s
}

// forget lets go of what a series held.
func (o *output) forget(_ *metrics.Series, s *series) {
	if s.more != nil && s.more.symbols != nil {
		o.symbols[s.shard].release(s.more.symbols)
	}
}

// tidy forgets what has not been seen for long.
func (o *output) tidy(now int64) {
	o.known.SweepEvery(now, seriesStays, o.forget)
	if now-o.tidied < seriesStays && now >= o.tidied {
		return
	}
	o.tidied = now
	for _, c := range o.commons {
		c.used = false
	}
	o.known.All(func(_ *metrics.Series, s *series) bool {
		s.common.used = true
		return true
	})
	for key, c := range o.commons {
		if !c.used {
			delete(o.commons, key)
		}
	}
	for name, f := range o.families {
		if f.due < now-seriesStays {
			delete(o.families, name)
		}
	}
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

// Check pushes an empty request.
func (o *output) Check(ctx context.Context, report func(component.Finding)) {
	o.client.Warn(o.env.Status)
	empty := &queue.Block{Protocol: protocol, Tenant: o.cfg.Tenant, Body: snappy.Encode(nil, nil)}
	report(delivery.Try(ctx, o, o.cfg.URL, empty, nil))
}

// Send implements delivery.Backend.
func (o *output) Send(ctx context.Context, b *queue.Block) delivery.Answer {
	sent, err := o.inForm(b)
	if err != nil {
		o.env.Log.Error("a body that has to be compressed in another way can't be read", "err", err, "items", b.Items)
		sent = b
	}
	header := http.Header{
		"Content-Type":                      {"application/x-protobuf"},
		"Content-Encoding":                  {encodingOf(sent)},
		"X-Prometheus-Remote-Write-Version": {"0.1.0"},
	}
	if sent.Protocol == protocol2 {
		header["Content-Type"] = []string{"application/x-protobuf;proto=io.prometheus.write.v2.Request"}
		header["X-Prometheus-Remote-Write-Version"] = []string{"2.0.0"}
	}
	if b.Tenant != "" {
		header["X-Scope-Orgid"] = []string{b.Tenant}
	}
	reply, err := o.client.Post(ctx, header, sent.Body)
	if err != nil {
		explained, permanent := o.client.Explain(err)
		return delivery.Answer{Err: explained, Misconfigured: permanent}
	}
	a := delivery.Answered(reply.Status, reply.Header, reply.Body, time.Now())
	a.Truncated = reply.Truncated
	limited(&a, b.Items)
	a.Misconfigured = httpclient.SpeaksTLS(reply.Status, reply.Body)
	o.learn(sent, &a)
	o.learnVersion(sent, &a, reply.Header)
	return a
}

// Explain implements delivery.Backend.
func (o *output) Explain(a delivery.Answer) error {
	if a.Err != nil {
		return a.Err
	}
	err := o.client.ExplainStatus(a.Status, a.Words, a.Location)
	_, what := component.Remedy(err)
	switch {
	case a.Status == http.StatusNotFound && strings.Contains(a.Words, "remote write receiver"):
		return component.WithRemedy(errors.New(what), "start that Prometheus with --web.enable-remote-write-receiver")
	case a.Status == http.StatusNotFound || a.Status == http.StatusMethodNotAllowed:
		return component.WithRemedy(errors.New(what),
			"check the path of the URL: Prometheus takes remote write at /api/v1/write (started with --web.enable-remote-write-receiver), Mimir at /api/v1/push")
	case a.Status == http.StatusUnauthorized && strings.Contains(a.Words, "no org id"):
		return component.WithRemedy(errors.New(what), "this server has several tenants: set tenant")
	}
	return err
}

// refusals are the kinds of what servers refuse for good. perSample says that it is about single samples: Prometheus then stores
// nothing of the whole body, Mimir the rest without saying how many were refused.
func refusals() []struct {
	words, name string
	perSample   bool
} {
	return []struct {
		words, name string
		perSample   bool
	}{
		{"err-mimir-max-series-per-user", "series_limit", false},
		{"per-user series limit", "series_limit", false},
		{"err-mimir-max-series-per-metric", "series_limit", false},
		{"too far in the future", "too_far_in_future", true},
		{"too-far-in-future", "too_far_in_future", true},
		{"out of bounds", "out_of_bounds", true},
		{"duplicate sample", "duplicate_timestamp", true},
		{"duplicate-timestamp", "duplicate_timestamp", true},
		{"same timestamp, but a different value", "duplicate_timestamp", true},
		{"too old", "too_old", true},
		{"too-old", "too_old", true},
		{"out of order", "out_of_order", true},
		{"out-of-order", "out_of_order", true},
		{"max-label-names-per-series", "too_many_labels", true},
		{"label-value-too-long", "label_too_long", true},
		{"label-name-too-long", "label_too_long", true},
		{"invalid label", "invalid_labels", true},
		{"label-invalid", "invalid_labels", true},
		{"metric-name-invalid", "invalid_labels", true},
		{"missing-metric-name", "invalid_labels", true},
	}
}

// Refusal implements delivery.Backend. Where single samples are to blame, halves of the body are sent until they are found: what was stored
// already is the newest of its series, and taken once more without a change.
func (o *output) Refusal(b *queue.Block, a delivery.Answer) delivery.Refusal {
	words := strings.ToLower(string(a.Body))
	if a.Counted { // by a server that speaks 2.0: what it didn't store is refused
		reason := "other"
		for _, r := range refusals() {
			if strings.Contains(words, r.words) {
				reason = r.name
				break
			}
		}
		return delivery.Refusal{Counts: []delivery.Count{{Reason: reason, Items: b.Items - a.Stored}}}
	}
	for _, r := range refusals() {
		if strings.Contains(words, r.words) {
			return delivery.Refusal{Counts: []delivery.Count{{Reason: r.name, Items: b.Items}}, NothingStored: r.perSample}
		}
	}
	return delivery.Refusal{Counts: []delivery.Count{{Reason: "other", Items: b.Items}}}
}

// Advice implements delivery.Adviser. The limits that it names are Mimir's.
func (o *output) Advice(reason string) string {
	switch reason {
	case "series_limit":
		return "collect fewer series, or raise max_global_series_per_user or max_global_series_per_metric there"
	case "too_far_in_future":
		return "set this machine's clock, or raise creation_grace_period there"
	case "out_of_bounds", "too_old", "out_of_order":
		return "see whether somebody else writes the same series and give each agent labels of its own (labels in the agent block); " +
			"out_of_order_time_window there lets late samples in"
	case "duplicate_timestamp":
		return "somebody else writes the same series: give each agent labels of its own (labels in the agent block)"
	case "too_many_labels":
		return "take labels away with a relabel processor, or raise max_label_names_per_series there"
	case "label_too_long":
		return "shorten the label with a relabel processor, or raise max_length_label_value there"
	case "invalid_labels":
		return "rename the metric or the label with a relabel processor"
	}
	return ""
}

// sanitize makes a label value fit for protobuf, whose text is UTF-8.
func sanitize(l labels.Label) labels.Label {
	return labels.Label{Name: strings.ToValidUTF8(l.Name, "\uFFFD"), Value: strings.ToValidUTF8(l.Value, "\uFFFD")}
}
