// Package reference holds the reference pages, so that the binary can print them. The pages are generated: see gen.
package reference

import "embed"

//go:embed *.md
var pages embed.FS

// Page returns the page of a component, like ("input", "mysql"), or, without a type, one of "agent", "language" and "index". It is
// Markdown.
func Page(kind, typ string) (string, bool) {
	name := kind
	if typ != "" {
		name += "." + typ
	}
	text, err := pages.ReadFile(name + ".md")
	return string(text), err == nil
}
