package prometheus

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/prometheus/exporter-toolkit/web"
	"go.yaml.in/yaml/v2"

	"github.com/hermod-agent/hermod/pipeline/component"
)

// maxWebConfig bounds the web config file; a real one has some lines and perhaps certificates.
const maxWebConfig = 1 << 20

// inspectWebConfig checks the file as the server will, and says whether it brings TLS and authentication. An empty path brings neither.
func inspectWebConfig(path string) (tls, auth bool, err error) {
	if path == "" {
		return false, false, nil
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return false, false, component.WithRemedy(fmt.Errorf("the file %s doesn't exist", path),
			"write it as https://prometheus.io/docs/prometheus/latest/configuration/https/ says, or take web_config out")
	case errors.Is(err, os.ErrPermission):
		return false, false, component.WithRemedy(fmt.Errorf("the file %s can't be read: %w", path, err), "let the agent's user read it")
	case err != nil:
		return false, false, fmt.Errorf("the file %s can't be read: %w", path, err)
	case !info.Mode().IsRegular():
		return false, false, fmt.Errorf("%s is not a file", path)
	case info.Size() > maxWebConfig:
		return false, false, fmt.Errorf("the file %s has %d bytes; a web config has at most %d", path, info.Size(), maxWebConfig)
	}
	if err := web.Validate(path); err != nil {
		return false, false, component.WithRemedy(fmt.Errorf("the web config %s is faulty: %w", path, err),
			"see https://prometheus.io/docs/prometheus/latest/configuration/https/ for what it may hold; passwords are bcrypt hashes")
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return false, false, fmt.Errorf("read the web config %s: %w", path, err)
	}
	var c web.Config
	if err := yaml.Unmarshal(data, &c); err != nil {
		return false, false, fmt.Errorf("read the web config %s: %w", path, err)
	}
	tls = c.TLSConfig.IsEnabled()
	// Certificates of clients count as authentication where they are asked for and checked.
	auth = len(c.Users) > 0 || tls && c.TLSConfig.ClientAuth == "RequireAndVerifyClientCert"
	return tls, auth, nil
}

// exposed is what the user should know about who can read the page, or nil.
func (o *output) exposed() error {
	if isLocal(o.config.Listen) || o.tls && o.auth {
		return nil
	}
	missing := "TLS and authentication"
	switch {
	case o.tls:
		missing = "authentication"
	case o.auth:
		missing = "TLS: passwords and numbers go over the network in the clear"
	}
	return component.WithRemedy(
		fmt.Errorf("whoever reaches %s can read this page: it is served without %s", o.config.Listen, missing),
		`set web_config, or listen = "127.0.0.1:PORT" behind something that guards it, or let a firewall pass Prometheus alone`)
}

func isLocal(address string) bool {
	if strings.HasPrefix(address, "unix:") {
		return true
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// explainListen says who may hold a port that is in use: this page takes the place of exporters, whose ports it is given.
func explainListen(address string, err error) error {
	if !errors.Is(err, syscall.EADDRINUSE) {
		return err // the engine's own words say what to do
	}
	if remedy, _ := component.Remedy(err); remedy != "" {
		if inner := errors.Unwrap(err); inner != nil {
			err = inner // its remedy is replaced by ours
		}
	}
	_, port, _ := net.SplitHostPort(address)
	holder := "another program"
	if name := exporterOf(port); name != "" {
		holder = name + ", whose port it is,"
	}
	return component.WithRemedy(fmt.Errorf("the scrape page can't have %s, perhaps %s is still running: %w", address, holder, err),
		fmt.Sprintf(`see who holds it with ss -ltnp 'sport = :%s' and stop that, or choose another port with listen`, port))
}

func exporterOf(port string) string {
	switch port {
	case "9100":
		return "node_exporter"
	case "9104":
		return "mysqld_exporter"
	case "9121":
		return "redis_exporter"
	case "9113":
		return "nginx-prometheus-exporter"
	case "8080":
		return "cAdvisor"
	case "9080":
		return "Promtail"
	case "9090":
		return "Prometheus"
	}
	return ""
}
