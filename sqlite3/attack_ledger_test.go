package sqlite3_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/durable"
	mattn "github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// Beside an open transaction a query of a database in memory fails after 10 seconds, as the README has it. Lookup?
func TestAttackLookupInMemoryBesideATransaction(t *testing.T) {
	db := ours(t, ":memory:?groupcommit_promises=on", "CREATE TABLE a (k INTEGER UNIQUE, v TEXT)")
	_, err := db.ExecContext(withID("x"), insertRow, 1, "v")
	require.NoError(t, err)
	tx, err := db.Begin()
	require.NoError(t, err)
	returned := make(chan error, 1)
	go func() { _, err := groupcommit.Lookup(background, db, "x"); returned <- err }()
	select {
	case err := <-returned:
		t.Log(err)
	case <-time.After(15 * time.Second):
		t.Error("Lookup still waits after 15 seconds")
	}
	require.NoError(t, tx.Rollback())
}

func TestAttackAQueryInMemoryBesideATransaction(t *testing.T) {
	db := ours(t, ":memory:?groupcommit_promises=on", "CREATE TABLE a (k INTEGER UNIQUE, v TEXT)")
	tx, err := db.Begin()
	require.NoError(t, err)
	returned := make(chan error, 1)
	go func() { var n int; returned <- db.QueryRow("SELECT 1").Scan(&n) }()
	select {
	case err := <-returned:
		t.Log(err)
	case <-time.After(15 * time.Second):
		t.Error("the query still waits after 15 seconds")
	}
	require.NoError(t, tx.Rollback())
}

// Lookup of one handle on a shared cache, while another handle of the same process writes.
func TestAttackLookupInASharedCacheBesideAWriter(t *testing.T) {
	name := fmt.Sprintf("file:attack%d?mode=memory&cache=shared&groupcommit_promises=on", time.Now().UnixNano())
	a := ours(t, name, "CREATE TABLE a (k INTEGER UNIQUE, v TEXT)")
	b := ours(t, name)
	require.NoError(t, b.Ping())
	var all sync.WaitGroup
	stop := make(chan struct{})
	for g := range 4 {
		all.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				_, err := a.ExecContext(withID(fmt.Sprint(g, "/", i)), "INSERT INTO a (v) VALUES (?)", "v")
				if err != nil {
					t.Log("exec:", err)
				}
			}
		})
	}
	var failed, queries error
	for range 5000 {
		if _, err := groupcommit.Lookup(background, b, "none"); err != nil && !errors.Is(err, durable.ErrNotFound) && failed == nil {
			failed = err
		}
		if _, err := b.Exec("SELECT count(*) FROM groupcommit_promises WHERE id = 'x'"); err != nil && queries == nil {
			queries = err
		}
	}
	close(stop)
	all.Wait()
	require.NoError(t, queries)
	require.NoError(t, failed)
}

func TestAttackFirstUseByManyCallers(t *testing.T) {
	for _, promises := range []string{"off", "on"} {
		t.Run(promises, func(t *testing.T) {
			dsn := dsnOf(t, "")
			openDB(t, "sqlite3", dsn, "CREATE TABLE a (k INTEGER UNIQUE, v TEXT)")
			db := ours(t, dsn+"&groupcommit_promises="+promises)
			var all sync.WaitGroup
			var failed atomic.Int64
			var first atomic.Value
			for k := range 2000 {
				all.Go(func() {
					ctx := background
					if promises == "on" {
						ctx = withID(fmt.Sprint(k))
					}
					if _, err := db.ExecContext(ctx, insertRow, k, "v"); err != nil {
						failed.Add(1)
						first.CompareAndSwap(nil, err.Error())
					}
				})
			}
			all.Wait()
			require.Zero(t, failed.Load(), "%v", first.Load())
		})
	}
}

// The first use while another program writes for longer than the busy timeout.
func TestAttackABusyDatabaseIsNotASchemaThatCannotBeUsed(t *testing.T) {
	dsn := dsnOf(t, "&_busy_timeout=100")
	other := openDB(t, "sqlite3", dsn, "CREATE TABLE a (k INTEGER UNIQUE, v TEXT)")
	tx, err := other.Begin()
	require.NoError(t, err)
	_, err = tx.Exec("INSERT INTO a VALUES (1, '')")
	require.NoError(t, err)
	err = ours(t, dsn+"&groupcommit_promises=on").Ping()
	t.Log(err)
	require.NoError(t, tx.Rollback())
	require.NotErrorIs(t, err, durable.ErrSchema)
}

