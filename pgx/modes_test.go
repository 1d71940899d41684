package pgx_test

import (
	"database/sql"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestEveryExecModeOfTheDSNIsHonoured(t *testing.T) {
	t.Parallel()
	for _, exec := range []string{"cache_statement", "cache_describe", "describe_exec", "exec", "simple_protocol"} {
		for _, mode := range []string{"transaction", "autocommit"} {
			t.Run(exec+"/"+mode, func(t *testing.T) {
				dsn := pgtest.DSN(t)
				param := pgtest.Param("default_query_exec_mode", exec)
				r := setUpOn(t, dsn, []pgtest.DSNOption{param, pgtest.Param("groupcommit_mode", mode)})
				r.plain = r.open("pgx", pgtest.With(dsn, param))
				at := time.Date(2024, 2, 29, 1, 2, 3, 0, time.UTC)
				r.exec(r.plain, "CREATE TABLE kinds (n BIGINT, x FLOAT8, s TEXT, b BYTEA, t TIMESTAMPTZ, o BOOL)")
				kinds := call{"INSERT INTO kinds VALUES ($1, $2, $3, $4, $5, $6)", []any{int64(7), 1.5, "it's $1", []byte{0, 255}, at, true}}
				r.good(r.together(kinds, kinds, call{"INSERT INTO kinds (n) VALUES (8)", nil}))
				r.exec(r.plain, kinds.query, kinds.args...)
				require.Equal(r, "2", r.value("SELECT count(DISTINCT kinds) FROM kinds"))

				// Calls that cannot be pipelined and are not to share a transaction run at once, in any order.
				r.exec(r.plain, "INSERT INTO rows (k) VALUES (1), (2)")
				got := r.together(insert(0), insert(1), insert(5), insert(2), insert(3))
				r.good(got, 1, 3)
				r.sameError(insert(1), got[1].err)
				r.sameError(insert(2), got[3].err)
				r.good(r.together(inserts(10, 3)...))
			})
		}
	}
}

func TestAnOptionForTheDriverGoesPastTheGroups(t *testing.T) {
	t.Parallel()
	r := setUp(t)
	before := r.stats().Calls
	for _, c := range []call{
		{"INSERT INTO rows (k) VALUES ($1)", []any{pgx.QueryExecModeExec, 1}},
		{"INSERT INTO rows (k) VALUES (@key)", []any{pgx.NamedArgs{"key": 2}}},
		{"INSERT INTO rows (k) VALUES (@key)", []any{pgx.StrictNamedArgs{"key": 3}}},
	} {
		require.Equal(r, answer{rows: 1}, r.do(c))
		res, err := groupcommit.Go(background, r.db, strings.ReplaceAll(c.query, "(k)", "(k, v)"), c.args...).Await(background)
		require.Nil(r, res)
		require.Error(r, err) // it has two columns and one value
	}
	_, err := r.db.Exec("INSERT INTO rows (k) VALUES ($1)", sql.Out{Dest: new(int)})
	require.ErrorContains(r, err, "sql.Out")
	require.Equal(r, before, r.stats().Calls, "calls of groups")
}

func TestAutocommitIsWhatThePlainDriverDoes(t *testing.T) {
	t.Parallel()
	r := setUp(t, groupcommit.Mode(groupcommit.Autocommit))
	r.exec(r.plain, "CREATE TABLE moments (at TIMESTAMPTZ DEFAULT now(), xid BIGINT DEFAULT txid_current())")
	r.exec(r.plain, "CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_notify('moments', ''); RETURN NULL; END $$")
	r.exec(r.plain, "CREATE TRIGGER tell AFTER INSERT ON moments FOR EACH ROW EXECUTE FUNCTION tell()")
	conn, err := pgx.Connect(background, r.dsn)
	require.NoError(r, err)
	defer conn.Close(background)
	_, err = conn.Exec(background, "LISTEN moments")
	require.NoError(r, err)

	var calls []call
	for range 5 {
		calls = append(calls, call{"INSERT INTO moments DEFAULT VALUES", nil})
	}
	r.good(r.together(calls...))
	require.Equal(r, "5", r.value("SELECT count(DISTINCT xid) FROM moments"))
	require.Equal(r, "5", r.value("SELECT count(DISTINCT at) FROM moments"))
	for range 5 {
		_, err := conn.WaitForNotification(background)
		require.NoError(r, err)
	}
}

func TestWhatIsAnsweredIsOnTheDisk(t *testing.T) {
	t.Parallel()
	bothModes(t, func(t *testing.T, mode groupcommit.Option) {
		r := setUp(t, mode)
		r.exec(r.plain, "INSERT INTO rows (k) VALUES (999)")
		var flushed, written string
		r.exec(r.plain, "CREATE TABLE lsn (k BIGINT, at pg_lsn DEFAULT pg_current_wal_insert_lsn())")
		for n := range 10 {
			// The last call fails, and still the others are flushed.
			got := r.together(call{"INSERT INTO lsn (k) VALUES ($1)", []any{n}}, insert(n), insert(999))
			r.good(got, 2)
			require.NoError(r, r.plain.QueryRow("SELECT pg_current_wal_flush_lsn() >= max(at), max(at) FROM lsn").Scan(&flushed, &written))
			require.Equal(r, "true", flushed, "%s is not on the disk", written)
		}
	})
}

func TestASessionsOwnSettingsAreRestored(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"transaction", "autocommit"} {
		t.Run(mode, func(t *testing.T) {
			r := setUpOn(t, pgtest.DSN(t), []pgtest.DSNOption{pgtest.Param("synchronous_commit", "local"),
				pgtest.Param("lock_timeout", "12345"), pgtest.Param("groupcommit_mode", mode)})
			settings := call{"INSERT INTO rows (k, v) SELECT $1, current_setting('synchronous_commit') || ' ' || current_setting('lock_timeout')", []any{1}}
			r.exec(r.plain, "INSERT INTO rows (k) VALUES (0)")
			for range 2 {
				r.together(insert(0), logged(1), insert(0), insert(0), logged(2))
				r.do(settings) // alone, on the connection of the groups
				require.Equal(r, "local 12345ms", r.value("SELECT v FROM rows WHERE k = 1"))
			}
		})
	}
}

