package mysql

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	mysql "github.com/go-sql-driver/mysql"

	"github.com/hermod-agent/hermod/pipeline/component"
)

// Errors of the servers that we know (https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html,
// https://mariadb.com/kb/en/mariadb-error-code-reference/).
const (
	errTooManyConnections   = 1040
	errDatabaseDenied       = 1044
	errAccessDenied         = 1045
	errUnknownDatabase      = 1049
	errParse                = 1064
	errUnknownTable         = 1109
	errHostBlocked          = 1129
	errHostNotAllowed       = 1130
	errTableDenied          = 1142
	errColumnDenied         = 1143
	errNoSuchTable          = 1146
	errUnknownVariable      = 1193
	errTooManyUserConns     = 1203
	errLockWait             = 1205
	errUserLimit            = 1226
	errPrivilege            = 1227
	errOldClient            = 1251
	errUnknownStorageEngine = 1286
	errRoutineDenied        = 1370
	errAccessDeniedNoPass   = 1698
	errMustChangePassword   = 1820
	errPasswordExpired      = 1862
	errStatementTimeMariaDB = 1969
	errStatementTime        = 3024
	errAccountLocked        = 3118
	errInsecureTransport    = 3159
	errAccountLockedMariaDB = 4151
	errPluginNotLoaded      = 1524
	errQueryInterrupted     = 1317
)

// serverError is what the server answered, or nil when the fault lies elsewhere.
func serverError(err error) *mysql.MySQLError {
	var e *mysql.MySQLError
	if errors.As(err, &e) {
		return e
	}
	return nil
}

func isServerError(err error, number uint16) bool {
	e := serverError(err)
	return e != nil && e.Number == number
}

// attempt is a login that is being tried: what is known of it when it fails.
type attempt struct {
	login     login
	connected bool
	dial      error   // why it was not connected
	version   version // as the greeting has it
	said      string  // by the driver, about the network, where its error says nothing
}

// Print implements the driver's Logger.
func (a *attempt) Print(v ...any) { a.said = fmt.Sprint(v...) }

// deniedLogin finds the account in "Access denied for user 'exporter'@'172.18.0.1' (using password: YES)", which is how the server saw us.
var deniedLogin = regexp.MustCompile(`'([^']*)'@'([^']*)'`)

// deniedHost finds the host in "Host '172.18.0.5' is not allowed to connect to this MariaDB server".
var deniedHost = regexp.MustCompile(`^Host '([^']*)'`)

// explain says why there is no connection, and what to do.
func (in *input) explain(err error, try *attempt) error {
	if try == nil {
		try = &attempt{}
		try.login, _ = in.cfg.login() // the reason is in hand already
	}
	if try.dial != nil {
		return try.dial // in its own words
	}
	where := try.login.address.String()
	if in.target != nil {
		where = in.target.String()
	}
	e := explanation{in: in, where: where, cause: err}
	e.version = try.version
	if try.login.driver != nil {
		e.user, e.password, e.secured = try.login.driver.User, try.login.driver.Passwd != "", try.login.driver.TLS != nil
	}
	if refusal := serverError(err); refusal != nil {
		return e.refused(refusal)
	}
	return e.failed(err, try.said)
}

// explanation is what the words are made of.
type explanation struct {
	in       *input
	where    string
	version  version
	user     string
	password bool // one was sent
	secured  bool // by TLS
	cause    error
}

func (e *explanation) tell(remedy, format string, args ...any) error {
	return component.WithRemedy(&refusedError{fmt.Sprintf(format, args...), e.cause}, remedy)
}

// refusedError is a fault in our words. The cause stays to be asked for.
type refusedError struct {
	text  string
	cause error
}

func (e *refusedError) Error() string { return e.text }
func (e *refusedError) Unwrap() error { return e.cause }

