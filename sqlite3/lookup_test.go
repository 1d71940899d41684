package sqlite3_test

import (
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/durable"
	mattn "github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/require"
)

func TestALookupWaitsForNobody(t *testing.T) {
	db, _ := promising(t, impatient)
	_, err := db.ExecContext(withID("x"), insertRow, 1, "v")
	require.NoError(t, err)
	release := hold(t, db)
	defer release()
	p, err := groupcommit.Lookup(background, db, "x")
	require.NoError(t, err)
	require.Equal(t, durable.Resolved, p.State)
}

func TestALookupCompletesAPromiseThatIsDueInItsTurn(t *testing.T) {
	db, _ := promising(t, impatient)
	exec(t, db, "INSERT INTO groupcommit_promises (id, state, created_at, timeout) VALUES ('due', 0, 1, 2)")
	err := waitsFor(t, hold(t, db), func() error {
		p, err := groupcommit.Lookup(background, db, "due")
		if err == nil {
			require.Equal(t, durable.RejectedTimedout, p.State)
		}
		return err
	})
	require.NoError(t, err)
}

func TestALookupInASharedCacheTakesItsTurn(t *testing.T) {
	dsn := "file:looked_up?mode=memory&cache=shared&groupcommit_promises=on" + impatient
	one, two := ours(t, dsn), ours(t, dsn)
	require.NoError(t, two.Ping())
	tx, err := one.Begin()
	require.NoError(t, err)
	exec(t, tx, "UPDATE groupcommit_promises SET tags = NULL") // locks the table
	err = waitsFor(t, func() { require.NoError(t, tx.Rollback()) }, func() error {
		_, err := groupcommit.Lookup(background, two, "none")
		return err
	})
	require.ErrorIs(t, err, durable.ErrNotFound)
}

func TestALookupInMemoryBesideAnOwnTransactionIsBusyAndDoesNotHang(t *testing.T) {
	if testing.Short() {
		t.Skip("it waits for 10 seconds")
	}
	t.Parallel()
	db := ours(t, ":memory:?groupcommit_promises=on")
	tx, err := db.Begin()
	require.NoError(t, err)
	_, err = groupcommit.Lookup(background, db, "x")
	require.Equal(t, mattn.ErrBusy, code(t, err))
	require.NoError(t, tx.Rollback())
}
