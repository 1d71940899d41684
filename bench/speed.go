package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// A heat is a contest of some runs. Its rows compare them.
type heat struct {
	runs  []run
	rows  []row
	play  func(l *lab, ctx context.Context, p pace, all []*entrant) ([]round, error) // nil: turns
	pools bool                                                                       // it needs the plain driver's best pool
	short bool                                                                       // a quarter of the time is enough: it fills the disk
}

// A row of the table is a number, computed from each round of a heat, and its goal.
type row struct {
	name   string
	goal   target
	format string // of the number; "" is a ratio's
	value  measured
	reach  func([]round) float64 // a goal that is known after the measurement only
	show   []run                 // with their rates and processor times
	note   func([]round) string  // what else is to be said; nil: nothing
	ids    bool                  // it needs calls with ids
}

// speedRun is the mode speed with its flags.
type speedRun struct {
	driver, dsn, json string
	only              string
	time, slice       time.Duration

	out     io.Writer
	bar     bar
	results []rowResult
}

func newSpeedRun() *speedRun {
	return &speedRun{driver: bothDrivers, time: 5 * time.Second, slice: 250 * time.Millisecond}
}

func (r *speedRun) flags(fs *flag.FlagSet) {
	dsnFlag(fs, &r.dsn)
	jsonFlag(fs, &r.json, "rows")
	fs.Var(word(&r.driver, bothDrivers, bothDrivers, sqliteDriver, pgxDriver), "driver", "only the rows of `sqlite3 or pgx`")
	fs.Var(span(&r.time, time.Millisecond, time.Hour), "time", "`TIME` of each side of each row, in slices")
	fs.Var(span(&r.slice, time.Millisecond, time.Minute), "slice", "`TIME` of a slice, each side's in turn")
	fs.Func("only", "only rows whose name has `WORDS` in it, in capitals or not", func(s string) error {
		r.only = strings.ToLower(s)
		return nil
	})
}

func (r *speedRun) jsonFile() string  { return r.json }
func (r *speedRun) serverDSN() string { return r.dsn }

func (r *speedRun) agree() error {
	if len(r.chosen(sqliteHeats()))+len(r.chosen(postgresHeats(usualConns))) == 0 {
		return fmt.Errorf("--only %q is in no row's name", r.only)
	}
	return goesWith(r.driver, r.dsn)
}

// chosen are the heats with a row that was asked for, with these rows.
func (r *speedRun) chosen(all []heat) (some []heat) {
	for _, h := range all {
		h.rows = slices.DeleteFunc(slices.Clone(h.rows), func(x row) bool { return !strings.Contains(strings.ToLower(x.name), r.only) })
		if len(h.rows) > 0 {
			some = append(some, h)
		}
	}
	return some
}

func (r *speedRun) pace() pace {
	return pace{warm: 4 * r.slice, slice: r.slice, slices: int(max(2, r.time/r.slice))}
}

func (r *speedRun) measure(ctx context.Context, out, stdout, stderr io.Writer) (err error) {
	r.out, r.bar = out, bar{to: stderr, on: isTerminal(stderr)}
	fmt.Fprintf(out, "%s. Each side has %v in slices of %v, in turns with the others; medians of the rounds, quartiles in brackets.\n", machine(), r.time, r.slice)
	if r.driver != pgxDriver && len(r.chosen(sqliteHeats())) > 0 {
		err = r.onPlace(ctx, "SQLite, WAL", newFolder, func(*lab) ([]heat, error) { return r.chosen(sqliteHeats()), nil })
	}
	if err == nil && r.driver != sqliteDriver && len(r.chosen(postgresHeats(usualConns))) > 0 {
		err = r.onPlace(ctx, "PostgreSQL", func() (place, error) { return r.cluster(ctx) }, func(l *lab) ([]heat, error) { return r.onServer(ctx, l) })
	}
	if r.json != "" && ctx.Err() == nil {
		err = errors.Join(err, writeJSON(r.json, stdout, "rows", r.results))
	}
	return err
}

