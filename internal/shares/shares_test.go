package shares_test

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/groupcommit/groupcommit/internal/shares"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// log has what becomes of the values, which are numbers.
type log struct {
	shares.Shares[int]
	made  int
	mu    sync.Mutex // a timer's goroutine ends values, and asks
	ended []int
	keep  time.Duration
	ask   func()
}

var errEnd = errors.New("it ends")

func newLog(keep time.Duration) *log {
	l := &log{keep: keep, ask: func() {}}
	l.Make = func(key string) (int, error) {
		if key == "" {
			return 0, errors.New("no key")
		}
		l.made++
		return l.made, nil
	}
	l.Keep = func(int) time.Duration { return l.keep }
	l.Ask = func(int) { l.ask() }
	l.End = func(v int) error {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.ended = append(l.ended, v)
		return errEnd
	}
	return l
}

func (l *log) ends() []int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.ended)
}

func (l *log) take(t *testing.T, key string) *shares.Share[int] {
	t.Helper()
	h, err := l.Take(key)
	require.NoError(t, err)
	return h
}

func TestUsersOfOneKeyHaveOneValueUntilTheLastLeaves(t *testing.T) {
	l := newLog(0)
	a, b, other := l.take(t, "k"), l.take(t, "k"), l.take(t, "other")
	assert.Equal(t, []int{1, 1, 2}, []int{a.Value, b.Value, other.Value})
	require.NoError(t, a.Leave())
	assert.Empty(t, l.ends())
	assert.Equal(t, 1, l.take(t, "k").Value)
	require.NoError(t, b.Leave())
	require.Equal(t, errEnd, other.Leave())
	assert.Equal(t, []int{2}, l.ends())
	assert.Equal(t, 3, l.take(t, "other").Value)
	_, err := l.Take("")
	require.EqualError(t, err, "no key")
}

func TestAValueIsKeptForAWhileForTheNextUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(time.Second)
		for range 3 {
			require.NoError(t, l.take(t, "k").Leave())
			time.Sleep(time.Second - 1)
			synctest.Wait()
			assert.Empty(t, l.ends())
		}
		h := l.take(t, "k")
		time.Sleep(time.Hour)
		assert.Equal(t, 1, h.Value)
		assert.Empty(t, l.ends(), "it is in use")
		require.NoError(t, h.Leave())
		time.Sleep(time.Second)
		synctest.Wait()
		assert.Equal(t, []int{1}, l.ends())
		assert.Equal(t, 2, l.take(t, "k").Value)
	})
}

func TestAValueThatIsStillWantedDoesNotEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(time.Second)
		var asked atomic.Int32
		l.ask = func() {
			if asked.Add(1) < 5 { // a pool that is open gives its connection, and closes it at once
				assert.NoError(t, l.take(t, "k").Leave())
			}
		}
		require.NoError(t, l.take(t, "k").Leave())
		time.Sleep(4500 * time.Millisecond)
		synctest.Wait()
		assert.Empty(t, l.ends())
		time.Sleep(time.Second)
		synctest.Wait()
		assert.Equal(t, []int{1}, l.ends())
		assert.EqualValues(t, 5, asked.Load())
	})
}

func TestAValueOfOneUserIsNoOthers(t *testing.T) {
	l := newLog(time.Second)
	a, b := l.take(t, "k"), l.take(t, "k")
	require.True(t, a.Own())
	require.False(t, b.Own())
	require.NoError(t, b.Leave())
	assert.Equal(t, 2, l.take(t, "k").Value)
	require.Equal(t, errEnd, a.Leave(), "it is not kept")
	assert.Equal(t, 2, l.take(t, "k").Value, "the other goes on")
}
