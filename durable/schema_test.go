package durable_test

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	mattn "github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// run executes statements that must succeed.
func run(t *testing.T, db *sql.DB, statements ...string) {
	t.Helper()
	for _, s := range statements {
		_, err := db.Exec(s)
		require.NoError(t, err, s)
	}
}

func works(t *testing.T, db *sql.DB) {
	t.Helper()
	s, err := durable.NewSQL(background, db)
	require.NoError(t, err)
	_, err = s.Create(background, durable.CreateRequest{ID: "x"})
	require.NoError(t, err)
	answer, err := s.Resolve(background, durable.CompleteRequest{ID: "x"})
	require.NoError(t, err)
	require.Equal(t, durable.Resolved, answer.State)
	n, err := durable.DeleteCompleted(background, db, answer.Completed.Add(1e9), 1)
	require.NoError(t, err)
	require.EqualValues(t, 1, n)
}

func refuses(t *testing.T, db *sql.DB, says ...string) {
	t.Helper()
	_, err := durable.NewSQL(background, db)
	require.ErrorIs(t, err, durable.ErrSchema)
	for _, s := range says {
		assert.ErrorContains(t, err, s)
	}
}

// Who knows which database it is need not ask.
func TestWhoKnowsTheDialectAsksLess(t *testing.T) {
	onDatabases(t, func(t *testing.T, connect func() *sql.DB) {
		db, d := connect(), dialectOf(t)
		require.NoError(t, d.Prepare(background, db))
		s := d.NewStore(db)
		_, err := s.Create(background, durable.CreateRequest{ID: "x"})
		require.NoError(t, err)
		_, err = s.Resolve(background, durable.CompleteRequest{ID: "x"})
		require.NoError(t, err)
	})
}

// dialectOf is that of the database that onDatabases runs the test on.
func dialectOf(t *testing.T) durable.Dialect {
	if strings.Contains(t.Name(), "/pgx") {
		return durable.PostgreSQL
	}
	return durable.SQLite
}

func TestTheDatabaseSaysWhichItIs(t *testing.T) {
	onDatabases(t, func(t *testing.T, connect func() *sql.DB) {
		d, err := durable.Prepare(background, connect())
		require.NoError(t, err)
		require.Equal(t, dialectOf(t), d)
	})
}

func init() {
	sql.Register("sqlite3-as-mysql", &mattn.SQLiteDriver{ConnectHook: func(c *mattn.SQLiteConn) error {
		return c.RegisterFunc("version", func() string { return "8.4.0" }, true)
	}})
}

func TestAnyOtherDatabaseIsRefused(t *testing.T) {
	_, err := durable.Prepare(background, connect(t, "sqlite3-as-mysql", ":memory:"))
	require.EqualError(t, err, `durable: the database is "8.4.0"; it must be SQLite or PostgreSQL`)
	require.Nil(t, durable.Schema(0))
}

func TestProcessesThatMakeTheTableAtOnceAllSucceed(t *testing.T) {
	onDatabases(t, func(t *testing.T, connect func() *sql.DB) {
		var errs [8]error
		var done sync.WaitGroup
		start := make(chan struct{})
		for i := range errs {
			db := connect()
			require.NoError(t, db.Ping())
			done.Go(func() {
				<-start
				_, errs[i] = durable.Prepare(background, db)
			})
		}
		close(start)
		bounded.Wait(t, "the calls are answered", done.Wait)
		require.Equal(t, [8]error{}, errs)
		works(t, connect())
	})
}

func TestTheTableMayBeMadeByHand(t *testing.T) {
	onDatabases(t, func(t *testing.T, connect func() *sql.DB) {
		db := connect()
		d := dialectOf(t)
		run(t, db, durable.Schema(d)[0]) // and who did it was interrupted
		works(t, db)
		run(t, db, durable.Schema(d)...)
		run(t, db, "ALTER TABLE groupcommit_promises ADD COLUMN more TEXT")
		works(t, db)
		run(t, db, "DROP INDEX groupcommit_promises_pending")
		works(t, db)
	})
}

