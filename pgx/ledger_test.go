package pgx_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/groupcommit/groupcommit/internal/pgtest/proxy"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"
)

// named is a call with an id.
type named struct {
	id string
	call
}

type outcome struct {
	rows     int64
	replayed bool
	err      error
}

var done = outcome{rows: 1}
var doneBefore = outcome{rows: 1, replayed: true}

func execID(ctx context.Context, db *sql.DB, c named) (o outcome) {
	if c.id != "" {
		ctx = groupcommit.WithID(ctx, c.id)
	}
	res, err := db.ExecContext(ctx, c.query, c.args...)
	if o.err = err; err == nil {
		o.rows, o.err = res.RowsAffected()
		o.replayed = groupcommit.Deduplicated(res)
	}
	return o
}

// named runs calls as one group.
func (r *rig) named(calls ...named) []outcome {
	r.Helper()
	release := r.beginNamed(calls...)
	before := len(r.sizes())
	got := release()
	require.Contains(r, r.sizes()[before:], len(calls), "the calls were not one group")
	return got
}

func (r *rig) beginNamed(calls ...named) (release func() []outcome) {
	r.Helper()
	if r.forgets {
		r.forget()
	}
	free := r.hold()
	got := make([]outcome, len(calls))
	var all sync.WaitGroup
	var apart atomic.Int64 // calls that go another way, because a busy machine has made their text look slow
	for i, c := range calls {
		all.Go(func() { got[i] = execID(background, r.db, c); apart.Add(1) })
		r.eventually("the call is queued", func() bool { return r.stats().Queued+int(apart.Load()) == i+1 })
	}
	return func() []outcome {
		free()
		bounded.Wait(r, "the calls are answered", all.Wait)
		return got
	}
}

// ids gives each call its place as its id.
func ids(calls []call) (n []named) {
	for i, c := range calls {
		n = append(n, named{fmt.Sprintf(`call "%d" \of ä`, i), c})
	}
	return n
}

func all(o outcome, n int) (os []outcome) {
	for range n {
		os = append(os, o)
	}
	return os
}

func ledgerRig(t *testing.T, opts ...groupcommit.Option) *rig {
	r := setUp(t, append(opts, groupcommit.Promises())...)
	r.exec(r.db, "DELETE FROM log") // makes the table
	return r
}

// promising is another program's way to a database.
func promising(r *rig, dsn string, opts ...groupcommit.Option) *sql.DB {
	name := fmt.Sprintf("pgx-groupcommit-test-%d", drivers.Add(1))
	groupcommit.Register(name, stdlib.GetDefaultDriver(), append(opts, groupcommit.Promises())...)
	return r.open(name, dsn)
}

func (r *rig) promises(where string) string {
	r.Helper()
	return r.value("SELECT count(*) FROM groupcommit_promises WHERE id <> '' AND " + where)
}

// lone runs a call with nobody beside it, and together with another that has no id.
var ways = map[string]func(*rig, named) outcome{
	"alone":      func(r *rig, c named) outcome { return execID(background, r.db, c) },
	"in a group": func(r *rig, c named) outcome { return r.named(c, named{"", logged(-2)})[0] },
}

func eachWay(t *testing.T, test func(*testing.T, func(*rig, named) outcome)) {
	for name, way := range ways {
		t.Run(name, func(t *testing.T) { test(t, way) })
	}
}

func TestAGroupOfCallsWithIDsIsExecutedOnceAndThenReplayed(t *testing.T) {
	t.Parallel()
	r := ledgerRig(t)
	calls := ids(logs(100))
	require.Equal(t, all(done, 100), r.named(calls...))
	require.Equal(t, "1", r.value("SELECT count(DISTINCT xmin::text) FROM groupcommit_promises WHERE id <> ''"), "transactions")
	require.Equal(t, all(doneBefore, 100), r.named(calls...))
	r.once(100)
	require.Equal(t, "100", r.promises(`state = 1 AND value = '{"rows":1}'`))
	p, err := groupcommit.Lookup(background, r.db, calls[7].id)
	require.NoError(t, err)
	require.Equal(t, durable.Resolved, p.State)
	require.Equal(t, `{"rows":1}`, string(p.Value.Data))
	require.WithinDuration(t, time.Now(), p.Completed, time.Minute)
}

