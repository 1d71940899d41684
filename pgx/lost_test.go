package pgx_test

import (
	"bytes"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/groupcommit/groupcommit/internal/pgtest/proxy"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
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

// loseAtCommit does something to the next group's connection when the group has been named, and loses its results. Either the
// group is committed before, or its COMMIT never arrives. Each of then is called at the loss.
func loseAtCommit(p *proxy.Proxy, committed bool, a proxy.Action, then ...func()) {
	conn, lost := 0, false
	p.OnClient(func(m proxy.Message) proxy.Action {
		if !m.Commit || conn != 0 {
			return proxy.Pass
		}
		conn = m.Conn
		if committed {
			return proxy.Pass
		}
		return proxy.Drop
	})
	p.OnServer(func(m proxy.Message) proxy.Action {
		result := m.Tag() == "INSERT 0 1"
		switch {
		case m.Conn != conn || lost || !result && m.Tag() != "COMMIT":
			return proxy.Pass
		case committed && result:
			return proxy.Drop
		}
		lost = true
		for _, f := range then {
			f()
		}
		return a
	})
}

// noSpare leaves no connection over from earlier calls.
func (r *rig) noSpare() { r.db.SetMaxIdleConns(0) }

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
	t.Parallel()
	for _, n := range []int{2, 50, 1000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			r, p := proxied(t, groupcommit.Writers(1)) // a second one would take some of the thousand
			release := r.begin(logs(n)...)
			loseAtCommit(p, true, proxy.Cut)
			r.committed(release())
			r.once(n)
			r.good(r.together(inserts(0, 3)...))
		})
	}
}

func TestACommitThatNeverArrivedIsMadeAgain(t *testing.T) {
	t.Parallel()
	r, p := proxied(t)
	release := r.begin(logs(50)...)
	loseAtCommit(p, false, proxy.Cut)
	r.good(release())
	r.once(50)
}

func TestACommitWhoseAnswerWasSeenButNotReadIsKnown(t *testing.T) {
	t.Parallel()
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
	loseAtCommit(p, true, proxy.Mute)
	r.committed(release())
	r.once(20)
}

func TestAGroupThatLosesItsConnectionBeforeItIsNamedIsOfUnknownOutcome(t *testing.T) {
	t.Parallel()
	for name, arrives := range map[string]bool{"it was committed": true, "it never arrived": false} {
		t.Run(name, func(t *testing.T) {
			r, p := proxied(t)
			r.good(r.together(logs(2)...)) // the statement is prepared
			r.exec(r.plain, "DELETE FROM log")
			release := r.begin(logs(50)...)
			var once atomic.Bool
			p.OnClient(func(m proxy.Message) proxy.Action {
				if !arrives && m.Commit && once.CompareAndSwap(false, true) {
					return proxy.Drop
				}
				return proxy.Pass
			})
			conn, last := 0, map[bool]string{true: "COMMIT", false: "INSERT 0 1"}[arrives]
			p.OnServer(func(m proxy.Message) proxy.Action {
				if conn == 0 && m.Tag() == "BEGIN" {
					conn = m.Conn
				}
				switch {
				case m.Conn != conn:
					return proxy.Pass
				case m.Tag() == last: // the server has done what it was sent
					return proxy.Cut
				}
				return proxy.Drop
			})
			for i, a := range release() {
				r.unknown(a.err, i)
			}
			want := "0"
			if arrives {
				want = "50"
			}
			require.Equal(t, want, r.value("SELECT count(*) FROM log"))
			r.noneTwice()
			r.good(r.together(inserts(0, 3)...))
		})
	}
}

