//go:build integration

package torture

import (
	"flag"
	"fmt"
	"os"
	"testing"
)

// TestMain lets tests that mostly wait do so beside one another, and writes the table at the end.
func TestMain(m *testing.M) {
	flag.Parse()
	err := flag.Set("test.parallel", "12")
	code := 1
	if err == nil {
		code = m.Run()
		err = publish()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}
