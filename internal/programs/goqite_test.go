package programs

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"maragu.dev/goqite"
)

func TestGoqiteDeliversEachMessageOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, e Engine) {
		plain, swapped := sides(t, e)
		for _, s := range []side{plain, swapped} {
			t.Run(s.driver, func(t *testing.T) {
				db := s.open(t)
				q, err := NewGoqite(t.Context(), e, db)
				require.NoError(t, err)
				sent := sendAll(t, q)
				got := receiveAll(t, q, e)
				assert.Equal(t, sent, got)
				var left int
				require.NoError(t, db.QueryRow("SELECT count(*) FROM goqite").Scan(&left))
				assert.Zero(t, left)
			})
		}
	})
}

const messages = 4 // of each goroutine

// sendAll sends from all goroutines, and returns the bodies by the keys that the database made.
func sendAll(t *testing.T, q *goqite.Queue) map[goqite.ID]string {
	var mu sync.Mutex
	sent := map[goqite.ID]string{}
	var all sync.WaitGroup
	for g := range goroutines {
		all.Go(func() {
			for i := range messages {
				body := fmt.Sprint(g, "/", i)
				id, err := q.SendAndGetID(t.Context(), goqite.Message{Body: []byte(body)})
				if !assert.NoError(t, err) {
					return
				}
				mu.Lock()
				sent[id] = body
				mu.Unlock()
			}
			over, cancel := context.WithCancel(t.Context())
			cancel()
			assert.ErrorIs(t, q.Send(over, goqite.Message{Body: []byte("too late")}), context.Canceled)
		})
	}
	all.Wait()
	require.Len(t, sent, goroutines*messages)
	return sent
}

// receiveAll receives and deletes until nothing is left. On PostgreSQL goqite gives one message to two that ask at the same
// time, so there is one that asks.
func receiveAll(t *testing.T, q *goqite.Queue, e Engine) map[goqite.ID]string {
	n := goroutines
	if e == Postgres {
		n = 1
	}
	var mu sync.Mutex
	got := map[goqite.ID]string{}
	var twice []goqite.ID
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			for {
				m, err := q.Receive(t.Context())
				if !assert.NoError(t, err) || m == nil {
					return
				}
				mu.Lock()
				if _, ok := got[m.ID]; ok {
					twice = append(twice, m.ID)
				}
				got[m.ID] = string(m.Body)
				mu.Unlock()
				if !assert.NoError(t, q.Delete(t.Context(), m.ID)) {
					return
				}
			}
		})
	}
	all.Wait()
	slices.Sort(twice)
	assert.Empty(t, twice, "delivered twice")
	return got
}
