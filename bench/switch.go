package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/groupcommit/groupcommit/internal/pgtest"
)

// A scene is a program whose load changes while it runs: its phases follow each other on one sql.DB. What a phase comes to is
// compared with what its load comes to alone, on a sql.DB that has had no other.
type scene struct {
	name   string
	proxy  bool // the way to the server changes, so all phases go by a proxy
	phases []load
}

// load is a part of a scene.
type load struct {
	name      string
	callers   int
	statement time.Duration
	trip      time.Duration
}

var scenes = []scene{
	{"statements", false, []load{
		{name: "short statements", callers: 64, statement: short},
		{name: "20 ms statements", callers: 64, statement: 20 * time.Millisecond},
		{name: "short statements", callers: 64, statement: short},
	}},
	{"callers", false, []load{
		{name: "2 callers", callers: 2, statement: short},
		{name: "256 callers", callers: 256, statement: short},
		{name: "2 callers", callers: 2, statement: short},
	}},
	{"way", true, []load{
		{name: "near", callers: 64, statement: short},
		{name: "5 ms away", callers: 64, statement: short, trip: 5 * time.Millisecond},
		{name: "near", callers: 64, statement: short},
	}},
}

// switchPool bounds the connections to the server of a scene.
const switchPool = 64

// settleGoal is the time within which a phase is to reach goal of what it reaches alone.
const settleGoal = 2 * time.Second

// switchRun is the mode switch with its flags.
type switchRun struct {
	dsn, json string
	phase     time.Duration
	only      string

	server  *cluster
	out     io.Writer
	windows atomic.Int64 // measured so far, for the bar
	results []phaseResult
}

// phaseResult is what a phase came to. Its fields keep their names in the JSON.
type phaseResult struct {
	Scene   string    `json:"scene"`
	Phase   string    `json:"phase"`
	Alone   []float64 `json:"alone_per_second"` // before the scene and after it
	Window  float64   `json:"window_seconds"`
	Rates   []float64 `json:"rates"` // of the windows
	Settled float64   `json:"settled_seconds"`
	Reached bool      `json:"reached"`
}

func (r *switchRun) flags(fs *flag.FlagSet) {
	dsnFlag(fs, &r.dsn)
	jsonFlag(fs, &r.json, "phases")
	fs.Var(span(&r.phase, 100*time.Millisecond, 10*time.Minute), "phase", "`TIME` of a phase")
	fs.Var(word(&r.only, "all", "all", "statements", "callers", "way"), "scene", "`WHAT` changes: all, statements, callers or way")
}

func (r *switchRun) agree() error      { return checkDSN(r.dsn) }
func (r *switchRun) jsonFile() string  { return r.json }
func (r *switchRun) serverDSN() string { return r.dsn }

// window is the part of a phase for which a rate is told.
func (r *switchRun) window() time.Duration { return min(500*time.Millisecond, r.phase/4) }

// alone is how long a load runs by itself. The first two fifths warm it up.
func (r *switchRun) alone() time.Duration { return r.phase / 2 }

func (r *switchRun) measure(ctx context.Context, out, stdout, stderr io.Writer) (err error) {
	r.out = out
	if r.server, err = startCluster(ctx, r.dsn, manyConnections); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.server.close()) }()
	r.head()
	b := bar{to: stderr, on: isTerminal(stderr)}
	for _, s := range scenes {
		if r.only != "all" && r.only != s.name {
			continue
		}
		total := len(s.phases)*int(r.phase/r.window()) + 4*int(r.alone()/r.window())
		r.windows.Store(0)
		stop := b.watch(s.name, total, &r.windows)
		phases, err := r.scene(ctx, s)
		stop()
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		r.results = append(r.results, phases...)
		for _, p := range phases {
			fmt.Fprintln(r.out, p)
		}
	}
	fmt.Fprintln(r.out, "\nThe rows of every scene were counted, and every call's found exactly once.")
	if r.json != "" {
		return writeJSON(r.json, stdout, "phases", r.results)
	}
	return nil
}

func (r *switchRun) head() {
	_, where := r.server.where()
	fmt.Fprintf(r.out, "%s; %s; %s.\n", machine(), where, r.server.settings(config{}))
	if !knowsBound(r.server.dsn) {
		fmt.Fprintf(r.out, "The library does not know %s: it has bounds of its own.\n", bound)
	}
	fmt.Fprintf(r.out, "Phases of %v on one sql.DB. Each window is %v; its rate is a multiple of what the load reaches alone. To reach: %.2f within %v, for the rest of the phase.\n\n",
		r.phase, r.window(), goal, settleGoal)
	fmt.Fprintln(r.out, "| scene | phase | alone, before and after | at 0.95 after | windows |\n|---|---|---|---|---|")
}

// stage is where a scene plays: a table, and a way that may change.
type stage struct {
	dsn   string
	way   *way // nil: none
	table string
	calls *contender // counts the calls, for the check
}

