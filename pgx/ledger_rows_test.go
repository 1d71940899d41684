package pgx_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/groupcommit/groupcommit/internal/pgtest/proxy"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// rowsAnswer is the answer to a query: its rows, each value with its Go type, and what is known of its columns.
type rowsAnswer struct {
	rows    [][]any
	columns []string
}

func readRowsAnswer(rows *sql.Rows, err error) (q rowsAnswer, _ error) {
	if err != nil {
		return q, err
	}
	defer rows.Close()
	types, err := rows.ColumnTypes()
	if err != nil {
		return q, err
	}
	for _, c := range types {
		length, hasLength := c.Length()
		precision, scale, decimal := c.DecimalSize()
		nullable, known := c.Nullable()
		q.columns = append(q.columns, fmt.Sprint(c.Name(), c.DatabaseTypeName(), c.ScanType(), length, hasLength, precision, scale, decimal, nullable, known))
	}
	for rows.Next() {
		row := make([]any, len(types))
		for i := range row {
			row[i] = &row[i]
		}
		if err := rows.Scan(row...); err != nil {
			return q, err
		}
		q.rows = append(q.rows, row)
	}
	return q, rows.Err()
}

func queryID(db *sql.DB, id, query string, args ...any) (rowsAnswer, error) {
	return readRowsAnswer(db.QueryContext(groupcommit.WithID(background, id), query, args...))
}

// eachQueryWay runs a story on queries that are replayed by the ledger, and on those that are replayed from memory.
func eachQueryWay(t *testing.T, story func(t *testing.T, r *rig, ask func(id, query string, args ...any) (rowsAnswer, error))) {
	t.Parallel()
	for name, forgets := range map[string]bool{"from the ledger": true, "from memory": false} {
		t.Run(name, func(t *testing.T) {
			r := ledgerRig(t)
			story(t, r, func(id, query string, args ...any) (rowsAnswer, error) {
				if forgets {
					r.forget()
				}
				return queryID(r.db, id, query, args...)
			})
		})
	}
}

const returnsRow = "INSERT INTO rows (k, v) VALUES ($1, $2) RETURNING k, v, v IS NULL AS none"

func TestAQueryWithAnIDTakesEffectOnceAndIsAnsweredWithItsRows(t *testing.T) {
	eachQueryWay(t, func(t *testing.T, r *rig, ask func(id, query string, args ...any) (rowsAnswer, error)) {
		first, err := ask("one", returnsRow, 1, "v")
		require.NoError(t, err)
		require.Equal(t, [][]any{{int64(1), "v", false}}, first.rows)
		require.Len(t, first.columns, 3)
		for range 2 {
			again, err := ask("one", returnsRow, 1, "v")
			require.NoError(t, err)
			require.Equal(t, first, again)
		}
		require.Equal(t, "1", r.value("SELECT count(*) FROM rows"))
		require.Equal(t, r.value("SELECT xmin FROM rows"), r.value("SELECT xmin FROM groupcommit_promises WHERE id = 'one'"))
		p, err := groupcommit.Lookup(background, r.db, "one")
		require.NoError(t, err)
		require.Equal(t, durable.Resolved, p.State)
		require.Regexp(t, `^{"rows":1,"returned":"[A-Za-z0-9+/=]+"}$`, string(p.Value.Data))

		for range 2 {
			none, err := ask("none", "UPDATE rows SET v = 'x' WHERE k = $1 RETURNING k", 99)
			require.NoError(t, err)
			require.Empty(t, none.rows)
			require.Len(t, none.columns, 1)
			r.exec(r.plain, "INSERT INTO rows (k) VALUES (99) ON CONFLICT DO NOTHING")
		}
		require.Equal(t, "", r.value("SELECT v FROM rows WHERE k = 99"))
		require.ErrorIs(t, r.db.QueryRowContext(groupcommit.WithID(background, "none"), "UPDATE rows SET v = 'x' WHERE k = $1 RETURNING k", 99).Scan(new(int)), sql.ErrNoRows)
	})
}

func TestAnErrorOfAQueryWithAnIDIsRecordedAsThatOfAnExec(t *testing.T) {
	eachQueryWay(t, func(t *testing.T, r *rig, ask func(id, query string, args ...any) (rowsAnswer, error)) {
		r.exec(r.plain, "INSERT INTO rows (k) VALUES (1)")
		r.exec(r.plain, "CREATE TABLE later (k INT REFERENCES rows DEFERRABLE INITIALLY DEFERRED)")
		const behindARow = "INSERT INTO rows (k) VALUES (7), (8), ($1) RETURNING k"
		for id, c := range map[string]struct {
			query string
			arg   any
			code  string
		}{
			"taken":        {"INSERT INTO rows (k) VALUES ($1) RETURNING k", 1, "23505"},
			"behind a row": {behindARow, 7, "23505"},
			"at COMMIT":    {"INSERT INTO later VALUES ($1) RETURNING k", 5, "23503"},
			"division":     {"UPDATE rows SET v = 'x' RETURNING 1 / (k - $1)", 1, "22012"},
		} {
			_, err := ask(id, c.query, c.arg)
			require.Equal(t, c.code, sqlState(err), "%s: %v", id, err)
			for range 2 {
				_, err = ask(id, c.query, c.arg)
				var rejected *groupcommit.RejectedError
				require.ErrorAs(t, err, &rejected, id)
				require.Equal(t, c.code, rejected.Code)
			}
		}
		require.Equal(t, "1", r.value("SELECT count(*) FROM rows WHERE v IS NULL"))
		_, err := ask("early", "INSERT INTO missing (k) VALUES ($1) RETURNING k", 1)
		require.Equal(t, "42P01", sqlState(err))
		r.exec(r.plain, "CREATE TABLE missing (k INT)")
		got, err := ask("early", "INSERT INTO missing (k) VALUES ($1) RETURNING k", 1)
		require.NoError(t, err)
		require.Equal(t, [][]any{{int64(1)}}, got.rows)
		r.noneOpen()
	})
}

