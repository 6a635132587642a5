// Package nginx collects the counts of nginx: connections and requests from its stub_status page
// (https://nginx.org/en/docs/http/ngx_http_stub_status_module.html) under the names of nginx-prometheus-exporter, and what the module VTS
// (https://github.com/vozlt/nginx-module-vts) counts for each virtual host, upstream, filter and cache, from its JSON, under the module's own
// names or those of nginx-vts-exporter.
package nginx

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/hermod-agent/hermod/internal/discover"
	"github.com/hermod-agent/hermod/internal/httpclient"
	"github.com/hermod-agent/hermod/internal/target"
	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
)

// Definition of input "nginx".
var Definition = component.MetricsInput("nginx", "Connections and requests of an nginx server, and with its module VTS those of each virtual host.", defaults, open,
	component.Example(`# nginx shows its counts where its config says so:
#   server {
#     listen 127.0.0.1:8080;
#     location = /stub_status {
#       stub_status;
#       allow 127.0.0.1;
#       deny all;
#     }
#   }
input "nginx" "web" {
  url = "http://127.0.0.1:8080/stub_status"
}

# In a container, found by its name through Docker's socket. The port is the one inside the container.
input "nginx" "shop" {
  url = "container://shop_web:8080/stub_status"
}

# The module VTS, under the names that nginx-vts-exporter gave its counts.
input "nginx" "vts" {
  url   = "http://127.0.0.1:8080/status/format/json"
  names = "legacy"
}

# Every container that asks for it by a label, whatever the network that it is on:
#   hermod.nginx.port    port inside the container; 80 when not set
#   hermod.nginx.path    path of the page; that of url when not set
#   hermod.nginx.host    name that is asked for; the container's when not set
#   hermod.nginx.user    user name, with the password that hermod.nginx.secret names
#   hermod.nginx.secret  one of the secrets below; without a user it is sent as a bearer token
input "nginx" "labelled" {
  discover = true
  secrets  = { status = env("NGINX_STATUS_PASSWORD", "change-me") }
}
`))

// The formats of the page, and the sets of names.
const (
	stubStatus = "stub_status"
	vts        = "vts"

	native = "native"
	legacy = "legacy"

	// usualPath is where the page of stub_status is usually found.
	usualPath = "/stub_status"
)

// Config is what a user writes in the block.
type Config struct {
	// The status page: "http://host:port/path", or in a container "container://NAME:PORT/path" or "compose://PROJECT/SERVICE:PORT/path";
	// /stub_status when there the path is left out. For the module VTS it is that of its JSON, which ends in /format/json.
	URL config.URL `hcl:"url,optional"`
	// Where to connect, in place of host and port of the URL: a socket ("unix:/run/nginx/status.sock"), or a container for a URL with https. The URL's
	// host is then the name that is asked for.
	Address config.Address `hcl:"address,optional"`
	// What the page holds: "stub_status" or "vts". It is recognised by itself when not set. The tests run against the stub_status of a real nginx; what
	// is read of VTS is made after the source of its version 0.2.3.
	Format string `hcl:"format,optional"`
	// Names for what VTS counts: "native" are the module's own (nginx_vts_server_requests_total), "legacy" those of nginx-vts-exporter
	// (nginx_server_requests).
	Names string `hcl:"names,optional"`

	Discovery discover.Config   `hcl:",squash"`
	HTTP      httpclient.Config `hcl:",squash"`
}

func defaults() Config {
	u, err := config.ParseURL("http://127.0.0.1:8080/stub_status")
	if err != nil {
		panic(err) // a constant
	}
	return Config{URL: u, Names: native}
}

// Validate checks what the types can't say.
func (c *Config) Validate() []error {
	var errs []error
	if _, _, err := c.where(); err != nil {
		errs = append(errs, err)
	}
	if c.Discovery.Discover && c.Address.IsSet() {
		errs = append(errs, config.Attr("address", errors.New("with discover = true the addresses are those of the containers; take address away")))
	}
	if c.Discovery.Discover && (c.HTTP.BasicAuth != nil || c.HTTP.BearerToken.IsSet()) {
		attr := "basic_auth"
		if c.HTTP.BasicAuth == nil {
			attr = "bearer_token"
		}
		errs = append(errs, config.Attr(attr, errors.New("with discover = true every container with a label would be offered this; "+
			"put the password into secrets, and its name into the label hermod.nginx.secret")))
	}
	switch c.Format {
	case "", stubStatus, vts:
	default:
		errs = append(errs, config.Attr("format", fmt.Errorf("%q is not one of stub_status, vts%s", c.Format, config.Suggest(c.Format, []string{stubStatus, vts}))))
	}
	switch c.Names {
	case native, legacy:
	default:
		errs = append(errs, config.Attr("names", fmt.Errorf("%q is not one of native, legacy%s", c.Names, config.Suggest(c.Names, []string{native, legacy}))))
	}
	return errs
}

// where says what to ask for and whom to connect to.
func (c *Config) where() (page config.URL, server target.Address, err error) {
	page = c.URL
	fault := func(format string, args ...any) (config.URL, target.Address, error) {
		return config.URL{}, target.Address{}, config.Attr("url", fmt.Errorf(format, args...))
	}
	switch page.Scheme {
	case "http", "https":
		server = c.Address
		if !server.IsSet() {
			port := page.Port()
			if port == "" {
				port = map[string]string{"http": "80", "https": "443"}[page.Scheme]
			}
			server, err = config.ParseAddress(net.JoinHostPort(page.Hostname(), port))
		}
	case "container", "compose":
		if c.Address.IsSet() {
			return fault("%s names the container already; take address away, or write an http:// or https:// URL", page)
		}
		page, server, err = inContainer(page)
	case "unix":
		path, rest, _ := strings.Cut(page.Path, ":")
		return fault("a page behind a socket is written in two parts: url = %q and address = %q", "http://localhost"+cmp.Or(rest, usualPath), "unix:"+path)
	default:
		return fault("%s is not the URL of a page: it begins with http://, https://, container:// or compose://", page)
	}
	if err != nil {
		return fault("%w", err)
	}
	return page, server, nil
}

// inContainer takes container://NAME:PORT/path and compose://PROJECT/SERVICE:PORT/path apart.
func inContainer(u config.URL) (page config.URL, server target.Address, err error) {
	address, path := u.Scheme+"://"+u.Host, u.Path
	host := u.Host
	if u.Scheme == "compose" {
		service, rest, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
		address += "/" + service
		host, path = service, "/"+rest
	}
	if server, err = config.ParseAddress(address); err != nil {
		return config.URL{}, server, err
	}
	server = server.WithPort(80)
	if path == "/" {
		path = ""
	}
	page = config.URL{URL: &url.URL{Scheme: "http", User: u.User, Host: host, Path: cmp.Or(path, usualPath), RawQuery: u.RawQuery}}
	return page, server, nil
}