func TestCallsWithAndWithoutIDsShareATransaction(t *testing.T) {
	t.Parallel()
	r := ledgerRig(t)
	require.Equal(t, all(done, 3), r.named(named{"", logged(1)}, named{"a", logged(2)}, named{"", logged(3)}))
	require.Equal(t, "1", r.value("SELECT count(DISTINCT xmin::text) FROM log"))
	require.Equal(t, r.value("SELECT xmin FROM log LIMIT 1"), r.value("SELECT xmin FROM groupcommit_promises WHERE id = 'a'"))
}

func TestAnIDOfAnotherStatementIsRefused(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, run func(*rig, named) outcome) {
		r := ledgerRig(t)
		require.Equal(t, done, run(r, named{"a", insert(1)}))
		require.ErrorIs(t, run(r, named{"a", insert(2)}).err, groupcommit.ErrMismatch)
		require.Equal(t, "1", r.value("SELECT count(*) FROM rows"))
		require.Equal(t, all(done, 2), r.named(named{"b", insert(3)}, named{"", insert(4)}))
	})
}

func TestTheNumberOfRowsIsReplayed(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, run func(*rig, named) outcome) {
		r := ledgerRig(t)
		r.good(r.together(inserts(0, 3)...))
		for id, c := range map[string]struct {
			where string
			rows  int64
		}{"none": {"k > $1", 0}, "three": {"k <= $1", 3}} {
			update := named{id, call{"UPDATE rows SET v = v || '!' WHERE " + c.where, []any{10}}}
			require.Equal(t, outcome{rows: c.rows}, run(r, update))
			require.Equal(t, outcome{rows: c.rows, replayed: true}, run(r, update))
		}
		require.Equal(t, "3", r.value("SELECT count(*) FROM rows WHERE v = 'v!'"))
	})
}

func TestAViolatedConstraintIsRecorded(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, run func(*rig, named) outcome) {
		r := ledgerRig(t)
		r.exec(r.plain, "INSERT INTO rows (k) VALUES (1)")
		r.sameError(insert(1), run(r, named{"a", insert(1)}).err)
		require.Equal(t, "1", r.promises("id = 'a' AND state = 2"))
		r.exec(r.plain, "DELETE FROM rows")
		var rejected *groupcommit.RejectedError
		require.ErrorAs(t, run(r, named{"a", insert(1)}).err, &rejected)
		require.Equal(t, "23505", rejected.Code)
		require.Contains(t, rejected.Message, "rows_pkey")
		require.Equal(t, "0", r.value("SELECT count(*) FROM rows"), "it is not executed")
	})
}

func TestADeferredConstraintIsRecorded(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, run func(*rig, named) outcome) {
		r := ledgerRig(t)
		r.exec(r.plain, "CREATE TABLE later (k INT REFERENCES rows DEFERRABLE INITIALLY DEFERRED)")
		c := call{"INSERT INTO later VALUES ($1)", []any{5}}
		r.sameError(c, run(r, named{"a", c}).err)
		require.Equal(t, "1", r.promises("id = 'a' AND state = 2"))
	})
}

func TestAnErrorOfTheEnvironmentIsNotRecorded(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, run func(*rig, named) outcome) {
		r := ledgerRig(t)
		c := call{"INSERT INTO missing (k) VALUES ($1)", []any{1}}
		r.sameError(c, run(r, named{"a", c}).err)
		require.Equal(t, "0", r.promises("true"))
		r.exec(r.plain, "CREATE TABLE missing (k INT)")
		require.Equal(t, done, run(r, named{"a", c}))
	})
}

func TestACulpritWithAnIDCostsItsNeighboursNothing(t *testing.T) {
	t.Parallel()
	r := ledgerRig(t)
	r.exec(r.plain, "INSERT INTO rows (k) VALUES (2), (4), (6)")
	got := r.named(ids(inserts(0, 8))...)
	for i, o := range got {
		if i == 2 || i == 4 || i == 6 {
			r.sameError(insert(i), o.err)
		} else {
			require.Equal(t, done, o, i)
		}
	}
	require.Equal(t, "3", r.promises("state = 2"))
	require.Equal(t, "5", r.promises("state = 1"))
}

