package main

import (
	"context"
	"database/sql"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// The lines of the tables as Go benchmarks, each with the alternative beside it:
//
//	go test -run '^$' -bench . ./bench
//
// An op is one insert. mean-group is what groupcommit made of the goroutines. Where GOMAXPROCS does not divide the
// number of goroutines there are a few more of them than the name says; the metric goroutines counts them.

func BenchmarkInsert64Full(b *testing.B) {
	b.Run("plain", func(b *testing.B) { concurrent(b, folderFor(b), plain64) })
	b.Run("groupcommit", func(b *testing.B) { concurrent(b, folderFor(b), ours64) })
}

func BenchmarkInsert1024Full(b *testing.B) {
	b.Run("by-hand", func(b *testing.B) { oneCaller(b, folderFor(b), hand) })
	b.Run("groupcommit", func(b *testing.B) { concurrent(b, folderFor(b), ours1024) })
	b.Run("commands", func(b *testing.B) { oneCaller(b, folderFor(b), inWindow) })
}

func BenchmarkInsert8Full(b *testing.B) {
	plain8 := ours8
	plain8.side = plain
	b.Run("plain", func(b *testing.B) { concurrent(b, folderFor(b), plain8) })
	b.Run("groupcommit", func(b *testing.B) { concurrent(b, folderFor(b), ours8) })
}

// One goroutine, and no sync to hide behind. Its allocations are the plain driver's fewest; those of a batched Exec
// are BenchmarkInsert64Full/groupcommit's.
func BenchmarkInsert1Normal(b *testing.B) {
	b.Run("plain", func(b *testing.B) { single(b, folderFor(b), plain1) })
	b.Run("groupcommit", func(b *testing.B) { single(b, folderFor(b), ours1) })
}

func folderFor(b *testing.B) place { return dir(b.TempDir()) }

// concurrent inserts from closed-loop goroutines.
func concurrent(b *testing.B, p place, r run) {
	db, w := freshFor(b, p, r)
	procs := runtime.GOMAXPROCS(0)
	each := (r.goroutines + procs - 1) / procs
	b.SetParallelism(each)
	b.ReportAllocs()
	var next atomic.Int64
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			n := int(next.Add(1)) - 1
			_, err := db.Exec(w.insert, int64(w.value(n)))
			if err := w.verdict(n, err); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.StopTimer()
	b.ReportMetric(float64(each*procs), "goroutines")
	complete(b, p, r, db, w, int(next.Load()))
}

func single(b *testing.B, p place, r run) {
	db, w := freshFor(b, p, r)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if _, err := db.Exec(w.insert, int64(n)); err != nil {
			b.Fatal(err)
		}
		n++
	}
	complete(b, p, r, db, w, n)
}

// oneCaller has an api of one goroutine insert everything.
func oneCaller(b *testing.B, p place, r run) {
	db, w := freshFor(b, p, r)
	b.ReportAllocs()
	b.ResetTimer()
	w.users = b.N
	require.NoError(b, r.api(context.Background(), db, w))
	b.StopTimer()
	complete(b, p, r, db, w, b.N)
}

// freshFor opens a new home as the program does.
func freshFor(b *testing.B, p place, r run) (*sql.DB, *work) {
	h, err := p.home(&r)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, h.remove()) })
	db, err := r.fresh(context.Background(), h)
	require.NoError(b, err)
	b.Cleanup(func() { db.Close() })
	return db, &work{home: h, clash: r.clash}
}

// complete makes sure that what was timed was done.
func complete(b *testing.B, p place, r run, db *sql.DB, w *work, n int) {
	w.users = n
	if r.batch && !r.alone {
		g, err := r.count(db, w)
		require.NoError(b, err)
		b.ReportMetric(g.mean, "mean-group")
	}
	left, err := p.plain(w.home)
	require.NoError(b, err)
	defer left.Close()
	_, err = check(context.Background(), left, w)
	require.NoError(b, err)
}
