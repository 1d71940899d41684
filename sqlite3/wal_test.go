package sqlite3_test

import (
	"errors"
	"io/fs"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/groupcommit/groupcommit/sqlite3"
	"github.com/stretchr/testify/require"
)

// SQLite moves the log when the last connection of all closes, and tells nobody if it cannot.
func TestADatabaseThatIsSickStaysSoWhenItsConnectionsAreClosed(t *testing.T) {
	t.Parallel() // it waits for a second
	db, l, dsn := durables(t, "")
	plain := openDB(t, "sqlite3", dsn) // SQLite does not move the log for ours
	require.NoError(t, plain.Ping())
	require.Equal(t, 0, count(t, plain, "SELECT count(*) FROM t"))
	sicken(t, db, l)
	moved := awaitsMove(t, db)
	require.NoError(t, db.Close())
	require.False(t, moved())
	again := ours(t, dsn)
	require.Positive(t, count(t, again, "SELECT count(*) FROM t"))
	require.NoError(t, again.Close())
	again = ours(t, dsn+"&groupcommit_sync=full")
	bounded.Until(t, "it is well again", func() bool {
		err := insert(again, 1)
		if err == nil {
			require.True(t, moved())
		} else {
			require.ErrorContains(t, err, "disk I/O error")
		}
		return err == nil
	})
	before := l.syncs.Load()
	require.NoError(t, insert(again, 2))
	require.Equal(t, before+1, l.syncs.Load(), "syncs are shared again")
}

// The last connection of all has moved the log.
func TestADatabaseThatWasSickIsWellWhenItIsOpenedAnew(t *testing.T) {
	db, l, dsn := durables(t, "")
	path := strings.TrimPrefix(fileOf(t, db), "file:")
	sicken(t, db, l)
	require.NoError(t, db.Close())
	_, err := os.Stat(path + "-wal")
	require.ErrorIs(t, err, fs.ErrNotExist)
	again := ours(t, dsn)
	require.NoError(t, insert(again, 7))
	l.crowd(t, again)
	require.Positive(t, count(t, again, "SELECT count(*) FROM t WHERE v = 7"))
}

// descriptors counts those of a file's logs that this process has open.
func descriptors(path string) (n int) {
	open, _ := os.ReadDir("/proc/self/fd")
	for _, fd := range open {
		if at, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && strings.HasPrefix(at, path+"-wal") {
			n++
		}
	}
	return n
}

func TestTheLastConnectionClosesTheLog(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // which closes what nobody refers to
	dsn := fullDSN(t, "&groupcommit_sync=full")
	for range 5 {
		db := ours(t, dsn, "CREATE TABLE IF NOT EXISTS t (k INTEGER PRIMARY KEY, v)")
		path := strings.TrimPrefix(fileOf(t, db), "file:")
		require.NoError(t, insert(db, 1))
		require.Equal(t, 2, descriptors(path), "SQLite's and ours")
		require.NoError(t, db.Close())
		require.Zero(t, descriptors(path))
	}
}

func TestASyncOfTheLastConnectionThatClosesKeepsNoOtherDatabaseWaiting(t *testing.T) {
	db, l, _ := durables(t, "&groupcommit_sync=full")
	tx, err := db.Begin()
	require.NoError(t, err)
	require.NoError(t, tx.Rollback()) // what it may have committed is not synced
	began, release := make(chan struct{}, 9), make(chan struct{})
	l.onSync(func() { began <- struct{}{}; <-release })
	closed := make(chan error, 1)
	go func() { closed <- db.Close() }()
	bounded.Wait(t, "the sync begins", func() { <-began })
	bounded.Wait(t, "another database is opened and written to", func() {
		other := ours(t, fullDSN(t, "&groupcommit_sync=full"), "CREATE TABLE t (k INTEGER PRIMARY KEY, v)")
		require.NoError(t, insert(other, 1))
		require.NoError(t, other.Close())
	})
	close(release)
	bounded.Wait(t, "it is closed", func() { require.NoError(t, <-closed) })
}

// A database/sql that keeps no connection closes the one with which the library has opened the database.
func TestAReaderWaitsForASyncThoughTheFirstConnectionIsClosed(t *testing.T) {
	db, l, dsn := durables(t, "&groupcommit_reads=durable")
	path := strings.TrimPrefix(fileOf(t, db), "file:")
	db.SetMaxIdleConns(-1)
	bounded.Until(t, "no connection is open", func() bool { return descriptors(path) == 0 })
	writer := ours(t, dsn)
	l.crowd(t, writer)
	began, release := make(chan struct{}, 9), make(chan struct{})
	l.onSync(func() { began <- struct{}{}; <-release })
	written, read := make(chan error, 1), make(chan error, 1)
	go func() { written <- insert(writer, 7) }()
	bounded.Wait(t, "the sync begins", func() { <-began })
	go func() {
		var n int
		read <- db.QueryRow("SELECT count(*) FROM t WHERE v = 7").Scan(&n)
	}()
	bounded.Until(t, "the reader waits", func() bool { return sqlite3.BehindASync(path) || len(read) > 0 })
	require.Empty(t, read)
	close(release)
	bounded.Wait(t, "both are answered", func() { require.NoError(t, errors.Join(<-written, <-read)) })
}

func TestNoRecordIsToldOfADatabaseThatIsSickThoughTheFirstConnectionIsClosed(t *testing.T) {
	db, l, dsn := durables(t, "&groupcommit_promises=on")
	path := strings.TrimPrefix(fileOf(t, db), "file:")
	_, err := db.ExecContext(withID("x"), "INSERT INTO t (v) VALUES (1)")
	require.NoError(t, err)
	db.SetMaxIdleConns(-1)
	bounded.Until(t, "no connection is open", func() bool { return descriptors(path) == 0 })
	sicken(t, ours(t, dsn), l)
	_, err = groupcommit.Lookup(background, db, "x")
	require.ErrorContains(t, err, "disk I/O error")
}

func TestOnAFileSystemWithoutSharingEachCommitIsSyncedByItself(t *testing.T) {
	defer sqlite3.ShareNowhere()()
	db, _, _ := durables(t, "&groupcommit_sync=full&groupcommit_promises=on")
	for range 2 {
		_, err := db.ExecContext(withID("x"), "INSERT INTO t (v) VALUES (1)")
		require.NoError(t, err)
	}
	_, err := groupcommit.Lookup(background, db, "x")
	require.NoError(t, err)
	st, err := groupcommit.StatsOf(db)
	require.NoError(t, err)
	require.Zero(t, st.Shared)
	require.Contains(t, st.SyncWhy, "network")
}

// While connections come and go, and with them the log, each answer is of the log that is there.
func TestTheLogIsDeletedBetweenTransactions(t *testing.T) {
	db, l, dsn := durables(t, "&groupcommit_sync=full")
	path := strings.TrimPrefix(fileOf(t, db), "file:")
	db.SetMaxIdleConns(-1)
	for i := range 5 {
		require.NoError(t, insert(db, i))
		bounded.Until(t, "the log is deleted", func() bool { _, err := os.Stat(path + "-wal"); return errors.Is(err, fs.ErrNotExist) })
	}
	require.EqualValues(t, 5, l.syncs.Load())
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			for i := range 10 {
				if err := insert(db, g*10+i); err != nil {
					t.Error(err)
				}
			}
		})
	}
	bounded.Wait(t, "all are answered", all.Wait)
	require.Zero(t, l.strays.Load())
	require.Equal(t, 85, count(t, openDB(t, "sqlite3", dsn), "SELECT count(*) FROM t"))
}
