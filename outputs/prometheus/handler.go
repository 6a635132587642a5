package prometheus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

const (
	sdPath        = "/sd"
	timeoutHeader = "X-Prometheus-Scrape-Timeout-Seconds"
	// reserve is what a scrape keeps of its time to write the page and to carry it over.
	reserve = 500 * time.Millisecond
	// longestWait bounds what a scraper may ask for.
	longestWait = 10 * time.Minute
)

// ServeHTTP answers GET and HEAD for the page, for /sd and for / with links to both.
func (o *output) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		http.Error(w, "this page is only read: GET or HEAD", http.StatusMethodNotAllowed)
		return
	}
	switch r.URL.Path {
	case o.config.Path:
		o.scrape(w, r)
	case sdPath:
		o.discovery(w, r)
	case "/":
		o.landing(w)
	default:
		http.Error(w, fmt.Sprintf("there is nothing here; the metrics are on %s", o.config.Path), http.StatusNotFound)
	}
}

func (o *output) scrape(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	code := o.answer(w, r)
	o.requests.WithLabelValues(strconv.Itoa(code)).Inc()
	if code == http.StatusOK && r.Method == http.MethodGet {
		o.seconds.Observe(time.Since(start).Seconds())
		o.mu.Lock()
		o.last = lastScrape{count: o.last.count + 1, at: start, by: r.RemoteAddr}
		o.mu.Unlock()
	}
}

// answer writes the page and returns the status code.
func (o *output) answer(w http.ResponseWriter, r *http.Request) int {
	all := o.inputs()
	wanted, err := choose(all, r.URL.Query()["input"])
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return http.StatusNotFound
	}
	format, d := negotiate(r.Header)
	w.Header().Set("Content-Type", format)
	w.Header().Set("Vary", "Accept, Accept-Encoding")
	if r.Method == http.MethodHead {
		return http.StatusOK // who only looks whether the page is there needs no collection
	}
	select {
	case o.slots <- struct{}{}:
		defer func() { <-o.slots }()
	default:
		w.Header().Set("Retry-After", "1")
		http.Error(w, fmt.Sprintf("%d scrapes are under way; more are not served at once (max_requests)", cap(o.slots)), http.StatusServiceUnavailable)
		return http.StatusServiceUnavailable
	}
	ctx, cancel := context.WithTimeout(r.Context(), o.wait(r.Header.Get(timeoutHeader)))
	defer cancel()
	asked := o.pull(ctx, wanted, len(wanted) == len(all))
	s, _ := o.sheets.Get().(*sheet)
	if s == nil {
		s = &sheet{plain: make([]byte, 0, pieceSize+pieceSize/8)}
	}
	defer func() {
		if cap(s.plain)+cap(s.packed) <= keptSheet {
			o.sheets.Put(s)
		}
	}()
	body, c, err := o.make(s, chooseCoding(r.Header.Values("Accept-Encoding")), func(buf []byte, pass func([]byte) []byte) {
		o.page.write(buf, asked, len(wanted) == len(all), d, pass)
	})
	if err != nil { // into memory: it can't
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return http.StatusInternalServerError
	}
	// The time limits of the server are for requests; how long the answer may take counts from here.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout)) // not there in tests' recorders
	if err := send(w, body, c); err != nil {
		o.env.Log.Debug("the scraper left before it had the page", "scraper", r.RemoteAddr, "err", err)
	}
	return http.StatusOK
}

// wait is how long a scrape may wait for collections, from what the scraper says of its own patience.
func (o *output) wait(header string) time.Duration {
	seconds, err := strconv.ParseFloat(header, 64)
	if err != nil || !(seconds > 0) || math.IsInf(seconds, 0) {
		return time.Duration(o.config.ScrapeTimeout)
	}
	patience := time.Duration(min(seconds, longestWait.Seconds()) * float64(time.Second))
	return patience - min(reserve, patience/2)
}

// inputs lists what feeds this page, in the order of the addresses, each once.
func (o *output) inputs() []*metrics.Source {
	if o.env.Inputs == nil {
		return o.page.known()
	}
	all := slices.Clone(o.env.Inputs())
	slices.SortFunc(all, func(a, b *metrics.Source) int { return strings.Compare(a.Address, b.Address) })
	return slices.CompactFunc(all, func(a, b *metrics.Source) bool { return a.Address == b.Address })
}

