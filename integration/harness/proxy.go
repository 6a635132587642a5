//go:build integration

package harness

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"
)

// words are those of the first few refusals of a real backend.
type words struct {
	mu   sync.Mutex // guards what follows
	kept []string
}

// Refusals are the backend's words of the first few bodies that it didn't take.
func (w *words) Refusals() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.kept...)
}

func (w *words) note(p *passed) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p.status/100 != 2 && p.status != 0 && len(w.kept) < 10 {
		w.kept = append(w.kept, string(p.words[:min(len(p.words), 1000)]))
	}
}

// forward hands requests on to a real backend and counts those that it took: it forgets a repeat. Its answer is the one that the agent gets.
func forward(target string, count func(r *http.Request, body []byte) error, w *words) func(r *http.Request, body []byte) error {
	return func(r *http.Request, body []byte) error {
		// What has come whole is passed on and counted whole, though the agent may be killed meanwhile.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), time.Minute)
		defer cancel()
		onward, err := http.NewRequestWithContext(ctx, r.Method, "http://"+target+r.URL.RequestURI(), bytes.NewReader(body))
		if err != nil {
			return err
		}
		onward.Header = r.Header.Clone()
		response, err := http.DefaultTransport.RoundTrip(onward)
		if err != nil {
			return &passed{}
		}
		defer response.Body.Close()
		answer, err := io.ReadAll(response.Body)
		if err != nil {
			return &passed{}
		}
		if response.StatusCode/100 == 2 {
			if err := count(r, body); err != nil {
				return err
			}
		}
		p := &passed{response.StatusCode, response.Header, answer}
		w.note(p)
		return p
	}
}

// Proxy stands between the agent and a real Loki, counts what Loki took with a 2xx, and can misbehave and be away like any backend here.
type Proxy struct {
	*Loki
	words
}

// NewProxy starts one that lives as long as the test.
func NewProxy(t testing.TB, target *RealLoki) *Proxy {
	t.Helper()
	p := &Proxy{}
	p.Loki = newLoki(t, func(l *Loki) func(r *http.Request, body []byte) error {
		return forward(target.Address(), l.push, &p.words)
	})
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the proxy of %s saw answers %v, refusals %.300q, faults %.300q", t.Name(), p.Answers(), p.Refusals(), p.Faults())
		}
	})
	return p
}

// SamplesProxy is a Proxy of samples, before a real Prometheus.
type SamplesProxy struct {
	*RemoteWrite
	words
}

// NewSamplesProxy starts one that lives as long as the test.
func NewSamplesProxy(t testing.TB, target *Receiver) *SamplesProxy {
	t.Helper()
	p := &SamplesProxy{}
	p.RemoteWrite = newRemoteWrite(t, func(w *RemoteWrite) func(r *http.Request, body []byte) error {
		return forward(target.Address(), w.write, &p.words)
	})
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the proxy of %s saw answers %v, refusals %.300q, faults %.300q", t.Name(), p.Answers(), p.Refusals(), p.Faults())
		}
	})
	return p
}
