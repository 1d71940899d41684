package sqlite3_test

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/durable"
	mattn "github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/require"
)

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
