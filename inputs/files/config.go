package files

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/hermod-agent/hermod/internal/multiline"
	"github.com/hermod-agent/hermod/internal/tail"
	"github.com/hermod-agent/hermod/pipeline/config"
)

// Config is what a user writes in the block.
type Config struct {
	// Absolute paths of the files to follow. `*` stands for any part of a name, `?` for a character, `[a-z]` and `{a,b}` for one of several, `**` for any
	// number of folders. Files that come later are followed too.
	Paths []string `hcl:"paths"`
	// Files not to follow although `paths` has them: patterns like those of `paths`, or of the name alone ("*.tmp").
	Exclude []string `hcl:"exclude,optional"`
	// Where to begin in files that exist when the input runs for the first time: "beginning", "end", or a duration: files that were
	// written to within it from their beginning, others from their end. Files that come later are always read from their
	// beginning.
	Start string `hcl:"start,optional"`
	// Promtail's positions file. When the input runs for the first time it goes on where Promtail stopped in the files that stand in it; the others
	// begin where `start` says. Stop Promtail first. Later the file isn't looked at.
	ImportPromtailPositions string `hcl:"import_promtail_positions,optional"`
	// Label that holds the file's path; "" for none.
	FilenameLabel string `hcl:"filename_label,optional"`
	// Longer lines are cut there and counted as line_too_long; the rest of the line is skipped.
	MaxLineSize config.Size `hcl:"max_line_size,optional"`
	// How often files are looked at besides what the kernel tells of changes, which it doesn't for network filesystems.
	PollInterval config.Duration `hcl:"poll_interval,optional"`
	// How many files are held open at most; never more than half of what the agent may open. Of more files those that were quiet longest are closed
	// and opened again when they change; what such a file gains just before it is deleted can't be read and is counted as deleted_bytes.
	MaxOpenFiles int `hcl:"max_open_files,optional"`
	// Joins lines that belong together, like those of a stack trace, to one record of at most max_line_size. Until a record is whole, the position
	// stays at its start.
	Multiline *multiline.Config `hcl:"multiline,block"`
	// Reads no faster than this. Over the limit lines wait in their files; none is dropped.
	RateLimit *RateLimit `hcl:"rate_limit,block"`
}

// RateLimit bounds how fast an input reads.
type RateLimit struct {
	// Lines a second, over all files of the input.
	Lines int `hcl:"lines"`
	// How many lines may come at once after a quiet time; a second's worth when not set.
	Burst int `hcl:"burst,optional"`
}

// The limits of the leaky bucket, which counts in 16 bits.
const maxBurst = 1<<16 - 1

// burst is the burst that is used, and limit the lines a second.
func (r *RateLimit) burst() int {
	if r.Burst > 0 {
		return r.Burst
	}
	return min(r.Lines, maxBurst)
}

func defaults() Config {
	return Config{
		Start:         "beginning",
		FilenameLabel: "filename",
		MaxLineSize:   tail.DefaultMaxLine,
		PollInterval:  config.Duration(250 * time.Millisecond),
		MaxOpenFiles:  1000,
	}
}

// The bounds of max_line_size: lines live in one buffer.
const (
	minLine = 64
	maxLine = 64 << 20
)

// maxBraces bounds how many patterns one of them can stand for.
const maxBraces = 8

// Validate checks what the types can't say.
func (c *Config) Validate() []error {
	var errs []error
	fault := func(attr, format string, args ...any) {
		errs = append(errs, config.Attr(attr, fmt.Errorf(format, args...)))
	}
	if len(c.Paths) == 0 {
		fault("paths", "it names no file; write a path like \"/var/log/nginx/*.log\"")
	}
	for _, p := range c.Paths {
		switch {
		case !filepath.IsAbs(p):
			fault("paths", "%q doesn't begin with /; write an absolute path, because an agent may be started in any folder", p)
		case !doublestar.ValidatePattern(p):
			fault("paths", "%q is not a valid pattern; close every [ and {, or put \\\\ before one that is part of a name", p)
		case strings.Count(p, "{") > maxBraces:
			fault("paths", "%q has more than %d braces; write several patterns", p, maxBraces)
		}
	}
	for _, p := range c.Exclude {
		if p == "" || !doublestar.ValidatePattern(p) {
			fault("exclude", "%q is not a valid pattern; close every [ and {, or put \\\\ before one that is part of a name", p)
		}
	}
	if _, _, err := parseStart(c.Start); err != nil {
		errs = append(errs, config.Attr("start", err))
	}
	if p := c.ImportPromtailPositions; p != "" && !filepath.IsAbs(p) {
		fault("import_promtail_positions", "%q doesn't begin with /; write an absolute path", p)
	}
	if c.MaxLineSize < minLine || c.MaxLineSize > maxLine {
		fault("max_line_size", "it must be between %d bytes and 64MiB", minLine)
	}
	if d := time.Duration(c.PollInterval); d < 10*time.Millisecond || d > time.Hour {
		fault("poll_interval", "it must be between 10ms and 1h")
	}
	if c.Multiline != nil {
		errs = append(errs, c.Multiline.Validate()...)
	}
	if c.MaxOpenFiles < 1 {
		fault("max_open_files", "it must be 1 at least")
	}
	if r := c.RateLimit; r != nil {
		if r.Lines < 1 || r.Lines > 1e9 {
			fault("rate_limit.lines", "it must be between 1 and 1000000000 lines a second")
		}
		if r.Burst < 0 || r.Burst > maxBurst {
			fault("rate_limit.burst", "it must be between 1 and %d lines", maxBurst)
		}
	}
	return errs
}

// parseStart reads the attribute start. recent is set for a duration.
func parseStart(s string) (start tail.Start, recent time.Duration, err error) {
	switch s {
	case "beginning":
		return tail.Beginning, 0, nil
	case "end":
		return tail.End, 0, nil
	}
	d, err := config.ParseDuration(s)
	if err != nil || d <= 0 {
		return 0, 0, errors.New(`write "beginning", "end" or a duration like "2h"`)
	}
	return tail.Beginning, time.Duration(d), nil
}
