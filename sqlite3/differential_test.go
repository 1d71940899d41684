package sqlite3_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/groupcommit/groupcommit/sqlite3"
	"github.com/stretchr/testify/require"
)

// The differential tests run random programs on the plain driver and on ours and compare everything that a program
// can see. A program is made from a seed, which is in the name of its test:
//
//	go test ./sqlite3 -run 'TestDifferential/17$' -v     one seed again
//	DIFFERENTIAL=5000 go test ./sqlite3 -run Differential  so many seeds instead of the usual ones
//	DIFFERENTIAL_FROM=9000                                 from there on
func diffSeeds(t *testing.T, usual int, run func(t *testing.T, seed uint64)) {
	number := func(name string, otherwise int) int {
		if v := os.Getenv(name); v != "" {
			n, err := strconv.Atoi(v)
			require.NoError(t, err, name)
			return n
		}
		return otherwise
	}
	from := number("DIFFERENTIAL_FROM", 0)
	for seed := from; seed < from+number("DIFFERENTIAL", usual); seed++ {
		t.Run(strconv.Itoa(seed), func(t *testing.T) { run(t, uint64(seed)) })
	}
}

func TestDifferentialAProgramCannotTell(t *testing.T) {
	diffSeeds(t, 150, func(t *testing.T, seed uint64) {
		p := newProgram(seed)
		if difference(t, p) == "" {
			return
		}
		p = shrink(p, func(p diffProgram) bool { return difference(t, p) != "" })
		var ops []string
		for _, op := range p.ops {
			ops = append(ops, op.String())
		}
		t.Fatalf("seed %d, memory %v, pinned %v:\n%s\n\n%s", seed, p.memory, p.pinned, strings.Join(ops, "\n"), difference(t, p))
	})
}

// difference says how ours differs from the plain driver; "" if it does not.
func difference(t testing.TB, p diffProgram) string {
	plain, plainFinal := runProgram(t, "sqlite3", p)
	ours, oursFinal := runProgram(t, sqlite3.DriverName, p)
	for i := range plain {
		if plain[i] != ours[i] {
			what := "the end"
			if i < len(p.ops) {
				what = p.ops[i].String()
			}
			return fmt.Sprintf("%s\nplain: %s\nours:  %s", what, plain[i], ours[i])
		}
	}
	if plainFinal != oursFinal {
		return diffLines(plainFinal, oursFinal)
	}
	return ""
}

func diffLines(plain, ours string) string {
	p, o := strings.Split(plain, "\n"), strings.Split(ours, "\n")
	for i := range min(len(p), len(o)) {
		if p[i] != o[i] {
			return fmt.Sprintf("the final database, line %d\nplain: %s\nours:  %s", i, p[i], o[i])
		}
	}
	return fmt.Sprintf("the final database\nplain: %s\nours:  %s", plain, ours)
}

// shrink leaves out ops as long as the program still fails.
func shrink(p diffProgram, fails func(diffProgram) bool) diffProgram {
	for size := len(p.ops) / 2; size > 0; size /= 2 {
		for from := 0; from+size <= len(p.ops); {
			less := p
			less.ops = slices.Delete(slices.Clone(p.ops), from, from+size)
			if fails(less) {
				p = less
			} else {
				from += size
			}
		}
	}
	return p
}

