package programs

import (
	"database/sql"
	"os"
	"path/filepath"
	"testing"

	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/groupcommit/groupcommit/pgx"
	"github.com/groupcommit/groupcommit/sqlite3"
	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }

// goroutines is how many of them each program has.
const goroutines = 32

// A side is a database of one test, and the driver on it.
type side struct {
	engine  Engine
	driver  string
	swapped bool
	dsn     string
}

// sides are the plain driver and the swapped one, each with a database of its own.
func sides(t *testing.T, e Engine) (plain, swapped side) {
	plain = side{engine: e, driver: string(e)}
	swapped = side{engine: e, driver: map[Engine]string{SQLite: sqlite3.DriverName, Postgres: pgx.DriverName}[e], swapped: true}
	for _, s := range []*side{&plain, &swapped} {
		if e == Postgres {
			s.dsn = pgtest.DSN(t)
		} else {
			level := "OFF" // the plain driver's answers do not depend on it
			if s.swapped {
				level = "FULL"
			}
			s.dsn = "file:" + filepath.Join(t.TempDir(), "a.db") + "?_journal=WAL&_fk=on&_sync=" + level
		}
	}
	return plain, swapped
}

// open opens a side's database with a pool in which every goroutine finds room. The plain SQLite driver has one connection,
// or else the database would be locked.
func (s side) open(t *testing.T) *sql.DB {
	db, err := sql.Open(s.driver, s.dsn)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	s.bound(db)
	return db
}

func (s side) bound(db *sql.DB) {
	switch {
	case s.engine == Postgres:
		db.SetMaxOpenConns(16)
		db.SetMaxIdleConns(16)
	case !s.swapped:
		db.SetMaxOpenConns(1)
	}
}

// onBoth runs a test on both databases.
func onBoth(t *testing.T, test func(t *testing.T, e Engine)) {
	for _, e := range []Engine{SQLite, Postgres} {
		t.Run(string(e), func(t *testing.T) { test(t, e) })
	}
}

// must is for what can only fail where the test is wrong.
func must(t *testing.T, db *sql.DB, texts ...string) {
	t.Helper()
	for _, text := range texts {
		_, err := db.Exec(text)
		require.NoError(t, err, text)
	}
}
