package positions

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// lockFolder takes the folder's lock: a file named "lock" that holds the process id of its owner, under flock(2), which the kernel
// releases when the owner ends in whatever way. The file stays: removing it would let two owners hold two files of one name.
func lockFolder(dir string, log *slog.Logger) (*os.File, error) {
	path := filepath.Join(dir, "lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("can't write to the data folder: %w; make %s writable for this user or set data_dir to another folder", err, dir)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		owner := ownerOf(f)
		f.Close()
		return nil, fmt.Errorf("the data folder %s is in use by another agent%s: stop that one, or give this one a data_dir of its own", dir, owner)
	case err != nil:
		// Some network filesystems have no locks. Refusing to run on them would help nobody.
		log.Warn("the data folder can't be locked; two agents must not share it", "folder", dir, "err", err)
		return f, nil
	}
	if err := writeOwner(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("can't write to the data folder %s: %w; free some space or set data_dir to another folder", dir, err)
	}
	return f, nil
}

func writeOwner(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// ownerOf says who holds the lock as far as the file tells.
func ownerOf(f *os.File) string {
	b, err := io.ReadAll(io.LimitReader(f, 32))
	if err != nil {
		return ""
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || pid <= 0 {
		return ""
	}
	return fmt.Sprintf(" (process %d)", pid)
}
