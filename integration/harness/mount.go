//go:build integration

package harness

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// Unmount unmounts a folder and, when the filesystem is in an image, waits until the system has let go of it. A container that starts meanwhile
// has a copy of all mounts for a moment: as long as it does, whoever mounts the image again gets the old filesystem, in the state it was in.
func Unmount(t testing.TB, folder, image string) {
	t.Helper()
	Eventually(t, 20*time.Second, folder+" is unmounted", func() (bool, string) {
		out, err := exec.Command("umount", folder).CombinedOutput()
		return err == nil, string(out)
	})
	if image == "" {
		return
	}
	Eventually(t, 20*time.Second, image+" is free", func() (bool, string) {
		loop, err := loopOf(image)
		return err == nil && loop == "", fmt.Sprint(loop, err)
	})
}

// loopOf gives the loop device that has an image, "" when none does.
func loopOf(image string) (device string, err error) {
	images, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return "", err
	}
	for _, file := range images {
		content, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			continue // let go of just now
		}
		if err != nil {
			return "", err
		}
		if string(bytes.TrimSpace(content)) == image {
			return filepath.Base(filepath.Dir(filepath.Dir(file))), nil
		}
	}
	return "", nil
}
