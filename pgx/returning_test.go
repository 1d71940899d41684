package pgx_test

import (
	"database/sql"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/groupcommit/groupcommit/internal/difftest"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/groupcommit/groupcommit/internal/sqltext"
	"github.com/stretchr/testify/require"
)

// A step is one call of a program, on either driver. It returns all that a program can see of the answer.
type step struct {
	text string
	run  func(db *sql.DB) string
}

func query(text string, args ...any) step {
	return step{text, func(db *sql.DB) string { return wholeRows(false)(db.Query(text, args...)) }}
}

// first reads one row and closes the others.
func first(text string, args ...any) step {
	return step{text, func(db *sql.DB) string { return wholeRows(true)(db.Query(text, args...)) }}
}

func execute(text string, args ...any) step {
	return step{text, func(db *sql.DB) string { return resultText(db.Exec(text, args...)) }}
}

// prepared is a statement that was prepared on either driver before its step.
func (r *rig) prepared(text string, args ...any) step {
	r.Helper()
	statements := make(map[*sql.DB]*sql.Stmt)
	for _, db := range []*sql.DB{r.plain, r.db} {
		st, err := db.Prepare(text)
		require.NoError(r, err, text)
		r.Cleanup(func() { st.Close() })
		statements[db] = st
	}
	return step{text, func(db *sql.DB) string { return wholeRows(false)(statements[db].Query(args...)) }}
}

// wholeRows is the rows of a query, or the first of them, with all that is known of the columns.
func wholeRows(first bool) func(*sql.Rows, error) string {
	text := difftest.Rows(first, errorText, func(v any) string {
		if s, ok := v.(string); ok && isLong(s) {
			return fmt.Sprintf("string(%s)", digest(s))
		}
		return fmt.Sprintf("%T(%#v)", v, v)
	})
	return func(rows *sql.Rows, err error) string {
		if err != nil {
			return "from Query: " + errorText(err)
		}
		return text(rows, nil)
	}
}

// fails reports that an answer has an error.
func fails(answer string) bool {
	return strings.HasPrefix(answer, "*") || strings.HasPrefix(answer, "from Query") || strings.Contains(answer, "\n    *")
}

// begun queues steps, in their order, behind a group that is held, and returns what waits for their answers.
func (r *rig) begun(steps ...step) (wait func() []string) {
	r.Helper()
	answers := make([]string, len(steps))
	var done sync.WaitGroup
	var apart atomic.Int64 // steps that go another way
	for i, s := range steps {
		done.Go(func() { answers[i] = s.run(r.db); apart.Add(1) })
		r.eventually("the call is queued", func() bool { return r.stats().Queued+int(apart.Load()) == i+1 })
	}
	return func() []string {
		bounded.Wait(r, "the calls are answered", done.Wait)
		return answers
	}
}

// asOne runs steps as one group, in their order, and returns their answers and the texts of the group's members.
func (r *rig) asOne(steps ...step) (answers []string, members []string) {
	r.Helper()
	release := r.hold()
	r.mu.Lock()
	before := len(r.told)
	r.mu.Unlock()
	wait := r.begun(steps...)
	release()
	answers = wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	return answers, slices.Clone(r.told[before:])
}

// asPlain runs steps one after the other on the plain driver, and as one group on ours, from the same beginning, and requires the
// same answers and tables. It returns the answers, and the members.
func (r *rig) asPlain(tables []string, steps ...step) (answers, members []string) {
	r.Helper()
	restart := func() {
		for _, t := range slices.Backward(tables) { // a child comes behind its parent
			r.exec(r.plain, "DELETE FROM "+t)
		}
		if slices.Contains(tables, "seeds") {
			r.exec(r.plain, "INSERT INTO seeds SELECT n, 'a' FROM generate_series(1, 3) n")
		}
	}
	dump := func() (all []string) {
		for _, t := range tables {
			rows, err := texts(r.plain, "SELECT t::text FROM "+t+" t ORDER BY 1")
			require.NoError(r, err)
			all = append(append(all, t), rows...)
		}
		return all
	}
	restart()
	var want []string
	for _, s := range steps {
		want = append(want, s.run(r.plain))
	}
	plain := dump()
	restart()
	got, members := r.asOne(steps...)
	for i, s := range steps {
		require.Equal(r, want[i], got[i], "step %d: %s", i, s.text)
	}
	require.Equal(r, plain, dump())
	return want, members
}

func neighbour(n int) step { return execute("INSERT INTO log (k) VALUES ($1)", n) }

