// Command bench runs the article's benchmark: concurrent goroutines insert users, one Exec for each, through the plain
// driver and, in turn with it, through groupcommit. With --api commands there is a third side, as in the article: each user
// is a command, and a handler inserts a batch of them. The database is an SQLite file in a temporary folder, or PostgreSQL: a
// throwaway cluster, or the server of a DSN, in a table that is dropped afterwards.
//
//	go run ./bench
//	go run ./bench --users 100000 --batch --verbose
//	go run ./bench --api commands --goroutines 1024 --maxlen 1000
//	go run ./bench --driver pgx
//	go run ./bench --driver pgx --dsn postgres://localhost/app
//	go run ./bench --failing 5
//	go run ./bench --cpuprofile cpu.out
//
// Modes have flags of their own. The first is the grid of every claim, with pictures; the second measures every goal of GOALS.md.
// Three look for programs that the swap makes slower, and one measures what other people's libraries write:
//
//	go run ./bench compare
//	go run ./bench speed
//	go run ./bench matrix
//	go run ./bench switch
//	go run ./bench hard
//	go run ./bench libraries
//
// Exit codes: 0, every value of every run was found in the database exactly once; 1, it was not, or a run failed; 2, a
// flag or its value is not allowed, the server of --dsn is not reached, or a disk is full; 130, interrupted. (go run makes 1 of
// all but 0.)
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const (
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130
)

func main() { os.Exit(bench(os.Args[1:], os.Stdout, os.Stderr)) }

func bench(args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 {
		if m, ok := modes[args[0]]; ok {
			return m.run(args[0], args[1:], stdout, stderr)
		}
	}
	cfg, err := parseFlags(args)
	if errors.Is(err, flag.ErrHelp) {
		usage(stdout)
		return 0
	}
	if err == nil {
		err = reached(cfg.dsn)
	}
	if err != nil {
		fmt.Fprintf(stderr, "bench: %v\n", err)
		return exitUsage
	}
	if cfg.table {
		r := tableOf(cfg)
		return guarded(cfg.json, cfg.profile, stdout, stderr, func(ctx context.Context, out io.Writer) error { return r.measure(ctx, out, stdout, stderr) })
	}
	return guarded(cfg.json, cfg.profile, stdout, stderr, func(ctx context.Context, out io.Writer) error {
		results, err := measure(ctx, cfg, out, stderr)
		if cfg.json != "" && ctx.Err() == nil { // a wrong run is reported, too, with the rows that it has
			err = errors.Join(err, writeJSON(cfg.json, stdout, "runs", results))
		}
		return err
	})
}

// tableOf is the mode speed as --table asks for it.
func tableOf(cfg config) *speedRun {
	r := newSpeedRun()
	r.driver, r.dsn, r.json = cfg.driver, cfg.dsn, cfg.json
	r.time = time.Duration(cfg.rounds) * r.slice
	return r
}

// guarded measures until the end or an interrupt, and returns the exit code. What is for people goes to out: not to stdout
// where the JSON goes there. Where profile names a file, it gets a profile of the processor.
func guarded(json, profile string, stdout, stderr io.Writer, measure func(ctx context.Context, out io.Writer) error) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once

	// A broken output ends `bench --verbose | head`, and the temporary folder is removed, too. The signal for it could as
	// well come from a socket whose other end is closed, so the error counts.
	signal.Ignore(syscall.SIGPIPE)
	out := output{stdout, stop}
	if json == "-" {
		out.Writer = stderr // the object has stdout for itself
	}
	stopProfile, err := startProfile(profile)
	if err == nil {
		err = errors.Join(measure(ctx, out), stopProfile())
	}
	if ctx.Err() != nil {
		fmt.Fprintln(stderr, "bench: interrupted")
		return exitInterrupted
	}
	if err != nil {
		fmt.Fprintf(stderr, "bench: %s\n", oneLine(err))
		if full(err) {
			return exitUsage
		}
		return exitFailed
	}
	return 0
}

// output is a writer whose first error ends the program.
type output struct {
	io.Writer
	broken func()
}

func (o output) Write(b []byte) (int, error) {
	n, err := o.Writer.Write(b)
	if err != nil {
		o.broken()
	}
	return n, err
}

// measure makes the runs that cfg asks for, and leaves nothing of their place. It returns the results of the runs that
// ended, even if one of them is wrong.
func measure(ctx context.Context, cfg config, out, stderr io.Writer) (results []result, err error) {
	if cfg.driver == pgxDriver && cfg.dsn == "" {
		fmt.Fprintln(out, startingServer)
	}
	p, err := newPlace(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	l, err := newLab(p, out, bar{to: stderr, on: isTerminal(stderr) && !cfg.verbose})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	if cfg.failing > 0 {
		err = l.failing(ctx, cfg.failing, cfg.rounds)
	} else {
		err = l.compare(ctx, cfg)
	}
	return l.results, err
}

// lab makes runs.
type lab struct {
	place place
	meter *meter
	disk  *probe    // nil: not known
	out   io.Writer // for people
	bar   bar
	title string // of the bar; "": the last entrant's name

	results []result // of every run that ended
}

func newLab(p place, out io.Writer, b bar) (l *lab, err error) {
	l = &lab{place: p, meter: &meter{p.processes()}, out: out, bar: b}
	if folder := p.disk(); folder != "" {
		l.disk, err = openProbe(folder)
	}
	return l, err
}

// served says whether a server does a part of the work.
func (l *lab) served() bool {
	_, ok := l.place.(*cluster)
	return ok
}

func (l *lab) close() error {
	if l.disk == nil {
		return nil
	}
	return l.disk.close()
}

// compareSlice is the length of a turn, and compareWarm of the one before the clock starts.
const (
	compareSlice = 250 * time.Millisecond
	compareWarm  = 500 * time.Millisecond
)

// compare runs the same program on each side, in turns.
func (l *lab) compare(ctx context.Context, cfg config) error {
	head(l.out, cfg, l.place)
	var runs []run
	for _, s := range cfg.sides(l.place) {
		r := run{side: s, users: cfg.users, goroutines: cfg.goroutines, maxLen: cfg.maxLen, synchronous: cfg.synchronous, timed: true}
		if cfg.verbose {
			r.lines = newLines(l.out)
		}
		runs = append(runs, r)
	}
	p := pace{slice: compareSlice, slices: unbounded}
	if cfg.users == unbounded {
		p.warm, p.slices = compareWarm, int(max(2, cfg.time/compareSlice))
	}
	if cfg.users == unbounded {
		fmt.Fprintf(l.out, "Each side warms up, and then works in turn with the others. That takes about %v.\n", (time.Duration(len(runs)) * (cfg.time + compareWarm)).Round(time.Second))
	} else {
		fmt.Fprintln(l.out, "Each side inserts its users, in turn with the others.")
	}
	var rounds []round
	err := l.contest(ctx, runs, func(all []*entrant) (err error) {
		rounds, err = l.turns(ctx, p, all)
		if !cfg.verbose { // the last lines of that are not written yet
			fmt.Fprint(l.out, "Looking for every value in the database.\n\n")
		}
		return err
	})
	if err != nil {
		return err
	}
	summary(l.out, l.results, rounds, l)
	return nil
}
