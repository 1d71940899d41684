package libraries_test

import (
	"database/sql"
	"os"
	"sync"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	_ "github.com/groupcommit/groupcommit/pgx" // registers pgx-groupcommit
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }

// grouped makes a call from many goroutines, each of which has to join a group.
func grouped(t *testing.T, db *sql.DB, call func(i int) error) {
	t.Helper()
	before, err := groupcommit.StatsOf(db)
	require.NoError(t, err)
	var all sync.WaitGroup
	for i := range goroutines {
		all.Go(func() { assert.NoError(t, call(i)) })
	}
	all.Wait()
	after, err := groupcommit.StatsOf(db)
	require.NoError(t, err)
	require.EqualValues(t, goroutines, after.Calls-before.Calls, "calls that joined a group, of all; the others: %v", after.Apart)
}

func count(t *testing.T, db *sql.DB, query string) (n int) {
	t.Helper()
	require.NoError(t, db.QueryRow(query).Scan(&n))
	return n
}

func newFile(t *testing.T) (dsn string) {
	dsn, remove := newDSN()
	t.Cleanup(remove)
	return dsn
}
