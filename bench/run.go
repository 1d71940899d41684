package main

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

// A run is one measurement: a side of the comparison, how the program uses it, and how much is asked of it.
type run struct {
	side
	api         api
	users       int
	goroutines  int
	maxLen      int
	synchronous string
	lines       *lines // for --verbose; nil without

	name  string // in the table
	round int
}

// result is what a run has come to. Its fields keep their names in the JSON; further ones come behind.
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
}

// do makes a run on a database of its own, and looks whether everything is there.
func (l *lab) do(ctx context.Context, r run) (res result, err error) {
	dir, err := os.MkdirTemp(l.dir, "run-")
	if err != nil {
		return result{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	file := filepath.Join(dir, "users.db")

	w := &work{users: r.users, goroutines: r.goroutines}
	if r.lines != nil {
		if !r.batch {
			w.said = r.lines.value
		}
		defer func() { err = errors.Join(err, r.lines.flush()) }()
	}
	title := r.driver
	if r.name != "" {
		title = r.name
	}
	stop := l.bar.watch(title, w)
	res, err = r.timed(ctx, file, w)
	stop()
	if err != nil {
		return result{}, err
	}
	res.Rows, err = r.checked(ctx, file)
	l.results = append(l.results, res) // a wrong one too
	return res, err
}

// timed is the run itself, from the first insert to the last answer, between opening the database and closing it.
func (r *run) timed(ctx context.Context, file string, w *work) (result, error) {
	db, err := r.fresh(ctx, file)
	if err != nil {
		return result{}, err
	}
	defer db.Close()
	var before, after runtime.MemStats
	runtime.GC() // what an earlier run has left is not this one's to clear
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
		Driver: r.driver, Batch: r.batch, Users: r.users, Goroutines: r.goroutines, MaxLen: r.maxLen, Synchronous: r.synchronous,
		Seconds: took, PerSecond: perOf(float64(r.users), took),
		Commits: g.commits, MeanGroup: g.mean, MaxGroup: g.largest,
		Case: r.name, Round: r.round,
	}
	if r.name != "" {
		res.Allocs = perOf(float64(after.Mallocs-before.Mallocs), float64(r.users))
	}
	return res, db.Close()
}

// checked looks at what the run has left, through the plain driver whichever the run has used.
func (r *run) checked(ctx context.Context, file string) (rows int, err error) {
	db, err := openPlain(file, r)
	if err != nil {
		return 0, err
	}
	defer db.Close()
	return check(ctx, db, r.users)
}

// fresh makes the database and opens it once more: what was asked of a connection to make it must not be left on it.
func (r *run) fresh(ctx context.Context, file string) (*sql.DB, error) {
	db, err := r.open(file, r)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(prepare(db, r), db.Close()); err != nil {
		return nil, err
	}
	if db, err = r.open(file, r); err != nil {
		return nil, err
	}
	if err := db.PingContext(ctx); err != nil {
		db.Close()
		return nil, err
	}
	return db, nil
}

// perOf is n / d, and 0 where there is nothing to divide by: JSON has no NaN.
func perOf(n, d float64) float64 {
	if d == 0 {
		return 0
	}
	return n / d
}
