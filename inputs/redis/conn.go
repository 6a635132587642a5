package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/hermod-agent/hermod/internal/target"
)

// conn is a connection that the server has let in. It is kept from one collection to the next. The library's client on it makes none by itself.
type conn struct {
	guard  *guard
	client *goredis.Client
	// used says that the server has answered on it before this collection: it may have closed the connection since, which is no fault.
	used bool
}

// call is the words of a command, as the library takes them.
type call []any

func words(of ...string) call {
	c := make(call, len(of))
	for i, w := range of {
		c[i] = w
	}
	return c
}

// newConn speaks RESP over nc, which is the connection's own from then on. Nothing is sent yet.
func newConn(nc net.Conn) *conn {
	mute()
	g := &guard{Conn: nc}
	client := goredis.NewClient(&goredis.Options{
		// Where the library gives the connection up, its next attempt ends at one that is closed.
		Dialer: func(context.Context, string, string) (net.Conn, error) { return g, nil },
		// It gives a connection up that is asked to move to its own address, which is for us to tell.
		Addr:     "a connection that is there",
		Protocol: 2, DisableIdentity: true, MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		PoolSize: 1, PipelinePoolSize: -1, ConnMaxIdleTime: -1,
		MaxRetries: -1, DialerRetries: 1,
		ContextTimeoutEnabled: true, ReadTimeout: -1, WriteTimeout: -1,
		// A collection's commands have 500 bytes. What is long of a reply goes past the buffer.
		ReadBufferSize: 16 << 10, WriteBufferSize: 4 << 10,
	})
	client.AddHook(silence{})
	return &conn{guard: g, client: client}
}

// mute keeps the library from writing to stderr by itself. What it has to say comes back as errors.
var mute = sync.OnceFunc(func() { goredis.SetLogger(&logging.VoidLogger{}) })

// silence keeps the library from asking anything by itself: its HELLO, with which it begins each connection, is refused before it is sent, as
// servers before Redis 6 refuse it. There are users who may not run it, and what it answers to a wrong password is other words than
// AUTH's. Our own commands go out as pipelines.
type silence struct{}

type unasked struct{}

func (unasked) Error() string { return "ERR nobody asked for it" }
func (unasked) RedisError()   {}

func (silence) DialHook(next goredis.DialHook) goredis.DialHook { return next }
func (silence) ProcessHook(goredis.ProcessHook) goredis.ProcessHook {
	return func(context.Context, goredis.Cmder) error { return unasked{} }
}
func (silence) ProcessPipelineHook(next goredis.ProcessPipelineHook) goredis.ProcessPipelineHook {
	return next
}

// patience bounds an exchange whose context has no deadline.
const patience = 10 * time.Second

// exchange sends commands in one piece and gives the replies to them.
func (c *conn) exchange(ctx context.Context, request []call) ([]value, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	// A bit of the time is kept, so that who waits for us hears of a server that hangs and not of us.
	until := time.Now().Add(patience)
	if deadline, ok := ctx.Deadline(); ok {
		left := time.Until(deadline)
		until = time.Now().Add(left - min(left/10, 500*time.Millisecond))
	}
	limited, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = c.guard.Close() })
	defer stop()
	c.guard.begin()
	pipe := c.client.Pipeline()
	for _, words := range request {
		pipe.Do(limited, words...)
	}
	sent, _ := pipe.Exec(limited) // its error is that of the first command which has one
	replies := make([]value, len(sent))
	for i, s := range sent {
		var err error
		if replies[i], err = replyTo(s.(*goredis.Cmd)); err == nil {
			continue
		}
		if i > 0 && replies[0].isError() {
			return nil, &serverError{text: string(replies[0].text())}
		}
		if unsent := c.guard.sendError(); unsent != nil {
			err = unsent
		}
		if errors.Is(err, net.ErrClosed) && ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, err
	}
	return replies, c.guard.unsent
}

// replyTo is what the server said to a command, be it an error. err is why it said nothing.
func replyTo(c *goredis.Cmd) (v value, err error) {
	is, err := c.Result()
	var said goredis.Error
	switch {
	case err == nil:
		return value{is}, nil
	case errors.Is(err, goredis.Nil):
		return value{}, nil
	case errors.As(err, &said):
		return value{said}, nil
	}
	return value{}, err
}

func (c *conn) close() {
	_ = c.client.Close()
	_ = c.guard.Close()
}

// gone says whether the other side has closed the connection.
func gone(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		errors.Is(err, net.ErrClosed) // by the library: more came than was asked for
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

// dial connects, speaks TLS where that is configured, and shows the password. commands are sent after that, in the same exchange; the replies are
// theirs.
func (in *input) dial(ctx context.Context, to *target.Target, commands ...call) (*conn, []value, error) {
	c, replies, err := in.tryDial(ctx, to, commands)
	if err == nil || !gone(err) {
		return c, replies, err
	}
	// A server that doesn't want us (protected mode, too many clients) says why before it closes, but what we sent meanwhile can make the
	// system throw that away. Once more, and only listening.
	nc, dialErr := in.open(ctx, to)
	if dialErr != nil {
		return nil, nil, err
	}
	listening := newConn(nc)
	defer listening.close()
	listening.guard.mute = true
	quick, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	heard, silent := listening.exchange(quick, []call{words("PING")})
	if silent == nil && heard[0].isError() {
		return nil, nil, &serverError{text: string(heard[0].text())}
	}
	if isAlert(silent) {
		return nil, nil, silent
	}
	return nil, nil, err
}

// isAlert says whether the other side ended TLS with a reason. In TLS 1.3 our handshake is over before the server has seen our certificate.
func isAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}

func (in *input) tryDial(ctx context.Context, to *target.Target, commands []call) (*conn, []value, error) {
	password, err := in.cfg.Password.Reveal()
	if err != nil {
		return nil, nil, &secretError{err}
	}
	nc, err := in.open(ctx, to)
	if err != nil {
		return nil, nil, err
	}
	c := newConn(nc)
	var request []call
	if password != "" {
		if in.cfg.User != "" {
			request = append(request, words("AUTH", in.cfg.User, password))
		} else {
			request = append(request, words("AUTH", password))
		}
	}
	if in.cfg.SetClientName {
		request = append(request, words("CLIENT", "SETNAME", "hermod")) // whether the server knows names, or lets us take one, doesn't matter
	}
	if in.cfg.IsCluster {
		request = append(request, words("READONLY")) // a replica then answers for the keys that it has
	}
	first := len(request)
	replies, err := c.exchange(ctx, append(request, commands...))
	in.noPassword = false
	var said *serverError
	if password != "" && errors.As(err, &said) && !strings.HasPrefix(said.text, "DENIED") && !strings.Contains(said.text, "max number of clients") {
		err = &authError{code: authCode(said.text)}
	}
	if err == nil && password != "" && replies[0].isError() {
		text := string(replies[0].text())
		if in.noPassword = withoutPassword(text); !in.noPassword {
			err = &authError{code: authCode(text)}
		}
	}
	if err != nil {
		c.close()
		return nil, nil, err
	}
	return c, replies[first:], nil
}

// open connects, and speaks TLS where that is configured.
func (in *input) open(ctx context.Context, to *target.Target) (net.Conn, error) {
	nc, err := to.DialContext(ctx)
	if err != nil || in.cfg.TLS == nil {
		return nc, err
	}
	return in.secure(ctx, nc, to)
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
