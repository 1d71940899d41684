package main

import (
	"context"
	"fmt"
	"io"
	"slices"
)

// A grid is a table to measure. Each round makes all of its runs, so that two runs that are compared were measured within
// seconds of each other. Every other round makes them in the opposite order.
type grid struct {
	runs  []run
	cases []tableCase
	notes []string // printed below it
}

// A tableCase is a line of the table: a value computed from one round's runs, and its goal.
type tableCase struct {
	name   string
	reach  float64
	atMost bool
	unit   string // of reach and of the value, with their verbs
	value  measured
	detail func(rounds []round) string
}

// round holds the results of one round, by the names of their runs.
type round map[string]result

func speed(r result) float64  { return r.PerSecond }
func mean(r result) float64   { return r.MeanGroup }
func allocs(r result) float64 { return r.Allocs }

// measured is a number of a round's; 0 if its run was left out.
type measured func(round) float64

func of(what func(result) float64, a run) measured {
	return func(r round) float64 { return what(r[a.name]) }
}

// best is the highest of several runs.
func best(what func(result) float64, runs ...run) measured {
	return func(r round) (most float64) {
		for _, a := range runs {
			most = max(most, what(r[a.name]))
		}
		return most
	}
}

// over compares two runs of a round.
func over(a, b measured) measured {
	return func(r round) float64 { return perOf(a(r), b(r)) }
}

// table makes the runs of the place's table and prints the table.
func (l *lab) table(ctx context.Context, rounds int) error {
	_, where := l.place.where()
	fmt.Fprintf(l.out, "%s; %s; medians of %d rounds, lowest and highest in brackets\n\n", machine(), where, rounds)
	grid := l.place.grid()
	for _, n := range grid.notes {
		fmt.Fprintf(l.out, "%s\n\n", n)
	}
	all, err := l.rounds(ctx, grid.runs, rounds)
	if err != nil {
		return err
	}
	grid.markdown(l.out, all)
	return nil
}

// rounds makes all runs, so many times.
func (l *lab) rounds(ctx context.Context, each []run, rounds int) (all []round, err error) {
	for n := 1; n <= rounds; n++ {
		runs := slices.Clone(each)
		if n%2 == 0 {
			slices.Reverse(runs)
		}
		this := round{}
		for _, r := range runs {
			r.round = n
			res, err := l.do(ctx, r)
			if err != nil {
				return nil, fmt.Errorf("round %d: %s: %w", n, r.name, err)
			}
			this[r.name] = res
		}
		all = append(all, this)
	}
	return all, nil
}

func (g grid) markdown(w io.Writer, rounds []round) {
	fmt.Fprintln(w, "| case | to reach | measured |\n|---|---|---|")
	for _, c := range g.cases {
		fmt.Fprintf(w, "| %s | %s | %s |\n", c.name, c.target(), c.cell(rounds))
	}
}

func (c tableCase) target() string {
	bound := "at least "
	if c.atMost {
		bound = "at most "
	}
	return bound + fmt.Sprintf(c.unit, c.reach)
}

func (c tableCase) cell(rounds []round) string {
	m, low, high := spread(rounds, c.value)
	s := fmt.Sprintf("**"+c.unit+"**", m)
	if c.atMost && m > c.reach || !c.atMost && m < c.reach {
		s += ", not reached"
	}
	if len(rounds) > 1 {
		digits := c.unit[:4] // the number without its words
		s += fmt.Sprintf(" ("+digits+" to "+digits+")", low, high)
	}
	if c.detail != nil {
		s += "; " + c.detail(rounds)
	}
	return s
}

func rates(ours, theirs run) func([]round) string {
	return func(rounds []round) string {
		a, _, _ := spread(rounds, of(speed, ours))
		b, _, _ := spread(rounds, of(speed, theirs))
		return fmt.Sprintf("%s against %s inserts a second", comma(int(a)), comma(int(b)))
	}
}

// spread is the median of a value over the rounds, the lowest and the highest.
func spread(rounds []round, value measured) (median, low, high float64) {
	var xs []float64
	for _, r := range rounds {
		xs = append(xs, value(r))
	}
	slices.Sort(xs)
	n := len(xs)
	return (xs[(n-1)/2] + xs[n/2]) / 2, xs[0], xs[n-1]
}
