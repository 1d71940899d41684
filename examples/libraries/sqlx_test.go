package libraries_test

import (
	"fmt"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	_ "github.com/groupcommit/groupcommit/sqlxbind"
	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/require"
)

type person struct {
	Name string
}

func TestSqlxFindsThePlaceholdersOfANamedQuery(t *testing.T) {
	t.Run("PostgreSQL", func(t *testing.T) {
		dsn := pgtest.DSN(t)
		db, err := sqlx.Connect("pgx-groupcommit", dsn)
		require.NoError(t, err)
		defer db.Close()
		sqlxCalls(t, db)
	})
	t.Run("SQLite", func(t *testing.T) {
		db, err := sqlx.Connect("sqlite3-groupcommit", newFile(t))
		require.NoError(t, err)
		defer db.Close()
		sqlxCalls(t, db)
	})
	t.Run("with options", func(t *testing.T) {
		dsn := pgtest.DSN(t)
		inner, err := groupcommit.Open("pgx", dsn, groupcommit.MaxLen(500))
		require.NoError(t, err)
		db := sqlx.NewDb(inner, "pgx")
		defer db.Close()
		sqlxCalls(t, db)
	})
}

func sqlxCalls(t *testing.T, db *sqlx.DB) {
	_, err := db.Exec("CREATE TABLE people (name TEXT NOT NULL)")
	require.NoError(t, err)
	grouped(t, db.DB, func(i int) error {
		_, err := db.NamedExecContext(t.Context(), "INSERT INTO people (name) VALUES (:name)", person{fmt.Sprint("person ", i)})
		return err
	})
	grouped(t, db.DB, func(i int) error {
		rows, err := db.NamedQueryContext(t.Context(), "INSERT INTO people (name) VALUES (:name) RETURNING name", person{fmt.Sprint("other ", i)})
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var name string
			if err := rows.Scan(&name); err != nil {
				return err
			}
		}
		return rows.Err()
	})
	grouped(t, db.DB, func(i int) error {
		var name string
		return db.GetContext(t.Context(), &name, db.Rebind("INSERT INTO people (name) VALUES (?) RETURNING name"), fmt.Sprint("third ", i))
	})
	require.Equal(t, 3*goroutines, count(t, db.DB, "SELECT count(*) FROM people"))
}
