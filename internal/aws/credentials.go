// Package aws signs requests to services of AWS (Signature Version 4) and finds the credentials and the region for it where AWS puts them:
// in the environment, in a profile, in a Kubernetes service account, in a container's task role or in a machine's role.
//
// It stands in place of AWS's SDK, which would make the binary larger by a sixth: see docs/design/aws.md.
package aws

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
)

// Credentials are what a request is signed with. Printing them, whatever the verb, says only where they come from.
type Credentials struct {
	AccessKey    string
	SecretKey    string
	SessionToken string    // of temporary credentials
	Expires      time.Time // zero when they don't
	Source       string    // where they come from, in words: "the role of this container"
}

// String never gives a key.
func (c Credentials) String() string { return "credentials from " + c.Source }

// Format never gives a key, whatever the verb.
func (c Credentials) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.String()) }

// LogValue never gives a key.
func (c Credentials) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalText never gives a key.
func (c Credentials) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// same says whether two credentials make the same signatures.
func (c Credentials) same(d Credentials) bool {
	return c.AccessKey == d.AccessKey && c.SecretKey == d.SecretKey && c.SessionToken == d.SessionToken
}

// Error is why there are no credentials or no region, with a remedy, and without any secret.
type Error struct {
	err error
	// Temporary says that it may go away by itself.
	Temporary bool
}

func (e *Error) Error() string { return e.err.Error() }
func (e *Error) Unwrap() error { return e.err }

func fault(what, remedy string) *Error {
	return &Error{err: component.WithRemedy(errors.New(what), remedy)}
}

func passing(what, remedy string) *Error {
	e := fault(what, remedy)
	e.Temporary = true
	return e
}

// Options of a Provider. Everything but the transports may be left out.
type Options struct {
	// Region in which requests are signed. When it isn't set, it is read from Host, the environment, the profile or the machine's metadata.
	Region string
	// Host is the name of the server that requests go to. Names of AWS's own hold the region.
	Host string
	// AccessKey and SecretKey, with SessionToken where they are temporary, go before all that could be found.
	AccessKey, SecretKey, SessionToken config.Secret
	// Profile is the only place that is looked at when it is set and AccessKey isn't.
	Profile string
	// RoleARN is the role that is assumed with the credentials that were found; ExternalID is shown with it.
	RoleARN, ExternalID string
	// Getenv looks a variable of the environment up.
	Getenv func(string) (string, bool)
	// Net reaches AWS's token service, through a proxy where there is one; Local reaches the metadata addresses of this machine, never
	// through a proxy.
	Net, Local http.RoundTripper
}

// Provider finds credentials, keeps them and renews them before they expire. It is safe for concurrent use.
type Provider struct {
	o Options
	// finding is held by who looks for credentials or the region; a channel, so that waiting for it ends with a context.
	finding chan struct{}

	mu      sync.Mutex // guards what follows
	now     Credentials
	renewAt time.Time
	refused time.Time // when credentials that were refused were last given up
	region  string
}

// How long credentials are kept.
const (
	// findTimeout bounds the search as a whole: a request waits for it.
	findTimeout = 10 * time.Second
	// renewBefore is how long before they expire credentials are renewed. Machines and containers have the next ones by then.
	renewBefore = 5 * time.Minute
	// lookAgain is how often credentials that don't expire are looked at: somebody may write others into a file.
	lookAgain = time.Minute
	// renewPause is how long a failed renewal rests while the credentials are still good, and how often refused ones are renewed.
	renewPause = 30 * time.Second
)

// NewProvider makes a Provider. It looks for nothing yet.
func NewProvider(o Options) *Provider {
	if o.Getenv == nil {
		o.Getenv = func(string) (string, bool) { return "", false }
	}
	return &Provider{o: o, finding: make(chan struct{}, 1)}
}

// Get returns credentials that are good now, and the region. Its errors are *Error, or that of ctx.
func (p *Provider) Get(ctx context.Context) (Credentials, string, error) {
	c, region, fresh, good := p.kept()
	if fresh {
		return c, region, nil
	}
	select {
	case p.finding <- struct{}{}:
	default:
		if good { // somebody else renews them
			return c, region, nil
		}
		select {
		case p.finding <- struct{}{}:
		case <-ctx.Done():
			return Credentials{}, "", ctx.Err()
		}
	}
	defer func() { <-p.finding }()
	if c, region, fresh, good = p.kept(); fresh {
		return c, region, nil
	}
	within, cancel := context.WithTimeout(ctx, findTimeout)
	defer cancel()
	next, region, err := p.find(within, region)
	switch {
	case err == nil:
		p.keep(next, region)
		return next, region, nil
	case ctx.Err() != nil:
		return Credentials{}, "", ctx.Err()
	case good && !c.Expires.IsZero():
		// The next ones aren't there yet: these are good for some time.
		p.mu.Lock()
		p.renewAt = time.Now().Add(renewPause)
		p.mu.Unlock()
		return c, p.regionNow(), nil
	}
	return Credentials{}, "", err
}

// kept returns what is kept: fresh says that it needs no renewal, good that it can still be used.
func (p *Provider) kept() (c Credentials, region string, fresh, good bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	good = p.now.AccessKey != "" && (p.now.Expires.IsZero() || now.Before(p.now.Expires))
	return p.now, p.region, good && now.Before(p.renewAt), good
}

func (p *Provider) regionNow() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.region
}

func (p *Provider) keep(c Credentials, region string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.now, p.region = c, region
	p.renewAt = now.Add(lookAgain)
	if !c.Expires.IsZero() {
		left := c.Expires.Sub(now)
		p.renewAt = c.Expires.Add(-min(renewBefore, left/3))
	}
}

// find looks for credentials, and for the region when it isn't known.
func (p *Provider) find(ctx context.Context, region string) (Credentials, string, error) {
	if region == "" {
		var err error
		if region, err = p.findRegion(ctx); err != nil {
			return Credentials{}, "", err
		}
	}
	c, err := p.base(ctx, region)
	if err == nil && p.o.RoleARN != "" {
		c, err = p.assumeRole(ctx, c, region)
	}
	if err == nil {
		err = expired(c)
	}
	return c, region, err
}

func expired(c Credentials) error {
	if now := time.Now(); !c.Expires.IsZero() && !now.Before(c.Expires) {
		return passing(fmt.Sprintf("the %s expired at %s, and it is %s here", c, c.Expires.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339)),
			"set this machine's clock right, or see why no new ones are issued")
	}
	return nil
}

// Refused says that a server didn't take a signature made with c: they are renewed before the next one, at most twice a minute. It says
// whether they will be.
func (p *Provider) Refused(c Credentials) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	switch {
	case !c.same(p.now):
		return true // they were renewed meanwhile
	case !p.refused.IsZero() && now.Sub(p.refused) < renewPause:
		return false
	}
	p.renewAt, p.refused = time.Time{}, now
	return true
}

// Now returns what was used last, for messages and to keep secrets out of them.
func (p *Provider) Now() (Credentials, string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now, p.region
}
