// Package prometheus is the scrape page: it keeps the last cycle of each input and renders them all when Prometheus asks, after having
// asked the inputs for a fresh cycle (text format 0.0.4 and OpenMetrics 1.0, https://prometheus.io/docs/instrumenting/exposition_formats/).
package prometheus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	promclient "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/exporter-toolkit/web"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// Definition of output "prometheus".
var Definition = component.NewOutput("prometheus", "A page for Prometheus to scrape.", component.Metrics, defaults, open,
	component.Example(`output "prometheus" "scrape" {
  from   = input
  listen = "0.0.0.0:9100" # where node_exporter was
}
`))

// Config is what a user writes in the block.
type Config struct {
	// Address to listen on: host:port, or unix:/path. Only this machine reaches the default; "0.0.0.0:9100" listens on all addresses.
	Listen string `hcl:"listen,optional"`
	// Path of the page.
	Path string `hcl:"path,optional"`
	// How old the last collection of an input may be. An older one is run again when the page is asked for.
	MaxAge config.Duration `hcl:"max_age,optional"`
	// How long the page waits for collections when the scraper doesn't say how long it waits itself. Prometheus always says.
	ScrapeTimeout config.Duration `hcl:"scrape_timeout,optional"`
	// File with certificates (TLS), users (basic auth) and headers, in the format of all Prometheus exporters:
	// https://prometheus.io/docs/prometheus/latest/configuration/https/. Changes of it are noticed without a reload.
	WebConfig string `hcl:"web_config,optional"`
	// Scrapes at once; one more is answered with 503.
	MaxRequests int `hcl:"max_requests,optional"`
	// host:port under which Prometheus reaches this page, for /sd. When not set, it is the one that Prometheus asked /sd at.
	ExternalAddress string `hcl:"external_address,optional"`
}

func defaults() Config {
	return Config{
		Listen: "127.0.0.1:9100", Path: "/metrics", MaxAge: config.Duration(time.Second),
		ScrapeTimeout: config.Duration(5 * time.Second), MaxRequests: 40,
	}
}

var (
	_ component.Listens = (*Config)(nil)
	_ config.Validator  = (*Config)(nil)
	_ component.Puller  = (*output)(nil)
	_ component.Starter = (*output)(nil)
	_ component.Runner  = (*output)(nil)
	_ component.Stopper = (*output)(nil)
	_ http.Handler      = (*output)(nil)
)

// ListenAddresses tells the engine what this block listens on.
func (c *Config) ListenAddresses() []string { return []string{c.Listen} }

// Validate checks what the types can't say.
func (c *Config) Validate() []error {
	var faults []error
	fault := func(attr, format string, args ...any) {
		faults = append(faults, config.Attr(attr, fmt.Errorf(format, args...)))
	}
	if err := checkAddress(c.Listen); err != nil {
		fault("listen", "%w", err)
	}
	if c.ExternalAddress != "" && strings.ContainsAny(c.ExternalAddress, "/ ") {
		fault("external_address", "%q is not host:port", c.ExternalAddress)
	}
	switch {
	case !strings.HasPrefix(c.Path, "/") || strings.ContainsAny(c.Path, "?# "):
		fault("path", `%q is not a path; write it like "/metrics"`, c.Path)
	case c.Path == "/" || c.Path == sdPath:
		fault("path", `%q is taken by another page; write "/metrics"`, c.Path)
	}
	if c.MaxRequests < 1 {
		fault("max_requests", "at least 1 scrape must be allowed")
	}
	if c.ScrapeTimeout <= 0 {
		fault("scrape_timeout", "it must be longer than 0")
	}
	return faults
}

func checkAddress(address string) error {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		if path == "" {
			return errors.New("unix: needs the path of a socket behind it")
		}
		return nil
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		if n, err := strconv.Atoi(address); err == nil && n >= 0 && n <= 65535 {
			return fmt.Errorf(`%q is not host:port; write "0.0.0.0:%d" for all addresses or "127.0.0.1:%d" for this machine alone`, address, n, n)
		}
		return fmt.Errorf(`%q is not host:port; write it like "127.0.0.1:9100"`, address)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return fmt.Errorf("the port %q is not between 0 and 65535", port)
	}
	return nil
}

type output struct {
	env    *component.Env
	config Config
	tls    bool // what web_config says at the time of open
	auth   bool

	page  *page
	slots chan struct{} // one for each scrape under way
	// What is reused from scrape to scrape: *sheet, *gzip.Writer and *zstd.Encoder.
	sheets, gzips, zstds sync.Pool

	requests   *promclient.CounterVec
	unfinished promclient.Counter
	seconds    promclient.Summary

	stopped atomic.Bool
	mu      sync.Mutex   // guards what follows
	l       net.Listener // opened by Start, not yet taken by Run
	address net.Addr     // of the listener, for the status page
	last    lastScrape
}

type lastScrape struct {
	count uint64
	at    time.Time
	by    string
}

