package sqlite3_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/bounded"
	mattn "github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAMemoryDatabaseIsNeverLost(t *testing.T) {
	cancelled := func(f func(ctx context.Context, cancel func())) {
		ctx, cancel := context.WithCancel(background)
		defer cancel()
		f(ctx, cancel)
	}
	slow := "WITH RECURSIVE c (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 3000000) SELECT max(i) FROM c"
	for _, dsn := range []string{":memory:", "", "file::memory:", "file:x?mode=memory", "file:lost?mode=memory&cache=shared", "file::memory:?cache=shared"} {
		t.Run(dsn, func(t *testing.T) {
			db := ours(t, dsn, "CREATE TABLE a (n)")
			db.SetMaxIdleConns(0) // every connection of the program's pool is closed after each use
			rows := 0
			there := func(after string) {
				t.Helper()
				exec(t, db, "INSERT INTO a VALUES (1)")
				rows++
				require.Equal(t, []string{strconv.Itoa(rows)}, texts(db, "SELECT count(*) FROM a"), after)
			}
			there("CREATE")
			cancelled(func(ctx context.Context, cancel func()) {
				tx, err := db.BeginTx(ctx, nil)
				require.NoError(t, err)
				exec(t, tx, "INSERT INTO a VALUES (2)")
				cancel()
			})
			there("a cancelled transaction")
			cancelled(func(ctx context.Context, cancel func()) {
				rows, err := db.QueryContext(ctx, "SELECT n FROM a")
				require.NoError(t, err)
				cancel()
				rows.Close()
			})
			there("a cancelled query")
			ctx, cancel := context.WithTimeout(background, 5*time.Millisecond)
			db.QueryRowContext(ctx, slow).Scan(new(int))
			db.ExecContext(ctx, "INSERT INTO a "+slow+" HAVING max(i) < 0")
			cancel()
			there("an interrupted query")
			cancelled(func(ctx context.Context, cancel func()) {
				tx, err := db.BeginTx(ctx, nil)
				require.NoError(t, err)
				exec(t, tx, "INSERT INTO a VALUES (2)")
				ctx2, cancel2 := context.WithTimeout(ctx, 5*time.Millisecond)
				tx.QueryRowContext(ctx2, slow).Scan(new(int))
				cancel2()
				cancel()
			})
			there("an interrupted query in a transaction")

			conn, err := db.Conn(background)
			require.NoError(t, err)
			exec(t, conn, "PRAGMA cache_size = 50")
			exec(t, conn, "CREATE TEMP TABLE mine (n)")
			require.NoError(t, conn.Close())
			there("a session")
			conn, err = db.Conn(background)
			require.NoError(t, err)
			require.NoError(t, groupcommit.Raw(background, conn, func(driver.Conn) error { return nil }))
			require.NoError(t, conn.Close())
			there("Raw")

			var done sync.WaitGroup
			for range 8 {
				done.Go(func() {
					_, err := db.Exec("INSERT INTO a VALUES (1)")
					assert.NoError(t, err)
					tx, err := db.Begin()
					if assert.NoError(t, err) {
						_, err = tx.Exec("INSERT INTO a VALUES (2)")
						assert.NoError(t, err)
						assert.NoError(t, tx.Rollback())
					}
				})
			}
			bounded.Wait(t, "the calls are answered", done.Wait)
			rows += 8
			there("a crowd")
			st, err := groupcommit.StatsOf(db)
			require.NoError(t, err)
			require.Equal(t, 1, st.Leased.OpenConnections, "physical connections")
		})
	}
}

func TestAMemoryDatabaseOutlivesAConnThatLeavesATransactionOpen(t *testing.T) {
	for _, c := range []struct {
		name string
		open func(t *testing.T, conn *sql.Conn)
	}{
		{"ByText", func(t *testing.T, conn *sql.Conn) { exec(t, conn, "BEGIN"); exec(t, conn, "INSERT INTO a VALUES (2)") }},
		{"ByRaw", func(t *testing.T, conn *sql.Conn) {
			require.NoError(t, groupcommit.Raw(background, conn, func(dc driver.Conn) error {
				_, err := dc.(*mattn.SQLiteConn).Exec("BEGIN", nil)
				return err
			}))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			db := ours(t, ":memory:", "CREATE TABLE a (n)", "INSERT INTO a VALUES (1)")
			db.SetMaxIdleConns(0)
			conn, err := db.Conn(background)
			require.NoError(t, err)
			c.open(t, conn)
			require.NoError(t, conn.Close())
			require.Equal(t, []string{"1"}, texts(db, "SELECT n FROM a"))
		})
	}
}

func TestTwoOpensOfASharedMemoryDatabaseTakeTurns(t *testing.T) {
	dsn := "file:twice?mode=memory&cache=shared" + impatient
	one := ours(t, dsn, "CREATE TABLE a (n)")
	two := ours(t, dsn)
	var done sync.WaitGroup
	for i := range 40 {
		db := []*sql.DB{one, two}[i%2]
		done.Go(func() {
			_, err := db.Exec("INSERT INTO a VALUES (?)", i)
			assert.NoError(t, err)
			tx, err := db.Begin()
			if assert.NoError(t, err) {
				_, err = tx.Exec("INSERT INTO a VALUES (?)", i)
				assert.NoError(t, err)
				assert.NoError(t, tx.Commit())
			}
			assert.NoError(t, db.QueryRow("SELECT count(*) FROM a").Scan(new(int)))
		})
	}
	bounded.Wait(t, "the calls are answered", done.Wait)
	require.Equal(t, []string{"80"}, texts(two, "SELECT count(*) FROM a"))
}