func (r *speedRun) cluster(ctx context.Context) (place, error) {
	c, err := startCluster(ctx, r.dsn, manyConnections)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// onPlace measures heats in one place.
func (r *speedRun) onPlace(ctx context.Context, title string, open func() (place, error), heats func(*lab) ([]heat, error)) (err error) {
	p, err := open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	l, err := newLab(p, r.out, r.bar)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	_, where := p.where()
	fmt.Fprintf(r.out, "\n%s: %s; %s.\n", title, where, p.settings(config{synchronous: "full"}))
	l.printSync()
	some, err := heats(l)
	if err != nil {
		return err
	}
	fmt.Fprintln(r.out, "\n| case | measured | to reach | bound | a second, and processor time a call |\n|---|---|---|---|---|")
	for _, h := range some {
		if err := r.heat(ctx, l, h); err != nil {
			return fmt.Errorf("%s: %w", h.rows[0].name, err)
		}
	}
	fmt.Fprintln(r.out)
	l.printSync()
	r.summary()
	return nil
}

func (r *speedRun) heat(ctx context.Context, l *lab, h heat) error {
	p := r.pace()
	if h.short {
		p.slices = max(2, p.slices/4)
	}
	play := h.play
	if play == nil {
		play = (*lab).turns
	}
	var rounds []round
	err := l.contest(ctx, h.runs, func(all []*entrant) (err error) {
		rounds, err = play(l, ctx, p, all)
		return err
	})
	if err != nil {
		return err
	}
	for _, x := range h.rows {
		res := x.result(l, rounds)
		r.results = append(r.results, res)
		fmt.Fprintln(r.out, res)
	}
	return nil
}

// onServer finds the plain driver's best pool, and leaves out what a server has no room for.
func (r *speedRun) onServer(ctx context.Context, l *lab) (fit []heat, err error) {
	c := l.place.(*cluster)
	pool := usualConns
	if slices.ContainsFunc(r.chosen(postgresHeats(pool)), func(h heat) bool { return h.pools }) {
		if pool, err = r.bestPool(ctx, l, c.room); err != nil {
			return nil, err
		}
	}
	for _, h := range r.chosen(postgresHeats(pool)) {
		if c.server == nil { // the calls would leave a ledger on somebody's server
			h.runs = slices.DeleteFunc(slices.Clone(h.runs), func(x run) bool { return x.ids != noIDs })
			h.rows = slices.DeleteFunc(h.rows, func(x row) bool {
				if x.ids {
					fmt.Fprintf(r.out, "Left out: %s; on a server of yours its calls would leave a ledger.\n", x.name)
				}
				return x.ids
			})
		}
		if need := h.need(); len(h.rows) > 0 && need > c.room {
			fmt.Fprintf(r.out, "Left out: %s; max_connections leaves room for %d, and it needs %d.\n", h.rows[0].name, c.room, need)
		} else if len(h.rows) > 0 {
			fit = append(fit, h)
		}
	}
	return fit, nil
}

// need is the number of connections of a heat: those of its pools, and some for groups and for the checks.
func (h heat) need() int {
	n := 10
	for _, x := range h.runs {
		n += max(x.conns, x.physical)
	}
	return n
}

// triedPools are the sizes of the plain driver's pool of which the best one counts.
var triedPools = []int{8, 16, 32, 64, 128, 200}

// bestPool tries the plain driver with each pool.
func (r *speedRun) bestPool(ctx context.Context, l *lab, room int) (best int, err error) {
	var runs []run
	for _, n := range triedPools {
		if room -= n; room >= 10 {
			runs = append(runs, run{side: pgxPlain(n), name: fmt.Sprint(n), users: unbounded, goroutines: 1024, summed: true})
		}
	}
	if len(runs) == 0 {
		return usualConns, nil // which the server has no room for, either
	}
	p := r.pace()
	p.slices = min(4, p.slices)
	won, tried, err := l.bestPool(ctx, p, runs)
	if err != nil {
		return 0, err
	}
	fmt.Fprintf(r.out, "The plain driver, 1,024 goroutines: %s. The best pool is %d.\n", tried, won.conns)
	return won.conns, nil
}
