package pgx_test

import (
	"sync"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/stretchr/testify/require"
)

// 200 readers would be more than the server has room for.
func TestAnOpenedDatabaseHasFewPhysicalConnections(t *testing.T) {
	db, err := groupcommit.Open("pgx", pgtest.DSN(t))
	require.NoError(t, err)
	defer bounded.Wait(t, "the database is closed", func() { db.Close() })
	var all sync.WaitGroup
	errs := make([]error, 200)
	for i := range errs {
		all.Go(func() { errs[i] = db.QueryRow("SELECT 1").Scan(new(int)) })
	}
	bounded.Wait(t, "all have read", all.Wait)
	for _, err := range errs {
		require.NoError(t, err)
	}
	stats, err := groupcommit.StatsOf(db)
	require.NoError(t, err)
	require.Positive(t, stats.Leased.OpenConnections)
	require.LessOrEqual(t, stats.Leased.OpenConnections, 32)
}

// The first use tells of a server that is not there.
func TestOpenDoesNoIO(t *testing.T) {
	db, err := groupcommit.Open("pgx", "postgres://nobody@127.0.0.1:1/none?connect_timeout=5")
	require.NoError(t, err)
	defer db.Close()
	require.ErrorContains(t, db.Ping(), "127.0.0.1:1")
}
