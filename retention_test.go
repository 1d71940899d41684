package groupcommit

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A round through the table takes a quarter of the retention, or as long as the rests need.
func TestASweepOfOldPromisesIsSpreadOverAQuarterOfTheRetention(t *testing.T) {
	const day, ms = 24 * time.Hour, time.Millisecond
	for _, c := range []struct {
		keep, took time.Duration
		pieces     int
		more       bool
		want       time.Duration
	}{
		{day, ms, 1, false, time.Minute},
		{day, ms, 1000, false, 21600 * ms},
		{day, ms, 1e9, false, 5 * ms},
		{day, 10 * ms, 1e9, false, 40 * ms},
		{day, ms, 1000, true, 5 * ms},
		{day, ms, 0, false, 5 * ms}, // the first round
		{day, time.Hour, 1000, true, time.Minute},
		{time.Minute, ms, 1, false, 15 * time.Second},
		{time.Minute, ms, 100, false, 150 * ms},
		{12 * ms, ms, 100, false, 3 * ms},
		{1, ms, 100, false, ms},
	} {
		require.Equal(t, c.want, sweepRest(c.keep, c.took, c.pieces, c.more), c)
	}
}
