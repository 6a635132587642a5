package aws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/hermod-agent/hermod/pipeline/component"
)

const (
	// localTimeout is for addresses of this machine, which answer in milliseconds or not at all.
	localTimeout = time.Second
	localTries   = 2
	// maxReply bounds what is read of an answer.
	maxReply = 64 << 10
)

// ask sends a request and reads the answer. Its error names no credentials.
func ask(ctx context.Context, rt http.RoundTripper, timeout time.Duration, method, address string, header http.Header, body string) (status int, text []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(body))
	if err != nil {
		return 0, nil, errors.New("not the URL of a server") // the library's text has the URL, with what may be in it
	}
	r.Host = withoutPort(r.URL.Scheme, r.URL.Host)
	for name, values := range header {
		r.Header[name] = values
	}
	resp, err := rt.RoundTrip(r) // without a client: it follows no redirects
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	text, err = io.ReadAll(io.LimitReader(resp.Body, maxReply))
	return resp.StatusCode, text, err
}

// askLocal is ask for an address of this machine, once more when there was no answer.
func askLocal(ctx context.Context, rt http.RoundTripper, method, address string, header http.Header) (status int, text []byte, err error) {
	for range localTries {
		status, text, err = ask(ctx, rt, localTimeout, method, address, header, "")
		if err == nil && status < 500 || ctx.Err() != nil {
			break
		}
	}
	return status, text, err
}

// because says in few words why there was no answer.
func because(err error) string {
	var op *net.OpError
	var dns *net.DNSError
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.As(err, &dns):
		return fmt.Sprintf("the host %q can't be looked up", dns.Name)
	case errors.As(err, &op) && op.Err != nil:
		return op.Err.Error()
	}
	return err.Error()
}

func splitRemedy(err error) (remedy, what string) { return component.Remedy(err) }

// quote makes text that came from elsewhere fit for a message: one line, bounded.
func quote(s string) string {
	if len(s) > 200 {
		s = s[:200] + "..."
	}
	return fmt.Sprintf("%q", s)
}

// issued is how containers and machines are given credentials. Code is "Success" from machines and missing from containers.
type issued struct {
	Code, Message   string
	AccessKeyID     string `json:"AccessKeyId"`
	SecretAccessKey string
	Token           string
	Expiration      time.Time
}

func parseIssued(text []byte, from string) (Credentials, error) {
	var i issued
	if err := json.Unmarshal(text, &i); err != nil {
		return Credentials{}, passing(from+": the answer isn't the JSON that was expected", "see what listens there") // the error would quote it
	}
	if i.Code != "" && i.Code != "Success" || i.AccessKeyID == "" || i.SecretAccessKey == "" {
		return Credentials{}, passing(fmt.Sprintf("%s: no credentials in the answer (%s %s)", from, quote(i.Code), quote(i.Message)), "see that the role exists and may be assumed")
	}
	c := Credentials{AccessKey: i.AccessKeyID, SecretKey: i.SecretAccessKey, SessionToken: i.Token, Expires: i.Expiration, Source: from}
	return c, check(c)
}

