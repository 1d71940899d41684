package groupcommit

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestALimitEndsWhatWaitsUnderIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := withLimit(t.Context(), time.Second)
		defer cancel()
		time.Sleep(time.Hour)
		assert.NoError(t, ctx.Err(), "the time has begun before anything has waited")
		child, done := context.WithCancel(ctx)
		defer done()
		began := time.Now()
		<-child.Done()
		assert.Equal(t, time.Second, time.Since(began))
		assert.ErrorIs(t, child.Err(), context.DeadlineExceeded)
		assert.ErrorIs(t, ctx.Err(), context.DeadlineExceeded)
	})
}

func TestALimitEndsWithItsParentAndWithItsCancel(t *testing.T) {
	parent, stop := context.WithCancel(t.Context())
	ctx, cancel := withLimit(parent, time.Hour)
	stop()
	assert.ErrorIs(t, ctx.Err(), context.Canceled)
	<-ctx.Done()
	cancel()

	for _, asked := range []bool{false, true} {
		ctx, cancel = withLimit(t.Context(), time.Hour)
		if asked {
			ctx.Done()
		}
		cancel()
		assert.ErrorIs(t, ctx.Err(), context.Canceled)
		<-ctx.Done()
	}
}
