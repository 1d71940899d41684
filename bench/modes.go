package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// A mode is a measurement with flags of its own. Its name comes before them.
type mode struct {
	summary string
	new     func() modeRun
}

// modeRun is a mode with the values of its flags.
type modeRun interface {
	flags(fs *flag.FlagSet)
	// agree checks the flags together.
	agree() error
	// jsonFile is --json's value, and serverDSN is --dsn's.
	jsonFile() string
	serverDSN() string
	// measure measures, and writes the JSON to the file, or to stdout, even of a measurement that found something wrong.
	measure(ctx context.Context, out, stdout, stderr io.Writer) error
}

var modes map[string]mode

func init() { // the flags of the others name the modes
	modes = map[string]mode{
		"speed":     {"every goal of GOALS.md, in one run: inserts and other statements, one goroutine to thousands, beside the plain driver and hand-written programs", func() modeRun { return newSpeedRun() }},
		"compare":   {"the grid of every claim: rate, latency, groups, processor time and allocations of each kind of call, from one caller to thousands, beside the plain driver, hand-written programs and a batcher with a timer", func() modeRun { return newCompareRun() }},
		"matrix":    {"statement time, round trip, callers and pool, in every combination, beside the plain driver", func() modeRun { return &matrixRun{pace: usualPace} }},
		"switch":    {"how soon groups adapt where the load changes within one run", func() modeRun { return &switchRun{phase: 10 * time.Second} }},
		"libraries": {"what GORM, bun, ent, goqite, river and others write through the swapped name, beside the plain driver", func() modeRun { return &librariesRun{of: libraries, what: "libraries", pace: usualPace} }},
		"transactions": {"transactions, RETURNING and single calls, from one goroutine to hundreds, beside the plain driver", func() modeRun {
			return &librariesRun{of: writeCases, what: "transactions", pace: usualPace}
		}},
		"hard": {"programs that are hard to serve by groups, each beside the plain driver and its goal", func() modeRun { return &hardRun{pace: usualPace} }},
	}
}

func (m mode) run(name string, args []string, stdout, stderr io.Writer) int {
	r := m.new()
	fs := newFlagSet()
	r.flags(fs)
	var profile string
	profileFlag(fs, &profile)
	err := fs.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(stdout, "usage: go run ./bench %s [flags]\n\nMeasures %s.\n\n", name, m.summary)
		listFlags(stdout, fs)
		return 0
	}
	switch {
	case err != nil:
		err = errors.New(twoDashes.Replace(err.Error()))
	case fs.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q; only flags are allowed (--help lists them)", fs.Arg(0))
	default:
		if err = r.agree(); err == nil {
			err = reached(r.serverDSN())
		}
	}
	if err != nil {
		fmt.Fprintf(stderr, "bench %s: %v\n", name, err)
		return exitUsage
	}
	return guarded(r.jsonFile(), profile, stdout, stderr, func(ctx context.Context, out io.Writer) error {
		return r.measure(ctx, out, stdout, stderr)
	})
}

// manyConnections is what a server of our own allows: 370 callers of the plain driver who wait for a row, and as many of the
// swapped one.
const manyConnections = 900

// usualPace keeps the whole matrix within some twelve minutes, and quickPace within four.
var (
	usualPace = pace{warm: 1500 * time.Millisecond, slice: 250 * time.Millisecond, slices: 4, most: 12 * time.Second}
	quickPace = pace{warm: 500 * time.Millisecond, slice: 100 * time.Millisecond, slices: 2, most: 3 * time.Second}
)

func paceFlags(fs *flag.FlagSet, p *pace) {
	fs.Var(span(&p.slice, time.Millisecond, time.Minute), "slice", "`TIME` of a slice at least, each side's in turn; those of slow calls are longer")
	fs.Var(span(&p.warm, 0, time.Minute), "warm", "`TIME` for which each side warms up, at least a slice")
	fs.Var(whole(&p.slices, p.slices, 1, 1000), "slices", "`N` slices of each side, 1 to 1000")
	fs.BoolFunc("quick", "few and short slices, for a first look", func(string) error {
		*p = quickPace
		return nil
	})
}

