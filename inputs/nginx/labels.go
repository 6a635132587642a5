package nginx

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/hermod-agent/hermod/internal/discover"
	"github.com/hermod-agent/hermod/internal/httpclient"
	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
)

// labelled is the config for a container, made of the block's and of its labels. Whatever these say, the container is what is connected to.
func (c *Config) labelled(f *discover.Found) (*Config, error) {
	own := *c
	own.Discovery = discover.Config{}
	own.Address = f.Address
	u := &url.URL{Scheme: "http", Host: f.Container, Path: usualPath}
	if c.URL.Scheme == "https" {
		u.Scheme = c.URL.Scheme
	}
	if c.URL.Scheme == "http" || c.URL.Scheme == "https" {
		u.Path, u.RawQuery = c.URL.Path, c.URL.RawQuery
	}
	fault := func(label, want string) error {
		return component.WithRemedy(fmt.Errorf("the label hermod.nginx.%s of the container %s is %q", label, f.Container, f.Labels[label]), want)
	}
	if path, ok := f.Labels["path"]; ok {
		if !strings.HasPrefix(path, "/") || strings.ContainsAny(path, " \t\r\n") {
			return nil, fault("path", "write a path that begins with /, like /stub_status")
		}
		u.Path, u.RawQuery, _ = strings.Cut(path, "?")
	}
	if host, ok := f.Labels["host"]; ok {
		if host == "" || strings.ContainsAny(host, "/@?# \t\r\n") {
			return nil, fault("host", "write the name of a virtual host, like status.example.com")
		}
		u.Host = host
	}
	own.URL = config.URL{URL: u}
	switch user, named := f.Labels["user"]; {
	case named && !f.Secret.IsSet():
		return nil, fault("user", "add the label hermod.nginx.secret with the name of the secret that is the user's password")
	case named:
		own.HTTP.BasicAuth, own.HTTP.BearerToken = &httpclient.BasicAuth{Username: user, Password: f.Secret}, config.Secret{}
	case f.Secret.IsSet():
		own.HTTP.BasicAuth, own.HTTP.BearerToken = nil, f.Secret
	}
	return &own, nil
}