// inExecModes tries the ways of groups and of the driver that decide how rows are asked for. With more than most
// failing steps there are no members.
func inExecModes(t *testing.T, test func(r *rig, most int)) {
	for _, exec := range []string{"cache_statement", "cache_describe", "describe_exec", "exec", "simple_protocol"} {
		for _, mode := range []string{"transaction", "autocommit"} {
			t.Run(exec+"/"+mode, func(t *testing.T) {
				t.Parallel()
				dsn, param := pgtest.DSN(t), pgtest.Param("default_query_exec_mode", exec)
				digits := pgtest.Param("extra_float_digits", "0") // a number is another as text than in binary
				r := setUpOn(t, dsn, []pgtest.DSNOption{param, digits, pgtest.Param("groupcommit_mode", mode)}, learnsNothing())
				r.plain = r.open("pgx", pgtest.With(dsn, param, digits))
				most := math.MaxInt
				if exec == "simple_protocol" {
					most = map[string]int{"transaction": 1, "autocommit": -1}[mode]
				}
				r.pipelines = mode == "autocommit"
				test(r, most)
			})
		}
	}
}

var returningSchema = []string{
	"CREATE TABLE t (id INT PRIMARY KEY, a TEXT, b INT UNIQUE)",
	"CREATE TABLE child (id INT PRIMARY KEY, parent INT REFERENCES t DEFERRABLE INITIALLY DEFERRED)",
	"CREATE TABLE now (id INT PRIMARY KEY, parent INT REFERENCES t)",
	"CREATE VIEW seen AS SELECT * FROM t",
	"CREATE TABLE seeds AS SELECT n AS id, 'a' AS a FROM generate_series(1, 3) n",
	"CREATE RULE nothing AS ON INSERT TO seen DO INSTEAD NOTHING",
}