// pull asks the inputs for a fresh cycle and waits for them until ctx ends.
func (o *output) pull(ctx context.Context, wanted []*metrics.Source, whole bool) []input {
	asked := make([]input, len(wanted))
	for i, source := range wanted {
		asked[i] = o.page.last(source)
	}
	if o.env.Pull == nil {
		return asked
	}
	note := func(pulled []component.Pulled) {
		for _, p := range pulled {
			i := slices.IndexFunc(asked, func(a input) bool { return a.source.Address == p.Source.Address })
			if i < 0 {
				continue
			}
			asked[i].up, asked[i].took = p.Done && p.Up, p.Duration
			if !p.Done {
				o.unfinished.Inc()
			}
		}
	}
	if whole {
		note(o.env.Pull(ctx, o.MaxAge(), ""))
		return asked
	}
	results := make([][]component.Pulled, len(wanted))
	var all sync.WaitGroup
	for i, source := range wanted {
		all.Go(func() { results[i] = o.env.Pull(ctx, o.MaxAge(), source.Address) })
	}
	all.Wait()
	for _, pulled := range results {
		note(pulled)
	}
	return asked
}

// choose picks the inputs that ?input= names: an address or the beginning of one up to a dot, with or without "input." before it. A name
// that no input has is an error, which lists those that there are.
func choose(all []*metrics.Source, names []string) ([]*metrics.Source, error) {
	if len(names) == 0 {
		return all, nil
	}
	named := make([]bool, len(all))
	for _, name := range names {
		full := name
		if full != "input" && !strings.HasPrefix(full, "input.") {
			full = "input." + full
		}
		found := false
		for i, source := range all {
			rest, ok := strings.CutPrefix(source.Address, full)
			if ok && (rest == "" || rest[0] == '.' || rest[0] == '[') {
				named[i], found = true, true
			}
		}
		if !found {
			return nil, noSuchInput(name, all)
		}
	}
	var wanted []*metrics.Source
	for i, source := range all {
		if named[i] {
			wanted = append(wanted, source)
		}
	}
	return wanted, nil
}

func noSuchInput(name string, all []*metrics.Source) error {
	var b strings.Builder
	fmt.Fprintf(&b, "no input %q feeds this page; ", name)
	if len(all) == 0 {
		b.WriteString("none does")
	} else {
		b.WriteString("these do:")
		for _, source := range all {
			b.WriteString("\n  " + source.Address)
		}
	}
	return errors.New(b.String())
}

// negotiate picks the format that the scraper likes best of those that this page is written in.
func negotiate(h http.Header) (contentType string, d dialect) {
	accepted := expfmt.NegotiateAccept(h, expfmt.FmtOpenMetrics_1_0_0, expfmt.FmtOpenMetrics_0_0_1, expfmt.FmtText)
	format, _, _ := strings.Cut(string(accepted), "; escaping=")
	if accepted.FormatType() == expfmt.TypeOpenMetrics {
		d |= openMetrics
	}
	escaping := model.EscapeUnderscores
	if accepted.ToEscapingScheme() == model.NoEscaping {
		d |= quotedNames
		escaping = model.AllowUTF8
	}
	return format + "; escaping=" + escaping, d
}

// target is an entry of Prometheus' http_sd format (https://prometheus.io/docs/prometheus/latest/http_sd/).
type target struct {
	Targets []string          `json:"targets"`
	Labels  map[string]string `json:"labels"`
}

// discovery answers with an entry for each input, so that one scrape job gives the series the labels of the exporters that were replaced.
func (o *output) discovery(w http.ResponseWriter, r *http.Request) {
	address := o.config.ExternalAddress
	if address == "" {
		address = r.Host
	}
	targets := []target{} // [] and not null when there is none
	for _, source := range o.inputs() {
		labels := map[string]string{"__param_input": source.Address}
		if source.Job != "" {
			labels["job"] = source.Job
		}
		if source.Instance != "" {
			labels["instance"] = source.Instance
		}
		if o.config.Path != "/metrics" {
			labels["__metrics_path__"] = o.config.Path
		}
		if o.tls {
			labels["__scheme__"] = "https"
		}
		targets = append(targets, target{Targets: []string{address}, Labels: labels})
	}
	body, err := json.MarshalIndent(targets, "", "  ")
	if err != nil { // strings alone: it can't
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(body, '\n')) // a client that left needs no answer
}

// landing is for people who look at the address in a browser.
func (o *output) landing(w http.ResponseWriter) {
	var b strings.Builder
	path := html.EscapeString(o.config.Path)
	fmt.Fprintf(&b, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Hermod</title></head><body>\n<h1>Hermod</h1>\n"+
		"<p><a href=\"%s\">%s</a>: metrics of all inputs, for Prometheus to scrape.<br>\n"+
		"<a href=\"%s\">%s</a>: the same inputs as targets, for http_sd_configs of Prometheus.</p>\n<ul>\n", path, path, sdPath, sdPath)
	for _, source := range o.inputs() {
		fmt.Fprintf(&b, "<li><a href=\"%s?input=%s\">%s</a></li>\n", path, url.QueryEscape(source.Address), html.EscapeString(source.Address))
	}
	b.WriteString("</ul>\n</body></html>\n")
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'")
	_, _ = io.WriteString(w, b.String()) // a client that left needs no answer
}
