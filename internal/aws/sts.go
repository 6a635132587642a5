package aws

import (
	"context"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	stsTimeout = 5 * time.Second
	stsVersion = "2011-06-15"
	// sessionName is under what the agent shows in AWS's logs, unless AWS_ROLE_SESSION_NAME says otherwise.
	sessionName = "hermod"
)

// stsReply holds what both actions answer with, and errors
// (https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html).
type stsReply struct {
	Role     stsCredentials `xml:"AssumeRoleResult>Credentials"`
	Identity stsCredentials `xml:"AssumeRoleWithWebIdentityResult>Credentials"`
	Code     string         `xml:"Error>Code"`
	Message  string         `xml:"Error>Message"`
}

type stsCredentials struct {
	AccessKeyID     string `xml:"AccessKeyId"`
	SecretAccessKey string
	SessionToken    string
	Expiration      time.Time
}

// webIdentity gives the role of a Kubernetes service account (EKS).
func (p *Provider) webIdentity(ctx context.Context, region string) (Credentials, string, error) {
	file := p.env("AWS_WEB_IDENTITY_TOKEN_FILE")
	if file == "" {
		return Credentials{}, "AWS_WEB_IDENTITY_TOKEN_FILE is not set", nil
	}
	role := p.env("AWS_ROLE_ARN")
	if role == "" {
		return Credentials{}, "", fault("AWS_WEB_IDENTITY_TOKEN_FILE is set and AWS_ROLE_ARN isn't", "annotate the service account with the role's ARN")
	}
	token, err := readFile(file)
	if err != nil {
		return Credentials{}, "", fault("AWS_WEB_IDENTITY_TOKEN_FILE: "+err.Error(), "make the file readable for the agent (fsGroup in the pod's securityContext)")
	}
	c, err := p.askSTS(ctx, region, "AssumeRoleWithWebIdentity", role, nil, url.Values{"WebIdentityToken": {strings.TrimSpace(string(token))}})
	return c, "", err
}

// assumeRole exchanges credentials for those of the role.
func (p *Provider) assumeRole(ctx context.Context, c Credentials, region string) (Credentials, error) {
	more := url.Values{}
	if p.o.ExternalID != "" {
		more.Set("ExternalId", p.o.ExternalID)
	}
	return p.askSTS(ctx, region, "AssumeRole", p.o.RoleARN, &c, more)
}

// askSTS calls AWS's token service, signed with by where that is set.
func (p *Provider) askSTS(ctx context.Context, region, action, role string, by *Credentials, form url.Values) (Credentials, error) {
	form.Set("Action", action)
	form.Set("Version", stsVersion)
	form.Set("RoleArn", role)
	form.Set("RoleSessionName", or(p.env("AWS_ROLE_SESSION_NAME"), sessionName))
	body := form.Encode()
	address := p.stsAddress(region)
	header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	if by != nil {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, address, nil)
		if err != nil {
			return Credentials{}, fault("AWS_ENDPOINT_URL_STS is not a URL", `write it like "https://sts.eu-west-1.amazonaws.com"`)
		}
		r.Header = header
		Sign(r, HashBody([]byte(body)), *by, Scope{Region: region, Service: "sts"}, time.Now())
	}
	where := "AWS's token service " + hostOf(address)
	status, text, err := ask(ctx, p.o.Net, stsTimeout, http.MethodPost, address, header, body)
	if err != nil {
		return Credentials{}, passing("role "+role+" can't be assumed: "+where+": "+because(err), "see that the agent reaches it over HTTPS, or set proxy_url")
	}
	var reply stsReply
	if err := xml.Unmarshal(text, &reply); err != nil {
		e := fault(fmt.Sprintf("role %s can't be assumed: %s answered %d and no XML", role, where, status), "see what lies between")
		e.Temporary = status >= 500 || status == http.StatusOK || status == http.StatusTooManyRequests
		return Credentials{}, e
	}
	got := reply.Role
	if got.AccessKeyID == "" {
		got = reply.Identity
	}
	if status != http.StatusOK || got.AccessKeyID == "" || got.SecretAccessKey == "" {
		e := fault(fmt.Sprintf("role %s can't be assumed: %s answered %d %s", role, where, status, quote(hide(reply.Code+": "+reply.Message, form.Get("WebIdentityToken"), by))),
			stsRemedy(reply.Code, action))
		e.Temporary = status >= 500 || strings.HasPrefix(reply.Code, "Throttling") || reply.Code == "IDPCommunicationError"
		return Credentials{}, e
	}
	c := Credentials{AccessKey: got.AccessKeyID, SecretKey: got.SecretAccessKey, SessionToken: got.SessionToken, Expires: got.Expiration, Source: "role " + role}
	return c, check(c)
}

// hide takes credentials out of words that a server said.
func hide(words, token string, by *Credentials) string {
	secrets := []string{token}
	if by != nil {
		secrets = append(secrets, by.SecretKey, by.SessionToken)
	}
	for _, s := range secrets {
		if s != "" {
			words = strings.ReplaceAll(words, s, "<secret>")
		}
	}
	return BeforeCanonical(words)
}

// BeforeCanonical cuts the form of the request off that AWS shows to who signed it wrongly: it holds the session token.
func BeforeCanonical(words string) string {
	before, _, _ := strings.Cut(words, "The Canonical String for this request")
	return before
}

func stsRemedy(code, action string) string {
	switch code {
	case "AccessDenied":
		if action == "AssumeRole" {
			return "allow sts:AssumeRole on the role for the credentials that the agent has, in the role's trust policy too (and external_id, if it asks for one)"
		}
		return "allow sts:AssumeRoleWithWebIdentity for this service account in the role's trust policy"
	case "InvalidIdentityToken", "ExpiredTokenException", "ExpiredToken", "IDPRejectedClaim":
		return "see that the role's trust policy names this cluster's identity provider, and that the service account's token is renewed"
	case "SignatureDoesNotMatch", "InvalidClientTokenId", "RequestExpired":
		return "check the keys, and this machine's clock"
	case "RegionDisabledException":
		return "switch the region on for AWS's token service, or set AWS_ENDPOINT_URL_STS to that of another region"
	}
	return "see in CloudTrail why the role was refused"
}

// stsAddress is the token service of the region.
func (p *Provider) stsAddress(region string) string {
	for _, name := range []string{"AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL"} {
		if address := p.env(name); address != "" {
			return address
		}
	}
	domain := "amazonaws.com"
	switch {
	case strings.HasPrefix(region, "cn-"):
		domain = "amazonaws.com.cn"
	case strings.HasPrefix(region, "eusc-"):
		domain = "amazonaws.eu"
	case strings.HasPrefix(region, "us-iso-"):
		domain = "c2s.ic.gov"
	case strings.HasPrefix(region, "us-isob-"):
		domain = "sc2s.sgov.gov"
	}
	return "https://sts." + region + "." + domain + "/"
}

func hostOf(address string) string {
	if u, err := url.Parse(address); err == nil && u.Host != "" {
		return u.Host
	}
	return "(AWS_ENDPOINT_URL_STS)"
}
