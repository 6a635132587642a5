// Command gen writes docs/reference from the definitions of the components and the comments in their sources. With -check it writes
// nothing and exits with 1 when a page is not what it would write.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hermod-agent/hermod/inputs"
	"github.com/hermod-agent/hermod/outputs"
	"github.com/hermod-agent/hermod/pipeline/config/reference"
	"github.com/hermod-agent/hermod/processors"
)

func main() {
	check := flag.Bool("check", false, "write nothing; exit with 1 when a page is stale")
	flag.Parse()
	if err := run(*check); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(check bool) error {
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	pages, err := reference.Generate(root, slices.Concat(inputs.All(), processors.All(), outputs.All()))
	if err != nil {
		return err
	}
	dir := filepath.Join(root, "docs", "reference")
	if !check {
		return pages.Write(dir)
	}
	stale, err := pages.Stale(dir)
	if err != nil {
		return err
	}
	if len(stale) > 0 {
		return fmt.Errorf("these pages of docs/reference are stale: %s; run `go run ./docs/reference/gen` and commit them", strings.Join(stale, ", "))
	}
	return nil
}

// moduleRoot is the nearest folder upwards that holds go.mod.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("no go.mod in this folder or above it")
		}
		dir = up
	}
}
