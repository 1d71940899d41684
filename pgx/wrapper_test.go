package pgx_test

import (
	"context"
	"database/sql/driver"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"
)

// intercepting is a driver whose connections' Execs go through a function. Its wrapper shows nothing but a private field.
type intercepting struct {
	driver.Driver
	exec func(ctx context.Context, c driver.Conn, query string, args []driver.NamedValue) (driver.Result, error)
}

type interceptedConn struct {
	of     *intercepting
	parent driver.Conn
}

func (d *intercepting) Open(dsn string) (driver.Conn, error) {
	c, err := d.Driver.Open(dsn)
	if err != nil {
		return nil, err
	}
	return interceptedConn{d, c}, nil
}

func (c interceptedConn) Prepare(q string) (driver.Stmt, error) { return c.parent.Prepare(q) }
func (c interceptedConn) Close() error                          { return c.parent.Close() }
func (c interceptedConn) Begin() (driver.Tx, error) {
	return c.parent.(driver.ConnBeginTx).BeginTx(background, driver.TxOptions{})
}
func (c interceptedConn) ExecContext(ctx context.Context, q string, args []driver.NamedValue) (driver.Result, error) {
	return c.of.exec(ctx, c.parent, q, args)
}

// wrappedRig is a rig whose database is ours around a wrapper around the driver.
func wrappedRig(t *testing.T, d *intercepting) *rig {
	r := setUp(t)
	name := fmt.Sprintf("pgx-groupcommit-test-%d", drivers.Add(1))
	groupcommit.Register(name, d, groupcommit.OnGroup(r.observe), groupcommit.Writers(1))
	r.db = r.open(name, r.dsn)
	return r
}

func TestAWrapperSeesEachCallOfAGroupAndMayChangeIt(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var seen []string
	r := wrappedRig(t, &intercepting{stdlib.GetDefaultDriver(), func(ctx context.Context, c driver.Conn, q string, args []driver.NamedValue) (driver.Result, error) {
		mu.Lock()
		seen = append(seen, q)
		mu.Unlock()
		return c.(driver.ExecerContext).ExecContext(ctx, strings.ReplaceAll(q, "'plain'", "'changed'"), args)
	}})
	r.exec(r.db, "INSERT INTO rows (k, v) VALUES (0, 'plain')")
	seen = nil
	query := "INSERT INTO rows (k, v) VALUES ($1, 'plain')"
	for _, a := range r.begin(call{query, []any{1}}, call{query, []any{2}}, call{query, []any{3}})() {
		require.NoError(t, a.err)
	}
	require.Contains(t, r.sizes(), 3)
	count := 0
	for _, q := range seen {
		if q == query {
			count++
		}
	}
	require.Equal(t, 3, count)
	require.Equal(t, "4", r.value("SELECT count(*) FROM rows WHERE v = 'changed'"))
}

// A wrapper may put a transaction of its own around each call, for a setting that is the transaction's. It then ends the group's.
func TestAWrapperThatCommitsByItselfCommitsNothingTwice(t *testing.T) {
	t.Parallel()
	r := wrappedRig(t, &intercepting{stdlib.GetDefaultDriver(), func(ctx context.Context, c driver.Conn, q string, args []driver.NamedValue) (driver.Result, error) {
		execer := c.(driver.ExecerContext)
		if _, err := execer.ExecContext(ctx, "BEGIN", nil); err != nil {
			return nil, err
		}
		res, err := execer.ExecContext(ctx, q, args)
		end := "COMMIT"
		if err != nil {
			end = "ROLLBACK"
		}
		if _, ended := execer.ExecContext(ctx, end, nil); err == nil {
			err = ended
		}
		return res, err
	}})
	answers := r.begin(logged(1), insert(1), logged(2), insert(1), logged(3))()
	for _, i := range []int{0, 2, 4} {
		require.NoError(t, answers[i].err)
	}
	require.NotEqual(t, answers[1].err == nil, answers[3].err == nil, "one of the two was first")
	require.Equal(t, "3", r.value("SELECT count(*) FROM log WHERE k > 0"))
	require.Equal(t, "1", r.value("SELECT count(*) FROM rows"))
}
