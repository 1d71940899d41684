package sqlite3_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/sqlite3"
	mattn "github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// entry is a command of these tests.
type entry struct{ N int }

func handle[R any](t *testing.T, db *sql.DB, h groupcommit.Handler[entry, R], opts ...groupcommit.HandlerOption) *groupcommit.Commands[entry, R] {
	t.Helper()
	cs, err := groupcommit.Handle(db, h, opts...)
	require.NoError(t, err)
	return cs
}

// soon is a context for what must not wait for ever.
func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(background, 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func stateOf(t *testing.T, db *sql.DB, id string) durable.State {
	t.Helper()
	p, err := groupcommit.Lookup(background, db, id)
	require.NoError(t, err)
	return p.State
}

func TestAFullDiskIsNoFaultOfADurableCommand(t *testing.T) {
	db, _ := promising(t, "")
	most := 1
	cs := handle(t, db, func(ctx context.Context, tx *sql.Tx, batch []*groupcommit.Command[entry, int]) error {
		exec(t, tx, fmt.Sprint("PRAGMA max_page_count = ", most))
		most = 1_000_000
		_, err := tx.ExecContext(ctx, "INSERT INTO a (k, v) VALUES (?, zeroblob(100000))", batch[0].Value.N)
		return err
	}, groupcommit.Durable(), groupcommit.Retry(groupcommit.Never), groupcommit.Lease(100*time.Millisecond))
	_, err := cs.Do(soon(t), "x", entry{1})
	var pending *groupcommit.PendingError
	require.ErrorAs(t, err, &pending)
	require.Equal(t, mattn.ErrFull, code(t, pending.Cause))
	require.NoError(t, cs.Recover(soon(t)))
	require.Equal(t, durable.Resolved, stateOf(t, db, "x"))

	_, err = cs.Do(soon(t), "y", entry{1})
	require.Equal(t, mattn.ErrConstraint, code(t, err))
	require.Equal(t, durable.Rejected, stateOf(t, db, "y"))
}

// What a keeper updates is seen when its statement is prepared, whether it finds a row or not.
func TestAKeeperThatHasNothingToDoWritesNothing(t *testing.T) {
	var updates atomic.Int32
	_, driverName := hookedDrivers(func(c *mattn.SQLiteConn) error {
		c.RegisterAuthorizer(func(op int, table, _, _ string) int {
			if op == mattn.SQLITE_UPDATE && table == "groupcommit_promises" {
				updates.Add(1)
			}
			return mattn.SQLITE_OK
		})
		return nil
	}, groupcommit.Promises())
	db := openDB(t, driverName, dsnOf(t, ""), "CREATE TABLE a (k, v)")
	cs := handle(t, db, func(context.Context, *sql.Tx, []*groupcommit.Command[entry, int]) error { return nil },
		groupcommit.Durable(), groupcommit.Lease(100*time.Millisecond)) // a round every 25 ms
	tx, err := db.Begin()
	require.NoError(t, err)
	require.NoError(t, cs.Add(background, tx, "x", entry{1}))
	exec(t, tx, "UPDATE groupcommit_promises SET lease_owner = 'another', lease_until = ? WHERE id = 'x'", time.Now().Add(time.Hour).UnixMilli())
	require.NoError(t, tx.Commit())
	p := cs.Go(background, "x", entry{1}) // asks for it again and again
	updates.Store(0)
	before, err := groupcommit.StatsOf(db)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(background, 300*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, cs.Recover(ctx), context.DeadlineExceeded)
	after, err := groupcommit.StatsOf(db)
	require.NoError(t, err)
	require.Zero(t, updates.Load())
	require.Equal(t, before.Calls, after.Calls)

	exec(t, db, "UPDATE groupcommit_promises SET lease_until = 0 WHERE id = 'x'")
	_, err = p.Await(soon(t))
	require.NoError(t, err)
}

func TestAnAddThatTheTableDoesNotTakeIsAnError(t *testing.T) {
	db, _ := promising(t, "")
	cs := handle(t, db, func(context.Context, *sql.Tx, []*groupcommit.Command[entry, int]) error { return nil }, groupcommit.Durable())
	exec(t, db, "CREATE TRIGGER deaf BEFORE INSERT ON groupcommit_promises BEGIN SELECT RAISE(IGNORE); END")
	tx, err := db.Begin()
	require.NoError(t, err)
	defer tx.Rollback()
	require.ErrorContains(t, cs.Add(background, tx, "x", entry{1}), `id "x": groupcommit_promises neither takes a row with it nor shows one`)
}

func TestWhichErrorsAreOfTheEnvironment(t *testing.T) {
	for e, want := range map[mattn.Error]bool{
		{Code: mattn.ErrFull}:   true,
		{Code: mattn.ErrIoErr}:  true,
		{Code: mattn.ErrBusy}:   true,
		{Code: mattn.ErrLocked}: false, // by rows that the handler has left open
		{Code: mattn.ErrLocked, ExtendedCode: mattn.ErrLockedSharedCache}: true,
		{Code: mattn.ErrConstraint}:                                       false,
		{Code: mattn.ErrError}:                                            false,
		{Code: mattn.ErrTooBig}:                                           false,
	} {
		require.Equal(t, want, sqlite3.Environment(fmt.Errorf("wrapped: %w", e)), "%d %d", e.Code, e.ExtendedCode)
	}
	require.False(t, sqlite3.Environment(errors.New("disk full")))
}

// A caller's context may have the id of an Exec. What the library writes on the caller's behalf must not take that id: neither the
// record of a command, nor that of one that is added to a transaction.
func TestTheIDOfAContextIsNotTheRecordsOfACommand(t *testing.T) {
	db, _ := promising(t, "")
	cs := handle(t, db, groupcommit.Each(func(context.Context, *sql.Tx, entry) (int, error) { return 0, nil }), groupcommit.Durable())
	ctx := groupcommit.WithID(soon(t), "the Exec's")
	_, err := cs.Do(ctx, "by Go", entry{1})
	require.NoError(t, err)

	tx, err := db.Begin()
	require.NoError(t, err)
	require.NoError(t, cs.Add(ctx, tx, "by Add", entry{1}))
	require.NoError(t, tx.Commit())
	require.NoError(t, cs.Recover(soon(t)))
	require.Equal(t, durable.Resolved, stateOf(t, db, "by Add"))

	_, err = groupcommit.Lookup(soon(t), db, "the Exec's")
	require.ErrorIs(t, err, durable.ErrNotFound)
}