func TestAnIDOfAQueryBelongsToItsTextItsArgumentsAndToAQuery(t *testing.T) {
	eachQueryWay(t, func(t *testing.T, r *rig, ask func(id, query string, args ...any) (rowsAnswer, error)) {
		_, err := ask("query", returnsRow, 1, "v")
		require.NoError(t, err)
		_, err = ask("query", returnsRow, 1, "w")
		require.ErrorIs(t, err, groupcommit.ErrMismatch)
		_, err = ask("query", returnsRow+" ", 1, "v")
		require.ErrorIs(t, err, groupcommit.ErrMismatch)
		require.Equal(t, doneBefore, execID(background, r.db, named{"query", call{returnsRow, []any{1, "v"}}}), "an Exec asks for less")

		require.Equal(t, done, execID(background, r.db, named{"exec", call{returnsRow, []any{2, "v"}}}))
		for range 2 {
			_, err = ask("exec", returnsRow, 2, "v")
			require.ErrorIs(t, err, groupcommit.ErrMismatch)
			require.ErrorContains(t, err, `id "exec" belongs to an Exec`)
		}
		require.Equal(t, "2", r.value("SELECT count(*) FROM rows"))
	})
}

func TestAQueryWithAnIDAndMoreRowsThanAreRecordedHasNoEffect(t *testing.T) {
	eachQueryWay(t, func(t *testing.T, r *rig, ask func(id, query string, args ...any) (rowsAnswer, error)) {
		const many = "INSERT INTO log (k) SELECT generate_series(1, $1::bigint) RETURNING k"
		const wide = "INSERT INTO rows (k, v) VALUES (1, repeat('x', $1::int)) RETURNING v"
		for range 2 {
			_, err := ask("many", many, 300)
			require.ErrorContains(t, err, `id "many": the call returns 300 rows of 4800 bytes, and an outcome is recorded with at most 256 rows of 65536 bytes`)
			_, err = ask("wide", wide, 70_000)
			require.ErrorContains(t, err, `id "wide": the call returns 1 rows of 70016 bytes`)
		}
		r.noneOpen()
		require.Equal(t, "0", r.promises("true"))
		require.Equal(t, "0", r.value("SELECT (SELECT count(*) FROM log) + (SELECT count(*) FROM rows)"))
		for range 2 {
			got, err := ask("up to it", many, 256)
			require.NoError(t, err)
			require.Len(t, got.rows, 256)
			got, err = ask("as wide", wide, 65520)
			require.NoError(t, err)
			require.Equal(t, [][]any{{strings.Repeat("x", 65520)}}, got.rows)
		}
		require.Equal(t, "256", r.value("SELECT count(*) FROM log"))
	})
}

// Rows are the driver's own in each of its modes, to the type of each value and the zone of each time.
func TestRowsOfAQueryWithAnIDAreThoseOfThePlainDriver(t *testing.T) {
	t.Parallel()
	text := `INSERT INTO kinds VALUES ($1::bigint, true, 'text', 'var', 'chr', decode('00ff', 'hex'), 1.5, 2.5, 3, 4, 12.345, '2024-07-29 23:59:58.123456', '2024-07-29 23:59:58.123456+05:30',
		'2024-02-29', '{1,2}', '{"a": 1}', '{"b":2}', '6ba7b810-9dad-11d1-80b4-00c04fd430c8', '1 day', '192.168.0.1/24', B'101', '10:11:12', 'sad', NULL), ($1::bigint` + strings.Repeat(", NULL", 23) + `) RETURNING *, k + 1 AS sum, '' AS empty`
	for _, mode := range []string{"cache_statement", "cache_describe", "describe_exec", "exec", "simple_protocol"} {
		t.Run(mode, func(t *testing.T) {
			param := pgtest.Param("default_query_exec_mode", mode)
			r := setUpOn(t, pgtest.DSN(t), []pgtest.DSNOption{param}, groupcommit.Promises())
			r.exec(r.plain, "CREATE TYPE mood AS ENUM ('sad', 'ok')")
			r.exec(r.plain, `CREATE TABLE kinds (k BIGINT, ok BOOLEAN, t TEXT, v VARCHAR(20), c CHAR(5), b BYTEA, f REAL, d DOUBLE PRECISION, i INT, s SMALLINT,
				n NUMERIC(10, 3), ts TIMESTAMP, tz TIMESTAMPTZ, day DATE, a INT[], jb JSONB, j JSON, u UUID, iv INTERVAL, ip INET, bits VARBIT(5), tm TIME, m mood, none TEXT)`)
			want, err := readRowsAnswer(r.open("pgx", pgtest.With(r.dsn, param)).Query(text, 1))
			require.NoError(t, err)
			r.exec(r.plain, "DELETE FROM kinds")
			for range 2 {
				r.forget()
				got, err := queryID(r.db, "x", text, 1)
				require.NoError(t, err)
				require.Equal(t, want, got)
			}
			require.Equal(t, "2", r.value("SELECT count(*) FROM kinds"))
		})
	}
}

