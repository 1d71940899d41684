// Package disk puts a made disk below a program: one whose syncs take a known time, or fail, or are remembered, so that it
// can be known what a power failure would have left. It is for tests and the benchmark.
//
// A program calls fsync in libc, as SQLite does, or by itself, as Go code does. The first is caught by a few lines of C, which the
// C compiler that cgo needs builds and LD_PRELOAD loads: on Linux. The second is Disk's Fdatasync.
package disk

import (
	"errors"
	"os"
	"strconv"
	"time"
)

// A Disk is what the files right in a folder lie on. No real sync is made of them, so that the folder is best one in memory.
type Disk struct {
	// Folder has no link in its path.
	Folder string
	// Takes is for how long a sync sleeps.
	Takes time.Duration
	// Shadow is a folder that gets a copy of what a file has when its sync begins, before the sync takes its time: what comes
	// behind the beginning is not durable by it. "": nothing is copied.
	Shadow string
	// Shim is what Build has built.
	Shim string
	// Fails is a file: while it exists, syncs fail with EIO. "": they do not.
	Fails string
}

// ErrUnsupported is the cause where there is no such disk: LD_PRELOAD is not there, or no C compiler.
var ErrUnsupported = errors.New("disk: needs Linux and a C compiler")

const (
	envFolder = "GROUPCOMMIT_DISK_FOLDER"
	envTakes  = "GROUPCOMMIT_DISK_TAKES" // nanoseconds
	envShadow = "GROUPCOMMIT_DISK_SHADOW"
	envShim   = "GROUPCOMMIT_DISK_SHIM"
	envFails  = "GROUPCOMMIT_DISK_FAILS"
)

// Memory is a folder in memory for Folder's, or "" where there is none.
func Memory() string {
	if i, err := os.Stat("/dev/shm"); err == nil && i.IsDir() {
		return "/dev/shm"
	}
	return ""
}

// Env is the environment of a program on the disk.
func (d Disk) Env() []string {
	return append(os.Environ(), "LD_PRELOAD="+d.Shim, envShim+"="+d.Shim, envFolder+"="+d.Folder, envTakes+"="+strconv.FormatInt(d.Takes.Nanoseconds(), 10),
		envShadow+"="+d.Shadow, envFails+"="+d.Fails)
}

// Current is the disk that this program was started on. What it starts itself is on none from here on.
func Current() (d Disk, ok bool) {
	d.Folder = os.Getenv(envFolder)
	if d.Folder == "" {
		return d, false
	}
	ns, err := strconv.ParseInt(os.Getenv(envTakes), 10, 64)
	if err != nil {
		return d, false
	}
	d.Takes, d.Shadow, d.Shim, d.Fails = time.Duration(ns), os.Getenv(envShadow), os.Getenv(envShim), os.Getenv(envFails)
	os.Unsetenv("LD_PRELOAD")
	return d, true
}
