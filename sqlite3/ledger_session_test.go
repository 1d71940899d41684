package sqlite3_test

import (
	"database/sql/driver"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/stretchr/testify/require"
)

func TestAnIDIsRefusedWhereTheSessionHasBeenChanged(t *testing.T) {
	db, _ := promising(t, "")
	_, err := db.ExecContext(withID("x"), insertRow, 1, "v")
	require.NoError(t, err)
	for _, change := range []string{"CREATE TEMP TABLE a (k, v)", "ATTACH ':memory:' AS other", ""} {
		c, err := db.Conn(background)
		require.NoError(t, err)
		if change == "" {
			require.NoError(t, groupcommit.Raw(background, c, func(driver.Conn) error { return nil }))
		} else {
			exec(t, c, change)
		}
		for _, id := range []string{"x", "y"} {
			_, err = c.ExecContext(withID(id), insertRow, 1, "v")
			require.ErrorContains(t, err, "session has been changed", change)
			require.ErrorContains(t, err, id)
		}
		exec(t, c, "INSERT INTO a (v) VALUES ('without an id')")
		c.Raw(func(any) error { return driver.ErrBadConn }) // closes it
	}
	require.Equal(t, 1, count(t, db, "SELECT count(*) FROM groupcommit_promises WHERE id <> ''"))
}
