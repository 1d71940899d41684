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
// Processor time cannot be read for each call, so each round has a slice of each entrant, too.
func (l *lab) pairs(ctx context.Context, p pace, all []*entrant) (rounds []round, err error) {
	whole := p
	p.slice /= 4
	if rounds, err = l.turns(ctx, p, all); err != nil {
		return nil, err
	}
	var begun atomic.Int64
	stop := l.bar.watch("pairs of calls", len(rounds), &begun)
	defer stop()
	for _, r := range rounds {
		begun.Add(1)
		took, err := pairsFor(ctx, 2*whole.slice, all)
		if err != nil {
			return nil, err
		}
		for i, e := range all {
			s := r.of[e.name]
			s.p50, s.p90 = part(took[i], .5), part(took[i], .9)
			r.of[e.name] = s
		}
	}
	return rounds, nil
}

// pairsFor returns the times of each entrant's calls, sorted.
func pairsFor(ctx context.Context, d time.Duration, all []*entrant) (took [][]time.Duration, err error) {
	took = make([][]time.Duration, len(all))
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
				return nil, fmt.Errorf("%s: %w", e.name, err)
			}
		}
	}
	for _, t := range took {
		slices.Sort(t)
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
