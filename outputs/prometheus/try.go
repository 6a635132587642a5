package prometheus

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/hermod-agent/hermod/pipeline/component"
)

var _ component.Checker = (*output)(nil)

// Check opens the listener and closes it again. That a page of ours is served there already is worth a note: check runs beside an agent.
func (o *output) Check(ctx context.Context, report func(component.Finding)) {
	f := component.Finding{What: "listen on " + o.config.Listen}
	l, err := o.listen()
	switch {
	case err == nil:
		f.Detail, f.Err = "free", l.Close()
		o.env.Status.Note("exposed", o.exposed())
	case errors.Is(err, syscall.EADDRINUSE) && o.servedByUs(ctx):
		f.Note, f.Err = true, fmt.Errorf("an agent serves its page on %s already", o.config.Listen)
	default:
		f.Err = err
	}
	report(f)
}

// servedByUs says whether what answers at the page's address is a scrape page of this program: it has a list of its inputs beside it.
func (o *output) servedByUs(ctx context.Context) bool {
	if o.tls || o.auth {
		return false // who asks has no password
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	network, address := "tcp", o.config.Listen
	if path, is := strings.CutPrefix(address, "unix:"); is {
		network, address = "unix", path
	} else if host, port, err := net.SplitHostPort(address); err == nil {
		if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
			address = net.JoinHostPort("127.0.0.1", port)
		}
	}
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://page"+sdPath, http.NoBody)
	if err != nil {
		return false
	}
	resp, err := transport.RoundTrip(r)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	return resp.StatusCode == http.StatusOK && strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json")
}
