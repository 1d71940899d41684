package pgx_test

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"
)

// A group's description of a text is out of date when the table has other columns. No caller gets an error for that, but what the plain
// driver gives on a connection whose own description is out of date.
func TestAQueryInAGroupHasTheColumnsOfTheLatestSchema(t *testing.T) {
	t.Parallel()
	for _, exec := range []string{"cache_statement", "cache_describe", "describe_exec", "exec"} {
		t.Run(exec, func(t *testing.T) {
			t.Parallel()
			dsn, param := pgtest.DSN(t), pgtest.Param("default_query_exec_mode", exec)
			r := setUpOn(t, dsn, []pgtest.DSNOption{param})
			r.exec(r.plain, "CREATE TABLE t (id INT, a INT DEFAULT 7)")
			const insert = "INSERT INTO t (id) VALUES ($1) RETURNING *"
			for _, change := range []struct{ alter, want string }{
				{"SELECT", "[id a]:INT4,INT4"},
				{"ALTER TABLE t ADD COLUMN b TEXT", "[id a b]:INT4,INT4,TEXT"},
				{"ALTER TABLE t RENAME COLUMN a TO c", "[id c b]:INT4,INT4,TEXT"},
				{"ALTER TABLE t ALTER COLUMN c TYPE NUMERIC", "[id c b]:INT4,NUMERIC,TEXT"},
				{"ALTER TABLE t DROP COLUMN b", "[id c]:INT4,NUMERIC"},
				{"ALTER TABLE t ALTER COLUMN c DROP DEFAULT; ALTER TABLE t ALTER COLUMN c TYPE DATE USING '2024-02-29'", "[id c]:INT4,DATE"},
			} {
				r.exec(r.plain, strings.ReplaceAll(change.alter, "ADD COLUMN b TEXT", "ADD COLUMN b TEXT; ALTER TABLE t ALTER COLUMN a SET DEFAULT 8"))
				got := step{insert, func(db *sql.DB) string {
					rows, err := db.Query(insert, 1)
					if err != nil {
						return err.Error()
					}
					defer rows.Close()
					names, _ := rows.Columns()
					types, _ := rows.ColumnTypes()
					var all []string
					for _, c := range types {
						all = append(all, c.DatabaseTypeName())
					}
					for rows.Next() {
					}
					if rows.Err() != nil {
						return rows.Err().Error()
					}
					return fmt.Sprint(names) + ":" + strings.Join(all, ",")
				}}
				var answers []string
				for range 3 {
					answers, _ = r.asOne(neighbour(1), got, got, neighbour(2))
					for _, a := range answers[1:3] {
						if !strings.Contains(a, "0A000") && !strings.Contains(a, "08P01") { // the plain driver's own, once a connection that has the text
							require.Equal(t, change.want, a, "after %s", change.alter)
						}
					}
				}
				require.Equal(t, []string{change.want, change.want}, answers[1:3], "after %s", change.alter)
			}
		})
	}
}

func TestAContextCountsUntilAGroupHasTheQuery(t *testing.T) {
	t.Parallel()
	r := setUp(t)
	ctx, stop := context.WithCancel(background)
	release := r.hold()
	gone := make(chan error, 1)
	go func() {
		_, err := r.db.QueryContext(ctx, "INSERT INTO rows (k) VALUES (1) RETURNING k")
		gone <- err
	}()
	r.queued(1)
	var done sync.WaitGroup
	for i := range 2 {
		done.Go(func() { r.exec(r.db, "INSERT INTO log (k) VALUES ($1)", i) })
		r.queued(i + 2)
	}
	stop()
	require.ErrorIs(t, bounded.Receive(t, "the query is given up", gone), context.Canceled)
	release()
	bounded.Wait(t, "the others are answered", done.Wait)
	require.Equal(t, "0", r.value("SELECT count(*) FROM rows"), "its context had ended before a group had it")
	r.once(2)
}

