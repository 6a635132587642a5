package httpclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/hermod-agent/hermod/internal/aws"
	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
)

const (
	idleTimeout = 90 * time.Second
	dialTimeout = 10 * time.Second
	// maxReply bounds what is read of the answer to a push; Loki writes a line for each record that it refuses.
	maxReply = 1 << 20
)

// Options of a Client.
type Options struct {
	// Name is that of the component, for the library's own metrics.
	Name      string
	UserAgent string
	// Dial makes connections; a net.Dialer's when it isn't set.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Getenv looks a variable of the environment up, where AWS puts credentials; os.LookupEnv when it isn't set.
	Getenv func(string) (string, bool)
}

// Client talks to one server. It is safe for concurrent use.
type Client struct {
	http  *http.Client
	url   config.URL
	cfg   Config
	agent string
	chain chain
}

// New makes a client for the server at u. It reads the files that the config names, and makes no connection.
func New(u config.URL, cfg Config, o Options) (*Client, error) {
	switch {
	case !u.IsSet():
		return nil, errors.New("the URL is missing")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, component.WithRemedy(fmt.Errorf("%s is not the URL of an HTTP server", u), "begin it with http:// or https://")
	}
	if ways := cfg.ways(); len(ways) > 0 && u.User != nil {
		return nil, config.Attr("url", fmt.Errorf("the URL holds credentials, and here is %s besides; leave one of them out", ways[0]))
	}
	if o.Getenv == nil {
		o.Getenv = os.LookupEnv
	}
	if o.Dial == nil {
		o.Dial = (&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}).DialContext
	}
	rt, err := cfg.chain(u, o)
	if err != nil {
		return nil, component.WithRemedy(err, "check the files that the tls block names")
	}
	return &Client{
		http: &http.Client{
			Transport: rt.RoundTripper,
			// A redirect would carry credentials and data to where nobody has sent them.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		url: u, cfg: cfg, agent: o.UserAgent, chain: rt,
	}, nil
}

// Reply is what a server answered.
type Reply struct {
	Status int
	Header http.Header
	Body   []byte // at most a MiB of it
	// Truncated says that the body was longer, or broke off.
	Truncated bool
}

// Post sends body to the client's URL. Errors are those of net/http: see Explain.
func (c *Client) Post(ctx context.Context, header http.Header, body []byte) (*Reply, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url.URL.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for name, values := range header {
		r.Header[name] = values
	}
	resp, err := c.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	// The status is the answer. What explains it may break off without making a difference.
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxReply+1))
	reply := &Reply{Status: resp.StatusCode, Header: resp.Header, Body: text, Truncated: err != nil || len(text) > maxReply}
	reply.Body = text[:min(len(text), maxReply)]
	if reply.Status < 200 || reply.Status > 299 {
		reply.Body = c.withoutSecrets(reply.Body)
	}
	return reply, nil
}

// Get asks for the client's URL and reads the answer into buf, which grows to at most limit bytes and is lent to the Reply: who asks again
// with it overwrites that. Errors are those of net/http: see Explain.
func (c *Client) Get(ctx context.Context, buf []byte, limit int) (*Reply, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url.URL.String(), http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := c.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := readUpTo(resp.Body, buf[:0], limit+1)
	if err != nil {
		return nil, err
	}
	reply := &Reply{Status: resp.StatusCode, Header: resp.Header, Body: body[:min(len(body), limit)], Truncated: len(body) > limit}
	if reply.Status < 200 || reply.Status > 299 {
		reply.Body = c.withoutSecrets(reply.Body)
	}
	return reply, nil
}

// readUpTo appends what r gives to buf, at most limit bytes.
func readUpTo(r io.Reader, buf []byte, limit int) ([]byte, error) {
	for len(buf) < limit {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := r.Read(buf[len(buf):min(cap(buf), limit)])
		buf = buf[:len(buf)+n]
		if err == io.EOF {
			return buf, nil
		}
		if err != nil {
			return buf, err
		}
	}
	return buf, nil
}

// withoutSecrets takes out of a server's words what was sent to it as a secret: they are shown and logged.
func (c *Client) withoutSecrets(words []byte) []byte {
	secrets := c.cfg.secrets(c.url.URL)
	if c.chain.bearing != nil {
		secrets = append(secrets, c.chain.bearing.secrets()...)
	}
	if c.chain.signing != nil {
		secrets = append(secrets, c.chain.signing.secrets()...)
		words = []byte(aws.BeforeCanonical(string(words)))
	}
	return redact(words, secrets)
}

// shortestSecret is how long a secret must be to be looked for: a shorter one would be found where it isn't meant.
const shortestSecret = 4

func redact(words []byte, secrets []string) []byte {
	for _, s := range secrets {
		if len(s) >= shortestSecret {
			words = bytes.ReplaceAll(words, []byte(s), []byte("<secret>"))
		}
	}
	return words
}

// Do sends a request with the client's credentials. The caller closes the response's body.
func (c *Client) Do(r *http.Request) (*http.Response, error) {
	if c.agent != "" {
		r.Header.Set("User-Agent", c.agent)
	}
	return c.http.Do(r)
}

// URL is where the client sends to.
func (c *Client) URL() config.URL { return c.url }

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Warn notes in status what a user should know about how the client is configured.
func (c *Client) Warn(status *component.Status) {
	if c.cfg.TLS != nil && c.cfg.TLS.InsecureSkipVerify {
		status.Note("tls", component.WithRemedy(
			fmt.Errorf("the certificate of %s is not checked: anyone on the way can read and change what is sent, credentials included", c.url),
			"set ca_file in the tls block and take insecure_skip_verify away"))
	}
	if o := c.cfg.OAuth2; o != nil {
		if o.TLS != nil && o.TLS.InsecureSkipVerify {
			status.Note("token tls", component.WithRemedy(
				fmt.Errorf("the certificate of %s is not checked: anyone on the way can read the client's secret", o.TokenURL),
				"set ca_file in the tls block of oauth2 and take insecure_skip_verify away"))
		}
		if o.TokenURL.Scheme == "http" && !loopback(o.TokenURL.Hostname()) {
			status.Note("client secret", component.WithRemedy(
				fmt.Errorf("the client's secret is sent to %s without encryption", o.TokenURL), "use https, unless the network between is trusted"))
		}
	}
	if _, kind := c.cfg.identity(c.url.URL); kind != none && c.url.Scheme == "http" && !loopback(c.url.Hostname()) {
		status.Note("credentials", component.WithRemedy(
			fmt.Errorf("the credentials for %s are sent without encryption", c.url), "use https, unless the network between is trusted"))
	}
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