func TestAnArgumentThatCannotBeSentLeavesNoClaim(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, run func(*rig, named) outcome) {
		r := ledgerRig(t)
		require.Equal(t, done, run(r, named{"before", insert(1)}))
		require.Error(t, run(r, named{"a", call{insert(0).query, []any{struct{ X int }{1}, "v"}}}).err)
		r.noneOpen()
		require.Equal(t, "1", r.promises("true"))
		require.Equal(t, done, run(r, named{"a", insert(2)}))
	})
}

// noneOpen requires that no connection was left in a transaction.
func (r *rig) noneOpen() {
	r.Helper()
	require.Equal(r, "0", r.value("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'"))
}

func promised(t *testing.T, opts ...groupcommit.Option) (*rig, *proxy.Proxy) {
	r, p := proxied(t, append(opts, groupcommit.Promises())...)
	r.exec(r.db, "DELETE FROM log")
	return r, p
}

func TestALostAcknowledgementOfACommitWithIDsIsTheTrueResult(t *testing.T) {
	t.Parallel()
	for name, action := range map[string]proxy.Action{"it was committed": proxy.CutAfterForward, "it never arrived": proxy.Cut} {
		t.Run(name, func(t *testing.T) {
			r, p := promised(t)
			release := r.beginNamed(ids(logs(50))...)
			onCommit(p, action)
			require.Equal(t, all(done, 50), release())
			r.once(50)
			require.Equal(t, "50", r.promises("state = 1"))
		})
	}
}

func TestALoneCallWithAnIDFindsOutWhatBecameOfItsCommit(t *testing.T) {
	t.Parallel()
	for name, action := range map[string]proxy.Action{"it was committed": proxy.CutAfterForward, "it never arrived": proxy.Cut} {
		t.Run(name, func(t *testing.T) {
			r, p := promised(t)
			onCommit(p, action)
			o := execID(background, r.db, named{"a", logged(0)})
			require.Equal(t, outcome{rows: 1, replayed: action == proxy.CutAfterForward}, o)
			r.once(1)
		})
	}
}

func TestALoneCallWhoseContextEndsAtItsCommitIsToldThatItMayHaveRun(t *testing.T) {
	t.Parallel()
	r, p := promised(t)
	ctx, cancel := context.WithCancel(background)
	p.OnClient(func(m proxy.Message) proxy.Action {
		if m.Commit {
			cancel()
			return proxy.Mute
		}
		return proxy.Pass
	})
	err := execID(ctx, r.db, named{"a", logged(0)}).err
	p.OnClient(nil)
	require.ErrorIs(t, err, context.Canceled)
	var unknown *groupcommit.OutcomeUnknownError
	require.ErrorAs(t, err, &unknown)
	require.Equal(t, "a", unknown.ID)
	require.NoError(t, execID(background, r.db, named{"a", logged(0)}).err)
	r.once(1)
}

func TestALoneCallWithAnIDThatCannotFindOutIsOfUnknownOutcome(t *testing.T) {
	t.Parallel()
	r, p := promised(t, groupcommit.MaxTime(time.Second))
	p.OnClient(func(m proxy.Message) proxy.Action {
		if m.Commit {
			p.Refuse(true)
			return proxy.CutAfterForward
		}
		return proxy.Pass
	})
	r.unknown(execID(background, r.db, named{"a", logged(0)}).err, 0)
	p.OnClient(nil)
	p.Refuse(false)
	require.Equal(t, doneBefore, execID(background, r.db, named{"a", logged(0)}))
	r.once(1)
}

func TestWhatCannotBeResolvedIsFoundOutByItsClaim(t *testing.T) {
	t.Parallel()
	r, p := promised(t, groupcommit.MaxTime(time.Second))
	r.noSpare()
	release := r.beginNamed(ids(logs(10))...)
	var once atomic.Bool
	p.OnClient(func(m proxy.Message) proxy.Action {
		if m.Commit && once.CompareAndSwap(false, true) {
			p.Refuse(true)
			time.AfterFunc(1500*time.Millisecond, func() { p.Refuse(false) })
			return proxy.CutAfterForward
		}
		return proxy.Pass
	})
	require.Equal(t, all(doneBefore, 10), release())
	r.once(10)
}

