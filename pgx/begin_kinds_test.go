package pgx_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"flag"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// A firstKind is a kind of first statement. Not among them is one whose argument panics in Query, or ends its goroutine:
// database/sql itself never ends such a transaction, on the plain driver either.
type firstKind struct {
	name string
	run  func(db *sql.DB, tx *sql.Tx) string
}

type failing struct{}

func (failing) Value() (driver.Value, error) { return nil, errors.New("no value") }

type longValue int

func (n longValue) Value() (driver.Value, error) { return strings.Repeat("v", int(n)), nil }

func texec(query string, args ...any) func(*sql.DB, *sql.Tx) string {
	return func(_ *sql.DB, tx *sql.Tx) string {
		res, err := tx.Exec(query, args...)
		if err != nil {
			return errorText(err)
		}
		n, err := res.RowsAffected()
		return fmt.Sprint(n, errorText(err))
	}
}

func tquery(query string, args ...any) func(*sql.DB, *sql.Tx) string {
	return func(_ *sql.DB, tx *sql.Tx) string { return rowsText(tx.Query(query, args...)) }
}

func tpart(n int, query string, args ...any) func(*sql.DB, *sql.Tx) string {
	return func(_ *sql.DB, tx *sql.Tx) (got string) {
		rows, err := tx.Query(query, args...)
		if err != nil {
			return errorText(err)
		}
		for range n {
			if !rows.Next() {
				break
			}
			var v any
			rows.Scan(&v)
			got += fmt.Sprint(v, " ")
		}
		return got + errorText(rows.Close()) + errorText(rows.Err())
	}
}

func tprep(query string, args ...any) func(*sql.DB, *sql.Tx) string {
	return func(_ *sql.DB, tx *sql.Tx) string {
		st, err := tx.Prepare(query)
		if err != nil {
			return errorText(err)
		}
		got := rowsText(st.Query(args...))
		got += rowsText(st.Query(args...))
		return got + errorText(st.Close())
	}
}

func tprepExec(query string, args ...any) func(*sql.DB, *sql.Tx) string {
	return func(_ *sql.DB, tx *sql.Tx) string {
		st, err := tx.Prepare(query)
		if err != nil {
			return errorText(err)
		}
		_, err = st.Exec(args...)
		return errorText(err)
	}
}

var insertText = "INSERT INTO rows (k, v) VALUES ($1, $2)"

