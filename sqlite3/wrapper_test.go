package sqlite3_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"strings"
	"testing"

	"github.com/groupcommit/groupcommit"
	mattn "github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// wrapping is the driver in a wrapper of the program's, which finds fault with statements that name a table too_late: after
// they have been executed.
type wrapping struct{ mattn.SQLiteDriver }

type wrapped struct{ *mattn.SQLiteConn }

type wrappedStmt struct {
	*mattn.SQLiteStmt
	query string
}

var errTooLate = errors.New("the wrapper does not like it")

func (d *wrapping) Open(dsn string) (driver.Conn, error) {
	c, err := d.SQLiteDriver.Open(dsn)
	if err != nil {
		return nil, err
	}
	return wrapped{c.(*mattn.SQLiteConn)}, nil
}

func (c wrapped) Unwrap() driver.Conn { return c.SQLiteConn }

func (c wrapped) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	res, err := c.SQLiteConn.ExecContext(ctx, query, args)
	return tooLate(query, res, err)
}

func (c wrapped) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	st, err := c.SQLiteConn.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	return wrappedStmt{st.(*mattn.SQLiteStmt), query}, nil
}

func (s wrappedStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	res, err := s.SQLiteStmt.ExecContext(ctx, args)
	return tooLate(s.query, res, err)
}

func tooLate(query string, res driver.Result, err error) (driver.Result, error) {
	if strings.Contains(query, "INTO too_late") {
		return nil, errTooLate
	}
	return res, err
}

func init() {
	sql.Register("sqlite3-wrapped", &wrapping{})
	groupcommit.Register("sqlite3-wrapped-groupcommit", &wrapping{})
}

// What is not SQLite's own error says nothing of what SQLite has done: a savepoint would undo what autocommit has kept.
func TestAnErrorOfAWrapperLeavesInAGroupWhatItLeavesByItself(t *testing.T) {
	for _, query := range []string{"INSERT INTO too_late VALUES (1)", "INSERT INTO too_late SELECT n FROM a",
		"INSERT INTO too_late VALUES (7), ('x')"} { // which fails when it has written a row
		want := sameAsPlain(t, "sqlite3-wrapped", "sqlite3-wrapped-groupcommit", "", []string{"CREATE TABLE a (n)", "CREATE TABLE too_late (n INT) STRICT"},
			"INSERT INTO a VALUES (1)", query, "INSERT INTO a VALUES (2)", query, "INSERT INTO a VALUES (3)")
		require.Equal(t, errTooLate, want[1].err)
		require.NoError(t, want[2].err)
	}
}

func TestAWrapperSeesTheCallsOfAGroup(t *testing.T) {
	db := openDB(t, "sqlite3-wrapped-groupcommit", dsnOf(t, ""), "CREATE TABLE a (n)", "CREATE TABLE too_late (n)")
	cs := []*call{{query: "INSERT INTO a VALUES (?)", args: []any{1}}, {query: "INSERT INTO too_late VALUES (?)", args: []any{1}},
		{query: "INSERT INTO a VALUES (?)", args: []any{2}}}
	for range 2 { // the second time with statements that are kept
		asGroup(t, db, cs)
		require.NoError(t, cs[0].err)
		require.Equal(t, errTooLate, cs[1].err)
		require.NoError(t, cs[2].err)
	}
	require.Equal(t, 4, count(t, db, "SELECT count(*) FROM a"))
	require.Equal(t, 2, count(t, db, "SELECT count(*) FROM too_late"), "as on the plain driver, where it was executed once")
}
