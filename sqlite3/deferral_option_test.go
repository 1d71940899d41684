package sqlite3_test

import (
	"database/sql"
	"database/sql/driver"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/groupcommit/groupcommit/sqlite3"
	mattn "github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestWithTheOptionFullEachAnswerIsDurableThoughTheLevelIsNormal(t *testing.T) {
	for name, road := range durableRoads {
		t.Run(name, func(t *testing.T) {
			db, l, _ := durables(t, "&groupcommit_sync=full&_sync=NORMAL")
			var level int
			require.NoError(t, db.QueryRow("PRAGMA synchronous").Scan(&level))
			require.Equal(t, 1, level, "the program's own")
			for i := range 3 {
				before := l.syncs.Load()
				require.NoError(t, road(db, i))
				require.Greater(t, l.syncs.Load(), before)
			}
			require.NoError(t, db.QueryRow("PRAGMA synchronous").Scan(&level))
			require.Equal(t, 1, level, "the program's own")
		})
	}
}

// No sync is shared there, so SQLite makes it.
func TestWithTheOptionFullATransactionIsAtFULLWhereNoneIsShared(t *testing.T) {
	db, _, _ := durables(t, "&groupcommit_sync=full&_sync=NORMAL&psow=0")
	conn, err := db.Conn(background)
	require.NoError(t, err)
	defer conn.Close()
	level := func() (level string) {
		require.NoError(t, groupcommit.Raw(background, conn, func(dc driver.Conn) error {
			rows, err := dc.(*mattn.SQLiteConn).Query("PRAGMA synchronous", nil)
			if err != nil {
				return err
			}
			defer rows.Close()
			row := make([]driver.Value, 1)
			err = rows.Next(row)
			level = fmt.Sprint(row[0])
			return err
		}))
		return level
	}
	tx, err := conn.BeginTx(background, nil)
	require.NoError(t, err)
	defer tx.Rollback()
	_, err = tx.Exec("INSERT INTO t (v) VALUES (7)")
	require.NoError(t, err)
	require.Equal(t, "2", level())
	require.NoError(t, tx.Commit())
	require.Equal(t, "1", level())
}

func TestADurableReadWaitsUntilWhatItHasReadIsDurable(t *testing.T) {
	db, l, _ := durables(t, "&groupcommit_reads=durable")
	file := strings.TrimPrefix(fileOf(t, db), "file:")
	l.crowd(t, db)
	began, release := make(chan struct{}), make(chan struct{})
	first := true
	l.onSync(func() {
		if first {
			first = false
			close(began)
			<-release
		}
	})
	written, read := make(chan error, 1), make(chan int, 1)
	go func() { written <- insert(db, 7) }()
	bounded.Wait(t, "the sync begins", func() { <-began })
	before := l.syncs.Load()
	go func() {
		var n int
		assert.NoError(t, db.QueryRow("SELECT count(*) FROM t WHERE v = 7").Scan(&n))
		read <- n
	}()
	bounded.Until(t, "the reader waits for the sync behind it", func() bool { return sqlite3.BehindASync(file) || len(read) > 0 })
	require.Empty(t, read)
	close(release)
	bounded.Wait(t, "the writer is answered", func() { require.NoError(t, <-written) })
	bounded.Wait(t, "the reader is answered", func() { require.Equal(t, 1, <-read) })
	require.Greater(t, l.syncs.Load(), before, "the reader's own sync")
	bounded.Wait(t, "nothing waits for a sync", func() {
		before = l.syncs.Load()
		var n int
		require.NoError(t, db.QueryRow("SELECT count(*) FROM t").Scan(&n))
		require.Equal(t, before, l.syncs.Load(), "all is durable")
	})
}

func TestStatsTellWhyNoSyncIsShared(t *testing.T) {
	crowded := func(t *testing.T, params string, change func(path string)) groupcommit.Stats {
		path := filepath.Join(t.TempDir(), "test.db")
		db := ours(t, "file:"+path+"?_busy_timeout=20000&_txlock=immediate"+params, "CREATE TABLE t (k INTEGER PRIMARY KEY, v)")
		if change != nil {
			db.SetMaxOpenConns(2)
			a, err := db.Begin()
			require.NoError(t, err)
			var n int
			require.NoError(t, db.QueryRow("SELECT count(*) FROM t").Scan(&n)) // on the other connection
			require.NoError(t, a.Rollback())
			change(path)
		}
		// The last commits may have nobody beside them, and then that is their reason: all that are told meanwhile count.
		var mu sync.Mutex
		told := make(map[string]bool)
		done := make(chan struct{})
		for range 4 {
			go func() {
				defer func() { done <- struct{}{} }()
				for range 100 {
					assert.NoError(t, insert(db, 1))
					st, err := groupcommit.StatsOf(db)
					assert.NoError(t, err)
					mu.Lock()
					told[st.SyncWhy] = true
					mu.Unlock()
				}
			}()
		}
		for range 4 {
			<-done
		}
		st, err := groupcommit.StatsOf(db)
		require.NoError(t, err)
		st.SyncWhy = strings.Join(slices.Sorted(maps.Keys(told)), "; ")
		return st
	}
	st := crowded(t, "&_journal=WAL&_sync=FULL", nil)
	assert.Positive(t, st.Shared)
	for params, why := range map[string]string{
		"&_journal=WAL&_sync=NORMAL":                      "synchronous is NORMAL",
		"&_journal=DELETE&_sync=FULL":                     "journal_mode is not WAL",
		"&_journal=WAL&_sync=FULL&psow=0":                 "data source name",
		"&_journal=WAL&_sync=FULL&vfs=unix":               "data source name",
		"&_journal=WAL&_sync=FULL&groupcommit_sync=alone": "option",
	} {
		st := crowded(t, params, nil)
		assert.Zero(t, st.Shared, params)
		assert.Positive(t, st.Synced, params)
		assert.Contains(t, st.SyncWhy, why, params)
	}
	st = crowded(t, "&_journal=WAL&_sync=FULL", func(path string) { // another file has its name
		for _, f := range []string{"", "-wal", "-shm"} {
			require.NoError(t, os.Rename(path+f, path+"2"+f))
			require.NoError(t, os.WriteFile(path+f, nil, 0o600))
		}
	})
	assert.Zero(t, st.Shared)
	assert.True(t, strings.Contains(st.SyncWhy, "-wal"), st.SyncWhy)
}

func TestABadOptionOfSyncsIsRefused(t *testing.T) {
	for params, want := range map[string]string{
		"groupcommit_sync=never":  "shared, alone or full",
		"groupcommit_reads=dirty": "durable or committed",
	} {
		_, err := sql.Open("sqlite3-groupcommit", "file:x.db?"+params)
		require.ErrorContains(t, err, want)
	}
}