var kinds = []firstKind{
	{"insert", texec(logRow, 1)},
	{"insert text", texec("INSERT INTO log VALUES (1)")},
	{"multi", texec("INSERT INTO log VALUES (1); INSERT INTO log VALUES (2)")},
	{"multi args", texec("INSERT INTO log VALUES ($1); INSERT INTO log VALUES (2)", 1)},
	{"multi query", tquery("SELECT 1; SELECT 2")},
	{"multi commit", texec("INSERT INTO log VALUES (1); COMMIT; INSERT INTO log VALUES (2)")},
	{"commit text", texec("COMMIT")},
	{"commit query", tquery("COMMIT")},
	{"rollback query", tquery("ROLLBACK")},
	{"begin query", tquery("BEGIN")},
	{"commit prepared", tprep("COMMIT")},
	{"select", tquery("SELECT g, g::text, now() IS NULL FROM generate_series(1, 3) g")},
	{"select args", tquery("SELECT $1::int, $2::text", 1, "a")},
	{"select part", tpart(1, "SELECT * FROM generate_series(1, 20000)")},
	{"select part args", tpart(1, "SELECT * FROM generate_series(1, $1::int)", 20000)},
	{"select none", tpart(0, "SELECT * FROM generate_series(1, $1::int)", 20000)},
	{"select fails later", tquery("SELECT 1/(3-g) FROM generate_series(1, $1::int) g", 9)},
	{"select no column", tquery("SELECT FROM generate_series(1, 3)")},
	{"empty exec", texec("")},
	{"empty query", tquery("")},
	{"blank exec", texec("  ")},
	{"blank query", tquery(" ; ")},
	{"comment query", tquery("-- nothing")},
	{"comment exec", texec("/* nothing */")},
	{"empty args", texec("", 1)},
	{"empty query args", tquery("", 1)},
	{"empty prepared", tprep("")},
	{"syntax", texec("SELEC 1")},
	{"syntax args", texec("SELEC $1", 1)},
	{"syntax query", tquery("SELECT 1 +")},
	{"syntax prepare", tprep("SELECT 1 +")},
	{"no table", texec("INSERT INTO nothing VALUES ($1)", 1)},
	{"too many", texec(logRow, 1, 2)},
	{"too few", texec(insertText, 1)},
	{"too many query", tquery("SELECT $1::int", 1, 2)},
	{"not encodable", texec(logRow, "x")},
	{"chan", texec(logRow, make(chan int))},
	{"valuer error", texec(logRow, failing{})},
	{"nul arg", texec(insertText, 5, "a\x00b")},
	{"nul text", texec("INSERT INTO log VALUES (1)\x00")},
	{"nul text args", texec("INSERT INTO log VALUES ($1)\x00", 1)},
	{"nul query", tquery("SELECT 1\x00")},
	{"bad utf8", texec(insertText, 5, "\xff\xfe")},
	{"bytes", texec(insertText, 5, []byte("\xff"))},
	{"1 MB", texec(insertText, 5, strings.Repeat("x", 1<<20))},
	{"1 MB bytes", tquery("SELECT length($1::bytea)", make([]byte, 1<<20))},
	{"1 MB valuer", texec(insertText, 5, longValue(1<<20))},
	{"2 MB and 4 MB back", tquery("SELECT length($1::text), repeat($1, 2)", longValue(2<<20))},
	{"1 MB text", texec("INSERT INTO rows (k, v) VALUES (5, '" + strings.Repeat("x", 1<<20) + "')")},
	{"1 MB query text", tquery("SELECT length('" + strings.Repeat("x", 1<<20) + "')")},
	{"nil", texec(insertText, 5, nil)},
	{"named", texec("INSERT INTO log VALUES (@k)", pgx.NamedArgs{"k": 3})},
	{"named missing", texec("INSERT INTO log VALUES (@k)", pgx.StrictNamedArgs{})},
	{"sql named", texec(logRow, sql.Named("k", 3))},
	{"mode simple", texec(logRow, pgx.QueryExecModeSimpleProtocol, 1)},
	{"mode exec", texec(logRow, pgx.QueryExecModeExec, 1)},
	{"mode describe", tquery("SELECT $1::int", pgx.QueryExecModeDescribeExec, 1)},
	{"mode cache describe", tquery("SELECT $1::int", pgx.QueryExecModeCacheDescribe, 1)},
	{"mode simple query", tquery("SELECT $1::int; SELECT 2", pgx.QueryExecModeSimpleProtocol, 1)},
	{"mode unknown", texec(logRow, pgx.QueryExecMode(77), 1)},
	{"mode 2nd", tquery("SELECT $1::int", 1, pgx.QueryExecModeSimpleProtocol)},
	{"formats", tquery("SELECT $1::int, 'a'::text", pgx.QueryResultFormats{0, 0}, 1)},
	{"formats bad", tquery("SELECT $1::int, 'a'::text, 3", pgx.QueryResultFormats{0, 1}, 1)},
	{"formats oid", tquery("SELECT $1::int", pgx.QueryResultFormatsByOID{23: 1}, 1)},
	{"formats exec", texec(logRow, pgx.QueryResultFormats{1}, 1)},
	{"listen", texec("LISTEN news")},
	{"notify", texec("NOTIFY news, 'x'")},
	{"notify args", tquery("SELECT pg_notify($1, 'x')", "news")},
	{"listen query", tquery("LISTEN news")},
	{"lock", texec("LOCK TABLE log IN ACCESS EXCLUSIVE MODE")},
	{"lock query", tquery("LOCK TABLE log")},
	{"set local", texec("SET LOCAL search_path = public, pg_catalog")},
	{"set local query", tquery("SET LOCAL statement_timeout = 9000")},
	{"set", texec("SET application_name = 'x'")},
	{"set tx", texec("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE")},
	{"set tx query", tquery("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")},
	{"snapshot", tquery("SELECT length(pg_export_snapshot()) > 3")},
	{"show", tquery("SHOW transaction_isolation")},
	{"savepoint", texec("SAVEPOINT s")},
	{"savepoint query", tquery("SAVEPOINT s")},
	{"rollback to", texec("ROLLBACK TO SAVEPOINT s")},
	{"prepare", tprep("SELECT $1::int, 'p'", 1)},
	{"prepare none", tprep("SELECT 7")},
	{"prepare exec", tprepExec(logRow, 4)},
	{"prepare exec none", tprepExec("INSERT INTO log VALUES (4)")},
	{"prepare too many", tprepExec(logRow, 4, 5)},
	{"prepare bad arg", tprepExec(logRow, "x")},
	{"create", texec("CREATE TABLE made (k INT)")},
	{"create query", tquery("CREATE TABLE made (k INT)")},
	{"alter", texec("ALTER TABLE rows ADD COLUMN w INT")},
	{"vacuum", texec("VACUUM log")},
	{"vacuum query", tquery("VACUUM log")},
	{"create database", tquery("CREATE DATABASE nothing_of_it")},
	{"discard all", texec("DISCARD ALL")},
	{"deallocate all", texec("DEALLOCATE ALL")},
	{"deallocate all query", tquery("DEALLOCATE ALL")},
	{"declare", texec("DECLARE c CURSOR FOR SELECT 1")},
	{"declare query", tquery("DECLARE c CURSOR FOR SELECT generate_series(1,3)")},
	{"fetch", tquery("FETCH 1 FROM c")},
	{"raise notice", texec("DO $$ BEGIN RAISE NOTICE 'hi'; END $$")},
	{"do commit", texec("DO $$ BEGIN INSERT INTO log VALUES (1); COMMIT; END $$")},
	{"do commit query", tquery("DO $$ BEGIN INSERT INTO log VALUES (1); COMMIT; END $$")},
	{"copy out", texec("COPY log TO STDOUT")},
	{"unique", texec("INSERT INTO rows VALUES (100, $1)", "v")},
	{"returning", tquery("INSERT INTO log VALUES ($1) RETURNING k, now() = transaction_timestamp()", 5)},
	{"star", tquery("SELECT * FROM rows ORDER BY k")},
	{"nothing", func(*sql.DB, *sql.Tx) string { return "" }},
	{"ctx done", func(_ *sql.DB, tx *sql.Tx) string {
		ctx, cancel := context.WithCancel(background)
		cancel()
		_, err := tx.ExecContext(ctx, logRow, 1)
		return errorText(err)
	}},
	{"panic exec", func(_ *sql.DB, tx *sql.Tx) (got string) {
		defer func() { got = fmt.Sprint(recover()) }()
		tx.Exec(logRow, panicking{})
		return ""
	}},
}