// span is a flag with a duration.
func span(to *time.Duration, least, most time.Duration) value {
	set := func(s string) error {
		d, err := time.ParseDuration(s)
		if err != nil || d < least || d > most {
			return fmt.Errorf("a time from %v to %v, such as 250ms, is allowed", least, most)
		}
		*to = d
		return nil
	}
	return value{set, func() string { return to.String() }}
}

// matrixRun is the mode matrix with its flags.
type matrixRun struct {
	dsn, json string
	pace      pace
	axes      axes
	least     float64
	control   bool
}

func (r *matrixRun) flags(fs *flag.FlagSet) {
	r.axes = wholeMatrix
	dsnFlag(fs, &r.dsn)
	jsonFlag(fs, &r.json, "cells")
	paceFlags(fs, &r.pace)
	fs.Func("cells", "only `CELLS`: statement=20ms,trip=0,callers=8,callers=64,pool=16; what is not named keeps all its values", func(s string) (err error) {
		r.axes, err = wholeMatrix.only(s)
		return err
	})
	fs.Func("least", "exit with 1 if a cell's rate is below `RATIO` of the plain driver's", func(s string) (err error) {
		if r.least, err = strconv.ParseFloat(s, 64); err != nil || !(r.least > 0 && r.least <= 100) {
			return errors.New("a number above 0, such as 0.95, is allowed")
		}
		return nil
	})
	fs.Var(truth{&r.control}, "control", "the plain driver on both sides, which shows how large the noise is")
}

func (r *matrixRun) agree() error      { return checkDSN(r.dsn) }
func (r *matrixRun) jsonFile() string  { return r.json }
func (r *matrixRun) serverDSN() string { return r.dsn }

func (r *matrixRun) measure(ctx context.Context, out, stdout, stderr io.Writer) error {
	server, err := startCluster(ctx, r.dsn, manyConnections)
	if err != nil {
		return err
	}
	m := &matrix{server: server, pace: r.pace.on(server), control: r.control, out: out, bar: bar{to: stderr, on: isTerminal(stderr)}}
	err = errors.Join(m.measure(ctx, r.axes), server.close())
	if err == nil {
		err = m.verdict(r.least)
	}
	if r.json != "" && ctx.Err() == nil {
		err = errors.Join(err, writeJSON(r.json, stdout, "cells", m.results))
	}
	return err
}

// only takes the named values for their axes. A value need not be one of the matrix.
func (a axes) only(filter string) (axes, error) {
	var some axes
	for pair := range strings.SplitSeq(filter, ",") {
		key, value, _ := strings.Cut(strings.TrimSpace(pair), "=")
		var err error
		switch key {
		case "statement":
			err = addTime(&some.statements, value)
		case "trip":
			err = addTime(&some.trips, value)
		case "callers":
			err = addNumber(&some.callers, value)
		case "pool":
			err = addNumber(&some.pools, value)
		default:
			err = errors.New("statement=TIME, trip=TIME, callers=N and pool=N are allowed, with commas between them")
		}
		if err != nil {
			return a, fmt.Errorf("%q: %w", pair, err)
		}
	}
	orAll(&some.statements, a.statements)
	orAll(&some.trips, a.trips)
	orAll(&some.callers, a.callers)
	orAll(&some.pools, a.pools)
	return some, nil
}

func orAll[T any](some *[]T, all []T) {
	if len(*some) == 0 {
		*some = all
	}
}

func addTime(to *[]time.Duration, value string) error {
	d, err := time.ParseDuration(value)
	if err != nil || d < 0 || d > 10*time.Second {
		return errors.New("a time from 0 to 10s, such as 20ms, is allowed")
	}
	*to = append(*to, d)
	return nil
}

func addNumber(to *[]int, value string) error {
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 || n > 10_000 {
		return errors.New("a whole number from 1 to 10000 is allowed")
	}
	*to = append(*to, n)
	return nil
}
