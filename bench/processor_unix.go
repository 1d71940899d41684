//go:build unix

package main

import (
	"syscall"
	"time"
)

// ownProcessorTime is what this program has used so far, in user and in kernel mode.
func ownProcessorTime() time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return notKnown
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
