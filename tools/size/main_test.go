package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestSymbolsBelongToTheirModule(t *testing.T) {
	modules := []string{"github.com/hermod-agent/hermod/tools", "github.com/hermod-agent/hermod", "go.yaml.in/yaml/v3", "golang.org/x/net"}
	for symbol, want := range map[string]string{
		"main.main": "github.com/hermod-agent/hermod",
		"github.com/hermod-agent/hermod/pipeline/graph.(*Engine).Start":         "github.com/hermod-agent/hermod",
		"github.com/hermod-agent/hermod/tools/size.run":                         "github.com/hermod-agent/hermod/tools",
		"go.yaml.in/yaml/v3.yaml_parser_parse":                                  "go.yaml.in/yaml/v3",
		"golang.org/x/net/http2.(*Framer).ReadFrame":                            "golang.org/x/net",
		"slices.SortFunc[go.shape.[]github.com/hermod-agent/hermod/pipeline.X]": standard,
		"net/http.(*Client).Do":                                                 standard,
		"runtime.mallocgc":                                                      standard,
		"type:*net/http.Client":                                                 types,
		"go:string.*":                                                           types,
	} {
		if got := moduleOf(symbol, "github.com/hermod-agent/hermod", modules); got != want {
			t.Errorf("%s: got %s, want %s", symbol, got, want)
		}
	}
}

func TestSharesAddUpToNearlyTheWholeProgram(t *testing.T) {
	dir := t.TempDir()
	program, stripped := filepath.Join(dir, "size"), filepath.Join(dir, "stripped")
	for _, args := range [][]string{{"build", "-o", program, "."}, {"build", "-ldflags=-s -w", "-o", stripped, "."}} {
		cmd := exec.Command("go", args...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	info, err := os.Stat(stripped)
	if err != nil {
		t.Fatal(err)
	}
	shares, err := sharesOf(program)
	if err != nil {
		t.Fatal(err)
	}
	var sum int64
	for _, s := range shares {
		sum += s.total()
	}
	if off := float64(sum)/float64(info.Size()) - 1; off > 0.05 || off < -0.05 {
		t.Errorf("the shares sum to %d of %d bytes", sum, info.Size())
	}
	if err := run(stripped, program, info.Size(), 5); err != nil {
		t.Errorf("a program at the limit: %v", err)
	}
	if err := run(stripped, program, info.Size()-1, 5); err == nil {
		t.Error("a program one byte over the limit passed")
	}
}
