//go:build integration

package harness

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"
)

// Answer is how a backend answers. The zero Answer takes everything.
type Answer struct {
	// Status refuses every request with it.
	Status int
	// RetryAfter goes with a refusal.
	RetryAfter time.Duration
	// Body goes with a refusal.
	Body string
	// Hang reads the request, stores nothing and never answers.
	Hang bool
	// Delay goes before every answer.
	Delay time.Duration
	// Some refuses a share of the requests, each with one of these, and takes the others. The share is between 0 and 1.
	Some  []int
	Share float64
	// Location goes with a Status that redirects.
	Location string
	// Limit refuses larger bodies with 413.
	Limit int
	// Torn stores the request and cuts the connection off amid the answer.
	Torn bool
}

// Seen is a request that came.
type Seen struct {
	At     time.Time
	Status int // 0 when it got no answer
}

// passed is the answer of whoever a take handed the request on to.
type passed struct {
	status int
	header http.Header
	words  []byte
}

func (p *passed) Error() string { return fmt.Sprintf("%d %.300s", p.status, p.words) }

// backend is an HTTP server on a port of its own that can misbehave and be away for a time.
type backend struct {
	t       testing.TB
	address string
	take    func(r *http.Request, body []byte) error

	mu       sync.Mutex // guards what follows
	answer   Answer
	changed  chan struct{} // closed when answer changes
	server   *http.Server
	served   chan struct{} // closed when server's Serve has returned
	statuses map[int]int   // answers given, by status; 0 is none
	faults   []string
	largest  int
	busy     int
	atOnce   int // the most requests in flight at a time
	seen     []Seen
	bodies   map[[sha256.Size]byte]int // how often each body was taken
	resent   int                       // bodies that were taken before
	secure   *tls.Certificate          // what it shows; nil without TLS
}

// errNoStreams is what Loki 3 says to a request that holds nothing: it stores nothing, and nothing is wrong with it.
var errNoStreams = errors.New("error at least one valid stream is required for ingestion")

func newBackend(t testing.TB, take func(r *http.Request, body []byte) error) *backend {
	t.Helper()
	b := &backend{t: t, take: take, changed: make(chan struct{}), statuses: map[int]int{}, bodies: map[[sha256.Size]byte]int{}}
	b.listen(FreeAddress(t))
	t.Cleanup(b.Gone)
	return b
}

func (b *backend) listen(address string) {
	b.t.Helper()
	var l net.Listener
	Eventually(b.t, 10*time.Second, "the backend listens on "+address, func() (bool, string) {
		var err error
		l, err = net.Listen("tcp", address)
		return err == nil, fmt.Sprint(err)
	})
	server := &http.Server{Handler: b, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)} // handshakes that fail are what a test is about
	served := make(chan struct{})
	b.mu.Lock()
	if b.secure != nil {
		l = tls.NewListener(l, &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			b.mu.Lock()
			defer b.mu.Unlock()
			return b.secure, nil
		}})
	}
	b.address, b.server, b.served = l.Addr().String(), server, served
	b.mu.Unlock()
	go func() {
		defer close(served)
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			b.t.Errorf("the backend on %s: %v", address, err)
		}
	}()
}

// Address is host:port.
func (b *backend) Address() string { return b.address }

// Answer changes how requests are answered from now on; those that hang are cut off.
func (b *backend) Answer(a Answer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answer = a
	close(b.changed)
	b.changed = make(chan struct{})
}

// Gone closes the port: connections are refused until Back. What is in flight is answered first, so that nothing is stored without
// the agent's knowing it.
func (b *backend) Gone() {
	b.mu.Lock()
	server, served := b.server, b.served
	b.server = nil
	b.mu.Unlock()
	if server == nil {
		return
	}
	b.Answer(b.current()) // what hangs is cut off
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if server.Shutdown(ctx) != nil {
		server.Close()
	}
	<-served
}

// Back opens the port again.
func (b *backend) Back() { b.listen(b.address) }

// BackAt opens the same port on another address.
func (b *backend) BackAt(host string) { b.listen(net.JoinHostPort(host, port(b.address))) }

