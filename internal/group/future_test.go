package group

import (
	"context"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAFutureIsSettledForAllThatWaitAndAllThatCome(t *testing.T) {
	var f Future
	assert.False(t, f.Settled())
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, f.Wait(ended), context.Canceled)
	assert.False(t, isOver(f.Done()))
	var all sync.WaitGroup
	what := 0
	for range 8 {
		all.Go(func() {
			<-f.Done()
			assert.Equal(t, 1, what)
		})
		all.Go(func() {
			assert.NoError(t, f.Wait(t.Context()))
			assert.True(t, f.Settled())
			assert.Equal(t, 1, what)
		})
	}
	what = 1
	f.Settle()
	all.Wait()
	assert.True(t, isOver(f.Done()))
	require.NoError(t, f.Wait(ended), "it is settled, whatever the context says")
}

func TestAFutureThatIsSettledBeforeItIsAskedMakesNothing(t *testing.T) {
	futures := make([]Future, 101)
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		futures[0].Settle()
		<-futures[0].Done()
		futures = futures[1:]
	}))
}
