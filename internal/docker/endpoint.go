package docker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hermod-agent/hermod/pipeline/component"
)

// DefaultEndpoint is where Docker listens on Linux.
const DefaultEndpoint = "unix:///var/run/docker.sock"

// Endpoint is where an engine listens, and how it is spoken to.
type Endpoint struct {
	Network string // unix or tcp
	Address string // path of a socket, or host:port
	Base    string // path before the API's own, of a proxy; usually empty
	TLS     *tls.Config
	// APIVersion is fixed when set; else it is negotiated.
	APIVersion string
	certs      string
}

// ParseEndpoint reads "unix:///path" or "tcp://host:port". Empty means what DOCKER_HOST says, else DefaultEndpoint. DOCKER_TLS_VERIFY,
// DOCKER_CERT_PATH and DOCKER_API_VERSION count as they do for the docker command. getenv is os.LookupEnv when nil.
func ParseEndpoint(s string, getenv func(string) (string, bool)) (Endpoint, error) {
	if getenv == nil {
		getenv = os.LookupEnv
	}
	env := func(name string) string { v, _ := getenv(name); return v }
	from := ""
	if s == "" {
		if s = env("DOCKER_HOST"); s != "" {
			from = "DOCKER_HOST "
		} else {
			s = DefaultEndpoint
		}
	}
	remedy := `write it like "unix:///var/run/docker.sock" or "tcp://host:2375"`
	u, err := url.Parse(s)
	if err != nil {
		return Endpoint{}, component.WithRemedy(fmt.Errorf("%s%q is not the address of a Docker engine", from, s), remedy)
	}
	var e Endpoint
	switch u.Scheme {
	case "unix":
		e.Network, e.Address = "unix", u.Host+u.Path
		if !strings.HasPrefix(e.Address, "/") {
			return Endpoint{}, component.WithRemedy(fmt.Errorf("%s%q has no absolute path", from, s), remedy)
		}
		return e, nil
	case "tcp", "http", "https":
		e.Network, e.Address, e.Base = "tcp", u.Host, strings.TrimSuffix(u.Path, "/")
		if u.Hostname() == "" {
			return Endpoint{}, component.WithRemedy(fmt.Errorf("%s%q has no host", from, s), remedy)
		}
	case "ssh":
		return Endpoint{}, component.WithRemedy(fmt.Errorf("%s%q: an engine can't be reached through ssh", from, s),
			"run the agent on that machine, or forward the socket")
	default:
		return Endpoint{}, component.WithRemedy(fmt.Errorf("%s%q is not the address of a Docker engine", from, s), remedy)
	}
	e.APIVersion = strings.TrimPrefix(env("DOCKER_API_VERSION"), "v")
	e.certs = env("DOCKER_CERT_PATH")
	verify := env("DOCKER_TLS_VERIFY") != ""
	if e.certs == "" && verify {
		e.certs = filepath.Join(env("HOME"), ".docker")
	}
	if e.certs != "" {
		if e.TLS, err = clientTLS(e.certs, verify); err != nil {
			return Endpoint{}, err
		}
	} else if u.Scheme == "https" {
		e.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if u.Port() == "" {
		port := "2375"
		if e.TLS != nil {
			port = "2376"
		}
		e.Address = net.JoinHostPort(u.Hostname(), port)
	}
	return e, nil
}

// clientTLS reads ca.pem, cert.pem and key.pem from dir, as the docker command does.
func clientTLS(dir string, verify bool) (*tls.Config, error) {
	const remedy = "put ca.pem, cert.pem and key.pem there, or unset DOCKER_CERT_PATH and DOCKER_TLS_VERIFY"
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	if err != nil {
		return nil, component.WithRemedy(fmt.Errorf("read the Docker client certificate in %s: %w", dir, err), remedy)
	}
	ca, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		return nil, component.WithRemedy(fmt.Errorf("read the certificate authority of Docker: %w", err), remedy)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, component.WithRemedy(fmt.Errorf("%s holds no certificate", filepath.Join(dir, "ca.pem")), remedy)
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}, RootCAs: roots,
		InsecureSkipVerify: !verify, //nolint:gosec // what DOCKER_TLS_VERIFY unset means to the docker command
	}, nil
}

// String is the endpoint as it would be written.
func (e Endpoint) String() string { return e.Network + "://" + e.Address + e.Base }

// Key names an engine in a component.Pool.
func (e Endpoint) Key() string { return "docker " + e.String() + " " + e.certs }

func (e Endpoint) scheme() string {
	if e.TLS != nil {
		return "https"
	}
	return "http"
}

// host is what stands in URLs; over a socket it only has to be a valid name.
func (e Endpoint) host() string {
	if e.Network == "unix" {
		return "docker"
	}
	return e.Address
}

// transport carries requests to the engine. Nothing answers before the headers for longer than a busy engine needs to free a
// container's lock.
func (e Endpoint) transport() *http.Transport {
	d := &net.Dialer{Timeout: 5 * time.Second}
	return &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return d.DialContext(ctx, e.Network, e.Address)
		},
		TLSClientConfig:       e.TLS,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: time.Minute,
		DisableCompression:    true,
		MaxIdleConnsPerHost:   4,
		IdleConnTimeout:       45 * time.Second, // longer than the time between two lists
	}
}

var errNotHTTP = errors.New("what answers there is not a Docker engine")
