// Package benchtest makes calls from many goroutines, for Go benchmarks. Names of benchmarks are made of key=value parts, so
// that benchstat can set the values of any of them side by side:
//
//	go test -run '^$' -bench Exec -count 10 ./sqlite3 | tee exec.txt
//	benchstat -col /driver exec.txt
//	benchstat -col /ids -filter '/driver:groupcommit' exec.txt
package benchtest

import (
	"sync"
	"sync/atomic"
	"testing"
)

// Callers makes b.N calls from so many goroutines, each of which waits for its own; n is another number each time, from 0.
// An error ends the benchmark.
func Callers(b *testing.B, callers int, call func(n int) error) {
	b.Helper()
	b.ReportAllocs()
	var next atomic.Int64
	var wrong atomic.Pointer[error]
	var all sync.WaitGroup
	b.ResetTimer()
	for range callers {
		all.Go(func() {
			for wrong.Load() == nil {
				n := int(next.Add(1)) - 1
				if n >= b.N {
					return
				}
				if err := call(n); err != nil {
					wrong.Store(&err)
				}
			}
		})
	}
	all.Wait()
	b.StopTimer()
	if err := wrong.Load(); err != nil {
		b.Fatal(*err)
	}
}
