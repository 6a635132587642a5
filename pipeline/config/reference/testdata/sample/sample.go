// Package sample holds a component's config as the tests of the reference see one.
package sample

import (
	"github.com/hermod-agent/hermod/pipeline/config"
	"github.com/hermod-agent/hermod/pipeline/config/reference/testdata/sample/shared"
)

// Config has a field of every sort.
type Config struct {
	// Address of the server,
	// over two lines. One | two.
	Address string `hcl:"address"`
	// How long to wait.
	Wait config.Duration `hcl:"wait,optional"`
	// How much to hold.
	Hold     config.Size     `hcl:"hold,optional"`
	Password config.Secret   `hcl:"password,optional"` // The password.
	Deep     bool            `hcl:"deep,optional"`     // Whether to look deeper.
	Names    []string        `hcl:"names,optional"`    // Names to take.
	Matching []config.Regexp `hcl:"matching,optional"` // What to take.
	// Where to go.
	URL config.URL `hcl:"url,optional"`
	// At most so many.
	Limit int `hcl:"limit,optional"`
	// Headers to send.
	Headers map[string]string `hcl:"headers,optional"`
	Shared  shared.Config     `hcl:",squash"`
	// Rules, in order.
	Rules []Rule `hcl:"rule,block"`

	hidden int
}

// Rule is a nested block.
type Rule struct {
	// What to do.
	Action string `hcl:"action,optional"`
	// A block in a block.
	When *When `hcl:"when,block"`
}

// SetDefaults sets what a rule does.
func (r *Rule) SetDefaults() { r.Action = "keep" }

// When is a block in a block.
type When struct {
	// The time.
	At string `hcl:"at"`
}

// Silent has a field that says nothing.
type Silent struct {
	Name string `hcl:"name"`
}

// Hidden keeps the field from being unused.
func (c *Config) Hidden() int { return c.hidden }
