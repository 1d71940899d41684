package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"runtime"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// A run is what is measured: a side of the comparison, and its load.
type run struct {
	side
	users       int // calls, or unbounded: then only time ends it
	goroutines  int
	maxLen      int
	physical    int           // connections to PostgreSQL at most; 0: no bound but the program's own
	synchronous string        // SQLite's; PostgreSQL has the server's own
	clash       int           // one call in so many fails; 0: none does
	failure     *failure      // these calls' statement; nil: insert a value that is taken
	ids         idKind        // each call has another id
	known       int           // so many calls are made before the first slice, and then the same again and again; 0: all are new
	reopened    bool          // the database is opened anew between the two
	shape       *shape        // of the statements; nil: insert a user
	summed      bool          // the rows are checked by their number and sum, not one by one
	timed       bool          // each call's time is taken
	learns      time.Duration // it works for so long before the clock starts, where others warm up for less
	lines       *lines        // for --verbose; nil without

	name string // among the entrants of a contest; "": the side's
}

// unbounded is a number of users that no run reaches.
const unbounded = math.MaxInt

// An entrant is a run that is under way: its table is made and its database is open. It works in slices, in turn with the
// entrants that it is compared with, so that all of them meet the same disk and the same neighbours.
type entrant struct {
	run
	name  string
	w     *work
	db    *sql.DB
	place place
	meter *meter

	slices  []slice // those that count
	largest int     // group so far
}

// A slice is what an entrant did in one of its turns.
type slice struct {
	calls   int
	took    time.Duration
	spent   used
	commits int
	grouped int // calls in these commits

	times          *hdrhistogram.Histogram // of calls, where a run is timed; else nil
	p50, p90, late float64                 // in µs, where single calls were timed; late is how late they were begun
	pair           float64                 // the median of what a call took as a multiple of the one beside it, of the first entrant's
}

func (s slice) rate() float64   { return perOf(float64(s.calls), s.took.Seconds()) }
func (s slice) client() float64 { return perCall(s.spent.client, s.calls) }
func (s slice) server() float64 { return perCall(s.spent.server, s.calls) }
func (s slice) allocs() float64 { return perOf(float64(s.spent.allocs), float64(s.calls)) }
func (s slice) bytes() float64  { return perOf(float64(s.spent.bytes), float64(s.calls)) }
func (s slice) mean() float64   { return perOf(float64(s.grouped), float64(s.commits)) }
func (s slice) median() float64 { return s.p50 }
func (s slice) faster() float64 { return perOf(1, s.pair) }

// enter makes a new home for a run, and makes the calls that are known before.
func (l *lab) enter(ctx context.Context, r run) (e *entrant, err error) {
	if r.alone {
		r.goroutines = 1
	}
	h, err := l.place.home(&r)
	if err != nil {
		return nil, err
	}
	e = &entrant{run: r, name: r.label(), place: l.place, meter: l.meter}
	e.w = &work{home: h, users: r.users, goroutines: r.goroutines, maxLen: r.maxLen, clash: r.clash, failure: r.failure, ids: r.ids, shape: r.shape}
	if r.timed {
		e.w.clock = newClock()
	}
	if r.lines != nil {
		if !r.batch {
			e.w.said = r.lines.value
		}
		e.w.saidAll = r.lines.span
	}
	if e.db, err = r.fresh(ctx, h); err == nil && r.known > 0 {
		err = e.remember(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, e.remove())
	}
	return e, nil
}

// remember makes the calls that are to be made again.
func (e *entrant) remember(ctx context.Context) error {
	e.w.users = e.known
	if err := e.api(ctx, e.db, e.w); err != nil {
		return err
	}
	e.w.users, e.w.known = e.run.users, e.known
	e.w.next.Store(0)
	if !e.reopened {
		return nil
	}
	if err := errors.Join(e.w.finish(), e.db.Close()); err != nil {
		return err
	}
	db, err := e.opened(ctx, e.w.home)
	if err == nil {
		e.db = db
	}
	return err
}

// warmUp has the entrant work without a clock, for d at least.
func (e *entrant) warmUp(ctx context.Context, d time.Duration) error {
	c := e.w.clock
	e.w.clock = nil
	defer func() { e.w.clock = c }()
	if _, err := e.slice(ctx, max(d, e.learns)); err != nil {
		return fmt.Errorf("%s: %w", e.name, err)
	}
	return nil
}

// slice has the entrant work for d, or until its calls are made. A call that is under way at the end is waited for: it
// counts, and so does its whole time.
func (e *entrant) slice(ctx context.Context, d time.Duration) (s slice, err error) {
	before, err := e.count(e.db, e.w)
	if err != nil {
		return s, err
	}
	made := e.w.made()
	e.w.ended.Store(false)
	e.w.clock.take() // what came before is no part of it
	runtime.GC()     // this slice shall not clear the garbage of an earlier one
	spent := e.meter.start()
	timer := time.AfterFunc(d, e.w.end)
	stop := context.AfterFunc(ctx, e.w.end)
	start := time.Now()
	err = e.api(ctx, e.db, e.w)
	s.took = time.Since(start)
	s.spent = e.meter.since(spent)
	timer.Stop()
	stop()
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return s, err
	}
	after, err := e.count(e.db, e.w)
	s.calls, e.largest = e.w.made()-made, after.largest
	s.commits, s.grouped = after.commits-before.commits, after.calls-before.calls
	s.times = e.w.clock.take()
	return s, err
}

// leave checks the rows through the plain driver, whichever driver the run has used, and leaves nothing behind.
func (e *entrant) leave(ctx context.Context) (rows int, err error) {
	err = errors.Join(e.w.finish(), e.db.Close())
	if e.lines != nil {
		err = errors.Join(err, e.lines.flush())
	}
	if err == nil {
		rows, err = e.checked(ctx)
	}
	return rows, errors.Join(err, e.remove())
}

// remove leaves nothing behind.
func (e *entrant) remove() error {
	err := e.w.finish()
	if e.db != nil {
		e.db.Close()
	}
	return errors.Join(err, e.w.remove())
}

func (e *entrant) checked(ctx context.Context) (rows int, err error) {
	e.w.users = e.w.made()
	if e.known > 0 {
		e.w.users = e.known
		e.w.next.Store(int64(e.known))
	}
	db, err := e.place.plain(e.w.home)
	if err != nil {
		return 0, err
	}
	defer db.Close()
	switch {
	case e.shape != nil:
		return e.shape.check(ctx, db, e.w)
	case e.summed:
		return checkSums(ctx, db, e.w)
	}
	return check(ctx, db, e.w)
}

// total is all that an entrant did in the slices that count.
func (e *entrant) total() (t slice) {
	for _, s := range e.slices {
		t.calls += s.calls
		t.took += s.took
		t.commits += s.commits
		t.grouped += s.grouped
		t.spent = t.spent.add(s.spent)
		if s.times != nil {
			if t.times == nil {
				t.times = newTimes()
			}
			t.times.Merge(s.times)
		}
	}
	return t
}

// perOf is n / d, and 0 if d is 0: JSON has no NaN.
func perOf(n, d float64) float64 {
	if d == 0 {
		return 0
	}
	return n / d
}