func TestTwoProgramsWithTheSameIDsExecuteEachOnce(t *testing.T) {
	t.Parallel()
	r := ledgerRig(t)
	name := fmt.Sprintf("pgx-groupcommit-test-%d", drivers.Add(1))
	groupcommit.Register(name, stdlib.GetDefaultDriver(), groupcommit.Promises())
	other := r.open(name, r.dsn)
	const n = 200
	calls := ids(logs(n))
	got := [2][]outcome{make([]outcome, n), make([]outcome, n)}
	var both sync.WaitGroup
	for i := range n {
		both.Go(func() { got[0][i] = execID(background, r.db, calls[i]) })
		both.Go(func() { got[1][n-1-i] = execID(background, other, calls[n-1-i]) })
	}
	bounded.Wait(t, "both have ended", both.Wait)
	for i := range n {
		require.NoError(t, got[0][i].err)
		require.NoError(t, got[1][i].err)
		require.NotEqual(t, got[0][i].replayed, got[1][i].replayed, "one of them executed it")
	}
	r.once(n)
}

func TestGroupsWithTheSameIDsInOppositeOrderDoNotDeadlock(t *testing.T) {
	t.Parallel()
	r := ledgerRig(t, groupcommit.LockTimeout(20*time.Second))
	tx, err := r.plain.Begin()
	require.NoError(t, err)
	_, err = tx.Exec("INSERT INTO groupcommit_promises (id, state, create_key, value, created_at, completed_at) VALUES ('a', 1, '', '', 0, 0)")
	require.NoError(t, err)
	release := r.beginNamed(named{"b", logged(2)}, named{"a", logged(1)}, named{"", logged(3)})
	answers := make(chan []outcome)
	go func() { answers <- release() }()
	r.eventually("the group waits for a", func() bool {
		return r.value("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()") != "0"
	})
	_, err = tx.Exec("SET LOCAL lock_timeout = '300ms'; INSERT INTO groupcommit_promises (id, state, create_key, value, created_at, completed_at) VALUES ('b', 1, '', '', 0, 0)")
	require.NoError(t, err, "the group has not claimed b before a")
	require.NoError(t, tx.Rollback())
	require.Equal(t, all(done, 3), bounded.Receive(t, "the calls are answered", answers))
}

func TestACallWaitsForAnotherProgramsClaimAndItsNeighboursDoNot(t *testing.T) {
	t.Parallel()
	r := ledgerRig(t, groupcommit.LockTimeout(50*time.Millisecond))
	tx, err := r.plain.Begin()
	require.NoError(t, err)
	_, err = tx.Exec("INSERT INTO groupcommit_promises (id, state, create_key, value, created_at, completed_at) VALUES ('a', 1, '', '', 0, 0)")
	require.NoError(t, err)
	release := r.beginNamed(named{"a", logged(1)}, named{"", logged(2)}, named{"b", logged(3)})
	answers := make(chan []outcome)
	go func() { answers <- release() }()
	r.eventually("the neighbours are done", func() bool { return r.value("SELECT count(*) FROM log") == "2" })
	require.NoError(t, tx.Rollback())
	require.Equal(t, all(done, 3), bounded.Receive(t, "the calls are answered", answers))
	r.once(3)
}

func TestALedgerThatIsGoneIsTheErrorOfThoseWhoNeedIt(t *testing.T) {
	t.Parallel()
	for _, known := range []bool{false, true} {
		t.Run(fmt.Sprintf("prepared=%t", known), func(t *testing.T) {
			r := ledgerRig(t)
			if known {
				require.Equal(t, all(done, 2), r.named(named{"x", logged(8)}, named{"y", logged(9)}))
			}
			r.forgets = false
			r.exec(r.plain, "DROP TABLE groupcommit_promises")
			got := r.named(named{"a", logged(1)}, named{"", logged(2)}, named{"b", logged(3)}, named{"", logged(4)})
			for i, o := range got {
				if i%2 == 1 {
					require.Equal(t, done, o)
					continue
				}
				require.ErrorContains(t, o.err, "groupcommit_promises")
				var pg *pgconn.PgError
				require.True(t, errors.As(o.err, &pg))
				require.Equal(t, "42P01", pg.Code)
			}
			require.Equal(t, "0", r.value("SELECT count(*) FROM log WHERE k IN (1, 3)"))
			for _, q := range durable.Schema(durable.PostgreSQL) {
				r.exec(r.plain, q)
			}
			require.Equal(t, all(done, 2), r.named(named{"a", logged(1)}, named{"b", logged(3)}))
		})
	}
}