// A call pays for each index that its promise is in.
func TestAPromiseThatIsMadeCompletedIsInNoIndexButTheKey(t *testing.T) {
	for _, d := range []durable.Dialect{durable.SQLite, durable.PostgreSQL} {
		for _, statement := range durable.Schema(d) {
			if strings.Contains(statement, "INDEX") {
				require.Contains(t, statement, "WHERE state = 0")
			}
		}
	}
}

// Its columns had another order, and it had an index on completed_at.
func TestATableThatAnEarlierReleaseHasMadeWorks(t *testing.T) {
	onDatabases(t, func(t *testing.T, connect func() *sql.DB) {
		db := connect()
		id, bytes := "TEXT NOT NULL PRIMARY KEY", "BLOB"
		if dialectOf(t) == durable.PostgreSQL {
			id, bytes = `TEXT COLLATE "C" PRIMARY KEY`, "BYTEA"
		}
		run(t, db, fmt.Sprintf(`CREATE TABLE groupcommit_promises (id %s, state SMALLINT NOT NULL, create_key %s, complete_key %[2]s, kind TEXT,
			param_headers TEXT, param %[2]s, value_headers TEXT, value %[2]s, tags TEXT, timeout BIGINT, created_at BIGINT NOT NULL,
			completed_at BIGINT, lease_owner TEXT, lease_until BIGINT)`, id, bytes),
			"CREATE INDEX groupcommit_promises_completed ON groupcommit_promises (completed_at) WHERE completed_at IS NOT NULL",
			"CREATE INDEX groupcommit_promises_pending ON groupcommit_promises (kind, created_at, id) WHERE state = 0",
			"INSERT INTO groupcommit_promises (id, state, created_at, value) VALUES ('', 1, 0, '1')")
		works(t, db)
		_, err := durable.DeleteOlder(background, db, time.Hour, 1)
		require.NoError(t, err)
		run(t, db, "DROP INDEX groupcommit_promises_completed")
		works(t, db)
	})
}

func TestATableOfAnotherShapeIsRefused(t *testing.T) {
	onDatabases(t, func(t *testing.T, connect func() *sql.DB) {
		db, table := connect(), durable.Schema(dialectOf(t))[0]
		for _, c := range []struct{ part, instead, has, lacks string }{
			{"state         SMALLINT NOT NULL,", "", "it has id TEXT, timeout BIGINT", "and so lacks state SMALLINT"},
			{"SMALLINT", "BIGINT", "state BIGINT", "it needs id TEXT, state SMALLINT,"},
			{"value         BLOB", "value TEXT", "value TEXT", "and so lacks value BLOB"},
			{"value         BYTEA", "value TEXT", "value TEXT", "and so lacks value BYTEA"},
			{" PRIMARY KEY", "", "it has id TEXT, state SMALLINT", "lease_until BIGINT, UNIQUE (id), and so lacks UNIQUE (id)"},
			{"lease_until   BIGINT", "lease_until BIGINT, UNIQUE (id, state)", "UNIQUE (id)", ""}, // and the primary key
			{" PRIMARY KEY", " UNIQUE", "UNIQUE (id)", ""},
		} {
			if !strings.Contains(table, c.part) { // the other database's
				continue
			}
			run(t, db, strings.Replace(table, c.part, c.instead, 1))
			if c.lacks == "" {
				works(t, db)
			} else {
				refuses(t, db, c.has, c.lacks)
			}
			run(t, db, "DROP TABLE groupcommit_promises")
		}
	})
}

// Each of these is unique, but not so that an id is there once, or not so that ON CONFLICT finds it.
func TestAnIndexThatIsNotTheKeyIsNotTakenForIt(t *testing.T) {
	onDatabases(t, func(t *testing.T, connect func() *sql.DB) {
		db, d := connect(), dialectOf(t)
		run(t, db, strings.Replace(durable.Schema(d)[0], " PRIMARY KEY", "", 1))
		indexes := []string{
			"INDEX almost ON groupcommit_promises (id)",
			"UNIQUE INDEX almost ON groupcommit_promises (id, state)",
			"UNIQUE INDEX almost ON groupcommit_promises (state, id)",
			"UNIQUE INDEX almost ON groupcommit_promises (id) WHERE state > 0",
			"UNIQUE INDEX almost ON groupcommit_promises (lower(id))",
		}
		if d == durable.SQLite {
			indexes = append(indexes, "UNIQUE INDEX almost ON groupcommit_promises (id COLLATE NOCASE)")
		}
		for _, index := range indexes {
			run(t, db, "CREATE "+index)
			refuses(t, db, "and so lacks UNIQUE (id)")
			run(t, db, "DROP INDEX almost")
		}
		if d == durable.PostgreSQL {
			run(t, db, "ALTER TABLE groupcommit_promises ADD CONSTRAINT almost UNIQUE (id) DEFERRABLE")
			refuses(t, db, "and so lacks UNIQUE (id)")
			run(t, db, "ALTER TABLE groupcommit_promises DROP CONSTRAINT almost")
		}
		run(t, db, "CREATE UNIQUE INDEX enough ON groupcommit_promises (id)")
		works(t, db)
	})
}

