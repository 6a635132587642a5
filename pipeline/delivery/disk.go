package delivery

import (
	"errors"
	"os"
	"syscall"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/queue"
)

// explainDisk says what to do about a queue that can't be kept on disk. It is nil for nil.
func explainDisk(err error) error {
	const meanwhile = "; until then a few megabytes are kept in memory, and no positions of logs are saved before they are delivered"
	var locked *queue.LockedError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &locked):
		return component.WithRemedy(err, "stop that process, or give this agent a data_dir of its own")
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return component.WithRemedy(err, "free space on the filesystem of data_dir, or lower queue { max_size = ... }"+meanwhile)
	case errors.Is(err, syscall.EROFS):
		return component.WithRemedy(err, "mount the filesystem of data_dir writable, or name another folder"+meanwhile)
	case errors.Is(err, os.ErrPermission):
		return component.WithRemedy(err, "give the agent's user the right to write to data_dir"+meanwhile)
	}
	return component.WithRemedy(err, "see what is wrong with the filesystem of data_dir"+meanwhile)
}
