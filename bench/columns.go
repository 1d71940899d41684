package main

import (
	"fmt"
	"time"
)

// A column of the grid is a way to write a program.
type column struct {
	name   string
	short  string // in the names of benchmarks
	driver string // the one it is for; "": both
	// side is the column's for a case, with the pool that serves the plain driver best. ok is false where the column cannot do
	// the case.
	side func(c gridCase, pool int) (s side, ok bool)
}

const (
	plainColumn = "plain, best pool"
	oneColumn   = "plain, 1 connection"
	oursColumn  = "groupcommit"
	timerColumn = "timer, 10 ms" // see timerEvery
	loopColumn  = "loop by hand"
	batchColumn = "pgx.Batch"
)

// mostOnOne are the callers that wait for one connection to PostgreSQL at most: more would take minutes.
const mostOnOne = 1024

var columnsOfGrid = []column{
	{plainColumn, "plain", "", func(c gridCase, pool int) (side, bool) { return plainSide(c, min(pool, c.callers)), true }},
	{oneColumn, "plain1", "", func(c gridCase, _ int) (side, bool) {
		return plainSide(c, 1), c.driver == sqliteDriver || c.callers <= mostOnOne
	}},
	{oursColumn, "groupcommit", "", func(c gridCase, _ int) (side, bool) {
		if c.driver == sqliteDriver {
			return grouped.making(c.calls()), true
		}
		return pgxGrouped.making(c.calls()), true
	}},
	{timerColumn, "timer", "", func(c gridCase, pool int) (side, bool) {
		s := plainSide(c, min(pool, c.callers))
		s.batch, s.count = true, byItself
		if c.driver == sqliteDriver {
			return s.making(timerCalls(bySQLite)), true
		}
		return s.making(timerCalls(byPgxBatch)), true
	}},
	{loopColumn, "loop", sqliteDriver, func(c gridCase, _ int) (side, bool) { return byHand, c.byHand() }},
	{batchColumn, "pgxbatch", pgxDriver, func(c gridCase, _ int) (side, bool) { return pgxBatch, c.byHand() }},
	{"CopyFrom", "copyfrom", pgxDriver, func(c gridCase, _ int) (side, bool) { return pgxCopy, c.byHand() && c.load.shape == nil }},
	{"unnest", "unnest", pgxDriver, func(c gridCase, _ int) (side, bool) {
		return pgxUnnest, c.byHand() && (c.load.shape == nil || c.load.shape.unnest != "")
	}},
}

// byHand says whether a program that has all rows already does what the case does. It has no callers that come by
// themselves, and a call of its that fails would take a thousand with it.
func (c gridCase) byHand() bool {
	s := c.load.shape
	return c.open == 0 && (s == nil || s.reads == "" && !s.served)
}

func (c gridCase) calls() caller {
	if c.load.shape == nil {
		return execCalls
	}
	return shapeCalls
}

func plainSide(c gridCase, pool int) side {
	if c.driver == sqliteDriver {
		return sqlitePlain(pool).making(c.calls())
	}
	return pgxPlain(pool).making(c.calls())
}

// gridPools are the sizes of the plain driver's pool of which the best one counts.
var gridPools = map[string][]int{sqliteDriver: {1, 4, 16}, pgxDriver: {16, 64, 128}}

// gridPoolCallers are those by which the best one is found.
var gridPoolCallers = 256

// run is a side in a case.
func (c gridCase) run(name string, s side, pool int) run {
	r := run{name: name, side: s, users: unbounded, goroutines: c.callers, shape: c.load.shape, summed: true, timed: true}
	if c.driver == sqliteDriver {
		r.synchronous = c.durability
	} else {
		r.physical = pool
	}
	if c.failing > 0 {
		r.clash = 100 / c.failing
	}
	return r
}

// runs are those of all columns that can do the case. The plain driver's first one stands for the second, too, where the best
// pool is of one connection. The two curves compare only the plain driver and groupcommit.
func (c gridCase) runs(pool int) (all []run) {
	for _, x := range columnsOfGrid {
		if x.driver != "" && x.driver != c.driver || (c.sync > 0 || c.failing > 0) && x.name != plainColumn && x.name != oursColumn {
			continue
		}
		s, ok := x.side(c, pool)
		if !ok || x.name == oneColumn && min(pool, c.callers) == 1 {
			continue
		}
		all = append(all, c.run(x.name, s, pool))
	}
	return all
}

// tries are the plain driver's runs on several pools.
func (c gridCase) tries(room int) (all []run) {
	for _, n := range gridPools[c.driver] {
		if room -= n; n <= c.callers && room >= 10 {
			all = append(all, c.run(fmt.Sprint(n), plainSide(c, n), n))
		}
	}
	return all
}

// learning has groups settle before the clock starts: they learn what a statement costs.
func learning(all []run, d time.Duration) []run {
	for i := range all {
		if all[i].name == oursColumn {
			all[i].learns = d
		}
	}
	return all
}

// cost is about what the case takes, where a sync takes so long. Each caller makes two calls in a slice, however long that takes.
func (c gridCase) cost(p pace, sync time.Duration) (d time.Duration) {
	if c.sync > 0 {
		sync = c.sync
	}
	if !c.durable() {
		sync = 30 * time.Microsecond
	}
	for _, r := range learning(c.runs(16), p.learn) {
		least := 2 * timerEvery
		if !r.batch {
			beside := 1
			if c.driver == pgxDriver {
				beside = max(1, min(4, r.conns))
			}
			least = 2 * time.Duration(c.callers) * (sync + 100*time.Microsecond) / time.Duration(beside)
		}
		d += 100*time.Millisecond + time.Duration(p.slices+1)*max(p.slice, least) + r.learns
		if c.open > 0 {
			d += time.Duration(p.slices) * p.slice
		}
	}
	return d
}
