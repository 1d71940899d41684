//go:build !unix

package pgx

import "net"

func nothingToRead(net.Conn) bool { return true }
