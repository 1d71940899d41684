package main

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What a cell has where no flag says anything else: the whole grid then takes some minutes.
const (
	usualCell   = 450 * time.Millisecond
	usualRounds = 3
)

func newCompareRun() *compareRun {
	return &compareRun{driver: bothDrivers, time: usualCell, rounds: usualRounds, pools: map[string]int{}, syncs: map[gridGround]time.Duration{}}
}

func (r *compareRun) flags(fs *flag.FlagSet) {
	dsnFlag(fs, &r.dsn)
	jsonFlag(fs, &r.json, "cells")
	fs.Var(word(&r.driver, bothDrivers, bothDrivers, sqliteDriver, pgxDriver), "driver", "only the cases of `sqlite3 or pgx`")
	fs.Var(span(&r.time, time.Millisecond, time.Hour), "time", "`TIME` of a cell, in slices in turn with the others of its case")
	fs.Var(whole(&r.rounds, usualRounds, 1, 1000), "rounds", "`N` of these slices, 1 to 1000")
	fs.Func("callers", "only so many callers: a `LIST` such as 1,64,1024", func(s string) error { return callersList(&r.callers, s) })
	fs.Func("only", "only cases whose name has `WORDS` in it, in capitals or not", func(s string) error {
		r.only = strings.ToLower(s)
		return nil
	})
	fs.Var(truth{&r.every}, "all", "each kind of call by every number of callers and in an open loop, on each durability")
	fs.Func("benchstat", "write each round to `FILE` as Go benchmarks are written; - is standard output", func(s string) error {
		r.stat = s
		return writable(s)
	})
	r.pictureFlags(fs)
}

// pictureFlags are of what is made at the end.
func (r *compareRun) pictureFlags(fs *flag.FlagSet) {
	fs.Func("svg", "write the pictures to the folder `DIR`, which is made", func(s string) error {
		r.svg = s
		return writableFolder(s)
	})
	fs.Func("html", "write all tables and pictures to `FILE`, which needs no network", func(s string) error {
		if r.html = s; s == "-" {
			return errors.New("the name of a file is allowed")
		}
		return writable(s)
	})
}

const mostCallers = 10_000

func callersList(to *[]int, s string) error {
	var some []int
	for text := range strings.SplitSeq(s, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || n < 1 || n > mostCallers {
			return fmt.Errorf("whole numbers from 1 to %d are allowed, with commas between them", mostCallers)
		}
		if !slices.Contains(some, n) {
			some = append(some, n)
		}
	}
	slices.Sort(some)
	*to = some
	return nil
}

func (r *compareRun) jsonFile() string {
	if r.stat == "-" {
		return r.stat
	}
	return r.json
}

func (r *compareRun) serverDSN() string { return r.dsn }

func (r *compareRun) agree() error {
	switch {
	case r.json == "-" && r.stat == "-":
		return errors.New("--json - does not go with --benchstat -; standard output is for one of them")
	case len(r.callers) > 0 && r.every:
		return errors.New("--callers does not go with --all, which has every number of them")
	case r.time/time.Duration(r.rounds) < time.Millisecond:
		return fmt.Errorf("--time %v does not go with --rounds %d; each round is to be of 1ms at least", r.time, r.rounds)
	case len(r.chosen()) == 0:
		return fmt.Errorf("--only %q is in no case's name", r.only)
	}
	return goesWith(r.driver, r.dsn)
}

// command is what a user types for the same cells. The server stays out of it: its address may hold a password.
func (r *compareRun) command() string {
	s := "go run ./bench compare"
	if r.driver != bothDrivers {
		s += " --driver " + r.driver
	}
	if r.time != usualCell {
		s += " --time " + r.time.String()
	}
	if r.rounds != usualRounds {
		s += fmt.Sprintf(" --rounds %d", r.rounds)
	}
	if len(r.callers) > 0 {
		s += " --callers " + strings.ReplaceAll(strings.Trim(fmt.Sprint(r.callers), "[]"), " ", ",")
	}
	if r.only != "" {
		s += fmt.Sprintf(" --only %q", r.only)
	}
	if r.every {
		s += " --all"
	}
	return s
}
