package httpclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
)

// OAuth2 is how tokens are got by the client credentials grant (RFC 6749, 4.4).
type OAuth2 struct {
	// Name under which the token server knows this client.
	ClientID string `hcl:"client_id"`
	// Secret of the client.
	ClientSecret config.Secret `hcl:"client_secret,optional"`
	// Address that gives tokens.
	TokenURL config.URL `hcl:"token_url"`
	// Scopes that are asked for.
	Scopes []string `hcl:"scopes,optional"`
	// Parameters that the token server wants besides, like audience. Their values are never shown.
	EndpointParams map[string]config.Secret `hcl:"endpoint_params,optional"`
	// How the token server is verified, and the certificate that is shown to it.
	TLS *TLS `hcl:"tls,block"`
}

// Validate checks what the types can't say.
func (o *OAuth2) Validate() []error {
	var errs []error
	if o.ClientID == "" {
		errs = append(errs, config.Attr("client_id", errors.New("the client ID is empty")))
	}
	if u := o.TokenURL; u.IsSet() && u.Scheme != "http" && u.Scheme != "https" {
		errs = append(errs, config.Attr("token_url", fmt.Errorf("%s is not the address of an HTTP server; begin it with http:// or https://", u)))
	}
	for _, name := range sortedKeys(o.EndpointParams) {
		switch name {
		case "grant_type", "client_id", "client_secret", "scope":
			errs = append(errs, config.Attr("endpoint_params", fmt.Errorf("the parameter %s can't be set here: it follows from the other attributes", name)))
		}
	}
	return errs
}

const (
	// tokenTimeout bounds how long a request waits for a token.
	tokenTimeout = 10 * time.Second
	// tokenMargin is how long before its end a token is renewed, and tokenPause how long a failed renewal rests while it is still good.
	tokenMargin = time.Minute
	tokenPause  = 15 * time.Second
)

// bearing sends requests with a token, which it gets when there is none, renews before it ends, and gives up when it is refused.
//
// The library's own transport isn't used because it asks for tokens without a deadline.
type bearing struct {
	cfg     *OAuth2
	next    http.RoundTripper
	tokens  http.RoundTripper
	client  *http.Client  // over tokens
	getting chan struct{} // held by who asks for a token; a channel, so that waiting for it ends with a context

	mu      sync.Mutex // guards what follows
	token   *oauth2.Token
	renewAt time.Time
	grant   *clientcredentials.Config // kept, because it learns how the server wants the secret sent
	secret  string                    // that grant was made with
	hidden  []string                  // what must not be shown, besides the token
	last    string                    // token
}

