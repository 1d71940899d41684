package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// notKnown stands for a time that cannot be read here.
const notKnown = time.Duration(-1)

// A meter reads what this program, and the server that it writes to, have used so far. Processor time tells the truth where
// neighbours share the machine: a wall clock runs on while they have the processor. A nil meter reads this program.
type meter struct {
	server *processes // nil: no server, or one that cannot be looked at
}

// used is a reading of a meter, or the difference of two. A time may be notKnown.
type used struct {
	client, server time.Duration
	allocs, bytes  uint64 // of this program
}

// start reads the server first and the program's own time last, and since the other way round: so what reading costs is in no
// difference of the program's.
func (m *meter) start() used {
	if m == nil {
		m = new(meter)
	}
	var mem runtime.MemStats
	u := used{server: m.server.time()}
	runtime.ReadMemStats(&mem)
	u.allocs, u.bytes = mem.Mallocs, mem.TotalAlloc
	u.client = ownProcessorTime()
	return u
}

func (m *meter) since(u used) used {
	if m == nil {
		m = new(meter)
	}
	d := used{client: elapsed(u.client, ownProcessorTime())}
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	d.allocs, d.bytes = mem.Mallocs-u.allocs, mem.TotalAlloc-u.bytes
	d.server = elapsed(u.server, m.server.time())
	return d
}

// add sums two differences.
func (u used) add(v used) used {
	sum := func(a, b time.Duration) time.Duration {
		if a == notKnown || b == notKnown {
			return notKnown
		}
		return a + b
	}
	return used{sum(u.client, v.client), sum(u.server, v.server), u.allocs + v.allocs, u.bytes + v.bytes}
}

func elapsed(from, to time.Duration) time.Duration {
	if from == notKnown || to == notKnown {
		return notKnown
	}
	return to - from
}

// perCall is a time by the number of calls, in microseconds; -1 where it is not known.
func perCall(d time.Duration, calls int) float64 {
	if d == notKnown {
		return -1
	}
	return perOf(float64(d)/1e3, float64(calls))
}

// micros writes what perCall has returned.
func micros(us float64) string {
	switch {
	case us < 0:
		return "not known"
	case us < 10:
		return fmt.Sprintf("%.2f µs", us)
	case us < 1000:
		return fmt.Sprintf("%.0f µs", us)
	}
	if us < 1e6 {
		return fmt.Sprintf("%.1f ms", us/1000)
	}
	return fmt.Sprintf("%.2f s", us/1e6)
}

// processor writes the processor time of a call: this program's, and the server's where there is one.
func processor(client, server float64, hasServer bool) string {
	if !hasServer {
		return micros(client)
	}
	return micros(client) + " + " + micros(server)
}

// processes are those of a PostgreSQL server: its postmaster and the postmaster's children, which do the work.
type processes struct{ postmaster int }

// processesOf finds those of a server by its folder. Where they cannot be looked at it returns nil.
func processesOf(folder string) *processes {
	text, err := os.ReadFile(filepath.Join(folder, "postmaster.pid"))
	if err != nil {
		return nil
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil {
		return nil
	}
	if p := (&processes{pid}); p.time() != notKnown {
		return p
	}
	return nil
}

// time is what the processes have used so far. The postmaster has in its own record those of its children that have ended.
func (p *processes) time() time.Duration {
	if p == nil {
		return notKnown
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", p.postmaster))
	if err != nil {
		return notKnown
	}
	sum, err := ended(p.postmaster)
	if err != nil {
		return notKnown
	}
	for _, pid := range append(strings.Fields(string(children)), strconv.Itoa(p.postmaster)) {
		text, err := os.ReadFile("/proc/" + pid + "/schedstat")
		if err != nil {
			continue // it has just ended
		}
		var ns int64
		fmt.Sscan(string(text), &ns)
		sum += time.Duration(ns)
	}
	return sum
}

// tick is the unit of /proc's times of ended children, on every architecture that Go knows.
const tick = 10 * time.Millisecond

// ended is the time of the children for which a process has waited.
func ended(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	s := string(text)
	f := strings.Fields(s[strings.LastIndexByte(s, ')')+1:]) // from the third field on: a name may hold blanks
	if len(f) < 15 {
		return 0, fmt.Errorf("%d fields", len(f))
	}
	user, err := strconv.Atoi(f[13])
	if err != nil {
		return 0, err
	}
	system, err := strconv.Atoi(f[14])
	return time.Duration(user+system) * tick, err
}
