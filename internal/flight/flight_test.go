package flight

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// begin begins a flight that must be new.
func begin(t *testing.T, m *Map[int], id string) *Flight[int] {
	t.Helper()
	f, mine, err := m.Begin(id, "key")
	require.NoError(t, err)
	require.True(t, mine, id)
	return f
}

// Join is what a caller does: it begins a flight, or follows another's.
func (m *Map[O]) Join(ctx context.Context, id, key string, w Wait) (mine *Flight[O], out O, err error) {
	f, isMine, err := m.Begin(id, key)
	switch {
	case err != nil:
		return nil, out, err
	case isMine:
		return f, out, nil
	}
	return m.Follow(ctx, f, w)
}

// joined is what Join has come to.
type joined struct {
	mine *Flight[int]
	out  int
	err  error
	over bool
}

// join has goroutines of their own join calls with an id; they wait when it returns.
func join(m *Map[int], n int, ctx context.Context, id string, w Wait) []*joined {
	js := make([]*joined, n)
	for i := range js {
		js[i] = new(joined)
		go func(j *joined) {
			j.mine, j.out, j.err = m.Join(ctx, id, "key", w)
			j.over = true
		}(js[i])
	}
	synctest.Wait()
	return js
}

func TestThoseWhoWaitGetTheOutcomeAndLaterOnesTheKeptOne(t *testing.T) {
	for keep, later := range map[Keep]bool{Shared: false, Kept: true} {
		synctest.Test(t, func(t *testing.T) {
			m := New[int](0)
			f := begin(t, m, "a")
			other := begin(t, m, "b")
			js := join(m, 3, t.Context(), "a", Wait{})
			for _, j := range js {
				assert.False(t, j.over)
			}
			m.Complete(f, ptr(4711), keep)
			synctest.Wait()
			for _, j := range js {
				assert.Equal(t, joined{nil, 4711, nil, true}, *j)
			}
			mine, out, err := m.Join(t.Context(), "a", "key", Wait{})
			require.NoError(t, err)
			assert.Equal(t, later, mine == nil)
			assert.Equal(t, later, out == 4711)
			m.Complete(other, ptr(0), Own)
		})
	}
}

func TestAnOutcomeThatIsItsCallersOwnHasTheOthersTryOneAfterTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New[int](0)
		f := begin(t, m, "a")
		js := join(m, 3, t.Context(), "a", Wait{})
		for left := 3; left > 0; left-- {
			m.Complete(f, ptr(-1), Own)
			synctest.Wait()
			tries := 0
			for i, j := range js {
				if j != nil && j.over {
					require.NoError(t, j.err)
					require.NotNil(t, j.mine, "it was told another's own outcome")
					f, js[i] = j.mine, nil
					tries++
				}
			}
			require.Equal(t, 1, tries)
		}
		m.Complete(f, ptr(4711), Kept)
		_, out, err := m.Join(t.Context(), "a", "key", Wait{})
		require.NoError(t, err)
		assert.Equal(t, 4711, out)
	})
}

func TestAnIdInUseWithAnotherKeyIsRefused(t *testing.T) {
	m := New[int](0)
	f := begin(t, m, "a")
	_, _, err := m.Begin("a", "other")
	require.ErrorIs(t, err, ErrOther)
	_, _, err = m.Join(t.Context(), "a", "other", Wait{})
	require.ErrorIs(t, err, ErrOther)
	m.Complete(f, ptr(1), Kept)
	_, _, err = m.Join(t.Context(), "a", "other", Wait{})
	require.ErrorIs(t, err, ErrTaken)

	f = begin(t, m, "b")
	theirs, _, err := m.Begin("b", "key")
	require.NoError(t, err)
	m.Complete(f, ptr(1), Own)
	_, mine, err := m.Begin("b", "other") // another caller is faster than the one that waits
	require.NoError(t, err)
	require.True(t, mine)
	_, _, err = m.Follow(t.Context(), theirs, Wait{})
	require.ErrorIs(t, err, ErrOther)
}

func TestAContextThatEndsMeanwhileEndsTheWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New[int](0)
		f := begin(t, m, "a")
		ctx, cancel := context.WithCancel(t.Context())
		js := join(m, 1, ctx, "a", Wait{})
		stays := join(m, 1, t.Context(), "a", Wait{})
		cancel()
		synctest.Wait()
		require.Equal(t, joined{nil, 0, ErrLeft, true}, *js[0])
		assert.False(t, stays[0].over)
		m.Complete(f, ptr(4711), Kept)
		synctest.Wait()
		assert.Equal(t, 4711, stays[0].out)
		for range 20 {
			_, out, err := m.Join(ctx, "a", "key", Wait{})
			require.NoError(t, err, "what is there is found whatever the context says")
			assert.Equal(t, 4711, out)
		}
		mine, _, err := m.Join(ctx, "b", "key", Wait{})
		require.NoError(t, err)
		assert.NotNil(t, mine)
	})
}

// A function that SQL calls may call with the id of the statement that it is called by.
func TestNoCallWaitsForEverForACallThatWaitsForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New[int](0)
		begin(t, m, "a")
		busy := errors.New("busy")
		since := time.Now()
		time.Sleep(time.Second)
		_, _, err := m.Join(t.Context(), "a", "key", Wait{Since: since, Patience: 10 * time.Second, Busy: busy})
		assert.Equal(t, busy, err)
		assert.Equal(t, 10*time.Second, time.Since(since), "the time before counts, too")
	})
}