func TestATableOfAnotherVersionIsRefused(t *testing.T) {
	onDatabases(t, func(t *testing.T, connect func() *sql.DB) {
		db := connect()
		works(t, db)
		run(t, db, "UPDATE groupcommit_promises SET value = '12' WHERE id = ''")
		refuses(t, db, `its version is "12"; this program needs version "1"`)
	})
}

// Nothing is wrong with a table that cannot be made because somebody else is at work.
func TestADatabaseThatIsBusyIsNoFaultOfTheTable(t *testing.T) {
	for driverName, dsn := range map[string]string{
		"sqlite3": "file:" + filepath.Join(t.TempDir(), "test.db") + "?_busy_timeout=1&_txlock=immediate",
		"pgx":     pgtest.With(pgtest.DSN(t), pgtest.Param("lock_timeout", "1")),
	} {
		t.Run(driverName, func(t *testing.T) {
			db := connect(t, driverName, dsn)
			tx, err := db.Begin()
			require.NoError(t, err)
			defer tx.Rollback()
			_, err = tx.Exec(durable.Schema(dialectOf(t))[0])
			require.NoError(t, err)
			_, err = durable.Prepare(background, db)
			require.ErrorContains(t, err, "could not be made")
			require.NotErrorIs(t, err, durable.ErrSchema)
			require.NoError(t, tx.Commit())
			works(t, db)

			ctx, cancel := context.WithCancel(background)
			cancel()
			_, err = durable.Prepare(ctx, db)
			require.ErrorIs(t, err, context.Canceled)
			require.NotErrorIs(t, err, durable.ErrSchema)
		})
	}
}

func TestARoleThatMayOnlyUseTheTable(t *testing.T) {
	dsn := pgtest.DSN(t)
	owner := connect(t, "pgx", dsn)
	var database string
	require.NoError(t, owner.QueryRow("SELECT current_database()").Scan(&database))
	role := "role_of_" + database
	run(t, owner, "REVOKE CREATE ON SCHEMA public FROM PUBLIC", fmt.Sprintf(`CREATE ROLE %q LOGIN PASSWORD 'secret'`, role))
	t.Cleanup(func() { run(t, owner, fmt.Sprintf(`DROP OWNED BY %q`, role), fmt.Sprintf(`DROP ROLE %q`, role)) })
	user := connect(t, "pgx", pgtest.With(dsn, pgtest.User(role, "secret")))

	refuses(t, user, "permission denied", "cannot be made", "CREATE TABLE IF NOT EXISTS groupcommit_promises (",
		"grant SELECT, INSERT, UPDATE and DELETE")
	run(t, owner, durable.Schema(durable.PostgreSQL)...)
	run(t, owner, fmt.Sprintf(`GRANT SELECT, INSERT, UPDATE, DELETE ON groupcommit_promises TO %q`, role))
	works(t, user)
}

func TestADatabaseThatMayOnlyBeRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	owner := connect(t, "sqlite3", "file:"+path)
	run(t, owner, "CREATE TABLE other (a)")
	reader := connect(t, "sqlite3", "file:"+path+"?mode=ro")
	refuses(t, reader, "attempt to write a readonly database", "CREATE TABLE IF NOT EXISTS groupcommit_promises (")
	s, err := durable.NewSQL(background, owner)
	require.NoError(t, err)
	place(t, s, "x")
	s, err = durable.NewSQL(background, reader)
	require.NoError(t, err)
	p, err := s.Get(background, "x")
	require.NoError(t, err)
	require.Equal(t, durable.Pending, p.State)
}
