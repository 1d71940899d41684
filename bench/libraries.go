package main

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// libraryCallers write at the same time.
const libraryCallers = 32

// librariesRun is the modes libraries and transactions with their flags: what other people's libraries write by their own API, or
// what a program writes by transactions, RETURNING and single calls, through the plain driver at its best of several pools and
// through the swapped name.
type librariesRun struct {
	of        []library
	what      string // they are, in the JSON
	dsn, json string
	driver    string
	only      string
	sync      time.Duration
	pace      pace

	out     io.Writer
	bar     bar
	results []libraryResult
}

// A libraryResult is what a library came to on one database. Its fields keep their names in the JSON.
type libraryResult struct {
	Library string  `json:"library"`
	Driver  string  `json:"driver"` // the plain one
	Ratio   float64 `json:"ratio"`  // the median of the rounds'
	Low     float64 `json:"quartile_1"`
	High    float64 `json:"quartile_3"`
	duel
}

const bothDrivers = "both"

func (r *librariesRun) flags(fs *flag.FlagSet) {
	dsnFlag(fs, &r.dsn)
	jsonFlag(fs, &r.json, r.what)
	paceFlags(fs, &r.pace)
	fs.Var(word(&r.driver, bothDrivers, bothDrivers, sqliteDriver, pgxDriver), "driver", "only the libraries on `sqlite3 or pgx`")
	fs.Var(span(&r.sync, 0, time.Second), "sync", "SQLite's files lie in memory, and each sync of one takes `TIME`: without the noise of a disk. 0 is the disk")
	fs.Func(r.what, "only those whose name has `WORDS` in it", func(s string) error {
		r.only = s
		return nil
	})
}

func (r *librariesRun) chosen() []library {
	return slices.DeleteFunc(slices.Clone(r.of), func(l library) bool { return !strings.Contains(l.name, r.only) })
}

func (r *librariesRun) agree() error {
	if len(r.chosen()) == 0 {
		return fmt.Errorf("--%s %q is in no name of them", r.what, r.only)
	}
	if r.driver == pgxDriver && r.sync > 0 {
		return fmt.Errorf("--sync %v does not go with --driver pgx, whose server syncs to the disk", r.sync)
	}
	return goesWith(r.driver, r.dsn)
}

func (r *librariesRun) jsonFile() string  { return r.json }
func (r *librariesRun) serverDSN() string { return r.dsn }

func (r *librariesRun) measure(ctx context.Context, out, stdout, stderr io.Writer) (err error) {
	r.out, r.bar = out, bar{to: stderr, on: isTerminal(stderr)}
	files, err := newFiles(r.sync)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, files.close()) }()
	fmt.Fprintf(out, "%s. %d goroutines, if nothing else is said; %d slices of %v for each side in turns, the median counts; the plain driver at the pool that serves it best.\n",
		machine(), libraryCallers, r.pace.slices, r.pace.slice)
	if r.driver != pgxDriver {
		err = r.on(ctx, files)
	}
	if r.driver != sqliteDriver && err == nil {
		err = r.onServer(ctx)
	}
	if r.json != "" && ctx.Err() == nil {
		err = errors.Join(err, writeJSON(r.json, stdout, r.what, r.results))
	}
	return err
}

func (r *librariesRun) onServer(ctx context.Context) (err error) {
	server, err := startCluster(ctx, r.dsn, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.close()) }()
	return r.on(ctx, &databases{server})
}

// on measures every library on one kind of database, and prints the table.
func (r *librariesRun) on(ctx context.Context, on ground) error {
	p := r.pace
	if d, ok := on.(*databases); ok {
		p = p.on(d.server)
	}
	fmt.Fprintf(r.out, "\n%s\n%s\n\n| %s | plain, a second | swapped, a second | ratio | processor a call, plain and swapped |\n|---|---|---|---|---|\n", on.title(), on.price(), r.what)
	for _, l := range r.chosen() {
		var begun atomic.Int64
		stop := r.bar.watch(l.name, 1, &begun)
		res, err := l.measure(ctx, on, p)
		stop()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
		r.results = append(r.results, res)
		fmt.Fprintln(r.out, res)
	}
	fmt.Fprintln(r.out, "\nThe rows were counted: those of each call are there once.")
	return nil
}

func (r libraryResult) String() string {
	return fmt.Sprintf("| %s | %s (%s) | %s | %.2f (%.2f to %.2f) | %s; %s |", r.Library, comma(int(median(r.Plain.Slices)+.5)), r.Plain.Side,
		comma(int(median(r.Swapped.Slices)+.5)), r.Ratio, r.Low, r.High, r.Plain.processor(), r.Swapped.processor())
}

func median(of []float64) float64 {
	sorted := slices.Sorted(slices.Values(of))
	return quartile(sorted, 2)
}

// measure has the plain driver on each pool and the swapped one in turns, each on a database of its own.
func (l library) measure(ctx context.Context, on ground, p pace) (res libraryResult, err error) {
	var all []*contender
	var dbs []*sql.DB
	for _, s := range on.sides() {
		db, done, failed := on.open(ctx, s)
		if failed != nil {
			return res, failed
		}
		defer func() { err = errors.Join(err, done()) }()
		write, failed := l.open(ctx, on.engine(), db)
		if failed != nil {
			return res, fmt.Errorf("%s: %w", s.name, failed)
		}
		dbs = append(dbs, db)
		all = append(all, &contender{name: s.name, callers: cmp.Or(l.callers, libraryCallers), call: func(_, n int) error { return write(n) }})
	}
	contest(ctx, p, all...)
	for i, c := range all {
		if err := l.count(ctx, dbs[i], c); err != nil {
			return res, err
		}
	}
	last := len(all) - 1
	plain := slices.MaxFunc(scores(all[:last]), func(a, b score) int { return cmp.Compare(median(a.Slices), median(b.Slices)) })
	res = libraryResult{Library: l.name, Driver: string(on.engine()), duel: duel{plain, all[last].score()}}
	ratios := slices.Sorted(slices.Values(res.ratios()))
	res.Low, res.Ratio, res.High = quartile(ratios, 1), quartile(ratios, 2), quartile(ratios, 3)
	return res, nil
}

// count makes sure that each call has left one row.
func (l library) count(ctx context.Context, db *sql.DB, c *contender) error {
	if n := c.faults.count(); n > 0 {
		return fmt.Errorf("%s: %v", c.name, c.faults)
	}
	var rows int
	if err := db.QueryRowContext(ctx, "SELECT count(*) FROM "+l.table).Scan(&rows); err != nil {
		return err
	}
	made := int(c.made.Load())
	if want := made*l.rows() + l.before; rows != want {
		return fmt.Errorf("the database is wrong: %s made %s calls, and left %s rows, not %s", c.name, comma(made), comma(rows), comma(want))
	}
	return nil
}

func scores(of []*contender) (all []score) {
	for _, c := range of {
		all = append(all, c.score())
	}
	return all
}
