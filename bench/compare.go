package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/groupcommit/groupcommit/internal/disk"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/groupcommit/groupcommit/internal/syncer"
)

// compareRun is the mode compare with its flags: every claim in one grid, beside the ways to write the program by hand.
type compareRun struct {
	driver, dsn           string
	json, stat, svg, html string // files, and the folder of the pictures
	time                  time.Duration
	rounds                int
	callers               []int
	only                  string
	every                 bool

	out           io.Writer
	bar           bar
	done, planned int                          // cases
	pools         map[string]int               // the plain driver's best, by poolKey
	syncs         map[gridGround]time.Duration // what one takes, where that is known
	disk          *madeDisk                    // nil until a case needs it
	cells         []gridCell
}

// chosen are the cases that were asked for, ground by ground.
func (r *compareRun) chosen() (all []gridCase) {
	for _, g := range gridGrounds {
		if r.driver != bothDrivers && r.driver != g.driver {
			continue
		}
		for _, c := range casesOf(g, r.callers, r.every) {
			if strings.Contains(strings.ToLower(c.String()), r.only) {
				all = append(all, c)
			}
		}
	}
	return all
}

// pace is a case's. A slice begins with callers who all come at once, and where there are thousands, that is not to be most of it.
func (r *compareRun) pace(c gridCase) pace {
	slice := max(r.time/time.Duration(r.rounds), time.Duration(c.callers)*100*time.Microsecond)
	return pace{warm: slice, slice: slice, slices: r.rounds, learn: min(time.Second, 4*r.time)}
}

func (r *compareRun) measure(ctx context.Context, out, stdout, stderr io.Writer) (err error) {
	r.out, r.bar = out, bar{to: stderr, on: isTerminal(stderr)}
	start := time.Now()
	cases := r.chosen()
	r.planned = len(cases)
	r.announce(cases)
	of := func(driver string) []gridCase {
		return slices.DeleteFunc(slices.Clone(cases), func(c gridCase) bool { return c.driver != driver })
	}
	err = r.onSQLite(ctx, of(sqliteDriver))
	if err == nil {
		err = r.onPostgres(ctx, of(pgxDriver))
	}
	if ctx.Err() != nil {
		return err
	}
	if err == nil {
		r.tables()
		fmt.Fprintf(out, "\nIt took %v. The rows of every cell were counted, and their sums are right.\n", time.Since(start).Round(time.Second))
	}
	if err = errors.Join(err, r.write(stdout)); err != nil {
		return err
	}
	if r.svg != "" {
		err = r.writePictures(r.svg)
	}
	if r.html != "" {
		err = errors.Join(err, r.writeHTML(r.html))
	}
	return err
}

// announce says what comes, and how long it takes. The price of a sync decides that.
func (r *compareRun) announce(cases []gridCase) {
	sync, price := syncIn(os.TempDir()), time.Duration(0)
	pools := map[string]bool{}
	for _, c := range cases {
		price += c.cost(r.pace(c), sync)
		if c.driver == pgxDriver && !pools["server"] {
			price, pools["server"] = price+4*time.Second, true
		}
		if key := c.poolKey(); c.callers > 1 && c.sync == 0 && !pools[key] {
			price, pools[key] = price+2*time.Second, true
		}
	}
	fmt.Fprintf(r.out, "%s.\n%s: each column %v in %s, in turns with the others of its case. That takes about %s.\n",
		versions(), plural(len(cases), "case"), r.time, plural(r.rounds, "slice"), roughly(price))
}

// roughly writes a time that is only guessed.
func roughly(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return "ten seconds"
	case d < 100*time.Second:
		return fmt.Sprintf("%d seconds", int(d.Seconds()/10+1)*10)
	}
	return fmt.Sprintf("%d minutes", int(d.Minutes()+.999))
}

func (r *compareRun) onSQLite(ctx context.Context, cases []gridCase) (err error) {
	if len(cases) == 0 {
		return nil
	}
	p, err := newFolder()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close(), r.disk.remove()) }()
	if d, ok := disk.Current(); ok { // this is the child of another run
		syncer.Fdatasync = d.Fdatasync
		return r.on(ctx, dir(d.Folder), cases)
	}
	for _, g := range gridGrounds {
		if err := r.on(ctx, p, g.of(cases)); err != nil {
			return err
		}
	}
	return nil
}

