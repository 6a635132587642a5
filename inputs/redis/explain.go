package redis

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/hermod-agent/hermod/pipeline/component"
)

type (
	// secretError is a password whose file can't be read.
	secretError struct{ error }
	// tlsFilesError is a file of the tls block that can't be used, handshakeError a TLS connection that didn't come about.
	tlsFilesError  struct{ error }
	handshakeError struct{ error }
	// authError is a refused AUTH. Of what the server said only the code is kept: some servers repeat what they were sent.
	authError struct{ code string }
)

func (e *secretError) Unwrap() error    { return e.error }
func (e *tlsFilesError) Unwrap() error  { return e.error }
func (e *handshakeError) Unwrap() error { return e.error }
func (e *authError) Error() string      { return "the server answers AUTH with " + e.code }

// The kinds of refusals of AUTH. Servers before Redis 6 begin them all with ERR.
const (
	wrongPassword = "WRONGPASS"
	noACL         = "wrong number of arguments"
)

// authCode says what a refusal of AUTH is, without repeating it.
func authCode(text string) string {
	switch {
	case strings.HasPrefix(text, "WRONGPASS"), strings.HasPrefix(text, "ERR invalid password"):
		return wrongPassword
	case strings.HasPrefix(text, "ERR wrong number of arguments"):
		return noACL
	case strings.HasPrefix(text, "ERR unknown command"):
		return "unknown command"
	}
	code, _, _ := strings.Cut(text, " ")
	if code != "" && len(code) < 20 && strings.Trim(code, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == "" {
		return code
	}
	return "an error"
}

// withoutPassword recognises a server whose default user has no password.
func withoutPassword(text string) bool {
	return strings.HasPrefix(text, "ERR AUTH <password> called without any password configured") || strings.HasPrefix(text, "ERR Client sent AUTH, but no password is set")
}

// user is the name of the ACL user that we are.
func (in *input) user() string {
	if in.cfg.User != "" {
		return in.cfg.User
	}
	return "default"
}

// explain puts what went wrong into words that name the server and say what to do. Nothing in them changes from one attempt to the next.
func (in *input) explain(err error) error {
	where := in.server.String()
	tell := func(what, remedy string) error { return component.WithRemedy(errors.New(what), remedy) }
	var (
		refused  *authError
		said     *serverError
		protocol *protocolError
		secret   *secretError
		files    *tlsFilesError
		shake    *handshakeError
	)
	switch {
	case errors.As(err, &secret):
		return tell(fmt.Sprintf("no connection to %s: the password: %s", where, secret), "make the file readable for the agent")
	case errors.As(err, &files):
		return tell(fmt.Sprintf("no connection to %s: %s", where, files), "check the files that the tls block names")
	case errors.As(err, &shake):
		return in.explainTLS(shake.error)
	case in.cfg.TLS != nil && isAlert(err):
		return in.explainTLS(err)
	case errors.As(err, &refused):
		return in.explainAuth(refused)
	case errors.As(err, &said):
		return in.explainServer(said)
	case errors.As(err, &protocol):
		if strings.Contains(protocol.text, `\x15\x03`) { // an alert of TLS
			return tell(where+" speaks TLS", "add tls { } to the block")
		}
		return tell(fmt.Sprintf("%s is no Redis server: %s", where, protocol), "check the address and the port")
	case errors.Is(err, errTooLarge):
		return tell(fmt.Sprintf("%s: %s", where, err), "ask for less: fewer keys, or no list of clients")
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("%s: %w", where, context.Canceled)
	}
	if remedy, _ := component.Remedy(err); remedy != "" {
		return err // the target's own words
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return component.WithRemedy(&timeoutError{where}, "see whether it hangs (redis-cli --latency, SLOWLOG GET), or set a longer timeout")
	case gone(err) && in.cfg.TLS == nil:
		return tell(where+" closed the connection", "see the server's log; where it expects TLS, add tls { } to the block")
	case gone(err):
		return tell(where+" closed the connection", "see the server's log; it may want a client certificate: cert_file and key_file in the tls block")
	}
	return tell(fmt.Sprintf("%s: %s", where, plainError(err)), "check the network between")
}

// timeoutError is a server that didn't answer in time.
type timeoutError struct{ where string }

func (e *timeoutError) Error() string { return e.where + " doesn't answer in time" }
func (e *timeoutError) Unwrap() error { return context.DeadlineExceeded }

// plainError is an error's text without the addresses of a connection, of which ours is another one each time.
func plainError(err error) string {
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		return op.Op + ": " + op.Err.Error()
	}
	return err.Error()
}

