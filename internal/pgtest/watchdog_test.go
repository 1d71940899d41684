package pgtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// envVictim makes the test binary a process that starts a server in the folder named and waits to be killed.
const envVictim = "PGTEST_VICTIM"

func victim(dir string) {
	s, err := Start(Options{Dir: dir})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if err := os.WriteFile(filepath.Join(dir, "ready"), []byte(s.DSN()), 0o600); err != nil {
		os.Exit(1)
	}
	time.Sleep(time.Hour)
}

func TestAKilledTestProcessLeavesNoServer(t *testing.T) {
	t.Parallel()
	for when, reached := range map[string]string{
		"while initdb runs":       "pgtest*/data/global",
		"while the server starts": "pgtest*/log",
		"once the server is up":   "ready",
	} {
		t.Run(when, func(t *testing.T) {
			if _, err := Find(); err != nil {
				refuse(t, err)
			}
			dir := reachable(t)
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), envVictim+"="+dir)
			cmd.Stderr = os.Stderr
			must(t, cmd.Start())
			defer cmd.Wait()
			defer cmd.Process.Kill()
			eventually(t, reached, func() bool { return found(dir, reached) })
			folders, _ := filepath.Glob(filepath.Join(dir, "pgtest*"))
			must(t, cmd.Process.Kill())
			if len(folders) != 1 {
				t.Fatalf("folders %v", folders)
			}
			eventually(t, "the folder is removed", func() bool { return !found(dir, "pgtest*") })
			leavesNothing(t, folders[0])
		})
	}
}

func found(dir, pattern string) bool {
	all, _ := filepath.Glob(filepath.Join(dir, pattern))
	return len(all) > 0
}

// reachable is a folder that the server's user can reach, which t.TempDir's need not be.
func reachable(t *testing.T) string {
	dir, err := os.MkdirTemp("/tmp", "reach")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	must(t, os.Chmod(dir, 0o755))
	return dir
}

// leavesNothing checks that a server's folder is gone, and every process that has it in its command line or works in
// it. The processes are known on Linux only.
func leavesNothing(t *testing.T, dir string) {
	t.Helper()
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the folder is left (%v)", err)
	}
	eventually(t, "no process is left", func() bool {
		paths, _ := filepath.Glob("/proc/[0-9]*")
		for _, path := range paths {
			line, _ := os.ReadFile(filepath.Join(path, "cmdline"))
			place, _ := os.Readlink(filepath.Join(path, "cwd"))
			if strings.Contains(string(line), dir) || strings.HasPrefix(place, dir) {
				return false
			}
		}
		return true
	})
}
