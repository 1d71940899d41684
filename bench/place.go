package main

import (
	"context"
	"database/sql"
	"errors"

	"golang.org/x/sync/errgroup"
)

// A place has a home for each run: a folder for SQLite, a server for PostgreSQL.
type place interface {
	// home finds a home for r. Its table is not there before its prepare.
	home(r *run) (home, error)
	// plain opens a home with the plain driver, to check the rows of a run.
	plain(h home) (*sql.DB, error)
	// sides are compared with each other, the plain driver first: groupcommit's Exec, and with --api commands its commands.
	// Without --api commands there is also a hand-written program, where it tells something.
	sides(api string) []side
	// failures are the kinds that --failing measures here, and failing its runs, by the plain driver and by groupcommit.
	failures() []*failure
	failing(goroutines int) (plain, ours run)
	// disk is a folder on the database's disk, and processes are its server's; "" and nil where they are not known, or none.
	disk() string
	processes() *processes
	// settings and where describe the place in the output.
	settings(c config) string
	where() (label, text string)
	close() error
}

// newPlace makes the place that c asks for.
func newPlace(ctx context.Context, c config) (place, error) {
	if c.driver == pgxDriver {
		return newCluster(ctx, c.dsn)
	}
	return newFolder()
}

// home holds a run's table.
type home struct {
	name        string // for the open of a side
	table       string
	insert      string // with one argument, the value; or a shape's
	reads       string // a shape's; "" without
	unnest      string // does the same for all of an array; "": there is no such text
	synchronous string // how commits are synced, in the database's own word
	prepare     func(context.Context, *sql.DB) error
	violation   func(error) bool // whether an error says that a value was there before
	remove      func() error     // may be called without prepare
}

// fresh makes the table and opens its database once more, so that no setting from the making of the table is left on a
// connection.
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