// Secure goes over to TLS, or to another certificate. Connections are cut off.
func (b *backend) Secure(certificate *tls.Certificate) {
	b.Gone()
	b.mu.Lock()
	b.secure = certificate
	b.mu.Unlock()
	b.Back()
}

// base is the URL without a path.
func (b *backend) base() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.secure != nil {
		return "https://" + b.address
	}
	return "http://" + b.address
}

// Seen are the requests that came, in the order of their answers.
func (b *backend) Seen() []Seen {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]Seen(nil), b.seen...)
}

// Resent is how many bodies were taken that had been taken before, byte for byte: what the agent could not know to be delivered.
func (b *backend) Resent() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.resent
}

func (b *backend) current() Answer {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.answer
}

// Answers is how often each status was given.
func (b *backend) Answers() map[int]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make(map[int]int, len(b.statuses))
	for k, v := range b.statuses {
		out[k] = v
	}
	return out
}

// Faults are requests that no real backend would take.
func (b *backend) Faults() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.faults...)
}

// ServeHTTP implements http.Handler.
func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	answer, changed := b.answer, b.changed
	b.busy++
	b.atOnce = max(b.atOnce, b.busy)
	b.mu.Unlock()
	status, came := 0, time.Now()
	defer func() {
		b.mu.Lock()
		b.busy--
		b.statuses[status]++
		b.seen = append(b.seen, Seen{came, status})
		b.mu.Unlock()
	}()
	body, err := io.ReadAll(io.LimitReader(r.Body, 64<<20))
	if err != nil {
		panic(http.ErrAbortHandler) // the agent is gone, or was killed
	}
	pause := answer.Delay
	if answer.Hang {
		pause = time.Hour
	}
	if pause > 0 {
		timer := time.NewTimer(pause)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
			panic(http.ErrAbortHandler)
		case <-changed:
			if answer.Hang {
				panic(http.ErrAbortHandler)
			}
		}
	}
	if len(answer.Some) > 0 && rand.Float64() < answer.Share {
		answer.Status = answer.Some[rand.IntN(len(answer.Some))]
	}
	if answer.Limit > 0 && len(body) > answer.Limit {
		answer.Status = http.StatusRequestEntityTooLarge
	}
	if answer.Status != 0 && answer.Status/100 != 2 {
		status = answer.Status
		if answer.Location != "" {
			w.Header().Set("Location", answer.Location)
		}
		if answer.RetryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(answer.RetryAfter.Seconds())))
		}
		w.WriteHeader(status)
		io.WriteString(w, answer.Body)
		return
	}
	if r.Context().Err() != nil {
		panic(http.ErrAbortHandler) // whoever has given up sends it again
	}
	err = b.take(r, body)
	var onward *passed
	if errors.As(err, &onward) && onward.status/100 != 2 {
		if status = onward.status; status == 0 {
			panic(http.ErrAbortHandler) // whoever it was handed on to is gone, and so is this connection
		}
		onward.write(w)
		return
	}
	if errors.Is(err, errNoStreams) {
		status = http.StatusUnprocessableEntity
		http.Error(w, err.Error(), status)
		return
	}
	if err != nil && onward == nil {
		b.mu.Lock()
		b.faults = append(b.faults, err.Error())
		b.mu.Unlock()
		status = http.StatusBadRequest
		http.Error(w, err.Error(), status)
		return
	}
	b.mu.Lock()
	b.largest = max(b.largest, len(body))
	sum := sha256.Sum256(body)
	if b.bodies[sum]++; b.bodies[sum] > 1 {
		b.resent++
	}
	b.mu.Unlock()
	if answer.Torn {
		// Not even the status is whole.
		if c, _, err := w.(http.Hijacker).Hijack(); err == nil {
			io.WriteString(c, "HTTP/1.1 20")
			c.Close()
		}
		return
	}
	status = http.StatusNoContent
	if onward != nil {
		status = onward.status
		onward.write(w)
		return
	}
	w.WriteHeader(status)
}

func (p *passed) write(w http.ResponseWriter) {
	for name, values := range p.header {
		w.Header()[name] = values
	}
	w.WriteHeader(p.status)
	w.Write(p.words)
}
