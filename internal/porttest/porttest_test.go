package porttest

import (
	"errors"
	"net"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

func TestAReservedPortIsRefusedUntilItsOwnerListens(t *testing.T) {
	address := Reserve(t)
	for range 2 {
		if c, err := net.Dial("tcp", address); !errors.Is(err, unix.ECONNREFUSED) {
			if err == nil {
				_ = c.Close()
			}
			t.Fatalf("before somebody listens: %v", err)
		}
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
		_ = l.Close()
	}
}

// A port that is given to who asks for any is one that nobody else has, with or without a listener.
func TestAReservedPortIsInUseForOthers(t *testing.T) {
	_, port, err := net.SplitHostPort(Reserve(t))
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: n, Addr: [4]byte{127, 0, 0, 1}}); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("%v", err)
	}
}
