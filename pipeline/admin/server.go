// Package admin is the HTTP server through which an agent is looked at: the status page, health, its own metrics, the graph as JSON,
// profiles, and the reload of its config.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/hermod-agent/hermod/pipeline/graph"
)

// Agent is what the server shows and what it can be asked to do.
type Agent interface {
	Status() graph.Status
	// Reload takes the config anew. The text is for whoever asked: warnings, or with an error the rendered diagnostics.
	Reload(ctx context.Context) (report string, err error)
}

// Options of a Server.
type Options struct {
	Agent Agent
	// Gatherer gives the agent's own metrics.
	Gatherer prometheus.Gatherer
	Log      *slog.Logger
	// Address is the listen address as the config writes it; a reload may be asked for under that name.
	Address string
	// Contained says that the built-in config listens on all addresses of a container, where publishing the port is the user's act.
	Contained bool
}

// Server answers on one listener.
type Server struct {
	options Options
	trends  trends
	policy  string // of the page's content
	handler http.Handler
}

// New returns a server that doesn't listen yet.
func New(options Options) *Server {
	s := &Server{options: options, policy: policy()}
	s.handler = s.routes()
	return s
}

// Limits of a request. Profiles set their own end.
const (
	answerTime    = 30 * time.Second
	headerTime    = 5 * time.Second
	idleTime      = time.Minute
	maxHeader     = 16 << 10
	maxBody       = 4 << 10
	stopTime      = time.Second
	metricsAtOnce = 4
)

// Serve answers on l until ctx ends, then gives running requests a moment and closes l.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	if !loopback(l.Addr()) && !s.options.Contained {
		s.options.Log.Warn("the status page, the agent's own metrics and the reload are open to the network without TLS or a password",
			"listen", l.Addr().String(), "remedy", `set agent.listen to 127.0.0.1:12345, or put a proxy that asks for a password in front`)
	}
	server := &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: headerTime,
		ReadTimeout:       answerTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(s.options.Log.Handler(), slog.LevelDebug),
	}
	watched := make(chan struct{})
	watch, stop := context.WithCancel(ctx)
	go func() {
		defer close(watched)
		s.watch(watch)
	}()
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		<-watch.Done()
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
		defer cancel()
		if server.Shutdown(last) != nil {
			_ = server.Close() // it had its time
		}
	}()
	err := server.Serve(l)
	stop()
	<-closed
	<-watched
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("admin listener %s: %w", l.Addr(), err)
}

// watch looks at the counters regularly, so that the first reader of the page is told how they move.
func (s *Server) watch(ctx context.Context) {
	tick := time.NewTicker(trendEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.report()
		}
	}
}

func (s *Server) report() Report { return s.trends.report(s.options.Agent.Status()) }

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

func (s *Server) routes() http.Handler {
	own := promhttp.HandlerFor(s.options.Gatherer, promhttp.HandlerOpts{
		ErrorLog:            slog.NewLogLogger(s.options.Log.Handler(), slog.LevelWarn),
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: metricsAtOnce,
		EnableOpenMetrics:   true,
	})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.page)
	mux.HandleFunc("GET /-/healthy", func(w http.ResponseWriter, _ *http.Request) { plain(w, http.StatusOK, "healthy\n") })
	mux.HandleFunc("GET /-/ready", s.ready)
	mux.HandleFunc("POST /-/reload", s.reload)
	mux.Handle("GET /metrics", own)
	mux.HandleFunc("GET /api/graph", s.graph)
	for path, h := range map[string]http.HandlerFunc{
		"/debug/pprof/": pprof.Index, "/debug/pprof/cmdline": pprof.Cmdline, "/debug/pprof/profile": pprof.Profile,
		"/debug/pprof/symbol": pprof.Symbol, "/debug/pprof/trace": pprof.Trace,
	} {
		mux.HandleFunc("GET "+path, s.profile(h))
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		if !strings.HasPrefix(r.URL.Path, "/debug/pprof/") {
			// Where the connection can't have a deadline (a test's recorder), it needs none.
			_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerTime))
		}
		mux.ServeHTTP(w, r)
	})
}

func (s *Server) page(w http.ResponseWriter, r *http.Request) {
	report := s.report()
	h := w.Header()
	h.Set("Content-Security-Policy", s.policy)
	h.Set("Content-Type", "text/html; charset=utf-8")
	if seconds, err := strconv.Atoi(r.URL.Query().Get("refresh")); err == nil && seconds >= 2 && seconds <= 3600 {
		h.Set("Refresh", strconv.Itoa(seconds))
	}
	send(w, page(&report))
}

func (s *Server) graph(w http.ResponseWriter, _ *http.Request) {
	body, err := json.MarshalIndent(s.report(), "", "  ")
	if err != nil {
		plain(w, http.StatusInternalServerError, err.Error()+"\n")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	send(w, append(body, '\n'))
}

func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	status := s.options.Agent.Status()
	if status.Ready {
		plain(w, http.StatusOK, "ready\n")
		return
	}
	var b strings.Builder
	b.WriteString("not ready\n")
	for _, why := range status.NotReady {
		b.WriteString(clean(why, maxText) + "\n")
	}
	plain(w, http.StatusServiceUnavailable, b.String())
}

func (s *Server) reload(w http.ResponseWriter, r *http.Request) {
	if err := s.trusted(r); err != nil {
		plain(w, http.StatusForbidden, err.Error()+"\n")
		return
	}
	// A reload that was begun is finished, whether or not somebody still waits for the answer.
	report, err := s.options.Agent.Reload(context.WithoutCancel(r.Context()))
	if err != nil {
		if report == "" {
			report = err.Error() + "\n"
		}
		plain(w, http.StatusBadRequest, "the config was refused; the agent runs on with the one before it\n\n"+report)
		return
	}
	plain(w, http.StatusOK, "reloaded\n"+report)
}

// profile lets only clients on this machine through, and only where the listener can't be reached from another one: a profile shows the
// command line and stalls the agent a little.
func (s *Server) profile(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		if local == nil || !loopback(local) || !loopbackHost(hostOf(r.RemoteAddr)) || s.open() {
			plain(w, http.StatusForbidden, "profiles are given to clients on this machine only, and only while agent.listen is a loopback address\n")
			return
		}
		if err := s.trusted(r); err != nil {
			plain(w, http.StatusForbidden, err.Error()+"\n")
			return
		}
		// The index is a page of its own with a little style in it.
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
		w.Header().Del("X-Content-Type-Options")
		next(w, r)
	}
}

// open says whether the configured address is one that other machines reach.
func (s *Server) open() bool { return !loopbackHost(hostOf(s.options.Address)) }

func plain(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	send(w, []byte(text))
}

// send writes the body. A client that went away is no fault of ours.
func send(w http.ResponseWriter, body []byte) { _, _ = w.Write(body) }
