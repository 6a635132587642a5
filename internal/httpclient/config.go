// Package httpclient is how components talk to HTTP servers: credentials, TLS, proxy and headers from one config, redirects not followed,
// and errors in words that say what to do.
package httpclient

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	promconfig "github.com/prometheus/common/config"

	"github.com/hermod-agent/hermod/internal/aws"
	"github.com/hermod-agent/hermod/pipeline/config"
)

// Config is squashed into the config of a component that is an HTTP client.
type Config struct {
	// User name and password for HTTP basic authentication.
	BasicAuth *BasicAuth `hcl:"basic_auth,block"`
	// Token that is sent as "Authorization: Bearer ...".
	BearerToken config.Secret `hcl:"bearer_token,optional"`
	// Tokens that a server gives to this client (OAuth 2.0, client credentials). They are renewed before they end.
	OAuth2 *OAuth2 `hcl:"oauth2,block"`
	// Requests are signed for AWS (Signature Version 4), as Amazon Managed Service for Prometheus asks for. Where the machine, the task or the
	// pod has a role that may write there, an empty block is enough.
	SigV4 *SigV4 `hcl:"sigv4,block"`
	// Headers that are added to every request. Their values are never shown.
	Headers map[string]config.Secret `hcl:"headers,optional"`
	// How an https server is verified, and the certificate that is shown to it.
	TLS *TLS `hcl:"tls,block"`
	// Proxy to go through, like "http://user:password@proxy:3128". The environment's proxy settings are not used.
	ProxyURL config.URL `hcl:"proxy_url,optional"`
}

// BasicAuth is a user name and a password.
type BasicAuth struct {
	// User name.
	Username string `hcl:"username"`
	// Password.
	Password config.Secret `hcl:"password,optional"`
}

// TLS is how TLS connections are made. The files are read again when they change.
type TLS struct {
	// File with the certificates (PEM) of the authorities that are trusted, in place of the system's.
	CAFile string `hcl:"ca_file,optional"`
	// File with the client certificate (PEM) for servers that ask for one.
	CertFile string `hcl:"cert_file,optional"`
	// File with the key (PEM) of the client certificate.
	KeyFile string `hcl:"key_file,optional"`
	// Name that the server's certificate must have, when it isn't the host in the URL.
	ServerName string `hcl:"server_name,optional"`
	// Oldest version of TLS that is spoken: "1.0", "1.1", "1.2" or "1.3". 1.2 when not set.
	MinVersion string `hcl:"min_version,optional"`
	// Accept any certificate. Whoever is between the agent and the server can then read and change everything, credentials included.
	InsecureSkipVerify bool `hcl:"insecure_skip_verify,optional"`
}

// Validate checks what the types can't say.
func (c *Config) Validate() []error {
	var errs []error
	if ways := c.ways(); len(ways) > 1 {
		errs = append(errs, config.Attr(ways[1], fmt.Errorf("a client shows itself in one way, and here are %s; leave all but one of them out", strings.Join(ways, " and "))))
	}
	for _, name := range sortedKeys(c.Headers) {
		canonical := http.CanonicalHeaderKey(name)
		_, reserved := promconfig.ReservedHeaders[canonical]
		switch {
		case !validName(name):
			errs = append(errs, config.Attr("headers", fmt.Errorf("%q is not the name of a header", name)))
		case canonical == "Authorization":
			errs = append(errs, config.Attr("headers", errors.New("the header Authorization can't be set here; use basic_auth, bearer_token, oauth2 or sigv4")))
		case c.SigV4 != nil && slices.Contains([]string{"X-Amz-Date", "X-Amz-Security-Token"}, canonical):
			errs = append(errs, config.Attr("headers", fmt.Errorf("the header %s can't be set: it is part of the signature", canonical)))
		case reserved:
			errs = append(errs, config.Attr("headers", fmt.Errorf("the header %s can't be set: it follows from what is sent", canonical)))
		}
	}
	if u := c.ProxyURL; u.IsSet() && !slices.Contains([]string{"http", "https", "socks5", "socks5h"}, u.Scheme) {
		errs = append(errs, config.Attr("proxy_url", fmt.Errorf("%s is not the URL of a proxy; it begins with http://, https:// or socks5://", u)))
	}
	return errs
}

