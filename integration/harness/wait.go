//go:build integration

package harness

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hermod-agent/hermod/internal/porttest"
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
	rand.Read(b[:])
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

// FreeAddress is a loopback address that is the test's until its end: see porttest. With a port that is merely free an agent that is started again
// finds another test's connection there, and a backend that is away has its agent deliver to the backend of another test.
func FreeAddress(t testing.TB) string {
	t.Helper()
	return porttest.Reserve(t)
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