// newProgram makes a program. Programs with promises have no session of their own, because Go knows no connection.
func newProgram(seed uint64) diffProgram {
	g := &diffGen{Rand: rand.New(rand.NewPCG(seed, 1)), tag: firstTag}
	p := diffProgram{memory: g.chance(25), pinned: g.chance(40)}
	promises := !p.pinned && g.chance(50)
	open := false // a transaction of BeginTx, where nothing went wrong
	var prepared [3]string
	for range 20 + g.IntN(40) {
		g.tag++
		op := diffOp{what: "exec", tag: g.tag, slot: g.IntN(3), cancelled: !p.pinned && !open && g.chance(3)}
		switch n := g.IntN(100); {
		case n < 40:
			op.sql = g.decorated(g.dml(&op))
			op.args = g.args
			if promises && g.chance(40) {
				op.what = "go"
			}
		case n < 50:
			op.sql = g.dml(&op) + " RETURNING *"
			op.args, op.counted = g.args, false // a count that the driver takes before the statement is done
			op.what = g.one("query", "query", "first", "exec")
		case n < 58:
			op.what = "query"
			g.style, g.args = g.IntN(4), nil
			op.sql = g.selects()
			op.args = g.args
		case n < 64 && !open:
			op.what, open = "begin", true
		case n < 70 && open:
			op.what, open = g.one("commit", "commit", "rollback"), false
		case n < 76:
			op.what = "prepare"
			op.sql = g.prepared()
			prepared[op.slot] = op.sql
		case n < 84:
			op.what = g.one("stmt exec", "stmt exec", "stmt query")
			if text := prepared[op.slot]; strings.Contains(text, "SELECT") || strings.Contains(text, "RETURNING") {
				op.what = "stmt query" // after Exec, the driver's statement stays in the middle of its rows
			}
			op.args = []any{g.tag, g.key()}
			op.counted = true
			if g.chance(20) {
				op.args = append(op.args, g.any())[:g.IntN(4)]
			}
		case n < 85:
			op.what = "stmt close"
		case n < 91:
			op.sql = g.ddl()
		case n < 93:
			op.sql, op.args = g.mistake()
			op.what = g.one("exec", "query", "exec")
		case n < 95:
			op.sql = g.several()
			op.what = g.one("exec", "exec", "query")
		case !promises && n < 98:
			op.sql = g.control()
		case !promises:
			op.sql = g.session()
			op.what = g.one("exec", "query")
		default:
			continue
		}
		p.ops = append(p.ops, op)
	}
	return p
}

func (g *diffGen) selects() string {
	return g.one(
		"SELECT * FROM t ORDER BY id",
		"SELECT a, b, c AS x, d, count(*) FROM t GROUP BY a HAVING a > "+g.p(g.key()),
		"SELECT * FROM log WHERE seq > "+g.p(g.key())+" LIMIT 3",
		"SELECT a, tag FROM onfail UNION ALL SELECT a, tag FROM onreplace",
		"SELECT * FROM wr",
		"SELECT * FROM x",
		"SELECT * FROM made",
		"SELECT 1/0, abs(-9223372036854775808)",
		"VALUES (1, 'a'), (2, NULL)",
		"EXPLAIN QUERY PLAN DELETE FROM child",
		"PRAGMA foreign_key_check",
		"PRAGMA table_info(x)",
		"SELECT 1; SELECT 2",
	)
}

// prepared has two placeholders: the tag, and a key.
func (g *diffGen) prepared() string {
	tab := diffTables[g.IntN(len(diffTables)-2)]
	return g.one(
		"INSERT INTO "+tab+" (tag, a) VALUES (?, ?)",
		"INSERT OR "+g.one("FAIL", "IGNORE", "REPLACE", "ROLLBACK")+" INTO "+tab+" (tag, a) VALUES (?, ?)",
		"INSERT INTO "+tab+" (tag, a) VALUES (?1, ?2), (?1, ?2 + 1)",
		"INSERT INTO "+tab+" (tag, a) VALUES (?, ?) RETURNING *",
		"INSERT INTO raising (tag, a) VALUES (?, ?)",
		"UPDATE t SET tag = ?, b = b || '.' WHERE a <= ?",
		"INSERT INTO x (tag, a) VALUES (?, ?)",
		"INSERT INTO t (tag, a) VALUES (?, ?); DELETE FROM t",
		"DELETE FROM "+tab+" WHERE tag <> ? AND a = ?",
		"SELECT *, ? FROM t WHERE a > ?",
		"SELECT *, ? FROM x WHERE a > ?",
		"SELECT *, ? FROM x WHERE a > ?",
		"DELETE FROM x WHERE tag <> ? AND a = ?",
		"SELECT nothing FROM t",
		"INSERT INTO nothing (tag, a) VALUES (?, ?)",
		"no sense",
	)
}

