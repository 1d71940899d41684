package pgx_test

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/groupcommit/groupcommit/internal/sqltext"
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
	r := setUp(t, alwaysMany(), groupcommit.ManyRows(true))
	r.good(r.together(inserts(0, 26)...))
	require.Equal(t, 4, r.usedMany("INSERT INTO rows (k, v) VALUES ($1, $2)"), "10, 10, 3, 3 rows")
	require.Equal(t, "26", r.value("SELECT count(*) FROM rows"))
	r.good(r.together(append(append(inserts(100, 12), logged(1)), inserts(200, 3)...)...))
	require.Equal(t, 6, r.usedMany("INSERT INTO rows (k, v) VALUES ($1, $2)"))
}

func TestManyRowsKeepTheOrderOfCalls(t *testing.T) {
	t.Parallel()
	r := setUp(t, alwaysMany(), groupcommit.ManyRows(true))
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
			r := setUp(t, groupcommit.WithEngine(pgx.AlwaysMany(50, 10)), groupcommit.ManyRows(true))
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
	r := setUp(t, alwaysMany(), groupcommit.ManyRows(true))
	r.good(r.together(inserts(1000, 3)...))
	calls := inserts(0, 24)
	calls[7].args[1] = valuer(func() (driver.Value, error) { return "made", nil })
	calls[11].args[1] = valuer(func() (driver.Value, error) { panic("no value") })
	calls[12].args[1] = valuer(func() (driver.Value, error) { return nil, errors.New("no value") })
	calls[13].args[1] = valuer(func() (driver.Value, error) { runtime.Goexit(); return nil, nil })
	for i, p := range r.promisesOfOne(calls) {
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

func TestManyRowsCanBeTurnedOff(t *testing.T) {
	t.Parallel()
	for name, via := range map[string]pgtest.DSNOption{
		"the option":     pgtest.Param("groupcommit_manyrows", "off"),
		"nothing kept":   pgtest.Param("default_query_exec_mode", "cache_describe"),
		"a small memory": pgtest.Param("statement_cache_capacity", "4"),
	} {
		t.Run(name, func(t *testing.T) {
			r := setUpOn(t, pgtest.DSN(t), []pgtest.DSNOption{via}, alwaysMany(), groupcommit.ManyRows(true))
			r.good(r.together(inserts(0, 26)...))
			require.Zero(t, r.usedMany("INSERT INTO rows (k, v) VALUES ($1, $2)"))
		})
	}
}

func TestCallsOfManyRowsWhoseConnectionIsLostRunOnce(t *testing.T) {
	t.Parallel()
	r := setUp(t, alwaysMany(), groupcommit.ManyRows(true), groupcommit.LockTimeout(0))
	r.good(r.together(inserts(1000, 3)...))
	tx, err := r.plain.Begin()
	require.NoError(t, err)
	defer tx.Rollback()
	_, err = tx.Exec("INSERT INTO rows VALUES (7, 'mine')")
	require.NoError(t, err)
	release := r.begin(inserts(0, 21)...)
	got := make(chan []answer, 1)
	go func() { got <- release() }()
	waits := "FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'INSERT INTO rows%$3%' AND datname = current_database()"
	r.eventually("a statement of many rows waits", func() bool { return r.value("SELECT count(*) "+waits) == "1" })
	r.value("SELECT pg_terminate_backend(pid)::text " + waits)
	require.NoError(t, tx.Rollback())
	r.good(bounded.Receive(t, "the calls are answered", got))
	require.Equal(t, "21", r.value("SELECT count(*) FROM rows WHERE k < 1000"))
}

// A call that ends its own connection runs alone, and is no reason for the others to get an error, which Retry(Never) would tell.
func TestACallThatEndsItsConnectionIsNotTheEndOfThoseInManyRows(t *testing.T) {
	t.Parallel()
	for _, at := range []int{0, 12, 21} { // before, between and behind statements of many rows
		r := setUp(t, alwaysMany(), groupcommit.ManyRows(true), groupcommit.Retry(groupcommit.Never), groupcommit.Mode(groupcommit.Transaction))
		r.good(r.together(logs(3)...))
		calls := slices.Insert(logs(21), at, suicide)
		got := r.together(calls...)
		r.good(got, at)
		r.sameError(suicide, got[at].err)
		require.Equal(t, "21", r.value("SELECT count(DISTINCT k) FROM log"))
		require.Equal(t, "24", r.value("SELECT count(*) FROM log"))
	}
}

func TestCallsOfManyRowsThatWaitForALockLetTheOthersGo(t *testing.T) {
	t.Parallel()
	r := setUp(t, alwaysMany(), groupcommit.ManyRows(true))
	r.good(r.together(inserts(1000, 3)...))
	tx, err := r.plain.Begin()
	require.NoError(t, err)
	defer tx.Rollback()
	_, err = tx.Exec("INSERT INTO rows VALUES (7, 'mine')")
	require.NoError(t, err)
	release := r.begin(inserts(0, 21)...)
	got := make(chan []answer, 1)
	go func() { got <- release() }()
	r.eventually("the others are committed", func() bool { return r.value("SELECT count(*) FROM rows WHERE k < 1000") == "20" })
	require.NoError(t, tx.Commit())
	answers := bounded.Receive(t, "the calls are answered", got)
	r.good(answers, 7)
	require.Equal(t, "23505", sqlState(answers[7].err))
}

// The server resolves literals and parameters of a row by the table's columns, in each row of a statement with many, too.
func TestValuesOfManyRowsAreCoercedAsThoseOfOne(t *testing.T) {
	t.Parallel()
	r := setUp(t, alwaysMany(), groupcommit.ManyRows(true))
	const columns = "a SMALLINT, b NUMERIC(5,2), c VARCHAR(3), d CHAR(4), e TIMESTAMPTZ, f FLOAT4, g BOOL, h BYTEA, i JSONB, j INT[], k mood, l BIT(3), m OID, o XML, p MONEY, q INET, r \"char\", s NAME, u DATE"
	r.exec(r.plain, "CREATE TYPE mood AS ENUM ('fine', 'so-so'); CREATE TABLE kinds (id SERIAL, "+columns+"); CREATE TABLE single (LIKE kinds INCLUDING ALL)")
	names := "a, b, c, d, e, f, g, h, i, j, k, l, m, o, p, q, r, s, u"
	literals := []string{"'7'", "1.005", "'abc  '", "'x'", "'2020-02-29 12:00+02'", "'1e10'", "'t'", `'\x01'`, `'{"a": 1}'`, "'{1,2}'", "'fine'", "'101'", "'7'", "'<a/>'", "'1.5'", "'10.0.0.1'", "'ab'", "'name'", "'epoch'"}
	literals[7] = "NULL"
	for i := range literals {
		values := append([]string(nil), literals...)
		values[i] = "$1" // one column after the other is the parameter, and the others are literals
		arg := strings.Trim(literals[i], "'")
		if i == 1 {
			arg = "1.0049"
		}
		var arg1 any = arg
		switch i {
		case 7:
			arg1 = []byte{1, 2}
		case 9:
			arg1 = "{3,4}"
		}
		text := "(" + names + ") VALUES (" + strings.Join(values, ", ") + ")"
		require.NotNil(t, sqltext.PlainInsertOf("INSERT INTO kinds "+text))
		var calls []call
		var want []string
		for range 13 {
			calls = append(calls, call{"INSERT INTO kinds " + text, []any{arg1}})
		}
		_, err := r.plain.Exec("INSERT INTO single "+text, arg1)
		want = append(want, fmt.Sprint(err))
		for _, a := range r.together(calls...) {
			require.Equal(t, strings.ReplaceAll(want[0], "single", "kinds"), fmt.Sprint(a.err))
		}
		if err == nil {
			require.Equal(t, 2, r.usedMany("INSERT INTO kinds "+strings.Split(text, "$1")[0]), "%s", text)
		}
	}
	const rows = "SELECT string_agg(DISTINCT row(" + "a, b, c, d, e, f, g, h, i, j, k, l, m, o::text, p, q, r, s, u" + ")::text, ';') FROM "
	require.Equal(t, r.value(rows+"single"), r.value(rows+"kinds"))
	require.Equal(t, r.value("SELECT 13 * count(*) FROM single"), r.value("SELECT count(*) FROM kinds"))
}
