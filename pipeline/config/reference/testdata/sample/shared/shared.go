// Package shared is what several configs have in common.
package shared

// Config is squashed into others.
type Config struct {
	// The proxy to go by.
	Proxy string `hcl:"proxy,optional"`
}
