package pgx_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/groupcommit/groupcommit/internal/pgtest/proxy"
	"github.com/stretchr/testify/require"
)

// patience is short, and longer than a lock is waited for by chance.
var patience = groupcommit.LockTimeout(20 * time.Millisecond)

// everyWay runs a story for each way in which a group is committed.
func everyWay(t *testing.T, story func(t *testing.T, via ...pgtest.DSNOption)) {
	for _, mode := range []string{"transaction", "autocommit"} {
		for _, exec := range []string{"cache_statement", "cache_describe", "describe_exec", "exec", "simple_protocol"} {
			t.Run(mode+"/"+exec, func(t *testing.T) {
				story(t, pgtest.Param("groupcommit_mode", mode), pgtest.Param("default_query_exec_mode", exec))
			})
		}
	}
}

// bump makes a function that handles errors by itself, on two rows.
func (r *rig) bump(handled string) {
	r.Helper()
	r.exec(r.plain, "CREATE TABLE counters (k TEXT PRIMARY KEY, n INT)")
	r.exec(r.plain, "INSERT INTO counters VALUES ('a', 0), ('b', 0)")
	r.exec(r.plain, `CREATE FUNCTION bump(key TEXT) RETURNS TEXT LANGUAGE plpgsql AS $$
		BEGIN UPDATE counters SET n = n + 1 WHERE k = key; RETURN 'ok';
		EXCEPTION WHEN `+handled+` THEN RETURN 'failed: ' || SQLSTATE; END $$`)
}

func bumped(k string) call {
	return call{"INSERT INTO rows (k, v) SELECT ascii($1), bump($1)", []any{k}}
}

func TestAFunctionThatHandlesAllErrorsLosesNoUpdateWhileItWaitsForALock(t *testing.T) {
	t.Parallel()
	everyWay(t, func(t *testing.T, via ...pgtest.DSNOption) {
		r := setUpOn(t, pgtest.DSN(t), via, patience)
		r.bump("OTHERS")
		unlock := r.lock("UPDATE counters SET n = n WHERE k = 'a'")
		release := r.begin(bumped("a"), bumped("b"), logged(1))
		answers := make(chan []answer)
		go func() { answers <- release() }()
		r.eventually("the neighbours are done", func() bool {
			return r.value("SELECT (SELECT count(*) FROM log) + (SELECT count(*) FROM rows WHERE k = ascii('b'))") == "2"
		})
		unlock()
		r.good(bounded.Receive(t, "the calls are answered", answers))
		require.Equal(r, "ok,ok", r.value("SELECT string_agg(v, ',') FROM rows"))
		require.Equal(r, "1,1", r.value("SELECT string_agg(n::text, ',') FROM counters"))
	})
}

// lock has another session hold what a statement locks, until unlock is called.
func (r *rig) lock(query string) (unlock func()) {
	r.Helper()
	tx, err := r.plain.Begin()
	require.NoError(r, err)
	_, err = tx.Exec(query)
	require.NoError(r, err)
	return func() { require.NoError(r, tx.Rollback()) }
}

// pooled is a rig that reaches its server by one that tells clients numbers of its own for the server's processes, as a pooler
// does.
func pooled(t *testing.T, via []pgtest.DSNOption, opts ...groupcommit.Option) *rig {
	t.Helper()
	dsn := pgtest.DSN(t)
	p, err := proxy.New(pgtest.Shared(t).Addr())
	require.NoError(t, err)
	p.OnServer(func(m proxy.Message) proxy.Action {
		if m.Type == 'K' {
			binary.BigEndian.PutUint32(m.Payload, 1<<30)
		}
		return proxy.Pass
	})
	r := setUpOn(t, dsn, append(via, pgtest.Via(p.Addr())), opts...)
	t.Cleanup(func() { p.Close() })
	t.Cleanup(func() { r.db.Close() })
	return r
}

func TestBehindAPoolerACallThatWaitsForALockWaitsAloneAndTheOthersCommit(t *testing.T) {
	t.Parallel()
	everyWay(t, func(t *testing.T, via ...pgtest.DSNOption) { pooled(t, via, patience).oneWaits() })
}