func TestAStaleConnectionIsReplaced(t *testing.T) {
	t.Parallel()
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
	r, p := proxied(t, groupcommit.MaxTime(2*time.Second))
	r.noSpare()
	release := r.begin(logs(10)...)
	loseAtCommit(p, true, proxy.Cut, func() { p.Refuse(true); p.CutAll() }) // nobody can be asked
	for i, a := range release() {
		r.unknown(a.err, i)
	}
	p.Refuse(false)
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

// cutAt cuts the connection instead of letting the server's message through that is the first to fulfil all the
// conditions, each after the one before it.
func cutAt(p *proxy.Proxy, conditions ...func(proxy.Message) bool) {
	p.OnServer(func(m proxy.Message) proxy.Action {
		if len(conditions) == 0 || !conditions[0](m) {
			return proxy.Pass
		}
		if conditions = conditions[1:]; len(conditions) == 0 {
			return proxy.Cut
		}
		return proxy.Pass
	})
}

func tagged(tag string) func(proxy.Message) bool {
	return func(m proxy.Message) bool { return m.Tag() == tag }
}

func ofType(b byte) func(proxy.Message) bool {
	return func(m proxy.Message) bool { return m.Type == b }
}

// inserted is the answers to n INSERTs.
func inserted(n int) (conditions []func(proxy.Message) bool) {
	for range n {
		conditions = append(conditions, tagged("INSERT 0 1"))
	}
	return conditions
}

func TestWhatWasAnsweredInTheAutocommitPipelineSurvivesTheConnection(t *testing.T) {
	t.Parallel()
	const n = 50
	selected, ready := tagged("SELECT 1"), ofType('Z')
	for _, cut := range []struct {
		name     string
		at       []func(proxy.Message) bool
		answered int
	}{
		{"at the first answer", inserted(1), 0},
		{"between two answers", inserted(21), 20},
		{"when a call was executed but not committed", append(inserted(20), ready), 19},
		{"when the next call was not begun", append(inserted(20), ready, selected), 20},
		{"at the flush", append(inserted(n), selected), n},
		{"when the flush was executed but not committed", append(inserted(n), selected, ready), n},
	} {
		t.Run(cut.name, func(t *testing.T) {
			r, p := proxied(t, groupcommit.Mode(groupcommit.Autocommit))
			release := r.begin(logs(n)...)
			cutAt(p, cut.at...)
			for i, a := range release() {
				if i < cut.answered {
					require.Equal(t, answer{rows: 1}, a, "call %d", i)
				} else {
					r.unknown(a.err, i)
				}
			}
			r.noneTwice()
			require.Equal(t, fmt.Sprint(cut.answered), r.value("SELECT count(*) FROM log WHERE k < $1", cut.answered))
			r.good(r.together(inserts(0, 3)...))
		})
	}
}

func (r *rig) noneTwice() {
	r.Helper()
	require.Empty(r, r.value("SELECT string_agg(k::text, ',') FROM (SELECT k FROM log GROUP BY k HAVING count(*) > 1) twice"))
}

func TestWhatWasAnsweredInTheAutocommitPipelineSurvivesTheGroupsTime(t *testing.T) {
	r, p := proxied(t, groupcommit.Mode(groupcommit.Autocommit), groupcommit.MaxTime(500*time.Millisecond))
	release := r.begin(logs(50)...)
	seen := 0
	p.OnServer(func(m proxy.Message) proxy.Action {
		if m.Tag() == "INSERT 0 1" {
			if seen++; seen == 21 {
				return proxy.Mute
			}
		}
		return proxy.Pass
	})
	got := release()
	r.good(got[:20])
	for i, a := range got[20:] {
		r.unknown(a.err, i)
	}
	r.noneTwice()
}

func TestWhatCannotBeFlushedIsOfUnknownOutcome(t *testing.T) {
	r, p := proxied(t, groupcommit.Mode(groupcommit.Autocommit), groupcommit.MaxTime(300*time.Millisecond))
	r.exec(r.plain, "INSERT INTO rows (k) VALUES (7)")
	release := r.begin(inserts(0, 50)...)
	seen := 0
	p.OnServer(func(m proxy.Message) proxy.Action {
		if m.Tag() == "INSERT 0 1" {
			if seen++; seen == 21 {
				p.Refuse(true)
				return proxy.Cut
			}
		}
		return proxy.Pass
	})
	for i, a := range release() {
		if i == 7 {
			r.sameError(insert(7), a.err) // it left nothing, whatever became of the others
		} else {
			r.unknown(a.err, i)
		}
	}
	p.Refuse(false)
	r.good(r.together(logs(3)...))
}

func TestAServerThatHasCrashedInBetweenIsNotTrusted(t *testing.T) {
	for _, mode := range []groupcommit.GroupMode{groupcommit.Transaction, groupcommit.Autocommit} {
		t.Run(mode.String(), func(t *testing.T) {
			s := pgtest.New(t, pgtest.Options{})
			p, err := proxy.New(s.Addr())
			require.NoError(t, err)
			r := setUpOn(t, s.DSN(), []pgtest.DSNOption{pgtest.Via(p.Addr())}, groupcommit.Mode(mode))
			r.noSpare()
			t.Cleanup(func() { p.Close() })
			t.Cleanup(func() { r.db.Close() })

			release := r.begin(logs(50)...)
			lost := make(chan struct{})
			lose := func() {
				p.Refuse(true)
				p.CutAll() // no other connection tells what has become of the group before the server crashes
				close(lost)
			}
			var seen int
			p.OnServer(func(m proxy.Message) proxy.Action {
				if m.Tag() == "INSERT 0 1" {
					if seen++; seen == 21 {
						lose()
						return proxy.Cut
					}
				}
				return proxy.Pass
			})
			if mode == groupcommit.Transaction {
				loseAtCommit(p, true, proxy.Cut, lose)
			}
			answers := make(chan []answer)
			go func() { answers <- release() }()
			bounded.Receive(t, "the connection is lost", lost)

			r.eventually("nothing is in progress", func() bool {
				return r.value("SELECT count(*) FROM pg_stat_activity WHERE backend_xid IS NOT NULL") == "0"
			})
			const started, process = "SELECT pg_postmaster_start_time()", "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'"
			at, before := r.value(started), r.value(process)
			var pid int
			require.NoError(t, r.plain.QueryRow("SELECT pg_backend_pid()").Scan(&pid))
			backend, err := os.FindProcess(pid)
			require.NoError(t, err)
			require.NoError(t, backend.Kill())
			r.eventually("the server has recovered", func() bool {
				var now string
				return r.plain.QueryRow(process).Scan(&now) == nil && now != before
			})
			require.Equal(t, at, r.value(started), "what a crash does not change")
			p.Refuse(false)
			for i, a := range bounded.Receive(t, "the calls are answered", answers) {
				r.unknown(a.err, i)
			}
			r.noneTwice()
		})
	}
}

func TestAnErrorOfAStatementOfOursCostsNobodyAnything(t *testing.T) {
	t.Parallel()
	for statement, spoil := range map[string]func(sql string) string{
		"loosen": func(sql string) string {
			return strings.Replace(sql, "_commit', 'off', true", "_commit', 'OFX', true", 1)
		},
		"flush": func(sql string) string { return strings.Replace(sql, "pg_logical_emit", "no_function_too", 1) },
	} {
		t.Run(statement, func(t *testing.T) {
			r, p := proxied(t, groupcommit.Mode(groupcommit.Autocommit))
			release := r.begin(logs(50)...)
			spoilt, flushed := 0, 0
			p.OnClient(func(m proxy.Message) proxy.Action {
				if m.Type == 'P' && spoil(m.SQL) != m.SQL {
					spoilt++
					copy(m.Payload[bytes.Index(m.Payload, []byte(m.SQL)):], spoil(m.SQL))
				}
				if m.Type == 'Q' && strings.Contains(m.SQL, "pg_logical_emit_message") {
					flushed++
				}
				return proxy.Pass
			})
			r.good(release())
			p.OnClient(nil)
			r.once(50)
			require.Equal(t, 1, spoilt)
			require.Equal(t, statement == "flush", flushed > 0, "what was answered is flushed by another connection")
			r.do(call{"INSERT INTO rows (k, v) VALUES ($1, current_setting('synchronous_commit'))", []any{1}})
			require.Equal(t, "on", r.value("SELECT v FROM rows WHERE k = 1"))
		})
	}
}

func TestACulpritsErrorIsItsOwnThoughTheConnectionDiesWithIt(t *testing.T) {
	t.Parallel()
	for mode, spared := range map[groupcommit.GroupMode][]int{
		groupcommit.Transaction: {0, 1, 3}, // what was undone runs again
		groupcommit.Autocommit:  {0, 1},    // what comes behind the culprit may have been executed
	} {
		t.Run(mode.String(), func(t *testing.T) {
			r, p := proxied(t, groupcommit.Mode(mode), groupcommit.Retry(groupcommit.Never))
			r.exec(r.plain, "INSERT INTO rows (k) VALUES (1)")
			culprit := insert(1)
			r.good(r.together(insert(10), logged(10))) // what follows is prepared
			r.exec(r.plain, "DELETE FROM log")
			release := r.begin(logged(0), logged(1), culprit, logged(3))
			cutAt(p, ofType('E'), ofType('Z')) // the error passes, and nothing behind it
			got := release()
			r.sameError(culprit, got[2].err)
			for _, i := range spared {
				require.Equal(t, answer{rows: 1}, got[i], "call %d", i)
				require.Equal(t, "1", r.value("SELECT count(*) FROM log WHERE k = $1", i))
			}
			r.noneTwice()
		})
	}
}

func TestAStatementOfOursThatFailsOnceCostsTheCallsBehindItNothing(t *testing.T) {
	t.Parallel()
	r, p := proxied(t, groupcommit.Mode(groupcommit.Autocommit))
	r.good(r.together(logs(6)...)) // the statements are prepared
	r.exec(r.plain, "DELETE FROM log")
	release := r.begin(logs(10)...)
	n := 0
	p.OnClient(func(m proxy.Message) proxy.Action {
		if m.Type == 'B' && strings.HasPrefix(m.SQL, "SELECT set_config('synchronous_commit'") {
			if n++; n == 3 {
				m.Payload[1] = 'X' // of the statement's name
			}
		}
		return proxy.Pass
	})
	r.good(release())
	require.Equal(t, 10, n)
	r.once(10)
}

// A program's OnPgError may close a connection for an error.
func TestACulpritWhoseErrorClosesTheConnectionIsNotTheEndOfItsNeighbours(t *testing.T) {
	t.Parallel()
	r := setUp(t)
	config, err := pgx.ParseConfig(r.dsn)
	require.NoError(t, err)
	config.OnPgError = func(_ *pgconn.PgConn, e *pgconn.PgError) bool { return e.Code != "23505" }
	c, err := groupcommit.NewConnector(stdlib.GetConnector(*config), groupcommit.Mode(groupcommit.Transaction), groupcommit.Writers(1), groupcommit.OnGroup(r.observe))
	require.NoError(t, err)
	r.db = sql.OpenDB(c)
	t.Cleanup(func() { r.db.Close() })
	r.exec(r.plain, "INSERT INTO rows (k) VALUES (1)")
	got := r.together(logged(0), logged(1), insert(1), logged(2))
	r.good(got, 2)
	require.Equal(t, "23505", sqlState(got[2].err))
	r.once(3)
}

// A statement_timeout may hit what a session asks its server at first, or a stranger's cancel.
func TestAQuestionOfOursThatIsCancelledIsNoCallersErrorAndIsAskedAgain(t *testing.T) {
	t.Parallel()
	for _, asked := range []string{"pg_backend_pid()::text,", "pg_postmaster_start_time()"} {
		t.Run(asked, func(t *testing.T) {
			r, p := proxied(t, groupcommit.Writers(1))
			name, _, _ := strings.Cut(asked, "(")
			fails := strings.Repeat("f", len(name))
			r.exec(r.plain, "CREATE FUNCTION "+fails+"() RETURNS TIMESTAMPTZ LANGUAGE plpgsql AS $$ BEGIN RAISE 'cancelled' USING ERRCODE = '57014'; END $$")
			release := r.begin(logs(20)...)
			spoilt := 0
			p.OnClient(func(m proxy.Message) proxy.Action {
				if i := bytes.Index(m.Payload, []byte(asked)); i >= 0 && spoilt == 0 {
					spoilt++
					copy(m.Payload[i:], fails)
				}
				return proxy.Pass
			})
			r.good(release())
			r.once(20)
			require.Equal(t, 1, spoilt)
			p.OnClient(nil)
			r.exec(r.plain, "DELETE FROM log")
			release = r.begin(logs(20)...)
			loseAtCommit(p, true, proxy.Cut)
			r.committed(release())
			r.once(20)
		})
	}
}

// A text that has waited for a lock comes in several pipelines of a group at first.
func TestAnUnknownOutcomeInOnePipelineIsNotExecutedAgainWhereTheNextCannotBeSent(t *testing.T) {
	t.Parallel()
	r, p := proxied(t, groupcommit.Mode(groupcommit.Autocommit), groupcommit.MaxTime(400*time.Millisecond), groupcommit.LockTimeout(20*time.Millisecond))
	r.forgets = false
	r.good(r.together(logs(2)...)) // the statements are prepared
	release := r.begin(logs(2)...)
	lock, err := r.plain.Begin()
	require.NoError(t, err)
	defer lock.Rollback()
	_, err = lock.Exec("LOCK TABLE log IN SHARE MODE")
	require.NoError(t, err)
	waiting := make(chan []answer, 1)
	go func() { waiting <- release() }()
	r.eventually("both calls wait by themselves", func() bool {
		return r.value("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE 'INSERT%'") == "2"
	})
	require.NoError(t, lock.Rollback())
	r.good(bounded.Receive(t, "they are answered", waiting))
	r.exec(r.plain, "DELETE FROM log")

	release = r.begin(logs(3)...)
	spoilt := 0
	p.OnClient(func(m proxy.Message) proxy.Action {
		if i := bytes.Index(m.Payload, []byte("pg_logical_emit")); m.Type == 'P' && i >= 0 {
			if spoilt++; spoilt == 1 { // the flush of the first pipeline fails, and there is no other connection to flush by
				copy(m.Payload[i:], "no_function_too")
				p.Refuse(true)
				time.AfterFunc(100*time.Millisecond, p.CutAll)
			}
		}
		return proxy.Pass
	})
	got := release()
	r.unknown(got[0].err, 0)
	require.Equal(t, "1", r.value("SELECT count(*) FROM log WHERE k = 0"))
	p.Refuse(false)
	r.noneTwice()
}
