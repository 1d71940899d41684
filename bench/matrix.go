package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/groupcommit/groupcommit/internal/pgtest"
)

// A cell of the matrix is a program: so many callers whose only statement takes the server so long, behind so long a way.
// The plain driver has a pool of so many connections, and the swapped one may have as many to the server.
type cell struct {
	Pool      int
	Statement time.Duration // up to short: an INSERT of one value; else a pg_sleep in it
	Trip      time.Duration // there and back; 0: no proxy
	Callers   int
}

// short is what the server takes for an INSERT of one value, and stands for it.
const short = 50 * time.Microsecond

func (c cell) String() string {
	return fmt.Sprintf("pool %d, statement %v, round trip %v, %s", c.Pool, c.Statement, c.Trip, plural(c.Callers, "caller"))
}

// axes are the cells: every combination, in the order of their fields.
type axes struct {
	pools      []int
	statements []time.Duration
	trips      []time.Duration
	callers    []int
}

var wholeMatrix = axes{
	pools:      []int{16, 64},
	statements: []time.Duration{short, time.Millisecond, 5 * time.Millisecond, 20 * time.Millisecond},
	trips:      []time.Duration{0, time.Millisecond, 5 * time.Millisecond},
	callers:    []int{1, 8, 64, 256, 1024},
}

func (a axes) cells() (cells []cell) {
	for _, pool := range a.pools {
		for _, statement := range a.statements {
			for _, trip := range a.trips {
				for _, callers := range a.callers {
					cells = append(cells, cell{pool, statement, trip, callers})
				}
			}
		}
	}
	return cells
}

// goal is the part of the plain driver's rate that every cell is to reach.
const goal = 0.95

// matrix measures cells on one server.
type matrix struct {
	server  *cluster
	pace    pace
	control bool // the plain driver on both sides
	out     io.Writer
	bar     bar

	ways    map[time.Duration]*way
	results []cellResult
}

// cellResult is a cell's duel. Its fields keep their names in the JSON.
type cellResult struct {
	Statement float64 `json:"statement_ms"`
	Trip      float64 `json:"trip_ms"`
	Callers   int     `json:"callers"`
	Pool      int     `json:"pool"`
	Ratio     float64 `json:"ratio"`
	P50       float64 `json:"p50_ratio"`
	P99       float64 `json:"p99_ratio"`
	duel

	cell cell
}

// measure measures all cells of a and prints them, a table for each pool and a line as soon as it is complete.
func (m *matrix) measure(ctx context.Context, a axes) error {
	m.ways = map[time.Duration]*way{}
	defer func() {
		for _, w := range m.ways {
			w.close()
		}
	}()
	m.head(a)
	if slices.ContainsFunc(a.trips, func(t time.Duration) bool { return t > 0 }) {
		if err := m.weighProxy(ctx); err != nil {
			return err
		}
	}
	for _, pool := range a.pools {
		if 2*pool > m.server.room {
			fmt.Fprintf(m.out, "\nLeft out: a pool of %d on each side; max_connections leaves room for %d.\n", pool, m.server.room)
			continue
		}
		m.tableHead(pool, a.callers)
		for _, statement := range a.statements {
			for _, trip := range a.trips {
				if err := m.line(ctx, axes{[]int{pool}, []time.Duration{statement}, []time.Duration{trip}, a.callers}); err != nil {
					return err
				}
			}
		}
	}
	m.summary()
	return nil
}

