package main

import (
	"context"
	"database/sql"
	"errors"

	"golang.org/x/sync/errgroup"
)

// A place is where runs are made, each in a home of its own: a folder for SQLite, a server for PostgreSQL.
type place interface {
	// home finds one for r; its table is not there before its prepare.
	home(r *run) (home, error)
	// plain opens a home with the plain driver, to look at what a run has left.
	plain(h home) (*sql.DB, error)
	// sides are what is compared here, the plain driver first: groupcommit's Exec, and with --api commands its commands,
	// without that, where it tells something, the work of hands.
	sides(api string) []side
	// failures are what --failing measures here, and failing the runs of it, by the plain driver and by groupcommit.
	failures() []*failure
	failing(goroutines int) (plain, ours run)
	// grid is what --table measures here.
	grid() grid
	// settings and where tell people about it.
	settings(c config) string
	where() (label, text string)
	close() error
}

// newPlace makes the one that c asks for.
func newPlace(ctx context.Context, c config) (place, error) {
	if c.driver == pgxDriver {
		return newCluster(ctx, c.dsn)
	}
	return newFolder()
}

// home is where a run's table is.
type home struct {
	name        string // for the open of a side
	table       string
	insert      string // with one argument, the value
	synchronous string // how commits are synced, in the database's own word
	prepare     func(context.Context, *sql.DB) error
	violation   func(error) bool // whether it says that a value was there before
	remove      func() error     // may be called without prepare
}

// fresh makes the table and opens its database once more: what was asked of a connection to make it must not be left
// on it.
func (r *run) fresh(ctx context.Context, h home) (*sql.DB, error) {
	db, err := r.open(h.name, r)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(h.prepare(ctx, db), db.Close()); err != nil {
		return nil, err
	}
	return r.opened(ctx, h)
}

// opened opens a database that has its table. The physical connections are open when it returns.
func (r *run) opened(ctx context.Context, h home) (*sql.DB, error) {
	db, err := r.open(h.name, r)
	if err != nil {
		return nil, err
	}
	if err := connect(ctx, db, max(1, min(r.conns, r.goroutines))); err != nil {
		db.Close()
		return nil, err
	}
	return db, nil
}

// connect opens n connections and leaves them to the pool.
func connect(ctx context.Context, db *sql.DB, n int) error {
	if n == 1 {
		return db.PingContext(ctx)
	}
	conns := make([]*sql.Conn, n)
	var some errgroup.Group
	some.SetLimit(8)
	for i := range conns {
		some.Go(func() (err error) {
			conns[i], err = db.Conn(ctx)
			return err
		})
	}
	err := some.Wait()
	for _, c := range conns {
		if c != nil {
			err = errors.Join(err, c.Close())
		}
	}
	return err
}
