// Package ecstest stands in for the task metadata endpoint of ECS.
package ecstest

import (
	"embed"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// Server answers as the endpoint of one container does, from documents that can be changed while it runs.
type Server struct {
	*httptest.Server
	t testing.TB

	mu      sync.Mutex // guards what follows
	answers map[string]func(w http.ResponseWriter, r *http.Request)
	asked   map[string]int
}

// New starts a server with the documents that were recorded on "fargate" or on "ec2".
func New(t testing.TB, recorded string) *Server {
	t.Helper()
	s := &Server{t: t, answers: map[string]func(http.ResponseWriter, *http.Request){}, asked: map[string]int{}}
	s.Set("/task", Document(t, recorded+"_task_metadata.json"))
	s.Set("/task/stats", Document(t, recorded+"_task_stats.json"))
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	return s
}

//go:embed testdata
var documents embed.FS

// Document reads a recorded document.
func Document(t testing.TB, name string) string {
	t.Helper()
	text, err := documents.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Endpoint is what ECS_CONTAINER_METADATA_URI_V4 would be, with the id of a container as on EC2.
func (s *Server) Endpoint() string { return s.URL + "/v4/5d4f1a2b-6c1e-4f0a-9c57-0a2f7f3f8f11" }

// FargateEndpoint is Endpoint with the id of a container as on Fargate, that of the recorded task.
func (s *Server) FargateEndpoint() string {
	return s.URL + "/v4/bae32def0ab64f06818e8862e58f8d6d-4159844948"
}

// Set gives the answer for "/task" or "/task/stats".
func (s *Server) Set(path, text string) {
	s.Handle(path, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(text)) // who hangs up doesn't want it
	})
}

// Handle lets a function answer.
func (s *Server) Handle(path string, answer func(w http.ResponseWriter, r *http.Request)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers[path] = answer
}

// Asked is how often the path was asked for.
func (s *Server) Asked(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[path]
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	if below, ok := strings.CutPrefix(path, "/v4/"); ok {
		_, rest, _ := strings.Cut(below, "/")
		path = "/" + rest
	}
	s.mu.Lock()
	answer := s.answers[path]
	s.asked[path]++
	s.mu.Unlock()
	if r.Method != http.MethodGet || answer == nil {
		http.NotFound(w, r)
		return
	}
	answer(w, r)
}
