package httpclient

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
)

func TestGetReadsIntoTheSameMemoryAndNoFurtherThanItsLimit(t *testing.T) {
	text := strings.Repeat("0123456789", 500)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, text) }))
	t.Cleanup(s.Close)
	c := client(t, s.URL, Config{})
	first, err := c.Get(t.Context(), nil, 5000)
	if err != nil || string(first.Body) != text || first.Truncated || first.Status != 200 {
		t.Fatalf("%v, %d bytes", err, len(first.Body))
	}
	again, err := c.Get(t.Context(), first.Body, 5000)
	if err != nil || &again.Body[0] != &first.Body[0] {
		t.Errorf("%v, or other memory was taken", err)
	}
	cut, err := c.Get(t.Context(), nil, 4999)
	if err != nil || len(cut.Body) != 4999 || !cut.Truncated {
		t.Errorf("%v, %d bytes", err, len(cut.Body))
	}
}

func TestGetShowsNoSecretThatTheServerRepeats(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, "no: "+r.Header.Get("Authorization"))
	}))
	t.Cleanup(s.Close)
	c := client(t, s.URL, Config{BearerToken: config.NewSecret(canary)})
	reply, err := c.Get(t.Context(), nil, 1000)
	if err != nil || strings.Contains(string(reply.Body), canary) {
		t.Errorf("%v: %s", err, reply.Body)
	}
}

func TestWhatTheDialerSaysStandsAsItIs(t *testing.T) {
	said := component.WithRemedy(errors.New("the container db doesn't run"), "docker start db")
	c, err := New(parse(t, "http://db/x"), Config{}, Options{Name: "test", Dial: func(context.Context, string, string) (net.Conn, error) { return nil, said }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	_, err = c.Get(t.Context(), nil, 10)
	if err, _ = c.Explain(err); err == nil || err.Error() != said.Error() {
		t.Errorf("%v", err)
	}
}
