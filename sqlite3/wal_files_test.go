package sqlite3_test

import (
	"bufio"
	"database/sql"
	"fmt"
	"os"
	osexec "os/exec"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What can become of the files of a database while commits share the syncs of its log. Each sync must be of a file that SQLite has
// open, and whatever was acknowledged must be there.

// shares reports that the next commit has shared a sync, or why it has not.
func shares(t *testing.T, db *sql.DB, v int) (why string) {
	t.Helper()
	before, err := groupcommit.StatsOf(db)
	require.NoError(t, err)
	bounded.Wait(t, "it is answered", func() { require.NoError(t, insert(db, v)) })
	after, err := groupcommit.StatsOf(db)
	require.NoError(t, err)
	if after.Shared > before.Shared {
		return ""
	}
	require.Greater(t, after.Synced, before.Synced)
	return after.SyncWhy
}

func TestTheJournalModeIsChangedAndChangedBack(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	db, l, dsn := durables(t, "&groupcommit_sync=full")
	path := strings.TrimPrefix(fileOf(t, db), "file:")
	db.SetMaxOpenConns(1) // another would have the log open
	for i := range 3 {
		require.Empty(t, shares(t, db, 3*i))
		require.Empty(t, shares(t, db, 3*i+1))
		require.Equal(t, 2, descriptors(path), "SQLite's and ours")
		require.Equal(t, []string{"delete"}, texts(db, "PRAGMA journal_mode = DELETE"))
		require.Contains(t, shares(t, db, 3*i+2), "journal_mode is not WAL")
		require.Equal(t, []string{"wal"}, texts(db, "PRAGMA journal_mode = WAL"))
	}
	require.Zero(t, l.strays.Load())
	require.EqualValues(t, 6, l.syncs.Load())
	require.NoError(t, db.Close())
	require.Zero(t, descriptors(path))
	require.Equal(t, 9, count(t, openDB(t, "sqlite3", dsn), "SELECT count(DISTINCT v) FROM t"))
}

// One is opened and closed while the other writes.
func TestTwoPoolsOfOneFileShareItsSyncs(t *testing.T) {
	db, l, dsn := durables(t, "")
	l.crowd(t, db)
	before := count(t, db, "SELECT count(*) FROM t")
	write := func(db *sql.DB, n int) {
		for i := range n {
			assert.NoError(t, insert(db, i))
		}
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() { write(db, 100) })
	}
	for range 5 {
		other := ours(t, dsn)
		var both sync.WaitGroup
		for range 2 {
			both.Go(func() { write(other, 10) })
		}
		bounded.Wait(t, "the other one's are answered", both.Wait)
		require.NoError(t, other.Close())
	}
	bounded.Wait(t, "all are answered", all.Wait)
	require.Zero(t, l.strays.Load())
	st, err := groupcommit.StatsOf(db)
	require.NoError(t, err)
	require.Positive(t, st.Shared)
	require.Equal(t, before+500, count(t, openDB(t, "sqlite3", dsn), "SELECT count(*) FROM t"))
}

func TestAFileIsReplacedWhileItIsOpen(t *testing.T) {
	db, l, dsn := durables(t, "&groupcommit_sync=full")
	path := strings.TrimPrefix(fileOf(t, db), "file:")
	db.SetMaxOpenConns(1) // the next one would open the other file
	require.Empty(t, shares(t, db, 1))
	for _, of := range []string{"", "-wal", "-shm"} {
		require.NoError(t, os.Rename(path+of, path+"2"+of))
	}
	require.NotEmpty(t, shares(t, db, 2), "there is no log of the name")
	other := ours(t, dsn, "CREATE TABLE t (k INTEGER PRIMARY KEY, v)")
	require.Empty(t, shares(t, other, 10))
	require.NotEmpty(t, shares(t, db, 3), "the log of the name is another file's")
	require.Empty(t, shares(t, other, 11))
	require.Zero(t, l.strays.Load())
	require.NoError(t, db.Close())
	require.NoError(t, other.Close())
	require.Equal(t, 3, count(t, openDB(t, "sqlite3", strings.Replace(dsn, path, path+"2", 1)), "SELECT count(*) FROM t WHERE v < 10"))
	require.Equal(t, 2, count(t, openDB(t, "sqlite3", dsn), "SELECT count(*) FROM t WHERE v >= 10"))
}

