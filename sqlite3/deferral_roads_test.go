package sqlite3_test

import (
	"database/sql"
	"database/sql/driver"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/groupcommit/groupcommit/sqlite3"
	mattn "github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// onConn executes texts on one sql.Conn.
func onConn(queries ...string) func(*sql.DB) error {
	return func(db *sql.DB) error {
		c, err := db.Conn(background)
		if err != nil {
			return err
		}
		defer c.Close()
		for _, q := range queries {
			if _, err := c.ExecContext(background, q); err != nil {
				return err
			}
		}
		return nil
	}
}

// Each road that commits on a connection which must stay as the program has set it.
var ownRoads = map[string]func(*sql.DB) error{
	"a sql.Conn that keeps its connection": onConn("CREATE TEMP TABLE x (a)", "INSERT INTO t (v) VALUES (7)"),
	"a transaction by text":                onConn("BEGIN", "INSERT INTO t (v) VALUES (7)", "COMMIT"),
	"one that takes the lock at once":      onConn("BEGIN IMMEDIATE", "INSERT INTO t (v) VALUES (7)", "COMMIT"),
	"a savepoint":                          onConn("SAVEPOINT a; INSERT INTO t (v) VALUES (7); RELEASE a"),
	"a PRAGMA":                             onConn("PRAGMA user_version = 7"),
	"a text with a PRAGMA":                 onConn("INSERT INTO t (v) VALUES (7); PRAGMA user_version = 7"),
	"the driver's own connection": func(db *sql.DB) error {
		c, err := db.Conn(background)
		if err != nil {
			return err
		}
		defer c.Close()
		return groupcommit.Raw(background, c, func(dc driver.Conn) error {
			_, err := dc.(*mattn.SQLiteConn).Exec("INSERT INTO t (v) VALUES (7)", nil)
			return err
		})
	},
	"a transaction that is declared read-only": func(db *sql.DB) error {
		tx, err := db.BeginTx(background, &sql.TxOptions{ReadOnly: true})
		if err != nil {
			return err
		}
		defer tx.Rollback()
		if _, err := tx.Exec("INSERT INTO t (v) VALUES (7)"); err != nil {
			return err
		}
		return tx.Commit()
	},
}

func TestWithTheOptionFullAConnectionOfACallersOwnIsDurable(t *testing.T) {
	for name, road := range ownRoads {
		t.Run(name, func(t *testing.T) {
			db, l, _ := durables(t, "&groupcommit_sync=full&_sync=NORMAL")
			require.NoError(t, insert(db, 0))
			before := l.syncs.Load()
			require.NoError(t, road(db))
			require.Greater(t, l.syncs.Load(), before)
		})
	}
}

// sicken has a sync fail.
func sicken(t *testing.T, db *sql.DB, l *log) {
	l.crowd(t, db)
	l.fails.Store(true)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() { insert(db, 0) })
	}
	bounded.Wait(t, "a sync fails", all.Wait)
	l.fails.Store(false)
}

// What comes behind a sync that has failed is lost with it, however well it is synced by itself.
func TestAfterASyncThatFailedNoRoadIsAnsweredBeforeTheLogIsMoved(t *testing.T) {
	for name, road := range ownRoads {
		t.Run(name, func(t *testing.T) {
			db, l, dsn := durables(t, "")
			deferred := ours(t, strings.Replace(dsn, "_txlock=immediate", "_txlock=deferred", 1))
			require.NoError(t, insert(deferred, 0))
			sicken(t, db, l)
			moved := awaitsMove(t, db)
			if road(deferred) == nil {
				require.True(t, moved())
			}
		})
	}
	for name, params := range map[string]string{"option": "&groupcommit_sync=alone", "psow": "&psow=0", "vfs": "&vfs=unix"} {
		t.Run("where none is shared because of "+name, func(t *testing.T) {
			db, l, dsn := durables(t, "")
			other := ours(t, dsn+params)
			require.NoError(t, insert(other, 0))
			sicken(t, db, l)
			moved := awaitsMove(t, db)
			if insert(other, 1) == nil {
				require.True(t, moved())
			}
		})
	}
}

