//go:build cgo

package sqlite3

import (
	"fmt"
	"os"
	"syscall"
)

// canShare says that the system syncs a file by one descriptor whatever was written by another.
const canShare = true

// sharable is errUnshared if the file system is one of a network, or of a program: what such a one promises is not known.
var sharable = func(f *os.File) error {
	var s syscall.Statfs_t
	if err := syscall.Fstatfs(int(f.Fd()), &s); err != nil {
		return err
	}
	switch uint32(s.Type) {
	case 0x6969, 0x517b, 0xff534d42, 0xfe534d42, 0x65735546, 0x01021997, 0x00c36400: // NFS, SMB, CIFS, SMB2, FUSE, 9P, Ceph
		return fmt.Errorf("%w: a file system of type %#x", errUnshared, uint32(s.Type))
	}
	return nil
}