// ways names the kinds of credentials that the config holds.
func (c *Config) ways() []string {
	var ways []string
	for _, w := range []struct {
		name string
		set  bool
	}{{"basic_auth", c.BasicAuth != nil}, {"bearer_token", c.BearerToken.IsSet()}, {"oauth2", c.OAuth2 != nil}, {"sigv4", c.SigV4 != nil}} {
		if w.set {
			ways = append(ways, w.name)
		}
	}
	return ways
}

// Validate checks what the types can't say.
func (a *BasicAuth) Validate() []error {
	if a.Username == "" {
		return []error{config.Attr("username", errors.New("the user name is empty"))}
	}
	if strings.Contains(a.Username, ":") {
		return []error{config.Attr("username", errors.New("a user name of basic authentication can't hold a colon"))}
	}
	return nil
}

// Validate checks what the types can't say.
func (t *TLS) Validate() []error {
	var errs []error
	if (t.CertFile == "") != (t.KeyFile == "") {
		missing, there := "key_file", "cert_file"
		if t.CertFile == "" {
			missing, there = there, missing
		}
		errs = append(errs, config.Attr(there, fmt.Errorf("a client certificate needs both files; %s is missing", missing)))
	}
	if _, ok := tlsVersion(t.MinVersion); !ok {
		errs = append(errs, config.Attr("min_version", fmt.Errorf(`%q is not a version of TLS; write "1.2" or "1.3"`, t.MinVersion)))
	}
	return errs
}

func tlsVersion(s string) (promconfig.TLSVersion, bool) {
	switch s {
	case "1.0":
		return tls.VersionTLS10, true
	case "1.1":
		return tls.VersionTLS11, true
	case "", "1.2":
		return tls.VersionTLS12, true
	case "1.3":
		return tls.VersionTLS13, true
	}
	return 0, false
}

// chain is what requests go through.
type chain struct {
	http.RoundTripper
	signing *signing // nil without sigv4
	bearing *bearing // nil without oauth2
}

// chain makes the round trippers that the config says.
func (c *Config) chain(u config.URL, o Options) (chain, error) {
	rt, err := c.transport(c.TLS, o)
	if err != nil {
		return chain{}, err
	}
	out := chain{}
	switch {
	case c.BasicAuth != nil:
		rt = promconfig.NewBasicAuthRoundTripper(promconfig.NewInlineSecret(c.BasicAuth.Username), secret{&c.BasicAuth.Password}, rt)
	case c.BearerToken.IsSet():
		rt = promconfig.NewAuthorizationCredentialsRoundTripper("Bearer", secret{&c.BearerToken}, rt)
	case c.OAuth2 != nil:
		tokens, err := c.transport(c.OAuth2.TLS, o)
		if err != nil {
			return chain{}, fmt.Errorf("oauth2: %w", err)
		}
		out.bearing = newBearing(c.OAuth2, rt, tokens)
		rt = out.bearing
	case c.SigV4 != nil:
		// AWS's own servers have certificates that the system trusts: the tls block is for the one at the URL.
		net, err := c.transport(nil, o)
		if err != nil {
			return chain{}, err
		}
		out.signing = &signing{cfg: c.SigV4, next: rt, net: net, local: &http.Transport{DialContext: o.Dial, IdleConnTimeout: dialTimeout}}
		out.signing.creds = aws.NewProvider(aws.Options{
			Region: c.SigV4.Region, Host: u.Hostname(), AccessKey: c.SigV4.AccessKey, SecretKey: c.SigV4.SecretKey, SessionToken: c.SigV4.SessionToken,
			Profile: c.SigV4.Profile, RoleARN: c.SigV4.RoleARN, ExternalID: c.SigV4.ExternalID, Getenv: o.Getenv, Net: net, Local: out.signing.local,
		})
		rt = out.signing
	}
	if len(c.Headers) > 0 {
		rt = &headers{values: c.Headers, next: rt}
	}
	out.RoundTripper = rt
	return out, nil
}

