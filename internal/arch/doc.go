// Package arch holds one test: that the rooms of the house are entered only by their doors. See docs/design.
package arch
