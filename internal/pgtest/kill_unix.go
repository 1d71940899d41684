//go:build unix

package pgtest

import (
	"fmt"
	"syscall"
	"time"
)

// killTree kills a process and its children and returns when none of them runs.
func killTree(pid int) error {
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		return err
	}
	pids := append(children(pid), pid)
	for _, p := range pids {
		if err := syscall.Kill(p, syscall.SIGKILL); err != nil && err != syscall.ESRCH {
			return err
		}
	}
	for deadline := time.Now().Add(patience); anyRuns(pids); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("pgtest: of processes %d, one survives SIGKILL", pids)
		}
	}
	return nil
}

// process is a line of the process table.
type process struct {
	pid, parent int
	zombie      bool // it has ended and holds nothing any more
}

func children(pid int) []int {
	var pids []int
	for _, p := range processes() {
		if p.parent == pid {
			pids = append(pids, p.pid)
		}
	}
	return pids
}

func anyRuns(pids []int) bool {
	for _, p := range processes() {
		for _, pid := range pids {
			if p.pid == pid && !p.zombie {
				return true
			}
		}
	}
	return false
}
