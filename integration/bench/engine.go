//go:build integration

package main

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"time"
)

// fakeEngine answers as a Docker engine with one running container whose json-file log is file, so that the docker case measures the
// agent and no engine. It returns the endpoint.
func fakeEngine(ctx context.Context, dir, file string) (endpoint string, stop func(), err error) {
	socket := filepath.Join(dir, "engine.sock")
	listener, err := new(net.ListenConfig).Listen(ctx, "unix", socket)
	if err != nil {
		return "", nil, err
	}
	id := strings.Repeat("0b", 32)
	created := time.Now().Add(-time.Hour).UTC()
	reply := func(v any) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(v) // the reader is gone
		}
	}
	routes := map[string]http.HandlerFunc{
		"/_ping":   func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("OK")) },
		"/version": reply(map[string]any{"Version": "20.10.24", "ApiVersion": "1.41", "MinAPIVersion": "1.12"}),
		"/info":    reply(map[string]any{"Name": "bench", "ServerVersion": "20.10.24"}),
		"/containers/json": reply([]map[string]any{{
			"Id": id, "Names": []string{"/bench"}, "Image": "bench", "Created": created.Unix(), "State": "running", "Labels": map[string]string{},
		}}),
		"/containers/" + id + "/json": reply(map[string]any{
			"Id": id, "Name": "/bench", "Created": created.Format(time.RFC3339Nano), "LogPath": file,
			"State":      map[string]any{"Status": "running", "Running": true, "Pid": 1, "StartedAt": created.Format(time.RFC3339Nano)},
			"Config":     map[string]any{"Image": "bench", "Labels": map[string]string{}, "Tty": false},
			"HostConfig": map[string]any{"LogConfig": map[string]any{"Type": "json-file"}, "NetworkMode": "bridge"},
		}),
		"/events": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			if f, ok := w.(http.Flusher); ok {
				f.Flush()
			}
			<-r.Context().Done()
		},
	}
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Api-Version", "1.41")
		path := r.URL.Path
		if rest, ok := strings.CutPrefix(path, "/v1."); ok {
			if _, after, found := strings.Cut(rest, "/"); found {
				path = "/" + after
			}
		}
		if h := routes[path]; h != nil {
			h(w, r)
			return
		}
		http.NotFound(w, r)
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener) // ends with stop
	}()
	return "unix://" + socket, func() {
		_ = server.Close()
		<-done
	}, nil
}
