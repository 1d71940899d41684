package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	gcpgx "github.com/groupcommit/groupcommit/pgx"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
)

// Programs that have bounded their connections.
var poolCases = []hardCase{
	{"sql.DB over a pgxpool of 8, and its other users", rateGoal, p99Goal, 50, "", overPgxpool},
	{"role with CONNECTION LIMIT 10, SetMaxOpenConns(10)", rateGoal, p99Goal, 50, "it makes roles", limitedRoles},
}

const (
	poolOfPgx    = 8
	poolCallers  = 24
	poolPatience = 2 * time.Second // of a call; where the pool is taken for good, every call of its others runs into it
)

// overPgxpool has a third of the callers insert by the sql.DB, a third read by it, and a third insert by the pool itself.
func overPgxpool(ctx context.Context, h *hard) (d duel, err error) {
	tables, err := h.server.scratch(ctx, 2, numbers)
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, h.server.clear(tables...)) }()
	var sides [2]*contender
	var pools [2]*pgxpool.Pool
	var kept [2]atomic.Int64
	for i := range sides {
		config, err := pgxpool.ParseConfig(h.server.dsn)
		if err != nil {
			return d, err
		}
		config.MaxConns = poolOfPgx
		if pools[i], err = pgxpool.NewWithConfig(ctx, config); err != nil {
			return d, err
		}
		db := stdlib.OpenDBFromPool(pools[i])
		sides[i] = &contender{name: "stdlib.OpenDBFromPool", callers: poolCallers}
		if i == 1 {
			connector, err := groupcommit.NewConnector(stdlib.GetPoolConnector(pools[i]))
			if err != nil {
				return d, err
			}
			db = sql.OpenDB(connector)
			db.SetMaxIdleConns(0) // as OpenDBFromPool does
			sides[i].name = "groupcommit.NewConnector"
		}
		defer closeBoth(db, pools[i])
		sides[i].call = byBothWays(db, pools[i], tables[i], &kept[i])
	}
	contest(ctx, h.pace, sides[:]...)
	for i, c := range sides {
		if n := heldWhileIdle(pools[i]); n > 0 {
			c.fault(fmt.Errorf("%d of %d connections are kept while nothing runs", n, poolOfPgx))
		}
		n := int(kept[i].Load())
		err = errors.Join(err, h.server.someOnce(ctx, tables[i], c, n, n+c.faults.count()))
	}
	return duel{sides[0].score(), sides[1].score()}, err
}

// byBothWays is a call of the three kinds of callers; kept counts the inserts that were answered.
func byBothWays(db *sql.DB, pool *pgxpool.Pool, table string, kept *atomic.Int64) func(caller, n int) error {
	insert := "INSERT INTO " + table + " VALUES ($1)"
	return func(caller, n int) (err error) {
		ctx, cancel := context.WithTimeout(context.Background(), poolPatience)
		defer cancel()
		switch caller % 3 {
		case 0:
			_, err = db.ExecContext(ctx, insert, int64(n))
		case 1:
			var x int
			return db.QueryRowContext(ctx, "SELECT $1::int", n).Scan(&x)
		default:
			_, err = pool.Exec(ctx, insert, int64(n))
		}
		if err == nil {
			kept.Add(1)
		}
		return err
	}
}

// heldWhileIdle gives the last connections a moment to come back.
func heldWhileIdle(pool *pgxpool.Pool) int32 {
	for range 20 {
		if pool.Stat().AcquiredConns() == 0 {
			return 0
		}
		time.Sleep(10 * time.Millisecond)
	}
	return pool.Stat().AcquiredConns()
}

func closeBoth(db *sql.DB, pool *pgxpool.Pool) {
	db.Close()
	pool.Close()
}

const (
	roleLimit   = 10
	roleCallers = 40
)

// limitedRoles has each side log in as a role of its own, so that the limit is that of the side.
func limitedRoles(ctx context.Context, h *hard) (d duel, err error) {
	tables, err := h.server.scratch(ctx, 2, "(value bigint UNIQUE)")
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, h.server.clear(tables...)) }()
	var sides [2]*contender
	var kept [2]atomic.Int64
	for i, name := range []string{pgxDriver, gcpgx.DriverName} {
		role, password := "groupcommit_bench_"+strings.ToLower(rand.Text()[:12]), rand.Text()
		make := fmt.Sprintf("INSERT INTO T VALUES (-1); CREATE ROLE %s LOGIN PASSWORD '%s' CONNECTION LIMIT %d; GRANT ALL ON T TO %s", role, password, roleLimit, role)
		if err := h.server.fill(ctx, make, tables[i]); err != nil {
			return d, err
		}
		defer func() {
			err = errors.Join(err, h.server.fill(context.Background(), "REVOKE ALL ON T FROM "+role+"; DROP ROLE "+role, tables[i]))
		}()
		db, err := sql.Open(name, pgtest.With(h.server.dsn, pgtest.User(role, password)))
		if err != nil {
			return d, err
		}
		defer db.Close()
		db.SetMaxOpenConns(roleLimit)
		db.SetMaxIdleConns(roleLimit)
		sides[i] = &contender{name: name, callers: roleCallers, call: ofFourKinds(db, tables[i], &kept[i])}
	}
	contest(ctx, h.pace, sides[:]...)
	for i, c := range sides {
		if err := h.server.fill(ctx, "DELETE FROM T WHERE value = -1", tables[i]); err != nil {
			return d, err
		}
		n := int(kept[i].Load())
		err = errors.Join(err, h.server.someOnce(ctx, tables[i], c, n, n+c.faults.count()))
	}
	return duel{sides[0].score(), sides[1].score()}, err
}

// ofFourKinds inserts, reads, inserts in a transaction, and inserts what is there already.
func ofFourKinds(db *sql.DB, table string, kept *atomic.Int64) func(caller, n int) error {
	insert := "INSERT INTO " + table + " VALUES ($1)"
	taken := isState("23505")
	return func(caller, n int) (err error) {
		switch (caller + n) % 4 {
		case 0:
			_, err = db.Exec(insert, int64(n))
		case 1:
			var x int64
			return db.QueryRow("SELECT value FROM " + table + ", pg_sleep(0.002) WHERE value = -1").Scan(&x)
		case 2:
			err = inTransaction(db, insert, n)
		default:
			if _, err = db.Exec(insert, int64(-1)); taken(err) {
				return nil
			}
			return fmt.Errorf("a value that is taken: %w", err)
		}
		if err == nil {
			kept.Add(1)
		}
		return err
	}
}

func inTransaction(db *sql.DB, insert string, n int) error {
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.Exec(insert, int64(n)); err != nil {
		return err
	}
	return tx.Commit()
}