func TestStricterIsolationIsKeptAndSerialisedCallsDoNotHurtEachOther(t *testing.T) {
	t.Parallel()
	for _, level := range []string{"repeatable read", "serializable"} {
		for _, exec := range []string{"cache_statement", "simple_protocol"} {
			t.Run(level+"/"+exec, func(t *testing.T) {
				dsn := pgtest.DSN(t)
				r := setUpOn(t, dsn, []pgtest.DSNOption{pgtest.Param("default_transaction_isolation", level), pgtest.Param("default_query_exec_mode", exec)})
				r.seed(1)
				isolation := call{"INSERT INTO rows (k, v) SELECT $1, current_setting('transaction_isolation')", []any{50}}
				r.good(r.together(touch(0), isolation, touch(0), touch(0)))
				require.Equal(r, level, r.value("SELECT v FROM rows WHERE k = 50"))
				require.Equal(r, "...", r.value("SELECT v FROM rows WHERE k = 0"))
				r.good(r.together(logs(3)...))
				require.Equal(r, "3", r.value("SELECT count(DISTINCT xmin::text) FROM log"), "transactions")
			})
		}
	}
}

func TestATableMayChangeBetweenGroups(t *testing.T) {
	t.Parallel()
	for _, exec := range []string{"cache_statement", "cache_describe", "describe_exec", "exec"} {
		for _, mode := range []string{"transaction", "autocommit"} {
			t.Run(exec+"/"+mode, func(t *testing.T) {
				r := setUpOn(t, pgtest.DSN(t), []pgtest.DSNOption{pgtest.Param("default_query_exec_mode", exec), pgtest.Param("groupcommit_mode", mode)})
				r.exec(r.plain, "CREATE TABLE t (k INT, v INT)")
				of := func(k int, v any) call { return call{"INSERT INTO t (k, v) VALUES ($1, $2)", []any{k, v}} }
				r.good(r.together(of(1, 1), of(2, 2), of(3, 3)))
				for i, change := range []struct {
					typ string
					v   any
				}{{"BIGINT", int64(1) << 40}, {"TEXT", "a"}, {"TIMESTAMPTZ USING now()", time.Unix(1, 0)}, {"TEXT", "b"}} {
					r.exec(r.plain, "ALTER TABLE t ALTER COLUMN v TYPE "+change.typ)
					// One call may hear of it, as one on each connection of the plain driver's does, which forgets it then.
					for j, a := range r.together(of(10*i, change.v), of(10*i+1, change.v), of(10*i+2, change.v)) {
						if a.err != nil {
							require.Contains(r, exec, "cache", "%v", a.err)
							require.Contains(r, []string{"42804", "22P02", "22007"}, sqlState(a.err), "call %d: %v", j, a.err)
						}
					}
					r.good(r.together(of(10*i+3, change.v), of(10*i+4, change.v), of(10*i+5, change.v)))
				}
				r.exec(r.plain, "DROP TABLE t")
				got := r.together(of(1, "x"), of(2, "x"))
				require.Error(r, got[0].err)
				require.Error(r, got[1].err)
			})
		}
	}
}

func TestMoreTextsThanTheCacheHoldsMakeOneGroup(t *testing.T) {
	t.Parallel()
	for _, exec := range []string{"cache_statement", "cache_describe"} {
		t.Run(exec, func(t *testing.T) {
			r := setUpOn(t, pgtest.DSN(t), []pgtest.DSNOption{pgtest.Param("default_query_exec_mode", exec),
				pgtest.Param("statement_cache_capacity", "4"), pgtest.Param("description_cache_capacity", "4")})
			for round := range 3 {
				var calls []call
				for i := range 30 {
					calls = append(calls, call{fmt.Sprintf("INSERT INTO log (k) VALUES ($1 + %d)", i%10), []any{1000*round + 10*i}})
				}
				r.good(r.together(calls...))
			}
			r.once(90)
		})
	}
}

func TestAPreparedStatementInAGroupIsEncodedAsByThePlainDriver(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"exec", "describe_exec", "cache_describe", "cache_statement"} {
		t.Run(mode, func(t *testing.T) {
			way := []pgtest.DSNOption{pgtest.Param("default_query_exec_mode", mode)}
			dsn := pgtest.DSN(t)
			r := setUpOn(t, dsn, way)
			r.exec(r.plain, "CREATE TABLE times (at TIMESTAMP)")
			const query = "INSERT INTO times (at) VALUES ($1)"
			at := time.Date(2024, 1, 1, 2, 0, 0, 0, time.FixedZone("east", 5*3600+1800))
			theirs, err := r.open("pgx", pgtest.With(dsn, way...)).Prepare(query)
			require.NoError(t, err)
			_, err = theirs.Exec(at)
			require.NoError(t, err)
			st, err := r.db.Prepare(query)
			require.NoError(t, err)
			free := r.hold()
			var both sync.WaitGroup
			for range 2 {
				both.Go(func() {
					_, err := st.Exec(at)
					assert.NoError(t, err)
				})
			}
			r.queued(2)
			free()
			bounded.Wait(t, "both have ended", both.Wait)
			require.Equal(t, "3 1", r.value("SELECT count(*) || ' ' || count(DISTINCT at) FROM times"))
		})
	}
}
