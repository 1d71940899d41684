package pgtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// processes reads /proc: ps is not on every machine.
func processes() []process {
	var all []process
	paths, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // it has just ended
		}
		// "pid (name) state parent …", where a name may hold spaces and brackets.
		stat := string(b)
		var p process
		var state string
		fmt.Sscan(stat, &p.pid)
		fmt.Sscan(stat[strings.LastIndexByte(stat, ')')+1:], &state, &p.parent)
		p.zombie = state == "Z" || state == "X"
		all = append(all, p)
	}
	return all
}
