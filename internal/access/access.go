// Package access says why this process may not use a path: who owns it, with which mode, who we are, and what would help.
package access

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Mode is what is wanted of a path, as access(2) takes it.
type Mode uint32

// The modes.
const (
	Read  Mode = unix.R_OK
	Write Mode = unix.W_OK
	Enter Mode = unix.X_OK
)

// Denied says what keeps this process from path (the first folder on the way that it may not enter, or the path itself), and what to do.
func Denied(path string, want Mode) (what, remedy string) {
	blocked, need := path, want
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		if unix.Access(dir, unix.X_OK) != nil {
			blocked, need = dir, Enter
		}
		if dir == filepath.Dir(dir) {
			break
		}
	}
	capability := "CAP_DAC_READ_SEARCH"
	if need&Write != 0 {
		capability = "CAP_DAC_OVERRIDE"
	}
	grant := fmt.Sprintf("give the agent the capability %s (AmbientCapabilities= of the service, cap_add of the container)", capability)
	info, err := os.Stat(blocked)
	if err != nil {
		return fmt.Sprintf("%s can't be looked at by user %d", blocked, os.Geteuid()), grant
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Sprintf("user %d may not use %s", os.Geteuid(), blocked), grant
	}
	group := groupName(st.Gid)
	what = fmt.Sprintf("user %s may not %s %s, which belongs to %s:%s with mode %04o", UserName(), verb(need), blocked, ownerName(st.Uid), group, info.Mode().Perm())
	if uint32(info.Mode().Perm())>>3&uint32(need) != uint32(need) {
		return what, fmt.Sprintf("its owner lets no group %s it: %s, or change its mode", verb(need), grant)
	}
	return what, fmt.Sprintf("put the agent's user into the group %s (usermod -aG %s %s, then restart the agent; group_add: [\"%d\"] in a container), or %s",
		group, group, UserName(), st.Gid, grant)
}

func verb(m Mode) string {
	switch {
	case m&Write != 0:
		return "write to"
	case m&Read != 0:
		return "read"
	}
	return "enter"
}

// UserName is whom this process runs as.
func UserName() string { return ownerName(uint32(os.Geteuid())) }

func ownerName(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil && u.Username != "" {
		return u.Username
	}
	return id
}

func groupName(gid uint32) string {
	id := strconv.FormatUint(uint64(gid), 10)
	if g, err := user.LookupGroupId(id); err == nil && g.Name != "" {
		return g.Name
	}
	return id
}
