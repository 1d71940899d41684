package pgx_test

import (
	"sync"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/groupcommit/groupcommit/internal/pgtest/proxy"
	"github.com/stretchr/testify/require"
)

func TestAStaleConnectionIsNotTheErrorOfWhoIsAttached(t *testing.T) {
	t.Parallel()
	r, p := promised(t)
	require.Equal(t, done, execID(background, r.db, named{"warm", logged(9)}))
	var follower *groupcommit.Promise
	var once sync.Once
	p.OnClient(func(m proxy.Message) proxy.Action {
		a := proxy.Pass
		if m.SQL == "BEGIN" {
			once.Do(func() {
				follower = groupcommit.Go(groupcommit.WithID(background, "x"), r.db, logged(1).query, 1)
				a = proxy.Cut
			})
		}
		return a
	})
	require.NoError(t, execID(background, r.db, named{"x", logged(1)}).err, "database/sql calls again")
	_, err := follower.Await(background)
	require.NoError(t, err)
	require.Equal(t, "1", r.value("SELECT count(*) FROM log WHERE k = 1"))
}

func TestAStatementThatIsCanceledOnItsOwnConnectionIsNotTheErrorOfWhoIsAttached(t *testing.T) {
	t.Parallel()
	r := ledgerRig(t)
	r.seed(1)
	tx, err := r.plain.Begin()
	require.NoError(t, err)
	_, err = tx.Exec("UPDATE rows SET v = 'held' WHERE k = 0")
	require.NoError(t, err)
	const waiting = " FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
	first := make(chan error, 1)
	go func() {
		first <- execID(groupcommit.NoBatch(background), r.db, named{"x", touch(0)}).err
	}()
	r.eventually("the first waits", func() bool { return r.value("SELECT count(*)"+waiting) == "1" })
	follower := groupcommit.Go(groupcommit.WithID(background, "x"), r.db, touch(0).query, touch(0).args...)
	r.exec(r.plain, "SELECT pg_cancel_backend(pid)"+waiting)
	require.Equal(t, "57014", sqlState(bounded.Receive(t, "the first call is answered", first)))
	require.NoError(t, tx.Rollback())
	_, err = follower.Await(background)
	require.NoError(t, err)
	require.Equal(t, "1", r.promises("state = 1"))
}
