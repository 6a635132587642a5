package files

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/bmatcuk/doublestar/v4"
)

// pattern is one glob, cut at its slashes. doublestar matches the parts; the walk is our own because it tells which folders have to be
// watched for what may come, and which could not be read.
type pattern struct {
	text  string
	base  string   // the folder up to which nothing is a pattern
	parts []string // below base; never empty
}

// newPatterns makes the patterns that a glob stands for: more than one where braces hold a slash ("/var/{log/a,spool/b}/*.log").
func newPatterns(text string) []pattern {
	if before, options, after, ok := slashedBraces(text); ok {
		var all []pattern
		for _, option := range options {
			for _, p := range newPatterns(before + option + after) {
				p.text = text
				all = append(all, p)
			}
		}
		return all
	}
	p := pattern{text: text, base: "/"}
	for part := range strings.SplitSeq(text, "/") {
		switch {
		case part == "" || part == ".":
		case part == "**" && len(p.parts) > 0 && p.parts[len(p.parts)-1] == "**": // twice says no more than once
		default:
			p.parts = append(p.parts, part)
		}
	}
	for len(p.parts) > 1 && plain(p.parts[0]) {
		p.base = filepath.Join(p.base, unescape(p.parts[0]))
		p.parts = p.parts[1:]
	}
	if len(p.parts) == 0 || p.parts[len(p.parts)-1] == "**" {
		p.parts = append(p.parts, "*")
	}
	return []pattern{p}
}

// slashedBraces finds the first {...} with a slash in it and cuts the pattern there.
func slashedBraces(s string) (before string, options []string, after string, ok bool) {
	depth, start, class := 0, 0, false
	var commas []int
	slash := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\':
			i++
		case class:
			class = c != ']'
		case c == '[':
			class = true
		case c == '{':
			if depth++; depth == 1 {
				start, commas, slash = i, nil, false
			}
		case c == ',' && depth == 1:
			commas = append(commas, i)
		case c == '/' && depth > 0:
			slash = true
		case c == '}' && depth > 0:
			if depth--; depth == 0 && slash {
				from := start + 1
				for _, comma := range commas {
					options = append(options, s[from:comma])
					from = comma + 1
				}
				return s[:start], append(options, s[from:i]), s[i+1:], true
			}
		}
	}
	return "", nil, "", false
}

// plain says that a part of a path matches itself only.
func plain(part string) bool {
	return !strings.ContainsAny(strings.ReplaceAll(part, `\`, ""), "*?[{") || escaped(part)
}

// escaped says that every special character of a part has a backslash before it.
func escaped(part string) bool {
	for i := 0; i < len(part); i++ {
		switch part[i] {
		case '\\':
			i++
		case '*', '?', '[', '{':
			return false
		}
	}
	return true
}

func unescape(part string) string {
	if !strings.Contains(part, `\`) {
		return part
	}
	var b strings.Builder
	for i := 0; i < len(part); i++ {
		if part[i] == '\\' && i+1 < len(part) {
			i++
		}
		b.WriteByte(part[i])
	}
	return b.String()
}

// excludes says whether a path is one that the user doesn't want. A pattern without a slash is one of the name alone.
func excludes(patterns []string, path string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		subject := path
		if !strings.Contains(p, "/") {
			subject = filepath.Base(path)
		}
		ok, err := doublestar.Match(p, subject)
		return err == nil && ok
	})
}

// walk is one look at the folders for all patterns of an input.
type walk struct {
	exclude []string
	// found are the paths that match, without folders; from says how many each pattern gave.
	found map[string]bool
	from  map[string]int
	// folders are those in which something that matches may appear.
	folders map[string]bool
	// faults are the folders that could not be listed, and why.
	faults map[string]error

	lists map[string][]fs.DirEntry // each folder is read once a walk
	seen  map[visit]bool
}

// visit is a place in a walk: ** leads to the same one by many ways.
type visit struct {
	dir   string
	parts string
}

func newWalk(exclude []string) *walk {
	return &walk{
		exclude: exclude, found: map[string]bool{}, from: map[string]int{}, folders: map[string]bool{}, faults: map[string]error{},
		lists: map[string][]fs.DirEntry{}, seen: map[visit]bool{},
	}
}

func (w *walk) pattern(p *pattern) {
	clear(w.seen)
	w.folders[p.base] = true // watched also while it isn't there
	w.below(p, p.base, p.parts)
}

func (w *walk) below(p *pattern, dir string, parts []string) {
	at := visit{dir, strings.Join(parts, "/")}
	if w.seen[at] {
		return
	}
	w.seen[at] = true
	part, last := parts[0], len(parts) == 1
	if part == "**" {
		w.below(p, dir, parts[1:])
		for _, e := range w.list(dir) {
			// Symbolic links to folders are not followed here: they may lead back up.
			if e.IsDir() {
				w.below(p, filepath.Join(dir, e.Name()), parts)
			}
		}
		return
	}
	if plain(part) {
		path := filepath.Join(dir, unescape(part))
		if last {
			w.folders[dir] = true
			if _, err := os.Lstat(path); err == nil {
				w.file(p, path)
			} else if !gone(err) {
				w.faults[path] = err
			}
			return
		}
		w.folders[dir] = true
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			w.below(p, path, parts[1:])
		}
		return
	}
	for _, e := range w.list(dir) {
		if ok, err := doublestar.Match(part, e.Name()); err != nil || !ok {
			continue
		}
		path := filepath.Join(dir, e.Name())
		switch {
		case last:
			if !e.IsDir() {
				w.file(p, path)
			}
		case e.IsDir():
			w.below(p, path, parts[1:])
		case e.Type()&fs.ModeSymlink != 0:
			if info, err := os.Stat(path); err == nil && info.IsDir() {
				w.below(p, path, parts[1:])
			}
		}
	}
}

// file notes a path that matches, unless it is a folder or unwanted.
func (w *walk) file(p *pattern, path string) {
	if w.found[path] {
		w.from[p.text]++
		return
	}
	if excludes(w.exclude, path) {
		w.from[p.text]++ // it did match
		return
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return
	}
	w.from[p.text]++
	w.found[path] = true
}

// list returns what lies in a folder.
func (w *walk) list(dir string) []fs.DirEntry {
	if entries, ok := w.lists[dir]; ok {
		return entries
	}
	w.folders[dir] = true
	entries, err := os.ReadDir(dir)
	if err != nil && !gone(err) {
		w.faults[dir] = err
	}
	w.lists[dir] = entries
	return entries
}

// gone says that an error means no more than that nothing is there (any more).
func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) }