// account writes an account for a statement.
func account(user, host string) string {
	quote := func(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
	return quote(user) + "@" + quote(host)
}

// setup are the statements that make the account with what the collectors need.
func (e *explanation) setup(user, host string) string {
	to := account(user, host)
	statements := "CREATE USER " + to + " IDENTIFIED BY 'PASSWORD' WITH MAX_USER_CONNECTIONS 3;"
	if g := grants(e.in.needs(e.version), to); g != "" {
		statements += " " + g
	}
	if !e.version.known() {
		statements += " (MariaDB 10.5 and newer: SLAVE MONITOR in place of REPLICATION CLIENT)"
	}
	return statements
}

// needs are the privileges that the collectors that run need at a server of this version.
func (in *input) needs(v version) []grant {
	var all []grant
	for _, j := range in.collectors {
		if !v.known() || v.since(j.major, j.minor, 0) {
			all = append(all, j.needs(v, in.cfg)...)
		}
	}
	return all
}

// refused says what a server's refusal of the login means.
func (e *explanation) refused(r *mysql.MySQLError) error {
	user, host := e.user, "%"
	if m := deniedLogin.FindStringSubmatch(r.Message); m != nil {
		user, host = m[1], m[2]
	}
	as := account(user, host)
	server := e.where
	if e.version.known() {
		server += " (" + e.version.String() + ")"
	}
	switch r.Number {
	case errAccessDenied, errAccessDeniedNoPass:
		if !e.password {
			return e.tell("write user and password in the block; where there is no account yet, run on the server: "+e.setup(user, host),
				"%s lets %s in with a password only, and none was sent: %s", server, as, r.Message)
		}
		tls := ""
		if !e.secured {
			tls = ", and whether the account REQUIREs SSL, which needs a tls block"
		}
		return e.tell("check user and password"+tls+"; where there is no account yet, run on the server: "+e.setup(user, host),
			"%s refuses the password of %s, or has no such account: %s", server, as, r.Message)
	case errHostNotAllowed:
		if m := deniedHost.FindStringSubmatch(r.Message); m != nil {
			host = m[1]
		}
		if strings.Contains(r.Message, "MariaDB") {
			e.version.mariadb = true
		}
		return e.tell("run on the server: "+e.setup(e.user, host), "%s has no account for any user at host %s, from where it sees the agent come: %s", server, host, r.Message)
	case errHostBlocked:
		remedy := "run on the server: TRUNCATE TABLE performance_schema.host_cache; (before MySQL 8.0.23 and in MariaDB: FLUSH HOSTS;)"
		return e.tell(remedy+"; find out which client breaks its connections off, or raise max_connect_errors", "%s has blocked this host after too many broken connections: %s", server, r.Message)
	case errTooManyConnections:
		return e.tell("close connections that nobody needs (SHOW PROCESSLIST), or raise the limit: SET GLOBAL max_connections = ...; the agent needs one",
			"%s has as many connections as it allows: %s", server, r.Message)
	case errTooManyUserConns, errUserLimit:
		return e.tell(fmt.Sprintf("run on the server: ALTER USER %s WITH MAX_USER_CONNECTIONS 3; the agent needs one, others may use the account as well", as),
			"%s allows the account %s no more connections: %s", server, as, r.Message)
	case errAccountLocked, errAccountLockedMariaDB:
		return e.tell(fmt.Sprintf("run on the server: ALTER USER %s ACCOUNT UNLOCK;", as), "the account %s is locked at %s: %s", as, server, r.Message)
	case errMustChangePassword, errPasswordExpired:
		return e.tell(fmt.Sprintf("run on the server: ALTER USER %s IDENTIFIED BY 'PASSWORD'; ALTER USER %s PASSWORD EXPIRE NEVER;", as, as),
			"the password of %s has expired at %s: %s", as, server, r.Message)
	case errInsecureTransport:
		return e.tell("write a tls block in the input, with the server's ca.pem as ca_file", "%s takes connections with TLS only: %s", server, r.Message)
	case errPluginNotLoaded, errOldClient:
		return e.plugin(server, r.Message)
	case errUnknownDatabase, errDatabaseDenied:
		return e.tell("leave the database out of the dsn", "%s doesn't let %s into the database of the dsn: %s", server, as, r.Message)
	case errUnknownVariable:
		if e.in.cfg.LogSlowFilter && strings.Contains(r.Message, "log_slow_filter") {
			return e.tell("leave log_slow_filter out: Percona Server and MariaDB have it, MySQL doesn't", "%s doesn't know log_slow_filter", server)
		}
	}
	return e.tell("see the server's log", "%s refuses the connection: %s", server, r.Error())
}

// plugin says what to do about a way of showing a password that one side doesn't have.
func (e *explanation) plugin(server, what string) error {
	as := account(e.user, "%")
	remedy := fmt.Sprintf("run on the server, with the host that SELECT user, host FROM mysql.user shows: ALTER USER %s IDENTIFIED WITH caching_sha2_password BY 'PASSWORD';", as)
	if e.version.mariadb {
		remedy = fmt.Sprintf("run on the server, with the host that SELECT user, host FROM mysql.user shows: ALTER USER %s IDENTIFIED VIA mysql_native_password USING PASSWORD('PASSWORD');", as)
	}
	return e.tell(remedy, "%s wants the password shown in a way that the agent doesn't know: %s", server, what)
}

// failed says what a fault of the network, of TLS or of the protocol means.
func (e *explanation) failed(err error, said string) error {
	var (
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
		record    tls.RecordHeaderError
		verify    *tls.CertificateVerificationError
	)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return e.tell("see whether the server hangs or has too much to do, and whether it is MySQL or MariaDB that listens there",
			"%s has taken the connection and doesn't answer within %s", e.where, e.in.timeout)
	case errors.Is(err, context.Canceled):
		return e.tell("", "the connection to %s was given up", e.where)
	case errors.As(err, &authority):
		return e.tell("name the file with the authority's certificate as ca_file in the tls block: ca.pem in the server's data folder, where MySQL made its own",
			"the certificate of %s is signed by an authority that isn't trusted here", e.where)
	case errors.As(err, &host):
		return e.tell("give the server a certificate with that name, or set server_name in the tls block to one that it has; a certificate that MySQL made itself has none: set tls_any_name",
			"the certificate of %s is for another name: %s", e.where, host.Error())
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return e.tell("renew the server's certificate, or set this machine's clock right", "the certificate of %s is out of date: %s", e.where, invalid.Error())
	case errors.As(err, &verify), errors.As(err, &invalid), errors.As(err, &record):
		return e.tell("check the server's certificate and the tls block", "no TLS with %s: %s", e.where, err)
	case errors.Is(err, mysql.ErrNoTLS):
		return e.tell("take the tls block out, or switch TLS on at the server (ssl_cert, ssl_key)", "%s doesn't offer TLS, and the tls block asks for it", e.where)
	case errors.Is(err, mysql.ErrUnknownPlugin), errors.Is(err, mysql.ErrOldPassword), errors.Is(err, mysql.ErrNativePassword):
		return e.plugin(e.where, err.Error())
	case errors.Is(err, mysql.ErrCleartextPassword):
		return e.tell("write a tls block, and allow it: allowCleartextPasswords=true in a dsn, or enable-cleartext-plugin in the file of my_cnf",
			"%s wants the password in the clear", e.where)
	case strings.Contains(err.Error(), "caching_sha2_password"):
		return e.sha2()
	case errors.Is(err, errNoGreeting), errors.Is(err, mysql.ErrMalformPkt), errors.Is(err, mysql.ErrPktSync), errors.Is(err, mysql.ErrOldProtocol):
		return e.tell("check the port: MySQL's own is 3306, and 33060 is that of another protocol", "what listens at %s doesn't speak MySQL's protocol: %s", e.where, err)
	case errors.Is(err, mysql.ErrInvalidConn), errors.Is(err, driver.ErrBadConn), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		if said == "" {
			said = err.Error()
		}
		return e.tell("see the server's log, and whether it is MySQL or MariaDB that listens there", "%s broke the connection off: %s", e.where, said)
	}
	return e.tell("see the server's log", "no connection to %s: %s", e.where, err)
}

