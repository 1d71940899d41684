package histogram

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEveryValueIsInABucketThatIsAQuarterLargerAtMost(t *testing.T) {
	check := func(v int64) {
		b := bucketOf(v)
		require.GreaterOrEqual(t, most(b), v)
		require.LessOrEqual(t, float64(most(b)), 1.25*float64(v), v)
		if b > 0 {
			require.Less(t, most(b-1), v)
		}
	}
	for v := range int64(5000) {
		check(v)
	}
	for range 100_000 {
		check(rand.Int64N(1 << rand.IntN(topBits)))
	}
	check(1<<topBits - 1)
	require.Equal(t, buckets-1, bucketOf(1<<topBits))
	require.Equal(t, buckets-1, bucketOf(math.MaxInt64))
}

// Whoever makes other buckets of these counts on powers of two.
func TestNoBucketHasValuesOnBothSidesOfAPowerOfTwo(t *testing.T) {
	for e := range topBits + 1 {
		v := int64(1) << e
		require.Equal(t, v-1, most(bucketOf(v-1)))
		require.NotEqual(t, bucketOf(v-1), bucketOf(v))
	}
}

func TestQuantilesAreThoseOfTheValuesAsFarAsBucketsTell(t *testing.T) {
	var h, half Histogram
	require.Zero(t, h.Quantile(.5))
	values := make([]int64, 10_000)
	sum := int64(0)
	for i := range values {
		values[i] = rand.Int64N(1 << (1 + rand.IntN(30)))
		sum += values[i]
		if i%2 == 0 {
			h.Add(values[i])
		} else {
			half.Add(values[i])
		}
	}
	h.Merge(&half)
	slices.Sort(values)
	require.EqualValues(t, len(values), h.Count())
	require.Equal(t, sum, h.Sum())
	for _, share := range []float64{0, .01, .5, .9, .99, .999, 1} {
		want := values[max(int(share*float64(len(values))+.5), 1)-1]
		got := h.Quantile(share)
		require.GreaterOrEqual(t, got, want)
		require.LessOrEqual(t, float64(got), 1.25*float64(want))
	}
	n, last := int64(0), int64(-1)
	for most, count := range h.Buckets() {
		require.Greater(t, most, last)
		require.Positive(t, count)
		n, last = n+count, most
	}
	require.Equal(t, h.Count(), n)
}

func TestANegativeValueCountsAsNone(t *testing.T) {
	var h Histogram
	h.Add(-5)
	require.Zero(t, h.Sum())
	require.Zero(t, h.Quantile(1))
	require.EqualValues(t, 1, h.Count())
}
