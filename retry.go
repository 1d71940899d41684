package groupcommit

import (
	"context"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/groupcommit/groupcommit/internal/repeat"
)

// A RetryPolicy says whether to try again after so many failed attempts, 1 being the first, and how long to wait before.
// Many goroutines call it at once. [Never] is one; [Constant] and [Exponential] make others.
type RetryPolicy func(failed int) (wait time.Duration, again bool)

// Never tries once.
func Never(int) (time.Duration, bool) { return 0, false }

// Constant tries up to n more times, each after d.
func Constant(d time.Duration, n int) RetryPolicy {
	return func(failed int) (time.Duration, bool) { return max(0, d), failed <= n }
}

// Exponential tries up to n more times: first after base, then after factor times as long each time, but after no longer
// than most.
func Exponential(base time.Duration, factor float64, most time.Duration, n int) RetryPolicy {
	return func(failed int) (time.Duration, bool) {
		wait := float64(base) * math.Pow(factor, float64(failed-1))
		return time.Duration(max(0, min(wait, float64(most)))), failed <= n
	}
}

// Retry sets what happens after a transient error: one that has certainly left nothing behind, and that may not come again.
// The engine decides which errors these are; package pgx lists its own. The default is Exponential(10ms, 2, 1s, 8), some 3
// seconds in all. A call is never tried again after its context has ended.
//
// In a data source name: groupcommit_retry=never, constant(10ms,5) or exponential(10ms,2,1s,8).
func Retry(p RetryPolicy) SharedOption {
	return sharedOption(func(l *limits) error {
		if p == nil {
			return badOption("Retry", "nil", "a RetryPolicy, such as groupcommit.Never")
		}
		l.retry = p
		return nil
	})
}

var defaultRetry = Exponential(10*time.Millisecond, 2, time.Second, 8)

func (l *limits) retryPolicy() RetryPolicy {
	if l.retry == nil {
		return defaultRetry
	}
	return l.retry
}

// pause waits as the policy says. It reports false if there must be no other attempt.
func (p RetryPolicy) pause(ctx context.Context, failed int) bool {
	wait, again := p(failed)
	return again && repeat.Pause(ctx, wait)
}

// parseRetry reads a policy as it stands in a data source name.
func parseRetry(s string) (RetryPolicy, error) {
	name, rest, _ := strings.Cut(s, "(")
	args := strings.Split(strings.TrimSuffix(rest, ")"), ",")
	bad := func() (RetryPolicy, error) {
		return nil, badOption(prefix+"retry", s, "never, constant(10ms,5) or exponential(10ms,2,1s,8)")
	}
	if name == "never" && rest == "" {
		return Never, nil
	}
	if !strings.HasSuffix(rest, ")") {
		return bad()
	}
	switch {
	case name == "constant" && len(args) == 2:
		d, err1 := time.ParseDuration(args[0])
		n, err2 := strconv.Atoi(args[1])
		if err1 != nil || err2 != nil || d < 0 || n < 0 {
			return bad()
		}
		return Constant(d, n), nil
	case name == "exponential" && len(args) == 4:
		base, err1 := time.ParseDuration(args[0])
		factor, err2 := strconv.ParseFloat(args[1], 64)
		most, err3 := time.ParseDuration(args[2])
		n, err4 := strconv.Atoi(args[3])
		if err1 != nil || err2 != nil || err3 != nil || err4 != nil || base < 0 || !(factor >= 1) || most < 0 || n < 0 {
			return bad()
		}
		return Exponential(base, factor, most, n), nil
	}
	return bad()
}
