package httpclient

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hermod-agent/hermod/internal/aws"
	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
)

// SigV4 is how requests to AWS are signed.
type SigV4 struct {
	// Region of the service. When not set, it is read from the server's name, AWS_REGION, the profile or the machine's metadata.
	Region string `hcl:"region,optional"`
	// Access key; secret_key belongs to it. When not set, credentials are looked for in this order: the environment (AWS_ACCESS_KEY_ID), a
	// Kubernetes service account's role (AWS_WEB_IDENTITY_TOKEN_FILE), the profile, the role of the container (ECS, Fargate, EKS), the role of
	// the EC2 machine. They are renewed before they expire.
	AccessKey config.Secret `hcl:"access_key,optional"`
	// Secret key of the access key.
	SecretKey config.Secret `hcl:"secret_key,optional"`
	// Session token, when the keys are temporary ones.
	SessionToken config.Secret `hcl:"session_token,optional"`
	// Profile in ~/.aws/credentials and ~/.aws/config that holds the keys. Nothing else is looked at when it is set.
	Profile string `hcl:"profile,optional"`
	// ARN of a role that is assumed with the credentials that were found.
	RoleARN string `hcl:"role_arn,optional"`
	// External ID that the role asks for.
	ExternalID string `hcl:"external_id,optional"`
	// Name that the service signs with: "aps" is Amazon Managed Service for Prometheus.
	Service string `hcl:"service,optional"`
}

// managedPrometheus is the service when none is named.
const managedPrometheus = "aps"

func (s *SigV4) service() string {
	if s.Service == "" {
		return managedPrometheus
	}
	return s.Service
}

// Validate checks what the types can't say.
func (s *SigV4) Validate() []error {
	var errs []error
	if s.AccessKey.IsSet() != s.SecretKey.IsSet() {
		missing, there := "secret_key", "access_key"
		if s.SecretKey.IsSet() {
			missing, there = there, missing
		}
		errs = append(errs, config.Attr(there, fmt.Errorf("a key has two halves; %s is missing", missing)))
	}
	if s.SessionToken.IsSet() && !s.AccessKey.IsSet() {
		errs = append(errs, config.Attr("session_token", errors.New("a session token belongs to access_key and secret_key, which are missing")))
	}
	if s.AccessKey.IsSet() && s.Profile != "" {
		errs = append(errs, config.Attr("profile", errors.New("the keys come either from access_key and secret_key or from a profile; leave one of them out")))
	}
	if s.RoleARN != "" && !strings.HasPrefix(s.RoleARN, "arn:") {
		errs = append(errs, config.Attr("role_arn", fmt.Errorf(`%q is not an ARN; write it like "arn:aws:iam::123456789012:role/metrics"`, s.RoleARN)))
	}
	if s.ExternalID != "" && s.RoleARN == "" {
		errs = append(errs, config.Attr("external_id", errors.New("an external ID is shown when a role is assumed; role_arn is missing")))
	}
	for _, name := range []struct{ attr, value string }{{"region", s.Region}, {"service", s.Service}} {
		if strings.ContainsFunc(name.value, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
		}) {
			errs = append(errs, config.Attr(name.attr, fmt.Errorf("%q holds characters that such a name can't", name.value)))
		}
	}
	return errs
}

// authError is why a request can't be sent with credentials. Its text has a remedy and no secrets.
type authError struct {
	err       error
	permanent bool
}

func (e *authError) Error() string { return e.err.Error() }
func (e *authError) Unwrap() error { return e.err }

// signing signs requests anew each time that they are sent.
type signing struct {
	cfg   *SigV4
	creds *aws.Provider
	next  http.RoundTripper
	local *http.Transport
	net   http.RoundTripper
	// ahead is how far the server's clock was ahead of ours when it last refused a request, in nanoseconds.
	ahead atomic.Int64
}

// RoundTrip signs and sends. When the credentials are refused and there are newer ones, it does so once more.
func (s *signing) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, used, err := s.send(r)
	if err != nil || resp.StatusCode != http.StatusUnauthorized && resp.StatusCode != http.StatusForbidden {
		return resp, err
	}
	s.ahead.Store(0)
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		s.ahead.Store(int64(date.Sub(time.Now().Truncate(time.Second))))
	}
	if !s.creds.Refused(used) {
		return resp, nil
	}
	if next, _, err := s.creds.Get(r.Context()); err != nil || next == used {
		return resp, nil
	}
	discard(resp)
	resp, _, err = s.send(r)
	return resp, err
}

