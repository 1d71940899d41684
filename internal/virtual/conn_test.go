package virtual

import (
	"context"
	"database/sql/driver"
	"testing"

	"github.com/groupcommit/groupcommit/engine"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAnExecGoesToTheHostUnlessItsConnectionHoldsAPhysicalOne(t *testing.T) {
	w, db := newWorld(t)
	ctx := t.Context()
	c, err := db.Conn(ctx)
	require.NoError(t, err)
	defer c.Close()
	insert := func(ctx context.Context, text string) {
		_, err := c.ExecContext(ctx, text)
		require.NoError(t, err)
	}
	insert(ctx, "INSERT INTO t VALUES (1)")
	insert(WithID(ctx, "id"), "INSERT INTO t VALUES (2)")
	assert.Equal(t, []string{"INSERT INTO t VALUES (1)", "id: INSERT INTO t VALUES (2)"}, w.hosted)
	assert.Zero(t, w.opened)

	insert(WithNoBatch(ctx), "INSERT INTO t VALUES (3)")
	insert(ctx, "INSERT INTO t VALUES (4)")
	assert.Len(t, w.hosted, 2)
	assert.Equal(t, []string{"INSERT INTO t VALUES (3)", "INSERT INTO t VALUES (4)"}, w.take(), "what follows goes to the same connection")
}

func TestWhereThereAreNoGroupsAnExecIsItsConnectionsOwn(t *testing.T) {
	w, db := newWorld(t)
	w.Apiece = true
	_, err := db.ExecContext(t.Context(), "INSERT INTO t VALUES (1)")
	require.NoError(t, err)
	assert.Empty(t, w.hosted)
	assert.Equal(t, []string{"INSERT INTO t VALUES (1)"}, w.take())
}

func TestACallInATransactionCannotHaveAnID(t *testing.T) {
	_, db := newWorld(t)
	tx, err := db.Begin()
	require.NoError(t, err)
	defer tx.Rollback()
	_, err = tx.ExecContext(WithID(t.Context(), "id"), "INSERT INTO t VALUES (1)")
	assert.ErrorContains(t, err, "a statement inside a transaction cannot have one")
	_, err = tx.QueryContext(WithID(t.Context(), "id"), "INSERT INTO t VALUES (1) RETURNING a")
	assert.ErrorContains(t, err, "a statement inside a transaction cannot have one")
	_, err = tx.QueryContext(WithID(t.Context(), "id"), "INSERT INTO t VALUES (1)")
	assert.ErrorContains(t, err, "a query that writes without RETURNING cannot have one")
}

// Rows of a RETURNING are a write that is not over.
func TestRowsKeepTheTurnWhateverElseRunsOnTheirConnection(t *testing.T) {
	w, db := newWorld(t)
	c, err := db.Conn(t.Context())
	require.NoError(t, err)
	defer c.Close()
	rows, err := c.QueryContext(t.Context(), "INSERT INTO t VALUES (1) RETURNING a")
	require.NoError(t, err)
	assert.False(t, w.Writer.Free())
	_, err = c.ExecContext(t.Context(), "INSERT INTO t VALUES (2)")
	require.NoError(t, err)
	assert.False(t, w.Writer.Free(), "the turn has ended beside open rows")
	require.NoError(t, rows.Close())
	assert.True(t, w.Writer.Free())
}

// Where a driver has not got an interface, database/sql has an answer of its own.
func TestRowsWithTheTurnAnswerForADriverThatDoesNot(t *testing.T) {
	r := &turnRows{Rows: &twoRows{}}
	assert.False(t, r.HasNextResultSet())
	assert.Error(t, r.NextResultSet())
	assert.Equal(t, "interface {}", r.ColumnTypeScanType(0).String())
	assert.Empty(t, r.ColumnTypeDatabaseTypeName(0))
	_, ok := r.ColumnTypeLength(0)
	assert.False(t, ok)
	_, ok = r.ColumnTypeNullable(0)
	assert.False(t, ok)
	_, _, ok = r.ColumnTypePrecisionScale(0)
	assert.False(t, ok)
}

func TestACallOnItsOwnConnectionThatIsUnknownClosesIt(t *testing.T) {
	w, _ := newWorld(t)
	traits, err := w.Ready(t.Context())
	require.NoError(t, err)
	for cause, want := range map[error][]string{
		errFailed:                         {"INSERT a"},
		&engine.OutcomeUnknownError{}:     {"INSERT a", "close"},
		&engine.PanicError{Value: "mine"}: {"INSERT a", "close"},
	} {
		w.Pool.Renew()
		c := New(w, &w.Base, true)
		call := engine.NewCall(t.Context(), "INSERT a", nil, false)
		require.NoError(t, c.use(t.Context(), traits, w.Base.Texts.Get(traits.Dialect, "SELECT 1")))
		c.held.Conn.Session = answering{c.held.Conn.Session, cause}
		w.take()
		require.NoError(t, c.RunHere(t.Context(), w.Base.Texts.Get(traits.Dialect, "INSERT a"), &call))
		assert.Error(t, call.Err())
		assert.Equal(t, want, w.take(), "%v", cause)
		c.IsValid()
		c.Close()
		assert.True(t, w.Writer.Free())
	}
}

// answering is a session whose calls fail, or panic, after they have been executed.
type answering struct {
	engine.Session
	err error
}

func (s answering) Alone(c *engine.Call) (driver.Result, error) {
	s.Session.Alone(c)
	if p, ok := s.err.(*engine.PanicError); ok {
		panic(p.Value)
	}
	return nil, s.err
}

// database/sql asks twice if it had c for a caller whose context has ended.
func TestAKeptConnectionThatWasTakenAwayIsNotKeptAgain(t *testing.T) {
	w, _ := newWorld(t)
	w.Pool = w.pool(1)
	ctx := t.Context()
	kept, other := New(w, &w.Base, true), New(w, &w.Base, true)
	_, err := kept.ExecContext(ctx, "CREATE TEMP TABLE own (n)", nil)
	require.NoError(t, err)
	require.True(t, kept.IsValid())
	require.NoError(t, kept.ResetSession(ctx), "no other connection has needed it")
	require.True(t, kept.IsValid())
	require.NoError(t, other.Ping(ctx))
	require.True(t, kept.IsValid())
	require.ErrorIs(t, kept.ResetSession(ctx), driver.ErrBadConn)
	require.NoError(t, kept.Close())
	require.NoError(t, other.Close())
	require.Zero(t, w.Pool.Stats().OpenConnections)
}