func TestACallWhoseTextWaitsForALockWaitsAloneAndTheOthersCommit(t *testing.T) {
	t.Parallel()
	story := func(r *rig) {
		r.exec(r.plain, "CREATE TABLE altered (k BIGINT)")
		unlock := r.lock("ALTER TABLE altered ADD COLUMN v TEXT")
		release := r.begin(logged(1), call{"INSERT INTO altered (k) VALUES ($1)", []any{1}}, logged(2))
		answers := make(chan []answer)
		go func() { answers <- release() }()
		r.eventually("the neighbours are done", func() bool { return r.value("SELECT count(*) FROM log") == "2" })
		unlock()
		r.good(bounded.Receive(t, "the calls are answered", answers))
	}
	everyWay(t, func(t *testing.T, via ...pgtest.DSNOption) {
		t.Run("directly", func(t *testing.T) { story(setUpOn(t, pgtest.DSN(t), via, patience)) })
		t.Run("pooled", func(t *testing.T) { story(pooled(t, via, patience)) })
	})
}

func TestASlowCallThatWaitsForNoLockIsLeftAlone(t *testing.T) {
	t.Parallel()
	everyWay(t, func(t *testing.T, via ...pgtest.DSNOption) {
		r := setUpOn(t, pgtest.DSN(t), via, patience)
		r.exec(r.plain, "CREATE SEQUENCE times")
		r.good(r.together(call{"INSERT INTO log (k) SELECT k FROM (SELECT nextval('times') AS k OFFSET 0) one WHERE pg_sleep(0.2)::text = ''", nil}, logged(100)))
		require.Equal(t, "1", r.value("SELECT last_value FROM times"), "how often it was executed")
	})
}

func TestWhereNoConnectionCanBeHadToAskOnTheProtocolsOwnCancelIsUsed(t *testing.T) {
	t.Parallel()
	bothModes(t, func(t *testing.T, mode groupcommit.Option) {
		role := fmt.Sprintf("app_%d_%d", os.Getpid(), drivers.Add(1))
		r := setUpOn(t, pgtest.DSN(t), []pgtest.DSNOption{pgtest.User(role, "secret")}, mode, patience)
		r.exec(r.plain, "CREATE ROLE "+role+" LOGIN PASSWORD 'secret'")
		t.Cleanup(func() { r.plain.Exec("DROP OWNED BY " + role); r.plain.Exec("DROP ROLE " + role) })
		r.exec(r.plain, "GRANT ALL ON ALL TABLES IN SCHEMA public TO "+role)
		r.seed(2)
		r.good(r.together(touch(0), logged(0))) // the groups' connection is there
		unlock := r.lock("UPDATE rows SET v = 'held' WHERE k = 1")
		release := r.begin(logged(1), touch(1), logged(2))
		r.exec(r.plain, "ALTER ROLE "+role+" NOLOGIN")
		answers := make(chan []answer)
		go func() { answers <- release() }()
		r.eventually("the neighbours are done", func() bool { return r.value("SELECT count(*) FROM log") == "3" })
		unlock()
		r.good(bounded.Receive(t, "the calls are answered", answers), 1) // which may not log in
	})
}

// What was cancelled and committed all the same may have been waiting for a standby, which the cancel ended.
func TestWhatCommitsInSpiteOfACancelIsFlushedBeforeItIsAnswered(t *testing.T) {
	t.Parallel()
	for _, exec := range []string{"cache_statement", "simple_protocol"} {
		t.Run(exec, func(t *testing.T) {
			dsn := pgtest.DSN(t)
			p, err := proxy.New(pgtest.Shared(t).Addr())
			require.NoError(t, err)
			r := setUpOn(t, dsn, []pgtest.DSNOption{pgtest.Via(p.Addr()), pgtest.Param("default_query_exec_mode", exec)}, patience)
			t.Cleanup(func() { p.Close() })
			t.Cleanup(func() { r.db.Close() })
			r.bump("query_canceled")
			unlock := r.lock("UPDATE counters SET n = n WHERE k = 'a'")
			defer unlock()
			var flushed atomic.Int32
			p.OnClient(func(m proxy.Message) proxy.Action {
				if strings.Contains(m.SQL, "pg_logical_emit_message") && !strings.Contains(m.SQL, "has_function") {
					flushed.Add(1)
				}
				return proxy.Pass
			})
			r.good(r.together(bumped("a"), logged(1)))
			require.Equal(t, "failed: 57014", r.value("SELECT v FROM rows"), "it was cancelled")
			require.EqualValues(t, 1, flushed.Load())
		})
	}
}

