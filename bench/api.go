package main

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/groupcommit/groupcommit"
	"golang.org/x/sync/errgroup"
)

// An api is a program's way to insert rows into a database. It inserts each value of w once, until w has ended; called again
// it goes on.
//
// The statements of an api for SQLite get a context that cannot end. With another, mattn's driver would start a goroutine
// for each, and this program does not compare that.
type api func(ctx context.Context, db *sql.DB, w *work) error

// A caller is an api whose calls do not know each other: any number of goroutines may make them. call makes the call with a
// number. stop ends what the calls have needed beside the database; nil: nothing.
type caller func(db *sql.DB, w *work) (call func(n int) error, stop func() error, err error)

// concurrent is the api of a caller: each goroutine makes its calls one after the other.
func concurrent(c caller) api {
	return func(ctx context.Context, db *sql.DB, w *work) error {
		call, err := w.begin(c, db)
		if err != nil {
			return err
		}
		return w.concurrently(ctx, call)
	}
}

// work is the calls of a run, and its progress.
type work struct {
	home
	users      int
	goroutines int
	maxLen     int                      // for an api that makes its own transactions; 0: rowsByHand
	ids        idKind                   // each call has another id
	known      int                      // so many calls are made again and again; 0: all are new
	shape      *shape                   // of the statements; nil: insert a user
	clash      int                      // every so many calls fail; 0: none does
	failure    *failure                 // their statement; nil: they insert the value that is taken
	said       func(value int)          // called after each insert, unless nil
	saidAll    func(n, first, last int) // the same for an api that knows its transactions
	ended      atomic.Bool              // no other call is to be made for now
	next       atomic.Int64             // the next call to make; those below have been taken
	byHand     groups                   // the transactions of an api that makes its own
	commands   *userCommands            // of an api with a handler; nil until it has begun
	call       func(n int) error        // of a caller; nil until it has begun
	stop       func() error             // of the same
	clock      *clock                   // times each call; nil: none
}

func (w *work) end() { w.ended.Store(true) }

// begin returns a caller's call, which is the same until finish.
func (w *work) begin(c caller, db *sql.DB) (call func(n int) error, err error) {
	if w.call == nil {
		w.call, w.stop, err = c(db, w)
	}
	return w.call, err
}

// finish ends what a caller has begun.
func (w *work) finish() (err error) {
	if w.stop != nil {
		err = w.stop()
	}
	w.call, w.stop = nil, nil
	return err
}

// made is the number of calls that have been made, and left of those that have not.
func (w *work) made() int { return min(int(w.next.Load()), w.users) }
func (w *work) left() int { return w.users - w.made() }

// An idKind says which ids calls have.
type idKind int

const (
	noIDs     idKind = iota
	sortedIDs        // each sorts near the one before
	randomIDs        // UUIDs of version 4
)

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

// rows is the number of rows that have been inserted.
func (w *work) rows() int {
	n := w.made()
	if w.clash == 0 {
		return n
	}
	return n - (n+w.clash-1)/w.clash
}

// named is the context of a call, which cannot end.
func (w *work) named(call int) context.Context {
	if w.ids == noIDs {
		return context.Background()
	}
	return groupcommit.WithID(context.Background(), w.id(call))
}

// id is a new id for a call.
func (w *work) id(call int) string {
	if w.ids == randomIDs {
		return randomID()
	}
	return w.table + "-" + strconv.Itoa(call)
}

// randomID is a UUID of version 4. Its random numbers are cheap: a program's own choice of them is no cost of the library's.
func randomID() string {
	var u uuid.UUID
	binary.NativeEndian.PutUint64(u[:8], rand.Uint64())
	binary.NativeEndian.PutUint64(u[8:], rand.Uint64())
	u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80
	return u.String()
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
var execs = concurrent(execCalls)

func execCalls(db *sql.DB, w *work) (func(call int) error, func() error, error) {
	failing := ""
	if w.failure != nil {
		failing = w.failure.named(w.failure.exec, w.table)
	}
	return func(call int) error {
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
	}, nil, nil
}

// concurrently makes calls, each goroutine one after the other, until the work has ended or there is an error. The first
// goroutine makes at least one; where calls are timed, each makes two.
func (w *work) concurrently(ctx context.Context, call func(n int) error) error {
	least := func(goroutine int) int {
		if w.clock != nil {
			return 2
		}
		return 1 - min(goroutine, 1)
	}
	var all errgroup.Group
	for i := range min(w.goroutines, w.left()) {
		all.Go(func() error {
			for made := 0; made < least(i) && ctx.Err() == nil || !w.ended.Load(); made++ {
				n := int(w.next.Add(1)) - 1
				if n >= w.users {
					return nil
				}
				if w.known > 0 {
					n %= w.known
				}
				if err := w.clock.around(i, made, call, n); err != nil {
					w.end()
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
	for begun := false; (!begun || !w.ended.Load()) && w.left() > 0; begun = true {
		first, n := w.made(), min(most, w.left())
		start := time.Now()
		if err := transaction(first, n); err != nil {
			return fmt.Errorf("values %d to %d: %w", first, first+n-1, err)
		}
		w.clock.record(0, time.Since(start), n)
		w.next.Store(int64(first + n))
		w.byHand.commits++
		w.byHand.calls += n
		w.byHand.largest = max(w.byHand.largest, n)
		if w.saidAll != nil {
			w.saidAll(n, first, first+n-1)
		}
	}
	return ctx.Err()
}
