package repeat

import (
	"bytes"
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/groupcommit/groupcommit/internal/applog"
	"github.com/stretchr/testify/require"
)

func TestARepeaterDoesItInTimeAndSoonWhenAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Duration
		start, rest := time.Now(), time.Duration(0)
		r := Start(time.Minute, func(context.Context) time.Duration {
			at = append(at, time.Since(start))
			return rest
		})
		time.Sleep(90 * time.Second)
		synctest.Wait()
		rest = time.Second
		r.Soon()
		time.Sleep(1500 * time.Millisecond)
		r.Stop()
		require.Equal(t, []time.Duration{60 * time.Second, 90 * time.Second, 91 * time.Second}, at)
	})
}

func TestAStoppedRepeaterDoesNothingMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		over := false
		r := Start(time.Minute, func(ctx context.Context) time.Duration {
			<-ctx.Done()
			over = true
			return 0
		})
		r.Soon()
		synctest.Wait()
		r.Stop()
		require.True(t, over, "Stop waits until it is over")
		require.False(t, r.timer.Stop(), "it would be done again")
		r.Soon()
		require.False(t, r.again, "nothing is asked for any more")
		(*Repeater)(nil).Stop()
	})
}

func TestWhatPanicsIsDoneAgain(t *testing.T) {
	defer slog.SetDefault(slog.Default())
	var logged bytes.Buffer
	slog.SetDefault(slog.New(slog.NewTextHandler(&logged, nil)))
	synctest.Test(t, func(t *testing.T) {
		n := 0
		r := Start(time.Minute, func(context.Context) time.Duration {
			n++
			panic("hook")
		})
		time.Sleep(150 * time.Second)
		r.Stop()
		require.Equal(t, 2, n)
	})
	applog.Wait()
	require.Contains(t, logged.String(), "panic=hook")
}

func TestAPauseEndsWithItsTimeOrItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		require.True(t, Pause(t.Context(), time.Minute))
		require.Equal(t, time.Minute, time.Since(start))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.True(t, Pause(ctx, 0))
		require.False(t, Pause(ctx, time.Hour))
		require.Equal(t, time.Minute+time.Second, time.Since(start))
		require.False(t, Pause(ctx, 0), "the context has ended already")
	})
}