// onPostgres has one server for all. Connections say themselves when a commit is answered.
func (r *compareRun) onPostgres(ctx context.Context, cases []gridCase) (err error) {
	if len(cases) == 0 {
		return nil
	}
	if r.dsn == "" {
		fmt.Fprintln(r.out, "\n"+startingServer)
	}
	c, err := startCluster(ctx, r.dsn, manyConnections)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	for _, g := range gridGrounds {
		with := *c
		with.dsn, with.synchronous = pgtest.With(c.dsn, pgtest.Param("synchronous_commit", g.durability)), g.durability
		if err := r.on(ctx, &with, g.of(cases)); err != nil {
			return err
		}
	}
	return nil
}

// on measures cases in one place.
func (r *compareRun) on(ctx context.Context, p place, cases []gridCase) (err error) {
	if len(cases) == 0 {
		return nil
	}
	l, err := newLab(p, r.out, r.bar)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	_, where := p.where()
	fmt.Fprintf(r.out, "\n%s; %s.\n", where, p.settings(config{synchronous: cases[0].durability}))
	l.printSync()
	if l.disk != nil {
		defer func() { r.syncs[cases[0].gridGround] = l.disk.median() }()
	}
	for _, c := range cases {
		if err := r.one(ctx, l, c); err != nil {
			return fmt.Errorf("%v: %w", c, err)
		}
	}
	return nil
}

// poolKey names what has the same best pool.
func (c gridCase) poolKey() string { return c.gridGround.String() + ", " + c.load.name }

// one measures a case.
func (r *compareRun) one(ctx context.Context, l *lab, c gridCase) (err error) {
	r.done++
	l.title = fmt.Sprintf("%d of %d: %v", r.done, r.planned, c)
	if _, ok := disk.Current(); c.sync > 0 && !ok {
		return r.onDisk(ctx, c)
	}
	pool, err := r.poolFor(ctx, l, c)
	if err != nil {
		return err
	}
	fmt.Fprintf(r.out, "\n%s\n", l.title)
	runs := learning(c.runs(pool), r.pace(c).learn)
	var cells []gridCell
	err = l.contest(ctx, runs, func(all []*entrant) (err error) {
		var rounds []round
		if c.open > 0 {
			rounds, err = l.openLoop(ctx, r.pace(c), c.open, all)
		} else {
			rounds, err = l.turns(ctx, r.pace(c), all)
		}
		for _, e := range all {
			cells = append(cells, c.cell(e, rounds))
		}
		return err
	})
	if err != nil {
		return err
	}
	r.keep(c, cells, l.served())
	return nil
}

func (r *compareRun) keep(c gridCase, cells []gridCell, hasServer bool) {
	cells = c.inOrder(cells)
	r.cells = append(r.cells, cells...)
	printCells(r.out, cells, hasServer)
}

// poolFor is the plain driver's best pool for a kind of call, which is looked for once.
func (r *compareRun) poolFor(ctx context.Context, l *lab, c gridCase) (int, error) {
	if c.sync > 0 {
		return 1, nil
	}
	key := c.poolKey()
	if pool, ok := r.pools[key]; ok {
		return pool, nil
	}
	many := c
	if !c.load.fixed {
		many.callers = gridPoolCallers
	}
	many.failing, many.open, many.sync = 0, 0, 0
	room := unbounded
	if server, ok := l.place.(*cluster); ok {
		room = server.room
	}
	runs := many.tries(room)
	if len(runs) == 0 {
		return 0, fmt.Errorf("the server has room for %s", plural(room, "connection"))
	}
	slice := min(150*time.Millisecond, r.pace(many).slice)
	best, tried, err := l.bestPool(ctx, pace{warm: slice, slice: slice, slices: 2}, runs)
	if err != nil {
		return 0, err
	}
	r.pools[key] = best.conns
	fmt.Fprintf(r.out, "\n%s, the plain driver's pools, %s: %s a second. The best pool is %d.\n", key, plural(many.callers, "caller"), tried, best.conns)
	return best.conns, nil
}
