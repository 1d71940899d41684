package main

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	gcsqlite3 "github.com/groupcommit/groupcommit/sqlite3"
)

// Cases of other databases.
var otherCases = []hardCase{
	{"Register over a driver 1 ms away, 64 callers", rateGoal, p99Goal, 0, "", overAnyDriver},
	{"SQLite, SELECT by key, no writers, 1 goroutine", rateGoal, p99Goal, 0, "", sqliteReads(1, 1)},
	{"SQLite, SELECT by key, no writers, 64 goroutines", rateGoal, p99Goal, 0, "", sqliteReads(64, 4, 64)},
}

// farDriver is a driver of a server that is 1 ms away and takes no time: BEGIN, a statement and COMMIT are a round trip each.
type farDriver struct{ executed atomic.Int64 }

const farTrip = time.Millisecond

type farConn struct{ d *farDriver }
type farTx struct{}

func (d *farDriver) Open(string) (driver.Conn, error) { return farConn{d}, nil }
func (farConn) Prepare(string) (driver.Stmt, error)   { return nil, driver.ErrSkip }
func (farConn) Close() error                          { return nil }
func (farConn) Begin() (driver.Tx, error)             { time.Sleep(farTrip); return farTx{}, nil }
func (farTx) Commit() error                           { time.Sleep(farTrip); return nil }
func (farTx) Rollback() error                         { time.Sleep(farTrip); return nil }
func (c farConn) ExecContext(context.Context, string, []driver.NamedValue) (driver.Result, error) {
	time.Sleep(farTrip)
	c.d.executed.Add(1)
	return driver.RowsAffected(1), nil
}

// overAnyDriver registers both sides under new names, since a name cannot be given back.
func overAnyDriver(ctx context.Context, h *hard) (d duel, err error) {
	const callers = 64
	far := [2]*farDriver{{}, {}}
	plainName := fmt.Sprintf("far-%d", len(sql.Drivers()))
	sql.Register(plainName, far[0])
	names := []string{plainName, tuned("far-groupcommit", far[1])}
	var sides [2]*contender
	for i, name := range names {
		db, err := sql.Open(name, "x")
		if err != nil {
			return d, err
		}
		defer db.Close()
		db.SetMaxOpenConns(callers)
		db.SetMaxIdleConns(callers)
		sides[i] = &contender{name: []string{"the driver itself", "groupcommit.Register"}[i], callers: callers, call: func(_, n int) error {
			_, err := db.Exec("INSERT INTO t VALUES (1)")
			return err
		}}
	}
	contest(ctx, h.pace, sides[:]...)
	for i, c := range sides {
		if made, executed := c.made.Load(), far[i].executed.Load(); executed != made {
			err = errors.Join(err, fmt.Errorf("%s: %d calls, executed %d times", c.name, made, executed))
		}
	}
	return duel{sides[0].score(), sides[1].score()}, err
}

// sqliteReads has so many goroutines read one file, by the plain driver on each of the pools.
func sqliteReads(callers int, pools ...int) func(ctx context.Context, h *hard) (duel, error) {
	return func(ctx context.Context, h *hard) (d duel, err error) {
		folder, err := os.MkdirTemp("", "groupcommit-bench-")
		if err != nil {
			return d, err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
		file := filepath.Join(folder, "pairs.db")
		if err := makePairs(ctx, file); err != nil {
			return d, err
		}
		const text = "SELECT v FROM pairs WHERE k = ?"
		var all []*contender
		for _, pool := range pools {
			db, err := sql.Open(sqliteDriver, pairsDSN(file))
			if err != nil {
				return d, err
			}
			defer db.Close()
			db.SetMaxOpenConns(pool)
			db.SetMaxIdleConns(pool)
			all = append(all, &contender{name: fmt.Sprintf("sqlite3 on %d", pool), callers: callers, call: selectsOf(db, text)})
		}
		with := func(option, value string) string { return pairsDSN(file) + "&" + option + "=" + value }
		db, err := openSwapped(gcsqlite3.DriverName, pairsDSN(file), with, callers, pools[len(pools)-1])
		if err != nil {
			return d, err
		}
		defer db.Close()
		all = append(all, &contender{name: gcsqlite3.DriverName, callers: callers, call: selectsOf(db, text)})
		contest(ctx, h.pace, all...)
		return against(all[:len(pools)], all[len(pools)]), nil
	}
}

func pairsDSN(file string) string {
	return "file:" + (&url.URL{Path: file}).EscapedPath() + "?_journal_mode=WAL&_synchronous=FULL"
}

func makePairs(ctx context.Context, file string) error {
	db, err := sql.Open(sqliteDriver, pairsDSN(file))
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, `CREATE TABLE pairs (k INTEGER PRIMARY KEY, v INTEGER);
		WITH RECURSIVE s (k) AS (SELECT 0 UNION ALL SELECT k + 1 FROM s WHERE k < 9999) INSERT INTO pairs SELECT k, 3 * k FROM s`)
	return errors.Join(err, db.Close())
}
