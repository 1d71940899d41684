package pgx_test

import (
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/pgtest/proxy"
	"github.com/stretchr/testify/require"
)

// onCommit does something to the next COMMIT, and then to nothing more.
func onCommit(p *proxy.Proxy, a proxy.Action) {
	var done atomic.Bool
	p.OnClient(func(m proxy.Message) proxy.Action {
		if m.Commit && done.CompareAndSwap(false, true) {
			return a
		}
		return proxy.Pass
	})
}

// logs are n calls that leave a row each, if they are executed, and two if they are executed twice.
func logs(n int) (calls []call) {
	for i := range n {
		calls = append(calls, logged(i))
	}
	return calls
}

func (r *rig) once(n int) {
	r.Helper()
	require.Equal(r, fmt.Sprint(n), r.value("SELECT count(*) FROM log"), "rows")
	require.Equal(r, fmt.Sprint(n), r.value("SELECT count(DISTINCT k) FROM log"), "different rows")
}

// committed requires each call to have been answered with success. Its count may have been lost with the connection.
func (r *rig) committed(got []answer) {
	r.Helper()
	for i, a := range got {
		require.NoError(r, a.err, "call %d", i)
		if a.rowsErr != nil {
			require.ErrorContains(r, a.rowsErr, "its result was lost")
		} else {
			require.EqualValues(r, 1, a.rows, "call %d", i)
		}
	}
}

func TestALostAcknowledgementOfACommitIsAskedFor(t *testing.T) {
	for _, n := range []int{2, 50, 1000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			r, p := proxied(t, groupcommit.Writers(1)) // a second one would take some of the thousand
			release := r.begin(logs(n)...)
			onCommit(p, proxy.CutAfterForward)
			r.committed(release())
			r.once(n)
			r.good(r.together(inserts(0, 3)...))
		})
	}
}

func TestACommitThatNeverArrivedIsMadeAgain(t *testing.T) {
	r, p := proxied(t)
	release := r.begin(logs(50)...)
	onCommit(p, proxy.Cut)
	r.good(release())
	r.once(50)
}

func TestACommitWhoseAnswerWasSeenButNotReadIsKnown(t *testing.T) {
	for name, n := range map[string]int{"at the answer to COMMIT": 0, "behind it": 1} {
		t.Run(name, func(t *testing.T) {
			r, p := proxied(t)
			release := r.begin(logs(50)...)
			var seen int
			p.OnServer(func(m proxy.Message) proxy.Action {
				if m.Tag() == "COMMIT" || seen > 0 {
					if seen++; seen == n+1 {
						return proxy.Cut
					}
				}
				return proxy.Pass
			})
			r.good(release()) // the results had come before
			r.once(50)
		})
	}
}

func TestAServerThatFallsSilentAtCommitIsAskedWhenTheTimeIsOver(t *testing.T) {
	r, p := proxied(t, groupcommit.MaxTime(500*time.Millisecond))
	release := r.begin(logs(20)...)
	onCommit(p, proxy.Mute)
	r.committed(release())
	r.once(20)
}

func TestAConnectionThatBreaksBeforeCommitCostsNobodyAnything(t *testing.T) {
	for _, text := range []string{"BEGIN", "SET CONSTRAINTS ALL IMMEDIATE", logged(0).query} {
		t.Run(text, func(t *testing.T) {
			r, p := proxied(t)
			r.good(r.together(logs(2)...)) // the statement is prepared
			r.exec(r.plain, "DELETE FROM log")
			release := r.begin(logs(50)...)
			var done atomic.Bool
			p.OnClient(func(m proxy.Message) proxy.Action {
				if m.Type == 'E' && m.SQL == text && done.CompareAndSwap(false, true) {
					return proxy.CutAfterForward
				}
				return proxy.Pass
			})
			r.good(release())
			r.once(50)
		})
	}
}

func TestAStaleConnectionIsReplaced(t *testing.T) {
	bothModes(t, func(t *testing.T, mode groupcommit.Option) {
		r, p := proxied(t, mode)
		r.good(r.together(logs(10)...))
		release := r.begin(logs(10)...)
		p.CutAll()
		r.good(release())
		require.Equal(r, "20", r.value("SELECT count(*) FROM log"))
	})
}

func TestAnOutcomeThatCannotBeKnownIsSaidToBeUnknown(t *testing.T) {
	r, p := proxied(t, groupcommit.MaxTime(300*time.Millisecond), groupcommit.Physical(func(pool *sql.DB) { pool.SetMaxIdleConns(-1) }))
	release := r.begin(logs(10)...)
	p.OnClient(func(m proxy.Message) proxy.Action {
		if m.Commit {
			p.Refuse(true) // nobody can be asked
			return proxy.CutAfterForward
		}
		return proxy.Pass
	})
	for i, a := range release() {
		r.unknown(a.err, i)
	}
	p.Refuse(false)
	p.OnClient(nil)
	r.eventually("they were committed", func() bool { return r.value("SELECT count(*) FROM log") == "10" })
	r.once(10)
	r.good(r.together(inserts(0, 2)...))
}

// unknown requires an outcome to be unknown, and such that database/sql does not run the call again.
func (r *rig) unknown(err error, i int) {
	r.Helper()
	var unknown *groupcommit.OutcomeUnknownError
	require.ErrorAs(r, err, &unknown, "call %d", i)
	require.False(r, errors.Is(err, driver.ErrBadConn), "call %d: %v", i, err)
}

func TestALostConnectionOfTheAutocommitPipelineIsUnknownButNeverTwice(t *testing.T) {
	r, p := proxied(t, groupcommit.Mode(groupcommit.Autocommit))
	release := r.begin(logs(50)...)
	var seen int
	p.OnServer(func(m proxy.Message) proxy.Action {
		if m.Tag() == "INSERT 0 1" {
			if seen++; seen == 20 {
				return proxy.Cut
			}
		}
		return proxy.Pass
	})
	for i, a := range release() {
		if a.err != nil {
			r.unknown(a.err, i)
		}
	}
	require.Empty(r, r.value("SELECT string_agg(k::text, ',') FROM (SELECT k FROM log GROUP BY k HAVING count(*) > 1) twice"))
	require.GreaterOrEqual(r, seen, 20)
}