// awaitsMove says later whether the log has begun anew since, which it does when all of it has been moved.
func awaitsMove(t *testing.T, db *sql.DB) (moved func() bool) {
	t.Helper()
	wal := strings.TrimPrefix(fileOf(t, db), "file:") + "-wal"
	header := func() string {
		log, err := os.ReadFile(wal)
		require.NoError(t, err)
		return string(log[:min(len(log), 24)]) // with the salts
	}
	before := header()
	require.NotEmpty(t, before)
	return func() bool { return header() != before }
}

// A checkpoint at OFF syncs nothing.
func TestAConnectionAtOFFDoesNotHeal(t *testing.T) {
	db, l, dsn := durables(t, "")
	off := ours(t, strings.Replace(dsn, "_sync=FULL", "_sync=OFF", 1))
	require.NoError(t, insert(off, 0))
	sicken(t, db, l)
	moved := awaitsMove(t, db)
	require.NoError(t, insert(off, 1))
	require.False(t, moved(), "without a sync")
}

// While the database is sick, readers read.
func TestAfterASyncThatFailedATransactionMayRead(t *testing.T) {
	db, l, dsn := durables(t, "&_busy_timeout=1")
	deferred := ours(t, strings.Replace(dsn, "_txlock=immediate", "_txlock=deferred", 1))
	require.NoError(t, insert(deferred, 0))
	reader := openDB(t, "sqlite3", dsn)
	rows, err := reader.Query("SELECT 1 FROM sqlite_schema UNION ALL SELECT 2") // the log cannot be moved
	require.NoError(t, err)
	require.True(t, rows.Next())
	defer rows.Close()
	sicken(t, db, l)
	tx, err := deferred.Begin()
	require.NoError(t, err)
	defer tx.Rollback()
	var n int
	require.NoError(t, tx.QueryRow("SELECT count(*) FROM t").Scan(&n))
	_, err = tx.Exec("INSERT INTO t (v) VALUES (7)")
	require.ErrorContains(t, err, "disk I/O error")
	require.NoError(t, tx.Rollback())
	require.Zero(t, count(t, db, "SELECT count(*) FROM t WHERE v = 7"))
}

func TestATextThatCommitsAndBeginsAnewIsDurable(t *testing.T) {
	for _, text := range []string{
		"INSERT INTO t (v) VALUES (5); COMMIT; BEGIN", "COMMIT; PRAGMA foreign_keys = 0; BEGIN",
		"ROLLBACK; INSERT INTO t (v) VALUES (6); BEGIN", "ROLLBACK; SAVEPOINT s; INSERT INTO t (v) VALUES (6); RELEASE s; BEGIN",
	} {
		db, l, _ := durables(t, "")
		l.crowd(t, db)
		tx, err := db.Begin()
		require.NoError(t, err)
		defer tx.Rollback()
		_, err = tx.Exec("INSERT INTO t (v) VALUES (5)")
		require.NoError(t, err)
		before := l.syncs.Load()
		_, err = tx.Exec(text)
		require.NoError(t, err)
		require.Greater(t, l.syncs.Load(), before, text)
		require.NoError(t, tx.Rollback())
	}
}

// With groupcommit_sync=full each commit of a connection at NORMAL is durable, also one of a connection that is a caller's own.
func TestATextThatCommitsAndThenBeginsIsDurableOnAConnectionAtNORMAL(t *testing.T) {
	for _, text := range []string{
		"INSERT INTO t (v) VALUES (5); BEGIN", "SAVEPOINT s; INSERT INTO t (v) VALUES (5); RELEASE s; BEGIN",
		"-- a comment\nINSERT INTO t (v) VALUES (5);\nSAVEPOINT s",
	} {
		db, l, _ := durables(t, "&_sync=NORMAL&groupcommit_sync=full")
		conn, err := db.Conn(background)
		require.NoError(t, err)
		defer conn.Close()
		before := l.syncs.Load()
		_, err = conn.ExecContext(background, text)
		require.NoError(t, err)
		require.Greater(t, l.syncs.Load(), before, text)
		require.Equal(t, 1, count(t, db, "SELECT count(*) FROM t"), "it is committed")
	}
}

