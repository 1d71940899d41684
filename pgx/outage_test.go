package pgx_test

import (
	"context"
	"database/sql"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/pgtest/proxy"
	"github.com/stretchr/testify/require"
)

// silence has the connections that there are now, and so many that come next, go silent in both directions, from the next COMMIT
// after arm on. Newer ones work. heard says whether that COMMIT reaches the server, and named whether the answer of its
// transaction's first statements still comes.
//
// asked counts what the other idle connections are asked afterwards.
func silence(p *proxy.Proxy, heard, named bool, more int) (arm func(), asked *atomic.Int64) {
	var armed atomic.Bool
	asked = new(atomic.Int64)
	newest, silent, group, over := 0, 0, 0, false
	p.OnClient(func(m proxy.Message) proxy.Action {
		newest = max(newest, m.Conn)
		if armed.Load() && m.Commit && silent == 0 {
			silent, group = newest+more, m.Conn
			if heard {
				return proxy.Pass
			}
		}
		if m.Conn <= silent-more && m.Conn != group && (m.Type == 'Q' || m.Type == 'P') {
			asked.Add(1)
		}
		if m.Conn <= silent {
			return proxy.Drop
		}
		return proxy.Pass
	})
	p.OnServer(func(m proxy.Message) proxy.Action {
		if m.Conn == group && named && !over {
			over = m.Tag() == "INSERT 0 1"
			if !over {
				return proxy.Pass
			}
		}
		if m.Conn <= silent {
			return proxy.Drop
		}
		return proxy.Pass
	})
	return func() { armed.Store(true) }, asked
}

// A firewall forgets the connections, or a host is gone without a word. MaxTime is an hour: it must not take that long.
func TestASilentNetworkCostsCallersTheirOwnTimeAndThenTheyGetTheTruth(t *testing.T) {
	for name, c := range map[string]struct {
		heard, named bool
		more         int
	}{
		"COMMIT was heard": {true, true, 0}, "COMMIT was not heard": {false, true, 0},
		"and the next connections are silent": {true, true, 2}, "and nothing was answered": {true, false, 0},
	} {
		heard := c.heard
		t.Run(name, func(t *testing.T) {
			r, p := proxied(t, groupcommit.Mode(groupcommit.Transaction), groupcommit.MaxTime(time.Hour))
			arm, asked := silence(p, heard, c.named, c.more)
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
				var unknown *groupcommit.OutcomeUnknownError
				if heard && c.named {
					require.NoError(t, err)
				} else {
					require.ErrorIs(t, err, context.DeadlineExceeded)
					require.Equal(t, !c.named, errors.As(err, &unknown), "%v", err)
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