// scene plays a scene, with each of its loads alone before and after.
func (r *switchRun) scene(ctx context.Context, s scene) (phases []phaseResult, err error) {
	tables, err := r.server.scratch(ctx, 1, "(value bigint)")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.server.clear(tables...)) }()
	on := stage{dsn: r.server.dsn, table: tables[0], calls: &contender{name: s.name}}
	if s.proxy {
		if on.way, err = r.server.way(0); err != nil {
			return nil, err
		}
		defer on.way.close()
		on.dsn = pgtest.With(on.dsn, pgtest.Via(on.way.address()))
	}
	before, err := r.eachAlone(ctx, on, s.phases)
	if err != nil {
		return nil, err
	}
	rates, err := r.play(ctx, on, s.phases, r.phase)
	if err != nil {
		return nil, err
	}
	after, err := r.eachAlone(ctx, on, s.phases)
	if err != nil {
		return nil, err
	}
	for i, l := range s.phases {
		p := phaseResult{Scene: s.name, Phase: l.name, Alone: []float64{before[l], after[l]}, Window: r.window().Seconds(), Rates: rates[i]}
		n, ok := settled(p.ratios())
		p.Settled, p.Reached = float64(n)*p.Window, ok
		phases = append(phases, p)
	}
	if on.calls.faults.count() > 0 {
		return phases, errors.New(on.calls.faults.String())
	}
	return phases, r.server.eachOnce(ctx, on.table, on.calls)
}

// eachAlone measures each load on a sql.DB of its own.
func (r *switchRun) eachAlone(ctx context.Context, on stage, loads []load) (map[load]float64, error) {
	rates := map[load]float64{}
	for _, l := range loads {
		if _, done := rates[l]; done {
			continue
		}
		windows, err := r.play(ctx, on, []load{l}, r.alone())
		if err != nil {
			return nil, err
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		rates[l] = average(windows[0][len(windows[0])*2/5:])
	}
	return rates, nil
}

// play has loads follow each other on one sql.DB, and returns the rates of their windows.
func (r *switchRun) play(ctx context.Context, on stage, loads []load, each time.Duration) (rates [][]float64, err error) {
	callers := 0
	for _, l := range loads {
		callers = max(callers, l.callers)
	}
	db, err := openPgxSwapped(on.dsn, callers, switchPool)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	if err := db.PingContext(ctx); err != nil {
		return nil, err
	}
	var all sync.WaitGroup
	defer all.Wait()
	for _, l := range loads {
		if on.way != nil {
			on.way.far(l.trip)
		}
		rates = append(rates, r.drive(ctx, db, on, l, each, &all))
	}
	return rates, nil
}

// drive runs a load for d. Its last calls may still be under way when it returns, as those of a program whose load changes;
// all waits for them.
func (r *switchRun) drive(ctx context.Context, db *sql.DB, on stage, l load, d time.Duration, all *sync.WaitGroup) (rates []float64) {
	var ended atomic.Bool
	defer ended.Store(true)
	var answered atomic.Int64
	call := inserts(db, on.table, l.statement)
	for caller := range l.callers {
		all.Go(func() {
			for !ended.Load() && ctx.Err() == nil {
				if err := call(caller, int(on.calls.made.Add(1))-1); err != nil {
					on.calls.fault(err)
				}
				answered.Add(1)
			}
		})
	}
	tick := time.NewTicker(r.window())
	defer tick.Stop()
	last, before := time.Now(), int64(0)
	for range max(1, int(d/r.window())) {
		select {
		case <-ctx.Done():
			return rates
		case <-tick.C:
		}
		now, n := time.Now(), answered.Load()
		rates = append(rates, float64(n-before)/now.Sub(last).Seconds())
		last, before = now, n
		r.windows.Add(1)
	}
	return rates
}

// ratios are the windows' rates as multiples of what the load reaches alone.
func (p phaseResult) ratios() (ratios []float64) {
	for _, rate := range p.Rates {
		ratios = append(ratios, perOf(rate, average(p.Alone)))
	}
	return ratios
}

// settled returns the number of windows before goal is reached to stay: the next window and the mean of all that follow
// reach it, and of those that follow no three in a row are below. A single window may be: the machine is not ours alone.
func settled(ratios []float64) (windows int, ok bool) {
	for i, r := range ratios {
		if r >= goal && average(ratios[i:]) >= goal && !lapses(ratios[i:]) {
			return i, true
		}
	}
	return len(ratios), false
}

func lapses(ratios []float64) bool {
	low := 0
	for _, r := range ratios {
		if low++; r >= goal {
			low = 0
		}
		if low == 3 {
			return true
		}
	}
	return false
}

func average(xs []float64) float64 {
	sum := 0.0
	for _, x := range xs {
		sum += x
	}
	return perOf(sum, float64(len(xs)))
}

func (p phaseResult) String() string {
	var windows []string
	for _, x := range p.ratios() {
		windows = append(windows, fmt.Sprintf("%.2f", x))
	}
	after := fmt.Sprintf("%.1f s", p.Settled)
	switch {
	case !p.Reached:
		after = "never, **not reached**"
	case p.Settled > settleGoal.Seconds():
		after += ", **not reached**"
	}
	var alone []string
	for _, a := range p.Alone {
		alone = append(alone, comma(int(a+.5)))
	}
	return fmt.Sprintf("| %s | %s | %s a second | %s | %s |", p.Scene, p.Phase, strings.Join(alone, " and "), after, strings.Join(windows, " "))
}
