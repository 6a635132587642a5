//go:build integration

package harness

import (
	crand "crypto/rand"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"
)

// patience is how many times as long as on an idle machine a condition may take: others may use the one that the tests run on, and a limit
// costs only the test that fails.
const patience = 3

// Eventually asks until the condition holds, or fails the test with what it last said when the time is over. within is generous for a machine
// that has nothing else to do.
func Eventually(t testing.TB, within time.Duration, what string, condition func() (ok bool, state string)) {
	t.Helper()
	within *= patience
	deadline := time.Now().Add(within)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, state := condition()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v: %s", what, within, state)
		}
		<-tick.C
	}
}

// RunID sets this run's containers apart from those of others on the machine.
var RunID = sync.OnceValue(func() string {
	var b [4]byte
	crand.Read(b[:])
	return fmt.Sprintf("hermod-it-%s", hex.EncodeToString(b[:]))
})

// Dir makes a folder that every user may enter, unlike t.TempDir: the agent also runs as somebody else.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "hermod-it-") //nolint:usetesting // t.TempDir is closed to other users
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() && os.Getenv("HERMOD_IT_KEEP") != "" {
			t.Logf("kept %s", dir)
			return
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("cleaning up: %v", err)
		}
	})
	return dir
}

// given are the ports that FreeAddress gave to the tests of this process.
var given struct {
	sync.Mutex
	ports map[int]bool
}

// FreeAddress is a loopback address that nobody listened on a moment ago. Its port is below those that the system gives to outgoing
// connections: one of them could sit on it while the server of a test is away.
func FreeAddress(t testing.TB) string {
	t.Helper()
	const lowest = 10_000
	end := firstOutgoing(t)
	given.Lock()
	defer given.Unlock()
	if given.ports == nil {
		given.ports = map[int]bool{}
	}
	var last error
	for range 1000 {
		port := lowest + rand.IntN(end-lowest)
		if given.ports[port] {
			continue
		}
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			last = err
			continue
		}
		given.ports[port] = true
		l.Close()
		return l.Addr().String()
	}
	t.Fatalf("no free port from %d to %d: %v", lowest, end, last)
	return ""
}

// firstOutgoing is the first port that the system gives to outgoing connections.
func firstOutgoing(t testing.TB) int {
	t.Helper()
	const usual = 32_768
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		t.Fatal(err)
	}
	var first, last int
	if _, err := fmt.Sscan(string(text), &first, &last); err != nil {
		t.Fatalf("ip_local_port_range: %q: %v", text, err)
	}
	if first < usual/2 { // few or none are left below: one of them then
		return usual
	}
	return first
}

// repository is the root of the checkout.
func repository(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "tools", "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("the tests don't run inside the repository")
		}
		dir = filepath.Dir(dir)
	}
}

// cache is where what is dear to make is kept between runs.
func cache(t testing.TB) string {
	if dir := os.Getenv("HERMOD_CACHE"); dir != "" {
		return dir
	}
	return filepath.Join(repository(t), ".cache")
}
