package aws

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// imds is where EC2 machines learn about themselves: the metadata service, version 2, which needs a token
// (https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html).
type imds struct {
	getenv func(string) (string, bool)
	local  http.RoundTripper
}

func (s imds) env(name string) string {
	value, _ := s.getenv(name)
	return strings.TrimSpace(value)
}

// address is that of the service; off says why it isn't to be asked.
func (s imds) address() (address, off string) {
	if strings.EqualFold(s.env("AWS_EC2_METADATA_DISABLED"), "true") {
		return "", "AWS_EC2_METADATA_DISABLED is set"
	}
	if a := s.env("AWS_EC2_METADATA_SERVICE_ENDPOINT"); a != "" {
		return strings.TrimSuffix(a, "/"), ""
	}
	if strings.EqualFold(s.env("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE"), "IPv6") {
		return "http://[fd00:ec2::254]", ""
	}
	return "http://169.254.169.254", ""
}

// tokenLife is how long a token is good: it is used at once.
const tokenLife = 5 * time.Minute

// token asks for what every other request needs.
func (s imds) token(ctx context.Context, address string) (string, error) {
	seconds := fmt.Sprint(int(tokenLife / time.Second))
	status, token, err := askLocal(ctx, s.local, http.MethodPut, address+"/latest/api/token", http.Header{"X-Aws-Ec2-Metadata-Token-Ttl-Seconds": {seconds}})
	switch {
	case err != nil:
		return "", passing("no answer from "+address+": "+because(err),
			"see that the metadata of this machine is switched on")
	case status != http.StatusOK || !printable(string(token)):
		e := fault(fmt.Sprintf("%s gives no token: it answered %d", address, status), "switch the metadata of this machine on (IMDSv2)")
		e.Temporary = status >= 500 || status == http.StatusTooManyRequests
		return "", e
	}
	return string(token), nil
}

// page reads the page at path, which tells what. missing says that there is none.
func (s imds) page(ctx context.Context, address, token, path, what string) (text string, missing bool, err error) {
	status, body, err := askLocal(ctx, s.local, http.MethodGet, address+path, http.Header{"X-Aws-Ec2-Metadata-Token": {token}})
	switch {
	case err != nil:
		return "", false, passing("no answer from "+address+": "+because(err), "see that nothing keeps the agent from that address")
	case status == http.StatusNotFound:
		return "", true, nil
	case status != http.StatusOK:
		e := fault(fmt.Sprintf("%s answered %d for the %s", address, status, what), "see that the metadata of this machine may be read")
		e.Temporary = status >= 500 || status == http.StatusTooManyRequests
		return "", false, e
	}
	return strings.TrimSpace(string(body)), false, nil
}

// Metadata reads what an EC2 machine is told about itself. It is safe for concurrent use.
type Metadata struct {
	service imds

	mu    sync.Mutex // guards what follows; held while the service is asked, so that only one finds out that nobody answers
	token string
	// until is how long the token is good, or how long nobody is asked again after failed.
	until  time.Time
	failed error
}

// restAfterFailure is how long a service that didn't answer isn't asked again: a config that asks for five things waits once.
const restAfterFailure = 5 * time.Second

// NewMetadata makes a Metadata. local is what the service is reached through, nil for a transport of its own that knows no proxy.
func NewMetadata(getenv func(string) (string, bool), local http.RoundTripper) *Metadata {
	if local == nil {
		local = &http.Transport{DialContext: (&net.Dialer{Timeout: localTimeout}).DialContext, IdleConnTimeout: localTimeout}
	}
	return &Metadata{service: imds{getenv, local}}
}

// Get reads an item by its path below /latest/meta-data/: "instance-id", "placement/availability-zone", "tags/instance/Name". Without an answer it
// returns after two seconds.
func (m *Metadata) Get(ctx context.Context, item string) (string, error) {
	address, off := m.service.address()
	if off != "" {
		return "", fault(off, "take it away where this is an EC2 machine")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if time.Now().After(m.until) {
		m.token, m.failed, m.until = "", nil, time.Time{}
	}
	if m.failed != nil {
		return "", m.failed
	}
	if m.token == "" {
		token, err := m.service.token(ctx, address)
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		if err != nil {
			_, why := splitRemedy(err)
			err = fault(why, "this works on EC2 machines alone: see that this is one and that its metadata is switched on; from within a container "+
				"it answers only with a hop limit of 2, or in the network of the host")
			m.failed, m.until = err, time.Now().Add(restAfterFailure)
			return "", err
		}
		m.token, m.until = token, time.Now().Add(tokenLife-time.Minute)
	}
	text, missing, err := m.service.page(ctx, address, m.token, "/latest/meta-data/"+escape(item, true), quote(item))
	switch {
	case err != nil:
		m.token, m.until = "", time.Time{} // whatever is wrong, the next one begins anew
		return "", err
	case missing:
		return "", fault("this machine's metadata has no "+quote(item), "see which items there are in the EC2 User Guide; those in tags/instance have to be allowed for the machine")
	}
	return text, nil
}
