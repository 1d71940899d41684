// Package histogram counts values by their size, in little room and time.
package histogram

import (
	"iter"
	"math/bits"
)

// A Histogram has counts of values by their size. The largest value of a bucket is at most a quarter larger than the others in it, and no
// bucket has values on both sides of a power of two. The zero value is ready. Its owner guards it; a copy is a snapshot.
type Histogram struct {
	counts [buckets]int64
	n, sum int64
}

// Each power of two has four buckets. The last is for 2^42 and more: as nanoseconds, more than an hour.
const (
	parts    = 4
	partBits = 2
	topBits  = 42
	buckets  = (topBits-partBits)*parts + parts + 1
)

// Add counts a value. A negative one counts as 0.
func (h *Histogram) Add(v int64) {
	v = max(v, 0)
	h.counts[bucketOf(v)]++
	h.n++
	h.sum += v
}

func bucketOf(v int64) int {
	if v < parts {
		return int(v)
	}
	e := bits.Len64(uint64(v)) - 1
	if e >= topBits {
		return buckets - 1
	}
	return (e-partBits)*parts + int(v>>(e-partBits))
}

// most is the largest value of a bucket.
func most(bucket int) int64 {
	if bucket < 2*parts {
		return int64(bucket)
	}
	e := bucket/parts - 1
	return int64(bucket%parts+parts+1)<<e - 1
}

// Merge adds the counts of another.
func (h *Histogram) Merge(o *Histogram) {
	for i, n := range o.counts {
		h.counts[i] += n
	}
	h.n += o.n
	h.sum += o.sum
}

// Count is the number of values.
func (h *Histogram) Count() int64 { return h.n }

// Sum is that of all values.
func (h *Histogram) Sum() int64 { return h.sum }

// Quantile returns a value that a share of the values does not exceed, at most a quarter too large; 0 if there are none. For the
// largest values of all, beyond 2^42, it is 2^42.
func (h *Histogram) Quantile(share float64) int64 {
	if h.n == 0 {
		return 0
	}
	want := min(max(int64(share*float64(h.n)+.5), 1), h.n)
	for i, n := range h.counts {
		if want -= n; want <= 0 {
			return most(i)
		}
	}
	return most(buckets - 1)
}

// Buckets are the buckets that have values, in rising order: the largest value of each, and how many values are in it.
func (h *Histogram) Buckets() iter.Seq2[int64, int64] {
	return func(yield func(most, n int64) bool) {
		for i, n := range h.counts {
			if n > 0 && !yield(most(i), n) {
				return
			}
		}
	}
}