// The rows are a program's own: they hold no connection, and what is done with their bytes and names concerns nobody else.
func TestRowsOfAQueryInAGroupAreItsCallersOwn(t *testing.T) {
	t.Parallel()
	r := setUp(t)
	r.exec(r.plain, "CREATE TABLE t (id INT, a TEXT, b BYTEA, c TEXT)")
	read := make([]string, 3)
	var steps []step
	for i := range read {
		steps = append(steps, step{"", func(db *sql.DB) string {
			rows, err := db.Query("INSERT INTO t VALUES ($1, $2, $3, NULL), ($1 + 1, 'second', 'x', NULL) RETURNING a, b, c", i*10, fmt.Sprint("value ", i), []byte{byte(i), 255})
			if err != nil {
				return err.Error()
			}
			defer rows.Close()
			names, err := rows.Columns()
			if fmt.Sprint(names) != "[a b c]" {
				return fmt.Sprint(names, err)
			}
			clear(names)
			for rows.Next() {
				var a, b, c sql.RawBytes
				if err := rows.Scan(&a, &b, &c); err != nil {
					return err.Error()
				}
				read[i] += fmt.Sprintf("%q %q %v; ", a, b, c == nil)
				clear(a)
				clear(b)
			}
			return fmt.Sprint(rows.Err())
		}})
	}
	answers, _ := r.asOne(steps...)
	require.Equal(t, []string{"<nil>", "<nil>", "<nil>"}, answers)
	for i := range read {
		require.Equal(t, fmt.Sprintf(`"value %d" %q true; "second" "x" true; `, i, []byte{byte(i), 255}), read[i])
	}
}

func insertReturning(k int) step { return query("INSERT INTO log (k) VALUES ($1) RETURNING k", k) }

func TestALoneQueryTakesThePlainDriversRoundTrips(t *testing.T) {
	t.Parallel()
	r, trips := counted(t, nil)
	config, plainTrips := countedConfig(t, r.dsn)
	plain := stdlib.OpenDB(*config)
	defer plain.Close()
	ours, theirs := 0, 0
	for i := range 4 {
		ours = trips.of(func() { insertReturning(i).run(r.db) })
		theirs = plainTrips.of(func() { insertReturning(i).run(plain) })
	}
	require.Equal(t, 1, theirs)
	require.Equal(t, theirs, ours)
	require.Equal(t, r.stats().Calls, r.stats().Alone)
}

// COMMIT is held back where a text does not bound its rows.
func TestAGroupWithQueriesTakesOneRoundTripIfItsTextsBoundTheRows(t *testing.T) {
	t.Parallel()
	for exec, forNew := range map[string]int{"cache_statement": 1, "cache_describe": 1, "describe_exec": 1, "exec": 0} {
		t.Run(exec, func(t *testing.T) {
			t.Parallel()
			r, trips := counted(t, []pgtest.DSNOption{pgtest.Param("default_query_exec_mode", exec)}, groupcommit.Mode(groupcommit.Transaction), groupcommit.Writers(1))
			r.good(r.together(logs(2)...)) // the connection is there
			again := 0
			if exec == "describe_exec" {
				again = 1
			}
			of := func(n int, text string) int {
				release := r.hold()
				var steps []step
				for i := range n {
					steps = append(steps, query(text, i))
				}
				wait := r.begun(steps...)
				return trips.of(func() { release(); wait() })
			}
			batch := 1 // more than one row is bounded if the columns are known
			if exec == "exec" {
				batch = 2
			}
			for text, trips := range map[string]int{
				"INSERT INTO log (k) VALUES ($1) RETURNING k":          1,
				"INSERT INTO log (k) VALUES ($1) RETURNING k, k::text": 1,
				"INSERT INTO log (k) VALUES ($1), (7) RETURNING k":     batch,
				"INSERT INTO log (k) VALUES ($1), (7) RETURNING 'x'":   2,
				"UPDATE log SET k = k WHERE k = $1 RETURNING k":        2,
			} {
				require.Equal(t, trips+forNew, of(2, text), "the text is new: %s", text)
				for range 3 {
					require.Equal(t, trips+again, of(20, text), text)
				}
			}
		})
	}
}

