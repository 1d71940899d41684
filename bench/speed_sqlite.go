package main

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// onSQLite is a run of the mode speed.
func onSQLite(name string, s side, goroutines int, synchronous string) run {
	return run{name: name, side: s, users: unbounded, goroutines: goroutines, synchronous: synchronous, summed: true}
}

func withIDs(r run, name string, ids idKind) run {
	r.name, r.ids = name, ids
	return r
}

// keepingIDs is a hand-written program that keeps ids.
func keepingIDs(r run, with api, name string, ids idKind) run {
	r.side.api = with
	return withIDs(r, name, ids)
}

func withKnown(r run, name string, known int, reopened bool) run {
	r.name, r.known, r.reopened = name, known, reopened
	return r
}

func sqliteHeats() []heat {
	heats := []heat{manyOnSQLite(), someOnSQLite(), pairedOnSQLite("full", atLeast(.98, "1.0")), pairedOnSQLite("normal", atLeast(1, "1.0")),
		openOnSQLite(), growth("SQLite FULL", func(n int) run { return onSQLite(goroutinesOf(n), grouped, n, "full") }), replaysOnSQLite()}
	for _, s := range shapes {
		of := func(name string, side side, goroutines int) run {
			r := onSQLite(name, side, goroutines, "full")
			r.shape = s
			return r
		}
		plain, ours := plain.making(shapeCalls), grouped.making(shapeCalls)
		heats = append(heats, otherStatements("SQLite FULL", s, "loop", of("by hand", byHand, 1), of("plain", plain, 64), of("ours", ours, 1024)))
	}
	return heats
}

func manyOnSQLite() heat {
	hand, ours := onSQLite("by hand", byHand, 1, "full"), onSQLite("ours", grouped, 1024, "full")
	sorted, random := withIDs(ours, "ours, ids in order", sortedIDs), withIDs(ours, "ours, random ids", randomIDs)
	kept, keptRandom := keepingIDs(hand, loopWithIDs, "by hand, ids in order", sortedIDs), keepingIDs(hand, loopWithIDs, "by hand, random ids", randomIDs)
	window := onSQLite("one goroutine with 1,024 promises", promised, 1, "full")
	rate := of(slice.rate, ours)
	return heat{
		runs: []run{hand, ours, sorted, random, window, kept, keptRandom},
		rows: []row{
			{name: "SQLite FULL, 1,024 goroutines / hand-written prepared loop of 1,000 rows a transaction", goal: atLeast(.75, "0.95 to 1.25, lower the faster the disk"),
				value: over(rate, of(slice.rate, hand)), show: []run{ours, hand}},
			{name: "SQLite FULL, 1,024 goroutines, µs of processor a call", goal: atMost(2, "1.55"), value: of(slice.client, ours), show: []run{ours}},
			{name: "SQLite FULL, 1,024 goroutines, processor a call / hand-written loop's", value: over(of(slice.client, ours), of(slice.client, hand)), show: []run{ours, hand}},
			{name: "SQLite FULL, 1,024 goroutines, fresh ids in order / none", goal: atLeast(.7, ""), value: over(of(slice.rate, sorted), rate), show: []run{sorted, ours}},
			{name: "SQLite FULL, 1,024 goroutines, fresh ids of UUIDv4 / none", goal: atLeast(.7, ""), value: over(of(slice.rate, random), rate), show: []run{random, ours}},
			{name: "SQLite FULL, 1,024 goroutines, fresh ids in order / hand-written loop that keeps them", value: over(of(slice.rate, sorted), of(slice.rate, kept)), show: []run{sorted, kept, hand}},
			{name: "SQLite FULL, 1,024 goroutines, fresh ids of UUIDv4 / hand-written loop that keeps them", value: over(of(slice.rate, random), of(slice.rate, keptRandom)), show: []run{random, keptRandom, hand}},
			{name: "SQLite FULL, commands, 1,024 promises in flight / Exec by 1,024 goroutines", goal: atLeast(1, ""), value: over(of(slice.rate, window), rate), show: []run{window, ours}},
		},
	}
}

// someOnSQLite has the plain driver with one goroutine, too: nobody waits for its connection there, so its allocations are its
// fewest.
func someOnSQLite() heat {
	theirs, ours, one := onSQLite("plain", plain, 64, "full"), onSQLite("ours", grouped, 64, "full"), onSQLite("plain, 1 goroutine", plain, 1, "full")
	return heat{
		runs: []run{theirs, ours, one},
		rows: append([]row{
			{name: "SQLite FULL, 64 goroutines / plain on one connection", goal: target{text: fsyncShare, bound: "64 · t(plain) / (t(sync) + 0.15 ms)"}, format: "%.1f",
				value: over(of(slice.rate, ours), of(slice.rate, theirs)), reach: shareOfSync(theirs), show: []run{ours, theirs}, note: syncOf(theirs)},
			{name: "SQLite FULL, mean group at 64 goroutines", goal: atLeast(58, "64"), format: "%.1f", value: of(slice.mean, ours)},
		}, allocations("SQLite FULL", ours, one, theirs)...),
	}
}