// explainAuth is explain for a refused AUTH.
func (in *input) explainAuth(e *authError) error {
	where, user := in.server.String(), in.user()
	tell := func(what, remedy string) error { return component.WithRemedy(errors.New(what), remedy) }
	switch {
	case e.code == wrongPassword && in.cfg.User == "":
		return tell(fmt.Sprintf("%s doesn't accept the password of user %q (WRONGPASS)", where, user),
			"check password: it is the one that the server has as requirepass; for a user of another name set user")
	case e.code == wrongPassword:
		return tell(fmt.Sprintf("%s doesn't accept user %q with this password (WRONGPASS)", where, user),
			fmt.Sprintf("check user and password, and that the user is there and on; in redis-cli: ACL SETUSER %s on resetpass >PASSWORD %s", word(user), in.grants()))
	case e.code == noACL && in.cfg.User != "":
		return tell(where+" knows no users: it is older than Redis 6", "leave user out of the block, the password is requirepass")
	case e.code == "DENIED":
		return in.explainServer(&serverError{text: "DENIED"})
	}
	return tell(fmt.Sprintf("%s: %s", where, e), "check user and password, and whether AUTH was renamed on this server")
}

// explainServer is explain for an error that the server answered with.
func (in *input) explainServer(e *serverError) error {
	where := in.server.String()
	tell := func(what, remedy string) error { return component.WithRemedy(errors.New(what), remedy) }
	code, _, _ := strings.Cut(e.text, " ")
	switch code {
	case "NOAUTH":
		return tell(where+" wants a password (NOAUTH)",
			"set password, which is the server's requirepass, or user and password of an ACL user; in redis-cli, for one of the agent's own: "+
				"ACL SETUSER hermod on >PASSWORD "+in.grants())
	case "NOPERM":
		what := "what the agent asks for"
		if e.command != "" {
			what = e.command
		}
		return tell(fmt.Sprintf("%s doesn't let user %q run %s (NOPERM)", where, in.user(), what),
			fmt.Sprintf("in redis-cli: ACL SETUSER %s %s", word(in.user()), in.grants()))
	case "DENIED":
		return tell(where+" is in protected mode: it takes connections from its own machine only (DENIED)",
			"give the server a password (requirepass in redis.conf, or in redis-cli on its machine: CONFIG SET requirepass PASSWORD) and set it here as password; "+
				"where nobody else can reach it: CONFIG SET protected-mode no")
	case "LOADING":
		return tell(where+" is loading its data (LOADING)", "wait until it has; the next collection tries again")
	case "BUSY":
		return tell(where+" is busy with a script (BUSY)", "in redis-cli: SCRIPT KILL, if it doesn't end by itself")
	}
	if strings.Contains(e.text, "max number of clients") {
		return tell(where+" has no connection left (max number of clients reached)", "close connections that nobody uses (CLIENT LIST), or in redis-cli: CONFIG SET maxclients NUMBER")
	}
	return tell(fmt.Sprintf("%s: %s", where, e), "see what this server says of it")
}

// explainTLS is explain for a TLS connection that didn't come about.
func (in *input) explainTLS(err error) error {
	where := in.server.String()
	tell := func(what, remedy string) error { return component.WithRemedy(errors.New(what), remedy) }
	var (
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
		verify    *tls.CertificateVerificationError
		record    tls.RecordHeaderError
		op        *net.OpError
	)
	switch {
	case errors.As(err, &authority):
		return tell(fmt.Sprintf("the certificate of %s is signed by an authority that isn't trusted here (%s)", where, issuer(authority.Cert)),
			"name the file with the authority's certificate as ca_file in the tls block")
	case errors.As(err, &host):
		return tell(fmt.Sprintf("the certificate of %s is for another name: %s", where, host.Error()),
			"use a name in the address that the certificate has, or set server_name in the tls block")
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return tell(fmt.Sprintf("the certificate of %s is out of date: %s", where, invalid.Error()), "renew the server's certificate, or set this machine's clock right")
	case errors.As(err, &verify), errors.As(err, &invalid):
		return tell(fmt.Sprintf("the certificate of %s can't be trusted: %s", where, plainError(err)), "check the server's certificate and the tls block")
	case errors.As(err, &record), errors.Is(err, io.EOF), gone(err):
		return tell(where+" doesn't speak TLS", "leave tls out of the block, or check the port: it is the server's tls-port")
	case errors.As(err, &op) && op.Op == "remote error": // an alert
		remedy := "check cert_file and key_file in the tls block: the server doesn't accept the certificate"
		if in.cfg.TLS.CertFile == "" {
			remedy = "the server may want a client certificate: set cert_file and key_file in the tls block (or tls-auth-clients no on the server)"
		}
		return tell(fmt.Sprintf("%s broke the TLS handshake off: %s", where, op.Err), remedy)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return tell(where+" doesn't answer to TLS in time", "check the port: it is the server's tls-port; leave tls out of the block where the server doesn't speak TLS, "+
			"which waits for more then")
	}
	return tell(fmt.Sprintf("no TLS connection to %s: %s", where, plainError(err)), "check the tls block")
}

func issuer(c *x509.Certificate) string {
	if c == nil {
		return "unknown"
	}
	return c.Issuer.String()
}

// word writes a name as redis-cli reads it.
func word(name string) string {
	if name != "" && !strings.ContainsAny(name, " \t\r\n\"'\\") {
		return name
	}
	return quote([]byte(name))
}

// quote makes text that came from elsewhere fit for a message: one line, bounded.
func quote(text []byte) string {
	const most = 100
	if len(text) > most {
		return strconv.Quote(string(text[:most])) + "..."
	}
	return strconv.Quote(string(text))
}