func open(env *component.Env, c *Config) (*output, error) {
	o := &output{env: env, config: *c, slots: make(chan struct{}, max(1, c.MaxRequests))}
	var err error
	if o.tls, o.auth, err = inspectWebConfig(c.WebConfig); err != nil {
		return nil, config.Attr("web_config", err)
	}
	o.requests = promclient.NewCounterVec(promclient.CounterOpts{
		Name: "hermod_scrape_page_requests_total", Help: "Requests for the scrape page, by the answer's status code.",
	}, []string{"code"})
	o.unfinished = promclient.NewCounter(promclient.CounterOpts{
		Name: "hermod_scrape_page_unfinished_total", Help: "Inputs that were shown from their last collection because a new one wasn't done in time.",
	})
	o.seconds = promclient.NewSummary(promclient.SummaryOpts{
		Name: "hermod_scrape_page_duration_seconds", Help: "How long scrapes took, collections included.",
	})
	conflicts := promclient.NewCounter(promclient.CounterOpts{
		Name: "hermod_scrape_page_family_conflicts_total", Help: "Families that two inputs describe in different ways, counted each time that the set of series changes.",
	})
	if env.Self != nil {
		for _, m := range []promclient.Collector{o.requests, o.unfinished, o.seconds, conflicts} {
			if err := env.Self.Register(m); err != nil {
				return nil, fmt.Errorf("register own metrics: %w", err)
			}
		}
	}
	o.page = newPage(env, conflicts)
	env.Status.Detail(o.details)
	return o, nil
}

// MaxAge is how old a collection may be to be shown without being run again.
func (o *output) MaxAge() time.Duration { return time.Duration(o.config.MaxAge) }

// ConsumeMetrics keeps a copy of the batch until the next one of its source.
func (o *output) ConsumeMetrics(_ context.Context, b *metrics.Batch) error {
	if o.stopped.Load() {
		return fmt.Errorf("scrape page: %w", component.ErrStopped)
	}
	o.page.keep(b)
	return nil
}

// Start opens the listener.
func (o *output) Start(context.Context) error {
	l, err := o.listen()
	if err != nil {
		return err
	}
	o.mu.Lock()
	o.l, o.address = l, l.Addr()
	o.mu.Unlock()
	o.env.Status.Note("exposed", o.exposed())
	return nil
}

func (o *output) listen() (net.Listener, error) {
	l, err := o.env.Listen(o.config.Listen)
	if err != nil {
		return nil, explainListen(o.config.Listen, err)
	}
	return l, nil
}

const (
	// headerTimeout bounds how long a client may take to say what it wants, writeTimeout how long to take the answer.
	headerTimeout = 10 * time.Second
	writeTimeout  = 30 * time.Second
	// idleTimeout is longer than the usual scrape intervals, so that a scraper keeps its connection.
	idleTimeout = 5 * time.Minute
	// shutdownTimeout is for scrapes under way when the page stops. They no longer wait for collections then.
	shutdownTimeout = 3 * time.Second
)

// Run serves the page until ctx ends.
func (o *output) Run(ctx context.Context) error {
	o.mu.Lock()
	l := o.l
	o.l = nil
	o.mu.Unlock()
	if l == nil { // a second run, after a fault
		var err error
		if l, err = o.listen(); err != nil {
			return err
		}
	}
	defer func() { _ = l.Close() }() // closed by the server already, unless it didn't come to serving
	server := &http.Server{
		Handler:           o,
		ReadHeaderTimeout: headerTimeout, ReadTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: 64 << 10,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog:    slog.NewLogLogger(o.env.Log.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() {
		served <- web.ServeMultiple([]net.Listener{l}, server, &web.FlagConfig{WebConfigFile: &o.config.WebConfig}, o.env.Log)
	}()
	select {
	case err := <-served:
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("serve the scrape page on %s: %w", o.config.Listen, err)
	case <-ctx.Done():
	}
	shutdown, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := server.Shutdown(shutdown); err != nil {
		_ = server.Close() // what didn't end by itself is cut off
	}
	if err := <-served; err != nil && !errors.Is(err, http.ErrServerClosed) {
		o.env.Log.Debug("the server ended with the stop", "err", err)
	}
	return nil
}

// Stop releases the listener when Run didn't take it.
func (o *output) Stop(context.Context) error {
	o.stopped.Store(true)
	o.mu.Lock()
	l := o.l
	o.l = nil
	o.mu.Unlock()
	if l == nil {
		return nil
	}
	if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("close the listener on %s: %w", o.config.Listen, err)
	}
	return nil
}

// details is the row below this output on the status page: where it listens, and who came last.
func (o *output) details() []component.Detail {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.address == nil {
		return nil
	}
	url, everywhere := o.pageURL()
	d := component.Detail{Name: url, State: "listening", Last: o.last.at}
	if everywhere {
		d.State = "listening on all addresses"
	}
	if o.last.count > 0 {
		d.State = "scraped"
		d.Note = fmt.Sprintf("%d scrapes, the last by %s", o.last.count, o.last.by)
	}
	return []component.Detail{d}
}

// pageURL is for people: one that a browser on this machine opens. everywhere says that it is not the only one. mu is held.
func (o *output) pageURL() (url string, everywhere bool) {
	address := o.address.String()
	if o.address.Network() == "unix" {
		return "unix:" + address + " " + o.config.Path, false
	}
	if a, ok := o.address.(*net.TCPAddr); ok && a.IP.IsUnspecified() {
		address, everywhere = net.JoinHostPort("127.0.0.1", strconv.Itoa(a.Port)), true
	}
	return o.scheme() + "://" + address + o.config.Path, everywhere
}

func (o *output) scheme() string {
	if o.tls {
		return "https"
	}
	return "http"
}
