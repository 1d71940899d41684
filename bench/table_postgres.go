package main

import (
	"fmt"
	"slices"
	"strings"
)

// PostgreSQL's runs.
var (
	pgPools = []run{
		{name: "plain on 16 connections, 1,024 goroutines", side: pgxPlain(16), users: 8_000, goroutines: 1024},
		{name: "plain on 64 connections, 1,024 goroutines", side: pgxPlain(64), users: 8_000, goroutines: 1024},
		{name: "plain on 200 connections, 1,024 goroutines", side: pgxPlain(200), users: 8_000, goroutines: 1024},
	}
	pgOurs1024 = run{name: "groupcommit, 1,024 goroutines", side: pgxGrouped, users: 200_000, goroutines: 1024}
	pgIDs      = run{name: "groupcommit, 1,024 goroutines, ids", side: pgxGrouped, users: 100_000, goroutines: 1024, ids: true}
	pgHand     = run{name: "pgx.Batch of 1,000", side: pgxBatch, users: 200_000, goroutines: 1}
	pgPlain64  = run{name: "plain on 64 connections, 64 goroutines", side: pgxPlain(64), users: 8_000, goroutines: 64}
	pgOurs64   = run{name: "groupcommit, 64 goroutines", side: pgxGrouped, users: 40_000, goroutines: 64}
	pgPlain1   = run{name: "plain, one goroutine", side: pgxPlain(1), users: 4_000, goroutines: 1}
	pgOurs1    = run{name: "groupcommit, one goroutine", side: pgxGrouped, users: 4_000, goroutines: 1}
	pgClashes  = run{name: "plain on 64 connections, 64 goroutines, 1 in 100 a violation", side: pgxPlain(64), users: 8_000, goroutines: 64, clash: 100}
	pgOursToo  = run{name: "groupcommit, 64 goroutines, 1 in 100 a violation", side: pgxGrouped, users: 40_000, goroutines: 64, clash: 100}
)

var postgresGrid = grid{
	// Runs that are compared stand side by side.
	runs: append(slices.Clone(pgPools), pgOurs1024, pgIDs, pgHand, pgPlain64, pgOurs64, pgPlain1, pgOurs1, pgClashes, pgOursToo),
	cases: []tableCase{
		{"1,024 goroutines, against the plain driver at its best of 16, 64 and 200 connections",
			10, false, "%.1f times", over(of(speed, pgOurs1024), best(speed, pgPools...)), pools},
		{"1,024 goroutines, against a hand-written pgx.Batch of 1,000 a transaction on one connection",
			0.9, false, "%.2f of its rate", over(of(speed, pgOurs1024), of(speed, pgHand)), rates(pgOurs1024, pgHand)},
		{"64 goroutines, against the plain driver on 64 connections",
			4, false, "%.1f times", over(of(speed, pgOurs64), of(speed, pgPlain64)), rates(pgOurs64, pgPlain64)},
		{"one goroutine, against the plain driver",
			0.95, false, "%.2f of its rate", over(of(speed, pgOurs1), of(speed, pgPlain1)), rates(pgOurs1, pgPlain1)},
		{"64 goroutines where 1 call in 100 violates a unique key, against the plain driver on 64 connections",
			2, false, "%.1f times", over(of(speed, pgOursToo), of(speed, pgClashes)), rates(pgOursToo, pgClashes)},
		{"calls with fresh ids, 1,024 goroutines, against calls without",
			0.4, false, "%.2f of their rate", over(of(speed, pgIDs), of(speed, pgOurs1024)), rates(pgIDs, pgOurs1024)},
	},
}

// grid leaves out the pools for which the server has no room. On a user's own server it leaves out the calls with ids, too:
// they would leave a ledger there.
func (c *cluster) grid() grid {
	g := postgresGrid
	g.notes = []string{c.settings(config{}) + "."}
	g.runs = slices.DeleteFunc(slices.Clone(g.runs), func(r run) bool {
		if r.ids && c.server == nil {
			g.notes = append(g.notes, fmt.Sprintf("Left out: %s; on a server of yours they would leave a ledger.", r.name))
			return true
		}
		if r.conns <= c.room {
			return false
		}
		g.notes = append(g.notes, fmt.Sprintf("Left out: %s; max_connections leaves room for %d.", r.name, c.room))
		return true
	})
	return g
}

// pools names the rate of each pool.
func pools(rounds []round) string {
	a, _, _ := spread(rounds, of(speed, pgOurs1024))
	var rates []string
	for _, r := range pgPools {
		if x, _, _ := spread(rounds, of(speed, r)); x > 0 {
			rates = append(rates, fmt.Sprintf("%s on %d", comma(int(x)), r.conns))
		}
	}
	return fmt.Sprintf("%s against %s inserts a second", comma(int(a)), strings.Join(rates, ", "))
}
