package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/hermod-agent/hermod/pipeline/component"
)

// Where the admin listener is looked for, and where the built-in config puts it.
const (
	defaultListen = "127.0.0.1:12345"
	listenVar     = "HERMOD_LISTEN"
)

// adminAddress is the address of a running agent's admin listener: the flag, else HERMOD_LISTEN, else the default. What listens on all
// addresses is asked on loopback.
func (a *app) adminAddress(flag string) (string, error) {
	address := flag
	if address == "" {
		address, _ = a.getenv(listenVar)
	}
	if address == "" {
		address = defaultListen
	}
	address = strings.TrimSuffix(strings.TrimPrefix(address, "http://"), "/")
	host, port, err := net.SplitHostPort(address)
	if err != nil || port == "" {
		return "", usage("%q is not an address: write host:port, as agent.listen does", address)
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
		if ip.Is6() {
			host = "::1"
		}
	}
	return net.JoinHostPort(host, port), nil
}

// ask gets a path of a running agent.
func ask(ctx context.Context, address, path string, limit int64, timeout time.Duration) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	url := "http://" + address + path
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	// A proxy has no business between the agent and its own command.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return nil, noAnswer(url, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, limit))
	if err != nil {
		return nil, noAnswer(url, err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, component.WithRemedy(fmt.Errorf("%s answers %s", url, response.Status), "see whether another program listens there; --address names the agent's")
	}
	return body, nil
}

func noAnswer(url string, err error) error {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return component.WithRemedy(fmt.Errorf("no agent answers at %s: connection refused", url),
			"see whether it runs; --address or "+listenVar+" names its agent.listen where that isn't "+defaultListen)
	case os.IsTimeout(err):
		return fmt.Errorf("no answer from %s in time: %w", url, err)
	}
	return fmt.Errorf("no agent answers: %w", err)
}