// sha2 is an account with caching_sha2_password that the server can't verify over a connection in the clear.
func (e *explanation) sha2() error {
	return e.tell("write a tls block in the input, or connect by the server's socket, or give the server RSA keys (caching_sha2_password_auto_generate_rsa_keys=ON)",
		"%s can't verify the password of %q (caching_sha2_password) without TLS, since it has no RSA key to send it with", e.where, e.user)
}

// explainCollector says why a collector has nothing, and what to do.
func (in *input) explainCollector(k *kind, err error) error {
	s := in.session
	e := explanation{in: in, where: in.target.String(), version: s.version, cause: err}
	to := account(in.owner())
	leave := fmt.Sprintf("leave %s out of collect", k.name)
	if k.standard {
		leave = fmt.Sprintf("write no_collect = [%q]", k.name)
	}
	r := serverError(err)
	if r == nil {
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			return e.tell(fmt.Sprintf("see whether the server hangs or has too much to do; raise query_timeout, and timeout with it, or %s", leave),
				"no answer within %s", in.timeout)
		case errors.Is(err, mysql.ErrInvalidConn), errors.Is(err, driver.ErrBadConn), errors.Is(err, io.EOF):
			return e.tell("see the server's log", "the server broke the connection off")
		}
		return err
	}
	switch r.Number {
	case errPrivilege, errTableDenied, errColumnDenied, errDatabaseDenied, errRoutineDenied, errAccessDenied:
		in.refused = true
		return e.tell(fmt.Sprintf("run on the server: %s or %s", grants(k.needs(s.version, in.cfg), to), leave), "a privilege is missing: %s", r.Message)
	case errStatementTime, errStatementTimeMariaDB, errQueryInterrupted:
		return e.tell(fmt.Sprintf("raise query_timeout, and timeout with it, or %s", leave), "the statement needs more than the %s that query_timeout allows", in.timeout)
	case errLockWait:
		return e.tell("see which connection changes a table's definition (SHOW PROCESSLIST)", "a statement waited for a lock for more than lock_wait_timeout: %s", r.Message)
	case errParse, errNoSuchTable, errUnknownTable, errUnknownVariable, errUnknownStorageEngine:
		return e.tell(leave, "%s doesn't have what this collector asks for: %s", s.version, r.Message)
	}
	return e.tell("see the server's log, or "+leave, "%s", r.Error())
}

// owner is the account that the server found for us.
func (in *input) owner() (user, host string) {
	user, host = in.session.account, "%"
	if i := strings.LastIndexByte(user, '@'); i >= 0 {
		user, host = user[:i], user[i+1:]
	}
	return user, host
}
