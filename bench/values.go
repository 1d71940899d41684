package main

import (
	"fmt"
	"slices"
)

// measured is a number of a round's. It is 0 where a side has no slice in the round.
type measured func(round) float64

func of(what func(slice) float64, a run) measured {
	return func(r round) float64 { return what(r.of[a.label()]) }
}

// over compares two numbers of a round.
func over(a, b measured) measured {
	return func(r round) float64 { return perOf(a(r), b(r)) }
}

// values are a number's in all rounds that have it, sorted.
func values(rounds []round, value measured) (xs []float64) {
	for _, r := range rounds {
		if x := value(r); x != 0 {
			xs = append(xs, x)
		}
	}
	slices.Sort(xs)
	return xs
}

// quartile is the first, the second (the median) or the third of sorted values, and 0 of none.
func quartile(xs []float64, which int) float64 {
	if len(xs) == 0 {
		return 0
	}
	at := float64(which) / 4 * float64(len(xs)-1)
	low := int(at)
	high := min(low+1, len(xs)-1)
	return xs[low] + (at-float64(low))*(xs[high]-xs[low])
}

// middle is the median over the rounds.
func middle(rounds []round, value measured) float64 { return quartile(values(rounds, value), 2) }

// bold is the median, with the quartiles behind it.
func bold(format string, rounds []round, value measured) string {
	xs := values(rounds, value)
	return fmt.Sprintf("**"+format+"** ("+format+" to "+format+")", quartile(xs, 2), quartile(xs, 1), quartile(xs, 3))
}

// processor is the processor time of a call of an entrant.
func (l *lab) processor(rounds []round, r run) string {
	return processor(middle(rounds, of(slice.client, r)), middle(rounds, of(slice.server, r)), l.served())
}
