package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"

	"github.com/groupcommit/groupcommit"
	"golang.org/x/sync/errgroup"
)

// An api is a program's way to insert rows into a database. It inserts each value of w once.
//
// The statements of an api for SQLite get a context that cannot end. With another, mattn's driver would start a goroutine
// for each, and this program does not compare that. The api checks ctx between two statements.
type api func(ctx context.Context, db *sql.DB, w *work) error

// work is the calls of a run, and its progress.
type work struct {
	home
	users      int
	goroutines int
	maxLen     int                      // for an api that makes its own transactions; 0: rowsByHand
	ids        bool                     // each call has another id
	clash      int                      // every so many calls fail; 0: none does
	failure    *failure                 // their statement; nil: they insert the value that is taken
	said       func(value int)          // called after each insert, unless nil
	saidAll    func(n, first, last int) // the same for an api that knows its transactions
	next       atomic.Int64             // the next call to make; those below have been taken
	byHand     groups                   // the transactions of an api that makes its own
	handler    groupcommit.Stats        // of the batches of commands
}

// nothing is the value of a call that inserts no user.
const nothing = -1

// taken is the value that a table has before a run in which calls are to clash.
const taken = 0

func (w *work) clashes(call int) bool { return w.clash > 0 && call%w.clash == 0 }

// value is the value that a call inserts: the call's number, unless the call is to clash.
func (w *work) value(call int) int {
	switch {
	case !w.clashes(call):
		return call
	case w.failure != nil:
		return nothing
	}
	return taken
}

// rows is the number of rows that are inserted.
func (w *work) rows() int {
	if w.clash == 0 {
		return w.users
	}
	return w.users - (w.users+w.clash-1)/w.clash
}

// named is the context of a call, which cannot end.
func (w *work) named(call int) context.Context {
	if !w.ids {
		return context.Background()
	}
	return groupcommit.WithID(context.Background(), w.table+"-"+strconv.Itoa(call))
}

func (w *work) expected() string {
	if w.failure != nil {
		return "that of " + w.failure.name
	}
	return "a unique violation"
}

// verdict returns an error if a call's answer is wrong.
func (w *work) verdict(call int, err error) error {
	if w.clashes(call) {
		if err == nil {
			return fmt.Errorf("call %d: no error, but %s expected", call, w.expected())
		}
		if w.violation(err) {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("value %d: %w", call, err)
	}
	return nil
}

// execs is the article's program: independent concurrent goroutines, one Exec a value.
func execs(ctx context.Context, db *sql.DB, w *work) error {
	failing := ""
	if w.failure != nil {
		failing = w.failure.named(w.failure.exec, w.table)
	}
	return w.concurrently(ctx, func(call int) error {
		if failing != "" && w.clashes(call) {
			_, err := db.ExecContext(w.named(call), failing, int64(call))
			return w.verdict(call, err)
		}
		v := w.value(call)
		_, err := db.ExecContext(w.named(call), w.insert, int64(v))
		if err == nil && w.said != nil {
			w.said(v)
		}
		return w.verdict(call, err)
	})
}

// concurrently makes the calls, each goroutine one after the other, until there is an error.
func (w *work) concurrently(ctx context.Context, insert func(call int) error) error {
	all, ctx := errgroup.WithContext(ctx)
	for range min(w.goroutines, w.users) {
		all.Go(func() error {
			for ctx.Err() == nil {
				n := int(w.next.Add(1)) - 1
				if n >= w.users {
					return nil
				}
				if err := insert(n); err != nil {
					return err
				}
			}
			return ctx.Err()
		})
	}
	return all.Wait()
}

// rowsByHand is the number of rows in a transaction of the hand-written programs.
const rowsByHand = 1000

// inPieces is the frame of a hand-written program. It makes a transaction of each piece.
func (w *work) inPieces(ctx context.Context, transaction func(first, n int) error) error {
	if w.clash > 0 {
		return errors.New("a hand-written transaction would fail as a whole")
	}
	most := w.maxLen
	if most == 0 {
		most = rowsByHand
	}
	for first := 0; first < w.users; first += most {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(most, w.users-first)
		if err := transaction(first, n); err != nil {
			return fmt.Errorf("values %d to %d: %w", first, first+n-1, err)
		}
		w.next.Store(int64(first + n))
		w.byHand.commits++
		w.byHand.largest = max(w.byHand.largest, n)
		if w.saidAll != nil {
			w.saidAll(n, first, first+n-1)
		}
	}
	return nil
}
