package sqlite3_test

import (
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/internal/bounded"
	mattn "github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const returningRow = "INSERT INTO a (k, v) VALUES (?, ?) RETURNING k, v, rowid"

// columnsAnd are the rows of a query, each value with its Go type, and what is known of its columns.
func columnsAnd(rows *sql.Rows, err error) (got [][]any, columns []string, _ error) {
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	types, err := rows.ColumnTypes()
	if err != nil {
		return nil, nil, err
	}
	for _, c := range types {
		length, hasLength := c.Length()
		precision, scale, decimal := c.DecimalSize()
		nullable, known := c.Nullable()
		columns = append(columns, fmt.Sprint(c.Name(), c.DatabaseTypeName(), c.ScanType(), length, hasLength, precision, scale, decimal, nullable, known))
	}
	for rows.Next() {
		row := make([]any, len(types))
		for i := range row {
			row[i] = &row[i]
		}
		if err := rows.Scan(row...); err != nil {
			return nil, nil, err
		}
		got = append(got, row)
	}
	return got, columns, rows.Err()
}

// asker runs a query with an id, and returns its rows.
type asker func(id, query string, args ...any) (rows [][]any, columns []string, err error)

// queries runs a story on lone queries, by other processes so to say, on queries of one process, and on queries in a group.
func queries(t *testing.T, story func(t *testing.T, db *sql.DB, ask asker)) {
	t.Run("alone", func(t *testing.T) {
		db, dsn := promising(t, "")
		story(t, db, func(id, query string, args ...any) ([][]any, []string, error) {
			return columnsAnd(ours(t, dsn+"&groupcommit_promises=on").QueryContext(withID(id), query, args...))
		})
	})
	t.Run("from memory", func(t *testing.T) {
		db, _ := promising(t, "")
		story(t, db, func(id, query string, args ...any) ([][]any, []string, error) {
			return columnsAnd(db.QueryContext(withID(id), query, args...))
		})
	})
	t.Run("in a group", func(t *testing.T) {
		look, dsn := promising(t, "")
		exec(t, look, "CREATE TABLE neighbours (n)")
		asked := 0
		story(t, look, func(id, query string, args ...any) (rows [][]any, columns []string, err error) {
			db := ours(t, dsn+"&groupcommit_promises=on")
			release := hold(t, db)
			before := groupcommit.Go(background, db, "INSERT INTO neighbours VALUES (1)")
			awaitQueued(t, db, 1)
			var done sync.WaitGroup
			done.Go(func() { rows, columns, err = columnsAnd(db.QueryContext(withID(id), query, args...)) })
			awaitQueued(t, db, 2)
			after := groupcommit.Go(withID(fmt.Sprintf("neighbour %d", asked)), db, "INSERT INTO neighbours VALUES (2)")
			asked++
			awaitQueued(t, db, 3)
			release()
			bounded.Wait(t, "the query is answered", done.Wait)
			for _, neighbour := range []*groupcommit.Promise{before, after} {
				_, err := neighbour.Await(background)
				require.NoError(t, err)
			}
			assert.Equal(t, 2*asked, count(t, db, "SELECT count(*) FROM neighbours"))
			return rows, columns, err
		})
	})
}

func TestAQueryWithAnIDTakesEffectOnceAndIsAnsweredWithItsRows(t *testing.T) {
	queries(t, func(t *testing.T, db *sql.DB, ask asker) {
		var names []string
		for range 3 {
			rows, columns, err := ask("order-1", returningRow, 7, "seven")
			require.NoError(t, err)
			require.Equal(t, [][]any{{int64(7), "seven", int64(1)}}, rows)
			if names != nil {
				require.Equal(t, names, columns)
			}
			names = columns
		}
		require.Len(t, names, 3)
		require.Equal(t, 1, count(t, db, "SELECT count(*) FROM a"))
		for range 2 {
			rows, columns, err := ask("two", "INSERT INTO a (k) VALUES (?), (9) RETURNING k", 8)
			require.NoError(t, err)
			require.Equal(t, [][]any{{int64(8)}, {int64(9)}}, rows)
			require.Len(t, columns, 1)
		}
		p, err := groupcommit.Lookup(background, db, "two")
		require.NoError(t, err)
		require.Equal(t, durable.Resolved, p.State)
		require.Regexp(t, `^{"rows":2,"returned":"[A-Za-z0-9+/=]+"}$`, string(p.Value.Data))
	})
}

func TestNoRowIsReplayedAsNoRow(t *testing.T) {
	queries(t, func(t *testing.T, db *sql.DB, ask asker) {
		const update = "UPDATE a SET v = 'x' WHERE k = ? RETURNING v"
		rows, first, err := ask("nobody", update, 99)
		require.NoError(t, err)
		require.Empty(t, rows)
		exec(t, db, insertRow, 99, "now there")
		rows, columns, err := ask("nobody", update, 99)
		require.NoError(t, err)
		require.Empty(t, rows)
		require.Equal(t, first, columns)
		require.ErrorIs(t, db.QueryRowContext(withID("nobody"), update, 99).Scan(new(string)), sql.ErrNoRows)
		require.Equal(t, []string{"now there"}, texts(db, "SELECT v FROM a"))
	})
}

// The rows are the driver's own, to the type of each value and the zone of each time.
func TestRowsOfAQueryWithAnIDAreThoseOfThePlainDriver(t *testing.T) {
	at := time.Date(2024, 7, 29, 23, 59, 58, 123456000, time.UTC)
	kinds := append([]string(nil), returningSchema...)
	kinds = append(kinds, "CREATE TABLE a (k INTEGER UNIQUE, v TEXT)")
	for _, zone := range []string{"", "&_loc=auto", "&_loc=America%2FNew_York"} {
		for _, op := range []diffOp{
			query("INSERT INTO every VALUES (?, 1, 1.5, 2, 3, 'text', 'v', x'00ff', 1, ?, 1700000000, '2024-01-01', 1, 'n') RETURNING *, i + 1 AS sum, x || v", 1, at),
			query("INSERT INTO every (bl, at, ok, dt) VALUES (?, 'no time', 7, ?), (x'', NULL, NULL, NULL) RETURNING bl, at, ok, dt, rowid", []byte("blob"), at.In(time.FixedZone("", 5400))),
			query("INSERT INTO every (r, d, x) VALUES (9e999, -0.0, ?) RETURNING r, d, x", "\xff\x00"),
		} {
			dsn := dsnOf(t, zone)
			want, columns, err := columnsAnd(openDB(t, "sqlite3", dsnOf(t, zone), kinds...).Query(op.sql, op.args...))
			require.NoError(t, err)
			for range 2 {
				db := ours(t, dsn+"&groupcommit_promises=on", func() []string {
					if count(t, openDB(t, "sqlite3", dsn), "SELECT count(*) FROM sqlite_schema WHERE name = 'a'") == 0 {
						return kinds
					}
					return nil
				}()...)
				got, again, err := columnsAnd(db.QueryContext(withID("x"), op.sql, op.args...))
				require.NoError(t, err)
				require.Equal(t, want, got, zone)
				require.Equal(t, columns, again)
			}
		}
	}
}

func TestAnErrorOfAQueryWithAnIDIsRecordedAsThatOfAnExec(t *testing.T) {
	queries(t, func(t *testing.T, db *sql.DB, ask asker) {
		exec(t, db, insertRow, 7, "the first")
		_, _, err := ask("taken", returningRow, 7, "the second")
		require.Equal(t, mattn.ErrConstraint, code(t, err))
		exec(t, db, "DELETE FROM a")
		for range 2 {
			_, _, again := ask("taken", returningRow, 7, "the second")
			var rejected *groupcommit.RejectedError
			require.ErrorAs(t, again, &rejected)
			require.Equal(t, groupcommit.RejectedError{ID: "taken", State: durable.Rejected, Code: "2067", Message: err.Error()}, *rejected)
		}
		require.Zero(t, count(t, db, "SELECT count(*) FROM a"))
		_, _, err = ask("early", "INSERT INTO later VALUES (?) RETURNING x", 1)
		require.ErrorContains(t, err, "no such table")
		exec(t, db, "CREATE TABLE later (x)")
		rows, _, err := ask("early", "INSERT INTO later VALUES (?) RETURNING x", 1)
		require.NoError(t, err)
		require.Equal(t, [][]any{{int64(1)}}, rows)
	})
}

func TestAnIDOfAQueryBelongsToItsTextAndItsArguments(t *testing.T) {
	queries(t, func(t *testing.T, db *sql.DB, ask asker) {
		_, _, err := ask("order-1", returningRow, 7, "seven")
		require.NoError(t, err)
		for _, other := range []call{
			{query: returningRow, args: []any{7, "eight"}},
			{query: returningRow, args: []any{"7", "seven"}},
			{query: returningRow + " ", args: []any{7, "seven"}},
		} {
			_, _, err = ask("order-1", other.query, other.args...)
			require.ErrorIs(t, err, groupcommit.ErrMismatch)
			require.ErrorContains(t, err, "order-1")
		}
		require.Equal(t, 1, count(t, db, "SELECT count(*) FROM a"))
	})
}

// An Exec asks for less than a query: the rows are counted for it. A query asks for more than an Exec has recorded.
func TestAnExecIsAnsweredFromAQuerysRecordAndAQueryNotFromAnExecs(t *testing.T) {
	queries(t, func(t *testing.T, db *sql.DB, ask asker) {
		_, _, err := ask("query", returningRow, 1, "v")
		require.NoError(t, err)
		res, err := db.ExecContext(withID("query"), returningRow, 1, "v")
		require.NoError(t, err)
		require.True(t, groupcommit.Deduplicated(res))
		n, err := res.RowsAffected()
		require.NoError(t, err)
		require.EqualValues(t, 1, n)
		_, err = res.LastInsertId()
		require.Error(t, err)

		_, err = db.ExecContext(withID("exec"), returningRow, 2, "v")
		require.NoError(t, err)
		for range 2 {
			_, _, err = ask("exec", returningRow, 2, "v")
			require.ErrorContains(t, err, `id "exec"`)
			require.ErrorContains(t, err, "no rows to answer a query with")
			require.ErrorIs(t, err, groupcommit.ErrMismatch)
		}
		require.Equal(t, 2, count(t, db, "SELECT count(*) FROM a"))
	})
}

func TestAQueryWithAnIDAndMoreRowsThanAreRecordedHasNoEffect(t *testing.T) {
	const many = "WITH RECURSIVE n (v) AS (VALUES (1) UNION ALL SELECT v + 1 FROM n WHERE v < ?) INSERT INTO a (k) SELECT v FROM n RETURNING k"
	const wide = "INSERT INTO a (v) VALUES (printf('%.*c', ?, 'x')) RETURNING v"
	queries(t, func(t *testing.T, db *sql.DB, ask asker) {
		for range 2 {
			_, _, err := ask("many", many, 300)
			require.ErrorContains(t, err, `id "many": the call returns 300 rows of 4800 bytes, and an outcome is recorded with at most 256 rows of 65536 bytes`)
			_, _, err = ask("wide", wide, 70_000)
			require.ErrorContains(t, err, `id "wide": the call returns 1 rows of 70016 bytes`)
			for _, id := range []string{"many", "wide"} {
				_, err = groupcommit.Lookup(background, db, id)
				require.ErrorIs(t, err, durable.ErrNotFound)
			}
		}
		require.Zero(t, count(t, db, "SELECT count(*) FROM a"))
		for range 2 {
			rows, _, err := ask("up to it", many, 256)
			require.NoError(t, err)
			require.Len(t, rows, 256)
			rows, _, err = ask("as wide", wide, 65520)
			require.NoError(t, err)
			require.Equal(t, [][]any{{strings.Repeat("x", 65520)}}, rows)
		}
		require.Equal(t, 257, count(t, db, "SELECT count(*) FROM a"))
	})
}

func TestAQueryWithAnIDAndAWrongNumberOfArgumentsIsNotRecorded(t *testing.T) {
	queries(t, func(t *testing.T, db *sql.DB, ask asker) {
		_, want := db.Query("INSERT INTO a (k, v) VALUES (?, ?) RETURNING k", 1)
		require.Error(t, want)
		for range 2 {
			_, _, err := ask("x", "INSERT INTO a (k, v) VALUES (?, ?) RETURNING k", 1)
			require.EqualError(t, err, want.Error())
			_, err = groupcommit.Lookup(background, db, "x")
			require.ErrorIs(t, err, durable.ErrNotFound)
		}
		require.Zero(t, count(t, db, "SELECT count(*) FROM a"))
	})
}

// As for an Exec: the error comes at the COMMIT, which the plain driver makes when the rows are closed.
func TestACommitOfAQueryThatAConstraintRefusesIsRecorded(t *testing.T) {
	dsn := dsnOf(t, "&_foreign_keys=on&groupcommit_promises=on")
	db := ours(t, dsn, "CREATE TABLE p (k INTEGER PRIMARY KEY)", "CREATE TABLE c (k REFERENCES p DEFERRABLE INITIALLY DEFERRED)")
	const orphan = "INSERT INTO c VALUES (?) RETURNING k"
	_, _, err := columnsAnd(db.QueryContext(withID("orphan"), orphan, 5))
	require.Equal(t, mattn.ErrConstraint, code(t, err))
	exec(t, db, "INSERT INTO p VALUES (5)")
	_, _, err = columnsAnd(db.QueryContext(withID("orphan"), orphan, 5))
	require.ErrorAs(t, err, new(*groupcommit.RejectedError))
	require.Zero(t, count(t, db, "SELECT count(*) FROM c"))
}

func TestManyQueriesWithOneIDShareOneExecutionAndAllGetItsRows(t *testing.T) {
	db, dsn := promising(t, "")
	other := ours(t, dsn+"&groupcommit_promises=on&groupcommit_maxlen=3") // as another process
	const ids, each = 10, 16
	got := make([][][]any, ids*each)
	var done sync.WaitGroup
	for i := range got {
		done.Go(func() {
			d, id := db, i%ids
			if i%3 == 0 {
				d = other
			}
			rows, _, err := columnsAnd(d.QueryContext(withID(fmt.Sprint("id ", id)), "INSERT INTO a (k, v) VALUES (?, ?) RETURNING k, v, rowid, random()", id, []byte("v")))
			assert.NoError(t, err)
			got[i] = rows
		})
	}
	bounded.Wait(t, "the queries are answered", done.Wait)
	for i, rows := range got {
		require.Len(t, rows, 1)
		require.Equal(t, got[i%ids], rows)
	}
	require.Equal(t, ids, count(t, db, "SELECT count(*) FROM a"))
}

func TestOtherWaysToQueryHaveIDsToo(t *testing.T) {
	db, dsn := promising(t, "")
	st, err := db.Prepare(returningRow)
	require.NoError(t, err)
	defer st.Close()
	c, err := db.Conn(background)
	require.NoError(t, err)
	defer c.Close()
	require.Equal(t, 1, count(t, c, "SELECT 1"))
	ways := map[string]func(db *sql.DB, id string) (*sql.Rows, error){
		"prepared": func(_ *sql.DB, id string) (*sql.Rows, error) { return st.QueryContext(withID(id), 1, "v") },
		"leased":   func(_ *sql.DB, id string) (*sql.Rows, error) { return c.QueryContext(withID(id), returningRow, 2, "v") },
		"not batched": func(db *sql.DB, id string) (*sql.Rows, error) {
			return db.QueryContext(groupcommit.NoBatch(withID(id)), returningRow, 3, "v")
		},
	}
	for name, ask := range ways {
		first, columns, err := columnsAnd(ask(db, name))
		require.NoError(t, err, name)
		require.Len(t, first, 1)
		for range 2 {
			rows, again, err := columnsAnd(ask(ours(t, dsn+"&groupcommit_promises=on"), name))
			require.NoError(t, err, name)
			require.Equal(t, first, rows)
			require.Equal(t, columns, again)
		}
	}
	require.Equal(t, 3, count(t, db, "SELECT count(*) FROM a"))
	var k int
	require.NoError(t, db.QueryRowContext(withID("row"), returningRow, 4, "v").Scan(&k, new(string), new(int)))
	require.Equal(t, 4, k)

	_, err = db.QueryContext(withID("x"), "INSERT INTO a (k) VALUES (5)")
	require.ErrorContains(t, err, "a query that writes without RETURNING cannot have one")
	tx, err := db.Begin()
	require.NoError(t, err)
	defer tx.Rollback()
	_, err = tx.QueryContext(withID("x"), returningRow, 5, "v")
	require.ErrorContains(t, err, "a statement inside a transaction cannot have one")
}

func TestAQueryWithAnIDInMemory(t *testing.T) {
	db := ours(t, ":memory:?groupcommit_promises=on", "CREATE TABLE a (k INTEGER UNIQUE, v TEXT)")
	for range 2 {
		rows, _, err := columnsAnd(db.QueryContext(withID("x"), returningRow, 1, "v"))
		require.NoError(t, err)
		require.Equal(t, [][]any{{int64(1), "v", int64(1)}}, rows)
	}
}

func TestRowsOfAnotherVersionAreAnErrorAndNotAnotherExecution(t *testing.T) {
	queries(t, func(t *testing.T, db *sql.DB, ask asker) {
		_, _, err := ask("x", returningRow, 1, "v")
		require.NoError(t, err)
		other := ours(t, fileOf(t, db)+"?groupcommit_promises=on") // has nothing in memory
		for value, want := range map[string]string{`{"rows":1,"returned":"CQ=="}`: "version 9", `{"rows":1,"returned":"AQ=="}`: "damaged"} {
			exec(t, db, "UPDATE groupcommit_promises SET value = CAST(? AS BLOB) WHERE id = 'x'", value)
			_, _, err = columnsAnd(other.QueryContext(withID("x"), returningRow, 1, "v"))
			require.ErrorContains(t, err, `id "x"`)
			require.ErrorContains(t, err, want)
		}
		require.Equal(t, 1, count(t, db, "SELECT count(*) FROM a"))
	})
}

func TestAnOldQuerysIDMayBeUsedAgain(t *testing.T) {
	db, _ := promising(t, "&groupcommit_retention=40ms")
	ask := func() [][]any {
		rows, _, err := columnsAnd(db.QueryContext(withID("1"), "INSERT INTO a (v) VALUES (?) RETURNING rowid", "v"))
		require.NoError(t, err)
		return rows
	}
	require.Equal(t, [][]any{{int64(1)}}, ask())
	bounded.Until(t, "the promise is deleted", func() bool {
		_, err := groupcommit.Lookup(background, db, "1")
		return errors.Is(err, durable.ErrNotFound)
	})
	require.Equal(t, [][]any{{int64(2)}}, ask())
}

// They do not go into the table by one statement.
func TestAGroupWhoseRowsAreManyMegabytesIsRecorded(t *testing.T) {
	db, dsn := promising(t, "")
	const n, wide = 100, "INSERT INTO a (k, v) VALUES (?, printf('%.*c', 60000, 'x')) RETURNING k, v"
	release := hold(t, db)
	got := make([][][]any, n)
	var done sync.WaitGroup
	for i := range n {
		done.Go(func() {
			var err error
			got[i], _, err = columnsAnd(db.QueryContext(withID(fmt.Sprint(i)), wide, i))
			assert.NoError(t, err)
		})
	}
	awaitQueued(t, db, n)
	release()
	bounded.Wait(t, "the queries are answered", done.Wait)
	again := ours(t, dsn+"&groupcommit_promises=on")
	for i := range n {
		rows, _, err := columnsAnd(again.QueryContext(withID(fmt.Sprint(i)), wide, i))
		require.NoError(t, err)
		require.Equal(t, [][]any{{int64(i), strings.Repeat("x", 60000)}}, rows)
		require.Equal(t, rows, got[i])
	}
	require.Equal(t, n, count(t, db, "SELECT count(*) FROM a"))
}