func TestIDsInEveryModeOfTheDriver(t *testing.T) {
	t.Parallel()
	for _, param := range []pgtest.DSNOption{
		pgtest.Param("default_query_exec_mode", "exec"), pgtest.Param("default_query_exec_mode", "describe_exec"),
		pgtest.Param("default_query_exec_mode", "cache_describe"), pgtest.Param("default_query_exec_mode", "cache_statement"),
		pgtest.Param("default_query_exec_mode", "simple_protocol"), pgtest.Param("default_transaction_isolation", "serializable"),
	} {
		r := setUpOn(t, pgtest.DSN(t), []pgtest.DSNOption{param}, groupcommit.Promises())
		r.exec(r.db, "DELETE FROM log")
		calls := ids(logs(5))
		require.Equal(t, all(done, 5), r.named(calls...))
		require.Equal(t, all(doneBefore, 5), r.named(calls...))
		require.Equal(t, done, execID(background, r.db, named{"alone", logged(5)}))
		require.Equal(t, doneBefore, execID(background, r.db, named{"alone", logged(5)}))
		r.once(6)
	}
}

func TestAConnectionThatBreaksBeforeCommitLeavesNoClaim(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"BEGIN", logged(0).query} {
		for _, lone := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s lone=%t", text, lone), func(t *testing.T) {
				r, p := promised(t)
				require.Equal(t, all(done, 2), r.named(named{"x", logged(8)}, named{"y", logged(9)}))
				r.exec(r.plain, "DELETE FROM log")
				calls := ids(logs(5))
				if lone {
					calls = calls[:1]
				}
				release := r.beginNamed(calls...)
				var once atomic.Bool
				p.OnClient(func(m proxy.Message) proxy.Action {
					if strings.HasPrefix(m.SQL, text) && m.Type != 'P' && once.CompareAndSwap(false, true) {
						return proxy.CutAfterForward
					}
					return proxy.Pass
				})
				for i, o := range release() {
					if lone && o.err != nil { // as the plain driver
						o = execID(background, r.db, calls[i])
					}
					require.Equal(t, done, o)
				}
				r.once(len(calls))
			})
		}
	}
}

func TestARejectionWhoseRecordIsLostIsFoundOut(t *testing.T) {
	t.Parallel()
	for name, action := range map[string]proxy.Action{"it was recorded": proxy.CutAfterForward, "it never arrived": proxy.Cut} {
		t.Run(name, func(t *testing.T) {
			r, p := promised(t)
			r.exec(r.plain, "INSERT INTO rows (k) VALUES (1)")
			var once atomic.Bool
			p.OnClient(func(m proxy.Message) proxy.Action {
				if strings.HasPrefix(m.SQL, "INSERT INTO groupcommit_promises") && once.CompareAndSwap(false, true) {
					return action
				}
				return proxy.Pass
			})
			err := execID(background, r.db, named{"a", insert(1)}).err
			if rejected := (*groupcommit.RejectedError)(nil); errors.As(err, &rejected) {
				require.Equal(t, "23505", rejected.Code)
			} else {
				r.sameError(insert(1), err)
			}
			require.True(t, once.Load())
			require.Equal(t, "1", r.promises("state = 2"))
		})
	}
}

func TestARejectionThatCannotBeRecordedSaysSo(t *testing.T) {
	t.Parallel()
	r := ledgerRig(t)
	r.exec(r.plain, "INSERT INTO rows (k) VALUES (1)")
	r.exec(r.plain, "ALTER TABLE groupcommit_promises ADD CHECK (state <> 2)")
	err := execID(background, r.db, named{"a", insert(1)}).err
	require.ErrorContains(t, err, "could not be recorded")
	require.Equal(t, "23505", sqlState(err))
}

func TestAnOutcomeThatCannotBeCorrectedIsNotCommitted(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, run func(*rig, named) outcome) {
		r := ledgerRig(t)
		r.exec(r.plain, "INSERT INTO rows (k, v) VALUES (1, ''), (2, '')")
		r.exec(r.plain, `ALTER TABLE groupcommit_promises ADD CHECK (value <> '{"rows":2}')`)
		err := run(r, named{"a", call{"UPDATE rows SET v = v || '!'", nil}}).err
		require.ErrorContains(t, err, "cannot be recorded")
		require.Equal(t, "2", r.value("SELECT count(*) FROM rows WHERE v = ''"))
		require.Equal(t, "0", r.promises("id = 'a'"))
	})
}