// The plain driver's, too, takes the file that has the name now.
func TestAFileIsReplacedWhileNoConnectionHasItOpen(t *testing.T) {
	db, l, dsn := durables(t, "&groupcommit_sync=full")
	path := strings.TrimPrefix(fileOf(t, db), "file:")
	db.SetMaxIdleConns(-1)
	require.Empty(t, shares(t, db, 1))
	bounded.Until(t, "no connection is open", func() bool { return descriptors(path) == 0 })
	next := openDB(t, "sqlite3", strings.Replace(dsn, path, path+"2", 1), "CREATE TABLE t (k INTEGER PRIMARY KEY, v)")
	require.NoError(t, next.Close())
	require.NoError(t, os.Rename(path+"2", path))
	require.Empty(t, shares(t, db, 2))
	require.Zero(t, l.strays.Load())
	require.Equal(t, []string{"2"}, texts(openDB(t, "sqlite3", dsn), "SELECT CAST(v AS TEXT) FROM t"))
}

const besideDSN = "GROUPCOMMIT_TEST_BESIDE_DSN"

// The other process moves the log into the database file, and begins it anew, all the time.
func TestAnotherProcessWritesAtFULLAndMovesTheLog(t *testing.T) {
	db, l, dsn := durables(t, "&_busy_timeout=30000")
	exec(t, db, "CREATE TABLE beside (v INTEGER PRIMARY KEY)")
	cmd := osexec.Command(os.Args[0], "-test.run=^TestWriterBeside$")
	cmd.Env = append(os.Environ(), besideDSN+"="+dsn)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var theirs atomic.Int64 // it writes 0, 1, 2, …
	ended := make(chan error, 1)
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if lines.Text() == fmt.Sprint("ok ", theirs.Load()) {
				theirs.Add(1)
			}
		}
		ended <- cmd.Wait()
	}()
	var ours atomic.Int64
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for i := 0; i < 50 || theirs.Load() < 50 && len(ended) == 0; i++ {
				if assert.NoError(t, insert(db, 1)) {
					ours.Add(1)
				}
			}
		})
	}
	bounded.Wait(t, "ours are answered", all.Wait)
	require.NoError(t, cmd.Process.Kill())
	bounded.Wait(t, "it has ended", func() { <-ended })
	require.Zero(t, l.strays.Load())
	st, err := groupcommit.StatsOf(db)
	require.NoError(t, err)
	require.Positive(t, st.Shared)
	require.NoError(t, db.Close())
	plain := openDB(t, "sqlite3", dsn)
	require.EqualValues(t, ours.Load(), count(t, plain, "SELECT count(*) FROM t"))
	require.EqualValues(t, theirs.Load(), count(t, plain, "SELECT count(*) FROM beside WHERE v < ?", theirs.Load()))
	require.GreaterOrEqual(t, theirs.Load(), int64(50))
	require.Equal(t, []string{"ok"}, texts(plain, "PRAGMA integrity_check"))
}

// TestWriterBeside is the other process.
func TestWriterBeside(t *testing.T) {
	dsn := os.Getenv(besideDSN)
	if dsn == "" {
		t.Skip("a child of TestAnotherProcessWritesAtFULLAndMovesTheLog")
	}
	db := openDB(t, "sqlite3", dsn)
	db.SetMaxOpenConns(1)
	for i := 0; ; i++ {
		time.Sleep(time.Millisecond) // or else the others would hardly find the database free
		exec(t, db, "INSERT INTO beside VALUES (?)", i)
		fmt.Println("ok", i)
		if i%5 == 0 {
			texts(db, "PRAGMA wal_checkpoint("+[]string{"PASSIVE", "FULL", "RESTART", "TRUNCATE"}[i/5%4]+")") // busy, now and then
		}
	}
}
