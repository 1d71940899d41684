package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/groupcommit/groupcommit/internal/pgtest"
	gcpgx "github.com/groupcommit/groupcommit/pgx"
)

// A workload is a program that makes one kind of call to PostgreSQL from so many callers, on either side.
type workload struct {
	callers   int
	pause     time.Duration // before each call
	trip      time.Duration
	pools     []int // the plain driver's; the best one counts
	databases int   // several programs, each with a sql.DB of its own; 0 is one
	onlyName  bool  // the swapped side has the plain driver's settings of its sql.DB, and no other
	shape     string
	fill      string // executed in the table, T, before
	calls     func(dbs []*sql.DB, table string) func(caller, n int) error
	check     func(ctx context.Context, c *cluster, table string, by *contender) error // nil: nothing is written
}

var bothPools = []int{16, 64}

// atMost is the workload with so many callers, and as many connections, at most.
func (p workload) atMost(n int) workload {
	if n > 0 {
		p.callers = min(p.callers, n*max(1, p.databases))
		p.pools = slices.Clone(p.pools)
		for i := range p.pools {
			p.pools[i] = min(p.pools[i], n)
		}
	}
	return p
}

// duel measures the workload.
func (p workload) duel(ctx context.Context, h *hard) (d duel, err error) {
	p = p.atMost(h.most)
	dsn := h.server.dsn
	if p.trip > 0 {
		w, err := h.server.way(p.trip)
		if err != nil {
			return d, err
		}
		defer w.close()
		dsn = pgtest.With(dsn, pgtest.Via(w.address()))
	}
	tables, err := h.server.scratch(ctx, len(p.pools)+1, p.shape)
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, h.server.clear(tables...)) }()
	var all []*contender
	for i, table := range tables {
		if err := h.server.fill(ctx, p.fill, table); err != nil {
			return d, err
		}
		pool, name := p.pools[len(p.pools)-1], gcpgx.DriverName
		open := p.openSwapped
		if i < len(p.pools) {
			pool, open = p.pools[i], func(dsn string, pool int) (*sql.DB, error) { return openPgxPool(dsn, pool) }
			name = fmt.Sprintf("pgx on %d", pool)
		}
		dbs, closing, err := p.open(ctx, open, dsn, pool)
		if err != nil {
			return d, err
		}
		defer closing()
		all = append(all, &contender{name: name, callers: p.callers, pause: p.pause, call: p.calls(dbs, table)})
	}
	contest(ctx, h.pace.atLeast(5*p.trip), all...)
	if p.check != nil {
		for i, c := range all {
			err = errors.Join(err, p.check(ctx, h.server, tables[i], c))
		}
	}
	return against(all[:len(p.pools)], all[len(p.pools)]), err
}

// against compares the swapped side with the plain one at its best pool.
func against(plain []*contender, swapped *contender) duel {
	var scores []score
	for _, c := range plain {
		scores = append(scores, c.score())
	}
	return duel{bestOf(scores), swapped.score()}
}

func (p workload) openSwapped(dsn string, pool int) (*sql.DB, error) {
	if !p.onlyName {
		return openPgxSwapped(dsn, p.callers, pool)
	}
	db, err := sql.Open(gcpgx.DriverName, dsn)
	if err == nil {
		db.SetMaxOpenConns(pool)
		db.SetMaxIdleConns(pool)
	}
	return db, err
}

// open opens all databases of a side, with their connections.
func (p workload) open(ctx context.Context, open func(dsn string, pool int) (*sql.DB, error), dsn string, pool int) (dbs []*sql.DB, closing func(), err error) {
	closing = func() {
		for _, db := range dbs {
			db.Close()
		}
	}
	for range max(1, p.databases) {
		db, err := open(dsn, pool)
		if err == nil {
			dbs = append(dbs, db)
			err = connect(ctx, db, min(pool, p.callers))
		}
		if err != nil {
			closing()
			return nil, nil, err
		}
	}
	return dbs, closing, nil
}

// numbers is the shape of a table for the numbers of calls, and numbered its check.
const numbers = "(value bigint)"

func numbered(ctx context.Context, c *cluster, table string, by *contender) error {
	return c.eachOnce(ctx, table, by)
}

func insertsThatTake(takes time.Duration) func(dbs []*sql.DB, table string) func(caller, n int) error {
	return func(dbs []*sql.DB, table string) func(caller, n int) error { return inserts(dbs[0], table, takes) }
}

// newTexts inserts by a text that no call had before, as tracing libraries make them.
func newTexts(dbs []*sql.DB, table string) func(caller, n int) error {
	return func(_, n int) error {
		_, err := dbs[0].Exec(fmt.Sprintf("INSERT INTO %s VALUES ($1) /*traceparent='00-%032x-01'*/", table, n), int64(n))
		return err
	}
}

// keys is how many rows upserts count on.
const keys = 1000