func TestAnOutcomeWhoseCorrectionIsIgnoredIsNotCommitted(t *testing.T) {
	t.Parallel()
	for _, body := range []string{"RETURN NULL", "RETURN OLD"} {
		eachWay(t, func(t *testing.T, run func(*rig, named) outcome) {
			r := ledgerRig(t)
			r.exec(r.plain, "INSERT INTO rows (k, v) VALUES (1, ''), (2, '')")
			r.exec(r.plain, "CREATE FUNCTION ignore() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "+body+"; END $$")
			r.exec(r.plain, "CREATE TRIGGER ignoring BEFORE UPDATE ON groupcommit_promises FOR EACH ROW EXECUTE FUNCTION ignore()")
			err := run(r, named{"a", call{"UPDATE rows SET v = v || '!'", nil}}).err
			require.ErrorContains(t, err, `id "a": its result cannot be recorded`)
			require.ErrorContains(t, err, "groupcommit_promises has taken 0 corrections of 1")
			require.Equal(t, "2", r.value("SELECT count(*) FROM rows WHERE v = ''"))
			require.Equal(t, "0", r.promises("id = 'a'"))
			require.Equal(t, done, run(r, named{"b", insert(3)}), "what needs no correction is executed")
		})
	}
}

// skewed is a rig for whose server it is three hours later than for the program.
func skewed(t *testing.T, opts ...groupcommit.Option) *rig {
	r := setUpOn(t, pgtest.DSN(t), []pgtest.DSNOption{pgtest.Param("search_path", "public,pg_catalog")}, append(opts, groupcommit.Promises())...)
	for _, clock := range []string{"statement_timestamp", "clock_timestamp"} {
		r.exec(r.plain, "CREATE FUNCTION public."+clock+"() RETURNS timestamptz STABLE LANGUAGE sql AS $$ SELECT pg_catalog."+clock+"() + interval '3 hours' $$")
	}
	r.exec(r.db, "DELETE FROM log")
	return r
}

func TestAPromiseHasTheTimeOfTheServer(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, run func(*rig, named) outcome) {
		r := skewed(t)
		require.Equal(t, done, run(r, named{"a", insert(1)}))
		require.Error(t, run(r, named{"b", insert(1)}).err)
		for _, id := range []string{"a", "b"} {
			p, err := groupcommit.Lookup(background, r.db, id)
			require.NoError(t, err)
			require.WithinDuration(t, time.Now().Add(3*time.Hour), p.Created, time.Minute)
			require.Equal(t, p.Created, p.Completed)
		}
	})
}

func TestPromisesAreOldByTheClockThatTheyHaveTheirTimeFrom(t *testing.T) {
	r := skewed(t, groupcommit.Retention(40*time.Millisecond))
	require.Equal(t, all(done, 5), r.named(ids(logs(5))...))
	r.eventually("they are deleted", func() bool { return r.promises("true") == "0" })
}

func TestACorrectionOfWhatANeighbourHasDeletedIsNotLost(t *testing.T) {
	t.Parallel()
	r := ledgerRig(t)
	r.exec(r.plain, "INSERT INTO rows (k, v) VALUES (1, ''), (2, '')")
	got := r.named(named{"a", call{"UPDATE rows SET v = v || '!' WHERE k < 3", nil}}, named{"b", insert(3)},
		named{"", call{"DELETE FROM groupcommit_promises WHERE id = 'a'", nil}})
	require.Equal(t, []outcome{{rows: 2}, done, {rows: 0}}, got)
	require.Equal(t, "1", r.promises(`id = 'a' AND value = '{"rows":2}'`))
	require.Equal(t, "2", r.value("SELECT count(*) FROM rows WHERE v = '!'"))
}

type panics struct{}

func (panics) Value() (driver.Value, error) { panic("no value") }

func TestAnArgumentThatPanicsLeavesNoClaim(t *testing.T) {
	t.Parallel()
	r := ledgerRig(t)
	c, err := r.db.Conn(background)
	require.NoError(t, err)
	defer c.Close()
	ctx := groupcommit.NoBatch(background)
	bad := func(db interface {
		ExecContext(context.Context, string, ...any) (sql.Result, error)
	}, ctx context.Context) {
		require.Panics(t, func() {
			db.ExecContext(groupcommit.WithID(ctx, "a"), insert(0).query, panics{}, "v")
		})
		r.noneOpen()
		require.Equal(t, "0", r.promises("true"))
	}
	bad(c, ctx)
	_, err = c.ExecContext(background, insert(1).query, 1, "v")
	require.NoError(t, err)
	bad(r.db, background)
	require.Equal(t, all(done, 2), r.named(named{"a", insert(2)}, named{"b", insert(3)}))
}

