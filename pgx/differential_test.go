package pgx_test

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/groupcommit/groupcommit/internal/difftest"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/groupcommit/groupcommit/internal/sqltext"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
)

// The differential tests run random programs on random schemas with the plain driver and with ours, and compare everything
// that a program can see: each answer, each error with all its fields, and the tables in the end. What docs/differences.md
// lists does not come up. Package difftest says how to run more of them.

func TestDifferentialAProgramCannotTell(t *testing.T) {
	diffModes(t, func(t *testing.T, dsn ...pgtest.DSNOption) { diffTest(t, 10, 1, 1, dsn) })
}

func TestDifferentialConcurrentCallersCannotTell(t *testing.T) {
	diffModes(t, func(t *testing.T, dsn ...pgtest.DSNOption) { diffTest(t, 4, manyCallers, 4, dsn) })
}

// diffModes tries the ways of groups, and of the driver.
func diffModes(t *testing.T, test func(t *testing.T, dsn ...pgtest.DSNOption)) {
	for _, m := range []struct{ mode, exec string }{
		{"transaction", "cache_statement"}, {"autocommit", "cache_statement"}, {"transaction", "exec"}, {"autocommit", "simple_protocol"},
	} {
		t.Run(m.mode+"/"+m.exec, func(t *testing.T) {
			test(t, pgtest.Param("groupcommit_mode", m.mode), pgtest.Param("default_query_exec_mode", m.exec))
		})
	}
}

// diffBench is where programs are run: a database of each driver. A program has one for itself.
type diffBench struct{ plain, ours *rig }

func diffTest(t *testing.T, usual, callers, tries int, dsn []pgtest.DSNOption, opts ...groupcommit.Option) {
	early := strings.Contains(pgtest.With("postgres://localhost", dsn...), "groupcommit_mode=transaction")
	benches := make(chan diffBench, runtime.GOMAXPROCS(0))
	for range cap(benches) {
		benches <- newBench(t, dsn, opts...)
	}
	difftest.Test[diffProgram]{
		Usual: usual,
		Tries: tries,
		New:   func(r *rand.Rand) diffProgram { return newProgram(r, callers, early) },
		Run: func(p diffProgram) (string, error) {
			b := <-benches
			defer func() { benches <- b }()
			return b.difference(p)
		},
		Less: diffProgram.less,
		Show: diffProgram.String,
	}.All(t)
}

// newBench opens the databases. The first of the parameters is of groups.
func newBench(t *testing.T, dsn []pgtest.DSNOption, opts ...groupcommit.Option) diffBench {
	path := pgtest.Param("search_path", "program,public")
	b := diffBench{plain: setUp(t), ours: setUpOn(t, pgtest.DSN(t), append([]pgtest.DSNOption{path}, dsn...), opts...)}
	b.plain.plain = b.plain.open("pgx", pgtest.With(b.plain.dsn, append([]pgtest.DSNOption{path}, dsn[1:]...)...))
	b.ours.plain = b.ours.open("pgx", pgtest.With(b.ours.dsn, path))
	b.plain.plain.SetMaxOpenConns(1)
	b.ours.db.SetMaxIdleConns(manyCallers)
	return b
}

// sameAnswers is for a program that a differential test has found.
//
//lint:ignore U1000 what the differential test prints calls it
func sameAnswers(t *testing.T, p diffProgram) {
	t.Helper()
	diffModes(t, func(t *testing.T, dsn ...pgtest.DSNOption) {
		differs, err := newBench(t, dsn).difference(p)
		require.NoError(t, err)
		require.Empty(t, differs)
	})
}

// difference says how ours differs from the plain driver; "" if it does not.
func (b diffBench) difference(p diffProgram) (string, error) {
	plain, plainFinal, err := b.plain.program(b.plain.plain, p)
	if err != nil {
		return "", err
	}
	ours, oursFinal, err := b.ours.program(b.ours.db, p)
	if err != nil {
		return "", err
	}
	for i := range plain {
		for j := range plain[i] {
			if plain[i][j] != ours[i][j] {
				return fmt.Sprintf("caller %d, step %d: %v\nplain: %s\nours:  %s", i, j, p.callers[i][min(j, len(p.callers[i])-1)], plain[i][j], ours[i][j]), nil
			}
		}
	}
	if plainFinal != oursFinal {
		return fmt.Sprintf("the final database\nplain: %s\nours:  %s", plainFinal, oursFinal), nil
	}
	return "", nil
}

// program runs p on db, which is the rig's plain one or its own.
func (r *rig) program(db *sql.DB, p diffProgram) (answers [][]string, final string, err error) {
	if _, err := r.plain.Exec("DROP SCHEMA IF EXISTS program CASCADE; CREATE SCHEMA program; " + strings.Join(p.schema, "; ")); err != nil {
		return nil, "", err
	}
	answers = make([][]string, len(p.callers))
	if len(p.callers) == 1 || db == r.plain {
		for i, ops := range p.callers {
			answers[i] = (&diffRunner{db: db}).all(ops)
		}
	} else {
		r.programTogether(p, answers)
	}
	final, err = dump(r.plain)
	return answers, final, err
}

