package main

import "fmt"

// SQLite's runs.
var (
	plain64   = run{name: "plain, 64 goroutines", side: plain, users: 5_000, goroutines: 64, synchronous: "full"}
	ours64    = run{name: "groupcommit, 64 goroutines", side: grouped, users: 50_000, goroutines: 64, synchronous: "full"}
	hand      = run{name: "by hand, 1,000 rows a transaction", side: byHand, users: 200_000, goroutines: 1, synchronous: "full"}
	ours1024  = run{name: "groupcommit, 1,024 goroutines", side: grouped, users: 200_000, goroutines: 1024, synchronous: "full"}
	inWindow  = run{name: "commands, one goroutine with 1,024 promises in flight", side: promised, users: 200_000, synchronous: "full"}
	ours8     = run{name: "groupcommit, 8 goroutines", side: grouped, users: 10_000, goroutines: 8, synchronous: "full"}
	oursIDs   = run{name: "groupcommit, 1,024 goroutines, ids", side: grouped, users: 200_000, goroutines: 1024, synchronous: "full", ids: true}
	replayed  = run{name: "groupcommit, 1,024 goroutines, the same ids again", side: grouped, users: 10_000, goroutines: 1024, synchronous: "full", ids: true, again: true}
	restarted = run{name: "groupcommit, 1,024 goroutines, the same ids again after a restart", side: grouped, users: 200_000, goroutines: 1024, synchronous: "full", ids: true, again: true, reopened: true}
	plain1    = run{name: "plain, one goroutine", side: plain, users: 20_000, goroutines: 1, synchronous: "normal"}
	ours1     = run{name: "groupcommit, one goroutine", side: grouped, users: 20_000, goroutines: 1, synchronous: "normal"}
)

var sqliteGrid = grid{
	runs: []run{plain64, ours64, hand, ours1024, inWindow, oursIDs, replayed, restarted, ours8, plain1, ours1},
	cases: []tableCase{
		{"64 goroutines, WAL, synchronous=FULL, against the plain driver with the same 64 goroutines",
			40, false, "%.1f times", over(of(speed, ours64), of(speed, plain64)), rates(ours64, plain64)},
		{"1,024 goroutines, synchronous=FULL, against a hand-written loop (one prepared INSERT, 1,000 rows a transaction)",
			0.8, false, "%.2f of its rate", over(of(speed, ours1024), of(speed, hand)), rates(ours1024, hand)},
		{"mean group at 64 closed-loop goroutines",
			58, false, "%.1f", of(mean, ours64), nil},
		{"mean group at 8 closed-loop goroutines",
			7, false, "%.2f", of(mean, ours8), nil},
		{"one goroutine, synchronous=NORMAL, against the plain driver",
			0.95, false, "%.2f of its rate", over(of(speed, ours1), of(speed, plain1)), rates(ours1, plain1)},
		{"allocations of one batched Exec, against the plain driver's",
			1, true, "%.2f times as many", over(of(allocs, ours64), of(allocs, plain1)), allocations},
		{"calls with fresh ids, 1,024 goroutines, against calls without",
			0.5, false, "%.2f of their rate", over(of(speed, oursIDs), of(speed, ours1024)), rates(oursIDs, ours1024)},
		{"calls whose ids have been executed, of 10,000 ids that the program remembers, 1,024 goroutines, against those whose ids are fresh",
			3, false, "%.1f times", over(of(speed, replayed), of(speed, oursIDs)), rates(replayed, oursIDs)},
		{"calls whose ids have been executed, after a restart, each looked up, 1,024 goroutines, against those whose ids are fresh",
			3, false, "%.1f times", over(of(speed, restarted), of(speed, oursIDs)), rates(restarted, oursIDs)},
		{"commands, 1,024 promises in flight, against Exec with 1,024 goroutines",
			1, false, "%.2f of its rate", over(of(speed, inWindow), of(speed, ours1024)), rates(inWindow, ours1024)},
	},
}

// allocations names the plain driver's allocations for one goroutine, which are its fewest, and for many: a caller that
// waits for the pool costs more.
func allocations(rounds []round) string {
	a, _, _ := spread(rounds, of(allocs, ours64))
	b, _, _ := spread(rounds, of(allocs, plain1))
	c, _, _ := spread(rounds, of(allocs, plain64))
	return fmt.Sprintf("%.1f against %.1f (%.1f where 64 goroutines share its connection)", a, b, c)
}
