package pgx_test

import (
	"database/sql/driver"
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/pgx"
	"github.com/stretchr/testify/require"
)

// alwaysMany has statements of 10 and 3 rows however small a group is.
func alwaysMany() groupcommit.Option { return groupcommit.WithEngine(pgx.AlwaysMany(10, 3)) }

// usedMany is how often the connections have executed statements with many rows of a text.
func (r *rig) usedMany(text string) (uses int) {
	r.Helper()
	for range 5 { // those that are there, the last used first
		c, err := r.db.Conn(background)
		require.NoError(r, err)
		defer c.Close()
		rows, err := c.QueryContext(background, "SELECT statement, generic_plans + custom_plans FROM pg_prepared_statements")
		require.NoError(r, err)
		defer rows.Close()
		for rows.Next() {
			var n int
			var statement string
			require.NoError(r, rows.Scan(&statement, &n))
			if statement != text && strings.HasPrefix(statement, text) {
				uses += n
			}
		}
		require.NoError(r, rows.Err())
		_, err = c.ExecContext(background, "SELECT 1") // and so it keeps its connection
		require.NoError(r, err)
	}
	return uses
}

func TestAGroupsInsertsAreStatementsOfManyRows(t *testing.T) {
	t.Parallel()
	r := setUp(t, alwaysMany())
	r.good(r.together(inserts(0, 26)...))
	require.Equal(t, 4, r.usedMany("INSERT INTO rows (k, v) VALUES ($1, $2)"), "10, 10, 3, 3 rows")
	require.Equal(t, "26", r.value("SELECT count(*) FROM rows"))
	r.good(r.together(append(append(inserts(100, 12), logged(1)), inserts(200, 3)...)...))
	require.Equal(t, 6, r.usedMany("INSERT INTO rows (k, v) VALUES ($1, $2)"))
}

func TestManyRowsKeepTheOrderOfCalls(t *testing.T) {
	t.Parallel()
	r := setUp(t, alwaysMany())
	r.exec(r.plain, `CREATE TABLE numbered (id BIGSERIAL PRIMARY KEY, ident BIGINT GENERATED ALWAYS AS IDENTITY (START 100), n INT DEFAULT 7, at TIMESTAMPTZ DEFAULT now(),
		u UUID DEFAULT gen_random_uuid(), twice BIGINT GENERATED ALWAYS AS (k * 2) STORED, k BIGINT)`)
	const text = "INSERT INTO numbered (k) VALUES ($1)"
	var calls []call
	for i := range 40 {
		calls = append(calls, call{text, []any{i}})
	}
	r.good(r.together(calls...))
	require.Equal(t, 13, r.usedMany(text)+9, "4 statements of 10 rows")
	require.Equal(t, "40", r.value("SELECT count(*) FROM numbered WHERE id = k + 1 AND ident = k + 100 AND n = 7 AND twice = 2 * k"))
	require.Equal(t, "1 40", r.value("SELECT count(DISTINCT at) || ' ' || count(DISTINCT u) FROM numbered"))
}

func TestTheViolationInOneOfManyRowsIsItsOwn(t *testing.T) {
	t.Parallel()
	for name, bad := range map[string]call{
		"unique":        insert(5),
		"not null":      {"INSERT INTO rows (k, v) VALUES ($1, $2)", []any{nil, "v"}},
		"check":         {"INSERT INTO rows (k, v) VALUES ($1, $2)", []any{-1, "v"}},
		"not encodable": {"INSERT INTO rows (k, v) VALUES ($1, $2)", []any{"seven", "v"}},
		"too few":       {"INSERT INTO rows (k, v) VALUES ($1, $2)", []any{7}},
		"foreign key":   {"INSERT INTO rows (k, v) VALUES ($1, $2)", []any{8, "nobody"}},
		"too long":      {"INSERT INTO rows (k, v) VALUES ($1, $2)", []any{9, strings.Repeat("x", 30)}},
		"bad text":      {"INSERT INTO rows (k, v) VALUES ($1, $2)", []any{9, "x\xff"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := setUp(t, groupcommit.WithEngine(pgx.AlwaysMany(50, 10)))
			r.exec(r.plain, "CREATE TABLE people (name VARCHAR(20) PRIMARY KEY); INSERT INTO people VALUES ('v')")
			r.exec(r.plain, "ALTER TABLE rows ADD CHECK (k >= 0), ALTER v TYPE VARCHAR(20), ADD FOREIGN KEY (v) REFERENCES people")
			r.exec(r.plain, "INSERT INTO rows VALUES (5, 'v')")
			r.good(r.together(inserts(1000, 60)...))
			require.Equal(t, 2, r.usedMany(bad.query))
			calls := inserts(100, 60)
			calls[36] = bad
			got := r.together(calls...)
			r.good(got, 36)
			r.sameError(bad, got[36].err)
			require.Equal(t, "119", r.value("SELECT count(*) FROM rows WHERE k >= 100"))
		})
	}
}

// valuer calls a function of the program's when it is encoded.
type valuer func() (driver.Value, error)

func (v valuer) Value() (driver.Value, error) { return v() }

func TestAnArgumentThatCannotBeSentCostsNoOtherRow(t *testing.T) {
	t.Parallel()
	r := setUp(t, alwaysMany())
	r.good(r.together(inserts(1000, 3)...))
	calls := inserts(0, 24)
	calls[7].args[1] = valuer(func() (driver.Value, error) { return "made", nil })
	calls[11].args[1] = valuer(func() (driver.Value, error) { panic("no value") })
	calls[12].args[1] = valuer(func() (driver.Value, error) { return nil, errors.New("no value") })
	calls[13].args[1] = valuer(func() (driver.Value, error) { runtime.Goexit(); return nil, nil })
	release := r.hold()
	var promises []*groupcommit.Promise
	for _, c := range calls {
		promises = append(promises, groupcommit.Go(background, r.db, c.query, c.args...))
	}
	release()
	for i, p := range promises {
		_, err := p.Await(background)
		switch i {
		case 11:
			require.ErrorAs(t, err, new(*groupcommit.PanicError))
		case 12:
			require.ErrorContains(t, err, "no value")
		case 13:
			require.Error(t, err)
		default:
			require.NoError(t, err, "call %d", i)
		}
	}
	require.Equal(t, "made", r.value("SELECT v FROM rows WHERE k = 7"))
	require.Equal(t, "21", r.value("SELECT count(*) FROM rows WHERE k < 1000"))
}
