package redis

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// fakeServer answers commands with what a test gives it.
type fakeServer struct {
	listener net.Listener

	mu       sync.Mutex // guards what follows
	answers  map[string]string
	greeting string // sent to each client at once, which is then sent away
	closing  bool   // connections are closed at the next command
	stuck    bool
	conns    []net.Conn
	asked    []string
	wg       sync.WaitGroup
}

func newServer(t testing.TB, answers map[string]string) *fakeServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &fakeServer{listener: l, answers: answers}
	s.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns = append(s.conns, c)
			s.mu.Unlock()
			s.wg.Go(func() { s.serve(c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		s.drop()
		s.wg.Wait()
	})
	return s
}

// refused is an address that no other program can begin to listen on, and where connections are refused.
func refused(t testing.TB) string {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	bound, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", bound.(*unix.SockaddrInet4).Port)
}

// drop closes all connections.
func (s *fakeServer) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		_ = c.Close()
	}
	s.conns = nil
}

// set changes an answer.
func (s *fakeServer) set(command, answer string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers[command] = answer
}

// count is how often a command was asked.
func (s *fakeServer) count(command string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, a := range s.asked {
		if a == command {
			n++
		}
	}
	return n
}

func (s *fakeServer) serve(c net.Conn) {
	defer c.Close()
	s.mu.Lock()
	greeting := s.greeting
	s.mu.Unlock()
	if greeting != "" {
		io.WriteString(c, greeting)
		return
	}
	var pending []byte
	buf := make([]byte, 64<<10)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		pending = append(pending, buf[:n]...)
		for {
			command, rest, ok := cutCommand(pending)
			if !ok {
				break
			}
			pending = rest
			if !s.answer(c, command) {
				return
			}
		}
	}
}

// cutCommand takes a command off what a client sent: an array of strings.
func cutCommand(sent []byte) (command string, rest []byte, ok bool) {
	header, rest, ok := bytes.Cut(sent, []byte("\r\n"))
	if !ok {
		return "", sent, false
	}
	var parts []string
	count, _ := strconv.Atoi(strings.TrimPrefix(string(header), "*"))
	for range count {
		if header, rest, ok = bytes.Cut(rest, []byte("\r\n")); !ok {
			return "", sent, false
		}
		length, _ := strconv.Atoi(strings.TrimPrefix(string(header), "$"))
		if len(rest) < length+2 {
			return "", sent, false
		}
		parts = append(parts, string(rest[:length]))
		rest = rest[length+2:]
	}
	return strings.Join(parts, " "), rest, true
}

func (s *fakeServer) answer(c net.Conn, command string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, command)
	if s.closing {
		s.closing = false
		return false
	}
	if s.stuck {
		return true
	}
	answer, ok := s.answers[command]
	if !ok {
		answer = "-ERR unknown command '" + command + "'\r\n"
	}
	_, err := io.WriteString(c, answer)
	return err == nil
}

func bulk(text string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(text), text) }

// array is one of strings.
func array(of ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(of))
	for _, text := range of {
		b.WriteString(bulk(text))
	}
	return b.String()
}

// said collects what a component logs.
type said struct {
	mu sync.Mutex
	bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Buffer.Write(p)
}

// rig is an input and what it tells.
type rig struct {
	*input
	t     testing.TB
	log   *said
	cycle uint64
	batch metrics.Batch
}

func newRig(t testing.TB, address string, change func(*Config)) *rig {
	t.Helper()
	cfg := defaults()
	var err error
	if cfg.Address, err = config.ParseAddress(address); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(&cfg)
	}
	if errs := cfg.Validate(); len(errs) > 0 {
		t.Fatal(errs)
	}
	log := new(said)
	env := &component.Env{
		Address: "input.redis.a", Type: "redis", Name: "a", Log: slog.New(slog.NewTextHandler(log, nil)),
		Series: metrics.NewRegistry(), Timeout: time.Minute, Interval: time.Minute,
	}
	env.Status = component.NewStatus(env.Log)
	in, err := openServer(env, &cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Stop(context.Background()) })
	return &rig{input: in, t: t, log: log}
}

// collect runs a cycle and gives its samples as lines. A busy machine may take its time.
func (r *rig) collect() (lines []string, err error) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	return r.collectBy(ctx)
}

func (r *rig) collectBy(ctx context.Context) (lines []string, err error) {
	r.cycle++
	r.batch.Begin(&metrics.Source{}, r.cycle, 1_700_000_000_000)
	err = r.Collect(ctx, &r.batch)
	return render(&r.batch), err
}

func render(b *metrics.Batch) []string {
	var lines []string
	for _, s := range b.Samples {
		_, rest, _ := strings.Cut(s.Series.Labels().String(), `"`+s.Series.Name()+`"`)
		lines = append(lines, fmt.Sprintf("%s{%s %v", strings.TrimPrefix(s.Series.Name(), prefix), strings.TrimPrefix(rest, ", "), s.Value))
	}
	slices.Sort(lines)
	return lines
}

// faults are what the status shows, by key.
func (r *rig) faults() map[string]component.Fault {
	out := map[string]component.Fault{}
	for _, f := range r.env.Status.Faults() {
		out[f.Key] = f
	}
	return out
}

// has says whether the lines hold one that begins so.
func has(lines []string, line string) bool {
	return slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, line) })
}
