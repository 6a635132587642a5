//go:build integration

package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/golang/snappy"
	"github.com/grafana/loki/pkg/push"
	"github.com/prometheus/prometheus/prompb"
)

// maxBody caps what one request may inflate to.
const maxBody = 256 << 20

// counts is what a sink has seen.
type counts struct {
	Lines     int       `json:"lines"`    // records, repeats included
	Distinct  int       `json:"distinct"` // numbers at the beginning of lines, each once
	LineBytes int64     `json:"line_bytes"`
	Samples   int       `json:"samples"`
	WireBytes int64     `json:"wire_bytes"`
	Requests  int       `json:"requests"`
	First     time.Time `json:"first"`
	Last      time.Time `json:"last"`
}

type sink struct {
	mu     sync.Mutex // guards what follows
	counts counts
	seen   []uint64 // a bit for each line number
}

// serveSink prints its address, serves until ctx ends, and starts from zero at POST /reset.
func serveSink(ctx context.Context, address string) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	s := &sink{}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /loki/api/v1/push", s.take(s.logs))
	mux.HandleFunc("POST /api/v1/write", s.take(s.samples))
	mux.HandleFunc("POST /reset", func(http.ResponseWriter, *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.counts, s.seen = counts{}, nil
	})
	mux.HandleFunc("GET /counts", func(w http.ResponseWriter, _ *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		_ = json.NewEncoder(w).Encode(s.counts) // the reader is gone
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	fmt.Fprintln(os.Stdout, listener.Addr())
	done := make(chan struct{})
	go func() {
		defer close(done)
		<-ctx.Done()
		_ = server.Close() // the process ends
	}()
	err = server.Serve(listener)
	<-done
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

func (s *sink) take(decode func(contentType string, body []byte) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		wire := len(body)
		switch r.Header.Get("Content-Encoding") {
		case "gzip":
			z, err := gzip.NewReader(bytes.NewReader(body))
			if err == nil {
				body, err = io.ReadAll(io.LimitReader(z, maxBody))
			}
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
		case "", "snappy":
			if r.Header.Get("Content-Type") == "application/json" {
				break
			}
			if n, err := snappy.DecodedLen(body); err != nil || n > maxBody {
				http.Error(w, "not snappy, or too large", http.StatusBadRequest)
				return
			}
			if body, err = snappy.Decode(nil, body); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if err := decode(r.Header.Get("Content-Type"), body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		now := time.Now()
		if s.counts.Requests == 0 {
			s.counts.First = now
		}
		s.counts.Last = now
		s.counts.Requests++
		s.counts.WireBytes += int64(wire)
		w.WriteHeader(http.StatusNoContent)
	}
}

func (s *sink) logs(contentType string, body []byte) error {
	if contentType == "application/json" {
		var request struct {
			Streams []struct {
				Values [][]string `json:"values"`
			} `json:"streams"`
		}
		if err := json.Unmarshal(body, &request); err != nil {
			return err
		}
		for _, stream := range request.Streams {
			for _, v := range stream.Values {
				if len(v) > 1 {
					s.line(v[1])
				}
			}
		}
		return nil
	}
	var request push.PushRequest
	if err := request.Unmarshal(body); err != nil {
		return err
	}
	for i := range request.Streams {
		for j := range request.Streams[i].Entries {
			s.line(request.Streams[i].Entries[j].Line)
		}
	}
	return nil
}

// line counts a line; its number stands at its beginning, or, in what a peer sends unparsed, somewhere behind "log":".
func (s *sink) line(line string) {
	s.counts.Lines++
	s.counts.LineBytes += int64(len(line))
	if len(line) < 9 {
		return
	}
	n, err := strconv.Atoi(line[:9])
	if err != nil || n < 0 || n > 1<<30 {
		return
	}
	for len(s.seen) <= n/64 {
		s.seen = append(s.seen, make([]uint64, 1<<12)...)
	}
	if bit := uint64(1) << (n % 64); s.seen[n/64]&bit == 0 {
		s.seen[n/64] |= bit
		s.counts.Distinct++
	}
}

func (s *sink) samples(_ string, body []byte) error {
	var request prompb.WriteRequest
	if err := request.Unmarshal(body); err != nil {
		return err
	}
	for i := range request.Timeseries {
		s.counts.Samples += len(request.Timeseries[i].Samples)
	}
	return nil
}
