package prom

import (
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/prometheus/client_golang/prometheus"
)

// A scale is which upper bounds a histogram has. Each is one less than a power of two, or a small number: there no bucket of
// groupcommit's has values on both sides, so that the counts are exact.
type scale struct {
	bounds []int64
	one    float64 // of the unit
}

var (
	ones    = scale{append([]int64{1, 2}, powers(2, 14)...), 1}         // to 16,383
	seconds = scale{powers(14, 36), float64(time.Second.Nanoseconds())} // from 16 µs to 34 s, of nanoseconds
)

func powers(from, to int) (bounds []int64) {
	for e := from; e < to; e++ {
		bounds = append(bounds, 1<<e-1)
	}
	return bounds
}

// histogram sends a histogram, whose counts are cumulative there.
func (out to) histogram(d *prometheus.Desc, h *groupcommit.Histogram, s scale) {
	counts := make(map[float64]uint64, len(s.bounds))
	below, i := uint64(0), 0
	for most, n := range h.Buckets() {
		for ; i < len(s.bounds) && s.bounds[i] < most; i++ {
			counts[float64(s.bounds[i])/s.one] = below
		}
		below += uint64(n)
	}
	for ; i < len(s.bounds); i++ {
		counts[float64(s.bounds[i])/s.one] = below
	}
	out <- prometheus.MustNewConstHistogram(d, uint64(h.Count()), float64(h.Sum())/s.one, counts)
}
