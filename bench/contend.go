package main

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A contender is one side of a contest: callers that make the same call again and again.
type contender struct {
	name    string // for people
	callers int
	pause   time.Duration             // of a caller, before each call; its time is not the call's
	call    func(caller, n int) error // n is another number for each call of the contender, from 0
	around  func(slice func())        // what happens around each slice; nil: nothing does
	meter   *meter                    // contest sets it

	made atomic.Int64 // calls, warming up included: the next n

	mu     sync.Mutex
	took   []time.Duration // by each call that counts
	failed int             // of these calls
	spent  time.Duration   // by the slices that count
	used   used            // in these slices
	slices []float64       // their rates
	faults faults
}

// faults counts the errors of calls by their texts.
type faults map[string]int

func (f faults) count() (n int) {
	for _, k := range f {
		n += k
	}
	return n
}

// String is the error that came most often, and how many there are.
func (f faults) String() string {
	most := ""
	for text, n := range f {
		if n > f[most] || n == f[most] && text < most {
			most = text
		}
	}
	return fmt.Sprintf("%s errors: %.160s", comma(f.count()), most)
}

// slice has the callers work for d, and each make one call at least. A call that is under way at its end is waited for: it counts, and so does its whole
// time. A slice that does not count warms the contender up.
func (c *contender) slice(ctx context.Context, d time.Duration, counts bool) {
	if c.around != nil {
		c.around(func() { c.work(ctx, d, counts) })
		return
	}
	c.work(ctx, d, counts)
}

