package groupcommit

import (
	"context"
	"database/sql/driver"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/groupcommit/groupcommit/engine"
)

// From what a commit takes the queue learns how long callers are worth waiting for.
func TestABatcherTellsItsQueueWhatACommitTakesAndKeepsNoCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := newFake().db(t, WithEngine(&script{verdicts: []engine.Outcome{{Commit: 7 * time.Millisecond}}}))
		require.NoError(t, db.Ping())
		d, err := databaseOf(t.Context(), db)
		require.NoError(t, err)
		var execs []*exec
		for _, w := range []string{"a", "b"} {
			execs = append(execs, &exec{Call: engine.NewCall(t.Context(), "INSERT "+w, nil, false)})
		}
		b := d.all
		assert.Equal(t, 7*time.Millisecond, b.Run(execs).Commit)
		if spare, ok := b.spare.Get().(*[]*engine.Call); ok { // under the race detector a sync.Pool forgets at random
			require.Len(t, *spare, 2)
			for _, c := range *spare {
				assert.Nil(t, c, "a call that is over is kept from the garbage collector")
			}
		}
	})
}

func TestACallThatTheEngineHasPutOffHasItsOwnOutcomeWhateverBecomesOfItsGroup(t *testing.T) {
	for name, out := range map[string]engine.Outcome{
		"unknown": {Verdict: engine.Unknown, Err: errFake},
		"refused": {Verdict: engine.Refused, Err: errFake},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, as := scripted(t, &script{group: func(calls []*Call) engine.Outcome {
					calls[1].PutOff()
					return out
				}}, "leader a b")
				as[1].ok(t)
				for _, a := range []*answer{as[0], as[2]} {
					assert.Error(t, a.err, a.word)
				}
			})
		})
	}
}

// On SQLite a program may have set its busy timeout to 0. A function that writes to its own database must not hang then.
func TestWhereAProgramWaitsForNoLockACallThatAGroupWaitsForIsStillEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{noWait: true, gate: make(chan struct{})}
		db := newFake().db(t, WithEngine(s))
		plug := exec1(db, "plug")
		inner := exec1(db, "a")
		<-inner.over
		require.ErrorIs(t, inner.err, errBusy)
		close(s.gate)
		plug.ok(t)
		assert.Empty(t, s.ran)
	})
}

// A hook of the program's may end its goroutine, as t.FailNow does. Nothing has been executed then.
func TestAPromiseWhoseHookEndsItsGoroutineIsNotResolved(t *testing.T) {
	for name, e := range map[string]Engine{"in groups": checking{}, "each by itself": hookedChecking{}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				db := f.db(t, WithEngine(e))
				require.NoError(t, db.Ping())
				db.SetMaxIdleConns(0)
				f.mu.Lock()
				f.fail = func(op, _ string) error {
					if op == "reset" || op == "open" {
						f.mu.Unlock()
						defer f.mu.Lock()
						runtime.Goexit()
					}
					return nil
				}
				f.mu.Unlock()
				p := Go(context.Background(), db, "INSERT a")
				_, err := p.Await(t.Context())
				require.Error(t, err)
				assert.Empty(t, f.stored())
				f.mu.Lock()
				f.fail = nil
				f.mu.Unlock()
			})
		})
	}
}

type hookedChecking struct{}

func (hookedChecking) Open(ctx context.Context, conn driver.Conn, s engine.Settings) (engine.Session, error) {
	ses, err := checking{}.Open(ctx, conn, s)
	return hookedSession{ses}, err
}

func TestWhatAnAttemptThatIsRunAgainHasPutOffIsNotExecutedTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{}
		attempts := 0
		s.group = func(calls []*Call) engine.Outcome {
			if attempts++; attempts == 1 {
				calls[1].PutOff()
				return engine.Outcome{Verdict: engine.Refused, Err: errFake, Again: true, Culprit: -1}
			}
			for _, c := range calls {
				c.Try(s.run)
			}
			return engine.Outcome{}
		}
		_, as := scripted(t, s, "leader a b")
		allOK(t, as...)
		assert.Equal(t, []string{"group leader a b", "group leader a b"}, s.ran)
	})
}

func TestOnlyTheCulpritOfThatAttemptIsLeftToItsOwnCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		back := engine.Outcome{Verdict: engine.RolledBack}
		apart := engine.Outcome{Verdict: engine.RolledBack, Goexit: true}
		s := &script{verdicts: []engine.Outcome{back, back, back, apart}}
		_, as := scripted(t, s, "a b c d e f")
		allOK(t, as...)
		assert.Equal(t, []string{"alone e", "alone f", "alone d"}, s.ran[len(s.ran)-3:], "e and f keep their order")
	})
}

func TestWhereCallsHaveNoOrderALoneOneKeepsTheOthersForAMomentOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{abreast: true, gate: make(chan struct{})}
		db := newFake().db(t, WithEngine(s))
		plug := exec1(db, "plug") // it may wait for a lock whose holder makes the next call
		began := time.Now()
		exec1(db, "a").ok(t)
		assert.Equal(t, overtime, time.Since(began))
		close(s.gate)
		plug.ok(t)
	})
}

func TestAConnectionThatAGroupHasBrokenIsClosed(t *testing.T) {
	open := func(t *testing.T, group func([]*Call) engine.Outcome) (open int) {
		synctest.Test(t, func(t *testing.T) {
			s := &script{group: group, gate: make(chan struct{})}
			db := newFake().usedDB(t, WithEngine(s))
			as := []*answer{exec1(db, "plug"), exec1(db, "a"), exec1(db, "b")}
			close(s.gate)
			for _, a := range as {
				<-a.over
			}
			d, err := databaseOf(t.Context(), db)
			require.NoError(t, err)
			open = d.Pool.Stats().OpenConnections
		})
		return open
	}
	whole := open(t, nil)
	require.NotZero(t, whole)
	assert.Equal(t, whole-1, open(t, func([]*Call) engine.Outcome { panic("a fault of the engine's") }))
	assert.Equal(t, whole-1, open(t, func([]*Call) engine.Outcome {
		return engine.Outcome{Verdict: engine.Unknown, Err: driver.ErrBadConn}
	}))
}

func TestAPromiseThatIsSettledLeavesItsPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		db := newFake().db(t, WithEngine(checking{}), Partition(func(ctx context.Context) any { return ctx.Value(key{}) }))
		for i := range keptPartitions + 10 {
			_, err := Go(context.WithValue(t.Context(), key{}, i), db, "INSERT a").Await(t.Context())
			require.NoError(t, err)
		}
		synctest.Wait()
		d, err := databaseOf(t.Context(), db)
		require.NoError(t, err)
		assert.Len(t, d.partitions.byKey, keptPartitions)
	})
}

func TestAConnectionOnWhichACallHasPanickedIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := newFake().usedDB(t, WithEngine(&script{}))
		require.Equal(t, "panic", exec1(db, "panic").panicked)
		d, err := databaseOf(t.Context(), db)
		require.NoError(t, err)
		assert.Zero(t, d.Pool.Stats().OpenConnections)
	})
}
