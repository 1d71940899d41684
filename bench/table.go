package main

import (
	"context"
	"fmt"
	"io"
	"slices"
)

// The table's runs. Each round makes all of them, so that what is compared was measured within seconds of each other;
// every other round makes them in the opposite order.
var (
	plain64  = run{name: "plain, 64 goroutines", side: plain, api: execs, users: 5_000, goroutines: 64, synchronous: "full"}
	ours64   = run{name: "groupcommit, 64 goroutines", side: grouped, api: execs, users: 50_000, goroutines: 64, synchronous: "full"}
	hand     = run{name: "by hand, 1,000 rows a transaction", side: byHand, api: loop, users: 200_000, goroutines: 1, synchronous: "full"}
	ours1024 = run{name: "groupcommit, 1,024 goroutines", side: grouped, api: execs, users: 200_000, goroutines: 1024, synchronous: "full"}
	ours8    = run{name: "groupcommit, 8 goroutines", side: grouped, api: execs, users: 10_000, goroutines: 8, synchronous: "full"}
	plain1   = run{name: "plain, one goroutine", side: plain, api: execs, users: 20_000, goroutines: 1, synchronous: "normal"}
	ours1    = run{name: "groupcommit, one goroutine", side: grouped, api: execs, users: 20_000, goroutines: 1, synchronous: "normal"}

	tableRuns = []run{plain64, ours64, hand, ours1024, ours8, plain1, ours1}
)

// A tableCase is a line of the table: what is made of one round's runs, and what it should come to.
type tableCase struct {
	name   string
	reach  float64
	atMost bool
	unit   string // of reach and of the value, with their verbs
	value  func(round) float64
	detail func(rounds []round) string
}

// round is the results of one, by the names of their runs.
type round map[string]result

func speed(r result) float64  { return r.PerSecond }
func mean(r result) float64   { return r.MeanGroup }
func allocs(r result) float64 { return r.Allocs }

// over compares two runs of a round.
func over(of func(result) float64, a, b run) func(round) float64 {
	return func(r round) float64 { return perOf(of(r[a.name]), of(r[b.name])) }
}

func just(of func(result) float64, a run) func(round) float64 {
	return func(r round) float64 { return of(r[a.name]) }
}

var tableCases = []tableCase{
	{"64 goroutines, WAL, synchronous=FULL, against the plain driver with the same 64 goroutines",
		40, false, "%.1f times", over(speed, ours64, plain64), rates(ours64, plain64)},
	{"1,024 goroutines, synchronous=FULL, against a hand-written loop (one prepared INSERT, 1,000 rows a transaction)",
		0.8, false, "%.2f of its rate", over(speed, ours1024, hand), rates(ours1024, hand)},
	{"mean group at 64 closed-loop goroutines",
		58, false, "%.1f", just(mean, ours64), nil},
	{"mean group at 8 closed-loop goroutines",
		7, false, "%.2f", just(mean, ours8), nil},
	{"one goroutine, synchronous=NORMAL, against the plain driver",
		0.95, false, "%.2f of its rate", over(speed, ours1, plain1), rates(ours1, plain1)},
	{"allocations of one batched Exec, against the plain driver's",
		1, true, "%.2f times as many", over(allocs, ours64, plain1), allocations},
}

// table makes the runs of the README's table and prints it.
func (l *lab) table(ctx context.Context, rounds int) error {
	fmt.Fprintf(l.out, "%s; %s; medians of %d rounds, lowest and highest in brackets\n\n", machine(), folder(l.dir), rounds)
	var all []round
	for n := 1; n <= rounds; n++ {
		runs := slices.Clone(tableRuns)
		if n%2 == 0 {
			slices.Reverse(runs)
		}
		this := round{}
		for _, r := range runs {
			r.round = n
			res, err := l.do(ctx, r)
			if err != nil {
				return fmt.Errorf("round %d: %s: %w", n, r.name, err)
			}
			this[r.name] = res
		}
		all = append(all, this)
	}
	markdown(l.out, all)
	return nil
}

func markdown(w io.Writer, rounds []round) {
	fmt.Fprintln(w, "| case | to reach | measured |\n|---|---|---|")
	for _, c := range tableCases {
		fmt.Fprintf(w, "| %s | %s | %s |\n", c.name, c.target(), c.measured(rounds))
	}
}

func (c tableCase) target() string {
	bound := "at least "
	if c.atMost {
		bound = "at most "
	}
	return bound + fmt.Sprintf(c.unit, c.reach)
}

func (c tableCase) measured(rounds []round) string {
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
		a, _, _ := spread(rounds, just(speed, ours))
		b, _, _ := spread(rounds, just(speed, theirs))
		return fmt.Sprintf("%s against %s inserts a second", comma(int(a)), comma(int(b)))
	}
}

// allocations names the plain driver's for one goroutine, which are its fewest, and those for many: a caller that
// waits for its pool costs more.
func allocations(rounds []round) string {
	a, _, _ := spread(rounds, just(allocs, ours64))
	b, _, _ := spread(rounds, just(allocs, plain1))
	c, _, _ := spread(rounds, just(allocs, plain64))
	return fmt.Sprintf("%.1f against %.1f (%.1f where 64 goroutines share its connection)", a, b, c)
}

// spread is the median of a value over the rounds, the lowest and the highest.
func spread(rounds []round, of func(round) float64) (median, low, high float64) {
	var xs []float64
	for _, r := range rounds {
		xs = append(xs, of(r))
	}
	slices.Sort(xs)
	n := len(xs)
	return (xs[(n-1)/2] + xs[n/2]) / 2, xs[0], xs[n-1]
}
