package sqlite3_test

import (
	"context"
	"database/sql"
	"sync"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// unhurried is a context of its own for each caller, whose end says that a test hangs.
func unhurried(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(background, 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// onlyOnePhysical is a database that has a table and has not been opened yet.
func onlyOnePhysical(t *testing.T) *sql.DB {
	dsn := dsnOf(t, "")
	openDB(t, "sqlite3", dsn, "CREATE TABLE a (n)")
	_, grouped := hookedDrivers(nil, groupcommit.Physical(1))
	return openDB(t, grouped, dsn)
}

func TestWhoOpensTheDatabaseInVainKeepsNoConnectionFromTheNext(t *testing.T) {
	db := onlyOnePhysical(t)
	_, err := db.ExecContext(unhurried(t), "INSERT INTO a VALUES (?)", make(chan int))
	require.Error(t, err)
	_, err = db.ExecContext(unhurried(t), "INSERT INTO a VALUES (1)")
	require.NoError(t, err)
}

func TestCallersWhoComeAtOnceOpenADatabaseWithOneConnection(t *testing.T) {
	for range 20 {
		db := onlyOnePhysical(t)
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				_, err := db.ExecContext(unhurried(t), "INSERT INTO a VALUES (1)")
				assert.NoError(t, err)
			})
		}
		bounded.Wait(t, "the calls are answered", all.Wait)
		require.False(t, t.Failed())
	}
}
