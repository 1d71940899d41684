package sqlite3_test

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/stretchr/testify/require"
)

// hundredInsert has a hundred callers insert a row each.
func hundredInsert(t *testing.T, db *sql.DB) {
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() { db.Exec("INSERT INTO t (v) VALUES (?)", i) })
	}
	bounded.Wait(t, "all have inserted", all.Wait)
	var n int
	require.NoError(t, db.QueryRow("SELECT count(*) FROM t").Scan(&n))
	require.Equal(t, 100, n)
}

func TestAnOpenedDatabaseGroupsAndTellsOfItsGroups(t *testing.T) {
	for _, name := range []string{"sqlite3", "sqlite3-groupcommit"} {
		t.Run(name, func(t *testing.T) {
			calls := 0
			db, err := groupcommit.Open(name, dsnOf(t, ""), groupcommit.OnGroup(func(g groupcommit.GroupInfo) { calls += len(g.Calls) }))
			require.NoError(t, err)
			exec(t, db, "CREATE TABLE t (v)")
			hundredInsert(t, db)
			require.NoError(t, db.Close())
			require.Equal(t, 100, calls)
		})
	}
}

// A database in memory lives in its connection, so the pool may not close that.
func TestAnOpenedDatabaseInMemoryStays(t *testing.T) {
	db, err := groupcommit.Open("sqlite3", ":memory:")
	require.NoError(t, err)
	defer db.Close()
	exec(t, db, "CREATE TABLE t (v)")
	hundredInsert(t, db)
}

func TestAnOpenedDatabaseDividesItsCallsByPartition(t *testing.T) {
	type tenant struct{}
	var mixed []string
	inserted := 0
	db, err := groupcommit.Open("sqlite3", dsnOf(t, ""),
		groupcommit.Partition(func(ctx context.Context) any { return ctx.Value(tenant{}) }),
		groupcommit.OnGroup(func(g groupcommit.GroupInfo) {
			for _, c := range g.Calls {
				if strings.HasPrefix(c.Query, "INSERT") {
					inserted++
				}
				if c.Query != g.Calls[0].Query {
					mixed = append(mixed, c.Query)
				}
			}
		}))
	require.NoError(t, err)
	exec(t, db, "CREATE TABLE t (v)")
	before, err := groupcommit.StatsOf(db)
	require.NoError(t, err)
	release := hold(t, db)
	var all sync.WaitGroup
	for i := range 100 {
		ctx := context.WithValue(background, tenant{}, i%2)
		all.Go(func() { db.ExecContext(ctx, fmt.Sprintf("INSERT INTO t (v) VALUES (%d)", i%2)) })
	}
	bounded.Until(t, "all wait", func() bool {
		s, err := groupcommit.StatsOf(db)
		return err == nil && s.Calls-before.Calls == 100
	})
	release()
	bounded.Wait(t, "all have inserted", all.Wait)
	s, err := groupcommit.StatsOf(db)
	require.NoError(t, err)
	require.Greater(t, s.MaxGroup, 10)
	require.NoError(t, db.Close())
	require.Empty(t, mixed)
	require.Equal(t, 100, inserted)
}
