package sqlite3_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	mattn "github.com/mattn/go-sqlite3"
	"sync"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/stretchr/testify/require"
)

func TestAttackRecoverMany(t *testing.T) {
	for _, n := range []int{10_000, 100_000} {
		db, again := attackDB(t)
		exec(t, db, "WITH RECURSIVE k(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM k WHERE n < $1) INSERT INTO groupcommit_promises (id, state, create_key, kind, param, created_at) SELECT 'o' || n, 0, 'k', 'sqlite3_test.cmd', CAST('{\"N\":1}' AS BLOB), n FROM k", n)
		db2 := again()
		start := time.Now()
		cs := mustHandle(t, db2, func(context.Context, *sql.Tx, []*commandOf) error { return nil }, groupcommit.Durable())
		ctx, cancel := context.WithTimeout(background, 60*time.Second)
		err := cs.Recover(ctx)
		cancel()
		t.Logf("%d pending: %v %v", n, time.Since(start), err)
	}
}

// A durable type whose handler always fails, and callers of it: what do they cost a neighbour type?
func TestAttackRowsLeftOpenOnSQLite(t *testing.T) {
	db, _ := attackDB(t)
	ps := inOneBatch(t, db, func(ctx context.Context, tx *sql.Tx, b []*commandOf) error {
		for _, c := range b {
			if err := c.Try(func() (int, error) {
				rows, err := tx.QueryContext(ctx, "WITH RECURSIVE k(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM k WHERE n < 100) INSERT INTO e SELECT n FROM k RETURNING n")
				if err != nil {
					return 0, err
				}
				rows.Next()
				if c.Value.N == 0 {
					return 0, errOops
				}
				return 1, nil
			}); err != nil {
				return err
			}
		}
		return nil
	}, 3, true, groupcommit.Retry(groupcommit.Never))
	for i, p := range ps {
		_, err := within(t, p, 15*time.Second)
		t.Log(i, err)
	}
	require.Equal(t, 200, countOf(t, db, "SELECT count(*) FROM e"))
}

// A second Close while the first one waits for a handler.
func TestAttackSecondClose(t *testing.T) {
	db, _ := attackDB(t)
	in, out := make(chan struct{}), make(chan struct{})
	cs := mustHandle(t, db, func(context.Context, *sql.Tx, []*commandOf) error { close(in); <-out; return nil })
	p := cs.Go(background, "x", cmd{1})
	<-in
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() { db.Close() })
	}
	time.Sleep(50 * time.Millisecond)
	close(out)
	both.Wait()
	_, err := within(t, p, time.Second)
	require.NoError(t, err)
	_, err = within(t, cs.Go(background, "y", cmd{1}), time.Second)
	require.ErrorIs(t, err, groupcommit.ErrClosed)
}

func TestAttackMemory(t *testing.T) {
	name := fmt.Sprintf("sqlite3-attack-%d", driverNames.Add(1))
	_ = name
	for _, dsn := range []string{":memory:", "file:x?mode=memory&cache=shared"} {
		db := memoryDB(t, dsn)
		exec(t, db, "CREATE TABLE e (n INTEGER)")
		cs := mustHandle(t, db, groupcommit.Each(func(ctx context.Context, tx *sql.Tx, c cmd) (int, error) {
			_, err := tx.ExecContext(ctx, "CREATE TEMP TABLE IF NOT EXISTS tt (a); ")
			if err == nil {
				_, err = tx.ExecContext(ctx, "INSERT INTO e VALUES (?)", c.N)
			}
			return c.N, err
		}), groupcommit.Durable())
		var done sync.WaitGroup
		for i := range 30 {
			done.Go(func() {
				r, err := within(t, cs.Go(background, fmt.Sprint(i), cmd{i}), 20*time.Second)
				if err != nil || r != i {
					t.Error(dsn, i, r, err)
				}
			})
		}
		done.Wait()
		require.NoError(t, cs.Recover(background))
		require.NoError(t, db.Close())
	}
}

func memoryDB(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	_, again := attackDB(t)
	d := again().Driver()
	name := fmt.Sprintf("sqlite3-attack-mem-%d", driverNames.Add(1))
	_ = d
	groupcommit.Register(name, plainDriver(), groupcommit.Promises())
	db, err := sql.Open(name, dsn)
	require.NoError(t, err)
	t.Cleanup(func() { db.Close() })
	return db
}
func plainDriver() driver.Driver { return &mattn.SQLiteDriver{} }
