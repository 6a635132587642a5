package graph

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hermod-agent/hermod/pipeline/component"
)

func TestASuccessorOpensTheSameAddressBeforeItsPredecessorHasClosedIt(t *testing.T) {
	pool := component.NewPool()
	first, err := listen(pool, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := first.Addr().String()
	if _, err := listen(pool, address); err == nil || !strings.Contains(err.Error(), "in use") || !strings.Contains(err.Error(), "ss -ltnp") {
		t.Fatalf("another holder of the port: %v", err) // port 0 was pooled under its own name
	}
	second, err := listen(pool, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if second.Addr().String() != address {
		t.Fatalf("%s and %s", second.Addr(), address)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := first.Accept(); err == nil {
		t.Fatal("a closed listener accepts")
	}
	go func() {
		c, err := net.Dial("tcp", address)
		if err == nil {
			_, _ = c.Write([]byte("x"))
			_ = c.Close()
		}
	}()
	c, err := second.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := io.ReadAll(c); string(b) != "x" {
		t.Fatalf("%q", b)
	}
	_ = c.Close()
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	if c, err := net.Dial("tcp", address); err == nil {
		_ = c.Close()
		t.Fatal("still open after the last holder closed")
	}
}

func TestASocketThatAKilledAgentLeftIsTakenOver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.sock")
	killed, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	killed.(*net.UnixListener).SetUnlinkOnClose(false)
	if l, err := listen(component.NewPool(), "unix:"+path); err == nil {
		_ = l.Close()
		t.Fatal("a socket in use was taken over")
	}
	_ = killed.Close()
	l, err := listen(component.NewPool(), "unix:"+path)
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()

	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if l, err := listen(component.NewPool(), "unix:"+path); err == nil {
		_ = l.Close()
		t.Fatal("a file was removed for a socket")
	}
}
