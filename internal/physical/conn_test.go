package physical

import (
	"context"
	"database/sql/driver"
	"errors"
	"testing"

	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/sqltext"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// noting is a server that notes what is prepared, closed and executed, and fails where it is told to. Only one test's goroutine
// uses it.
type noting struct {
	server
	log  []string
	fail error
}

func (n *noting) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := n.server.Connect(ctx)
	return &notingConn{c.(*serverConn), n}, err
}

type notingConn struct {
	*serverConn
	n *noting
}

func (c *notingConn) Prepare(query string) (driver.Stmt, error) {
	c.n.log = append(c.n.log, "prepare "+query)
	return &notingStmt{c.n, query}, nil
}

func (c *notingConn) ExecContext(_ context.Context, query string, _ []driver.NamedValue) (driver.Result, error) {
	c.n.log = append(c.n.log, query)
	return driver.RowsAffected(0), c.n.fail
}

type notingStmt struct {
	n     *noting
	query string
}

func (s *notingStmt) Close() error {
	s.n.log = append(s.n.log, "close "+s.query)
	return nil
}
func (s *notingStmt) NumInput() int                              { return 0 }
func (s *notingStmt) Exec([]driver.Value) (driver.Result, error) { return nil, driver.ErrSkip }
func (s *notingStmt) Query([]driver.Value) (driver.Rows, error)  { return nil, driver.ErrSkip }

// idle is a session without a transaction.
type idle struct{ engine.Session }

func (idle) Idle() bool { return true }

func (n *noting) pool(t *testing.T, refresh func(string)) *Pool {
	p := New(Config{
		Connector: n,
		Open: func(ctx context.Context, raw driver.Conn) (engine.Session, error) {
			s, err := engine.Find(raw, nil).Open(ctx, raw, engine.Settings{})
			return idle{s}, err
		},
		TakeTurn: func(context.Context) (func(), error) {
			n.log = append(n.log, "turn")
			return func() { n.log = append(n.log, "turn ends") }, n.fail
		},
		Refresh: func(_ engine.Session, setting string) { refresh(setting) },
	})
	p.Kept()
	sit(p, 3)
	t.Cleanup(func() { assert.NoError(t, p.Close()) })
	return p
}

// take returns what has happened since the last call.
func (n *noting) take() []string {
	log := n.log
	n.log = nil
	return log
}

func TestAStatementIsPreparedOnceAsLongAsTheSchemaIsTheSame(t *testing.T) {
	n := new(noting)
	l := take(t, n.pool(t, nil), false)
	defer l.GiveBack(false)
	n.take()
	use := func(schema int64) Stmt {
		s, err := l.Conn.TakeStmt(t.Context(), "a", schema)
		require.NoError(t, err)
		return s
	}
	l.Conn.EndStmt(use(1), true)
	l.Conn.EndStmt(use(1), true)
	assert.Equal(t, []string{"prepare a"}, n.take())
	old := use(2)
	assert.Equal(t, []string{"close a", "prepare a"}, n.take())
	l.Conn.EndStmt(use(3), false)
	assert.Equal(t, []string{"prepare a", "close a"}, n.take())
	l.Conn.EndStmt(old, true)
	assert.Equal(t, []string{"close a"}, n.take(), "it is of a schema that is no more")
}

func TestAStatementThatTheProgramHasClosedIsGoneAtTheNextUse(t *testing.T) {
	n := new(noting)
	p := n.pool(t, nil)
	l := take(t, p, false)
	s, err := l.Conn.TakeStmt(t.Context(), "a", 0)
	require.NoError(t, err)
	l.Conn.EndStmt(s, true)
	l.GiveBack(false)
	p.StmtOpened("a")
	p.StmtOpened("a")
	n.take()
	assert.True(t, p.StmtClosed("a"), "the program has another one")
	take(t, p, false).GiveBack(false)
	assert.Empty(t, n.take())
	assert.False(t, p.StmtClosed("a"))
	take(t, p, false).GiveBack(false)
	assert.Equal(t, []string{"close a"}, n.take())
}

func TestASettingHoldsForEveryConnectionFromItsNextUseOn(t *testing.T) {
	n := new(noting)
	var refreshed []string
	p := n.pool(t, func(name string) { refreshed = append(refreshed, name) })
	first, second := take(t, p, false), take(t, p, false)
	first.Conn.Share([]sqltext.Setting{{Name: "a", Text: "PRAGMA a=1"}})
	assert.Equal(t, []string{"a"}, refreshed)
	n.take()
	for _, l := range []Lease{first, second} {
		require.NoError(t, l.Conn.Reset(t.Context()))
	}
	assert.Equal(t, []string{"PRAGMA a=1"}, n.take(), "only the second had not got it")
	third := take(t, p, false)
	assert.Equal(t, []string{"turn", "PRAGMA a=1", "turn ends"}, n.take())
	for _, l := range []Lease{first, second, third} {
		l.GiveBack(false)
	}
}

func TestNothingRunsOnAConnectionWithoutTheProgramsSettings(t *testing.T) {
	n := new(noting)
	p := n.pool(t, func(string) {})
	first, second := take(t, p, false), take(t, p, false)
	first.Conn.Share([]sqltext.Setting{{Name: "a", Text: "PRAGMA a=1"}})
	second.GiveBack(false)
	n.fail = errors.New("no such setting")
	_, err := p.Borrow(t.Context(), Use{})
	assert.ErrorIs(t, err, n.fail)
	n.fail = nil
	l := take(t, p, false)
	assert.NoError(t, l.Conn.Unset())
	l.GiveBack(false)
	first.GiveBack(false)
	assert.Zero(t, p.Stats().InUse)
}

// A writer that waited for the turn which it has would wait for ever.
func TestAConnectionIsOpenedInTheTurnUnlessItsBorrowerHasIt(t *testing.T) {
	n := new(noting)
	p := n.pool(t, nil)
	p.OpenInTurn()
	reader := take(t, p, false)
	assert.Equal(t, []string{"turn", "turn ends"}, n.take())
	writer := take(t, p, true)
	assert.Empty(t, n.take())
	n.fail = errors.New("the turn cannot be had")
	_, err := p.Borrow(t.Context(), Use{})
	assert.ErrorIs(t, err, n.fail)
	assert.EqualValues(t, 2, n.opened.Load())
	reader.GiveBack(false)
	writer.GiveBack(false)
}