// Each line of the table of what a query with RETURNING does on the plain driver, beside neighbours.
func TestAQueryInAGroupAnswersAsOnThePlainDriver(t *testing.T) {
	t.Parallel()
	inExecModes(t, func(r *rig, most int) {
		for _, s := range returningSchema {
			r.exec(r.plain, s)
		}
		for name, steps := range map[string][]step{
			"one row":                {query("INSERT INTO t (id, a) VALUES ($1, 'x') RETURNING id, a", 1)},
			"three rows":             {query("INSERT INTO t (id, a) VALUES ($1, 'x'), (2, 'y'), (3, NULL) RETURNING id, a", 1)},
			"three rows, one read":   {first("INSERT INTO t (id, a) VALUES ($1, 'x'), (2, 'y'), (3, 'z') RETURNING id, a", 1)},
			"no arguments":           {query("INSERT INTO t (id, a) VALUES (1, 'x') RETURNING *")},
			"no arguments, formats":  {query("INSERT INTO t (id) VALUES (1) RETURNING 1::float8 / 3, now() = now(), '2024-02-29'::date"), r.prepared("INSERT INTO t (id) VALUES (2) RETURNING 2::float8 / 3")},
			"no row":                 {query("UPDATE t SET a = $1 WHERE id = 77 RETURNING id", "x"), first("DELETE FROM t WHERE id = $1 RETURNING *", 77)},
			"update and delete":      {query("INSERT INTO t (id, a) VALUES (1, $1) RETURNING id", "x"), query("UPDATE seeds SET a = $1 WHERE id = 1 RETURNING a, id", "y"), query("DELETE FROM seeds WHERE id > $1 RETURNING *", 1)},
			"upsert":                 {query("INSERT INTO t (id, b) VALUES ($1, 1) ON CONFLICT (b) DO UPDATE SET a = 'up' RETURNING id, a", 9), query("INSERT INTO t (id, b) VALUES ($1, 2), (11, 2) ON CONFLICT (b) DO NOTHING RETURNING id, a", 10), query("INSERT INTO t (id, b) VALUES ($1, 3), (13, 3) ON CONFLICT (b) DO UPDATE SET a = 'twice' RETURNING id, a", 12)},
			"with":                   {query("WITH n (v) AS (VALUES ($1::int), (2)) INSERT INTO t (id, b) SELECT v, v FROM n RETURNING b", 1)},
			"constraint":             {query("INSERT INTO t (id, b) VALUES (1, $1), (2, 2), (3, 1) RETURNING id", 1), query("INSERT INTO t (id, b) VALUES (7, $1) RETURNING id", 7)},
			"foreign key":            {query("INSERT INTO now (id, parent) VALUES (1, $1) RETURNING id", 9)},
			"deferred key":           {query("INSERT INTO child (id, parent) VALUES (1, $1) RETURNING id, parent", 9)},
			"deferred key, no row":   {query("WITH w AS (INSERT INTO child (id, parent) VALUES (1, $1)) UPDATE t SET a = 'x' WHERE id = 77 RETURNING id", 9)},
			"deferred key, one read": {first("INSERT INTO child (id, parent) VALUES (1, $1), (2, 8) RETURNING id, parent", 9)},
			"failing expression":     {query("INSERT INTO t (id, b) VALUES (1, 1), (2, 2), (3, 3) RETURNING 1 / (b - $1)", 2)},
			"failing, no arguments":  {query("INSERT INTO t (id, b) VALUES (1, 1), (2, 2), (3, 3) RETURNING 1 / (b - 2)")},
			"no such column":         {query("INSERT INTO t (id) VALUES ($1) RETURNING nothing", 2), query("INSERT INTO nothing (id) VALUES ($1) RETURNING id", 2)},
			"too few arguments":      {query("INSERT INTO t (id, b) VALUES ($1, $2) RETURNING *", 2)},
			"too many arguments":     {query("INSERT INTO t (id) VALUES ($1) RETURNING *", 2, 3), query("INSERT INTO t (id) VALUES (1) RETURNING *", 3)},
			"a wrong argument":       {query("INSERT INTO t (id) VALUES ($1) RETURNING *", "two"), query("INSERT INTO t (id) VALUES ($1) RETURNING *", []int{1})},
			"two statements":         {query("INSERT INTO t (id) VALUES (1) RETURNING id /* ; */ -- the end")},
			"instead of rows":        {query("INSERT INTO seen (id) VALUES ($1) RETURNING id", 1)},
			"names twice":            {query("INSERT INTO t (id) VALUES ($1) RETURNING id, id, id + 1, id AS \"a \"\" name\"", 1)},
			"by Exec":                {execute("INSERT INTO t (id, a) VALUES ($1, 'x') RETURNING id", 1), execute("INSERT INTO t (id, a) VALUES (2, 'x') RETURNING *")},
			"prepared":               {r.prepared("INSERT INTO t (id, a) VALUES ($1, 'x') RETURNING id, a", 1), r.prepared("INSERT INTO t (id) VALUES (2) RETURNING *"), r.prepared("INSERT INTO t (id, b) VALUES ($1, 1) RETURNING *"), r.prepared("INSERT INTO t (id, b) VALUES ($1, 1) RETURNING id", "three")},
		} {
			steps = append(append([]step{neighbour(1)}, steps...), neighbour(2), query("INSERT INTO log (k) VALUES ($1) RETURNING k", 3))
			answers, members := r.asPlain([]string{"log", "t", "child", "now", "seeds"}, steps...)
			failed := 0
			for _, answer := range answers {
				if fails(answer) {
					failed++
				}
			}
			for i, s := range steps {
				if r.pipelines && sqltext.MostRows(s.text) != 1 && strings.Contains(s.text, "RETURNING") { // some more are members, too
					continue
				}
				if failed <= most && !fails(answers[i]) {
					require.Contains(r, members, s.text, name)
				}
			}
		}
	})
}

// Rows that go to their caller as they come cannot be had again. An Exec of the same text is tried again.
func TestAQueryThatRunsByItselfHasATransientErrorOfItsOwn(t *testing.T) {
	t.Parallel()
	r := setUp(t)
	r.exec(r.plain, "CREATE SEQUENCE tries")
	r.exec(r.plain, `CREATE FUNCTION unsure(k BIGINT) RETURNS BIGINT LANGUAGE plpgsql AS $$
		BEGIN IF nextval('tries') < 4 THEN RAISE EXCEPTION 'unsure' USING ERRCODE = '40001'; END IF; RETURN k; END $$`)
	const text = "INSERT INTO log (k) VALUES (unsure($1)) RETURNING k"
	for _, run := range []func(step) string{
		func(s step) string { return s.run(r.db) },
		func(s step) string { answers, _ := r.asOne(neighbour(1), s, neighbour(2)); return answers[1] },
	} {
		r.exec(r.plain, "ALTER SEQUENCE tries RESTART")
		want := query(text, 7).run(r.plain)
		require.Contains(t, want, "40001")
		r.exec(r.plain, "ALTER SEQUENCE tries RESTART")
		require.Equal(t, want, run(query(text, 7)))
		r.exec(r.plain, "ALTER SEQUENCE tries RESTART")
		require.Equal(t, "1 rows, <nil> <nil>", run(execute(text, 7)))
	}
}