// line measures a line of the table.
func (m *matrix) line(ctx context.Context, a axes) error {
	var begun atomic.Int64
	title := fmt.Sprintf("pool %d, statement %v, round trip %v", a.pools[0], a.statements[0], a.trips[0])
	stop := sync.OnceFunc(m.bar.watch(title, len(a.callers), &begun))
	defer stop()
	from := len(m.results)
	for _, c := range a.cells() {
		d, err := m.duel(ctx, c)
		if err != nil {
			return fmt.Errorf("%v: %w", c, err)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		m.results = append(m.results, cellResult{
			Statement: float64(c.Statement) / 1e6, Trip: float64(c.Trip) / 1e6, Callers: c.Callers, Pool: c.Pool,
			Ratio: d.rate(), P50: d.p50(), P99: d.p99(), duel: d, cell: c,
		})
		begun.Add(1)
	}
	stop()
	m.tableLine(m.results[from:])
	return nil
}

// duel measures a cell. Each side has a table of its own, and every row must be there exactly once afterwards.
func (m *matrix) duel(ctx context.Context, c cell) (d duel, err error) {
	dsn, err := m.dsn(c.Trip)
	if err != nil {
		return d, err
	}
	tables, err := m.server.scratch(ctx, 2, "(value bigint)")
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, m.server.clear(tables...)) }()
	theirs, err := openPgxPool(dsn, c.Pool)
	if err != nil {
		return d, err
	}
	defer theirs.Close()
	ours, err := m.openSwapped(dsn, c)
	if err != nil {
		return d, err
	}
	defer ours.Close()
	for _, db := range []*sql.DB{theirs, ours} {
		if err := connect(ctx, db, min(c.Pool, c.Callers)); err != nil {
			return d, err
		}
	}
	plain := &contender{name: pgxDriver, callers: c.Callers, call: inserts(theirs, tables[0], c.Statement)}
	swapped := &contender{name: pgxGrouped.driver, callers: c.Callers, call: inserts(ours, tables[1], c.Statement)}
	contest(ctx, m.pace.atLeast(12*(c.Statement+c.Trip)), plain, swapped)
	d = duel{plain.score(), swapped.score()}
	return d, errors.Join(m.server.eachOnce(ctx, tables[0], plain), m.server.eachOnce(ctx, tables[1], swapped))
}

// openSwapped opens the side that is measured: with control, the plain driver once more.
func (m *matrix) openSwapped(dsn string, c cell) (*sql.DB, error) {
	if m.control {
		return openPgxPool(dsn, c.Pool)
	}
	return openPgxSwapped(dsn, c.Callers, c.Pool)
}

// atLeast makes the slices of a pace long enough for a dozen calls of each caller that has a connection for itself.
func (p pace) atLeast(d time.Duration) pace {
	p.slice = max(p.slice, d)
	return p
}

// inserts is a call that inserts its own number, by a statement that takes the server so long.
func inserts(db *sql.DB, table string, takes time.Duration) func(caller, n int) error {
	if takes <= short {
		text := "INSERT INTO " + table + " (value) VALUES ($1)"
		return func(_, n int) error {
			_, err := db.Exec(text, int64(n))
			return err
		}
	}
	text := "INSERT INTO " + table + " (value) SELECT $1::bigint FROM pg_sleep($2)"
	return func(_, n int) error {
		_, err := db.Exec(text, int64(n), takes.Seconds())
		return err
	}
}

// dsn leads to the server by a way that is so long.
func (m *matrix) dsn(trip time.Duration) (string, error) {
	if trip == 0 {
		return m.server.dsn, nil
	}
	w := m.ways[trip]
	if w == nil {
		var err error
		if w, err = m.server.way(trip); err != nil {
			return "", err
		}
		m.ways[trip] = w
	}
	return pgtest.With(m.server.dsn, pgtest.Via(w.address())), nil
}

// weighProxy says what the proxy itself costs, by the plain driver's rate through it without a delay.
func (m *matrix) weighProxy(ctx context.Context) (err error) {
	w, err := m.server.way(0)
	if err != nil {
		return err
	}
	defer w.close()
	tables, err := m.server.scratch(ctx, 2, "(value bigint)")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.server.clear(tables...)) }()
	for _, callers := range []int{1, 64} {
		direct, err := openPgxPool(m.server.dsn, 16)
		if err != nil {
			return err
		}
		through, err := openPgxPool(pgtest.With(m.server.dsn, pgtest.Via(w.address())), 16)
		if err != nil {
			direct.Close()
			return err
		}
		a := &contender{callers: callers, call: inserts(direct, tables[0], 0)}
		b := &contender{callers: callers, call: inserts(through, tables[1], 0)}
		contest(ctx, m.pace, a, b)
		direct.Close()
		through.Close()
		if n := a.faults.count() + b.faults.count(); n > 0 {
			return fmt.Errorf("the proxy: %v %v", a.faults, b.faults)
		}
		d := duel{a.score(), b.score()}
		fmt.Fprintf(m.out, "The proxy by itself, without a delay, %s on 16 connections: %.2f of the rate without it, p50 %s instead of %s.\n",
			strings.Replace(plural(callers, "caller"), " ", " plain ", 1), d.rate(), millis(d.Swapped.P50), millis(d.Plain.P50))
	}
	return nil
}
