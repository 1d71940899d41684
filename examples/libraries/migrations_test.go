package libraries_test

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/golang-migrate/migrate/v4"
	"github.com/golang-migrate/migrate/v4/database"
	migratepgx "github.com/golang-migrate/migrate/v4/database/pgx/v5"
	migratesqlite "github.com/golang-migrate/migrate/v4/database/sqlite3"
	"github.com/golang-migrate/migrate/v4/source/iofs"
	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A program migrates its database when it starts, by a sql.DB that it closes again, and by either driver.

const create = "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL); CREATE INDEX users_name ON users (name);"

var ofGoose = fstest.MapFS{
	"00001_users.sql": {Data: []byte("-- +goose Up\n" + create + "\n-- +goose Down\nDROP TABLE users;\n")},
	"00002_more.sql":  {Data: []byte("-- +goose NO TRANSACTION\n-- +goose Up\nALTER TABLE users ADD COLUMN born TEXT;\nINSERT INTO users VALUES (-1, 'first', '');\n")},
}

var ofMigrate = fstest.MapFS{
	"1_users.up.sql":   {Data: []byte(create)},
	"1_users.down.sql": {Data: []byte("DROP TABLE users")},
	"2_more.up.sql":    {Data: []byte("ALTER TABLE users ADD COLUMN born TEXT; INSERT INTO users VALUES (-1, 'first', '')")},
}

func TestGooseMigratesBeforeTheProgramOpensItsDatabase(t *testing.T) {
	for _, name := range []string{"sqlite3", "sqlite3-groupcommit"} {
		dsn := newFile(t)
		require.NoError(t, gooseUp(t.Context(), name, dsn, ofGoose, goose.DialectSQLite3))
		isMigrated(t, "sqlite3-groupcommit", dsn)
	}
	dsn := pgtest.DSN(t)
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 60))
	require.NoError(t, err)
	asTwoProcesses(t, func(name string) error {
		return gooseUp(t.Context(), name, dsn, ofGoose, goose.DialectPostgres, goose.WithSessionLocker(locker))
	})
	isMigrated(t, "pgx-groupcommit", dsn)
}

func gooseUp(ctx context.Context, name, dsn string, files fs.FS, dialect goose.Dialect, options ...goose.ProviderOption) error {
	db, err := sql.Open(name, dsn)
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(dialect, db, files, options...)
	if err != nil {
		return errors.Join(err, db.Close())
	}
	_, err = provider.Up(ctx)
	return errors.Join(err, provider.Close())
}

// That is why a program migrates by a sql.DB that it closes.
func TestAConnectionThatHasHadGoosesLockJoinsNoGroup(t *testing.T) {
	ctx := t.Context()
	db, err := sql.Open("pgx-groupcommit", pgtest.DSN(t))
	require.NoError(t, err)
	defer db.Close()
	locker, err := lock.NewPostgresSessionLocker()
	require.NoError(t, err)
	c, err := db.Conn(ctx)
	require.NoError(t, err)
	require.NoError(t, locker.SessionLock(ctx, c))
	require.NoError(t, locker.SessionUnlock(ctx, c))
	require.NoError(t, c.Close())

	_, err = db.Exec("CREATE TABLE users (id INTEGER PRIMARY KEY)")
	require.NoError(t, err)
	_, err = db.Exec("INSERT INTO users VALUES (1)")
	require.NoError(t, err)
	stats, err := groupcommit.StatsOf(db)
	require.NoError(t, err)
	require.Zero(t, stats.Calls)
	require.NotZero(t, stats.Apart[groupcommit.WhyBound])
}

func TestMigrateMigratesBeforeTheProgramOpensItsDatabase(t *testing.T) {
	for _, name := range []string{"sqlite3", "sqlite3-groupcommit"} {
		dsn := newFile(t)
		db, err := sql.Open(name, dsn)
		require.NoError(t, err)
		driver, err := migratesqlite.WithInstance(db, &migratesqlite.Config{})
		require.NoError(t, err)
		require.NoError(t, migrateUp(ofMigrate, driver))
		isMigrated(t, "sqlite3-groupcommit", dsn)
	}
	dsn := pgtest.DSN(t)
	asTwoProcesses(t, func(name string) error {
		db, err := sql.Open(name, dsn)
		if err != nil {
			return err
		}
		driver, err := migratepgx.WithInstance(db, &migratepgx.Config{})
		if err != nil {
			return errors.Join(err, db.Close())
		}
		return migrateUp(ofMigrate, driver)
	})
	isMigrated(t, "pgx-groupcommit", dsn)
}

func migrateUp(files fs.FS, driver database.Driver) error {
	source, err := iofs.New(files, ".")
	if err != nil {
		return err
	}
	m, err := migrate.NewWithInstance("iofs", source, "app", driver)
	if err != nil {
		return err
	}
	err = m.Up()
	if errors.Is(err, migrate.ErrNoChange) {
		err = nil
	}
	sourceErr, dbErr := m.Close() // and the sql.DB
	return errors.Join(err, sourceErr, dbErr)
}

// asTwoProcesses migrates a PostgreSQL database by both drivers at the same time.
func asTwoProcesses(t *testing.T, up func(name string) error) {
	var all sync.WaitGroup
	for _, name := range []string{"pgx", "pgx-groupcommit"} {
		all.Go(func() { assert.NoError(t, up(name), name) })
	}
	all.Wait()
}

// isMigrated makes sure that the tables are there, once, and that the program's calls are grouped.
func isMigrated(t *testing.T, name, dsn string) {
	db, err := sql.Open(name, dsn)
	require.NoError(t, err)
	defer db.Close()
	grouped(t, db, func(i int) error {
		_, err := db.Exec("INSERT INTO users (id, name, born) VALUES ($1, 'other', 'then')", i)
		return err
	})
	require.Equal(t, goroutines+1, count(t, db, "SELECT count(*) FROM users"))
}
