//go:build unix

package main

import (
	"os"
	"syscall"
)

// keepOwner gives the file the owner of another one. Only root may; for others the file was theirs, or stays theirs now.
func keepOwner(name string, like os.FileInfo) {
	if st, ok := like.Sys().(*syscall.Stat_t); ok {
		_ = os.Chown(name, int(st.Uid), int(st.Gid))
	}
}
