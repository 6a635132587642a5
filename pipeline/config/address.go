package config

import (
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
)

// AddressKind says how an Address is reached.
type AddressKind string

// The kinds of addresses.
const (
	AddressTCP       AddressKind = "tcp"       // Host and Port
	AddressUnix      AddressKind = "unix"      // Path
	AddressContainer AddressKind = "container" // the container with the name Host, and Port
	AddressCompose   AddressKind = "compose"   // the service Host of the Compose project Project, and Port
)

// Address is where a server listens: "db:3306", "[::1]:3306", "unix:/run/db.sock" or "/run/db.sock", "container://NAME:3306",
// "compose://PROJECT/SERVICE:3306". The port may be left out where the server has a usual one; it is 0 then. The zero value isn't set.
type Address struct {
	Kind    AddressKind
	Host    string
	Project string
	Path    string
	Port    int

	text string // as it was written
}

// ParseAddress reads an Address.
func ParseAddress(s string) (Address, error) {
	const example = `write it like "db.example.com:3306", "unix:/run/db.sock", "container://NAME:3306" or "compose://PROJECT/SERVICE:3306"`
	bad := func(is string) (Address, error) {
		given := s
		if strings.Contains(s, "@") {
			given = "" // it may hold a password
		}
		return Address{}, &valueError{given: given, is: is, want: example}
	}
	a := Address{text: s}
	if s == "" {
		return bad("is not an address")
	}
	if strings.ContainsAny(s, " \t\r\n\x00") {
		return bad("is not an address: it holds white space")
	}
	if path, is := strings.CutPrefix(s, "unix:"); is || strings.HasPrefix(s, "/") {
		a.Kind, a.Path = AddressUnix, s
		if is {
			a.Path = "/" + strings.TrimLeft(path, "/")
		}
		if is && !strings.HasPrefix(path, "/") || a.Path == "/" {
			return bad("is not the absolute path of a socket")
		}
		return a, nil
	}
	if strings.Contains(s, "@") {
		return bad("is not an address: user and password have attributes of their own")
	}
	rest := s
	scheme, after, hasScheme := strings.Cut(s, "://")
	switch {
	case !hasScheme:
		a.Kind = AddressTCP
	case scheme == "tcp":
		a.Kind, rest = AddressTCP, after
	case scheme == "container":
		a.Kind, rest = AddressContainer, strings.TrimSuffix(after, "/")
	case scheme == "compose":
		a.Kind = AddressCompose
		if a.Project, rest, _ = strings.Cut(after, "/"); a.Project == "" || rest == "" || strings.Contains(a.Project, ":") {
			return bad("doesn't name a project and a service")
		}
	default:
		return bad("is not an address")
	}
	if strings.ContainsAny(rest, "/?#") {
		return bad("is not an address: nothing stands behind the port")
	}
	var ok bool
	if a.Host, a.Port, ok = splitPort(rest); !ok {
		return bad("is not an address: the port is not between 1 and 65535")
	}
	if a.Host == "" || a.Kind == AddressTCP && strings.Trim(a.Host, "0123456789") == "" {
		return bad("is an address without a host")
	}
	if a.Kind != AddressTCP && !containerName(a.Host) || a.Project != "" && !containerName(a.Project) {
		return bad("doesn't hold the name of a container: names have letters, digits and _.- only")
	}
	return a, nil
}

// splitPort takes the port off a host; it is 0 when none is written.
func splitPort(s string) (host string, port int, ok bool) {
	bare := s
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		bare = s[1 : len(s)-1]
	}
	if ip := net.ParseIP(bare); ip != nil && strings.Contains(bare, ":") {
		return ip.String(), 0, true
	}
	host, text, err := net.SplitHostPort(s)
	if err != nil {
		return s, 0, !strings.ContainsAny(s, ":[]")
	}
	port, err = strconv.Atoi(text)
	return host, port, err == nil && port >= 1 && port <= 65535
}

// containerName says whether Docker would take s as a name.
func containerName(s string) bool {
	for i := range len(s) {
		c := s[i]
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && (i == 0 || c != '_' && c != '.' && c != '-') {
			return false
		}
	}
	return s != ""
}

// IsSet says whether an address was given.
func (a Address) IsSet() bool { return a.Kind != "" }

// WithPort is the address with the port, where it has none of its own.
func (a Address) WithPort(port int) Address {
	if a.Kind == AddressUnix || !a.IsSet() || a.Port != 0 || port == 0 {
		return a
	}
	a.Port = port
	switch a.Kind {
	case AddressTCP:
		a.text = net.JoinHostPort(a.Host, strconv.Itoa(port))
	default:
		a.text = strings.TrimSuffix(a.text, "/") + ":" + strconv.Itoa(port)
	}
	return a
}

// String is the address as it was written.
func (a Address) String() string { return a.text }

// GoString is String, quoted.
func (a Address) GoString() string { return strconv.Quote(a.text) }

// Format prints String for every verb.
func (a Address) Format(f fmt.State, verb rune) { printAs(f, verb, a.text) }

// MarshalText is String.
func (a Address) MarshalText() ([]byte, error) { return []byte(a.text), nil }

// LogValue is String.
func (a Address) LogValue() slog.Value { return slog.StringValue(a.text) }
