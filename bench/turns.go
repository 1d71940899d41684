package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// A round is one slice of every entrant, and what a sync cost meanwhile. It holds the slices by the names of the entrants; an
// entrant that has made all its calls has none.
type round struct {
	sync time.Duration // 0: not measured
	of   map[string]slice
}

// contest has runs enter, play, and leave. Every row is checked at the end.
func (l *lab) contest(ctx context.Context, runs []run, play func([]*entrant) error) (err error) {
	var all []*entrant
	defer func() {
		for _, e := range all {
			if err != nil {
				err = errors.Join(err, e.remove())
				continue
			}
			rows, wrong := e.leave(ctx)
			l.results = append(l.results, e.result(rows)) // of a wrong one, too
			if wrong != nil {
				err = fmt.Errorf("%s: %w", e.name, wrong)
			}
		}
	}()
	for _, r := range runs {
		e, err := l.enter(ctx, r)
		if err != nil {
			return fmt.Errorf("%s: %w", r.label(), err)
		}
		all = append(all, e)
	}
	return play(all)
}

func (r run) label() string {
	if r.name != "" {
		return r.name
	}
	return r.side.String()
}

// turns gives entrants slices in turn, every other round in the opposite order, so that a machine that becomes slower or
// faster favours none. It ends with the last round, or when all have made their calls.
func (l *lab) turns(ctx context.Context, p pace, all []*entrant) (rounds []round, err error) {
	if p.warm > 0 {
		for _, e := range all {
			if err := e.warmUp(ctx, p.warm); err != nil {
				return nil, err
			}
		}
	}
	var begun atomic.Int64
	stop := l.bar.watch(cmp.Or(l.title, all[len(all)-1].name), p.slices*len(all), &begun)
	defer stop()
	order := slices.Clone(all)
	for range p.slices {
		r := round{of: map[string]slice{}}
		if l.disk != nil {
			if r.sync, err = l.disk.syncs(); err != nil {
				return nil, err
			}
		}
		for _, e := range order {
			begun.Add(1)
			if e.w.left() == 0 {
				continue
			}
			s, err := e.slice(ctx, p.slice)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", e.name, err)
			}
			e.slices = append(e.slices, s)
			r.of[e.name] = s
		}
		if len(r.of) == 0 {
			break
		}
		rounds = append(rounds, r)
		slices.Reverse(order)
	}
	return rounds, nil
}

// bestPool finds the run with the best rate of some that differ by their pools, and says what it tried.
func (l *lab) bestPool(ctx context.Context, p pace, runs []run) (best run, tried string, err error) {
	var rounds []round
	err = l.contest(ctx, runs, func(all []*entrant) (err error) {
		rounds, err = l.turns(ctx, p, all)
		return err
	})
	if err != nil {
		return best, "", err
	}
	best = runs[0]
	var rates []string
	most := 0.0
	for _, x := range runs {
		rate := middle(rounds, of(slice.rate, x))
		rates = append(rates, fmt.Sprintf("%s on %d", comma(int(rate+.5)), x.conns))
		if rate > most {
			most, best = rate, x
		}
	}
	return best, strings.Join(rates, ", "), nil
}

// result is what an entrant came to. Its fields keep their names in the JSON; new ones come at the end.
type result struct {
	Driver      string  `json:"driver"`
	Batch       bool    `json:"batch"`
	Users       int     `json:"users"`
	Goroutines  int     `json:"goroutines"`
	MaxLen      int     `json:"maxlen"`
	Synchronous string  `json:"synchronous"`
	Seconds     float64 `json:"seconds"`
	PerSecond   float64 `json:"per_second"`
	Commits     int     `json:"commits"`
	MeanGroup   float64 `json:"mean_group"`
	MaxGroup    int     `json:"max_group"`
	Rows        int     `json:"rows"` // counted in the database after the run

	API string `json:"api"` // exec or commands; hand for a program that makes its own transactions

	// Processor time of a call in µs; -1: not known, or no server.
	Client float64   `json:"client_us"`
	Server float64   `json:"server_us"`
	Allocs float64   `json:"allocs_per_call"` // of the whole process
	Bytes  float64   `json:"bytes_per_call"`
	Slices []float64 `json:"slices"` // the rate of each

	P50 float64 `json:"p50_us"` // of the calls' times; 0 where nobody has timed them
	P99 float64 `json:"p99_us"`

	title string // for people
}

func (e *entrant) result(rows int) result {
	t := e.total()
	r := result{
		Driver: e.driver, Batch: e.batch, Users: t.calls, Goroutines: e.goroutines, MaxLen: e.maxLen, Synchronous: e.w.synchronous,
		Seconds: t.took.Seconds(), PerSecond: t.rate(), Commits: t.commits, MeanGroup: t.mean(), MaxGroup: e.largest, Rows: rows,
		API: e.via, Client: t.client(), Server: t.server(), Allocs: t.allocs(), Bytes: t.bytes(), Slices: []float64{},
		P50: quantileOf(t.times, .5), P99: quantileOf(t.times, .99), title: e.name,
	}
	for _, s := range e.slices {
		r.Slices = append(r.Slices, s.rate())
	}
	return r
}