func caught(f func() string) (got string) {
	defer func() {
		if v := recover(); v != nil {
			got = fmt.Sprint("panic: ", v)
		}
	}()
	return f()
}

var names = regexp.MustCompile(`stmtcache_[0-9a-f]+|stmt_[0-9a-f]+`)

var everyMode = flag.Bool("modes", false, "try what takes long in every mode of pgx, and not only in those that differ most")

// unlikeModes are these modes of pgx, or all of them.
func unlikeModes(these ...string) []string {
	if *everyMode {
		return execModes
	}
	return these
}

func TestEveryKindOfFirstStatementAnswersAsThePlainDrivers(t *testing.T) {
	t.Parallel()
	for _, mode := range unlikeModes("cache_statement", "exec") {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			r := setUpOn(t, pgtest.DSN(t), []pgtest.DSNOption{pgtest.Param("default_query_exec_mode", mode), pgtest.Param("statement_timeout", "1500")})
			plainDSN := pgtest.With(r.dsn, pgtest.Param("default_query_exec_mode", mode), pgtest.Param("statement_timeout", "1500"))
			rounds := 2
			if !strings.HasPrefix(mode, "cache") {
				rounds = 1 // no text is ever known
			}
			for _, first := range kinds {
				if mode == "simple_protocol" && strings.HasPrefix(first.name, "copy") {
					continue
				}
				t.Run(first.name, func(t *testing.T) {
					story := func(db *sql.DB) (got []string) {
						db.SetMaxOpenConns(1)
						r.exec(r.plain, "DELETE FROM log; DELETE FROM rows; INSERT INTO rows VALUES (100, 'x')")
						for round := range rounds { // the text is new, and known
							for _, ending := range []string{"commit", "rollback"} {
								tx, err := db.BeginTx(background, &sql.TxOptions{Isolation: levels[round]})
								if err != nil {
									got = append(got, "begin "+errorText(err))
									continue
								}
								got = append(got, names.ReplaceAllString(caught(func() string { return first.run(db, tx) }), "S"))
								got = append(got, rowsText(tx.Query("SELECT $1::int, count(*) FROM log", round)))
								got = append(got, texec(insertText, 1000+10*round+len(ending), "v")(db, tx))
								if ending == "commit" {
									got = append(got, errorText(tx.Commit()))
								} else {
									got = append(got, errorText(tx.Rollback()))
								}
								got = append(got, r.value("SELECT string_agg(k::text, ',' ORDER BY k) FROM (SELECT k FROM log UNION ALL SELECT k FROM rows) x"))
								got = append(got, rowsText(db.Query("SELECT $1::text || 'after'", "x")))
								r.exec(r.plain, "DROP TABLE IF EXISTS made; ALTER TABLE rows DROP COLUMN IF EXISTS w")
							}
						}
						return got
					}
					plain := (&rig{T: t}).open("pgx", plainDSN)
					want := story(plain)
					ours := (&rig{T: t}).open("pgx-groupcommit", plainDSN)
					require.Equal(t, want, story(ours))
				})
			}
		})
	}
}
