//go:build integration

package harness

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// Socket stands between the agent and a Unix socket, like Docker's, and can be away for a time: an engine that is restarted, as the agent sees it.
type Socket struct {
	t      testing.TB
	path   string
	target string

	mu       sync.Mutex // guards what follows
	listener net.Listener
	open     map[net.Conn]bool
	served   sync.WaitGroup
}

// NewSocket starts one that lives as long as the test. Everybody may use it.
func NewSocket(t testing.TB, target string) *Socket {
	t.Helper()
	s := &Socket{t: t, path: filepath.Join(Dir(t), "proxy.sock"), target: target, open: map[net.Conn]bool{}}
	s.Back()
	t.Cleanup(s.Gone)
	return s
}

// Path is that of the socket.
func (s *Socket) Path() string { return s.path }

// Gone cuts all connections off and takes none until Back.
func (s *Socket) Gone() {
	s.mu.Lock()
	if s.listener != nil {
		s.listener.Close()
		s.listener = nil
	}
	for c := range s.open {
		c.Close()
	}
	s.mu.Unlock()
	s.served.Wait()
}

// Back takes connections again.
func (s *Socket) Back() {
	s.t.Helper()
	l, err := net.Listen("unix", s.path)
	if err == nil {
		err = os.Chmod(s.path, 0o666)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.mu.Lock()
	s.listener = l
	s.mu.Unlock()
	s.served.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.served.Go(func() { s.pass(c) })
		}
	})
}

// hold keeps a connection among those that Gone cuts off; false when it came too late.
func (s *Socket) hold(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener == nil {
		c.Close()
		return false
	}
	s.open[c] = true
	return true
}

func (s *Socket) release(c net.Conn) {
	s.mu.Lock()
	delete(s.open, c)
	s.mu.Unlock()
	c.Close()
}

// pass carries bytes both ways until either side ends.
func (s *Socket) pass(from net.Conn) {
	if !s.hold(from) {
		return
	}
	defer s.release(from)
	to, err := net.Dial("unix", s.target)
	if err != nil || !s.hold(to) {
		return
	}
	defer s.release(to)
	ended := make(chan struct{}, 2)
	for _, way := range [][2]net.Conn{{from, to}, {to, from}} {
		s.served.Go(func() {
			io.Copy(way[0], way[1]) //nolint:errcheck // either side may go at any time
			ended <- struct{}{}
		})
	}
	<-ended
}
