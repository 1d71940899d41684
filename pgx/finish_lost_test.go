package pgx_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/pgtest/proxy"
	"github.com/stretchr/testify/require"
)

// truly has a command carried out whose transaction may be lost, calls lost, and requires the answer to be the truth, and the command to
// be carried out once when it comes again.
func (r *rig) truly(cs *groupcommit.Commands[entry, int], k int, lost func()) {
	r.Helper()
	id := fmt.Sprint("id ", k)
	got, err := cs.Do(soon(r.T), id, entry{k})
	lost()
	r.eventually("the server has ended what it was sent", func() bool {
		return r.value("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'") == "0"
	})
	rows := r.value("SELECT count(*) FROM log WHERE k = $1", k)
	switch {
	case err == nil:
		require.Equal(r, "1", rows)
		require.Equal(r, 2*k, got)
	case !errors.As(err, new(*groupcommit.OutcomeUnknownError)):
		require.Equal(r, "0", rows, "%v", err)
	}
	require.Equal(r, rows, r.promises("state = 1 AND id = '"+id+"'"), "rows and records")
	got, err = cs.Do(soon(r.T), id, entry{k})
	require.NoError(r, err)
	require.Equal(r, 2*k, got)
	require.Equal(r, "1", r.value("SELECT count(*) FROM log WHERE k = $1", k))
}

func TestALastExchangeThatIsCutAtAnyByteIsAnsweredTruly(t *testing.T) {
	t.Parallel()
	r := ledgerRig(t)
	db, c := cutting(t, r.dsn, groupcommit.Promises(), groupcommit.Retry(groupcommit.Never))
	calls := 0
	log := logging(&calls)
	var next *byteCut
	cs := handle(t, db, func(ctx context.Context, tx *sql.Tx, batch []*groupcommit.Command[entry, int]) error {
		err := log(ctx, tx, batch)
		c.next.Store(next)
		next = nil
		return err
	})
	k := 0
	for _, reads := range []bool{false, true} {
		for _, known := range []bool{false, true} {
			step := 11
			if !reads {
				step = 23 // a byte of a text is like its neighbours
			}
			cuts := 0
			for n := 0; ; n += step {
				if known {
					k++
					_, err := cs.Do(background, fmt.Sprint("id ", k), entry{k})
					require.NoError(t, err)
				} else {
					r.exec(db, "DEALLOCATE ALL")
				}
				k++
				next = &byteCut{reads: reads}
				next.left.Store(int64(n))
				whole := false
				r.truly(cs, k, func() { whole = c.next.Swap(nil) != nil })
				if whole {
					break
				}
				cuts++
			}
			require.Greater(t, cuts, 8)
		}
	}
	r.noneTwice()
}

func TestAHandlersConnectionThatIsLostBeforeItsLastExchangeHasCommittedNothing(t *testing.T) {
	t.Parallel()
	for _, end := range []string{"killed", "cut"} {
		t.Run(end, func(t *testing.T) {
			r, p := promised(t)
			none := call{"DELETE FROM log WHERE k < $1", []any{0}}
			r.together(none, none) // what a killed process has said last is believed of a server that is known
			calls := 0
			log := logging(&calls)
			cs := handle(t, r.db, func(ctx context.Context, tx *sql.Tx, batch []*groupcommit.Command[entry, int]) error {
				var pid int
				if err := tx.QueryRowContext(ctx, "SELECT pg_backend_pid() WHERE $1::int > 0", 1).Scan(&pid); err != nil {
					return err
				}
				err := log(ctx, tx, batch)
				if batch[0].Value.K == 1 && calls == 1 {
					if end == "killed" {
						r.kill(pid)
					} else {
						p.CutAll()
					}
				}
				return err
			}, groupcommit.Retry(groupcommit.Never))
			_, err := cs.Do(background, "a", entry{1})
			require.Error(t, err)
			require.False(t, errors.As(err, new(*groupcommit.OutcomeUnknownError)), "%v", err)
			r.once(0)
			_, err = cs.Do(background, "a", entry{1})
			require.NoError(t, err)
			r.once(1)
		})
	}
}

func TestABackendThatEndsInTheRecordOfOutcomesHasCommittedNothing(t *testing.T) {
	t.Parallel()
	for _, kind := range [][]groupcommit.HandlerOption{nil, {groupcommit.Durable()}} {
		r := ledgerRig(t)
		calls := 0
		cs := handle(t, r.db, logging(&calls), append(kind, groupcommit.Retry(groupcommit.Never))...)
		r.exec(r.plain, "CREATE FUNCTION fall() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$")
		r.exec(r.plain, "CREATE TRIGGER falling BEFORE UPDATE ON groupcommit_promises FOR EACH ROW WHEN (NEW.state = 1) EXECUTE FUNCTION fall()")
		_, err := cs.Do(soon(t), "a", entry{1})
		require.Error(t, err)
		r.once(0)
		r.exec(r.plain, "DROP TRIGGER falling ON groupcommit_promises")
		got, err := cs.Do(soon(t), "a", entry{1})
		require.NoError(t, err)
		require.Equal(t, 2, got)
		r.once(1)
	}
}

// A command without an id could not find out what became of it. So it must not stand behind a record in one exchange.
func TestACommandWithoutAnIDIsNotInDoubtForItsNeighboursRecord(t *testing.T) {
	t.Parallel()
	r, p := promised(t)
	calls := 0
	log := logging(&calls)
	var lost atomic.Bool
	h, there, open := gated(t, func(ctx context.Context, tx *sql.Tx, batch []*groupcommit.Command[entry, int]) error {
		err := log(ctx, tx, batch)
		if calls == 1 {
			commit, conn := false, 0
			p.OnClient(func(m proxy.Message) proxy.Action {
				if m.Type == 'B' && !lost.Load() {
					conn = m.Conn
				}
				commit = commit || m.Commit && m.Conn == conn
				if m.Conn == conn && !commit && (m.Type == 'B' || m.Type == 'P') && lost.CompareAndSwap(false, true) {
					return proxy.Cut
				}
				return proxy.Pass
			})
		}
		return err
	})
	cs := handle(t, r.db, h)
	cs.Go(background, "plug", entry{-1})
	<-there
	for k, promise := range heldBatch(r, cs, open, 4, func(k int) string { return []string{"", "a", "", "b"}[k] }) {
		got, err := promise.Await(background)
		require.NoError(t, err)
		require.Equal(t, 2*k, got)
	}
	require.True(t, lost.Load())
	require.Equal(t, 2, calls)
	r.once(4)
}