// The first use by another handle of the same program, while this one has a transaction that takes long.
func TestAttackTheFirstUseWaitsForTheWritersTurn(t *testing.T) {
	dsn := dsnOf(t, "&_busy_timeout=100")
	a := ours(t, dsn, "CREATE TABLE a (k INTEGER UNIQUE, v TEXT)")
	tx, err := a.Begin()
	require.NoError(t, err)
	_, err = tx.Exec("INSERT INTO a VALUES (1, '')")
	require.NoError(t, err)
	time.AfterFunc(time.Second, func() { tx.Rollback() })
	_, err = ours(t, dsn+"&groupcommit_promises=on").ExecContext(withID("x"), insertRow, 2, "")
	require.NoError(t, err)
}

// A Get of a promise that is due writes, and everybody who writes takes turns.
func TestAttackLookupOfADuePromiseBesideAWriter(t *testing.T) {
	dsn := dsnOf(t, "&_busy_timeout=100")
	db := ours(t, dsn+"&groupcommit_promises=on", "CREATE TABLE a (k INTEGER UNIQUE, v TEXT)")
	store, err := durable.NewSQL(background, db)
	require.NoError(t, err)
	_, err = store.Create(background, durable.CreateRequest{ID: "due", Timeout: time.Now().Add(10 * time.Millisecond)})
	require.NoError(t, err)
	time.Sleep(20 * time.Millisecond)
	release := hold(t, db)
	time.AfterFunc(time.Second, release)
	_, err = groupcommit.Lookup(background, db, "due")
	require.NoError(t, err)
}

func TestAttackATableOfOtherTypesIsAnErrorAtOpen(t *testing.T) {
	dsn := dsnOf(t, "")
	openDB(t, "sqlite3", dsn, "CREATE TABLE a (k INTEGER UNIQUE, v TEXT)",
		`CREATE TABLE groupcommit_promises (id TEXT, state, create_key TEXT, complete_key, kind, param_headers, param, value_headers, value TEXT, tags,
			timeout, created_at TEXT, completed_at TEXT, lease_owner, lease_until)`,
		"INSERT INTO groupcommit_promises (id, state, created_at, value) VALUES ('', 1, 0, '1')")
	db := ours(t, dsn+"&groupcommit_promises=on&groupcommit_retention=40ms")
	err := db.Ping()
	if err == nil {
		_, err2 := db.ExecContext(withID("x"), insertRow, 2, "")
		t.Log("it opens; a call:", err2)
		time.Sleep(500 * time.Millisecond)
		t.Log("rows left after the retention:", count(t, db, "SELECT count(*) FROM groupcommit_promises WHERE id <> ''"))
	}
	require.ErrorIs(t, err, durable.ErrSchema)
}

// A trigger with effects, a partial one, and the record: all or nothing.
func TestAttackKeptRowsAndTheirRecord(t *testing.T) {
	groups(t, func(t *testing.T, db *sql.DB, exec func(string, string, ...any) (sql.Result, error)) {
		_, err := db.Exec(insertRow, 3, "taken")
		require.NoError(t, err)
		q := "INSERT OR FAIL INTO a (k) SELECT value FROM json_each(?)"
		_, err = exec("x", q, "[1,2,3,4]")
		require.Equal(t, mattn.ErrConstraint, code(t, err))
		require.Equal(t, 3, count(t, db, "SELECT count(*) FROM a"), "the plain driver keeps them")
		_, err = exec("x", q, "[1,2,3,4]")
		var rejected *groupcommit.RejectedError
		require.ErrorAs(t, err, &rejected)
		require.Equal(t, 3, count(t, db, "SELECT count(*) FROM a"))
	})
}

