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
	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/groupcommit/groupcommit/internal/pgtest/proxy"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func attackOpen(r *rig, dsn string, opts ...groupcommit.Option) *sql.DB {
	name := fmt.Sprintf("pgx-groupcommit-test-%d", drivers.Add(1))
	groupcommit.Register(name, stdlib.GetDefaultDriver(), append([]groupcommit.Option{groupcommit.Promises()}, opts...)...)
	return r.open(name, dsn)
}

// The context ends after COMMIT was sent and while nobody knows what became of it.
func TestAttackContextEndsWhileTheOutcomeIsUnknown(t *testing.T) {
	r, p := promised(t, groupcommit.MaxTime(300*time.Millisecond), noSpare)
	r.forget()
	free := r.hold()
	const n = 20
	ctx, cancel := context.WithCancel(background)
	ps := make([]*groupcommit.Promise, n)
	for i := range n {
		ps[i] = groupcommit.Go(groupcommit.WithID(ctx, fmt.Sprint("id", i)), r.db, logged(i).query, i)
	}
	r.queued(n)
	var once atomic.Bool
	p.OnClient(func(m proxy.Message) proxy.Action {
		if m.Commit && strings.HasPrefix(m.SQL, "COMMIT") && once.CompareAndSwap(false, true) {
			p.Refuse(true)
			cancel()
			return proxy.CutAfterForward
		}
		return proxy.Pass
	})
	free()
	bare, unknown := 0, 0
	for _, pr := range ps {
		_, err := pr.Await(background)
		var u *groupcommit.OutcomeUnknownError
		switch {
		case errors.As(err, &u):
			unknown++
		case errors.Is(err, context.Canceled):
			bare++
			t.Logf("state %v, error %v", pr.State(), err)
		default:
			t.Logf("other: %v", err)
		}
	}
	p.OnClient(nil)
	p.Refuse(false)
	t.Logf("rows in log: %s, records: %s", r.value("SELECT count(*) FROM log WHERE k >= 0"), r.promises("state = 1"))
	require.Zero(t, bare, "of %d calls that were committed so many say that they were taken back", n)
}

func TestAttackPlainQueryUnderAContextWithAServerThatIsSilent(t *testing.T) {
	r, p := promised(t)
	_, err := r.db.Query("SELECT 1")
	require.NoError(t, err)
	p.OnClient(func(m proxy.Message) proxy.Action { return proxy.Drop })
	ctx, cancel := context.WithTimeout(background, 300*time.Millisecond)
	defer cancel()
	returned := make(chan error, 1)
	go func() { _, err := r.db.QueryContext(ctx, "SELECT 1"); returned <- err }()
	select {
	case err := <-returned:
		t.Log(err)
	case <-time.After(5 * time.Second):
		p.Close()
		t.Fatal("a query does not return though its context has ended 4.7 s ago")
	}
}

// A promise that is attached to a call whose connection was stale, which database/sql makes again.
func TestAttackAStaleConnectionIsNotAFollowersError(t *testing.T) {
	r, p := promised(t)
	require.Equal(t, done, execID(background, r.db, named{"warm", logged(9)}))
	var follower *groupcommit.Promise
	var once sync.Once
	p.OnClient(func(m proxy.Message) proxy.Action {
		a := proxy.Pass
		if strings.HasPrefix(m.SQL, "BEGIN; INSERT") {
			once.Do(func() {
				follower = groupcommit.Go(groupcommit.WithID(background, "x"), r.db, logged(1).query, 1)
				a = proxy.Cut
			})
		}
		return a
	})
	o := execID(background, r.db, named{"x", logged(1)})
	require.NoError(t, o.err)
	_, err := follower.Await(background)
	require.NotErrorIs(t, err, driver.ErrBadConn)
	require.NoError(t, err)
}