// Callers at the same time, with good and bad calls: each gets its own row or its own error, and what is answered is there once.
func TestManyCallersOfQueriesEachGetTheirOwn(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"transaction", "autocommit"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			r := setUpOn(t, pgtest.DSN(t), []pgtest.DSNOption{pgtest.Param("groupcommit_mode", mode)}, sideBySide)
			for _, s := range returningSchema {
				r.exec(r.plain, s)
			}
			r.exec(r.plain, "INSERT INTO t (id, b) VALUES (-1, -1)")
			const callers, each = 32, 12
			var done sync.WaitGroup
			for caller := range callers {
				done.Go(func() {
					for i := range each {
						id := caller*1000 + i
						var got int
						var err error
						var text string
						switch (caller + i) % 6 {
						case 0:
							err = r.db.QueryRow("INSERT INTO t (id, b) VALUES ($1, -1) RETURNING id", id).Scan(&got)
							if sqlState(err) != "23505" {
								t.Errorf("unique: %v", err)
							}
							continue
						case 1:
							err = r.db.QueryRow("INSERT INTO t (id) VALUES ($1) RETURNING 1 / (id - id)", id).Scan(&got)
							if sqlState(err) != "22012" {
								t.Errorf("division: %v", err)
							}
							continue
						case 2:
							rows, err := r.db.Query("INSERT INTO child (id, parent) VALUES ($1, $2) RETURNING id", id, 123456)
							if err != nil {
								t.Errorf("deferred: %v", err)
								continue
							}
							n := 0
							for rows.Next() {
								n++
							}
							if sqlState(rows.Err()) != "23503" || n != 1 {
								t.Errorf("deferred: %d rows, %v", n, rows.Err())
							}
							continue
						case 3:
							_, err = r.db.Exec("INSERT INTO t (id, a) VALUES ($1, 'exec')", id)
							got = id
						default:
							err = r.db.QueryRow("INSERT INTO t (id, a) VALUES ($1, $2) RETURNING id, a", id, fmt.Sprint("of ", id)).Scan(&got, &text)
							if text != fmt.Sprint("of ", id) {
								t.Errorf("%d got %q", id, text)
							}
						}
						if err != nil || got != id {
							t.Errorf("%d got %d, %v", id, got, err)
						}
					}
				})
			}
			bounded.Wait(t, "all are answered", done.Wait)
			good := 0
			for caller := range callers {
				for i := range each {
					if (caller+i)%6 > 2 {
						good++
					}
				}
			}
			require.Equal(t, fmt.Sprint(good+1), r.value("SELECT count(*) FROM t"))
			require.Equal(t, "0", r.value("SELECT count(*) FROM child"))
		})
	}
}

// A connection may be lost at every message of a group with queries. What is answered with rows is there once; what is answered with
// another error than OutcomeUnknownError, or that the rows were lost, is not there.
func TestALossOfTheConnectionAtAnyMessageOfAGroupWithQueriesIsAnsweredTruly(t *testing.T) {
	t.Parallel()
	for name, mode := range map[string]groupcommit.GroupMode{"transaction": groupcommit.Transaction, "autocommit": groupcommit.Autocommit} {
		for _, side := range []string{"client", "server"} {
			t.Run(name+"/"+side, func(t *testing.T) {
				t.Parallel()
				r, p := proxied(t, groupcommit.Mode(mode), groupcommit.Writers(1))
				next := 0
				lost := r.atEveryMessage(func(at int) bool {
					text := "INSERT INTO log (k) VALUES ($1) RETURNING k"
					if at%3 == 2 { // a new text
						text += fmt.Sprintf(" /* %s %s %d */", name, side, at)
					}
					var steps []step
					errs := make([]error, 4)
					for i := range errs {
						steps = append(steps, step{text, func(db *sql.DB) string {
							k := 0
							if i == 1 {
								_, errs[i] = db.Exec("INSERT INTO log (k) VALUES ($1)", next+i)
							} else if errs[i] = db.QueryRow(text, next+i).Scan(&k); errs[i] == nil {
								require.Equal(t, next+i, k)
							}
							return ""
						}})
					}
					release := r.hold()
					wait := r.begun(steps...)
					cut := cutMessage(p, side, at)
					release()
					wait()
					p.OnClient(nil)
					p.OnServer(nil)
					var calls []named
					var got []outcome
					for i, err := range errs {
						calls, got = append(calls, named{"", logged(next + i)}), append(got, outcome{err: err})
					}
					r.true(calls, got)
					next += len(errs)
					return cut.Load()
				})
				require.Greater(t, lost, 10)
				require.Equal(t, "0", r.value("SELECT count(*) - count(DISTINCT k) FROM log"), "nothing is there twice")
			})
		}
	}
}
