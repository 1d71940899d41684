package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// openLoop is a program whose calls do not wait for each other: they arrive as those of many users do, by themselves, at a
// part of the rate of the first entrant, which is the plain driver. It first finds that rate. All entrants get the same
// arrivals.
//
// A call's time is counted from when it was to arrive. A closed loop would not call while it waits, and so leave out what
// the others would have waited for.
func (l *lab) openLoop(ctx context.Context, p pace, load float64, all []*entrant) (rounds []round, err error) {
	plain := all[0]
	if _, err := l.turns(ctx, pace{slice: p.slice, warm: p.warm, slices: 3}, all[:1]); err != nil {
		return nil, err
	}
	for _, e := range all[1:] {
		if err := e.warmUp(ctx, max(p.warm, p.slice)); err != nil {
			return nil, err
		}
	}
	var rates []float64
	for _, s := range plain.slices {
		rates = append(rates, s.rate())
	}
	plain.slices = nil
	rate := median(rates) * load
	if rate == 0 {
		return nil, fmt.Errorf("%s: no call was answered in a slice of %v", plain.name, p.slice)
	}
	var begun atomic.Int64
	stop := l.bar.watch("open loop", p.slices*len(all), &begun)
	defer stop()
	order := slices.Clone(all)
	for n := range (p.slices + 1) / 2 {
		r := round{of: map[string]slice{}}
		due := arrivals(rate, 2*p.slice, uint64(n))
		for _, e := range order {
			begun.Add(2)
			s, err := e.open(ctx, due)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", e.name, err)
			}
			e.slices = append(e.slices, s)
			r.of[e.name] = s
		}
		rounds = append(rounds, r)
		slices.Reverse(order)
	}
	return rounds, nil
}

// arrivals are those of a Poisson process with so many a second.
func arrivals(rate float64, d time.Duration, seed uint64) (due []time.Duration) {
	r := rand.New(rand.NewPCG(seed, 1))
	for at := time.Duration(0); ; {
		at += time.Duration(r.ExpFloat64() / rate * float64(time.Second))
		if at >= d {
			return due
		}
		due = append(due, at)
	}
}

// open has calls arrive when they are due, and waits for the last one.
func (e *entrant) open(ctx context.Context, due []time.Duration) (s slice, err error) {
	call, err := e.w.begin(e.call, e.db)
	if err != nil {
		return s, err
	}
	took, late := make([]time.Duration, len(due)), make([]time.Duration, len(due))
	var wrong atomic.Pointer[error]
	var all sync.WaitGroup
	before, err := e.count(e.db, e.w)
	if err != nil {
		return s, err
	}
	runtime.GC()
	runtime.LockOSThread() // it sleeps by itself: the scheduler's timers are not fine enough
	defer runtime.UnlockOSThread()
	spent := e.meter.start()
	start := time.Now()
	for i, at := range due {
		if ctx.Err() != nil || wrong.Load() != nil {
			break
		}
		for wait := at - time.Since(start); wait > 0; wait = at - time.Since(start) {
			pause(wait)
		}
		late[i] = time.Since(start) - at
		n := int(e.w.next.Add(1)) - 1
		all.Go(func() {
			if err := call(n); err != nil {
				wrong.Store(&err)
			}
			took[i] = time.Since(start) - at
			e.w.clock.record(i, took[i], 1)
		})
	}
	all.Wait()
	s.took = time.Since(start)
	s.spent = e.meter.since(spent)
	if err := wrong.Load(); err != nil {
		return s, *err
	}
	after, err := e.count(e.db, e.w)
	s.calls, s.commits, s.grouped = len(due), after.commits-before.commits, after.calls-before.calls
	slices.Sort(took)
	slices.Sort(late)
	s.p50, s.p90, s.late, s.times = part(took, .5), part(took, .9), part(late, .5), e.w.clock.take()
	return s, err
}
