package config

import (
	"bytes"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclwrite"
)

// Format lays out a config as `hermod fmt` does: indents, aligned equals signs, one line end at the end. What can't be parsed is left
// alone and gives its faults.
func Format(name string, src []byte) ([]byte, hcl.Diagnostics) {
	src = bytes.TrimPrefix(src, []byte("\xEF\xBB\xBF"))
	f := newFaults()
	switch {
	case len(src) > maxSource:
		f.errorf(hcl.Range{Filename: name}, (&tooLarge{name: name, size: int64(len(src))}).Error(), "A config has at most 4MiB.")
	default:
		if d := checkText(name, src); d != nil {
			f.add(d)
		} else if d := checkNesting(name, src); d != nil {
			f.add(d)
		} else {
			parseFile(name, src, f)
		}
	}
	if diags := Sort(f.diags); diags.HasErrors() {
		for _, d := range diags {
			d.Extra = &sources{files: map[string]*hcl.File{name: {Bytes: src}}}
		}
		return nil, diags
	}
	out := hclwrite.Format(bytes.ReplaceAll(src, []byte("\r\n"), []byte("\n")))
	out = bytes.TrimRight(out, " \t\n")
	if len(out) == 0 {
		return []byte{}, nil
	}
	return append(out, '\n'), nil
}
