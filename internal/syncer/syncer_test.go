package syncer

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A disk is what a Syncer syncs, with a made clock: what was written before a sync began is durable when it is over.
type disk struct {
	written atomic.Int64
	durable atomic.Int64
	syncs   atomic.Int64
	inside  atomic.Int64
	fails   atomic.Bool
	takes   time.Duration
}

var errDisk = errors.New("the disk is broken")

func (d *disk) sync() error {
	if d.inside.Add(1) != 1 {
		panic("two syncs at a time")
	}
	defer d.inside.Add(-1)
	d.syncs.Add(1)
	before := d.written.Load()
	time.Sleep(d.takes)
	if d.fails.Load() {
		return errDisk
	}
	d.durable.Store(before)
	return nil
}

func TestAWaitIsAnsweredByASyncThatBeganAfterIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{takes: time.Millisecond}
		s := New(d.sync)
		var all sync.WaitGroup
		for i := range 64 {
			all.Go(func() {
				time.Sleep(time.Duration(i) * 37 * time.Microsecond)
				for range 50 {
					mine := d.written.Add(1)
					require.NoError(t, s.Wait())
					require.GreaterOrEqual(t, d.durable.Load(), mine)
				}
			})
		}
		all.Wait()
	})
}

func TestThoseThatWaitTogetherPayTwoSyncsAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{takes: time.Millisecond}
		s := New(d.sync)
		var all sync.WaitGroup
		for range 1000 {
			all.Go(func() { require.NoError(t, s.Wait()) })
		}
		all.Wait()
		assert.LessOrEqual(t, d.syncs.Load(), int64(2))
	})
}

func TestAfterASyncThatFailedNoneIsAcknowledgedUntilItIsHealed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{takes: time.Millisecond}
		d.fails.Store(true)
		s := New(d.sync)
		var all sync.WaitGroup
		for i := range 10 {
			all.Go(func() {
				time.Sleep(time.Duration(i) * 300 * time.Microsecond)
				assert.ErrorIs(t, s.Wait(), errDisk)
			})
		}
		all.Wait()
		assert.Equal(t, int64(1), d.syncs.Load(), "a second sync succeeds, and lies")
		d.fails.Store(false)
		assert.ErrorIs(t, s.Wait(), errDisk)
		assert.ErrorIs(t, s.Failed(), errDisk)
		s.Heal()
		assert.NoError(t, s.Wait())
		assert.NoError(t, s.Failed())
	})
}

func TestASyncerIsSettledWhenASyncThatBeganAfterTheLastWriteIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{takes: time.Millisecond}
		s := New(d.sync)
		assert.True(t, s.Settled(), "nothing was written")
		s.Wrote()
		assert.False(t, s.Settled())
		var first sync.WaitGroup
		first.Go(func() { assert.NoError(t, s.Wait()) })
		synctest.Wait()
		s.Wrote() // during the sync
		first.Wait()
		assert.False(t, s.Settled())
		assert.NoError(t, s.Wait())
		assert.True(t, s.Settled())
	})
}

func TestAfterCloseNothingIsSynced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{takes: time.Millisecond}
		s := New(d.sync)
		var closed atomic.Bool
		var all sync.WaitGroup
		for i := range 64 {
			all.Go(func() {
				time.Sleep(time.Duration(i) * 37 * time.Microsecond)
				if closed.Load() {
					return
				}
				mine := d.written.Add(1)
				s.Wrote()
				time.Sleep(100 * time.Microsecond) // it has committed, and does not wait yet
				require.NoError(t, s.Wait())
				require.GreaterOrEqual(t, d.durable.Load(), mine)
			})
		}
		time.Sleep(time.Millisecond)
		closed.Store(true) // none writes any more
		require.NoError(t, s.Close())
		syncs := d.syncs.Load()
		require.Equal(t, d.written.Load(), d.durable.Load())
		require.NoError(t, s.Close())
		all.Wait()
		require.Equal(t, syncs, d.syncs.Load())
	})
}

func TestToCloseWhatIsDurableCostsNoSync(t *testing.T) {
	d := &disk{}
	s := New(d.sync)
	s.Wrote()
	require.NoError(t, s.Wait())
	require.NoError(t, s.Close())
	require.NoError(t, s.Wait())
	require.Equal(t, int64(1), d.syncs.Load())
}

func TestAfterASyncThatFailedCloseSaysSoAndChangesNothing(t *testing.T) {
	d := &disk{}
	d.fails.Store(true)
	s := New(d.sync)
	s.Wrote()
	require.ErrorIs(t, s.Close(), errDisk)
	d.fails.Store(false)
	s.Heal()
	d.written.Add(1)
	require.NoError(t, s.Wait())
	require.Equal(t, int64(1), d.durable.Load())
	d.fails.Store(true)
	require.ErrorIs(t, s.Wait(), errDisk)
	for range 2 {
		require.ErrorIs(t, s.Close(), errDisk)
	}
	require.Equal(t, int64(3), d.syncs.Load())
}
