package sqlite3_test

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// physicalsOf is the number of physical connections.
func physicalsOf(t *testing.T, db *sql.DB) int {
	st, err := groupcommit.StatsOf(db)
	require.NoError(t, err)
	return st.Leased.OpenConnections
}

func TestAPromiseBesideATransactionOnAPoolOfOneWaitsAsItWouldOnThePlainDriver(t *testing.T) {
	dsn := dsnOf(t, "")
	for name, db := range map[string]*sql.DB{
		"SetMaxOpenConns(1)": openDB(t, "sqlite3-groupcommit", dsn, "CREATE TABLE a (n)"),
		"Physical(1)":        openDB(t, "sqlite3-groupcommit", dsn+"&groupcommit_physical=1"),
	} {
		t.Run(name, func(t *testing.T) {
			if name == "SetMaxOpenConns(1)" {
				db.SetMaxOpenConns(1)
			}
			tx, err := db.Begin()
			require.NoError(t, err)
			p := groupcommit.Go(background, db, "INSERT INTO a VALUES (1)")
			time.Sleep(10 * time.Millisecond) // the promise has the turn first, mostly
			_, err = tx.ExecContext(unhurried(t), "INSERT INTO a VALUES (2)")
			require.NoError(t, err, "each has waited for what the other one had")
			require.NoError(t, tx.Commit())
			_, err = p.Await(unhurried(t))
			require.NoError(t, err)
			assert.LessOrEqual(t, physicalsOf(t, db), 1)
		})
	}
}

func TestSixtyFourPromisesWithoutACallerKeepTheConnectionsOfTheProgramsPool(t *testing.T) {
	db := openDB(t, "sqlite3-groupcommit", dsnOf(t, ""), "CREATE TABLE a (n)")
	for range 5 {
		var ps []*groupcommit.Promise
		for i := range 64 {
			ps = append(ps, groupcommit.Go(background, db, "INSERT INTO a VALUES (?)", i))
		}
		for _, p := range ps {
			_, err := p.Await(unhurried(t))
			require.NoError(t, err)
		}
		assert.LessOrEqual(t, physicalsOf(t, db), max(1, db.Stats().OpenConnections))
	}
	db.SetMaxIdleConns(0)
	_, err := groupcommit.Go(background, db, "INSERT INTO a VALUES (1)").Await(unhurried(t))
	require.NoError(t, err)
	bounded.Until(t, "no connection is left", func() bool { return physicalsOf(t, db) == 0 })
}

// The only virtual connection waits in the queue behind a promise, whose group has none.
func TestAPromiseBeforeABlockedCallerOnAPoolOfOneGoesOn(t *testing.T) {
	db := openDB(t, "sqlite3-groupcommit", dsnOf(t, ""), "CREATE TABLE a (n)")
	db.SetMaxOpenConns(1)
	for range 20 {
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				_, err := db.ExecContext(unhurried(t), "INSERT INTO a VALUES (?)", i)
				assert.NoError(t, err)
			})
			p := groupcommit.Go(background, db, "INSERT INTO a VALUES (?)", i)
			all.Go(func() {
				_, err := p.Await(unhurried(t))
				assert.NoError(t, err)
			})
		}
		bounded.Wait(t, "the calls are answered", all.Wait)
		require.LessOrEqual(t, physicalsOf(t, db), 1)
	}
}

func TestAPoolOfOneConnectionServesReadersAndWriters(t *testing.T) {
	db := openDB(t, "sqlite3-groupcommit", dsnOf(t, "&groupcommit_physical=1"), "CREATE TABLE a (n)")
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			ctx := unhurried(t)
			_, err := db.ExecContext(ctx, "INSERT INTO a VALUES (?)", i)
			assert.NoError(t, err)
			var n int
			assert.NoError(t, db.QueryRowContext(ctx, "SELECT count(*) FROM a").Scan(&n))
			tx, err := db.BeginTx(ctx, nil)
			if !assert.NoError(t, err) {
				return
			}
			_, err = tx.ExecContext(ctx, "UPDATE a SET n = n WHERE n = ?", i)
			assert.NoError(t, err)
			assert.NoError(t, tx.Commit())
		})
	}
	bounded.Wait(t, "the calls are answered", all.Wait)
	assert.LessOrEqual(t, physicalsOf(t, db), 1)
}

// What the program's pool closes is closed below.
func TestEachSettingOfTheProgramsPoolMeansWhatItMeansOnThePlainDriver(t *testing.T) {
	for name, set := range map[string]func(*sql.DB){
		"MaxIdleConns":    func(db *sql.DB) { db.SetMaxIdleConns(3) },
		"MaxOpenConns":    func(db *sql.DB) { db.SetMaxIdleConns(8); db.SetMaxOpenConns(3) },
		"ConnMaxIdleTime": func(db *sql.DB) { db.SetMaxIdleConns(8); db.SetConnMaxIdleTime(time.Millisecond) },
		"ConnMaxLifetime": func(db *sql.DB) { db.SetMaxIdleConns(8); db.SetConnMaxLifetime(time.Millisecond) },
	} {
		t.Run(name, func(t *testing.T) {
			db := openDB(t, "sqlite3-groupcommit", dsnOf(t, ""), "CREATE TABLE a (n)")
			set(db)
			var conns []*sql.Conn
			for range 3 {
				c, err := db.Conn(background)
				require.NoError(t, err)
				require.NoError(t, c.PingContext(background))
				conns = append(conns, c)
			}
			for _, c := range conns {
				require.NoError(t, c.Close())
			}
			if name == "MaxIdleConns" || name == "MaxOpenConns" {
				assert.Equal(t, 3, physicalsOf(t, db))
				return
			}
			bounded.Until(t, "the connections are closed", func() bool { return physicalsOf(t, db) == 0 })
		})
	}
}

func TestADatabaseInMemoryOutlivesTheConnectionsOfTheProgramsPool(t *testing.T) {
	db := openDB(t, "sqlite3-groupcommit", ":memory:", "CREATE TABLE a (n)")
	db.SetMaxIdleConns(0)
	db.SetConnMaxLifetime(time.Millisecond)
	for i := range 5 {
		_, err := db.Exec(fmt.Sprintf("INSERT INTO a VALUES (%d)", i))
		require.NoError(t, err)
	}
	var n int
	require.NoError(t, db.QueryRowContext(context.Background(), "SELECT count(*) FROM a").Scan(&n))
	assert.Equal(t, 5, n)
	assert.Equal(t, 1, physicalsOf(t, db))
}
