package pgx_test

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/pgtest/proxy"
	"github.com/groupcommit/groupcommit/pgx"
	"github.com/stretchr/testify/require"
)

// A connection may be lost at every message of a group. What is answered with success is there once, what is answered with
// another error than OutcomeUnknownError is not there, and nothing is there twice.
func TestALossOfTheConnectionAtAnyMessageOfAGroupIsAnsweredTruly(t *testing.T) {
	t.Parallel()
	for name, way := range map[string]struct {
		mode      groupcommit.GroupMode
		ids, many bool
	}{
		"transaction": {groupcommit.Transaction, false, false}, "autocommit": {groupcommit.Autocommit, false, false}, "ids": {groupcommit.Transaction, true, false},
		"many rows": {groupcommit.Transaction, false, true}, "many rows with ids": {groupcommit.Transaction, true, true},
	} {
		for _, side := range []string{"client", "server"} {
			t.Run(name+"/"+side, func(t *testing.T) {
				t.Parallel()
				opts := []groupcommit.Option{groupcommit.Mode(way.mode), groupcommit.Promises(), groupcommit.Writers(1)}
				e := pgx.AlwaysMany(3)
				if way.many {
					opts = append(opts, groupcommit.WithEngine(e), groupcommit.ManyRows(true))
				}
				r, p := proxied(t, opts...)
				r.forgets = false
				next := 0
				lost := r.atEveryMessage(func(at int) bool {
					var calls []named
					for range 4 {
						next++
						c := named{"", logged(next)}
						if way.ids {
							c.id = fmt.Sprint("id ", next)
						}
						calls = append(calls, c)
					}
					if at%3 == 2 && !way.many { // a new text
						calls[1].query += fmt.Sprintf(" /* %s %s %d */", name, side, at)
					}
					release := r.beginNamed(calls...)
					cut := cutMessage(p, side, at)
					got := release()
					p.OnClient(nil)
					p.OnServer(nil)
					r.true(calls, got)
					return cut.Load()
				})
				require.Greater(t, lost, 10)
				r.noneTwice()
				require.Equal(t, way.many, pgx.ManyGroups(e) > 10)
			})
		}
	}
}

// atEveryMessage cuts a group at its first message, another one at its second, and so on until the message comes behind the groups.
// It returns how many were cut. cut says whether its group was.
func (r *rig) atEveryMessage(cut func(at int) bool) (cuts int) {
	r.Helper()
	behind := 0
	for at := 0; behind < 4; at++ { // some groups have a new text, and with it more messages
		require.Less(r, at, 200, "the group has no end")
		if cut(at) {
			cuts++
			behind = 0
		} else {
			behind++
		}
	}
	return cuts
}

// cutMessage cuts a connection at one message of one side.
func cutMessage(p *proxy.Proxy, side string, at int) (done *atomic.Bool) {
	done = new(atomic.Bool)
	n, conn := 0, 0
	f := func(m proxy.Message) proxy.Action {
		if conn == 0 {
			conn = m.Conn
		}
		if m.Conn != conn || done.Load() {
			return proxy.Pass
		}
		if n++; n == at+1 {
			done.Store(true)
			return proxy.Cut
		}
		return proxy.Pass
	}
	if side == "client" {
		p.OnClient(f)
	} else {
		p.OnServer(f)
	}
	return done
}

// true requires the answers to be the truth about the rows.
func (r *rig) true(calls []named, got []outcome) {
	r.Helper()
	r.eventually("the server has ended what it was sent", func() bool {
		return r.value("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'") == "0"
	})
	for i, c := range calls {
		rows := r.value("SELECT count(*) FROM log WHERE k = $1", c.args[0])
		var unknown *groupcommit.OutcomeUnknownError
		switch err := got[i].err; {
		case err == nil, strings.Contains(err.Error(), "its result was lost"):
			require.Equal(r, "1", rows, "%v was answered", c)
		case !errors.As(err, &unknown):
			require.Equal(r, "0", rows, "%v: %v", c, err)
		}
		if c.id != "" {
			require.Equal(r, rows, r.promises("state = 1 AND id = '"+c.id+"'"), "rows and records of %v", c)
		}
	}
}