func upserts(dbs []*sql.DB, table string) func(caller, n int) error {
	text := "INSERT INTO " + table + " VALUES ($1, 1) ON CONFLICT (k) DO UPDATE SET n = " + table + ".n + 1"
	return func(caller, _ int) error {
		_, err := dbs[caller%len(dbs)].Exec(text, rand.IntN(keys))
		return err
	}
}

// summed makes sure that every upsert is in the sum.
func summed(ctx context.Context, c *cluster, table string, by *contender) error {
	if ctx.Err() != nil {
		return nil
	}
	db, err := openPgxPool(c.dsn, 1)
	if err != nil {
		return err
	}
	defer db.Close()
	var sum int64
	if err := db.QueryRowContext(ctx, "SELECT coalesce(sum(n), 0) FROM "+table).Scan(&sum); err != nil {
		return err
	}
	if made := by.made.Load(); sum > made || sum < made-int64(by.faults.count()) {
		return fmt.Errorf("the database is wrong: %s made %d upserts, %d of them failed, and the sum is %d", by.name, made, by.faults.count(), sum)
	}
	return nil
}

var statementCases = []hardCase{
	{"64 callers, 20 ms statements", rateGoal, p99Goal, 200, "",
		workload{callers: 64, pools: bothPools, shape: numbers, calls: insertsThatTake(20 * time.Millisecond), check: numbered}.duel},
	{"64 callers, 4 ms statements", rateGoal, p99Goal, 200, "",
		workload{callers: 64, pools: bothPools, shape: numbers, calls: insertsThatTake(4 * time.Millisecond), check: numbered}.duel},
	{"64 callers, 20 ms statements, only the name swapped", rateGoal, p99Goal, 200, "",
		workload{callers: 64, pools: []int{64}, onlyName: true, shape: numbers, calls: insertsThatTake(20 * time.Millisecond), check: numbered}.duel},
	{"64 callers, short inserts, pool of 16, only the name swapped", rateGoal, p99Goal, 200, "",
		workload{callers: 64, pools: []int{16}, onlyName: true, shape: numbers, calls: insertsThatTake(0), check: numbered}.duel},
	{"upserts on 1,000 keys, 3 programs of 300 callers", rateGoal, p99Goal, 450, "",
		workload{callers: 900, databases: 3, pools: bothPools, shape: "(k int PRIMARY KEY, n bigint)", calls: upserts, check: summed}.duel},
	{"64 callers, every text new, 5 ms away", rateGoal, p99Goal, 200, "",
		workload{callers: 64, trip: 5 * time.Millisecond, pools: bothPools, shape: numbers, calls: newTexts, check: numbered}.duel},
	{"8 callers, 5 ms away", rateGoal, p99Goal, 50, "",
		workload{callers: 8, trip: 5 * time.Millisecond, pools: []int{16}, shape: numbers, calls: insertsThatTake(0), check: numbered}.duel},
}

// selects reads a row by its key, and looks at it.
func selects(dbs []*sql.DB, table string) func(caller, n int) error {
	return selectsOf(dbs[0], "SELECT v FROM "+table+" WHERE k = $1")
}

// rowsToRead is how many rows a table has that is read. The value of a row is three times its key.
const rowsToRead = 10_000

func selectsOf(db *sql.DB, text string) func(caller, n int) error {
	return func(_, n int) error {
		key, v := n*7919%rowsToRead, 0
		if err := db.QueryRow(text, key).Scan(&v); err != nil {
			return err
		}
		if v != 3*key {
			return fmt.Errorf("key %d has %d", key, v)
		}
		return nil
	}
}

const (
	pairs     = "(k int PRIMARY KEY, v int)"
	fillPairs = "INSERT INTO T SELECT k, 3 * k FROM generate_series(0, 9999) k"
)

var readCases = []hardCase{
	{"256 goroutines that read, 20 ms pauses", rateGoal, p99Goal, 200, "",
		workload{callers: 256, pause: 20 * time.Millisecond, pools: bothPools, shape: pairs, fill: fillPairs, calls: selects}.duel},
	{"256 goroutines that read, 20 ms pauses, pool of 64, only the name swapped", rateGoal, p99Goal, 200, "",
		workload{callers: 256, pause: 20 * time.Millisecond, pools: []int{64}, onlyName: true, shape: pairs, fill: fillPairs, calls: selects}.duel},
	{"PostgreSQL, SELECT by key, 1 goroutine", rateGoal, p99Goal, 50, "",
		workload{callers: 1, pools: []int{16}, shape: pairs, fill: fillPairs, calls: selects}.duel},
	{"PostgreSQL, SELECT by key, 64 goroutines", rateGoal, p99Goal, 200, "",
		workload{callers: 64, pools: bothPools, shape: pairs, fill: fillPairs, calls: selects}.duel},
}
