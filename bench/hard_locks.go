package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	gcpgx "github.com/groupcommit/groupcommit/pgx"
)

// Callers who wait for a row that a stranger has locked, and innocents beside them who insert into another table. Each
// slice is a round: the stranger locks the row, the callers begin to wait, the innocents insert, the stranger lets go. An
// innocent pauses between its calls, so that its first ones, which arrive with the callers', are enough of them for the p99.
const (
	innocents      = 10
	innocentsPause = 5 * time.Millisecond
	longestLock    = 3 * time.Second // then the stranger lets go, whatever the innocents wait for
)

var lockCases = []hardCase{
	{"10 innocents beside 20 callers who wait for a locked row", 0, p99Goal, 120, "", blocked(20)},
	{"10 innocents beside 350 callers who wait for a locked row", 0, 2, 2*(350+2*innocents) + 10, "", blocked(350)},
}

func blocked(callers int) func(ctx context.Context, h *hard) (duel, error) {
	return func(ctx context.Context, h *hard) (d duel, err error) {
		logs, err := h.server.scratch(ctx, 2, numbers)
		if err != nil {
			return d, err
		}
		defer func() { err = errors.Join(err, h.server.clear(logs...)) }()
		accounts, err := h.server.scratch(ctx, 2, "(id int PRIMARY KEY, n int)")
		if err != nil {
			return d, err
		}
		defer func() { err = errors.Join(err, h.server.clear(accounts...)) }()
		pool := callers + 2*innocents // room for all
		var sides [2]*contender
		var rows [2]*lockedRow
		for i := range sides {
			if err := h.server.fill(ctx, "INSERT INTO T VALUES (0, 0)", accounts[i]); err != nil {
				return d, err
			}
			db, name, err := openBlocked(h.server.dsn, i == 1, pool)
			if err != nil {
				return d, err
			}
			defer db.Close()
			if err := connect(ctx, db, pool); err != nil {
				return d, err
			}
			sides[i] = &contender{name: name, callers: innocents, pause: innocentsPause, call: inserts(db, logs[i], 0)}
			if rows[i], err = newLockedRow(h.server, db, accounts[i], callers, sides[i]); err != nil {
				return d, err
			}
			defer rows[i].close()
			sides[i].around = rows[i].round
		}
		p := h.pace
		p.slices *= 2
		contest(ctx, p, sides[:]...)
		d = duel{sides[0].score(), sides[1].score()}
		for i := range sides {
			err = errors.Join(err, h.server.eachOnce(ctx, logs[i], sides[i]), rows[i].check(ctx))
		}
		return d, err
	}
}

// openBlocked opens a side; both may have as many connections to the server.
func openBlocked(dsn string, swapped bool, pool int) (*sql.DB, string, error) {
	if swapped {
		db, err := openPgxSwapped(dsn, pool, pool)
		return db, gcpgx.DriverName, err
	}
	db, err := openPgxPool(dsn, pool)
	return db, fmt.Sprintf("pgx on %d", pool), err
}

// A lockedRow is a row on which callers count, and which a stranger locks.
type lockedRow struct {
	db       *sql.DB
	stranger *sql.DB
	table    string
	callers  int
	faults   *contender // gets the errors

	made, failed int // updates
}

func newLockedRow(c *cluster, db *sql.DB, table string, callers int, faults *contender) (*lockedRow, error) {
	stranger, err := openPgxPool(c.dsn, 1)
	return &lockedRow{db: db, stranger: stranger, table: table, callers: callers, faults: faults}, err
}

func (r *lockedRow) close() { r.stranger.Close() }

// round runs a slice while the callers wait, and returns when they have been answered.
func (r *lockedRow) round(slice func()) {
	tx, err := r.stranger.Begin()
	if err != nil {
		r.faults.fault(err)
		return
	}
	defer tx.Rollback()
	if _, err := tx.Exec("UPDATE " + r.table + " SET n = n WHERE id = 0"); err != nil {
		r.faults.fault(err)
		return
	}
	var all sync.WaitGroup
	answers := make(chan error, r.callers)
	text := "UPDATE " + r.table + " SET n = n + $1 WHERE id = 0"
	for range r.callers {
		all.Go(func() {
			_, err := r.db.Exec(text, 1)
			answers <- err
		})
	}
	letGo := sync.OnceFunc(func() { tx.Rollback() })
	atLast := time.AfterFunc(longestLock, letGo)
	slice()
	atLast.Stop()
	letGo()
	all.Wait()
	close(answers)
	for err := range answers {
		r.made++
		if err != nil {
			r.failed++
			r.faults.fault(fmt.Errorf("a caller who waits: %w", err))
		}
	}
}

// check makes sure that every update took effect once. Of one that failed nobody knows.
func (r *lockedRow) check(ctx context.Context) error {
	var n int
	if err := r.stranger.QueryRowContext(ctx, "SELECT n FROM "+r.table).Scan(&n); err != nil {
		return err
	}
	if n > r.made || n < r.made-r.failed {
		return fmt.Errorf("the database is wrong: %d updates were made, %d of them failed, and the row has %d", r.made, r.failed, n)
	}
	return nil
}
