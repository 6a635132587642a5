package graph

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hermod-agent/hermod/pipeline/component"
)

// listen opens an address through the pool. Holders of one address share the socket; a connection goes to whoever accepts it, and what
// arrives while one holder stops and the next begins waits.
func listen(pool *component.Pool, address string) (net.Listener, error) {
	shared, release, err := component.Acquire(pool, "listener "+address, func() (*sharedListener, error) {
		return openListener(address)
	})
	if err != nil {
		return nil, err
	}
	return &heldListener{shared: shared, release: release, closed: make(chan struct{})}, nil
}

func openListener(address string) (*sharedListener, error) {
	network, where := "tcp", address
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, where = "unix", path
	}
	l, err := net.Listen(network, where)
	if network == "unix" && errors.Is(err, syscall.EADDRINUSE) && deserted(where) {
		if err = os.Remove(where); err == nil {
			l, err = net.Listen(network, where)
		}
	}
	if err != nil {
		return nil, explainListen(address, err)
	}
	s := &sharedListener{Listener: l, conns: make(chan net.Conn), failed: make(chan struct{}), done: make(chan struct{})}
	go s.accept()
	return s, nil
}

// deserted says that the socket at path was left there by a process that was killed: nobody accepts on it.
func deserted(path string) bool {
	if info, err := os.Lstat(path); err != nil || info.Mode().Type() != os.ModeSocket {
		return false
	}
	c, err := (&net.Dialer{Timeout: time.Second}).DialContext(context.Background(), "unix", path)
	if err == nil {
		_ = c.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

func explainListen(address string, err error) error {
	_, port, _ := net.SplitHostPort(address)
	err = fmt.Errorf("listen on %s: %w", address, err)
	switch {
	case errors.Is(err, syscall.EADDRINUSE) && strings.HasPrefix(address, "unix:"):
		return component.WithRemedy(err, "stop what listens there, or choose another path with listen")
	case errors.Is(err, syscall.EADDRINUSE):
		return component.WithRemedy(err, fmt.Sprintf("stop what holds it (ss -ltnp 'sport = :%s' names it), or choose another port with listen", port))
	case errors.Is(err, os.ErrPermission):
		return component.WithRemedy(err, "ports below 1024 need root or CAP_NET_BIND_SERVICE; choose a higher one with listen")
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return component.WithRemedy(err, "this machine has no such address; listen takes one of its own, or 0.0.0.0 for all")
	}
	return err
}

// sharedListener accepts for all holders.
type sharedListener struct {
	net.Listener
	conns  chan net.Conn
	failed chan struct{} // closed when accept ends
	done   chan struct{} // closed by Close
	once   sync.Once
	err    error // why accept ended, set before failed is closed
}

func (s *sharedListener) accept() {
	defer close(s.failed)
	for {
		c, err := s.Accept()
		if errors.Is(err, net.ErrClosed) {
			s.err = err
			return
		}
		if err != nil {
			// Out of descriptors, or the peer left at once: that passes.
			select {
			case <-s.done:
			case <-time.After(50 * time.Millisecond):
			}
			continue
		}
		select {
		case s.conns <- c:
		case <-s.done:
			_ = c.Close() // nobody is left to serve it
		}
	}
}

// Close closes the socket; the pool calls it after the last holder.
func (s *sharedListener) Close() error {
	var err error
	s.once.Do(func() {
		close(s.done)
		err = s.Listener.Close()
		<-s.failed
	})
	return err
}

// heldListener is one holder's view.
type heldListener struct {
	shared  *sharedListener
	release func() error
	closed  chan struct{}
	once    sync.Once
}

func (h *heldListener) Accept() (net.Conn, error) {
	select {
	case <-h.closed:
		return nil, net.ErrClosed
	default:
	}
	select {
	case c := <-h.shared.conns:
		return c, nil
	case <-h.closed:
		return nil, net.ErrClosed
	case <-h.shared.failed:
		return nil, h.shared.err
	}
}

func (h *heldListener) Close() error {
	var err error
	h.once.Do(func() {
		close(h.closed)
		err = h.release()
	})
	return err
}

func (h *heldListener) Addr() net.Addr { return h.shared.Addr() }
