// Package difftest runs random programs on a plain driver and on ours, and shrinks the programs whose answers differ. The
// tests of the engines say what a program is, and how its answers are compared:
//
//	go test ./sqlite3 -run Differential                                  a fixed seed, a second or two
//	go test ./sqlite3 -run Differential -differential.programs=100000    so many of each kind, from a random seed
//	go test ./sqlite3 -run Differential -differential.seed=17            others than usual, or the same ones again
package difftest

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit/internal/bounded"
)

var (
	programs = flag.Int("differential.programs", 0, "random programs of each differential test; 0: a few, from a fixed seed")
	seed     = flag.Uint64("differential.seed", 0, "the seed of the first of them; 0: a random one")
)

const (
	fixedSeed = 1
	// mostFailures ends a test: a fault that every program meets needs no thousand reports.
	mostFailures = 5
	// mostRuns bounds the search for a smaller program.
	mostRuns = 600
)

// Test is a kind of programs.
type Test[P any] struct {
	Usual int                                   // programs of a short test
	Tries int                                   // runs of a smaller program before it counts as one that does not differ
	New   func(r *rand.Rand) P                  // makes a program, the same one from the same numbers
	Run   func(p P) (differs string, err error) // "" if the drivers answer alike; an error if p could not be run
	Less  func(p P, yield func(P) bool)         // smaller programs to try, the smallest first, until yield says that it has one
	Show  func(p P) string                      // as it can be pasted into a test
}

// All runs the programs, as many at a time as there are processors.
func (d Test[P]) All(t *testing.T) {
	t.Helper()
	bounded.Release(t) // each program has a bound
	n, first := d.Usual, uint64(fixedSeed)
	if *programs > 0 {
		n, first = *programs, rand.Uint64N(1<<40)
	}
	if *seed > 0 {
		first = *seed
	}
	var next, done, failures atomic.Int64
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for failures.Load() < mostFailures {
				i := next.Add(1) - 1
				if i >= int64(n) {
					return
				}
				s := first + uint64(i)
				p := d.New(rand.New(rand.NewPCG(s, 0)))
				differs, err := d.run(p)
				done.Add(1)
				if differs == "" && err == nil {
					continue
				}
				failures.Add(1)
				if err != nil {
					t.Errorf("program %d, seed %d: %v\n%s", i+1, s, err, d.Show(p))
					continue
				}
				small, still := d.shrink(p)
				if still == "" { // it happens now and then
					still = differs
				}
				t.Errorf("program %d; again: -differential.seed=%d -differential.programs=1\n%s\n\n%s", i+1, s, still, d.Show(small))
			}
		})
	}
	workers.Wait()
	t.Logf("%d programs from seed %d", done.Load(), first)
}

// run is Run with a bound. A program that hangs keeps its goroutine.
func (d Test[P]) run(p P) (differs string, err error) {
	type result struct {
		differs string
		err     error
	}
	done := make(chan result, 1)
	go func() {
		r := result{err: errors.New("it has ended its goroutine")}
		defer func() { done <- r }()
		r.differs, r.err = d.Run(p)
	}()
	select {
	case r := <-done:
		return r.differs, r.err
	case <-time.After(bounded.Patience):
		return "", fmt.Errorf("it has not ended after %v", bounded.Patience)
	}
}

// shrink makes p smaller as long as its answers differ, and says how they differ.
func (d Test[P]) shrink(p P) (small P, differs string) {
	runs := 0
	fails := func(p P) string {
		for range max(d.Tries, 1) {
			if runs++; runs > mostRuns {
				break
			}
			if differs, err := d.run(p); differs != "" || err != nil {
				return differs
			}
		}
		return ""
	}
	differs = fails(p)
	for smaller := differs != ""; smaller; {
		smaller = false
		d.Less(p, func(less P) bool {
			if now := fails(less); now != "" {
				p, differs, smaller = less, now, true
			}
			return smaller || runs > mostRuns
		})
	}
	return p, differs
}

// Without yields lists that lack a part of list: halves first, single elements last. It reports whether yield returned true.
func Without[E any](list []E, yield func([]E) bool) bool {
	for size := (len(list) + 1) / 2; size > 0; size /= 2 {
		for from := 0; from+size <= len(list); from += size {
			less := make([]E, 0, len(list)-size)
			less = append(append(less, list[:from]...), list[from+size:]...)
			if yield(less) {
				return true
			}
		}
	}
	return false
}
