package enginetest

import (
	"errors"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var closeStories = []story{
	{"CloseAnswersWhatWasAcceptedAndRefusesTheRest", closeUnderLoad},
	{"CloseWaitsForWhatIsQueued", closeWithQueue},
	{"CloseBeforeTheFirstUseIsFine", closeUnused},
	{"CloseTwiceIsFine", closeTwice},
}

// refused reports that err is a closed database's answer.
func refused(err error) bool {
	return errors.Is(err, groupcommit.ErrClosed) || strings.Contains(err.Error(), "sql: database is closed")
}

func closeUnderLoad(s *scene) {
	const goroutines, atLeast = 16, 100
	var acknowledged [goroutines]int // calls 0 to here exclusive were answered nil
	var total atomic.Int64
	enough := make(chan struct{})
	var load sync.WaitGroup
	for who := range goroutines {
		load.Go(func() {
			for n := 0; ; n++ {
				var err error
				query := s.q("INSERT INTO entries (who, n) VALUES (?, ?)")
				switch who % 3 {
				case 0:
					_, err = s.db.Exec(query, who, n)
				case 1:
					_, err = groupcommit.Go(background, s.db, query, who, n).Await(background)
				case 2:
					first := groupcommit.Go(background, s.db, query, who, n)
					second := groupcommit.Go(background, s.db, query, who, n+1)
					if _, err = first.Await(background); err == nil {
						n++
						acknowledged[who] = n
						_, err = second.Await(background)
					} else {
						_, err := second.Await(background)
						assert.Error(s, err, "the second of two promises was kept, and not the first")
					}
				}
				if err != nil {
					assert.True(s, refused(err), "%v", err)
					return
				}
				acknowledged[who] = n + 1
				if total.Add(1) == atLeast {
					close(enough)
				}
			}
		})
	}
	bounded.Receive(s, "enough calls are answered", enough)
	bounded.Wait(s, "the database is closed", func() { assert.NoError(s, s.db.Close()) })
	bounded.Wait(s, "the other calls are answered, too", load.Wait)
	st := s.stats(s.db)
	require.Zero(s, st.Queued)
	if s.OneConn {
		return // nothing is left to look at
	}
	db := s.witness()
	for who, n := range acknowledged {
		require.Equal(s, strconv.Itoa(n), s.value(db, "SELECT count(*) FROM entries WHERE who = ?", who), "rows of goroutine %d", who)
		require.Equal(s, strconv.Itoa(n), s.value(db, "SELECT count(DISTINCT n) FROM entries WHERE who = ? AND n < ?", who, n), "acknowledged rows of goroutine %d", who)
	}
}

func closeWithQueue(s *scene) {
	release := s.hold(s.db)
	var promises []*groupcommit.Promise
	for i := range 20 {
		promises = append(promises, groupcommit.Go(background, s.db, s.insert(), name(i), i))
	}
	closed := make(chan error)
	go func() { closed <- s.db.Close() }()
	bounded.Until(s, "calls are refused", func() bool { return refusesAlready(s) })
	select {
	case <-closed:
		require.Fail(s, "Close returned before the queue was empty")
	default:
	}
	release()
	require.NoError(s, bounded.Receive(s, "the database is closed", closed))
	for _, p := range promises {
		select {
		case <-p.Done():
		default:
			require.Fail(s, "Close returned before every promise was settled")
		}
		_, err := p.Await(background)
		require.NoError(s, err)
	}
	if !s.OneConn {
		require.Equal(s, "20", s.value(s.witness(), "SELECT count(*) FROM items"))
	}
}

// refusesAlready tries a call that would be executed if the database were still open. A promise that was accepted must
// not be awaited: the queue is held.
func refusesAlready(s *scene) bool {
	p := groupcommit.Go(background, s.db, s.q("DELETE FROM entries WHERE who = ?"), -1)
	select {
	case <-p.Done():
		_, err := p.Await(background)
		return err != nil && refused(err)
	default:
		return false
	}
}

func closeUnused(s *scene) {
	db := s.open(s.Ours, s.DSN(s.T))
	require.NoError(s, db.Close())
	_, err := db.Exec(s.insert(), "a", 1)
	require.True(s, err != nil && refused(err), "%v", err)
	_, err = groupcommit.Go(background, db, s.insert(), "a", 1).Await(background)
	require.True(s, err != nil && refused(err), "%v", err)
}

func closeTwice(s *scene) {
	s.exec(s.db, s.insert(), "a", 1)
	s.crowd(4, func(int) { assert.NoError(s, s.db.Close()) })
	require.NoError(s, s.db.Close())
	_, err := s.db.Exec(s.insert(), "b", 1)
	require.True(s, err != nil && refused(err), "%v", err)
}