// shareOfSync is the goal that the disk sets: a group's cycle is a sync and some processor time, and serves 64.
func shareOfSync(plain run) func([]round) float64 {
	return func(rounds []round) float64 {
		return middle(rounds, func(r round) float64 {
			cycle := r.sync + 150*time.Microsecond
			return 0.9 * 64 * perOf(1e9, r.of[plain.label()].rate()) / float64(cycle)
		})
	}
}

func syncOf(plain run) func([]round) string {
	return func(rounds []round) string {
		sync := middle(rounds, func(r round) float64 { return float64(r.sync) / 1e3 })
		each := middle(rounds, func(r round) float64 { return perOf(1e6, r.of[plain.label()].rate()) })
		return fmt.Sprintf("t(plain) %s, t(sync) %s", micros(each), micros(sync))
	}
}

// allocations are those of a call of 64 goroutines beside the plain driver's fewest.
func allocations(where string, ours, plain, busy run) []row {
	return []row{
		{name: where + ", allocations of a call / plain's", goal: atMost(1, ""), value: over(of(slice.allocs, ours), of(slice.allocs, plain)), note: each(slice.allocs, ours, plain, busy)},
		{name: where + ", bytes of a call / plain's", goal: atMost(1, ""), value: over(of(slice.bytes, ours), of(slice.bytes, plain)), note: each(slice.bytes, ours, plain, busy)},
	}
}

func each(what func(slice) float64, runs ...run) func([]round) string {
	return func(rounds []round) string {
		var all []string
		for _, r := range runs {
			all = append(all, fmt.Sprintf("%s: %.1f", r.label(), middle(rounds, of(what, r))))
		}
		return strings.Join(all, "; ")
	}
}

func pairedOnSQLite(synchronous string, goal target) heat {
	theirs, ours := onSQLite("plain", plain, 1, synchronous), onSQLite("ours", grouped, 1, synchronous)
	names := map[string]string{"full": "SQLite FULL", "normal": "SQLite NORMAL"}
	return paired(names[synchronous], goal, theirs, ours)
}

// paired compares the times of single calls. The rates and processor times beside them are of slices.
func paired(where string, goal target, plain, ours run) heat {
	return heat{
		play: (*lab).pairs,
		runs: []run{plain, ours},
		rows: []row{{name: where + ", one goroutine / plain, call by call", goal: goal, value: of(slice.faster, ours), show: []run{ours, plain}}},
	}
}

func openOnSQLite() heat {
	return openLoopOf("SQLite FULL", onSQLite("plain", plain, 64, "full"), onSQLite("ours", grouped, 64, "full"))
}

func openLoopOf(where string, plain, ours run) heat {
	return heat{
		play: func(l *lab, ctx context.Context, p pace, all []*entrant) ([]round, error) {
			return l.openLoop(ctx, p, .5, all)
		},
		runs: []run{plain, ours},
		rows: []row{{name: where + ", open loop at half of plain's best rate, p50 / plain's", goal: atMost(1.05, "1.0"), value: over(of(slice.median, ours), of(slice.median, plain)), show: []run{ours, plain},
			note: func(rounds []round) string {
				return "calls begin " + micros(middle(rounds, of(func(s slice) float64 { return s.late }, ours))) + " late in the median"
			}}},
	}
}

// grown are numbers of goroutines.
var grown = []int{1, 8, 64, 256, 1024, 4096}

func goroutinesOf(n int) string { return plural(n, "goroutine") }

func growth(where string, with func(n int) run) heat {
	h := heat{}
	for _, n := range grown {
		h.runs = append(h.runs, with(n))
	}
	least, most := with(1024), with(4096)
	h.rows = []row{
		{name: where + ", 4,096 goroutines / 1,024", goal: atLeast(1, ""), value: over(of(slice.rate, most), of(slice.rate, least)), show: h.runs},
		{name: where + ", mean group at 8 goroutines", value: of(slice.mean, with(8))},
	}
	return h
}

func replaysOnSQLite() heat {
	fresh := withIDs(onSQLite("fresh", grouped, 1024, "full"), "fresh", sortedIDs)
	again, restarted := withKnown(fresh, "again", 10_000, false), withKnown(fresh, "after a restart", 200_000, true)
	return heat{
		runs: []run{fresh, again, restarted},
		rows: []row{
			{name: "SQLite FULL, 1,024 goroutines, ids that the program remembers / fresh ids", goal: atLeast(3, ""), value: over(of(slice.rate, again), of(slice.rate, fresh)), show: []run{again, fresh}},
			{name: "SQLite FULL, 1,024 goroutines, ids that are looked up after a restart / fresh ids", goal: atLeast(3, ""), value: over(of(slice.rate, restarted), of(slice.rate, fresh)), show: []run{restarted, fresh}},
		},
	}
}

// otherStatements compares a shape with its hand-written form. It has no goal: it looks for the worst.
func otherStatements(where string, s *shape, form string, hand, plain, ours run) heat {
	return heat{
		short: s.slow,
		pools: plain.driver == pgxDriver,
		runs:  []run{hand, plain, ours},
		rows:  []row{{name: fmt.Sprintf("%s, %s, 1,024 goroutines / hand-written %s of 1,000", where, s.name, form), value: over(of(slice.rate, ours), of(slice.rate, hand)), show: []run{ours, hand, plain}}},
	}
}
