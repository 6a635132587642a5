package files

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"github.com/hermod-agent/hermod/internal/access"
	"github.com/hermod-agent/hermod/internal/tail"
	"github.com/hermod-agent/hermod/pipeline/component"
)

// explain adds to the error of a path what the user can do about it.
func explain(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		want := access.Read
		if info, statErr := os.Stat(path); statErr == nil && info.IsDir() {
			want |= access.Enter
		}
		who, remedy := access.Denied(path, want)
		return component.WithRemedy(fmt.Errorf("%w: %s", err, who), remedy)
	case errors.Is(err, tail.ErrNotRegular):
		return component.WithRemedy(err, "name it in exclude")
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return component.WithRemedy(err, "raise the limit of open files (LimitNOFILE= of the service, ulimit -n) or narrow the patterns")
	case errors.Is(err, syscall.ELOOP):
		return component.WithRemedy(err, "put right the symbolic link, which leads in a circle, or name it in exclude")
	}
	return err
}
