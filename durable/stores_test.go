package durable_test

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/groupcommit/groupcommit/pgx"
	"github.com/groupcommit/groupcommit/sqlite3"
	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }

var background = context.Background()

// everywhere runs a test on each kind of store. open is one process's way to the promises of the test.
func everywhere(t *testing.T, test func(t *testing.T, open func() durable.Store)) {
	t.Run("memory", func(t *testing.T) {
		s := durable.NewMemory()
		test(t, func() durable.Store { return s })
	})
	onDatabases(t, func(t *testing.T, connect func() *sql.DB) {
		test(t, func() durable.Store {
			s, err := durable.NewSQL(background, connect())
			require.NoError(t, err)
			return s
		})
	})
}

// onDatabases runs a test on each kind of database, plain and grouped. All that connect returns have one new database.
func onDatabases(t *testing.T, test func(t *testing.T, connect func() *sql.DB)) {
	for _, driverName := range []string{"sqlite3", sqlite3.DriverName, "pgx", pgx.DriverName} {
		t.Run(driverName, func(t *testing.T) {
			dsn := "file:" + filepath.Join(t.TempDir(), "test.db") + "?_journal=WAL&_sync=OFF"
			if driverName == "pgx" || driverName == pgx.DriverName {
				dsn = pgtest.DSN(t)
			}
			test(t, func() *sql.DB { return connect(t, driverName, dsn) })
		})
	}
}

func connect(t *testing.T, driverName, dsn string) *sql.DB {
	t.Helper()
	bounded.Test(t)
	db, err := sql.Open(driverName, dsn)
	require.NoError(t, err)
	t.Cleanup(func() { bounded.Wait(t, "the database is closed", func() { db.Close() }) })
	return db
}

// noon is when the tests that have a clock take place.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// clock is a clock that stands until it is set.
type clock struct{ time.Time }

func (c *clock) now() time.Time { return c.Time }

func atNoon(s durable.Store) (durable.Store, *clock) {
	c := &clock{noon}
	return durable.WithClock(s, c.now), c
}
