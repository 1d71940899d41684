package main

import (
	"context"
	"errors"
	"runtime"
	"time"
)

// A run is one measurement: a side of the comparison, and its load.
type run struct {
	side
	users       int
	goroutines  int
	maxLen      int
	synchronous string   // SQLite's; PostgreSQL has the server's own
	clash       int      // one call in so many fails; 0: none does
	failure     *failure // these calls' statement; nil: insert a value that is taken
	ids         bool     // each call has another id
	again       bool     // the same calls are made twice, and the second time is measured
	reopened    bool     // the database is opened anew between the two
	lines       *lines   // for --verbose; nil without

	name  string // in the table
	round int
}

// result is the result of a run. Its fields keep their names in the JSON; new ones come at the end.
type result struct {
	Driver      string  `json:"driver"`
	Batch       bool    `json:"batch"`
	Users       int     `json:"users"`
	Goroutines  int     `json:"goroutines"`
	MaxLen      int     `json:"maxlen"`
	Synchronous string  `json:"synchronous"`
	Seconds     float64 `json:"seconds"`
	PerSecond   float64 `json:"per_second"`
	Commits     int     `json:"commits"`
	MeanGroup   float64 `json:"mean_group"`
	MaxGroup    int     `json:"max_group"`
	Rows        int     `json:"rows"` // counted in the database after the run

	// Only in the table's runs.
	Case   string  `json:"case,omitempty"`
	Round  int     `json:"round,omitempty"`
	Allocs float64 `json:"allocs_per_insert,omitempty"` // of the whole process

	API string `json:"api"` // exec or commands; hand for a program that makes its own transactions

	title string // the side's, for people
}

// do makes a run in a new home, and checks that every row is there.
func (l *lab) do(ctx context.Context, r run) (res result, err error) {
	if r.alone {
		r.goroutines = 1
	}
	h, err := l.place.home(&r)
	if err != nil {
		return result{}, err
	}
	defer func() { err = errors.Join(err, h.remove()) }()

	w := &work{home: h, users: r.users, goroutines: r.goroutines, maxLen: r.maxLen, clash: r.clash, failure: r.failure, ids: r.ids}
	if r.lines != nil {
		if !r.batch {
			w.said = r.lines.value
		}
		w.saidAll = r.lines.span
		defer func() { err = errors.Join(err, r.lines.flush()) }()
	}
	title := r.side.String()
	if r.name != "" {
		title = r.name
	}
	stop := l.bar.watch(title, w.users, &w.next)
	res, err = r.timed(ctx, w)
	stop()
	if err != nil {
		return result{}, err
	}
	res.Rows, err = l.checked(ctx, w)
	l.results = append(l.results, res) // a wrong one, too
	return res, err
}

// timed is the run itself, from the first insert to the last answer, between opening the database and closing it.
func (r *run) timed(ctx context.Context, w *work) (result, error) {
	db, err := r.fresh(ctx, w.home)
	if err != nil {
		return result{}, err
	}
	defer func() { db.Close() }()
	var before, after runtime.MemStats
	if r.again {
		if err := r.api(ctx, db, w); err != nil {
			return result{}, err
		}
		w.next.Store(0)
		if r.reopened {
			if err := db.Close(); err != nil {
				return result{}, err
			}
			again, err := r.opened(ctx, w.home)
			if err != nil {
				return result{}, err
			}
			db = again
		}
	}
	runtime.GC() // this run shall not clear the garbage of an earlier one
	runtime.ReadMemStats(&before)
	start := time.Now()
	if err := r.api(ctx, db, w); err != nil {
		return result{}, err
	}
	took := time.Since(start).Seconds()
	runtime.ReadMemStats(&after)
	g, err := r.count(db, w)
	if err != nil {
		return result{}, err
	}
	res := result{
		Driver: r.driver, Batch: r.batch, Users: r.users, Goroutines: r.goroutines, MaxLen: r.maxLen, Synchronous: w.synchronous,
		Seconds: took, PerSecond: perOf(float64(r.users), took),
		Commits: g.commits, MeanGroup: g.mean, MaxGroup: g.largest,
		Case: r.name, Round: r.round, API: r.via,
		title: r.side.String(),
	}
	if r.name != "" {
		res.Allocs = perOf(float64(after.Mallocs-before.Mallocs), float64(r.users))
	}
	return res, db.Close()
}

// checked checks the rows of the run through the plain driver, whichever driver the run has used.
func (l *lab) checked(ctx context.Context, w *work) (rows int, err error) {
	db, err := l.place.plain(w.home)
	if err != nil {
		return 0, err
	}
	defer db.Close()
	return check(ctx, db, w)
}

// perOf is n / d, and 0 if d is 0: JSON has no NaN.
func perOf(n, d float64) float64 {
	if d == 0 {
		return 0
	}
	return n / d
}
