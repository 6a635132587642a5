package mysql

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strconv"

	driver "github.com/go-sql-driver/mysql"

	"github.com/hermod-agent/hermod/internal/httpclient"
	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
)

// login is where to connect and as whom.
type login struct {
	address config.Address
	driver  *driver.Config
}

// login puts together what the config, its secrets and the option file say now: it is asked for each connection.
func (c *Config) login() (login, error) {
	if c.DSN.IsSet() {
		return c.loginOfDSN()
	}
	options := map[string]string{}
	if c.MyCnf != "" {
		var err error
		if options, err = readOptions(c.MyCnf, c.MyCnfSection); err != nil {
			return login{}, err
		}
	}
	l := login{address: c.Address, driver: driver.NewConfig()}
	if !l.address.IsSet() {
		var err error
		if l.address, err = addressOf(options); err != nil {
			return login{}, err
		}
	}
	l.driver.User, l.driver.Passwd = options["user"], options["password"]
	if c.User != "" {
		l.driver.User = c.User
	}
	if c.Password.IsSet() {
		password, err := c.Password.Reveal()
		if err != nil {
			return login{}, component.WithRemedy(err, "make the file readable for the agent")
		}
		l.driver.Passwd = password
	}
	_, l.driver.AllowCleartextPasswords = options["enable-cleartext-plugin"]
	return l, c.secure(&l, options)
}

// addressOf is the address that an option file gives.
func addressOf(options map[string]string) (config.Address, error) {
	text := "localhost"
	switch {
	case options["socket"] != "" && options["host"] == "":
		text = options["socket"]
	case options["host"] != "":
		text = options["host"]
	}
	a, err := config.ParseAddress(text)
	if err != nil {
		return a, fmt.Errorf("my_cnf: host or socket: %w", err)
	}
	if options["port"] != "" {
		port, err := strconv.Atoi(options["port"])
		if err != nil || port < 1 || port > 65535 {
			return a, errors.New("my_cnf: port is not between 1 and 65535")
		}
		a = a.WithPort(port)
	}
	return a.WithPort(defaultPort), nil
}

// secure sets TLS up, as the block says or else the option file.
func (c *Config) secure(l *login, options map[string]string) error {
	block := c.TLS
	if block == nil {
		if block = tlsOf(options); block == nil {
			return nil
		}
		for _, err := range block.Validate() {
			return fmt.Errorf("my_cnf: %w", err)
		}
	}
	var err error
	if l.driver.TLS, err = block.ClientConfig(); err != nil {
		return component.WithRemedy(err, "check the files that the tls block names")
	}
	if c.TLSAnyName || c.TLS == nil && options["ssl-mode"] == "VERIFY_CA" && block.CAFile != "" {
		verifyAuthority(l.driver.TLS)
	}
	if l.driver.TLS.ServerName == "" {
		l.driver.TLS.ServerName = l.address.Host
	}
	return nil
}

// verifyAuthority makes a certificate count for who signed it, whatever its names are.
func verifyAuthority(c *tls.Config) {
	roots := c.RootCAs
	c.InsecureSkipVerify = true // of the library's check, which is about the name as well
	c.VerifyConnection = func(s tls.ConnectionState) error {
		options := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
		for _, between := range s.PeerCertificates[1:] {
			options.Intermediates.AddCert(between)
		}
		_, err := s.PeerCertificates[0].Verify(options)
		return err
	}
}

// tlsOf makes a tls block of an option file: of the options of MySQL's programs and of mysqld_exporter's own. nil is no TLS.
func tlsOf(options map[string]string) *httpclient.TLS {
	t := &httpclient.TLS{
		CAFile: options["ssl-ca"], CertFile: options["ssl-cert"], KeyFile: options["ssl-key"], ServerName: options["tls-server-name"],
	}
	switch options["tls-min-version"] {
	case "TLS10", "1.0":
		t.MinVersion = "1.0"
	case "TLS11", "1.1":
		t.MinVersion = "1.1"
	case "TLS13", "1.3":
		t.MinVersion = "1.3"
	}
	skip, wanted := options["ssl-skip-verfication"]
	t.InsecureSkipVerify = wanted && skip != "false" && skip != "0"
	switch options["tls"] {
	case "skip-verify", "preferred":
		t.InsecureSkipVerify, wanted = true, true
	case "true":
		wanted = true
	case "false":
		return nil
	}
	switch options["ssl-mode"] {
	case "DISABLED":
		return nil
	case "REQUIRED":
		t.InsecureSkipVerify, wanted = true, true
	case "VERIFY_CA", "VERIFY_IDENTITY":
		wanted = true
	}
	if !wanted && t.CAFile == "" && t.CertFile == "" {
		return nil
	}
	return t
}

// loginOfDSN takes a data source name apart. Its errors never show the name, which holds the password.
func (c *Config) loginOfDSN() (login, error) {
	const remedy = "write it like user:password@tcp(db:3306)/ or user:password@unix(/run/mysqld/mysqld.sock)/"
	dsn, err := c.DSN.Reveal()
	if err != nil {
		return login{}, component.WithRemedy(err, "make the file readable for the agent")
	}
	parsed, err := driver.ParseDSN(dsn)
	if err != nil {
		return login{}, component.WithRemedy(errors.New("the dsn can't be read"), remedy)
	}
	l := login{driver: parsed}
	switch parsed.Net {
	case "tcp", "tcp4", "tcp6":
		l.address, err = config.ParseAddress(parsed.Addr)
	case "unix":
		l.address, err = config.ParseAddress("unix:" + parsed.Addr)
	case "container", "compose":
		l.address, err = config.ParseAddress(parsed.Net + "://" + parsed.Addr)
	default:
		err = errors.New("")
	}
	if err != nil {
		return login{}, component.WithRemedy(errors.New("the dsn names no address that can be connected to"), remedy)
	}
	l.address = l.address.WithPort(defaultPort)
	// Nothing that the driver would do for others: parsing of times, statements in a row, files sent to the server.
	parsed.ParseTime, parsed.MultiStatements, parsed.AllowAllFiles, parsed.ColumnsWithAlias = false, false, false, false
	return l, nil
}

// network is what the driver is told of the address. It sends a password in the clear over a socket, and verifies a certificate's name.
func (l *login) network() (network, address string) {
	if l.address.Kind == config.AddressUnix {
		return "unix", l.address.Path
	}
	return "tcp", net.JoinHostPort(l.address.Host, strconv.Itoa(l.address.Port))
}
