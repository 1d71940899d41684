package main

import (
	"context"
	"fmt"
	"strings"
	"time"
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

// failing measures the cost of failing calls, for the others and for themselves: in turns with the plain driver, and with
// calls of which none fails.
func (l *lab) failing(ctx context.Context, percent, rounds int) error {
	_, where := l.place.where()
	fmt.Fprintf(l.out, "%s; %s; %d calls in 100 fail; slices of %v in turns, medians of %d, quartiles in brackets\n", machine(), where, percent, failingPace.slice, rounds)
	l.printSync()
	fmt.Fprintln(l.out, "\n| what fails | goroutines | calls a second | processor a call | plain | times the plain driver's | of the rate without failures |\n|---|---|---|---|---|---|---|")
	p := failingPace
	p.slices = rounds
	for _, line := range failingRuns(l.place, 100/percent) {
		runs := []run{line.plain, line.ours}
		none := line.ours
		if line.kind != "none" {
			none.failure, none.clash, none.name = nil, 0, "groupcommit, none fails"
			runs = append(runs, none)
		}
		var all []round
		err := l.contest(ctx, runs, func(es []*entrant) (err error) {
			all, err = l.turns(ctx, p, es)
			return err
		})
		if err != nil {
			return err
		}
		ours, plain := of(slice.rate, line.ours), of(slice.rate, line.plain)
		fmt.Fprintf(l.out, "| %s | %s | %s | %s | %s, %s | %s | %s |\n", line.kind, comma(line.goroutines), comma(int(middle(all, ours)+.5)), l.processor(all, line.ours),
			comma(int(middle(all, plain)+.5)), l.processor(all, line.plain), bold("%.1f", all, over(ours, plain)), bold("%.2f", all, over(ours, of(slice.rate, none))))
	}
	return nil
}

// failingPace has one slice for each round.
var failingPace = pace{slice: 250 * time.Millisecond, warm: 250 * time.Millisecond}
