package pgx_test

import (
	"database/sql/driver"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/stretchr/testify/require"
)

func TestALostConnectionIsNotTakenForATransaction(t *testing.T) {
	t.Parallel()
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

func TestAnIDIsRefusedWhereTheSessionHasItsOwnSchemaOrRole(t *testing.T) {
	t.Parallel()
	r := ledgerRig(t)
	r.exec(r.plain, "CREATE SCHEMA tenant")
	r.exec(r.plain, "CREATE TABLE tenant.log (k BIGINT)")
	require.Equal(t, done, execID(background, r.db, named{"order", logged(1)}))
	for _, q := range []string{"SET search_path = tenant, public", "SET ROLE NONE", "CREATE TEMP TABLE log (k BIGINT)"} {
		c, err := r.db.Conn(background)
		require.NoError(t, err)
		_, err = c.ExecContext(background, q)
		require.NoError(t, err)
		for _, id := range []string{"order", "another"} {
			_, err = c.ExecContext(groupcommit.WithID(background, id), logged(1).query, 1)
			require.ErrorContains(t, err, "session has been changed", q)
			require.ErrorContains(t, err, id)
		}
		_, err = c.ExecContext(background, logged(1).query, 2)
		require.NoError(t, err, "without an id")
		c.Raw(func(any) error { return driver.ErrBadConn }) // closes it
	}
	require.Equal(t, "1", r.promises("true"))
}
