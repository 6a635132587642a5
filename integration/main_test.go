//go:build integration

package integration

import (
	"flag"
	"fmt"
	"os"
	"testing"
)

// TestMain lets tests that mostly wait do so beside one another, however few processors there are.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}
