package pgx_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/groupcommit/groupcommit/internal/pgtest/proxy"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A program that starts may have a thousand callers at once, and a server has room for a hundred connections.
func TestManyCallersAtTheFirstUseOpenTheLedgerOnce(t *testing.T) {
	t.Parallel()
	r, p := promised(t)
	require.NoError(t, r.db.Ping()) // makes the table
	var looks, asks atomic.Int64
	p.OnClient(func(m proxy.Message) proxy.Action {
		if m.Type == 'P' && strings.Contains(m.SQL, "to_regclass('groupcommit_promises')") {
			looks.Add(1)
		}
		if strings.Contains(m.SQL, "version()") {
			asks.Add(1)
		}
		return proxy.Pass
	})
	db := r.promising(pgtest.With(r.dsn, pgtest.Via(p.Addr())))
	start := make(chan struct{})
	var all sync.WaitGroup
	for k := range 200 {
		all.Go(func() {
			<-start
			res, err := db.ExecContext(groupcommit.WithID(background, fmt.Sprint(k)), "INSERT INTO log (k) VALUES ($1)", k)
			if assert.NoError(t, err) {
				assert.False(t, groupcommit.Deduplicated(res))
			}
		})
	}
	close(start)
	bounded.Wait(t, "the calls are answered", all.Wait)
	r.once(200)
	require.EqualValues(t, 1, looks.Load())
	require.Zero(t, asks.Load(), "the engine knows which database it is")
}
