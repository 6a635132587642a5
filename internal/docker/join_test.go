package docker

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// Where the user lets the agent join networks, requests for its own container pass, byte for byte, and nothing else.
func TestOnlyTheOwnContainerCanBeJoined(t *testing.T) {
	own, other, network := strings.Repeat("a1", 32), strings.Repeat("b2", 32), strings.Repeat("c3", 32)
	connect := "/v1.41/networks/" + network + "/connect"
	disconnect := "/v1.41/networks/" + network + "/disconnect"
	type request struct{ own, method, url, body string }
	passes := func(q request) bool {
		u, err := url.Parse("http://docker" + q.url)
		if err != nil {
			t.Fatal(err)
		}
		r := (&http.Request{Method: q.method, URL: u, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(q.body))}).WithContext(t.Context())
		var sent string
		resp, err := (&guard{next: sees{&sent}, own: q.own}).RoundTrip(r)
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		if sent != q.body {
			t.Errorf("%q was sent for %q", sent, q.body)
		}
		return true
	}
	for _, q := range []request{
		{own, "POST", connect, string(connectBody(own, "shop"))}, {own, "POST", connect, string(connectBody(own, "bridge"))}, {own, "POST", disconnect, string(disconnectBody(own))},
	} {
		if !passes(q) {
			t.Errorf("%s with %s was refused", q.url, q.body)
		}
		q.own = ""
		if passes(q) {
			t.Error("it was passed on without permission")
		}
	}
	for _, q := range []request{
		{own, "POST", connect, string(connectBody(other, "shop"))},
		{own, "POST", disconnect, string(disconnectBody(other))},
		{own, "POST", connect, string(disconnectBody(own))},
		{own, "POST", disconnect, `{"Container":"` + own + `","Force":true}`},
		{own, "POST", connect, string(connectBody(own, "shop")) + " "},
		{own, "POST", connect, `{"Container":"` + own + `","EndpointConfig":{"IPAMConfig":{"IPv4Address":"172.18.0.1"}}}`},
		{own, "POST", connect, ""},
		{own, "POST", "/networks/" + network + "/connect", string(connectBody(own, "shop"))},
		{own, "POST", "/v1.41/networks/shop/connect", string(connectBody(own, "shop"))},
		{own, "POST", "/v1.41/networks/" + network, string(connectBody(own, "shop"))},
		{own, "POST", "/v1.41/networks/create", string(connectBody(own, "shop"))},
		{own, "POST", connect + "?x=1", string(connectBody(own, "shop"))},
		{own, "POST", "/v1.41/containers/" + own + "/kill", string(connectBody(own, "shop"))},
		{own, "PUT", connect, string(connectBody(own, "shop"))},
		{own, "DELETE", "/v1.41/networks/" + network, ""},
		{"hermod", "POST", connect, string(connectBody("hermod", "shop"))},
	} {
		if passes(q) {
			t.Errorf("%s %s with %s was passed on", q.method, q.url, q.body)
		}
	}
	// Reading is as it was.
	r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://docker/v1.41/images/json", http.NoBody)
	if resp, err := (&guard{next: neverAsked{t}, own: own}).RoundTrip(r); err == nil {
		_ = resp.Body.Close()
		t.Error("another path was passed on")
	}
}

// sees keeps the body that was sent.
type sees struct{ body *string }

func (s sees) RoundTrip(r *http.Request) (*http.Response, error) {
	b, err := io.ReadAll(r.Body)
	*s.body = string(b)
	return &http.Response{StatusCode: 200, Body: http.NoBody, Request: r}, err
}

// An event may come after the container was started again and its network joined for that.
func TestAnEndThatIsToldLateDoesNotLeaveTheNetworkOfALaterStart(t *testing.T) {
	begin := time.Now()
	at := func(seconds int) time.Time { return begin.Add(time.Duration(seconds) * time.Second) }
	network := Network{ID: "n", Name: "shop"}
	for name, c := range map[string]struct {
		told Container
		left bool
	}{
		"told to stop":                 {Container{ID: "1", Running: true, Started: at(3), Stopping: at(4)}, true},
		"its end":                      {Container{ID: "1", Started: at(3), Finished: at(4)}, true},
		"gone":                         {Container{ID: "1", Gone: true, Started: at(3), Finished: at(4)}, true},
		"told to stop before, late":    {Container{ID: "1", Running: true, Started: at(1), Stopping: at(2)}, false},
		"its end before, late":         {Container{ID: "1", Started: at(1), Finished: at(2)}, false},
		"the end of another container": {Container{ID: "2", Started: at(3), Finished: at(4)}, false},
	} {
		j := &Joiner{networks: map[string]*membership{}, ended: map[string]end{}}
		if !j.use("user", network, &Container{ID: "1", Running: true, Started: at(3)}) {
			t.Fatal("not taken")
		}
		j.note(&c.told)
		if left := len(j.networks["n"].users) == 0; left != c.left {
			t.Errorf("%s: left is %v", name, left)
		}
	}
}
