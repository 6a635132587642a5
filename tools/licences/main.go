// Licences checks what is linked into a program: it walks the packages that the program is built from, finds the licence that covers
// each, and fails when one is unknown or forbids what an Apache-2.0 binary does with it.
package main

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// allowed are the licences under which code may be linked into the agent. All let a binary be passed on under Apache-2.0 when their
// texts go with it; MPL-2.0 asks only for the source of its own files, which we take unchanged.
var allowed = []string{"0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "ISC", "MIT", "MPL-2.0", "Unlicense", "Zlib"}

func main() {
	all := flag.Bool("v", false, "print every package's licence, not a summary alone")
	platforms := flag.String("platforms", "linux/amd64,linux/arm64", "the platforms whose packages are checked")
	dir := flag.String("C", ".", "the folder of the module that holds the program")
	flag.Parse()
	if flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "usage: licences [-v] [-C DIR] PACKAGE...")
		os.Exit(2)
	}
	if err := run(context.Background(), *dir, strings.Split(*platforms, ","), flag.Args(), *all); err != nil {
		fmt.Fprintln(os.Stderr, "licences:", err)
		os.Exit(1)
	}
}

// linked is a package that goes into the binary.
type linked struct {
	path, dir         string
	module, moduleDir string
}

func run(ctx context.Context, dir string, platforms, patterns []string, all bool) error {
	packages := map[string]linked{}
	for _, platform := range platforms {
		found, err := list(ctx, dir, platform, patterns)
		if err != nil {
			return err
		}
		for _, p := range found {
			packages[p.path] = p
		}
	}
	paths := make([]string, 0, len(packages))
	for path := range packages {
		paths = append(paths, path)
	}
	slices.Sort(paths)

	var faults []string
	modules := map[string]string{} // path to the licences of its packages
	for _, path := range paths {
		p := packages[path]
		file, name, err := licenceOf(p)
		switch {
		case err != nil:
			faults = append(faults, fmt.Sprintf("%s (%s): %v", path, p.module, err))
			continue
		case !slices.Contains(allowed, name):
			faults = append(faults, fmt.Sprintf("%s (%s): %s by %s, which may not be linked into the binary", path, p.module, name, file))
		}
		if all {
			fmt.Printf("%-14s %s\n", name, path)
		}
		if !strings.Contains(modules[p.module], name) {
			modules[p.module] = strings.TrimPrefix(modules[p.module]+", "+name, ", ")
		}
	}
	if len(faults) > 0 {
		return fmt.Errorf("%d packages can't be linked:\n  %s", len(faults), strings.Join(faults, "\n  "))
	}
	byLicence := map[string]int{}
	for _, names := range modules {
		byLicence[names]++
	}
	names := make([]string, 0, len(byLicence))
	for name := range byLicence {
		names = append(names, name)
	}
	slices.Sort(names)
	for i, name := range names {
		names[i] = fmt.Sprintf("%d %s", byLicence[name], name)
	}
	fmt.Printf("licences: %d packages of %d modules: %s\n", len(paths), len(modules), strings.Join(names, "; "))
	return nil
}

// list gives the packages outside the standard library and outside the main module that the patterns need on a platform.
func list(ctx context.Context, dir, platform string, patterns []string) ([]linked, error) {
	goos, goarch, ok := strings.Cut(platform, "/")
	if !ok {
		return nil, fmt.Errorf("%q is not a platform: write linux/amd64", platform)
	}
	// A module that a folder of this repository takes the place of is under its licence.
	const format = `{{with .Module}}{{if not (or .Main (and .Replace (not .Replace.Version)))}}{{$.ImportPath}}	{{$.Dir}}	{{.Path}}@{{.Version}}	{{.Dir}}{{end}}{{end}}`
	cmd := exec.CommandContext(ctx, "go", append([]string{"list", "-deps", "-f", format}, patterns...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOOS="+goos, "GOARCH="+goarch, "CGO_ENABLED=0")
	var errors bytes.Buffer
	cmd.Stderr = &errors
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list for %s: %w: %s", platform, err, bytes.TrimSpace(errors.Bytes()))
	}
	var packages []linked
	lines := bufio.NewScanner(bytes.NewReader(out))
	for lines.Scan() {
		if lines.Text() == "" {
			continue
		}
		f := strings.Split(lines.Text(), "\t")
		if len(f) != 4 {
			return nil, fmt.Errorf("go list for %s printed %q", platform, lines.Text())
		}
		packages = append(packages, linked{path: f[0], dir: f[1], module: f[2], moduleDir: f[3]})
	}
	if len(packages) == 0 {
		return nil, fmt.Errorf("go list for %s named no package: is %q a program?", platform, patterns)
	}
	return packages, lines.Err()
}

// licenceOf finds the nearest licence file at or above the package's folder, within its module.
func licenceOf(p linked) (file, name string, err error) {
	for dir := p.dir; ; dir = filepath.Dir(dir) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return "", "", err
		}
		for _, e := range entries {
			if !e.Type().IsRegular() || !isLicenceFile(e.Name()) {
				continue
			}
			file := filepath.Join(dir, e.Name())
			text, err := os.ReadFile(file)
			if err != nil {
				return "", "", err
			}
			if name := classify(string(text)); name != "" {
				return file, name, nil
			}
			return file, "", fmt.Errorf("the text of %s is no licence that this check knows: read it, and add it to classify", file)
		}
		if dir == p.moduleDir || dir == filepath.Dir(dir) {
			return "", "", fmt.Errorf("no licence file from %s up to %s", p.dir, p.moduleDir)
		}
	}
}

func isLicenceFile(name string) bool {
	stem, _, _ := strings.Cut(strings.ToUpper(name), ".")
	if strings.HasSuffix(strings.ToLower(name), ".go") {
		return false
	}
	stem, _, _ = strings.Cut(stem, "-")
	return slices.Contains([]string{"LICENSE", "LICENCE", "COPYING", "UNLICENSE"}, stem)
}