func TestOtherWaysToQueryHaveIDsToo(t *testing.T) {
	t.Parallel()
	r := ledgerRig(t)
	st, err := r.db.Prepare(returnsRow)
	require.NoError(t, err)
	defer st.Close()
	c, err := r.db.Conn(background)
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.QueryRowContext(background, "SELECT 1").Scan(new(int)))
	for k, ask := range []func(ctx context.Context) (*sql.Rows, error){
		func(ctx context.Context) (*sql.Rows, error) { return st.QueryContext(ctx, 0, "v") },
		func(ctx context.Context) (*sql.Rows, error) { return c.QueryContext(ctx, returnsRow, 1, "v") },
		func(ctx context.Context) (*sql.Rows, error) {
			return r.db.QueryContext(groupcommit.NoBatch(ctx), returnsRow, 2, "v")
		},
	} {
		ctx := groupcommit.WithID(background, fmt.Sprint(k))
		first, err := readRowsAnswer(ask(ctx))
		require.NoError(t, err)
		require.Equal(t, [][]any{{int64(k), "v", false}}, first.rows)
		again, err := readRowsAnswer(ask(ctx))
		require.NoError(t, err)
		require.Equal(t, first, again)
		again, err = queryID(promising(r, r.dsn), fmt.Sprint(k), returnsRow, k, "v")
		require.NoError(t, err)
		require.Equal(t, first, again)
	}
	require.Equal(t, "3", r.value("SELECT count(*) FROM rows"))
	_, err = queryID(r.db, "x", "INSERT INTO rows (k) VALUES (9)")
	require.ErrorContains(t, err, "a query that writes without RETURNING cannot have one")
	_, err = queryID(r.db, "x", "WITH w AS (INSERT INTO rows (k) VALUES (9) RETURNING k) SELECT k FROM w")
	require.ErrorContains(t, err, "this statement cannot have one")
	require.Equal(t, "3", r.value("SELECT count(*) FROM rows"))
}

func TestManyQueriesWithOneIDShareOneExecutionAndAllGetItsRows(t *testing.T) {
	t.Parallel()
	r := ledgerRig(t)
	other := promising(r, r.dsn)
	const ids, each = 10, 16
	got := make([]rowsAnswer, ids*each)
	var all sync.WaitGroup
	for i := range got {
		all.Go(func() {
			db := r.db
			if i%3 == 0 {
				db = other
			}
			id := i % ids
			var err error
			got[i], err = queryID(db, fmt.Sprint(id), "INSERT INTO log (k) VALUES ($1) RETURNING k, clock_timestamp()", id)
			assert.NoError(t, err)
		})
	}
	bounded.Wait(t, "the queries are answered", all.Wait)
	for i, q := range got {
		require.Len(t, q.rows, 1)
		require.Equal(t, got[i%ids], q, "the time tells executions apart")
	}
	r.once(ids)
}

func TestAQueryWithAnIDFindsOutWhatBecameOfItsCommit(t *testing.T) {
	t.Parallel()
	for name, action := range map[string]proxy.Action{"it was committed": proxy.CutAfterForward, "it never arrived": proxy.Cut} {
		t.Run(name, func(t *testing.T) {
			r, p := promised(t)
			onCommit(p, action)
			got, err := queryID(r.db, "a", "INSERT INTO log (k) VALUES ($1) RETURNING k", 0)
			require.NoError(t, err)
			require.Equal(t, [][]any{{int64(0)}}, got.rows)
			r.once(1)
		})
	}
}

func TestAnOldQuerysIDMayBeUsedAgain(t *testing.T) {
	t.Parallel()
	r := ledgerRig(t)
	const text = "INSERT INTO log (k) VALUES ($1) RETURNING k"
	_, err := queryID(r.db, "a", text, 1)
	require.NoError(t, err)
	sweeping := promising(r, r.dsn, groupcommit.Retention(1))
	r.eventually("the promise is deleted", func() bool {
		_, err := groupcommit.Lookup(background, sweeping, "a")
		return errors.Is(err, durable.ErrNotFound)
	})
	_, err = queryID(sweeping, "a", text, 1)
	require.NoError(t, err)
	require.Equal(t, "2", r.value("SELECT count(*) FROM log"))
}