// programTogether runs the callers at the same time. No group begins before all of them are there, so that one forms.
func (r *rig) programTogether(p diffProgram, answers [][]string) {
	release := r.hold()
	var done sync.WaitGroup
	var elsewhere atomic.Int64 // callers whose first step is not in the queue, or is over
	for i, ops := range p.callers {
		first := ops[0]
		text := sqltext.Classify(sqltext.Postgres, first.query)
		joins := (first.what == "exec" || first.what == "go" || first.what == "query" && text.Returning) && text.Class == sqltext.Batch
		if !joins {
			elsewhere.Add(1)
		}
		done.Go(func() {
			d := diffRunner{db: r.db}
			answers[i] = append(answers[i], d.do(first))
			if joins {
				elsewhere.Add(1)
			}
			answers[i] = append(answers[i], d.all(ops[1:])...)
		})
	}
	r.eventually("the callers are queued", func() bool { return r.stats().Queued+int(elsewhere.Load()) >= len(p.callers) })
	release()
	bounded.Wait(r, "the calls are answered", done.Wait)
}

// dump is all that is in the program's tables.
func dump(db *sql.DB) (string, error) {
	tables, err := texts(db, "SELECT relname FROM pg_class WHERE relnamespace = 'program'::regnamespace AND relkind = 'r' ORDER BY 1")
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, t := range tables {
		rows, err := texts(db, "SELECT r::text FROM "+t+" r ORDER BY 1")
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "%s:\n    %s\n", t, strings.Join(rows, "\n    "))
	}
	return b.String(), nil
}

// diffRunner is a caller on one driver.
type diffRunner struct {
	db     *sql.DB
	tx     *sql.Tx
	failed bool // something in tx
}

// all are the answers to a caller's steps.
func (r *diffRunner) all(ops []diffOp) (answers []string) {
	for _, op := range ops {
		answers = append(answers, r.do(op))
	}
	return append(answers, r.do(diffOp{what: "rollback"}))
}

// do returns the answer to op. What fails in a transaction that has failed already does so at the first of several
// steps that the connection has to take, which depends on what it did before.
func (r *diffRunner) do(op diffOp) string {
	failed := r.failed && r.tx != nil
	answer := r.answer(op)
	r.failed = r.tx != nil && (failed || strings.Contains(answer, "*"))
	if failed && r.failed && strings.Contains(answer, "*") {
		return "an error"
	}
	return answer
}

func (r *diffRunner) answer(op diffOp) string {
	var on interface {
		ExecContext(context.Context, string, ...any) (sql.Result, error)
		QueryContext(context.Context, string, ...any) (*sql.Rows, error)
		PrepareContext(context.Context, string) (*sql.Stmt, error)
	} = r.db
	if r.tx != nil {
		on = r.tx
	}
	ctx := background
	switch c := op.call; op.what {
	case "go":
		if _, err := groupcommit.StatsOf(r.db); err == nil && r.tx == nil {
			return resultText(groupcommit.Go(ctx, r.db, c.query, c.args...).Await(ctx))
		}
		return resultText(on.ExecContext(ctx, c.query, c.args...))
	case "exec", "nobatch":
		if op.what == "nobatch" {
			ctx = groupcommit.NoBatch(ctx)
		}
		return resultText(on.ExecContext(ctx, c.query, c.args...))
	case "prepared":
		st, err := on.PrepareContext(ctx, c.query)
		if err != nil {
			return errorText(err)
		}
		defer st.Close()
		return resultText(st.Exec(c.args...))
	case "query":
		return rowsText(on.QueryContext(ctx, c.query, c.args...))
	case "begin":
		if r.tx != nil {
			return ""
		}
		var err error
		r.tx, err = r.db.Begin()
		return errorText(err)
	default:
		if r.tx == nil {
			return ""
		}
		end := map[string]func() error{"commit": r.tx.Commit, "rollback": r.tx.Rollback}[op.what]
		r.tx = nil
		return errorText(end())
	}
}

func resultText(res sql.Result, err error) string {
	if err != nil {
		return errorText(err)
	}
	rows, err := res.RowsAffected()
	return fmt.Sprintf("%d rows, %s", rows, errorText(err))
}

// errorText is everything of an error that a program can act on.
func errorText(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return fmt.Sprintf("%T %v: %+v", err, err, *pg)
	}
	return fmt.Sprintf("%T %v", err, err)
}

func rowsText(rows *sql.Rows, err error) string {
	if err != nil {
		return errorText(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	text := fmt.Sprint(columns, " ", errorText(err))
	for rows.Next() {
		values := make([]sql.RawBytes, len(columns))
		dest := make([]any, len(columns))
		for i := range dest {
			dest[i] = &values[i]
		}
		err := errorText(rows.Scan(dest...))
		for i, v := range values {
			if isLong(v) {
				values[i] = []byte(digest(v))
			}
		}
		text += fmt.Sprintf("\n%s %q", err, values)
	}
	return text + "\n" + errorText(rows.Err())
}

// isLong reports that a value is compared by its digest: to quote it takes seconds under the race detector.
func isLong[T string | sql.RawBytes](v T) bool { return len(v) > 4096 }

func digest[T string | sql.RawBytes](v T) string {
	return fmt.Sprintf("%d bytes: %x", len(v), sha256.Sum256([]byte(v)))
}

// texts are the first column's values.
func texts(db *sql.DB, query string) (got []string, err error) {
	rows, err := db.Query(query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		got = append(got, s)
	}
	return got, rows.Err()
}
