package groupcommit

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// waits is what a policy says until it gives up, or ten times.
func waits(p RetryPolicy) (all []time.Duration) {
	for failed := 1; failed <= 10; failed++ {
		wait, again := p(failed)
		if !again {
			break
		}
		all = append(all, wait)
	}
	return all
}

func TestARetryPolicyWaitsAsItSays(t *testing.T) {
	const ms = time.Millisecond
	assert.Empty(t, waits(Never))
	assert.Equal(t, []time.Duration{5 * ms, 5 * ms, 5 * ms}, waits(Constant(5*ms, 3)))
	assert.Equal(t, []time.Duration{10 * ms, 20 * ms, 35 * ms, 35 * ms}, waits(Exponential(10*ms, 2, 35*ms, 4)))
	assert.Equal(t, []time.Duration{time.Hour}, waits(Exponential(time.Hour, 1e300, time.Hour, 1)))
}

func TestAPauseEndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		assert.True(t, Constant(time.Millisecond, 1).pause(ctx, 1))
		assert.False(t, Constant(time.Millisecond, 1).pause(ctx, 2), "no more attempts")
		start := time.Now()
		assert.False(t, Constant(time.Hour, 1).pause(ctx, 1))
		assert.Less(t, time.Since(start), 2*time.Second)
	})
}

func TestARetryPolicyStandsInADataSourceName(t *testing.T) {
	for text, want := range map[string]RetryPolicy{
		"never":                      Never,
		"constant(10ms,5)":           Constant(10*time.Millisecond, 5),
		"exponential(10ms,1.5,1s,8)": Exponential(10*time.Millisecond, 1.5, time.Second, 8),
		"exponential(0s,1,1m,3)":     Exponential(0, 1, time.Minute, 3),
	} {
		p, err := parseRetry(text)
		require.NoError(t, err, text)
		assert.Equal(t, waits(want), waits(p), text)
	}
	for _, text := range []string{"", "ever", "never(1)", "constant", "constant(10ms)", "constant(-1s,2)", "constant(10,2)", "constant(10ms,2", "exponential(10ms,0.5,1s,8)", "exponential(10ms,NaN,1s,8)", "exponential(10ms,2,1s)"} {
		_, err := parseRetry(text)
		assert.EqualError(t, err, `groupcommit: option groupcommit_retry: "`+text+`" is not allowed; never, constant(10ms,5) or exponential(10ms,2,1s,8) is`)
	}
}
