package target

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"syscall"

	"github.com/hermod-agent/hermod/internal/access"
	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
)

// dialError is a failed attempt in our words. The cause stays to be asked for.
type dialError struct {
	text  string
	cause error
}

func (e *dialError) Error() string { return e.text }
func (e *dialError) Unwrap() error { return e.cause }

// explain puts a failed attempt to connect to address, which is where the target was looked for, into words that say what to do.
func (t *Target) explain(err error, address string) error {
	at := ""
	if address != t.String() && t.address.Kind != config.AddressUnix {
		at = " at " + address
	}
	tell := func(remedy, format string, args ...any) error {
		return component.WithRemedy(&dialError{text: fmt.Sprintf(format, args...), cause: err}, remedy)
	}
	if t.address.Kind == config.AddressUnix {
		return t.explainSocket(err, tell)
	}
	var dns *net.DNSError
	var op *net.OpError
	host := t.address.Host
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		remedy := fmt.Sprintf("check the name; if it is that of a container, write container://%s, which is found through Docker's socket", hostPort(host, t.address.Port))
		if t.contained {
			remedy += ", or let the agent join a network of that container (docker network connect NETWORK AGENT): names are known within a network only"
		}
		return tell(remedy, "the host %q of %s is not known", host, t)
	case errors.As(err, &dns):
		return tell("check the name server of this machine", "the host %q of %s can't be looked up: %s", host, t, dns.Err)
	case errors.Is(err, syscall.ECONNREFUSED):
		remedy := "start the server, or check host and port"
		switch {
		case t.address.Kind != config.AddressTCP:
			remedy = "start the server in the container, check that the port is the one inside the container and not the published one, and that the server listens on all addresses and not on 127.0.0.1 alone"
		case t.contained && loopback(host):
			remedy = fmt.Sprintf("%s is the agent's own container: write the name of the server's container, like container://NAME:%d, or run the agent on the host's network (network_mode: host)", host, t.address.Port)
		}
		return tell(remedy, "nothing listens for %s%s (connection refused)", t, at)
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return tell("check the address, the network and the firewall between", "there is no way to %s%s", t, at)
	case errors.Is(err, context.Canceled):
		return &dialError{text: fmt.Sprintf("the connection to %s was given up", t), cause: err}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &op) && op.Timeout():
		remedy := "check host and port, and the firewall between"
		if t.address.Kind != config.AddressTCP {
			remedy = "see whether the container hangs, and whether a firewall stands between its network and the agent"
		}
		return tell(remedy, "no connection to %s%s in time", t, at)
	}
	return tell("check the address and the network between", "can't connect to %s%s: %s", t, at, err)
}

// explainSocket is explain for the path of a socket.
func (t *Target) explainSocket(err error, tell func(remedy, format string, args ...any) error) error {
	path := t.address.Path
	if info, statErr := os.Stat(path); statErr == nil && info.Mode()&fs.ModeSocket == 0 {
		return tell("name the socket itself", "%s is not a socket", path)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		remedy := "start the server, or check the path"
		if t.contained {
			remedy = "start the server, or check the path; the agent runs in a container: the folder of the socket has to be mounted into it (-v in docker run)"
		}
		return tell(remedy, "there is no socket %s", path)
	case errors.Is(err, fs.ErrPermission):
		what, remedy := access.Denied(path, access.Write)
		return tell(remedy, "can't connect to the socket %s: %s", path, what)
	case errors.Is(err, syscall.ECONNREFUSED):
		return tell("start the server; if it was started anew and the socket is mounted into the agent's container, mount its folder and not the socket",
			"nothing listens on the socket %s", path)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return tell("see whether the server hangs", "no connection to the socket %s in time", path)
	}
	return tell("check that the server runs and that this is its socket", "can't connect to the socket %s: %s", path, err)
}

func hostPort(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