func (s *signing) send(r *http.Request) (*http.Response, aws.Credentials, error) {
	body, err := copyBody(r)
	if err != nil {
		return nil, aws.Credentials{}, err
	}
	c, region, err := s.creds.Get(r.Context())
	if err != nil {
		var e *aws.Error
		if errors.As(err, &e) {
			err = &authError{err: e, permanent: !e.Temporary}
		}
		return nil, c, err
	}
	signed := withBody(r, body)
	aws.Sign(signed, aws.HashBody(body), c, aws.Scope{Region: region, Service: s.cfg.service()}, time.Now())
	resp, err := s.next.RoundTrip(signed)
	return resp, c, err
}

// secrets are what must not be shown.
func (s *signing) secrets() []string {
	c, _ := s.creds.Now()
	return []string{c.SecretKey, c.SessionToken}
}

// CloseIdleConnections lets http.Client reach the transports.
func (s *signing) CloseIdleConnections() {
	s.local.CloseIdleConnections()
	closeIdle(s.net)
	closeIdle(s.next)
}

func closeIdle(rt http.RoundTripper) {
	if c, ok := rt.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// copyBody returns what is in the body of a request that can be sent more than once.
func copyBody(r *http.Request) ([]byte, error) {
	if r.Body != nil {
		defer r.Body.Close() // a RoundTripper does, whatever happens
	}
	if r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	if r.GetBody == nil {
		return nil, errors.New("a body that can be read once only can't be signed")
	}
	body, err := r.GetBody()
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return io.ReadAll(body)
}

// withBody is a copy of the request with a body of its own.
func withBody(r *http.Request, body []byte) *http.Request {
	c := r.Clone(r.Context())
	if r.GetBody != nil && len(body) > 0 {
		if again, err := r.GetBody(); err == nil { // it worked a moment ago
			c.Body = again
		}
	}
	return c
}

// discard reads the rest of an answer, so that the connection can be used again.
func discard(resp *http.Response) {
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxReply)) // what is left over costs a connection
	resp.Body.Close()
}

// clockTolerance is how far a clock may be off before AWS refuses signatures.
const clockTolerance = 5 * time.Minute

// explain puts a refusal of AWS into words that say what to do.
func (s *signing) explain(what, words string) error {
	c, region := s.creds.Now()
	low := strings.ToLower(words)
	has := func(parts ...string) bool {
		for _, p := range parts {
			if strings.Contains(low, p) {
				return true
			}
		}
		return false
	}
	permission := "the permission to write"
	if s.cfg.service() == managedPrometheus {
		permission = "aps:RemoteWrite on the workspace"
	}
	tell := func(remedy string) error { return component.WithRemedy(errors.New(what), remedy) }
	ahead := time.Duration(s.ahead.Load())
	switch {
	case ahead.Abs() >= clockTolerance || has("signature expired", "signature not yet current", "requesttimetooskewed", "request has expired"):
		clock := "set this machine's clock right (NTP): AWS takes signatures for five minutes"
		if ahead.Abs() >= time.Second && ahead.Abs() < math.MaxInt64 {
			direction := "behind"
			if ahead < 0 {
				direction = "ahead of"
			}
			clock += fmt.Sprintf("; it is %s %s the server's", ahead.Abs().Round(time.Second), direction)
		}
		return tell(clock)
	case has("not authorized to perform", "accessdenied", "access denied", "explicit deny", "no identity-based policy"):
		return tell("allow " + permission + " for that identity (" + c.String() + "), in its IAM policy")
	case has("scoped to a valid region", "scoped to correct service", "wrong region"):
		return tell(fmt.Sprintf("set region and service in the sigv4 block to those of the URL; requests are signed for %q in %q", s.cfg.service(), region))
	case has("token included in the request is expired", "expiredtoken"):
		return tell("wait until the " + c.String() + " are renewed, or write new ones if they are your own")
	case has("token included in the request is invalid", "unrecognizedclient", "invalidclienttokenid", "invalid security token"):
		return tell("check the " + c.String() + ": AWS doesn't know the access key, or the session token isn't its own")
	case has("signature we calculated", "signaturedoesnotmatch"):
		return tell("check the secret key of the " + c.String() + ", and that no proxy on the way changes the host or the path")
	case has("missing authentication token", "missingauthenticationtoken"):
		return tell("check the URL: AWS finds no API there (remote write ends with /workspaces/ws-.../api/v1/remote_write)")
	}
	return tell("see that the " + c.String() + " have " + permission + ", that the region is right (" + region + "), and this machine's clock too")
}
