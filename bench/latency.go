package main

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// A clock takes the times of calls that many goroutines make. It allocates nothing while they do: allocations are measured,
// too. A nil clock takes none.
//
// The first call of a goroutine in a slice does not count. All of them begin at the same moment, so the first ones answered
// have not waited as they do later, when the others are already in the queue.
type clock struct{ parts [8]clockPart }

// clockPart is that of some goroutines, so that they seldom wait for each other.
type clockPart struct {
	mu   sync.Mutex
	took *hdrhistogram.Histogram // in nanoseconds
}

const longestCall = 10 * time.Minute

func newTimes() *hdrhistogram.Histogram { return hdrhistogram.New(100, int64(longestCall), 3) }

func newClock() *clock {
	c := new(clock)
	for i := range c.parts {
		c.parts[i].took = newTimes()
	}
	return c
}

// around makes call n for a goroutine that has made so many in this slice.
func (c *clock) around(goroutine, made int, call func(n int) error, n int) error {
	if c == nil {
		return call(n)
	}
	start := time.Now()
	err := call(n)
	if took := time.Since(start); made > 0 {
		c.record(goroutine, took, 1)
	}
	return err
}

// record takes the time of n calls.
func (c *clock) record(goroutine int, took time.Duration, n int) {
	if c == nil {
		return
	}
	p := &c.parts[goroutine%len(c.parts)]
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.took.RecordValues(int64(min(took, longestCall)), int64(n)) // it refuses only what is longer
}

// take returns the times since the last take; nil where none are taken.
func (c *clock) take() *hdrhistogram.Histogram {
	if c == nil {
		return nil
	}
	all := newTimes()
	for i := range c.parts {
		p := &c.parts[i]
		p.mu.Lock()
		if p.took.TotalCount() > 0 { // one of few callers has nothing in most parts
			all.Merge(p.took)
			p.took.Reset()
		}
		p.mu.Unlock()
	}
	return all
}

// quantileOf is a quantile of times in µs; 0 of none.
func quantileOf(took *hdrhistogram.Histogram, part float64) float64 {
	if took == nil || took.TotalCount() == 0 {
		return 0
	}
	return float64(took.ValueAtQuantile(100*part)) / 1e3
}
