package pgtest

import (
	"os"
	"syscall"
)

// memory is a folder whose files are in memory, with room for a server that hands its databases on, or "". Such a server makes
// and removes files all the time, and where nothing is synced a disk only makes that dearer.
func memory() string {
	const (
		dir   = "/dev/shm"
		tmpfs = 0x01021994
		room  = 4 << 30 // the log takes a gigabyte and more
	)
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil || fs.Type != tmpfs || fs.Bavail*uint64(fs.Bsize) < room {
		return ""
	}
	probe, err := os.MkdirTemp(dir, "pgtest")
	if err != nil || os.Remove(probe) != nil {
		return ""
	}
	return dir
}