// container gives the role of an ECS or Fargate task, or of an EKS pod identity
// (https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html).
func (p *Provider) container(ctx context.Context, _ string) (Credentials, string, error) {
	const from = "the role of this container"
	address := ""
	if path := p.env("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"); path != "" {
		address = "http://169.254.170.2/" + strings.TrimPrefix(path, "/")
	} else if address = p.env("AWS_CONTAINER_CREDENTIALS_FULL_URI"); address == "" {
		return Credentials{}, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI is not set", nil
	} else if err := mayAsk(address); err != nil {
		return Credentials{}, "", fault("AWS_CONTAINER_CREDENTIALS_FULL_URI "+err.Error(), "set it to the address that ECS or EKS gave")
	}
	header := http.Header{"Accept": {"application/json"}}
	token := p.env("AWS_CONTAINER_AUTHORIZATION_TOKEN")
	if file := p.env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"); file != "" {
		text, err := readFile(file)
		if err != nil {
			return Credentials{}, "", fault("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: "+err.Error(), "make the file readable for the agent")
		}
		token = strings.TrimSpace(string(text))
	}
	if token != "" {
		if strings.ContainsFunc(token, func(r rune) bool { return r < ' ' || r >= 0x7f }) {
			return Credentials{}, "", fault("the token for "+from+" holds characters that a header can't", "see what wrote AWS_CONTAINER_AUTHORIZATION_TOKEN")
		}
		header["Authorization"] = []string{token}
	}
	status, text, err := askLocal(ctx, p.o.Local, http.MethodGet, address, header)
	switch {
	case err != nil:
		return Credentials{}, "", passing(from+" can't be asked for: "+because(err), "see that nothing keeps the agent from the address that ECS or EKS gave it")
	case status != http.StatusOK:
		e := fault(fmt.Sprintf("%s can't be had: the container's credential service answered %d %s", from, status, quote(string(text))), "give the task or the pod a role")
		e.Temporary = status >= 500 || status == http.StatusTooManyRequests
		return Credentials{}, "", e
	}
	c, err := parseIssued(text, from)
	return c, "", err
}

// mayAsk says whether the agent may send the container's token there: over TLS, or to this machine itself. Its error doesn't show the URL.
func mayAsk(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return errors.New("is not a URL")
	}
	if u.Scheme == "https" {
		return nil
	}
	if u.Scheme != "http" {
		return errors.New("begins neither with http:// nor with https://")
	}
	if u.Hostname() == "localhost" {
		return nil
	}
	ip, err := netip.ParseAddr(u.Hostname())
	if err == nil && (ip.IsLoopback() || ip == netip.MustParseAddr("169.254.170.2") || ip == netip.MustParseAddr("169.254.170.23") || ip == netip.MustParseAddr("fd00:ec2::23")) {
		return nil
	}
	return errors.New("names another machine without TLS")
}

// readMetadata reads pages of the machine's metadata. next makes the path of a page from the one before.
func (p *Provider) readMetadata(ctx context.Context, what string, next ...func(before string) string) (string, error) {
	service := p.imds()
	address, off := service.address()
	if off != "" {
		return "", fault(off, "take it away, or set what is missing in the sigv4 block")
	}
	token, err := service.token(ctx, address)
	if err != nil {
		return "", err
	}
	page := ""
	for _, path := range next {
		var missing bool
		if page, missing, err = service.page(ctx, address, token, path(page), what); err != nil {
			return "", err
		}
		if missing {
			return "", fault("this machine has no "+what, "give it one, or set what is missing in the sigv4 block")
		}
	}
	return page, nil
}

func (p *Provider) imds() imds { return imds{p.o.Getenv, p.o.Local} }

// machine gives the role of an EC2 instance.
func (p *Provider) machine(ctx context.Context, _ string) (Credentials, string, error) {
	const path = "/latest/meta-data/iam/security-credentials/"
	if _, off := p.imds().address(); off != "" {
		return Credentials{}, off, nil
	}
	text, err := p.readMetadata(ctx, "role",
		func(string) string { return path },
		func(roles string) string { role, _, _ := strings.Cut(roles, "\n"); return path + url.PathEscape(role) })
	var e *Error
	switch {
	case errors.As(err, &e) && !e.Temporary:
		_, why := splitRemedy(err)
		return Credentials{}, why, nil
	case err != nil:
		return Credentials{}, "", err
	}
	c, err := parseIssued([]byte(text), "the role of this machine")
	return c, "", err
}

// machineRegion is where an EC2 instance stands.
func (p *Provider) machineRegion(ctx context.Context) (string, error) {
	r, err := p.readMetadata(ctx, "region", func(string) string { return "/latest/meta-data/placement/region" })
	if err == nil && !isRegion(r) {
		err = fault("the metadata names no region", "set region in the sigv4 block")
	}
	return r, err
}