func (g *diffGen) ddl() string {
	return g.one(
		"CREATE TABLE x (tag, a INTEGER PRIMARY KEY)",
		"CREATE TABLE x (tag, a INTEGER PRIMARY KEY)",
		"CREATE TABLE x (tag, b)",
		"DROP TABLE x",
		"CREATE TABLE IF NOT EXISTS x (tag, a UNIQUE, more DEFAULT 7)",
		"CREATE TABLE made AS SELECT a, b FROM t",
		"DROP TABLE x",
		"DROP TABLE IF EXISTS made",
		"ALTER TABLE x ADD COLUMN c"+strconv.Itoa(g.IntN(3)),
		"ALTER TABLE x RENAME COLUMN more TO less",
		"CREATE INDEX IF NOT EXISTS i ON t (b)",
		"CREATE UNIQUE INDEX u ON raising (a)",
		"DROP INDEX u",
		"CREATE TRIGGER IF NOT EXISTS xt AFTER INSERT ON x WHEN NEW.a = 1 BEGIN SELECT RAISE(FAIL, 'x'); INSERT INTO log (tab) VALUES ('x'); END",
		"CREATE VIEW IF NOT EXISTS v AS SELECT a FROM x",
		"VACUUM",
		"REINDEX",
	)
}

func (g *diffGen) mistake() (string, []any) {
	var op diffOp
	query := g.dml(&op)
	args := g.args
	switch g.IntN(6) {
	case 0:
		return query[:len(query)*2/3], args
	case 1:
		return query, append(args, g.any()) // one too many
	case 2:
		return query, append([]any{}, args...)[:len(args)/2]
	case 3:
		return query + " nonsense", args
	case 4:
		return "INSERT INTO t (tag, a) VALUES (?, ?)", []any{g.tag, struct{}{}}
	default:
		return g.one("INSERT INTO t (nothing) VALUES (1)", "INSERT INTO nothing VALUES (1)", "BEGN", "'", "/*", ";", "",
			"INSERT INTO t (b) VALUES (NULL)", "UPDATE t SET a = abs(-9223372036854775808)", "DELETE FROM parent WHERE a < 3",
			"INSERT INTO t (tag) VALUES (1, 2)", "DELETE FROM sqlite_schema", "INSERT INTO t (a) VALUES (RAISE(ROLLBACK, 'x'))"), nil
	}
}

// several statements in one text, where the second may fail.
func (g *diffGen) several() string {
	var op diffOp
	var parts []string
	for range 2 + g.IntN(2) {
		for {
			if q := g.dml(&op); g.style == 0 {
				parts = append(parts, q)
				break
			}
		}
	}
	return strings.Join(parts, g.one("; ", ";\n-- and\n", ";;"))
}

func (g *diffGen) control() string {
	return g.one("BEGIN", "BEGIN IMMEDIATE", "COMMIT", "END", "ROLLBACK", "SAVEPOINT s", "SAVEPOINT s", "RELEASE s", "ROLLBACK TO s",
		"BEGIN; INSERT INTO t (a) VALUES (11)", "INSERT INTO t (a) VALUES (12); COMMIT")
}

func (g *diffGen) session() string {
	return g.one("PRAGMA foreign_keys = OFF", "PRAGMA foreign_keys", "PRAGMA recursive_triggers = 1", "PRAGMA user_version = 5",
		"PRAGMA user_version", "CREATE TEMP TABLE x (tag, a)", "CREATE TEMP TABLE IF NOT EXISTS mine (tag, a)", "INSERT INTO mine VALUES (1, 2)",
		"DROP TABLE temp.x", "SELECT * FROM mine", "ATTACH ':memory:' AS m", "DETACH m", "CREATE TABLE m.x (a)", "PRAGMA query_only = 1",
		"PRAGMA query_only = 0", "PRAGMA case_sensitive_like = 1", "PRAGMA wal_checkpoint", "PRAGMA defer_foreign_keys = 1")
}