// The context ends in the middle of a lone call.
func TestAttackAContextEndsInTheMiddleOfALoneCall(t *testing.T) {
	db, dsn := promising(t, "")
	for i := range 30 {
		ctx, cancel := context.WithTimeout(withID(fmt.Sprint(i)), time.Duration(i)*time.Millisecond)
		_, err := db.ExecContext(ctx, "INSERT INTO a (v) WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n WHERE x < 20000) SELECT ? FROM n", fmt.Sprint(i))
		cancel()
		rows := count(t, db, "SELECT count(*) FROM a WHERE v = ?", fmt.Sprint(i))
		p, lookup := groupcommit.Lookup(background, ours(t, dsn+"&groupcommit_promises=on"), fmt.Sprint(i))
		switch {
		case err == nil:
			require.Equal(t, 20000, rows)
			require.NoError(t, lookup)
			require.Equal(t, durable.Resolved, p.State)
		default:
			require.Zero(t, rows, err)
			require.ErrorIs(t, lookup, durable.ErrNotFound)
		}
	}
}

// Any PRAGMA encoding.
func TestAttackUTF16(t *testing.T) {
	dsn := dsnOf(t, "")
	db := openDB(t, "sqlite3", dsn)
	db.SetMaxOpenConns(1)
	exec(t, db, "PRAGMA encoding = 'UTF-16'")
	exec(t, db, "CREATE TABLE a (k INTEGER UNIQUE, v TEXT)")
	require.NoError(t, db.Close())
	for again := range 2 {
		for _, id := range []string{"ü", "\U0001F600\u2028<&>\"\\\x01\x7f\ufeff\uffff", "'"} {
			ours := ours(t, dsn+"&groupcommit_promises=on")
			release := hold(t, ours)
			p := groupcommit.Go(withID(id), ours, "INSERT INTO a (v) VALUES (?)", id)
			q := groupcommit.Go(withID(id+"2"), ours, "INSERT INTO a (v) VALUES (?)", id)
			awaitQueued(t, ours, 2)
			release()
			_, err := q.Await(background)
			require.NoError(t, err)
			res, err := p.Await(background)
			require.NoError(t, err)
			require.Equal(t, again == 1, groupcommit.Deduplicated(res), "%q", id)
		}
	}
}

// A database that is only read.
func TestAttackReadOnly(t *testing.T) {
	db, dsn := promising(t, "")
	_, err := db.ExecContext(withID("x"), insertRow, 1, "v")
	require.NoError(t, err)
	ro := ours(t, dsn+"&mode=ro&groupcommit_promises=on&groupcommit_retention=10ms")
	p, err := groupcommit.Lookup(background, ro, "x")
	require.NoError(t, err)
	require.Equal(t, durable.Resolved, p.State)
	_, err = ro.ExecContext(withID("y"), insertRow, 2, "v")
	t.Log(err)
	require.Error(t, err)
	release := make(chan struct{})
	close(release)
	a, b := groupcommit.Go(withID("p"), ro, insertRow, 3, "v"), groupcommit.Go(withID("q"), ro, insertRow, 4, "v")
	_, err = a.Await(background)
	t.Log(err)
	_, err = b.Await(background)
	t.Log(err)
}

// A database that one connection keeps to itself.
func TestAttackExclusiveLocking(t *testing.T) {
	for _, promises := range []string{"off", "on"} {
		t.Run(promises, func(t *testing.T) {
			for _, journal := range []string{"WAL", "DELETE"} {
				dsn := dsnOf(t, "&_busy_timeout=200&_locking_mode=EXCLUSIVE&groupcommit_promises="+promises)
				if journal == "DELETE" {
					dsn = strings.Replace(dsn, "_journal=WAL", "_journal=DELETE", 1)
				}
				db, err := sql.Open("sqlite3-groupcommit", dsn)
				require.NoError(t, err)
				_, err = db.Exec("CREATE TABLE a (k INTEGER UNIQUE, v TEXT)")
				_, err2 := db.Exec(insertRow, 1, "v")
				t.Log(journal, err != nil, err2)
				db.Close()
			}
		})
	}
}

func TestAttackATemporaryDatabase(t *testing.T) {
	db := ours(t, "?groupcommit_promises=on&groupcommit_retention=20ms", "CREATE TABLE a (k INTEGER UNIQUE, v TEXT)")
	for again := range 2 {
		res, err := db.ExecContext(withID("x"), insertRow, 1, "v")
		require.NoError(t, err)
		rowsOf(t, res, 1, 1, again == 1)
	}
}
