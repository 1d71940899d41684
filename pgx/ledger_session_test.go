package pgx_test

import (
	"database/sql/driver"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/stretchr/testify/require"
)

func TestALostConnectionIsNotTakenForATransaction(t *testing.T) {
	r := ledgerRig(t)
	c, err := r.db.Conn(background)
	require.NoError(t, err)
	defer c.Close()
	var pid int
	require.NoError(t, c.QueryRowContext(background, "SELECT pg_backend_pid()").Scan(&pid))
	r.exec(r.plain, "SELECT pg_terminate_backend($1)", pid)
	_, err = c.ExecContext(background, "SELECT pg_sleep(0)")
	require.Equal(t, "57P01", sqlState(err))
	_, err = c.ExecContext(groupcommit.WithID(background, "a"), logged(1).query, 1)
	require.Equal(t, driver.ErrBadConn, err)
	require.Equal(t, done, execID(background, r.db, named{"a", logged(1)}))
}
