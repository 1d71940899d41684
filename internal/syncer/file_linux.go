package syncer

import (
	"os"
	"syscall"
)

// Fdatasync makes durable what was written to a file, by whatever descriptor. It is a variable so that a test or a benchmark
// can put a disk in its place that fails, or takes a known time.
var Fdatasync = func(f *os.File) error {
	for {
		if err := syscall.Fdatasync(int(f.Fd())); err != syscall.EINTR {
			return err
		}
	}
}
