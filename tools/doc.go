// Package tools is a module of its own, so that what the developers run never enters the agent's dependencies: the linter and the
// vulnerability check are tools in go.mod, the licence check and the size report are programs beside it.
package tools
