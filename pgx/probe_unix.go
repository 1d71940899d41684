//go:build unix

package pgx

import (
	"net"
	"syscall"
)

// nothingToRead looks at a socket, and takes nothing from it. It does not wait for a goroutine that reads, as RawConn.Read
// would: pgx leaves one behind after a write that took long.
func nothingToRead(conn net.Conn) bool {
	c, ok := conn.(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	empty := false
	err = raw.Control(func(fd uintptr) { // the socket does not block
		var one [1]byte
		_, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK)
		empty = err == syscall.EAGAIN || err == syscall.EINTR
	})
	return err == nil && empty
}
