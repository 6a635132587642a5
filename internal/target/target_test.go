package target

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hermod-agent/hermod/internal/porttest"
	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func mustOpen(t *testing.T, env *component.Env, address string, port int) *Target {
	t.Helper()
	a, err := config.ParseAddress(address)
	if err != nil {
		t.Fatal(err)
	}
	target, err := Open(env, a, port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = target.Close() })
	return target
}

// listen takes connections and drops them.
func listen(t *testing.T, network, address string) string {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return l.Addr().String()
}

func TestAServerIsReachedByPortAndBySocket(t *testing.T) {
	tcp := listen(t, "tcp", "127.0.0.1:0")
	_, port, _ := net.SplitHostPort(tcp)
	path := listen(t, "unix", filepath.Join(t.TempDir(), "s"))
	for _, address := range []string{tcp, "localhost:" + port, path, "unix:" + path} {
		target := mustOpen(t, &component.Env{}, address, 1)
		c, err := target.DialContext(t.Context())
		if err != nil {
			t.Errorf("%s: %v", address, err)
			continue
		}
		_ = c.Close()
		if target.String() != address {
			t.Errorf("%s is called %s", address, target)
		}
	}
}

func TestFailedAttemptsSayWhatToDo(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	dead := filepath.Join(dir, "dead.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close()
	closed := porttest.Reserve(t)

	inContainer := &component.Env{Host: component.Host{Container: true}}
	for _, tt := range []struct {
		env          *component.Env
		address      string
		what, remedy string
		cause        error
	}{
		{&component.Env{}, closed, "nothing listens for " + closed + " (connection refused)", "start the server", syscall.ECONNREFUSED},
		{inContainer, closed, "connection refused", "container://NAME:", syscall.ECONNREFUSED},
		{&component.Env{}, filepath.Join(dir, "none.sock"), "there is no socket", "check the path", os.ErrNotExist},
		{inContainer, filepath.Join(dir, "none.sock"), "there is no socket", "mounted into it", os.ErrNotExist},
		{&component.Env{}, plain, "is not a socket", "name the socket itself", nil},
		{&component.Env{}, dead, "nothing listens on the socket", "start the server", syscall.ECONNREFUSED},
	} {
		target := mustOpen(t, tt.env, tt.address, 1)
		c, err := target.DialContext(t.Context())
		if err == nil {
			_ = c.Close()
			t.Errorf("%s: connected", tt.address)
			continue
		}
		remedy, what := component.Remedy(err)
		if !strings.Contains(what, tt.what) || !strings.Contains(remedy, tt.remedy) || remedy == "" {
			t.Errorf("%s: %q, remedy %q", tt.address, what, remedy)
		}
		if tt.cause != nil && !errors.Is(err, tt.cause) {
			t.Errorf("%s: the cause is lost: %v", tt.address, err)
		}
	}
}

func TestATimeoutIsToldAsOne(t *testing.T) {
	target := mustOpen(t, &component.Env{}, "127.0.0.1:1", 1)
	ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	_, err := target.DialContext(ctx)
	if err == nil || !strings.Contains(err.Error(), "no connection to 127.0.0.1:1 in time") {
		t.Errorf("%v", err)
	}
}

func TestANameThatNobodyKnowsMayBeAContainers(t *testing.T) {
	unknown := &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "lottery_db", IsNotFound: true}}
	err := mustOpen(t, &component.Env{}, "lottery_db:3306", 0).explain(unknown, "lottery_db:3306")
	if remedy, what := component.Remedy(err); what != `the host "lottery_db" of lottery_db:3306 is not known` || !strings.Contains(remedy, "container://lottery_db:3306") {
		t.Errorf("%q, %q", what, remedy)
	}
	silent := &net.OpError{Op: "dial", Err: &net.DNSError{Err: "server misbehaving", Name: "db", IsTemporary: true}}
	err = mustOpen(t, &component.Env{}, "db:3306", 0).explain(silent, "db:3306")
	if remedy, what := component.Remedy(err); !strings.Contains(what, "server misbehaving") || !strings.Contains(remedy, "name server") {
		t.Errorf("%q, %q", what, remedy)
	}
}
