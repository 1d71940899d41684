package virtual

import (
	"database/sql"
	"testing"

	"github.com/groupcommit/groupcommit/internal/turn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func beginHandler(t *testing.T, db *sql.DB, lent *turn.Turn) *HandlerTx {
	t.Helper()
	h, err := BeginHandler(t.Context(), db, lent)
	require.NoError(t, err)
	return h
}

func exec(t *testing.T, h *HandlerTx, text string) error {
	_, err := h.SQL().ExecContext(t.Context(), text)
	return err
}

func TestAHandlersTransactionBeginsAsOneThatWrites(t *testing.T) {
	w, db := newWorld(t)
	h := beginHandler(t, db, nil)
	assert.False(t, w.Writer.Free(), "it has the turn before it writes")
	require.NoError(t, exec(t, h, "INSERT INTO t VALUES (1)"))
	_, unclear, err := h.Commit(nil)
	assert.NoError(t, err)
	assert.False(t, unclear)
	assert.True(t, w.Writer.Free(), "the turn ends with the transaction")
	h.Close()
	assert.Equal(t, []string{"BEGIN IMMEDIATE", "INSERT INTO t VALUES (1)", "COMMIT"}, w.take())
	assert.Equal(t, 1, w.commits, "the host is told")
	assert.Empty(t, w.hosted)
}

func TestAHandlersTransactionThatIsNotCommittedIsRolledBack(t *testing.T) {
	w, db := newWorld(t)
	beginHandler(t, db, nil).Close()
	assert.Equal(t, []string{"BEGIN IMMEDIATE", "ROLLBACK"}, w.take())
}

func TestAHandlerCannotEndItsTransaction(t *testing.T) {
	for name, end := range map[string]func(h *HandlerTx) error{
		"by COMMIT":   func(h *HandlerTx) error { return exec(t, h, "COMMIT") },
		"by ROLLBACK": func(h *HandlerTx) error { return exec(t, h, "ROLLBACK") },
	} {
		t.Run(name, func(t *testing.T) {
			w, db := newWorld(t)
			h := beginHandler(t, db, nil)
			defer h.Close()
			assert.ErrorIs(t, end(h), ErrEnded)
			assert.Equal(t, []string{"BEGIN IMMEDIATE"}, w.take(), "it never reached the database")
			open, idle, lost := h.State()
			assert.True(t, open)
			assert.False(t, idle)
			assert.NoError(t, lost)
			assert.NoError(t, exec(t, h, "SAVEPOINT a"), "which ends nothing")
		})
	}
	t.Run("by Commit", func(t *testing.T) {
		w, db := newWorld(t)
		h := beginHandler(t, db, nil)
		defer h.Close()
		assert.ErrorIs(t, h.SQL().Commit(), ErrEnded)
		open, idle, lost := h.State()
		assert.False(t, open)
		assert.True(t, idle)
		assert.NoError(t, lost)
		assert.Equal(t, []string{"BEGIN IMMEDIATE", "ROLLBACK"}, w.take())
	})
}

// It would commit by itself, and a savepoint would begin another transaction.
func TestNothingRunsAfterAFailedStatementHasEndedTheTransaction(t *testing.T) {
	w, db := newWorld(t)
	h := beginHandler(t, db, nil)
	defer h.Close()
	require.ErrorIs(t, exec(t, h, "INSERT FAIL"), errFailed)
	require.NoError(t, exec(t, h, "INSERT a"), "the transaction is still there")
	require.ErrorIs(t, exec(t, h, "INSERT FAIL UNDO"), errFailed)
	w.take()
	assert.ErrorIs(t, exec(t, h, "INSERT b"), ErrUndone)
	assert.ErrorIs(t, h.Own("SAVEPOINT a"), ErrUndone)
	_, idle, _ := h.State()
	assert.True(t, idle)
	assert.Empty(t, w.take())
}

func TestACommitWhoseAnswerIsLostIsUnclear(t *testing.T) {
	for text, want := range map[string]bool{"INSERT LOSE": true, "INSERT UNDO LOSE": false} {
		_, db := newWorld(t)
		h := beginHandler(t, db, nil)
		require.NoError(t, exec(t, h, text))
		_, unclear, err := h.Commit(nil)
		assert.ErrorIs(t, err, errLost)
		assert.Equal(t, want, unclear, "%s: it is clear only where no transaction is open", text)
		h.Close()
	}
}

func TestWhatAHandlerLeavesOfItsSessionGoesWithTheConnection(t *testing.T) {
	w, db := newWorld(t)
	h := beginHandler(t, db, nil)
	require.NoError(t, exec(t, h, "ATTACH 'a' AS a"))
	_, _, err := h.Commit(nil)
	require.NoError(t, err)
	w.take()
	h.Close()
	assert.Equal(t, []string{"close"}, w.take())
	beginHandler(t, db, nil).Close()
	assert.Equal(t, []string{"BEGIN IMMEDIATE", "ROLLBACK"}, w.take(), "the next one is bound to nothing")
	assert.Equal(t, 2, w.opened)
}

func TestATurnThatIsLentIsUsedOnce(t *testing.T) {
	w, db := newWorld(t)
	lent := turn.New()
	require.True(t, w.Writer.TakeFree(lent))
	h := beginHandler(t, db, lent)
	_, _, err := h.Commit(nil)
	require.NoError(t, err)
	h.Close()
	assert.True(t, w.Writer.Free())

	tx, err := db.Begin() // on the same connection
	require.NoError(t, err)
	_, err = tx.Exec("INSERT INTO t VALUES (1)")
	require.NoError(t, err)
	assert.False(t, w.Writer.Free())
	assert.False(t, w.Writer.Firm(lent), "the lender would find itself with a turn that it has not taken")
	require.NoError(t, tx.Commit())
}

func TestAConnectionThatWasAHandlersIsAnOrdinaryOneAgain(t *testing.T) {
	w, db := newWorld(t)
	beginHandler(t, db, nil).Close()
	w.take()
	tx, err := db.Begin()
	require.NoError(t, err)
	_, err = tx.Exec("ROLLBACK")
	assert.NoError(t, err)
	_, err = tx.Exec("BEGIN")
	assert.NoError(t, err)
	assert.NoError(t, tx.Commit())
	assert.Equal(t, []string{"BEGIN", "ROLLBACK", "BEGIN", "COMMIT"}, w.take())
	assert.Equal(t, 1, w.opened)
}
