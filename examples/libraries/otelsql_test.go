package libraries_test

import (
	"testing"

	"github.com/XSAM/otelsql"
	"github.com/stretchr/testify/require"
)

func TestOtelsqlAboveGroupcommit(t *testing.T) {
	dsn := newFile(t)
	db, err := otelsql.Open("sqlite3-groupcommit", dsn)
	require.NoError(t, err)
	defer db.Close()
	_, err = db.Exec("CREATE TABLE users (id INTEGER PRIMARY KEY)")
	require.NoError(t, err)
	grouped(t, db, func(i int) error {
		_, err := db.Exec("INSERT INTO users VALUES (?)", i)
		return err
	})
}