func newBearing(cfg *OAuth2, next, tokens http.RoundTripper) *bearing {
	return &bearing{cfg: cfg, next: next, tokens: tokens, getting: make(chan struct{}, 1), client: &http.Client{
		Transport: tokens, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// RoundTrip sends a request with a token. When a token that was kept is refused, it does so once more with a new one.
func (b *bearing) RoundTrip(r *http.Request) (*http.Response, error) {
	t, fresh, err := b.get(r.Context())
	if err != nil {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, err
	}
	resp, err := b.next.RoundTrip(with(r, r.Body, t))
	if err != nil || resp.StatusCode != http.StatusUnauthorized {
		return resp, err
	}
	b.forget(t)
	if fresh || r.Body != nil && r.Body != http.NoBody && r.GetBody == nil {
		return resp, nil
	}
	body := r.Body
	if r.GetBody != nil {
		if body, err = r.GetBody(); err != nil {
			return resp, nil //nolint:nilerr // the refusal is the answer
		}
	}
	t, _, err = b.get(r.Context())
	if err != nil {
		if body != nil {
			body.Close()
		}
		discard(resp)
		return nil, err
	}
	discard(resp)
	if resp, err = b.next.RoundTrip(with(r, body, t)); err == nil && resp.StatusCode == http.StatusUnauthorized {
		b.forget(t)
	}
	return resp, err
}

// get returns a token, and whether it was made for this request.
func (b *bearing) get(ctx context.Context) (t *oauth2.Token, fresh bool, err error) {
	t, renew := b.kept()
	if t != nil && !renew {
		return t, false, nil
	}
	select {
	case b.getting <- struct{}{}:
	default:
		if t != nil { // somebody else renews it
			return t, false, nil
		}
		select {
		case b.getting <- struct{}{}:
		case <-ctx.Done():
			return nil, false, ctx.Err()
		}
	}
	defer func() { <-b.getting }()
	if t, renew = b.kept(); t != nil && !renew {
		return t, false, nil
	}
	next, err := b.ask(ctx)
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil && t != nil { // the one that there is is good for some time
		b.renewAt = time.Now().Add(tokenPause)
		return t, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	b.token, b.last, b.renewAt = next, next.AccessToken, time.Time{}
	if !next.Expiry.IsZero() {
		b.renewAt = next.Expiry.Add(-min(tokenMargin, time.Until(next.Expiry)/3))
	}
	return next, true, nil
}

// kept returns the token if it is still good, and whether it is time for the next one.
func (b *bearing) kept() (t *oauth2.Token, renew bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	if b.token == nil || !b.token.Expiry.IsZero() && !now.Before(b.token.Expiry) {
		return nil, true
	}
	return b.token, !b.renewAt.IsZero() && !now.Before(b.renewAt)
}

// forget gives up a token that was refused.
func (b *bearing) forget(t *oauth2.Token) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.token == t {
		b.token = nil
	}
}

// ask gets a token from the token server.
func (b *bearing) ask(ctx context.Context) (*oauth2.Token, error) {
	grant, err := b.prepare()
	if err != nil {
		return nil, err
	}
	within, cancel := context.WithTimeout(ctx, tokenTimeout)
	defer cancel()
	t, err := grant.Token(context.WithValue(within, oauth2.HTTPClient, b.client))
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil && within.Err() != nil:
		return nil, &authError{err: component.WithRemedy(fmt.Errorf("no token: no answer from %s in time", b.cfg.TokenURL), "look into the token server's log")}
	case err != nil:
		return nil, b.explain(err)
	case !validValue(t.AccessToken) || !validValue(t.TokenType):
		return nil, &authError{err: component.WithRemedy(fmt.Errorf("the token that %s gave holds characters that a header can't", b.cfg.TokenURL), "check token_url"), permanent: true}
	}
	return t, nil
}

// prepare reads the secrets, whose files may have changed.
func (b *bearing) prepare() (*clientcredentials.Config, error) {
	secret, err := b.cfg.ClientSecret.Reveal()
	if err != nil {
		return nil, &secretError{err}
	}
	params := url.Values{}
	hidden := []string{secret}
	for name, value := range b.cfg.EndpointParams {
		text, err := value.Reveal()
		if err != nil {
			return nil, &secretError{fmt.Errorf("endpoint_params %s: %w", name, err)}
		}
		params.Set(name, text)
		hidden = append(hidden, text)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hidden = hidden
	if b.grant == nil || b.secret != secret {
		b.grant = &clientcredentials.Config{
			ClientID: b.cfg.ClientID, ClientSecret: secret, TokenURL: b.cfg.TokenURL.URL.String(), Scopes: b.cfg.Scopes,
		}
		b.secret = secret
	}
	b.grant.EndpointParams = params // nobody uses it now: getting is held
	return b.grant, nil
}

// explain puts an error of the library into words, without what the server said beyond the fields of RFC 6749, 5.2.
func (b *bearing) explain(err error) error {
	var refused *oauth2.RetrieveError
	var sent *url.Error
	switch {
	case errors.As(err, &refused) && refused.Response != nil:
		status := refused.Response.StatusCode
		what := fmt.Sprintf("no token for client %q: %s answered %d", b.cfg.ClientID, b.cfg.TokenURL, status)
		if refused.ErrorCode != "" {
			what += " " + quote(string(redact([]byte(strings.TrimSpace(refused.ErrorCode+" "+refused.ErrorDescription)), b.secrets())))
		}
		remedy := "check token_url and what lies between"
		switch {
		case refused.ErrorCode == "invalid_client", refused.ErrorCode == "unauthorized_client", status == http.StatusUnauthorized, status == http.StatusForbidden:
			remedy = "check client_id and client_secret, and that this client may use the client credentials grant"
		case refused.ErrorCode == "invalid_scope":
			remedy = "check scopes"
		case refused.ErrorCode != "":
			remedy = "check the oauth2 block: what this server wants besides goes into endpoint_params"
		case status >= 500 || status == http.StatusTooManyRequests:
			remedy = "look into the token server's log"
		}
		return &authError{err: component.WithRemedy(errors.New(what), remedy), permanent: status < 500 && status != http.StatusTooManyRequests}
	case errors.As(err, &sent):
		explained, permanent := explain(err, b.cfg.TokenURL, b.cfg.TLS != nil && b.cfg.TLS.CertFile != "")
		remedy, what := component.Remedy(explained)
		return &authError{err: component.WithRemedy(errors.New("no token: "+what), remedy), permanent: permanent}
	}
	what := fmt.Sprintf("no token: the answer of %s is none that a token server gives", b.cfg.TokenURL) // the library's text may quote it
	return &authError{err: component.WithRemedy(errors.New(what), "check token_url"), permanent: true}
}

// secrets are what must not be shown.
func (b *bearing) secrets() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append(slices.Clone(b.hidden), b.last)
}

// CloseIdleConnections lets http.Client reach the transports.
func (b *bearing) CloseIdleConnections() {
	closeIdle(b.tokens)
	closeIdle(b.next)
}

func with(r *http.Request, body io.ReadCloser, t *oauth2.Token) *http.Request {
	c := r.Clone(r.Context())
	c.Body = body
	t.SetAuthHeader(c)
	return c
}
