package sqlite3_test

import (
	"context"
	"database/sql"
	"fmt"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/durable"
	mattn "github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/require"
)

func TestTheRowsThatOrFailKeepsAreThereWithTheirRecord(t *testing.T) {
	groups(t, func(t *testing.T, db *sql.DB, run func(string, string, ...any) (sql.Result, error)) {
		exec(t, db, insertRow, 3, "taken")
		const query = "INSERT OR FAIL INTO a (k) SELECT value FROM json_each(?)"
		_, err := run("x", query, "[1,2,3,4]")
		require.Equal(t, mattn.ErrConstraint, code(t, err))
		require.Equal(t, 3, count(t, db, "SELECT count(*) FROM a"), "as the plain driver has it")
		_, err = run("x", query, "[1,2,3,4]")
		require.ErrorAs(t, err, new(*groupcommit.RejectedError))
		require.Equal(t, 3, count(t, db, "SELECT count(*) FROM a"))
	})
}

func TestAContextThatEndsInTheMiddleOfALoneCallLeavesAllOfItOrNothing(t *testing.T) {
	db, dsn := promising(t, "")
	another := ours(t, dsn+"&groupcommit_promises=on")
	for i := range 30 {
		id := fmt.Sprint(i)
		ctx, cancel := context.WithTimeout(withID(id), time.Duration(i)*time.Millisecond)
		_, err := db.ExecContext(ctx, "INSERT INTO a (v) WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n WHERE x < 20000) SELECT ? FROM n", id)
		cancel()
		rows := count(t, db, "SELECT count(*) FROM a WHERE v = ?", id)
		p, lookup := groupcommit.Lookup(background, another, id)
		if err == nil {
			require.NoError(t, lookup)
			require.Equal(t, durable.Resolved, p.State)
			require.Equal(t, 20000, rows)
		} else {
			require.ErrorIs(t, lookup, durable.ErrNotFound)
			require.Zero(t, rows, err)
		}
	}
}

func TestIDsInADatabaseWhoseTextIsUTF16(t *testing.T) {
	dsn := dsnOf(t, "")
	plain := openDB(t, "sqlite3", dsn)
	plain.SetMaxOpenConns(1)
	exec(t, plain, "PRAGMA encoding = 'UTF-16'")
	exec(t, plain, "CREATE TABLE a (k INTEGER UNIQUE, v TEXT)")
	require.NoError(t, plain.Close())
	for again := range 2 {
		for _, id := range []string{"ü", "\U0001F600\u2028<&>\"\\\x01\x7f\ufeff\uffff", "'"} {
			db := ours(t, dsn+"&groupcommit_promises=on")
			release := hold(t, db)
			var ps []*groupcommit.Promise // one group
			for _, id := range []string{id, id + "2"} {
				ps = append(ps, groupcommit.Go(withID(id), db, "INSERT INTO a (v) VALUES (?)", id))
			}
			awaitQueued(t, db, len(ps))
			release()
			for _, p := range ps {
				res, err := p.Await(background)
				require.NoError(t, err)
				require.Equal(t, again == 1, groupcommit.Deduplicated(res), "%q", p.ID())
			}
		}
	}
}

// Ids that come in no order are written in theirs, so that neighbours in the index are written together.
func TestTheRecordsOfAGroupAreInTheOrderOfTheirIDs(t *testing.T) {
	db, _ := promising(t, "")
	exec(t, db, "SELECT 1")
	asGroupOfIDs(t, db, "c", "a", "d", "b")
	require.Equal(t, 1, count(t, db, "SELECT group_concat(id, '') = 'abcd' FROM (SELECT id FROM groupcommit_promises WHERE id <> '' ORDER BY rowid)"))
	require.Equal(t, 1, count(t, db, "SELECT group_concat(v, '') = 'cadb' FROM (SELECT v FROM a ORDER BY rowid)"), "the calls are executed as they came")
}

// A group whose last call goes by the driver is written to the ledger as one that may have ids.
func TestAGroupWithoutIDsRecordsNothingOfTheOneBeforeIt(t *testing.T) {
	db, _ := promising(t, "")
	exec(t, db, "SELECT 1")
	asGroupOfIDs(t, db, "x", "y")
	exec(t, db, "DELETE FROM groupcommit_promises WHERE id <> ''")
	for round := range 2 { // the second time, the text is prepared
		k := 10 * (round + 1)
		asGroup(t, db, []*call{{query: insertRow, args: []any{k, ""}}, {query: insertRow, args: []any{k + 1, ""}},
			{query: insertRow, args: []any{k + 2, ""}}, {query: fmt.Sprintf("INSERT INTO a VALUES (%d, 'literal')", k+3)}})
	}
	require.Zero(t, count(t, db, "SELECT count(*) FROM groupcommit_promises WHERE id <> ''"))
}

// asGroupOfIDs executes inserts with ids as one group.
func asGroupOfIDs(t *testing.T, db *sql.DB, ids ...string) {
	t.Helper()
	release := hold(t, db)
	var promises []*groupcommit.Promise
	for i, id := range ids {
		promises = append(promises, groupcommit.Go(withID(id), db, insertRow, i, id))
	}
	awaitQueued(t, db, len(ids))
	release()
	for _, p := range promises {
		_, err := p.Await(background)
		require.NoError(t, err)
	}
}
