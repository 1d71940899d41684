//go:build unix && !linux

package pgtest

import (
	"fmt"
	"os/exec"
	"strings"
)

func processes() []process {
	var all []process
	out, _ := exec.Command("ps", "-A", "-o", "pid=,ppid=,stat=").Output()
	for line := range strings.Lines(string(out)) {
		var p process
		var state string
		if n, _ := fmt.Sscan(line, &p.pid, &p.parent, &state); n == 3 {
			p.zombie = strings.HasPrefix(state, "Z")
			all = append(all, p)
		}
	}
	return all
}
