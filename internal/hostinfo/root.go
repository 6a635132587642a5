package hostinfo

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// InRoot returns where path lies when root is taken for /: symbolic links on the way, absolute ones too, are followed inside root as
// the machine itself would follow them. The last element need not exist. It is meant for reading files of the machine, not as a guard
// against somebody who changes links at the same time.
func InRoot(root, path string) (string, error) {
	if root == "" || root == "/" {
		return path, nil
	}
	const maxLinks = 40 // as the kernel (path_resolution(7))
	links := 0
	rest := strings.Split(path, "/")
	var done []string // elements below root, without links
	for len(rest) > 0 {
		element := rest[0]
		rest = rest[1:]
		switch element {
		case "", ".":
			continue
		case "..":
			if len(done) > 0 {
				done = done[:len(done)-1]
			}
			continue
		}
		at := filepath.Join(root, filepath.Join(done...), element)
		target, err := os.Readlink(at)
		if err != nil {
			// Not a link, or not there: whoever opens it will tell.
			done = append(done, element)
			continue
		}
		if links++; links > maxLinks {
			return "", fmt.Errorf("%s in %s: %w", path, root, errTooManyLinks)
		}
		if strings.HasPrefix(target, "/") {
			done = done[:0]
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return filepath.Join(root, filepath.Join(done...)), nil
}

var errTooManyLinks = errors.New("too many levels of symbolic links")