// transport makes connections.
func (c *Config) transport(t *TLS, o Options) (http.RoundTripper, error) {
	cfg := promconfig.HTTPClientConfig{}
	if t != nil {
		version, ok := tlsVersion(t.MinVersion)
		if !ok {
			return nil, fmt.Errorf("%q is not a version of TLS", t.MinVersion)
		}
		cfg.TLSConfig = promconfig.TLSConfig{
			CAFile: t.CAFile, CertFile: t.CertFile, KeyFile: t.KeyFile, ServerName: t.ServerName,
			MinVersion: version, InsecureSkipVerify: t.InsecureSkipVerify,
		}
	}
	if c.ProxyURL.IsSet() {
		cfg.ProxyURL = promconfig.URL{URL: c.ProxyURL.URL}
	}
	return promconfig.NewRoundTripperFromConfig(cfg, o.Name,
		// HTTP/1.1 alone: there is one request in flight on a connection, and a dead one is found by its own timeout.
		promconfig.WithHTTP2Disabled(), promconfig.WithIdleConnTimeout(idleTimeout), promconfig.WithDialContextFunc(o.Dial))
}

// secret gives a config.Secret to the library.
type secret struct{ *config.Secret }

// Fetch implements promconfig.SecretReader.
func (s secret) Fetch(context.Context) (string, error) {
	value, err := s.Reveal()
	if err != nil {
		return "", &secretError{err}
	}
	return value, nil
}

// Description implements promconfig.SecretReader.
func (s secret) Description() string { return "secret" }

// Immutable implements promconfig.SecretReader.
func (s secret) Immutable() bool { return s.File() == "" }

// secretError is a secret whose file can't be read.
type secretError struct{ error }

func (e *secretError) Unwrap() error { return e.error }

// headers adds the user's headers to requests.
type headers struct {
	values map[string]config.Secret
	next   http.RoundTripper
}

func (h *headers) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	for name, value := range h.values {
		text, err := value.Reveal()
		if err != nil {
			return nil, &secretError{fmt.Errorf("header %s: %w", name, err)}
		}
		if !validValue(text) {
			return nil, &secretError{fmt.Errorf("header %s: the value holds characters that a header can't", name)}
		}
		r.Header.Set(name, text)
	}
	return h.next.RoundTrip(r)
}

// CloseIdleConnections lets http.Client reach the transport.
func (h *headers) CloseIdleConnections() {
	closeIdle(h.next)
}

// secrets are what must not be shown of the config.
func (c *Config) secrets(u *url.URL) []string {
	var out []string
	add := func(s *config.Secret) {
		if value, err := s.Reveal(); err == nil { // one that can't be read wasn't sent
			out = append(out, value)
		}
	}
	add(&c.BearerToken)
	if c.BasicAuth != nil {
		add(&c.BasicAuth.Password)
	}
	for _, value := range c.Headers {
		add(&value)
	}
	if password, ok := u.User.Password(); ok {
		out = append(out, password)
	}
	return out
}

// identity says as whom a request goes to u, in words.
func (c *Config) identity(u *url.URL) (words string, kind credentials) {
	switch {
	case c.BasicAuth != nil:
		return fmt.Sprintf("user %q", c.BasicAuth.Username), password
	case c.BearerToken.IsSet():
		return "the bearer token", token
	case c.OAuth2 != nil:
		return fmt.Sprintf("the token for client %q", c.OAuth2.ClientID), granted
	case c.SigV4 != nil:
		return "a signed request", signature
	case u != nil && u.User != nil:
		return fmt.Sprintf("user %q", u.User.Username()), inURL
	}
	return "a request without credentials", none
}

// credentials is what kind of them a client sends.
type credentials uint8

const (
	none credentials = iota
	password
	token
	inURL
	granted
	signature
)

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// validName says whether s is a token of RFC 9110, 5.6.2.
func validName(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return s != ""
}

// validValue says whether s holds no control characters but tabs.
func validValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}