// The one that replays has not been told to share syncs. The one that has recorded has.
func TestAReplayIsDurableWhereOnlyAnotherSharesSyncs(t *testing.T) {
	for name, ask := range map[string]func(db *sql.DB) error{
		"an Exec": func(db *sql.DB) error {
			_, err := db.ExecContext(withID("x"), "INSERT INTO t (v) VALUES (?)", 1)
			return err
		},
		"a query": func(db *sql.DB) error {
			return db.QueryRowContext(withID("x"), "INSERT INTO t (v) VALUES (?) RETURNING v", 1).Scan(new(int))
		},
	} {
		for _, params := range []string{"&groupcommit_sync=alone", "&psow=0", "&vfs=unix"} {
			t.Run(name+params, func(t *testing.T) { replayIsDurable(t, params, ask) })
		}
	}
}

// A group that shares no sync may answer with what another has recorded, and has not synced.
func TestAReplayInAGroupIsDurableWhereOnlyAnotherSharesSyncs(t *testing.T) {
	db, l, dsn := durables(t, "&groupcommit_promises=on")
	other := ours(t, dsn+"&groupcommit_sync=alone")
	require.NoError(t, insert(other, 0))
	l.crowd(t, db)
	began, release := make(chan struct{}, 9), make(chan struct{})
	goOn := sync.OnceFunc(func() { close(release) })
	defer goOn()
	l.onSync(func() { began <- struct{}{}; <-release })
	before := l.syncs.Load()
	answers := make(chan error, 4)
	add := func(db *sql.DB, id string) {
		_, err := db.ExecContext(withID(id), "INSERT INTO t (v) VALUES (?)", 1)
		answers <- err
	}
	go add(db, "x")
	bounded.Wait(t, "the sync begins", func() { <-began })
	plug, err := other.Begin()
	require.NoError(t, err)
	defer plug.Rollback()
	stats := func() groupcommit.Stats {
		st, err := groupcommit.StatsOf(other)
		require.NoError(t, err)
		return st
	}
	calls := stats().Calls
	for i, id := range []string{"a", "x", "y"} {
		go add(other, id)
		bounded.Until(t, "the call is queued", func() bool { return stats().Calls == calls+int64(i)+1 })
	}
	require.NoError(t, plug.Rollback())
	bounded.Until(t, "the replay waits", func() bool {
		return sqlite3.BehindASync(strings.TrimPrefix(fileOf(t, db), "file:")) || len(answers) > 1
	})
	require.LessOrEqual(t, len(answers), 1, "the first call may be no member of the group")
	goOn()
	for range 4 {
		bounded.Wait(t, "an answer", func() { require.NoError(t, <-answers) })
	}
	require.GreaterOrEqual(t, stats().MaxGroup, 2)
	require.Equal(t, before+2, l.syncs.Load(), "the group's own sync, for its replay")
}

func replayIsDurable(t *testing.T, params string, ask func(*sql.DB) error) {
	db, l, dsn := durables(t, "&groupcommit_promises=on")
	other := ours(t, dsn+params)
	require.NoError(t, insert(other, 0))
	l.crowd(t, db)
	began, release := make(chan struct{}, 9), make(chan struct{})
	l.onSync(func() { began <- struct{}{}; <-release })
	before := l.syncs.Load()
	answers := make(chan error, 2)
	add := func(db *sql.DB) { answers <- ask(db) }
	go add(db)
	bounded.Wait(t, "the sync begins", func() { <-began })
	go add(other)
	bounded.Until(t, "the replay is under way", func() bool { return other.Stats().InUse == 1 || len(answers) > 0 })
	close(release)
	for range 2 {
		bounded.Wait(t, "an answer", func() { require.NoError(t, <-answers) })
	}
	require.Equal(t, before+2, l.syncs.Load(), "the replay's own sync")
}

// A call by itself that shares its sync does not see that in what it writes.
func TestACallThatWritesItsLevelWritesTheProgramsOwn(t *testing.T) {
	db, _, _ := durables(t, "&groupcommit_sync=full")
	for _, level := range []string{"pragma_synchronous", `"PRAGMA_synchronous"()`, "main.pragma_synchronous AS p"} {
		text := "INSERT INTO t (v) SELECT synchronous FROM " + level
		_, err := db.Exec(text)
		require.NoError(t, err)
		require.NoError(t, db.QueryRow(text+" RETURNING v").Scan(new(int)))
		_, err = db.Exec(text+" WHERE ?", true)
		require.NoError(t, err)
	}
	require.Equal(t, 9, count(t, db, "SELECT count(*) FROM t WHERE v = 2"))
}
