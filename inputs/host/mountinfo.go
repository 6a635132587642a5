package host

import (
	"bytes"

	"github.com/hermod-agent/hermod/internal/pseudofile"
)

// mountLine is a line of mountinfo (proc_pid_mountinfo(5)), as the kernel wrote it: blanks in names are octal escapes.
//
//	36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
type mountLine struct {
	device     []byte // major:minor
	point      []byte
	options    []byte
	fsType     []byte
	source     []byte
	superblock []byte // options
}

// parseMountLine splits a line. The optional fields, of which there may be any number, end with a dash.
func parseMountLine(line []byte) (m mountLine, ok bool) {
	var root []byte
	_, rest := pseudofile.CutField(line)
	_, rest = pseudofile.CutField(rest)
	m.device, rest = pseudofile.CutField(rest)
	root, rest = pseudofile.CutField(rest)
	m.point, rest = pseudofile.CutField(rest)
	m.options, rest = pseudofile.CutField(rest)
	for {
		var field []byte
		if field, rest = pseudofile.CutField(rest); len(field) == 0 {
			return m, false
		}
		if string(field) == "-" {
			break
		}
	}
	m.fsType, rest = pseudofile.CutField(rest)
	// A source may be empty, when mount(2) was given an empty string: two blanks stand side by side then.
	if len(rest) > 0 {
		rest = rest[1:]
	}
	if i := bytes.IndexByte(rest, ' '); i >= 0 {
		m.source, m.superblock = rest[:i], rest[i+1:]
	} else {
		return m, false
	}
	return m, len(root) > 0 && len(m.point) > 0 && m.point[0] == '/' && len(m.fsType) > 0 && bytes.IndexByte(m.device, ':') > 0
}

// readOnly says whether the mount, or the filesystem below it, takes no writes. emergency_ro is what ext4 shows after an error.
func (m *mountLine) readOnly() bool {
	return hasOption(m.options, "ro") || hasOption(m.superblock, "ro") || hasOption(m.superblock, "emergency_ro")
}

func hasOption(options []byte, want string) bool {
	for len(options) > 0 {
		option := options
		if i := bytes.IndexByte(options, ','); i >= 0 {
			option, options = options[:i], options[i+1:]
		} else {
			options = nil
		}
		if string(option) == want {
			return true
		}
	}
	return false
}

// unescape takes out the octal escapes \040 (blank), \011 (tab), \012 (newline) and \134 (backslash) that the kernel writes.
func unescape(s []byte) string {
	if bytes.IndexByte(s, '\\') < 0 {
		return string(s)
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) && octal(s[i+1]) && octal(s[i+2]) && octal(s[i+3]) {
			out = append(out, (s[i+1]-'0')<<6|(s[i+2]-'0')<<3|(s[i+3]-'0'))
			i += 3
			continue
		}
		out = append(out, s[i])
	}
	return string(out)
}

func octal(c byte) bool { return c >= '0' && c <= '7' }
