package pgx_test

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/groupcommit/groupcommit/internal/pgtest/proxy"
	"github.com/stretchr/testify/require"
)

// pair is a primary and its standby, each behind a proxy, and a rig whose data source name has both.
type pair struct {
	*rig
	primary, standby           *pgtest.Server
	primaryProxy, standbyProxy *proxy.Proxy
}

func newPair(t *testing.T) *pair {
	p := &pair{primary: pgtest.New(t, pgtest.Options{})}
	p.standby = pgtest.NewStandby(t, p.primary, pgtest.Options{})
	var hosts, ports []string
	for _, way := range []struct {
		server *pgtest.Server
		proxy  **proxy.Proxy
	}{{p.primary, &p.primaryProxy}, {p.standby, &p.standbyProxy}} {
		made, err := proxy.New(way.server.Addr())
		require.NoError(t, err)
		t.Cleanup(func() { made.Close() })
		*way.proxy = made
		host, port, err := net.SplitHostPort(made.Addr())
		require.NoError(t, err)
		hosts, ports = append(hosts, host), append(ports, port)
	}
	both := func(a, b []string) []pgtest.DSNOption {
		return []pgtest.DSNOption{pgtest.Param("host", strings.Join(a, ",")), pgtest.Param("port", strings.Join(b, ","))}
	}
	p.rig = setUpOn(t, p.primary.KeywordDSN(), both(hosts, ports))
	p.noSpare()
	t.Cleanup(func() { p.db.Close() })
	return p
}

// onAsked calls f when the standby is asked what it is.
func (p *pair) onAsked(f func()) {
	p.standbyProxy.OnClient(func(m proxy.Message) proxy.Action {
		if strings.Contains(m.SQL, "pg_is_in_recovery") {
			f()
		}
		return proxy.Pass
	})
}

func TestAStandbyIsNotBelieved(t *testing.T) {
	p := newPair(t)
	behind := p.open("pgx", p.standby.DSN())
	release := p.begin(logs(50)...)
	p.exec(behind, "SELECT pg_wal_replay_pause()") // it will not hear of the group
	loseAtCommit(p.primaryProxy, true, proxy.Cut, func() { p.primaryProxy.Refuse(true) })
	p.onAsked(func() { p.primaryProxy.Refuse(false) })
	p.committed(release())
	p.once(50)
}

func TestAGroupThatDidNotReachTheStandbyThatTookOverIsMadeAgain(t *testing.T) {
	p := newPair(t)
	p.plain = p.open("pgx", p.standby.DSN())
	asked := make(chan struct{}, 1)
	p.onAsked(func() {
		select {
		case asked <- struct{}{}:
		default:
		}
	})
	p.eventually("the standby has the tables", func() bool { return p.value("SELECT to_regclass('log')") == "log" })
	release := p.begin(logs(50)...)
	loseAtCommit(p.primaryProxy, false, proxy.Cut, func() { p.primaryProxy.Refuse(true) })
	answers := make(chan []answer)
	go func() { answers <- release() }()
	bounded.Receive(t, "the standby is asked", asked)
	require.NoError(t, p.primary.Kill())
	require.NoError(t, p.standby.Promote())
	p.good(bounded.Receive(t, "the calls are answered", answers))
	p.once(50)
}

func TestABackendIsEndedThoughItsProcessIsHidden(t *testing.T) {
	r, p := proxied(t, groupcommit.LockTimeout(0), groupcommit.MaxTime(time.Second))
	p.OnServer(func(m proxy.Message) proxy.Action {
		if m.Type == 'K' {
			copy(m.Payload, []byte{0, 0, 0, 1}) // as a pooler tells an id of its own
		}
		return proxy.Pass
	})
	r.seed(2)
	tx, err := r.plain.Begin()
	require.NoError(t, err)
	defer tx.Rollback()
	_, err = tx.Exec("UPDATE rows SET v = 'held' WHERE k = 1")
	require.NoError(t, err)
	release := r.begin(logged(0), touch(1), logged(2)) // one call takes all the group's time
	answers := make(chan []answer)
	go func() { answers <- release() }()
	r.eventually("the first call has been committed", func() bool { return r.value("SELECT count(*) FROM log WHERE k = 0") == "1" })
	require.NoError(t, tx.Commit())
	r.good(bounded.Receive(t, "the calls are answered", answers))
	require.Equal(t, fmt.Sprint(2), r.value("SELECT count(*) FROM log"))
	require.Equal(t, "held.", r.value("SELECT v FROM rows WHERE k = 1"))
}
