package files

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestPatternsFindWhatTheyShould(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{
		"a.log", "b.txt", ".hidden.log", "one/a.log", "one/two/b.log", "one/two/three/c.log", "x{y}/a.log", "star*/a.log", "pods/p1/c1/0.log", "pods/p2/c1/1.log",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for from, to := range map[string]string{"linked": "one/two", "one/up": "..", "dangling.log": "nowhere"} {
		if err := os.Symlink(to, filepath.Join(dir, from)); err != nil {
			t.Fatal(err)
		}
	}
	for glob, want := range map[string]string{
		"a.log":                    "a.log",
		"*.log":                    ".hidden.log a.log dangling.log",
		"?.{log,txt}":              "a.log b.txt",
		"[ab].*":                   "a.log b.txt",
		"nothing.log":              "",
		"nowhere/*.log":            "",
		"a.log/x":                  "",
		"one":                      "",
		"one/**/*.log":             "one/a.log one/two/b.log one/two/three/c.log",
		"one/**":                   "one/a.log one/two/b.log one/two/three/c.log",
		"**/c.log":                 "one/two/three/c.log",
		"**/**/c.log":              "one/two/three/c.log",
		"one/t*/**/c.log":          "one/two/three/c.log",
		"one/*/one/*/b.log":        "one/up/one/two/b.log",
		"linked/*.log":             "linked/b.log",
		"link*/*.log":              "linked/b.log",
		"pods/*/*/[0-9].log":       "pods/p1/c1/0.log pods/p2/c1/1.log",
		"{one/a,pods/p1/c1/0}.log": "one/a.log pods/p1/c1/0.log",
		`x\{y\}/a.log`:             "x{y}/a.log",
		`star\*/*.log`:             "star*/a.log",
	} {
		w := newWalk(nil)
		for _, p := range newPatterns(dir + "/" + glob) {
			w.pattern(&p)
		}
		var got []string
		for path := range w.found {
			rel, err := filepath.Rel(dir, path)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, rel)
		}
		slices.Sort(got)
		if strings.Join(got, " ") != want {
			t.Errorf("%s found %q, want %q", glob, got, want)
		}
		if len(w.faults) != 0 {
			t.Errorf("%s: %v", glob, w.faults)
		}
	}
}

func TestFoldersInWhichSomethingMayAppearAreNamed(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "pods/p1/logs"), 0o700); err != nil {
		t.Fatal(err)
	}
	for glob, want := range map[string][]string{
		"later/*.log":         {"later"},
		"pods/*/logs/*.log":   {"pods", "pods/p1", "pods/p1/logs"},
		"pods/**/*.log":       {"pods", "pods/p1", "pods/p1/logs"},
		"{pods/p1,more}/*log": {"more", "pods/p1"},
	} {
		w := newWalk(nil)
		for _, p := range newPatterns(dir + "/" + glob) {
			w.pattern(&p)
		}
		var got []string
		for _, folder := range slices.Sorted(maps.Keys(w.folders)) {
			got = append(got, strings.TrimPrefix(folder, dir+"/"))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", glob, got, want)
		}
	}
}

func TestExcludes(t *testing.T) {
	for pattern, want := range map[string]bool{
		"*.log": true, "/var/log/*.log": true, "/var/**": true, "app.log": true, "*.txt": false, "/var/*.log": false, "log": false,
	} {
		if got := excludes([]string{"nothing", pattern}, "/var/log/app.log"); got != want {
			t.Errorf("%s: %v", pattern, got)
		}
	}
}

func FuzzPattern(f *testing.F) {
	for _, p := range []string{"/a/*.log", "/{a/b,c}/d", "/**/**", `/\{a\}/[a`, "/{{{a/b,},}", "//./..", ""} {
		f.Add(p)
	}
	dir := f.TempDir()
	f.Fuzz(func(_ *testing.T, text string) {
		if strings.Count(text, "{") > 6 || len(text) > 200 {
			return // each may double the number of patterns
		}
		w := newWalk(nil)
		for _, p := range newPatterns(text) {
			p.base = dir
			if !slices.Contains(p.parts, "..") {
				w.pattern(&p)
			}
		}
	})
}
