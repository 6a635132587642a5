package admin

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// trusted says whether a request comes from somebody who meant it. A page that a browser on this machine has open can send requests here
// too: under its own origin (which the Origin header then tells), or under a name of its own that it made resolve to this machine (which
// the Host header tells). Command line clients send no Origin and name the address that they were given.
func (s *Server) trusted(r *http.Request) error {
	host := hostOf(r.Host)
	if !s.knownHost(host, r) {
		return fmt.Errorf("host %q is not a name of this listener: ask under a loopback address or %s, or send the process SIGHUP",
			clean(host, maxName), s.options.Address)
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" {
		return errors.New("a page of another site may not ask for this")
	}
	for _, origin := range r.Header.Values("Origin") {
		u, err := url.Parse(origin)
		if err != nil || !strings.EqualFold(u.Host, r.Host) || u.Scheme != "http" && u.Scheme != "https" {
			return fmt.Errorf("origin %q may not ask for this", clean(origin, maxName))
		}
	}
	return nil
}

// knownHost says whether host is a loopback name or address, the listen address, or the very address that the connection came in at. A
// foreign page can't use an IP address to disguise itself: the browser would take it for that address' own.
func (s *Server) knownHost(host string, r *http.Request) bool {
	if host == "" {
		return false
	}
	if loopbackHost(host) || strings.EqualFold(host, hostOf(s.options.Address)) {
		return true
	}
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		a, errA := netip.ParseAddr(host)
		b, errB := netip.ParseAddr(hostOf(local.String()))
		return errA == nil && errB == nil && a.Unmap() == b.Unmap()
	}
	return false
}

// hostOf is the host of host:port, without the brackets of an IPv6 address.
func hostOf(address string) string {
	if host, _, err := net.SplitHostPort(address); err == nil {
		return host
	}
	return strings.TrimSuffix(strings.TrimPrefix(address, "["), "]")
}

func loopbackHost(host string) bool {
	if strings.EqualFold(strings.TrimSuffix(host, "."), "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

func loopback(a net.Addr) bool { return a.Network() == "unix" || loopbackHost(hostOf(a.String())) }
