package dockerlogs

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/hermod-agent/hermod/internal/docker"
	"github.com/hermod-agent/hermod/pipeline/config"
)

// selector is a Selector that is ready to be used.
type selector struct {
	names, images []pattern
	labels        map[string]pattern
}

// pattern is what a value is compared with.
type pattern struct {
	not   bool
	equal string
	re    *regexp.Regexp
}

func compile(s string) (pattern, error) {
	var p pattern
	s, p.not = strings.CutPrefix(s, "!")
	expr, isExpr := strings.CutPrefix(s, "~")
	if !isExpr {
		p.equal = s
		return p, nil
	}
	re, err := regexp.Compile("^(?s:" + expr + ")$")
	if err != nil {
		// The message of the expression as written; the anchors are ours.
		_, err = regexp.Compile(expr)
		return p, fmt.Errorf("%q is no regular expression: %w", expr, err)
	}
	p.re = re
	return p, nil
}

func (p *pattern) matches(s string) bool {
	is := s == p.equal
	if p.re != nil {
		is = p.re.MatchString(s)
	}
	return is != p.not
}

// any says whether one of the patterns fits; none at all fit everything.
func anyMatches(patterns []pattern, s string) bool {
	for i := range patterns {
		if patterns[i].matches(s) {
			return true
		}
	}
	return len(patterns) == 0
}

func compileSelectors(block string, in []Selector) ([]selector, error) {
	var out []selector
	for _, s := range in {
		var c selector
		var err error
		if c.names, err = compileAll(s.Names); err != nil {
			return nil, config.Attr(block+".names", err)
		}
		if c.images, err = compileAll(s.Images); err != nil {
			return nil, config.Attr(block+".images", err)
		}
		for name, value := range s.Labels {
			p, err := compile(value)
			if err != nil {
				return nil, config.Attr(block+".labels", err)
			}
			if c.labels == nil {
				c.labels = map[string]pattern{}
			}
			c.labels[name] = p
		}
		if c.names == nil && c.images == nil && c.labels == nil {
			return nil, config.Attr(block, fmt.Errorf("the block picks every container; name names, images or labels in it, or leave it out"))
		}
		out = append(out, c)
	}
	return out, nil
}

func compileAll(in []string) ([]pattern, error) {
	var out []pattern
	for _, s := range in {
		p, err := compile(s)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

func (s *selector) picks(c *docker.Container) bool {
	if !anyMatches(s.names, c.Name) || !anyMatches(s.images, c.Image) {
		return false
	}
	for name, p := range s.labels {
		if !p.matches(c.Labels[name]) {
			return false
		}
	}
	return true
}

// selection is all blocks of a config.
type selection struct{ include, exclude []selector }

func (s *selection) picks(c *docker.Container) bool {
	in := len(s.include) == 0
	for i := range s.include {
		in = in || s.include[i].picks(c)
	}
	for i := range s.exclude {
		in = in && !s.exclude[i].picks(c)
	}
	return in
}