// A database whose encoding is not UTF-8: client_encoding is then not, either.
func TestAttackAnIDIsTheSameAloneAndInAGroupWhateverTheEncoding(t *testing.T) {
	dsn := pgtest.DSN(t)
	r := setUpOn(t, dsn, []pgtest.DSNOption{pgtest.Param("client_encoding", "LATIN1")}, groupcommit.Promises())
	r.exec(r.db, "DELETE FROM log")
	c := named{"zahlung-ü", logged(1)}
	require.Equal(t, all(done, 2), r.named(c, named{"other", logged(2)}))
	r.forget()
	o := execID(background, r.db, c)
	t.Log(o, r.value("SELECT string_agg(id, ', ') FROM groupcommit_promises"))
	require.Equal(t, "1", r.value("SELECT count(*) FROM log WHERE k = 1"))
	require.Equal(t, doneBefore, o)
}

// A database encoded in LATIN1, and nothing said by the client.
func TestAttackADatabaseInLatin1(t *testing.T) {
	s := pgtest.New(t, pgtest.Options{})
	plain, err := sql.Open("pgx", s.DSN())
	require.NoError(t, err)
	defer plain.Close()
	_, err = plain.Exec("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
	require.NoError(t, err)
	r := setUpOn(t, s.DSN(pgtest.Database("latin")), nil, groupcommit.Promises())
	r.exec(r.db, "DELETE FROM log")
	c := named{"zahlung-ü", logged(1)}
	require.Equal(t, all(done, 2), r.named(c, named{"other", logged(2)}))
	r.forget()
	o := execID(background, r.db, c)
	t.Log(o)
	require.Equal(t, "1", r.value("SELECT count(*) FROM log WHERE k = 1"))
	require.Equal(t, doneBefore, o)
}

// What is recorded as the moment of completion of a call that takes long.
func TestAttackCompletedIsNotBeforeTheEnd(t *testing.T) {
	eachWay(t, func(t *testing.T, run func(*rig, named) outcome) {
		r := ledgerRig(t)
		c := call{"INSERT INTO log (k) SELECT $1 FROM pg_sleep(1)", []any{1}}
		var o outcome
		o = run(r, named{"a", c})
		end := time.Now()
		require.Equal(t, done, o)
		p, err := groupcommit.Lookup(background, r.db, "a")
		require.NoError(t, err)
		require.WithinDuration(t, end, p.Completed, 500*time.Millisecond)
	})
}

// A call that takes longer than the retention.
func TestAttackACallLongerThanTheRetentionKeepsItsRecord(t *testing.T) {
	r := ledgerRig(t)
	db := attackOpen(r, r.dsn, groupcommit.Retention(time.Second))
	other := attackOpen(r, r.dsn, groupcommit.Retention(time.Second))
	require.NoError(t, db.Ping())
	c := call{"INSERT INTO log (k) SELECT $1 FROM pg_sleep(1.5)", []any{1}}
	require.Equal(t, done, execID(background, db, named{"a", c}))
	time.Sleep(500 * time.Millisecond)
	require.Equal(t, doneBefore, execID(background, other, named{"a", c}))
}

// The connection of a sql.Conn has been lost.
func TestAttackALostConnectionIsNotATransaction(t *testing.T) {
	r := ledgerRig(t)
	c, err := r.db.Conn(background)
	require.NoError(t, err)
	defer c.Close()
	var pid int
	require.NoError(t, c.QueryRowContext(background, "SELECT pg_backend_pid()").Scan(&pid))
	r.exec(r.plain, "SELECT pg_terminate_backend($1)", pid)
	_, err = c.ExecContext(background, "SELECT pg_sleep(0)")
	t.Log(err)
	_, err = c.ExecContext(groupcommit.WithID(background, "a"), logged(1).query, 1)
	t.Log(err)
	require.NotContains(t, fmt.Sprint(err), "inside a transaction")
}

// A call on its own connection whose acknowledgement is lost, with one connection in the pool.
func TestAttackALostAcknowledgementWithOneConnection(t *testing.T) {
	dsn := pgtest.DSN(t)
	p, err := proxy.New(pgtest.Shared(t).Addr())
	require.NoError(t, err)
	r := setUpOn(t, dsn, nil)
	db := attackOpen(r, pgtest.With(dsn, pgtest.Via(p.Addr())), groupcommit.Physical(func(pool *sql.DB) { pool.SetMaxOpenConns(1) }))
	require.NoError(t, db.Ping())
	onCommit(p, proxy.CutAfterForward)
	returned := make(chan outcome, 1)
	go func() {
		returned <- execID(groupcommit.NoBatch(background), db, named{"a", logged(1)})
	}()
	select {
	case o := <-returned:
		assert.NoError(t, o.err)
	case <-time.After(8 * time.Second):
		t.Error("the call does not return")
		p.Close()
	}
	p.Close()
}

// The schema that a sql.Conn has chosen is not part of what an id is known by.
func TestAttackAnIDInTwoSchemas(t *testing.T) {
	r := ledgerRig(t)
	for _, tenant := range []string{"t1", "t2"} {
		r.exec(r.plain, "CREATE SCHEMA "+tenant)
		r.exec(r.plain, "CREATE TABLE "+tenant+".orders (k BIGINT)")
	}
	for _, tenant := range []string{"t1", "t2"} {
		c, err := r.db.Conn(background)
		require.NoError(t, err)
		_, err = c.ExecContext(background, "SET search_path = "+tenant+", public")
		require.NoError(t, err)
		_, err = c.ExecContext(groupcommit.WithID(background, "order-1"), "INSERT INTO orders VALUES ($1)", 1)
		t.Log(tenant, err)
		c.Close()
	}
	require.Equal(t, "1", r.value("SELECT count(*) FROM t1.orders"))
	require.Equal(t, "1", r.value("SELECT count(*) FROM t2.orders"), "its caller was told that it was executed")
}

// The settings of one caller's own connection end its call; the other, who has none, is attached to it.
func TestAttackAFollowerOfASessionWithAStatementTimeout(t *testing.T) {
	r := ledgerRig(t)
	c, err := r.db.Conn(background)
	require.NoError(t, err)
	defer c.Close()
	_, err = c.ExecContext(background, "SET statement_timeout = 500")
	require.NoError(t, err)
	slow := call{"INSERT INTO log (k) SELECT $1 FROM pg_sleep(1)", []any{1}}
	first := make(chan error, 1)
	go func() {
		_, err := c.ExecContext(groupcommit.WithID(background, "a"), slow.query, slow.args...)
		first <- err
	}()
	r.eventually("it sleeps", func() bool {
		return r.value("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == "1"
	})
	o := execID(background, r.db, named{"a", slow})
	require.Equal(t, "57014", sqlState(<-first))
	require.NoError(t, o.err, "the other has no timeout")
}

// A lost acknowledgement, where transient errors are not tried again.
func TestAttackALostAcknowledgementWithoutRetries(t *testing.T) {
	for _, lone := range []bool{false, true} {
		t.Run(fmt.Sprint("lone=", lone), func(t *testing.T) {
			r, p := promised(t, groupcommit.Retry(groupcommit.Never))
			calls := ids(logs(2))
			if lone {
				calls = calls[:1]
			}
			release := r.beginNamed(calls...)
			onCommit(p, proxy.CutAfterForward)
			for _, o := range release() {
				require.NoError(t, o.err)
			}
			r.once(len(calls))
		})
	}
}

// The same, where the one who is attached has a connection of its own, which is in order.
func TestAttackAStaleConnectionDoesNotCostAFollowerItsOwn(t *testing.T) {
	r, p := promised(t)
	require.Equal(t, done, execID(background, r.db, named{"warm", logged(9)}))
	c, err := r.db.Conn(background)
	require.NoError(t, err)
	defer c.Close()
	_, err = c.ExecContext(background, "CREATE TEMP TABLE mine (k INT)")
	require.NoError(t, err)
	follower := make(chan error, 1)
	var once sync.Once
	p.OnClient(func(m proxy.Message) proxy.Action {
		a := proxy.Pass
		if strings.HasPrefix(m.SQL, "BEGIN; INSERT") {
			once.Do(func() {
				go func() {
					_, err := c.ExecContext(groupcommit.WithID(background, "x"), logged(1).query, 1)
					follower <- err
				}()
				a = proxy.Cut.After(300 * time.Millisecond)
			})
		}
		return a
	})
	require.NoError(t, execID(background, r.db, named{"x", logged(1)}).err)
	assert.NoError(t, <-follower)
	_, err = c.ExecContext(background, "INSERT INTO mine VALUES (1)")
	require.NoError(t, err, "its temporary table is lost")
}

// Two programs with the same ids, at other levels of isolation and in the autocommit mode.
func TestAttackTwoProgramsAtEveryLevel(t *testing.T) {
	for _, level := range []string{"read committed", "repeatable read", "serializable"} {
		for _, mode := range []groupcommit.GroupMode{groupcommit.Transaction, groupcommit.Autocommit} {
			t.Run(level+" "+mode.String(), func(t *testing.T) {
				r := setUpOn(t, pgtest.DSN(t), []pgtest.DSNOption{pgtest.Param("default_transaction_isolation", level)}, groupcommit.Promises(), groupcommit.Mode(mode))
				r.exec(r.db, "DELETE FROM log")
				other := attackOpen(r, pgtest.With(r.dsn, pgtest.Param("default_transaction_isolation", level)), groupcommit.Mode(mode))
				const n = 100
				calls := ids(logs(n))
				r.exec(r.plain, "INSERT INTO rows (k) VALUES (7), (8)")
				calls[7].call, calls[8].call = insert(7), insert(8) // rejected
				got := [2][]outcome{make([]outcome, n), make([]outcome, n)}
				var both sync.WaitGroup
				for i := range n {
					both.Go(func() { got[0][i] = execID(background, r.db, calls[i]) })
					both.Go(func() { got[1][n-1-i] = execID(background, other, calls[n-1-i]) })
				}
				both.Wait()
				for i := range n {
					for _, g := range got {
						if i == 7 || i == 8 {
							var rejected *groupcommit.RejectedError
							if !errors.As(g[i].err, &rejected) {
								assert.Equal(t, "23505", sqlState(g[i].err), "%v", g[i].err)
							}
							continue
						}
						assert.NoError(t, g[i].err)
					}
					if i != 7 && i != 8 {
						assert.NotEqual(t, got[0][i].replayed, got[1][i].replayed, "%d: one of them executed it: %v %v", i, got[0][i], got[1][i])
					}
				}
				assert.Equal(t, fmt.Sprint(n-2), r.promises("state = 1"))
				assert.Equal(t, "2", r.promises("state = 2"))
			})
		}
	}
}

// A lost acknowledgement in the autocommit mode.
func TestAttackALostAcknowledgementInTheAutocommitMode(t *testing.T) {
	r, p := promised(t, groupcommit.Mode(groupcommit.Autocommit))
	release := r.beginNamed(ids(logs(5))...)
	onCommit(p, proxy.CutAfterForward)
	for _, o := range release() {
		require.NoError(t, o.err)
	}
	r.once(5)
}

// Contexts that end at any moment: who hears of nothing but the context was not executed, and has no record.
func TestAttackContextsThatEndAtAnyMoment(t *testing.T) {
	for step, ctxOf := range map[time.Duration]func(context.Context) context.Context{
		150 * time.Microsecond: func(c context.Context) context.Context { return c },
	} {
		r := ledgerRig(t)
		for k := range 8 {
			require.Equal(t, done, execID(ctxOf(background), r.db, named{fmt.Sprint("warm", k), logged(-5)}))
		}
		const n = 1500
		errs := make([]error, n)
		var next atomic.Int64
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for {
					k := int(next.Add(1)) - 1
					if k >= n {
						return
					}
					ctx, cancel := context.WithTimeout(ctxOf(background), time.Duration(k%100)*step)
					errs[k] = execID(ctx, r.db, named{fmt.Sprint(k), logged(k)}).err
					cancel()
				}
			})
		}
		all.Wait()
		time.Sleep(200 * time.Millisecond)
		good, bare, unknown, lies := 0, 0, 0, 0
		for k, err := range errs {
			rows, records := r.value("SELECT count(*) FROM log WHERE k = $1", k), r.promises(fmt.Sprintf("id = '%d'", k))
			require.Equal(t, rows, records)
			var u *groupcommit.OutcomeUnknownError
			switch {
			case err == nil:
				good++
				require.Equal(t, "1", rows)
			case errors.As(err, &u):
				unknown++
			default:
				bare++
				if rows != "0" {
					lies++
					t.Log(err)
				}
			}
		}
		t.Log("good", good, "bare", bare, "unknown", unknown, "lies", lies)
		assert.Zero(t, lies)
	}
}
