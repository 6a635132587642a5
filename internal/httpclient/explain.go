package httpclient

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
)

// Explain puts an error of Do or Post into words that name the server and say what to do, without credentials. permanent says that
// waiting won't help: somebody has to change something.
func (c *Client) Explain(err error) (explained error, permanent bool) {
	return explain(err, c.url, c.cfg.TLS != nil && c.cfg.TLS.CertFile != "")
}

func explain(err error, u config.URL, withCert bool) (error, bool) {
	var (
		unwrapped *url.Error
		dns       *net.DNSError
		op        *net.OpError
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
		verify    *tls.CertificateVerificationError
		record    tls.RecordHeaderError
		noSecret  *secretError
		noAuth    *authError
	)
	if errors.As(err, &unwrapped) {
		err = unwrapped.Err // its text has the URL with the query, and the method, which nobody asked for
	}
	if remedy, _ := component.Remedy(err); remedy != "" && !errors.As(err, &noAuth) && !errors.As(err, &noSecret) {
		return err, false // whoever dials for us has said it all
	}
	tell := func(what, remedy string) error { return component.WithRemedy(errors.New(what), remedy) }
	isOp := errors.As(err, &op)
	at := ""
	if isOp && op.Addr != nil {
		at = " at " + op.Addr.String()
	}
	switch {
	case errors.As(err, &noAuth):
		remedy, what := component.Remedy(noAuth.err)
		return tell(fmt.Sprintf("no request to %s: %s", u, what), remedy), noAuth.permanent
	case errors.As(err, &noSecret):
		return tell(fmt.Sprintf("no request to %s: %s", u, noSecret), "make the file readable for the agent"), true
	case errors.As(err, &authority):
		return tell(fmt.Sprintf("the certificate of %s is signed by an authority that isn't trusted here%s", u, issuer(authority.Cert)),
			"name the file with the authority's certificate as ca_file in the tls block"), true
	case errors.As(err, &host):
		return tell(fmt.Sprintf("the certificate of %s is for another name: %s", u, host.Error()),
			"use a name in the URL that the certificate has, or set server_name in the tls block"), true
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return tell(fmt.Sprintf("the certificate of %s is out of date: %s", u, invalid.Error()),
			"renew the server's certificate, or set this machine's clock right"), true
	case errors.As(err, &verify), errors.As(err, &invalid):
		return tell(fmt.Sprintf("the certificate of %s can't be trusted: %s", u, err), "check the server's certificate and the tls block"), true
	case errors.As(err, &record), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return tell(fmt.Sprintf("the server of %s doesn't speak TLS", u), "write http:// in place of https://, or check the port"), true
	case isOp && op.Op == "remote error": // a TLS alert
		remedy := "check cert_file and key_file in the tls block: the server doesn't accept the certificate"
		if !withCert {
			remedy = "check the tls block: the server may want a client certificate (cert_file and key_file)"
		}
		return tell(fmt.Sprintf("the server of %s broke the TLS handshake off: %s", u, op.Err), remedy), true
	case errors.Is(err, fs.ErrNotExist) && !isOp, errors.Is(err, fs.ErrPermission) && !isOp:
		return tell(fmt.Sprintf("no request to %s: %s", u, err), "check the files that the tls block names"), true
	case errors.As(err, &dns) && dns.IsNotFound:
		return tell(fmt.Sprintf("the host %q of %s is not known", dns.Name, u),
			"check the name; between containers it is that of a service in the same network"), false
	case errors.As(err, &dns):
		return tell(fmt.Sprintf("the host %q of %s can't be looked up: %s", dns.Name, u, dns.Err), "check the name server of this machine"), false
	case isOp && op.Op == "proxyconnect":
		return tell(fmt.Sprintf("the proxy on the way to %s can't be reached%s: %s", u, at, op.Err), "check proxy_url"), false
	case errors.Is(err, syscall.ECONNREFUSED):
		return tell(fmt.Sprintf("nothing listens%s for %s (connection refused)", at, u), "start the server, or check host and port of the URL"), false
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return tell(fmt.Sprintf("there is no way to %s%s: %s", u, at, op.Err), "check the address, the network and the firewall between"), false
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("the request to %s was given up", u), false
	case isOp && op.Op == "dial" && op.Timeout():
		return tell(fmt.Sprintf("no connection to %s%s in time", u, at), "check host and port of the URL, and the firewall between"), false
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), isTimeout(err):
		return tell(fmt.Sprintf("no answer from %s in time", u), "check that the server isn't overloaded, or set a longer timeout"), false
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE),
		strings.Contains(err.Error(), "server closed idle connection"):
		return tell(fmt.Sprintf("the server of %s closed the connection without an answer", u), "look into the server's log, and into that of a proxy between"), false
	}
	return tell(fmt.Sprintf("no answer from %s: %s", u, err), "check the URL and the network between"), false
}

