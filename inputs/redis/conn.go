package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/hermod-agent/hermod/internal/target"
)

// conn is a connection that the server has let in. It is kept from one collection to the next.
type conn struct {
	net  net.Conn
	tape *tape
	// used says that the server has answered on it before this collection: it may have closed the connection since, which is no fault.
	used bool
}

// patience bounds an exchange whose context has no deadline.
const patience = 10 * time.Second

// exchange sends commands that are written already and reads that many replies into the tape.
func (c *conn) exchange(ctx context.Context, request []byte, replies int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	// A bit of the time is kept, so that who waits for us hears of a server that hangs and not of us.
	until := time.Now().Add(patience)
	if deadline, ok := ctx.Deadline(); ok {
		left := time.Until(deadline)
		until = time.Now().Add(left - min(left/10, 500*time.Millisecond))
	}
	if err := c.net.SetDeadline(until); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.net.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	_, writeErr := c.net.Write(request)
	// A server that refuses us says so and closes: what it said is read even where nothing can be sent any more.
	if err := c.tape.read(c.net, replies); err != nil {
		if len(c.tape.roots) > 0 && c.tape.whole > 0 && c.tape.reply(0).isError() {
			return &serverError{text: string(c.tape.reply(0).text())}
		}
		if writeErr != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return writeErr
		}
		return err
	}
	return writeErr
}

func (c *conn) close() { _ = c.net.Close() }

// gone says whether the other side has closed the connection.
func gone(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// serverError is an error that the server answered with.
type serverError struct {
	command string // what was asked: "INFO"; "" for the connection itself
	text    string // "NOAUTH Authentication required."
}

func (e *serverError) Error() string {
	if e.command == "" {
		return "the server answers " + quote([]byte(e.text))
	}
	return "the server answers " + e.command + " with " + quote([]byte(e.text))
}

// dial connects, speaks TLS where that is configured, and shows the password. words are sent after that, in the same exchange; their replies
// begin at the returned place in the tape.
func (in *input) dial(ctx context.Context, to *target.Target, commands ...[]string) (c *conn, first int, err error) {
	c, first, err = in.tryDial(ctx, to, commands)
	if err == nil || !gone(err) {
		return c, first, err
	}
	// A server that doesn't want us (protected mode, too many clients) says why before it closes, but what we sent meanwhile can make the
	// system throw that away. Once more, and only listening.
	nc, dialErr := to.DialContext(ctx)
	if dialErr != nil {
		return nil, 0, err
	}
	if in.cfg.TLS != nil {
		if nc, dialErr = in.secure(ctx, nc, to); dialErr != nil {
			return nil, 0, err
		}
	}
	listening := &conn{net: nc, tape: &in.tape}
	defer listening.close()
	quick, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	heard := listening.exchange(quick, nil, 1)
	if heard == nil && in.tape.reply(0).isError() {
		return nil, 0, &serverError{text: string(in.tape.reply(0).text())}
	}
	if isAlert(heard) {
		return nil, 0, heard
	}
	return nil, 0, err
}

// isAlert says whether the other side ended TLS with a reason. In TLS 1.3 our handshake is over before the server has seen our certificate.
func isAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}

func (in *input) tryDial(ctx context.Context, to *target.Target, commands [][]string) (c *conn, first int, err error) {
	password, err := in.cfg.Password.Reveal()
	if err != nil {
		return nil, 0, &secretError{err}
	}
	nc, err := to.DialContext(ctx)
	if err != nil {
		return nil, 0, err
	}
	if in.cfg.TLS != nil {
		if nc, err = in.secure(ctx, nc, to); err != nil {
			return nil, 0, err
		}
	}
	c = &conn{net: nc, tape: &in.tape}
	var request []byte
	if password != "" {
		if in.cfg.User != "" {
			request = appendCommand(request, "AUTH", in.cfg.User, password)
		} else {
			request = appendCommand(request, "AUTH", password)
		}
		first++
	}
	if in.cfg.SetClientName {
		request = appendCommand(request, "CLIENT", "SETNAME", "hermod")
		first++ // whether the server knows names, or lets us take one, doesn't matter
	}
	if in.cfg.IsCluster {
		request = appendCommand(request, "READONLY") // a replica then answers for the keys that it has
		first++
	}
	for _, words := range commands {
		request = appendCommand(request, words...)
	}
	err = c.exchange(ctx, request, first+len(commands))
	clear(request) // it holds the password
	in.noPassword = false
	var said *serverError
	if password != "" && errors.As(err, &said) && !strings.HasPrefix(said.text, "DENIED") && !strings.Contains(said.text, "max number of clients") {
		err = &authError{code: authCode(said.text)}
	}
	if err == nil && password != "" && in.tape.reply(0).isError() {
		text := string(in.tape.reply(0).text())
		if in.noPassword = withoutPassword(text); !in.noPassword {
			err = &authError{code: authCode(text)}
		}
	}
	if err != nil {
		c.close()
		return nil, 0, err
	}
	return c, first, nil
}

// secure speaks TLS over a connection.
func (in *input) secure(ctx context.Context, nc net.Conn, to *target.Target) (net.Conn, error) {
	// The files are read at each connection, so that new certificates need no restart.
	cfg, err := in.cfg.TLS.ClientConfig()
	if err != nil {
		_ = nc.Close()
		return nil, &tlsFilesError{err}
	}
	if cfg.ServerName == "" {
		cfg.ServerName = in.cfg.Address.Host
		if host, _, err := net.SplitHostPort(to.String()); err == nil { // another node of the cluster
			cfg.ServerName = host
		}
	}
	secured := tls.Client(nc, cfg)
	if err := secured.HandshakeContext(ctx); err != nil {
		_ = nc.Close()
		return nil, &handshakeError{err}
	}
	return secured, nil
}
