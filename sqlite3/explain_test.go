package sqlite3_test

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/bounded"
	mattn "github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// Each case makes the call, so what Explain says is what becomes of it.
func TestWhatExplainSaysBecomesOfACall(t *testing.T) {
	noBatch := groupcommit.NoBatch(background)
	for i, test := range []struct {
		ctx   context.Context
		query string
		args  []any
		want  groupcommit.Why
		rows  bool // it is a query
	}{
		{background, "INSERT INTO t (v) VALUES (?)", []any{1}, groupcommit.WhyNot, false},
		{background, "INSERT INTO t (v) VALUES (:v)", []any{sql.Named("v", 1)}, groupcommit.WhyNot, false},
		{background, "INSERT INTO t (v) VALUES (?) RETURNING v", []any{1}, groupcommit.WhyNot, true},
		{noBatch, "INSERT INTO t (v) VALUES (?)", []any{1}, groupcommit.WhyNoBatch, false},
		{background, "SELECT v FROM t", nil, groupcommit.WhyReads, true},
		{background, " -- no statement", nil, groupcommit.WhyEmpty, false},
		{background, "DELETE FROM t; DELETE FROM t", nil, groupcommit.WhySeveral, false},
		{background, "BEGIN; DELETE FROM t; COMMIT", nil, groupcommit.WhyControl, false},
		{background, "INSERT INTO t (v) VALUES (last_insert_rowid())", nil, groupcommit.WhyAsks, false},
		{background, "CREATE TABLE u (v)", nil, groupcommit.WhyOther, false},
		{background, "CREATE TEMP TABLE w (v)", nil, groupcommit.WhySession, false},
	} {
		t.Run(fmt.Sprint(i, " ", test.want.Label()), func(t *testing.T) {
			db := ours(t, dsnOf(t, ""), "CREATE TABLE t (v)")
			e, err := groupcommit.Explain(test.ctx, db, test.query, test.args...)
			require.NoError(t, err)
			require.Equal(t, test.want, e.Why)
			require.Equal(t, test.want == groupcommit.WhyNot, e.Grouped())
			before, err := groupcommit.StatsOf(db)
			require.NoError(t, err)
			if test.rows {
				rows, err := db.QueryContext(test.ctx, test.query, test.args...)
				require.NoError(t, err)
				require.NoError(t, rows.Close())
			} else {
				_, err = db.ExecContext(test.ctx, test.query, test.args...)
				require.NoError(t, err)
			}
			after, err := groupcommit.StatsOf(db)
			require.NoError(t, err)
			if e.Grouped() {
				require.Equal(t, before.Calls+1, after.Calls)
				require.Equal(t, before.Apart, after.Apart)
			} else {
				require.Equal(t, before.Calls, after.Calls)
				require.Equal(t, before.Apart[test.want]+1, after.Apart[test.want])
			}
		})
	}
}

func TestCallsThatJoinNoGroupAreCountedByTheReason(t *testing.T) {
	db := ours(t, dsnOf(t, "&groupcommit_promises=on"), "CREATE TABLE t (v)")
	count := func(why groupcommit.Why, do func()) {
		t.Helper()
		before, err := groupcommit.StatsOf(db)
		require.NoError(t, err)
		do()
		after, err := groupcommit.StatsOf(db)
		require.NoError(t, err)
		require.Equal(t, before.Apart[why]+1, after.Apart[why], "%v: %v, then %v", why, before.Apart, after.Apart)
	}
	const insert = "INSERT INTO t (v) VALUES (1)"
	tx, err := db.Begin()
	require.NoError(t, err)
	count(groupcommit.WhyInTransaction, func() { exec(t, tx, insert) })
	st, err := tx.Prepare(insert)
	require.NoError(t, err)
	count(groupcommit.WhyInTransaction, func() {
		_, err := st.Exec()
		require.NoError(t, err)
	})
	require.NoError(t, tx.Commit())

	conn, err := db.Conn(background)
	require.NoError(t, err)
	rows, err := conn.QueryContext(background, "SELECT v FROM t UNION ALL SELECT v FROM t")
	require.NoError(t, err)
	require.True(t, rows.Next())
	count(groupcommit.WhyHeld, func() { exec(t, conn, insert) })
	require.NoError(t, rows.Close())
	require.NoError(t, conn.Close())

	count(groupcommit.WhyNoBatch, func() {
		_, err := db.ExecContext(groupcommit.NoBatch(groupcommit.WithID(background, "a")), insert)
		require.NoError(t, err)
	})
	count(groupcommit.WhyNoBatch, func() {
		_, err := groupcommit.Go(groupcommit.NoBatch(background), db, insert).Await(background)
		require.NoError(t, err)
	})

	conn, err = db.Conn(background)
	require.NoError(t, err)
	exec(t, conn, "CREATE TEMP TABLE mine (v)")
	count(groupcommit.WhyBound, func() { exec(t, conn, insert) })
	require.NoError(t, conn.Close())
}

