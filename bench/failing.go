package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// A failure is a kind of statement that fails, in separate tables beside the users'. Neighbours should not pay for it.
type failure struct {
	name  string
	setup string           // makes its tables; every T is the name of the users' table
	exec  string           // fails; its one argument is the call's number
	is    func(error) bool // says that an error is the one expected
}

// named puts the table's name in.
func (f *failure) named(text, table string) string { return strings.ReplaceAll(text, "T_", table+"_") }

// failingRun is one line's runs: with the plain driver and with groupcommit.
type failingRun struct {
	kind        string // "none": no call fails
	goroutines  int
	plain, ours run
}

// failingRuns are the runs of a place in which one call in so many fails.
func failingRuns(p place, every int) (lines []failingRun) {
	for _, goroutines := range []int{64, 1024} {
		kinds := append([]*failure{nil}, p.failures()...)
		for _, f := range kinds {
			l := failingRun{kind: "none", goroutines: goroutines}
			if f != nil {
				l.kind = f.name
			}
			l.plain, l.ours = p.failing(goroutines)
			for who, r := range map[string]*run{"plain": &l.plain, "groupcommit": &l.ours} {
				r.goroutines, r.name = goroutines, fmt.Sprintf("%s, %s goroutines, %s", who, comma(goroutines), l.kind)
				if r.failure = f; f != nil {
					r.clash = every
				}
			}
			lines = append(lines, l)
		}
	}
	return lines
}

// failing measures the cost of failing calls, for the others and for themselves.
func (l *lab) failing(ctx context.Context, percent, rounds int) error {
	_, where := l.place.where()
	fmt.Fprintf(l.out, "%s; %s; %d calls in 100 fail; medians of %d rounds, quartiles in brackets\n\n", machine(), where, percent, rounds)
	lines := failingRuns(l.place, 100/percent)
	var runs []run
	for _, line := range lines {
		runs = append(runs, line.plain, line.ours)
	}
	all, err := l.rounds(ctx, runs, rounds)
	if err != nil {
		return err
	}
	fmt.Fprintln(l.out, "| what fails | goroutines | calls a second | times the plain driver's | of the rate without failures |\n|---|---|---|---|---|")
	var none run
	for _, line := range lines {
		if line.kind == "none" {
			none = line.ours
		}
		fmt.Fprintf(l.out, "| %s | %s | %s | %s | %s |\n", line.kind, comma(line.goroutines), comma(int(quartile(values(all, of(speed, line.ours)), 2))),
			quartiles("%.1f", all, over(of(speed, line.ours), of(speed, line.plain))), quartiles("%.2f", all, over(of(speed, line.ours), of(speed, none))))
	}
	return nil
}

func values(rounds []round, value measured) (xs []float64) {
	for _, r := range rounds {
		xs = append(xs, value(r))
	}
	slices.Sort(xs)
	return xs
}

// quartile is the first, the second (the median) or the third of sorted values.
func quartile(xs []float64, which int) float64 {
	at := float64(which) / 4 * float64(len(xs)-1)
	low := int(at)
	high := min(low+1, len(xs)-1)
	return xs[low] + (at-float64(low))*(xs[high]-xs[low])
}

func quartiles(format string, rounds []round, value measured) string {
	xs := values(rounds, value)
	return fmt.Sprintf("**"+format+"** ("+format+" to "+format+")", quartile(xs, 2), quartile(xs, 1), quartile(xs, 3))
}
