package pgx_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
)

// The differential test runs random programs on the plain driver and on ours and compares everything that a program
// can see: answers, errors and the tables in the end. A program is made from a seed, which is in the name of its test:
//
//	go test ./pgx -run 'TestDifferential/transaction/17$'   one seed again
//	DIFFERENTIAL=5000 go test ./pgx -run Differential       so many seeds instead of the usual ones
func TestDifferentialAProgramCannotTell(t *testing.T) {
	seeds := 25
	if v := os.Getenv("DIFFERENTIAL"); v != "" {
		n, err := strconv.Atoi(v)
		require.NoError(t, err)
		seeds = n
	}
	bothModes(t, func(t *testing.T, mode groupcommit.Option) {
		ours, twin := setUp(t, mode), setUp(t)
		for _, db := range []*sql.DB{ours.plain, twin.plain} {
			for _, q := range diffSchema {
				_, err := db.Exec(q)
				require.NoError(t, err, q)
			}
		}
		for seed := range seeds {
			t.Run(strconv.Itoa(seed), func(t *testing.T) {
				program := newProgram(uint64(seed))
				p, o := diffRunner{db: twin.plain}, diffRunner{db: ours.db, hold: ours.hold, queued: ours.queued}
				for _, db := range []*sql.DB{ours.plain, twin.plain} {
					_, err := db.Exec(diffReset)
					require.NoError(t, err)
				}
				for i, op := range program {
					require.Equal(t, p.do(op), o.do(op), "op %d: %v", i, op)
				}
				require.Equal(t, p.do(diffOp{what: "rollback"}), o.do(diffOp{what: "rollback"}))
				for _, table := range []string{"things", "children", "noted"} {
					all := "SELECT r::text FROM " + table + " r ORDER BY r::text"
					require.Equal(t, texts(t, twin.plain, all), texts(t, ours.plain, all), table)
				}
			})
		}
	})
}

var diffSchema = []string{
	`CREATE TABLE parents (k BIGINT PRIMARY KEY)`,
	`CREATE TABLE things (k BIGINT PRIMARY KEY, u TEXT UNIQUE, n INT NOT NULL CHECK (n < 90), x FLOAT8, b BYTEA, j JSONB, a INT[])`,
	`CREATE TABLE children (k BIGINT REFERENCES parents, later BIGINT REFERENCES parents DEFERRABLE INITIALLY DEFERRED)`,
	`CREATE TABLE noted (k BIGINT, what TEXT)`,
	`CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF NEW.n = 13 THEN RAISE EXCEPTION 'not %', NEW.k USING ERRCODE = 'GC013', HINT = 'try 14'; END IF;
		IF NEW.n = 14 THEN RETURN NULL; END IF;
		INSERT INTO noted VALUES (NEW.k, TG_OP);
		RETURN NEW;
	END $$`,
	`CREATE TRIGGER note BEFORE INSERT OR UPDATE ON things FOR EACH ROW EXECUTE FUNCTION note()`,
}

const diffReset = "TRUNCATE parents, things, children, noted; INSERT INTO parents SELECT generate_series(0, 4)"

// diffOp is one step of a program: a statement on some way, a burst of calls that form a group, or a transaction's end.
type diffOp struct {
	what  string
	call  call
	burst []call // they do not touch each other's rows, because a call that fails loses its place in the order
}

type diffGen struct{ *rand.Rand }

func newProgram(seed uint64) (ops []diffOp) {
	g := diffGen{rand.New(rand.NewPCG(seed, 7))}
	for range 10 + g.IntN(20) {
		switch n := g.IntN(20); {
		case n < 7:
			op := diffOp{what: "burst"}
			for i := range 2 + g.IntN(12) {
				op.burst = append(op.burst, g.call(100*(i+1)))
			}
			ops = append(ops, op)
		case n < 14:
			ops = append(ops, diffOp{what: []string{"exec", "go", "prepared", "nobatch"}[g.IntN(4)], call: g.call(0)})
		case n < 16:
			c := g.call(0)
			c.query += " RETURNING *"
			ops = append(ops, diffOp{what: []string{"query", "exec"}[g.IntN(2)], call: c})
		case n < 17:
			ops = append(ops, diffOp{what: "exec", call: call{"INSERT INTO noted VALUES (1, 'a'); INSERT INTO things (k, n) VALUES (1, 1)", nil}})
		case n < 18:
			ops = append(ops, diffOp{what: "begin"})
		default:
			ops = append(ops, diffOp{what: []string{"commit", "rollback"}[g.IntN(2)]})
		}
	}
	return ops
}

