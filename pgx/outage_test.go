package pgx_test

import (
	"context"
	"database/sql"
	"sync/atomic"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/pgtest/proxy"
	"github.com/stretchr/testify/require"
)

// silence has the connections that there are now, and so many that come next, go silent in both directions, from the next COMMIT
// after arm on. Newer ones work. heard says whether that COMMIT reaches the server.
//
// asked counts what the other idle connections are asked afterwards.
func silence(p *proxy.Proxy, heard bool, more int64) (arm func(), asked *atomic.Int64) {
	var newest, silent, group atomic.Int64
	var armed atomic.Bool
	asked = new(atomic.Int64)
	p.OnClient(func(m proxy.Message) proxy.Action {
		newest.Store(max(newest.Load(), int64(m.Conn)))
		if armed.Load() && m.Commit && silent.CompareAndSwap(0, newest.Load()+more) {
			group.Store(int64(m.Conn))
			if heard {
				return proxy.Pass
			}
		}
		if old := int64(m.Conn); old <= silent.Load()-more && old != group.Load() && (m.Type == 'Q' || m.Type == 'P') {
			asked.Add(1)
		}
		if int64(m.Conn) <= silent.Load() {
			return proxy.Drop
		}
		return proxy.Pass
	})
	p.OnServer(func(m proxy.Message) proxy.Action {
		if int64(m.Conn) <= silent.Load() {
			return proxy.Drop
		}
		return proxy.Pass
	})
	return func() { armed.Store(true) }, asked
}

// A firewall forgets the connections, or a host is gone without a word. MaxTime is an hour: it must not take that long.
func TestASilentNetworkCostsCallersTheirOwnTimeAndThenTheyGetTheTruth(t *testing.T) {
	for name, c := range map[string]struct {
		heard bool
		more  int64
	}{"COMMIT was heard": {true, 0}, "COMMIT was not heard": {false, 0}, "and the next connections are silent": {true, 2}} {
		heard := c.heard
		t.Run(name, func(t *testing.T) {
			r, p := proxied(t, groupcommit.Mode(groupcommit.Transaction), groupcommit.MaxTime(time.Hour))
			arm, asked := silence(p, heard, c.more)
			var idle []*sql.Tx // of connections that will be silent
			for range 3 {
				tx, err := r.db.Begin()
				require.NoError(t, err)
				idle = append(idle, tx)
			}
			for _, tx := range idle {
				require.NoError(t, tx.Rollback())
			}
			release := r.hold()
			ctx, cancel := context.WithTimeout(background, 2*time.Second)
			defer cancel()
			var promises []*groupcommit.Promise
			for k := range 10 {
				promises = append(promises, groupcommit.Go(ctx, r.db, logged(k).query, k))
			}
			arm()
			go release()
			for _, promise := range promises {
				returned := make(chan error, 1)
				go func() { _, err := promise.Await(background); returned <- err }()
				err := returns(t, p, returned)
				if heard {
					require.NoError(t, err)
				} else {
					require.ErrorIs(t, err, context.DeadlineExceeded)
				}
			}
			if heard {
				r.once(10)
			} else {
				require.Equal(t, "0", r.value("SELECT count(*) FROM log"), "they were told that nothing was executed")
			}
			require.Zero(t, asked.Load(), "a connection that may be as silent was asked")
			again := make(chan error, 1)
			go func() { _, err := r.db.Exec("INSERT INTO log (k) VALUES ($1)", 99); again <- err }()
			require.NoError(t, returns(t, p, again))
		})
	}
}