// issuer names who signed a certificate.
func issuer(c *x509.Certificate) string {
	if c == nil {
		return ""
	}
	return fmt.Sprintf(" (%s)", quote(c.Issuer.String()))
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

// ExplainStatus puts an answer that isn't a success into words that say what to do. words are the server's own, fit to be printed, and
// location is the header of that name.
func (c *Client) ExplainStatus(status int, words, location string) error {
	who, kind := c.cfg.identity(c.url.URL)
	what := fmt.Sprintf("%s answered %d", c.url, status)
	if text := http.StatusText(status); text != "" {
		what += " (" + text + ")"
	}
	said := ""
	if words != "" {
		said = ": " + words
	}
	tell := func(what, remedy string) error { return component.WithRemedy(errors.New(what+said), remedy) }
	switch {
	case kind == signature && (status == http.StatusUnauthorized || status == http.StatusForbidden):
		return c.chain.signing.explain(what+" to "+who+said, words)
	case status == http.StatusUnauthorized:
		return tell(what+" to "+who, map[credentials]string{
			none:     "the server wants credentials: add basic_auth { ... } or bearer_token, or oauth2 { ... } or sigv4 { ... }",
			password: "check username and password in basic_auth, and that they are for this server",
			token:    "check bearer_token: it may be wrong or out of date",
			inURL:    "check the user name and the password in the URL",
			granted:  "check scopes and endpoint_params in the oauth2 block, and that the token server is the one that this server trusts",
		}[kind])
	case status == http.StatusForbidden && kind == none && strings.HasSuffix(c.url.Hostname(), ".amazonaws.com"):
		return tell(what, "AWS wants signed requests: add sigv4 { }")
	case status == http.StatusForbidden:
		return tell(what+" to "+who, "check that these credentials may write there, and the tenant if there is one")
	case status == http.StatusNotFound, status == http.StatusMethodNotAllowed:
		return tell(what, "check the path of the URL")
	case status == http.StatusProxyAuthRequired:
		return tell(what, "the proxy wants credentials: write them into proxy_url, like http://user:password@proxy:3128")
	case status >= 300 && status < 400:
		to := "elsewhere"
		if u, err := config.ParseURL(location); err == nil {
			to = "to " + u.String()
		} else if location != "" && !strings.ContainsAny(location, "@") {
			path, _, _ := strings.Cut(location, "?")
			to = fmt.Sprintf("to %q", path)
		}
		return component.WithRemedy(fmt.Errorf("%s and leads %s, which is not followed", what, to), "write the address where it leads as the URL, if it is yours")
	case status == http.StatusTooManyRequests:
		return tell(what, "send less, or raise the server's limits; until then it gets what it takes")
	case status == http.StatusServiceUnavailable, status >= 500, status == http.StatusRequestTimeout, status == http.StatusTooEarly:
		return tell(what, "look into the server's log; what is queued is sent when it is well again")
	case status == http.StatusUnsupportedMediaType:
		return tell(what, "check that the URL is that of the right kind of server")
	case plainToTLS(words):
		return tell(what, "write https:// in place of http://")
	case status == http.StatusBadRequest && wantsCertificate(words):
		return tell(what, "the server wants a client certificate from an authority that it trusts: check cert_file and key_file in the tls block")
	}
	return tell(what, "check the URL and what lies between")
}

// plainToTLS recognises what servers say to plain HTTP on a port for TLS, with status 400.
func plainToTLS(words string) bool {
	return strings.Contains(words, "HTTP request to an HTTPS server") || strings.Contains(words, "plain HTTP request was sent to HTTPS port")
}

// wantsCertificate recognises what nginx answers to a client whose certificate it misses or doesn't trust.
func wantsCertificate(words string) bool {
	return strings.Contains(words, "No required SSL certificate was sent") || strings.Contains(words, "The SSL certificate error")
}

// SpeaksTLS says that an answer means that the server wants https and not http: nothing is wrong with what was sent.
func SpeaksTLS(status int, body []byte) bool {
	return status == http.StatusBadRequest && len(body) < 4096 && plainToTLS(string(body))
}

// quote makes text that came from elsewhere fit for a message: one line, bounded.
func quote(s string) string {
	if len(s) > 300 {
		s = s[:300] + "..."
	}
	return strconv.Quote(s)
}