// call makes a statement about the rows from base to base + 5.
func (g diffGen) call(base int) call {
	k := base + g.IntN(6)
	n := []any{g.IntN(100), 13, 14, 95, nil, "7", "seven", 1 << 40, 2.5, true}[min(g.IntN(30), 9)*g.IntN(2)]
	u := []any{nil, fmt.Sprint(base, " ", g.IntN(4)), "it's\x01 日本", 5}[g.IntN(4)]
	if base > 0 && u != nil {
		u = fmt.Sprint(base, " ", g.IntN(4))
	}
	switch g.IntN(14) {
	case 0, 1, 2:
		return call{"INSERT INTO things (k, u, n) VALUES ($1, $2, $3)", []any{k, u, n}}
	case 3:
		return call{fmt.Sprintf("INSERT INTO things (k, n) VALUES (%d, %d)", k, g.IntN(100)), nil}
	case 4:
		return call{"INSERT INTO things (k, u, n) VALUES ($1, $2, $3) ON CONFLICT (k) DO UPDATE SET n = excluded.n, u = excluded.u", []any{k, u, n}}
	case 5:
		return call{"INSERT INTO things (k, n) SELECT i, i % 100 FROM generate_series($1::bigint, $2) i ON CONFLICT DO NOTHING", []any{k, base + 5}}
	case 6:
		return call{"UPDATE things SET n = n + $2, x = $3 WHERE k BETWEEN $1 AND $1 + 2", []any{k, g.IntN(20), g.Float64()}}
	case 7:
		return call{"UPDATE things SET x = 1 / (k * 0 + $2::float8 - 3), b = $3 WHERE k = $1", []any{k, g.IntN(6), []byte{0, byte(k)}}}
	case 8:
		return call{"DELETE FROM things WHERE k = $1", []any{k}}
	case 9:
		return call{"UPDATE things SET j = $2, a = $3 WHERE k = $1", []any{k, []any{`{"a": [1]}`, `{"a`, nil, map[string]int{"a": 1}}[g.IntN(4)], []any{[]int32{1, 2}, "{3}", "3", nil}[g.IntN(4)]}}
	case 10, 11:
		return call{"INSERT INTO children (k, later) VALUES ($1, $2)", []any{g.IntN(6), g.IntN(6)}}
	case 12:
		return call{"WITH gone AS (DELETE FROM things WHERE k = $1 RETURNING k) INSERT INTO noted SELECT k, 'gone' FROM gone", []any{k}}
	}
	return []call{
		{"INSERT INTO nothing (k) VALUES ($1)", []any{k}},
		{"INSERT INTO things (k, nothing) VALUES ($1, $2)", []any{k, n}},
		{"UPDATE things SET n = $1 WHERE k = $2 AND", []any{k, n}},
		{"INSERT INTO things (k, n) VALUES ($1, $2)", []any{k}},
		{"DELETE FROM things WHERE k = 'k'", nil},
		{"INSERT INTO noted (k, what) VALUES ($1, 'a') -- ; more", []any{base}},
	}[g.IntN(6)]
}

// diffRunner runs a program on one driver.
type diffRunner struct {
	db     *sql.DB
	hold   func() func() // nil on the plain driver
	queued func(int)
	tx     *sql.Tx
	failed bool // something in tx
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
	case "burst":
		return r.burst(op.burst)
	case "go":
		if r.hold == nil || r.tx != nil {
			return resultText(on.ExecContext(ctx, c.query, c.args...))
		}
		return resultText(groupcommit.Go(ctx, r.db, c.query, c.args...).Await(ctx))
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

// burst makes the calls one after the other, or as one group. In the middle of a transaction they would wait for it.
func (r *diffRunner) burst(calls []call) string {
	if r.tx != nil {
		return ""
	}
	var answers []string
	if r.hold == nil {
		for _, c := range calls {
			answers = append(answers, resultText(r.db.Exec(c.query, c.args...)))
		}
		return strings.Join(answers, "\n")
	}
	release := r.hold()
	var promises []*groupcommit.Promise
	for _, c := range calls {
		promises = append(promises, groupcommit.Go(background, r.db, c.query, c.args...))
	}
	release()
	for _, p := range promises {
		answers = append(answers, resultText(p.Await(background)))
	}
	return strings.Join(answers, "\n")
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
		text += fmt.Sprintf("\n%s %q", errorText(rows.Scan(dest...)), values)
	}
	return text + "\n" + errorText(rows.Err())
}

// texts are the first column's values.
func texts(t *testing.T, db *sql.DB, query string) (got []string) {
	rows, err := db.Query(query)
	require.NoError(t, err)
	defer rows.Close()
	for rows.Next() {
		var s string
		require.NoError(t, rows.Scan(&s))
		got = append(got, s)
	}
	require.NoError(t, rows.Err())
	return got
}
