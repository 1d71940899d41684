package main

import (
	"context"
	"database/sql"
	"fmt"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// An api is how a program asks a database for its inserts. It puts in the values of w, each of them once.
//
// The statements get no context that could end: mattn's driver would start a goroutine for each, and that is not what
// is compared here. Between two statements ctx is looked at.
type api func(ctx context.Context, db *sql.DB, w *work) error

// work is what a run has to do, and how far it has come.
type work struct {
	users      int
	goroutines int
	said       func(value int) // called after each insert, unless nil
	next       atomic.Int64    // the next value to insert; those below have been taken
	byHand     groups          // what an api that makes its own transactions has made
}

const insert = "INSERT INTO users (value) VALUES (?)"

// execs is the article's program: concurrent goroutines that know nothing of each other, one Exec a value.
func execs(ctx context.Context, db *sql.DB, w *work) error {
	all, ctx := errgroup.WithContext(ctx)
	for range min(w.goroutines, w.users) {
		all.Go(func() error {
			for ctx.Err() == nil {
				v := int(w.next.Add(1)) - 1
				if v >= w.users {
					return nil
				}
				if _, err := db.Exec(insert, v); err != nil {
					return fmt.Errorf("value %d: %w", v, err)
				}
				if w.said != nil {
					w.said(v)
				}
			}
			return ctx.Err()
		})
	}
	return all.Wait()
}

// rowsByHand is how many rows the hand-written loop puts in a transaction.
const rowsByHand = 1000

// loop is what one would write by hand to be fast: one goroutine that has all the values already, one prepared
// INSERT, many rows a transaction.
func loop(ctx context.Context, db *sql.DB, w *work) error {
	for first := 0; first < w.users; first += rowsByHand {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(rowsByHand, w.users-first)
		if err := transaction(db, first, n); err != nil {
			return err
		}
		w.next.Store(int64(first + n))
		w.byHand.commits++
		w.byHand.largest = max(w.byHand.largest, n)
	}
	w.byHand.mean = perOf(float64(w.users), float64(w.byHand.commits))
	return nil
}

func transaction(db *sql.DB, first, n int) error {
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	stmt, err := tx.Prepare(insert)
	if err != nil {
		return err
	}
	defer stmt.Close()
	for v := first; v < first+n; v++ {
		if _, err := stmt.Exec(v); err != nil {
			return err
		}
	}
	return tx.Commit()
}
