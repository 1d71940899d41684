// Command bench runs the article's benchmark: concurrent goroutines insert users, one Exec for each, through the plain
// driver and then through groupcommit. With --api commands they do so a third time, as in the article: each user is a
// command, and a handler inserts a batch of them. The database is an SQLite file in a temporary folder, or PostgreSQL: a
// throwaway cluster, or the server of a DSN, in a table that is dropped afterwards.
//
//	go run ./bench
//	go run ./bench --users 100000 --batch --verbose
//	go run ./bench --api commands --goroutines 1024 --maxlen 1000
//	go run ./bench --driver pgx
//	go run ./bench --driver pgx --dsn postgres://localhost/app
//	go run ./bench --table
//	go run ./bench --table --driver pgx
//	go run ./bench --failing 5
//
// Modes have flags of their own. Three look for programs that the swap makes slower, and one measures what other people's
// libraries write:
//
//	go run ./bench matrix
//	go run ./bench switch
//	go run ./bench hard
//	go run ./bench libraries
//
// Exit codes: 0, every value of every run was found in the database exactly once; 1, it was not, or a run failed; 2, a
// flag or its value is not allowed; 130, interrupted. (go run makes 1 of all but 0.)
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
	if err != nil {
		fmt.Fprintf(stderr, "bench: %v\n", err)
		return exitUsage
	}
	return guarded(cfg.json, stdout, stderr, func(ctx context.Context, out io.Writer) error {
		results, err := measure(ctx, cfg, out, stderr)
		if cfg.json != "" && ctx.Err() == nil { // a wrong run is reported, too, with the rows that it has
			err = errors.Join(err, writeJSON(cfg.json, stdout, "runs", results))
		}
		return err
	})
}

// guarded measures until the end or an interrupt, and returns the exit code. What is for people goes to out: not to stdout
// where the JSON goes there.
func guarded(json string, stdout, stderr io.Writer, measure func(ctx context.Context, out io.Writer) error) int {
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
	err := measure(ctx, out)
	if ctx.Err() != nil {
		fmt.Fprintln(stderr, "bench: interrupted")
		return exitInterrupted
	}
	if err != nil {
		fmt.Fprintf(stderr, "bench: %v\n", err)
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
	p, err := newPlace(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	l := &lab{place: p, out: out, bar: bar{to: stderr, on: isTerminal(stderr) && !cfg.verbose}}
	switch {
	case cfg.failing > 0:
		err = l.failing(ctx, cfg.failing, cfg.rounds)
	case cfg.table:
		err = l.table(ctx, cfg.rounds)
	default:
		err = l.compare(ctx, cfg)
	}
	return l.results, err
}

// lab makes runs.
type lab struct {
	place place
	out   io.Writer // for people
	bar   bar

	results []result // of every run that ended
}

// compare runs the same program on each side.
func (l *lab) compare(ctx context.Context, cfg config) error {
	head(l.out, cfg, l.place)
	for _, s := range cfg.sides(l.place) {
		r := run{side: s, users: cfg.users, goroutines: cfg.goroutines, maxLen: cfg.maxLen, synchronous: cfg.synchronous}
		if cfg.verbose {
			r.lines = newLines(l.out)
		}
		if _, err := l.do(ctx, r); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	summary(l.out, l.results)
	return nil
}
