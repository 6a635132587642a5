// Package porttest gives tests TCP ports of their own.
package porttest

import (
	"net"
	"strconv"

	"golang.org/x/sys/unix"
)

// TB is what is needed of a test.
type TB interface {
	Helper()
	Cleanup(f func())
	Fatal(args ...any)
}

// Reserve returns an address of the loopback, host:port, on which nobody listens but who is told it: until the test is over the kernel gives the
// port to nobody who asks for any. A socket that is bound and doesn't listen holds it, which hinders no listener of net.Listen.
func Reserve(t TB) string {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	address, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(address.(*unix.SockaddrInet4).Port))
}