func (c *contender) work(ctx context.Context, d time.Duration, counts bool) {
	runtime.GC() // this slice shall not clear the garbage of an earlier one
	var ended atomic.Bool
	timer := time.AfterFunc(d, func() { ended.Store(true) })
	defer timer.Stop()
	var all sync.WaitGroup
	var took []time.Duration
	failed := 0
	before := c.meter.start()
	start := time.Now()
	for caller := range c.callers {
		all.Go(func() {
			var own []time.Duration
			wrong := 0
			for len(own) == 0 || !ended.Load() && ctx.Err() == nil {
				time.Sleep(c.pause)
				begin := time.Now()
				err := c.call(caller, int(c.made.Add(1))-1)
				own = append(own, time.Since(begin))
				if err != nil {
					wrong++
					c.fault(err)
				}
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			took = append(took, own...)
			failed += wrong
		})
	}
	all.Wait()
	spent := time.Since(start)
	if counts {
		c.used = c.used.add(c.meter.since(before))
		c.record(took, failed, spent)
	}
}

// record adds a slice that counts. A call that failed counts by its time and not in the rate.
func (c *contender) record(took []time.Duration, failed int, spent time.Duration) {
	c.took = append(c.took, took...)
	c.failed += failed
	c.spent += spent
	c.slices = append(c.slices, perOf(float64(len(took)-failed), spent.Seconds()))
}

func (c *contender) fault(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.faults == nil {
		c.faults = faults{}
	}
	c.faults[err.Error()]++
}

// A score is what a contender came to. Its fields keep their names in the JSON.
type score struct {
	Side      string    `json:"side"`
	Calls     int       `json:"calls"`
	PerSecond float64   `json:"per_second"`
	P50       float64   `json:"p50_ms"`
	P99       float64   `json:"p99_ms"`
	Longest   float64   `json:"longest_ms"`
	Errors    int       `json:"errors"`
	Fault     string    `json:"error,omitempty"`
	Slices    []float64 `json:"slices"` // the rate of each

	// Processor time of a call in µs; -1: not known, or no server.
	Client float64 `json:"client_us"`
	Server float64 `json:"server_us"`
}

// score is of the slices that count; errors are those of all slices.
func (c *contender) score() score {
	c.mu.Lock()
	defer c.mu.Unlock()
	slices.Sort(c.took)
	s := score{Side: c.name, Calls: len(c.took), P50: c.at(.5), P99: c.at(.99), Longest: c.at(1), Errors: c.faults.count(), Slices: c.slices}
	s.PerSecond = perOf(float64(s.Calls-c.failed), c.spent.Seconds())
	s.Client, s.Server = perCall(c.used.client, s.Calls), perCall(c.used.server, s.Calls)
	if s.Errors > 0 {
		s.Fault = c.faults.String()
	}
	return s
}

// at is a quantile of the calls' times in milliseconds.
func (c *contender) at(part float64) float64 {
	if len(c.took) == 0 {
		return 0
	}
	i := min(len(c.took)-1, int(part*float64(len(c.took))))
	return float64(c.took[i]) / float64(time.Millisecond)
}

// pace is how a contest goes.
type pace struct {
	slice  time.Duration
	warm   time.Duration // of each contender before the first slice: connections are opened, and groups learn; at least a slice
	slices int           // of each contender
	learn  time.Duration // of groups, beside warm
	most   time.Duration // no round begins after it; 0: all do
	meter  *meter        // also of the server; nil: of this program
}

// on has the meter read a server as well.
func (p pace) on(c *cluster) pace {
	p.meter = &meter{c.processes()}
	return p
}

// contest warms the contenders up, and gives them slices in turns. Every other round goes the other way
// round, so that a machine that becomes slower or faster favours none.
func contest(ctx context.Context, p pace, sides ...*contender) {
	sides = slices.Clone(sides)
	for _, c := range sides {
		c.meter = p.meter
		c.slice(ctx, max(p.slice, p.warm), false)
	}
	start := time.Now()
	for round := range p.slices {
		if round > 0 && p.most > 0 && time.Since(start) > p.most {
			return
		}
		for _, c := range sides {
			c.slice(ctx, p.slice, true)
		}
		slices.Reverse(sides)
	}
}

// A duel compares the swapped driver with the plain one.
type duel struct {
	Plain   score `json:"plain"`
	Swapped score `json:"swapped"`
}

// rate is the swapped side's rate as a multiple of the plain one's, in the median of the rounds; p50 and p99 are of all calls,
// and there less is better.
func (d duel) rate() float64 { return median(d.ratios()) }
func (d duel) p50() float64  { return perOf(d.Swapped.P50, d.Plain.P50) }
func (d duel) p99() float64  { return perOf(d.Swapped.P99, d.Plain.P99) }

// ratios are those of the single rounds.
func (d duel) ratios() (ratios []float64) {
	for i := range min(len(d.Plain.Slices), len(d.Swapped.Slices)) {
		ratios = append(ratios, perOf(d.Swapped.Slices[i], d.Plain.Slices[i]))
	}
	return ratios
}

// spread is how far the ratios of the single rounds lie apart, as a part of their mean: what the machine adds to one
// of them.
func (d duel) spread() float64 {
	ratios := d.ratios()
	if len(ratios) < 2 {
		return math.NaN()
	}
	return perOf(slices.Max(ratios)-slices.Min(ratios), average(ratios))
}

// best is the plain side at the pool that served it best.
func bestOf(plain []score) score {
	return slices.MaxFunc(plain, func(a, b score) int {
		if a.PerSecond < b.PerSecond {
			return -1
		}
		return 1
	})
}

func (d duel) String() string {
	return fmt.Sprintf("%s a second, p99 %s, processor a call %s; plain %s a second, p99 %s, processor a call %s",
		comma(int(d.Swapped.PerSecond+.5)), millis(d.Swapped.P99), d.Swapped.processor(), comma(int(d.Plain.PerSecond+.5)), millis(d.Plain.P99), d.Plain.processor())
}

func (s score) processor() string { return processor(s.Client, s.Server, s.Server >= 0) }

func millis(ms float64) string {
	switch {
	case ms < 10:
		return fmt.Sprintf("%.2f ms", ms)
	case ms < 1000:
		return fmt.Sprintf("%.0f ms", ms)
	}
	return fmt.Sprintf("%.2f s", ms/1000)
}
