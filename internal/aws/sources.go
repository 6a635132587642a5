package aws

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// source is a place where credentials may be.
type source struct {
	name string
	// look returns credentials, or why there are none there, or an error when the place is meant to have some and they can't be had.
	look func(ctx context.Context, region string) (c Credentials, none string, err error)
}

// base finds the credentials that all begins with. The first place that has some, or is meant to have some, decides: an identity that
// isn't the intended one would be worse than none.
func (p *Provider) base(ctx context.Context, region string) (Credentials, error) {
	switch {
	case p.o.AccessKey.IsSet():
		return p.static()
	case p.o.Profile != "":
		c, none, err := p.profile(ctx, region)
		if err == nil && none != "" {
			err = fault("no AWS credentials in profile "+quote(p.o.Profile)+": "+none, "write the profile, or set access_key and secret_key in the sigv4 block")
		}
		return c, err
	}
	var tried []string
	temporary := false
	for _, s := range []source{
		{"environment", p.environment},
		{"Kubernetes service account", p.webIdentity},
		{"profile " + quote(p.profileName()), p.profile},
		{"container", p.container},
		{"EC2 metadata", p.machine},
	} {
		c, none, err := s.look(ctx, region)
		var e *Error
		switch {
		case err == nil && none == "":
			return c, nil
		case errors.As(err, &e) && e.Temporary && s.name == "EC2 metadata":
			// Nobody said that this is a machine of AWS.
			temporary = true
			_, none = splitRemedy(err)
		case err != nil:
			return Credentials{}, err
		}
		tried = append(tried, s.name+" ("+none+")")
	}
	remedy := "give the machine, the task or the service account a role that may write there, or set access_key and secret_key in the sigv4 block"
	if temporary {
		remedy += " (from within a container, the metadata of an EC2 machine answers only with a hop limit of 2)"
	}
	e := fault("no AWS credentials were found; looked at: "+strings.Join(tried, ", "), remedy)
	e.Temporary = temporary
	return Credentials{}, e
}

// static are the credentials of the config.
func (p *Provider) static() (Credentials, error) {
	c := Credentials{Source: "the config"}
	for _, s := range []struct {
		name string
		from interface{ Reveal() (string, error) }
		to   *string
	}{
		{"access_key", &p.o.AccessKey, &c.AccessKey}, {"secret_key", &p.o.SecretKey, &c.SecretKey}, {"session_token", &p.o.SessionToken, &c.SessionToken},
	} {
		value, err := s.from.Reveal()
		if err == nil && !printable(value) {
			err = errors.New("the value holds characters that no key has")
		}
		if err != nil {
			return Credentials{}, fault(s.name+" of the sigv4 block: "+err.Error(), "write the key there, and make its file readable for the agent")
		}
		*s.to = value
	}
	return c, nil
}

// environment are the credentials that every tool of AWS reads first.
func (p *Provider) environment(context.Context, string) (Credentials, string, error) {
	c := Credentials{AccessKey: p.env("AWS_ACCESS_KEY_ID"), SecretKey: p.env("AWS_SECRET_ACCESS_KEY"), SessionToken: p.env("AWS_SESSION_TOKEN"), Source: "the environment"}
	switch {
	case c.AccessKey == "" && c.SecretKey == "":
		return c, "AWS_ACCESS_KEY_ID is not set", nil
	case c.AccessKey == "":
		return c, "", fault("AWS_SECRET_ACCESS_KEY is set and AWS_ACCESS_KEY_ID isn't", "set both, or neither")
	case c.SecretKey == "":
		return c, "", fault("AWS_ACCESS_KEY_ID is set and AWS_SECRET_ACCESS_KEY isn't", "set both, or neither")
	}
	return c, "", check(c)
}

func (p *Provider) env(name string) string {
	value, _ := p.o.Getenv(name)
	return strings.TrimSpace(value)
}

// check refuses credentials that can't be sent.
func check(c Credentials) error {
	for _, s := range []string{c.AccessKey, c.SecretKey, c.SessionToken} {
		if !printable(s) {
			return fault("a key from "+c.Source+" holds characters that no key has", "write the keys as AWS gave them")
		}
	}
	return nil
}

// printable says whether s is made of visible ASCII alone, as keys and tokens are.
func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f })
}

// findRegion finds the region when none is known yet.
func (p *Provider) findRegion(ctx context.Context) (string, error) {
	if p.o.Region != "" {
		return p.o.Region, nil
	}
	if r := hostRegion(p.o.Host); r != "" {
		return r, nil
	}
	for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION"} {
		if r := p.env(name); r != "" {
			return r, nil
		}
	}
	if values, _, err := p.readProfile(); err == nil && values["region"] != "" {
		return values["region"], nil
	}
	r, err := p.machineRegion(ctx)
	if err == nil {
		return r, nil
	}
	_, why := splitRemedy(err)
	e := fault(fmt.Sprintf("the AWS region is not known; looked at: the name of the server, AWS_REGION, AWS_DEFAULT_REGION, profile %s, EC2 metadata (%s)",
		quote(p.profileName()), why), "set region in the sigv4 block")
	return "", e
}

// hostRegion reads the region from a server's name at AWS: aps-workspaces.eu-west-1.amazonaws.com.
func hostRegion(host string) string {
	labels := strings.Split(strings.ToLower(host), ".")
	for i, l := range labels {
		if l == "amazonaws" || l == "api" && i+1 < len(labels) && labels[i+1] == "aws" {
			for j := i - 1; j >= 0; j-- {
				if isRegion(labels[j]) {
					return labels[j]
				}
			}
		}
	}
	return ""
}

// isRegion recognises names like eu-west-1 and us-gov-east-1.
func isRegion(s string) bool {
	parts := strings.Split(s, "-")
	if len(parts) < 3 || len(parts[0]) < 2 || len(parts[0]) > 4 {
		return false
	}
	for i, part := range parts {
		last := i == len(parts)-1
		if part == "" || strings.ContainsFunc(part, func(r rune) bool {
			if last {
				return r < '0' || r > '9'
			}
			return r < 'a' || r > 'z'
		}) {
			return false
		}
	}
	return true
}
