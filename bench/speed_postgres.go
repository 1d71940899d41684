package main

import "fmt"

// onPostgres is a run of the mode speed. Groups have as many connections as the plain driver's pool; above them there is a cheap
// one for each goroutine.
func onPostgres(name string, s side, goroutines, pool int) run {
	return run{name: name, side: s, users: unbounded, goroutines: goroutines, physical: pool, summed: true}
}

// postgresHeats are those on a server where the plain driver is best on a pool of so many connections.
func postgresHeats(pool int) []heat {
	plain := onPostgres(fmt.Sprintf("plain on %d", pool), pgxPlain(pool), 1024, pool)
	heats := []heat{manyOnPostgres(plain), someOnPostgres(),
		paired("PostgreSQL", atLeast(.97, "1.0"), onPostgres("plain", pgxPlain(1), 1, 1), onPostgres("ours", pgxGrouped, 1, 1)),
		openOnPostgres(plain), growth("PostgreSQL", func(n int) run { return onPostgres(goroutinesOf(n), pgxGrouped, n, pool) }), violationsOnPostgres()}
	for _, s := range shapes {
		of := func(name string, side side, goroutines int) run {
			r := onPostgres(name, side, goroutines, pool)
			r.shape = s
			return r
		}
		theirs, ours := pgxPlain(pool).making(shapeCalls), pgxGrouped.making(shapeCalls)
		heats = append(heats, otherStatements("PostgreSQL", s, "pgx.Batch", of("by hand", pgxBatch, 1), of(plain.name, theirs, 1024), of("ours", ours, 1024)))
	}
	return heats
}

func manyOnPostgres(plain run) heat {
	batch, copied := onPostgres("pgx.Batch", pgxBatch, 1, 1), onPostgres("CopyFrom", pgxCopy, 1, 1)
	ours := onPostgres("ours", pgxGrouped, 1024, plain.physical)
	sorted, random := withIDs(ours, "ours, ids in order", sortedIDs), withIDs(ours, "ours, random ids", randomIDs)
	kept, keptRandom := keepingIDs(batch, batchesWithIDs, "pgx.Batch, ids in order", sortedIDs), keepingIDs(batch, batchesWithIDs, "pgx.Batch, random ids", randomIDs)
	rate := of(slice.rate, ours)
	return heat{
		pools: true,
		runs:  []run{plain, batch, ours, copied, sorted, random, kept, keptRandom},
		rows: []row{
			{name: "PostgreSQL, 1,024 goroutines / pgx.Batch of 1,000", goal: atLeast(1.3, "2.0"), value: over(rate, of(slice.rate, batch)), show: []run{ours, batch}},
			{name: "PostgreSQL, 1,024 goroutines / CopyFrom of 1,000", goal: atLeast(.6, "1.0"), value: over(rate, of(slice.rate, copied)), show: []run{ours, copied}},
			{name: "PostgreSQL, 1,024 goroutines / plain at its best pool", goal: atLeast(10, ""), format: "%.1f", value: over(rate, of(slice.rate, plain)), show: []run{ours, plain}},
			{name: "PostgreSQL, 1,024 goroutines, fresh ids in order / none", ids: true, goal: atLeast(.7, ""), value: over(of(slice.rate, sorted), rate), show: []run{sorted, ours}},
			{name: "PostgreSQL, 1,024 goroutines, fresh ids of UUIDv4 / none", ids: true, goal: atLeast(.7, ""), value: over(of(slice.rate, random), rate), show: []run{random, ours}},
			{name: "PostgreSQL, 1,024 goroutines, fresh ids in order / pgx.Batch of 1,000 that keeps them", ids: true, value: over(of(slice.rate, sorted), of(slice.rate, kept)), show: []run{sorted, kept, batch}},
			{name: "PostgreSQL, 1,024 goroutines, fresh ids of UUIDv4 / pgx.Batch of 1,000 that keeps them", ids: true, value: over(of(slice.rate, random), of(slice.rate, keptRandom)), show: []run{random, keptRandom, batch}},
		},
	}
}

func someOnPostgres() heat {
	theirs, ours := onPostgres("plain on 64", pgxPlain(64), 64, 64), onPostgres("ours", pgxGrouped, 64, 64)
	one := onPostgres("plain, 1 goroutine", pgxPlain(1), 1, 1)
	return heat{
		runs: []run{theirs, ours, one},
		rows: append([]row{
			{name: "PostgreSQL, 64 goroutines / plain on 64 connections", goal: atLeast(5, ""), value: over(of(slice.rate, ours), of(slice.rate, theirs)), show: []run{ours, theirs}},
		}, allocations("PostgreSQL", ours, one, theirs)...),
	}
}

// openOnPostgres has the plain driver on its best pool, and as many goroutines that wait for it where its best rate is found.
func openOnPostgres(plain run) heat {
	h := openLoopOf("PostgreSQL", plain, onPostgres("ours", pgxGrouped, 64, plain.physical))
	h.pools = true
	return h
}

func violationsOnPostgres() heat {
	theirs, ours := onPostgres("plain on 64", pgxPlain(64), 64, 64), onPostgres("ours", pgxGrouped, 64, 64)
	theirs.clash, ours.clash = 100, 100
	return heat{
		runs: []run{theirs, ours},
		rows: []row{{name: "PostgreSQL, 64 goroutines, 1 call in 100 violates a unique key / plain on 64 connections", goal: atLeast(2, ""),
			value: over(of(slice.rate, ours), of(slice.rate, theirs)), show: []run{ours, theirs}}},
	}
}
