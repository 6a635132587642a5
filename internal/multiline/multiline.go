// Package multiline joins lines that belong together, like those of a stack trace, to one record. It is part of the readers, whose positions
// stay at the start of a record that isn't whole: nothing is in memory alone.
package multiline

import (
	"errors"
	"time"
	"unicode/utf8"

	"github.com/hermod-agent/hermod/pipeline/config"
)

// Config is the block `multiline` of an input.
type Config struct {
	// A record begins with a line that matches, like `^\\d{4}-\\d{2}-\\d{2} `; the lines after it that don't match belong to it.
	FirstLine config.Regexp `hcl:"first_line,optional"`
	// A line that begins with a space or a tab belongs to the line before it. Write this or `first_line`.
	Indented bool `hcl:"indented,optional"`
	// How long the lines of a record may be apart: after that a record is whole though no other has begun.
	MaxWait config.Duration `hcl:"max_wait,optional"`
}

// SetDefaults implements config.Defaulter.
func (c *Config) SetDefaults() { c.MaxWait = config.Duration(3 * time.Second) }

// Validate says what is wrong with the block.
func (c *Config) Validate() []error {
	var errs []error
	switch set := c.FirstLine.Regexp != nil; {
	case set && c.Indented:
		errs = append(errs, config.Attr("multiline.indented", errors.New("first_line says already where a record begins; write one of the two")))
	case !set && !c.Indented:
		errs = append(errs, config.Attr("multiline", errors.New("nothing says where a record begins; write first_line or indented = true")))
	}
	if d := time.Duration(c.MaxWait); d < 100*time.Millisecond || d > time.Minute {
		errs = append(errs, config.Attr("multiline.max_wait", errors.New("it must be between 100ms and 1m")))
	}
	return errs
}

// Wait is how long the lines of a record may be apart.
func (c *Config) Wait() time.Duration { return time.Duration(c.MaxWait) }

// Begins says that a record begins with line.
func (c *Config) Begins(line []byte) bool {
	if c.Indented {
		return len(line) > 0 && line[0] != ' ' && line[0] != '\t'
	}
	return c.FirstLine.Match(line)
}

// Append appends a line to the text of a record, behind a line end unless it is the first. The text is cut at max bytes, and long says that it was.
func Append(text, line []byte, first bool, max int) (all []byte, long bool) {
	if !first {
		if len(text) >= max {
			return text, true
		}
		text = append(text, '\n')
	}
	room := max - len(text)
	if len(line) <= room {
		return append(text, line...), false
	}
	for i := room; i > 0 && i > room-utf8.UTFMax; i-- {
		if utf8.RuneStart(line[i]) {
			room = i
			break
		}
	}
	return append(text, line[:room]...), true
}
