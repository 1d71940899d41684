package pgx_test

import (
	"errors"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/groupcommit/groupcommit/internal/pgtest/proxy"
	"github.com/stretchr/testify/require"
)

// simply is a rig whose connections use the simple protocol.
func simply(t *testing.T, via []pgtest.DSNOption, opts ...groupcommit.Option) *rig {
	t.Helper()
	return setUpOn(t, pgtest.DSN(t), append(via, pgtest.Param("default_query_exec_mode", "simple_protocol")), opts...)
}

func TestTheSimpleProtocolChecksADeferredConstraintAtTheCallThatViolatesIt(t *testing.T) {
	t.Parallel()
	r := simply(t, nil)
	r.exec(r.plain, "CREATE TABLE child (k BIGINT REFERENCES rows DEFERRABLE INITIALLY DEFERRED)")
	r.exec(r.plain, "INSERT INTO rows (k) VALUES (1)")
	child := func(k int) call { return call{"INSERT INTO child (k) VALUES ($1)", []any{k}} }
	got := r.together(child(1), child(7), logged(1), child(1))
	r.good(got, 1)
	r.sameError(child(7), got[1].err)
	require.Equal(t, "1", r.value("SELECT count(DISTINCT xmin::text) FROM (SELECT xmin FROM log UNION ALL SELECT xmin FROM child) good"),
		"the others are still one transaction")
}

func TestTheSimpleProtocolsLostAcknowledgementIsAskedFor(t *testing.T) {
	t.Parallel()
	for name, a := range map[string]proxy.Action{"committed": proxy.CutAfterForward, "not committed": proxy.Cut} {
		t.Run(name, func(t *testing.T) {
			p, err := proxy.New(pgtest.Shared(t).Addr())
			require.NoError(t, err)
			r := simply(t, []pgtest.DSNOption{pgtest.Via(p.Addr())})
			t.Cleanup(func() { p.Close() })
			t.Cleanup(func() { r.db.Close() })
			release := r.begin(logs(20)...)
			onCommit(p, a)
			r.good(release())
			r.once(20)
		})
	}
}

func TestAConnectionThatBreaksInTheSimpleProtocolCostsNobodyAnything(t *testing.T) {
	t.Parallel()
	p, err := proxy.New(pgtest.Shared(t).Addr())
	require.NoError(t, err)
	r := simply(t, []pgtest.DSNOption{pgtest.Via(p.Addr())})
	t.Cleanup(func() { p.Close() })
	t.Cleanup(func() { r.db.Close() })
	release := r.begin(logs(20)...)
	cutAt(p, inserted(11)...)
	r.good(release())
	r.once(20)
}

func TestAPanicInTheSimpleProtocolIsItsOwnCallersOnly(t *testing.T) {
	t.Parallel()
	r := simply(t, nil)
	reason := errors.New("the valuer panics")
	release := r.hold()
	bad := groupcommit.Go(background, r.db, "INSERT INTO rows (k) VALUES ($1)", bomb{reason})
	good := groupcommit.Go(background, r.db, "INSERT INTO rows (k) VALUES ($1)", 1)
	release()
	_, err := bad.Await(background)
	require.ErrorIs(t, err, reason)
	_, err = good.Await(background)
	require.NoError(t, err)
	require.Equal(t, "1", r.value("SELECT count(*) FROM rows"))
}

func TestACallThatEndsItsConnectionInTheSimpleProtocolEndsNoOther(t *testing.T) {
	t.Parallel()
	r := simply(t, nil, groupcommit.Retry(groupcommit.Never))
	got := r.together(logged(0), call{"INSERT INTO log (k) SELECT 9 FROM pg_terminate_backend(pg_backend_pid())", nil}, logged(1))
	r.good(got, 1)
	require.Error(t, got[1].err)
	r.once(2)
}

func TestACallThatTakesAllOfItsGroupsTimeInTheSimpleProtocolEndsNoOther(t *testing.T) {
	t.Parallel()
	r := simply(t, nil, groupcommit.LockTimeout(0), groupcommit.MaxTime(2*time.Second))
	r.seed(2)
	tx, err := r.plain.Begin()
	require.NoError(t, err)
	defer tx.Rollback()
	_, err = tx.Exec("UPDATE rows SET v = 'held' WHERE k = 1")
	require.NoError(t, err)
	release := r.begin(logged(0), touch(1), logged(1))
	answers := make(chan []answer)
	go func() { answers <- release() }()
	r.eventually("the first call has been committed", func() bool { return r.value("SELECT count(*) FROM log WHERE k = 0") == "1" })
	require.NoError(t, tx.Commit())
	r.good(bounded.Receive(t, "the calls are answered", answers))
	r.once(2)
}
