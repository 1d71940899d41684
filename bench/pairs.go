package main

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"time"
)

// pairs is how two entrants of one goroutine are compared: call by call, in turns, every other pair in the opposite order. A
// difference of some microseconds does not show where each has a time of its own, in which a disk is now fast and now slow.
// So each call is compared with the one beside it, and the median of these ratios counts.
//
// Processor time cannot be read for each call. A slice of each entrant in each round is for that, and for the rate.
func (l *lab) pairs(ctx context.Context, p pace, all []*entrant) (rounds []round, err error) {
	each := 2 * p.slice
	p.slice /= 4
	if rounds, err = l.turns(ctx, p, all); err != nil {
		return nil, err
	}
	var begun atomic.Int64
	stop := l.bar.watch("pairs of calls", len(rounds), &begun)
	defer stop()
	for _, r := range rounds {
		begun.Add(1)
		took, err := pairsFor(ctx, each, all)
		if err != nil {
			return nil, err
		}
		var ratios []float64
		for i := range took[0] {
			ratios = append(ratios, perOf(float64(took[1][i]), float64(took[0][i])))
		}
		for i, e := range all {
			s := r.of[e.name]
			slices.Sort(took[i])
			s.p50, s.p90, s.pair = part(took[i], .5), part(took[i], .9), 1
			if i == 1 {
				s.pair = median(ratios)
			}
			r.of[e.name] = s
		}
	}
	return rounds, nil
}

// pairsFor returns the times of each entrant's calls: those with one index are a pair.
func pairsFor(ctx context.Context, d time.Duration, all []*entrant) (took [2][]time.Duration, err error) {
	order := []int{0, 1}
	runtime.GC()
	for start := time.Now(); len(took[0]) == 0 || time.Since(start) < d && ctx.Err() == nil; slices.Reverse(order) {
		for _, i := range order {
			e := all[i]
			n := int(e.w.next.Add(1)) - 1
			begin := time.Now()
			_, err := e.db.Exec(e.w.insert, int64(n))
			took[i] = append(took[i], time.Since(begin))
			if err != nil {
				return took, fmt.Errorf("%s: %w", e.name, err)
			}
		}
	}
	return took, ctx.Err()
}

// part is a quantile of sorted times in microseconds.
func part(took []time.Duration, at float64) float64 {
	if len(took) == 0 {
		return 0
	}
	return float64(took[min(len(took)-1, int(at*float64(len(took))))]) / 1e3
}