func TestAPoolOfOneIsExplained(t *testing.T) {
	db := ours(t, dsnOf(t, ""), "CREATE TABLE t (v)")
	db.SetMaxOpenConns(1)
	e, err := groupcommit.Explain(background, db, "INSERT INTO t (v) VALUES (1)")
	require.NoError(t, err)
	require.Equal(t, groupcommit.WhyPoolOfOne, e.Why)
	require.Equal(t, "not grouped: SetMaxOpenConns(1) lets no other call be there at the same time", e.String())
}

func TestACallThatFillsItsGroupIsExplained(t *testing.T) {
	for _, params := range []string{"&groupcommit_maxlen=1", "&groupcommit_maxbytes=41"} {
		db := ours(t, dsnOf(t, params), "CREATE TABLE t (v)")
		insert := "INSERT INTO t (v) VALUES (?)" // with its argument 28 and 16 bytes
		e, err := groupcommit.Explain(background, db, insert, 1)
		require.NoError(t, err)
		require.Equal(t, groupcommit.WhyNoRoom, e.Why)
		release := hold(t, db)
		var all sync.WaitGroup
		for i := range 20 {
			all.Go(func() { exec(t, db, insert, i) })
		}
		bounded.Until(t, "all wait", func() bool {
			s, err := groupcommit.StatsOf(db)
			return err == nil && s.Calls == 20
		})
		release()
		bounded.Wait(t, "all have inserted", all.Wait)
		s, err := groupcommit.StatsOf(db)
		require.NoError(t, err)
		require.Equal(t, 1, s.MaxGroup, params)
		require.Empty(t, s.Apart[groupcommit.WhyNoRoom])
	}
}

func TestAHookThatSetsUpConnectionsKeepsNoCallFromGroups(t *testing.T) {
	_, grouped := hookedDrivers(func(*mattn.SQLiteConn) error { return nil })
	db := openDB(t, grouped, dsnOf(t, ""), "CREATE TABLE t (v)")
	e, err := groupcommit.Explain(background, db, "INSERT INTO t (v) VALUES (1)")
	require.NoError(t, err)
	require.True(t, e.Grouped())
	for range 3 {
		exec(t, db, "INSERT INTO t (v) VALUES (1)")
	}
	e, err = groupcommit.Explain(background, db, "INSERT INTO t (v) VALUES (1)")
	require.NoError(t, err)
	require.Equal(t, "grouped: it may share a transaction and its commit; 3 of 3 groups so far had one call", fmt.Sprint(e))
}

func TestWhatCannotBeCalledCannotBeExplained(t *testing.T) {
	plain := openDB(t, "sqlite3", dsnOf(t, ""))
	_, err := groupcommit.Explain(background, plain, "SELECT 1")
	require.ErrorContains(t, err, "not groupcommit's")
	db := ours(t, dsnOf(t, ""))
	require.NoError(t, db.Close())
	_, err = groupcommit.Explain(background, db, "SELECT 1")
	require.Error(t, err)
}