func TestAServerThatIsKilledExecutesNoIDTwice(t *testing.T) {
	s := pgtest.New(t, pgtest.Options{})
	r := setUpOn(t, s.DSN(), nil, sideBySide, groupcommit.Promises(), groupcommit.MaxTime(20*time.Second))
	r.exec(r.db, "DELETE FROM log")
	var acknowledged, next atomic.Int64
	stop := make(chan struct{})
	var callers sync.WaitGroup
	for range 16 {
		callers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				k := int(next.Add(1))
				for execID(background, r.db, named{fmt.Sprint(k), logged(k)}).err != nil {
					time.Sleep(5 * time.Millisecond)
				}
				acknowledged.Add(1)
			}
		})
	}
	for range 3 {
		goal := acknowledged.Load() + 300
		r.eventually("300 more", func() bool { return acknowledged.Load() >= goal })
		require.NoError(t, s.Stop(pgtest.Immediate))
		require.NoError(t, s.Start())
	}
	close(stop)
	bounded.Wait(t, "the callers have ended", callers.Wait)
	r.plain = r.open("pgx", s.DSN())
	r.once(int(acknowledged.Load()))
	require.Equal(t, fmt.Sprint(acknowledged.Load()), r.promises("state = 1"))
}

func TestARoleThatMayOnlyUseTheLedgerCanHaveIDs(t *testing.T) {
	t.Parallel()
	r := setUp(t)
	for _, q := range durable.Schema(durable.PostgreSQL) {
		r.exec(r.plain, q)
	}
	role := fmt.Sprintf("ledger_%d", time.Now().UnixNano())
	r.exec(r.plain, "CREATE ROLE "+role+" LOGIN PASSWORD 'p'")
	t.Cleanup(func() { r.plain.Exec("DROP OWNED BY " + role); r.plain.Exec("DROP ROLE " + role) })
	r.exec(r.plain, "REVOKE CREATE ON SCHEMA public FROM public")
	r.exec(r.plain, "GRANT SELECT, INSERT, UPDATE, DELETE ON groupcommit_promises, log, rows TO "+role)
	name := fmt.Sprintf("pgx-groupcommit-test-%d", drivers.Add(1))
	groupcommit.Register(name, stdlib.GetDefaultDriver(), groupcommit.Promises(), groupcommit.Writers(1), groupcommit.OnGroup(r.observe))
	r.forget = func() { r.db = r.open(name, pgtest.With(r.dsn, pgtest.User(role, "p"))) }
	calls := ids(logs(5))
	require.Equal(t, all(done, 5), r.named(calls...))
	require.Equal(t, all(doneBefore, 5), r.named(calls...))
	require.Equal(t, done, execID(background, r.db, named{"alone", logged(5)}))
	r.once(6)
}

func TestACallWithAnIDThatTakesAllTheTimeCostsOnlyItself(t *testing.T) {
	t.Parallel()
	r := ledgerRig(t, groupcommit.MaxTime(time.Second))
	slow := call{"INSERT INTO log (k) SELECT $1 FROM pg_sleep(3)", []any{1}}
	require.Equal(t, all(done, 4), r.named(named{"a", logged(0)}, named{"b", slow}, named{"c", logged(2)}, named{"", logged(3)}))
	r.once(4)
	require.Equal(t, "3", r.promises("true"))
	require.Equal(t, "1", r.value("SELECT count(DISTINCT xmin::text) FROM log WHERE k IN (2, 3)"), "they were a group again")
}

func TestALedgerThatTakesNoRowIsAnError(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, run func(*rig, named) outcome) {
		r := ledgerRig(t)
		r.exec(r.plain, "CREATE FUNCTION forget() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$")
		r.exec(r.plain, "CREATE TRIGGER forgetful BEFORE INSERT ON groupcommit_promises FOR EACH ROW EXECUTE FUNCTION forget()")
		require.ErrorContains(t, run(r, named{"x", logged(1)}).err, "neither takes")
		require.Equal(t, "0", r.value("SELECT count(*) FROM log WHERE k = 1"))
	})
}
