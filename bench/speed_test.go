package main

import (
	"context"
	"database/sql"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// The lines of the README's table as Go benchmarks, each with the alternative beside it:
//
//	go test -run '^$' -bench . ./bench
//
// An op is one insert. mean-group is what groupcommit made of the goroutines. Where GOMAXPROCS does not divide the
// number of goroutines there are a few more of them than the name says; the metric goroutines counts them.

func BenchmarkInsert64Full(b *testing.B) {
	b.Run("plain", func(b *testing.B) { concurrent(b, plain, 64, "full") })
	b.Run("groupcommit", func(b *testing.B) { concurrent(b, grouped, 64, "full") })
}

func BenchmarkInsert1024Full(b *testing.B) {
	b.Run("by-hand", func(b *testing.B) { handWritten(b) })
	b.Run("groupcommit", func(b *testing.B) { concurrent(b, grouped, 1024, "full") })
}

func BenchmarkInsert8Full(b *testing.B) {
	b.Run("plain", func(b *testing.B) { concurrent(b, plain, 8, "full") })
	b.Run("groupcommit", func(b *testing.B) { concurrent(b, grouped, 8, "full") })
}

// One goroutine, and no sync to hide behind. Its allocations are the plain driver's fewest; those of a batched Exec
// are BenchmarkInsert64Full/groupcommit's.
func BenchmarkInsert1Normal(b *testing.B) {
	b.Run("plain", func(b *testing.B) { single(b, plain) })
	b.Run("groupcommit", func(b *testing.B) { single(b, grouped) })
}

// concurrent inserts from closed-loop goroutines.
func concurrent(b *testing.B, s side, goroutines int, synchronous string) {
	db := freshFor(b, run{side: s, goroutines: goroutines, synchronous: synchronous})
	procs := runtime.GOMAXPROCS(0)
	each := (goroutines + procs - 1) / procs
	b.SetParallelism(each)
	b.ReportAllocs()
	var next atomic.Int64
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := db.Exec(insert, int(next.Add(1))-1); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.StopTimer()
	b.ReportMetric(float64(each*procs), "goroutines")
	complete(b, s, db, int(next.Load()))
}

func single(b *testing.B, s side) {
	db := freshFor(b, run{side: s, goroutines: 1, synchronous: "normal"})
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if _, err := db.Exec(insert, n); err != nil {
			b.Fatal(err)
		}
		n++
	}
	complete(b, s, db, n)
}

func handWritten(b *testing.B) {
	db := freshFor(b, run{side: byHand, goroutines: 1, synchronous: "full"})
	b.ReportAllocs()
	b.ResetTimer()
	w := &work{users: b.N, goroutines: 1}
	require.NoError(b, loop(context.Background(), db, w))
	b.StopTimer()
	complete(b, byHand, db, b.N)
}

// freshFor opens a new database as the program does.
func freshFor(b *testing.B, r run) *sql.DB {
	db, err := r.fresh(context.Background(), filepath.Join(b.TempDir(), "users.db"))
	require.NoError(b, err)
	b.Cleanup(func() { db.Close() })
	return db
}

// complete makes sure that what was timed was done.
func complete(b *testing.B, s side, db *sql.DB, n int) {
	if s.driver == grouped.driver {
		g, err := s.count(db, nil)
		require.NoError(b, err)
		b.ReportMetric(g.mean, "mean-group")
	}
	_, err := check(context.Background(), db, n)
	require.NoError(b, err)
}
