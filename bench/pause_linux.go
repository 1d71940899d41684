package main

import (
	"syscall"
	"time"
)

// pause sleeps by the kernel's own clock: Go's timers may be a millisecond late where nothing else runs. It may end early, by a
// signal.
func pause(d time.Duration) {
	t := syscall.NsecToTimespec(int64(d))
	_ = syscall.Nanosleep(&t, nil)
}