func TestFollowBeginsWithTheFlightThatBeginGave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New[int](0)
		f := begin(t, m, "a")
		theirs, mine, err := m.Begin("a", "key")
		require.NoError(t, err)
		require.False(t, mine)
		m.Complete(f, ptr(4711), Shared)
		next := begin(t, m, "a") // and the id is in flight again
		mineNow, out, err := m.Follow(t.Context(), theirs, Wait{})
		require.NoError(t, err)
		assert.Nil(t, mineNow)
		assert.Equal(t, 4711, out)
		m.Complete(next, ptr(0), Own)
	})
}

func TestAFlightThatAnotherCallerHasIsNotUsedAgain(t *testing.T) {
	m := New[int](0)
	f := begin(t, m, "held")
	held, mine, err := m.Begin("held", "key")
	require.NoError(t, err)
	require.False(t, mine)
	m.Complete(f, ptr(4711), Kept)
	used := make(map[*Flight[int]]bool)
	for i := range 3 * most * parts {
		f := begin(t, m, fmt.Sprint(i))
		used[f] = true
		m.Complete(f, ptr(1), Kept)
	}
	_, out, err := m.Follow(t.Context(), held, Wait{})
	require.NoError(t, err)
	require.Equal(t, 4711, out)
	require.False(t, used[held])
	require.LessOrEqual(t, len(used), parts, "the others are")
	m.Complete(begin(t, m, "held"), ptr(1), Kept) // it is no longer kept
}

func TestAnOutcomeIsForgottenWithItsTime(t *testing.T) {
	m := New[int](1) // a nanosecond
	for range 2 * most {
		m.Complete(begin(t, m, "again"), ptr(0), Kept)
	}
	k := &m.part(maphash.String(seed, "again")).kept
	kept := 0
	for _, o := range k.outcomes {
		if o.id != "" {
			kept++
		}
	}
	require.Equal(t, 1, kept)
}

// All the ids are of one part, so many of them are in one chain.
func TestTheLatestOutcomesAreKeptAndNoOthers(t *testing.T) {
	for _, keep := range []time.Duration{0, most / 2} {
		synctest.Test(t, func(t *testing.T) {
			m := New[int](keep)
			var ids []string
			for i := 0; len(ids) < 3*most; i++ {
				if id := fmt.Sprint(i); maphash.String(seed, id)%parts == 0 {
					ids = append(ids, id)
				}
			}
			var latest []string // the kept ones, the oldest first
			came := make(map[string]time.Time)
			outs := make(map[string]int)
			for i := range 20 * most {
				if i%2 == 0 {
					time.Sleep(time.Nanosecond)
				}
				id := ids[rand.IntN(len(ids))]
				f, mine, err := m.Begin(id, "key")
				require.NoError(t, err)
				known := slices.Contains(latest, id) && (keep == 0 || time.Since(came[id]) < keep)
				require.Equal(t, !known, mine, "%s in step %d", id, i)
				if mine {
					m.Complete(f, ptr(i), Kept)
					latest = append(latest, id)
					if len(latest) > most {
						latest = latest[1:]
					}
					came[id], outs[id] = time.Now(), i
					continue
				}
				_, out, err := m.Follow(t.Context(), f, Wait{})
				require.NoError(t, err)
				require.Equal(t, outs[id], out)
			}
		})
	}
}

func TestAnIdIsExecutedByOneCallerAtATime(t *testing.T) {
	m := New[string](0)
	var under [4]atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 2000 {
				n := rand.IntN(len(under))
				id := fmt.Sprint(n)
				f, out, err := m.Join(context.Background(), id, "key", Wait{})
				switch {
				case err != nil:
					t.Error(err)
				case f == nil:
					assert.Equal(t, "of "+id, out)
				default:
					assert.EqualValues(t, 1, under[n].Add(1))
					under[n].Add(-1)
					keep := Keep(rand.IntN(2)) // not Kept: then nothing would happen any more
					out := "of " + id
					if keep == Own {
						out = "not for others"
					}
					m.Complete(f, ptr(out), keep)
				}
			}
		})
	}
	all.Wait()
	for i := range m.parts {
		assert.Zero(t, m.parts[i].n)
	}
}

func TestAnyNumberOfCallsMayBeUnderWayAtOnce(t *testing.T) {
	const n = 40_000 // the chains grow twice
	m := New[int](0)
	flights := make([]*Flight[int], n)
	for i := range flights {
		flights[i] = begin(t, m, fmt.Sprint(i))
	}
	for i, f := range flights {
		found, mine, err := m.Begin(fmt.Sprint(i), "key")
		require.NoError(t, err)
		require.False(t, mine)
		require.Same(t, f, found)
	}
	for _, i := range rand.Perm(n) { // from anywhere in the chains
		m.Complete(flights[i], ptr(i), Shared)
	}
	for i := range m.parts {
		require.Zero(t, m.parts[i].n)
		for _, f := range m.parts[i].chains {
			require.Nil(t, f)
		}
	}
}

func ptr[T any](v T) *T { return &v }