func TestManyCallsThatWaitForOneLockAreNotWaitedForOneAfterTheOther(t *testing.T) {
	t.Parallel()
	bothModes(t, func(t *testing.T, mode groupcommit.Option) {
		const blocked, each = 40, time.Second
		r := setUp(t, mode, groupcommit.LockTimeout(each))
		r.seed(1)
		unlock := r.lock("UPDATE rows SET v = 'held' WHERE k = 0")
		free := r.hold()
		var waiting sync.WaitGroup
		for range blocked {
			waiting.Go(func() { r.do(touch(0)) })
		}
		r.queued(blocked)
		innocent := groupcommit.Go(background, r.db, logged(1).query, 1)
		free()
		soon, cancel := context.WithTimeout(background, blocked*each*3/4)
		defer cancel()
		_, err := innocent.Await(soon)
		require.NoError(t, err)
		unlock()
		bounded.Wait(t, "the calls that waited are answered", waiting.Wait)
	})
}

func TestNoCallSeesASettingOfOurs(t *testing.T) {
	t.Parallel()
	everyWay(t, func(t *testing.T, via ...pgtest.DSNOption) {
		r := setUpOn(t, pgtest.DSN(t), append(via, pgtest.Param("lock_timeout", "12345")), patience)
		setting := call{"INSERT INTO rows (k, v) VALUES ($1, current_setting('lock_timeout'))", []any{1}}
		r.good(r.together(logged(1), setting, logged(2)))
		require.Equal(t, "12345ms", r.value("SELECT v FROM rows"))
	})
}

func TestNothingIsSetOrKeptBeyondATransaction(t *testing.T) {
	t.Parallel()
	everyWay(t, func(t *testing.T, via ...pgtest.DSNOption) {
		p, err := proxy.New(pgtest.Shared(t).Addr())
		require.NoError(t, err)
		r := setUpOn(t, pgtest.DSN(t), append(via, pgtest.Via(p.Addr())), patience)
		t.Cleanup(func() { p.Close() })
		t.Cleanup(func() { r.db.Close() })
		var mu sync.Mutex
		var kept []string
		p.OnClient(func(m proxy.Message) proxy.Action {
			mu.Lock()
			defer mu.Unlock()
			set := strings.Contains(m.SQL, "set_config") && !strings.Contains(m.SQL, "'off', true)")
			set = set || strings.HasPrefix(m.SQL, "SET ") && !strings.HasPrefix(m.SQL, "SET CONSTRAINTS") && !strings.HasPrefix(m.SQL, "SET LOCAL")
			named := m.Type == 'P' && m.Payload[0] != 0 && !strings.Contains(t.Name(), "cache_statement")
			if set || named || strings.Contains(m.SQL, "lock_timeout") {
				kept = append(kept, m.SQL)
			}
			return proxy.Pass
		})
		r.exec(r.plain, "INSERT INTO rows (k) VALUES (0)")
		r.mixed()
		mu.Lock()
		defer mu.Unlock()
		require.Empty(t, kept)
	})
}

// mixed is a group with calls that succeed, fail, and wait for a lock.
func (r *rig) mixed() {
	r.Helper()
	unlock := r.lock("UPDATE rows SET v = 'held' WHERE k = 0")
	release := r.begin(insert(1), logged(1), insert(1), insert(1), touch(0), logged(2))
	answers := make(chan []answer)
	go func() { answers <- release() }()
	r.eventually("the neighbours are done", func() bool { return r.value("SELECT count(*) FROM log") == "2" })
	unlock()
	r.good(bounded.Receive(r, "the calls are answered", answers), 0, 2, 3) // by the simple protocol they are put off, and any of the three may come first
	require.Equal(r, "1", r.value("SELECT count(*) FROM rows WHERE k = 1"))
}

func TestACallThatWaitsForALockWaitsAloneWhateverRoleItsSessionHas(t *testing.T) {
	t.Parallel()
	everyWay(t, func(t *testing.T, via ...pgtest.DSNOption) {
		dsn := pgtest.DSN(t)
		plain := (&rig{T: t}).open("pgx", dsn)
		role := fmt.Sprintf("owner_%d_%d", os.Getpid(), drivers.Add(1))
		for _, q := range []string{"CREATE ROLE " + role, "GRANT ALL ON SCHEMA public TO " + role} {
			_, err := plain.Exec(q)
			require.NoError(t, err)
		}
		t.Cleanup(func() { plain.Exec("DROP OWNED BY " + role); plain.Exec("DROP ROLE " + role) })
		r := setUpOn(t, dsn, append(via, pgtest.Param("role", role)), patience)
		r.exec(r.plain, "GRANT ALL ON rows, log TO "+role)
		r.oneWaits()
	})
}
