package main

import (
	"cmp"
	"fmt"
	"github.com/mattn/go-sqlite3"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
)

// machine names the machine of a measurement.
func machine() string {
	s := fmt.Sprintf("%s/%s, %d cores", runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	if n := runtime.GOMAXPROCS(0); n != runtime.NumCPU() {
		s += fmt.Sprintf(" (GOMAXPROCS=%d)", n)
	}
	if model := cpuModel(); model != "" {
		s = model + ", " + s
	}
	return s + ", " + runtime.Version()
}

// cpuModel is "" where it cannot be read from a file.
func cpuModel() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// filesystem is the type of dir's filesystem, where that can be read: ext4, or tmpfs, where syncing is free.
func filesystem(dir string) (kind string) {
	text, _ := os.ReadFile("/proc/self/mounts")
	longest := 0
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 3 || len(f[1]) < longest {
			continue
		}
		if point := strings.TrimSuffix(f[1], "/"); dir == point || strings.HasPrefix(dir, point+"/") {
			longest, kind = len(f[1]), f[2]
		}
	}
	return kind
}

// versions names the machine, and the versions of what is measured.
func versions() string {
	s := machine()
	sqlite, _, _ := sqlite3.Version()
	for _, m := range []struct{ path, name string }{{"github.com/mattn/go-sqlite3", "go-sqlite3"}, {"github.com/jackc/pgx/v5", "pgx"}} {
		if v := versionOf(m.path); v != "" {
			s += ", " + m.name + " " + v
		}
	}
	return s + ", SQLite " + sqlite
}

// versionOf is that of a module in this program; "" where the program does not know.
func versionOf(path string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, m := range info.Deps {
		if m.Path == path {
			return m.Version
		}
	}
	return ""
}

// shortMachine is for a picture.
func shortMachine() string {
	return fmt.Sprintf("%s, %d cores", cmp.Or(cpuModel(), runtime.GOARCH), runtime.NumCPU())
}
