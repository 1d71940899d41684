package sqlite3_test

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/groupcommit/groupcommit/internal/difftest"
)

// diffProgram is what callers do with a database at the same time, each on rows of its own: so it does not matter to any
// of them what the others have done already.
type diffProgram struct {
	memory  bool   // instead of a file
	params  string // of the data source name
	hooked  bool   // the driver is the program's, with a function of its own
	pinned  bool   // on one sql.Conn
	schema  []string
	callers [][]diffOp
}

// diffOp is one step of a caller.
type diffOp struct {
	what string // exec, query, first (row), go, begin, commit, rollback, prepare, stmt exec, stmt query, stmt close
	slot int    // of a prepared statement
	sql  string
	args []any
	tag  int64

	cancelled bool
	counted   bool // RowsAffected is defined
	inserts   bool // LastInsertId is defined if rows were affected
}

// ownRows is the number of callers of a concurrent program.
const ownRows = 24

func newProgram(r *rand.Rand, callers int) diffProgram {
	g := &diffGen{Rand: r, tag: firstTag, several: callers > 1}
	p := diffProgram{hooked: g.chance(30), params: "_sync=OFF&_busy_timeout=60000"}
	g.hooked = p.hooked
	p.params += g.one("&_fk=1", "&_fk=1", "&_fk=0") + "&_journal=" + g.one("WAL", "WAL", "DELETE", "TRUNCATE", "PERSIST", "MEMORY") + g.one("", "", "&_recursive_triggers=1")
	var owners []int
	if callers == 1 {
		p.memory, p.pinned = g.chance(15), g.chance(40)
		owners = []int{0}
	} else {
		for i := range callers {
			owners = append(owners, i+1)
		}
	}
	p.schema = g.schema(owners, false)
	for _, g.owner = range owners {
		if callers == 1 {
			p.callers = append(p.callers, g.alone(p.pinned))
		} else {
			p.callers = append(p.callers, g.caller())
		}
	}
	p.params = g.sometimesFULL(50, p.params)
	return p
}

// caller is one of several. It begins with a statement that joins a group.
func (g *diffGen) caller() (ops []diffOp) {
	var prepared string
	for n := 2 + g.IntN(4); len(ops) < n; {
		g.tag++
		op := diffOp{what: g.one("exec", "exec", "go"), tag: g.tag}
		switch n := g.IntN(50); {
		case len(ops) == 0 && n < 15, len(ops) > 0 && n >= 30 && n < 34:
			op.sql = g.dml(&op) + " RETURNING k, tag, a, b"
			op.args, op.counted, op.what = g.args, false, g.one("query", "query", "first", "exec")
		case n < 30 || len(ops) == 0:
			op.sql = g.dml(&op)
			if len(ops) > 0 {
				op.sql = g.decorated(op.sql)
			}
			op.args = g.args
		case n < 36:
			op.what, g.style, g.args = "query", g.IntN(4), nil
			op.sql = g.selects()
			op.args = g.args
		case n < 39:
			ops = append(ops, g.transaction()...)
			continue
		case n < 43:
			op.what, op.sql = "prepare", g.prepared()
			prepared = op.sql
		case n < 45 && prepared != "":
			op.what = "stmt exec"
			if strings.Contains(prepared, "SELECT") || strings.Contains(prepared, "RETURNING") {
				op.what = "stmt query"
			}
			op.args, op.counted = []any{g.tag, int64(g.key())}, true
		case n < 48:
			op.sql = g.ownTable(&op)
		case n < 49:
			op.sql, op.args = g.mistake()
		default:
			op.what, op.sql = "exec", g.texts()
		}
		ops = append(ops, op)
	}
	return ops
}

// transaction is one of BeginTx, which writes first: so it need not fail for what others have written meanwhile.
func (g *diffGen) transaction() []diffOp {
	ops := []diffOp{{what: "begin"}, {what: "exec", sql: fmt.Sprintf("INSERT INTO log VALUES (%d, %d, 'tx')", g.owner, g.tag)}}
	for range 1 + g.IntN(3) {
		g.tag++
		op := diffOp{what: "exec", tag: g.tag}
		op.sql = g.dml(&op)
		op.args = g.args
		ops = append(ops, op)
	}
	return append(ops, diffOp{what: g.one("commit", "commit", "rollback")})
}

// alone is what a caller does who has the database to itself. Programs with promises have no session of their own,
// because Go knows no connection.
func (g *diffGen) alone(pinned bool) (ops []diffOp) {
	promises := !pinned && g.chance(50)
	open := false // a transaction of BeginTx, where nothing went wrong
	var prepared [3]string
	for range 8 + g.IntN(22) {
		g.tag++
		op := diffOp{what: "exec", tag: g.tag, slot: g.IntN(3), cancelled: !pinned && !open && g.chance(3)}
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
			op.what, g.style, g.args = "query", g.IntN(4), nil
			op.sql = g.selects()
			op.args = g.args
		case n < 64 && !open:
			op.what, open = "begin", true
		case n < 70 && open:
			op.what, open = g.one("commit", "commit", "rollback"), false
		case n < 76:
			op.what, op.sql = "prepare", g.prepared()
			prepared[op.slot] = op.sql
		case n < 84:
			op.what = g.one("stmt exec", "stmt exec", "stmt query")
			if text := prepared[op.slot]; strings.Contains(text, "SELECT") || strings.Contains(text, "RETURNING") {
				op.what = "stmt query" // after Exec, the driver's statement stays in the middle of its rows
			}
			op.args, op.counted = []any{g.tag, int64(g.key())}, true
			if g.chance(20) {
				op.args = append(op.args, g.any())[:g.IntN(4)]
			}
		case n < 85:
			op.what = "stmt close"
		case n < 89:
			op.sql = g.ownTable(&op)
		case n < 91:
			op.sql = g.ddl()
		case n < 93:
			op.sql, op.args = g.mistake()
			op.what = g.one("exec", "query", "exec")
		case n < 95:
			op.sql, op.what = g.texts(), g.one("exec", "exec", "query")
		case !promises && n < 98:
			op.sql = g.control()
		case !promises:
			op.sql, op.what = g.session(), g.one("exec", "query")
		default:
			continue
		}
		ops = append(ops, op)
	}
	return ops
}

// prepared has two placeholders: the tag, and a key.
func (g *diffGen) prepared() string {
	t := g.tables[g.IntN(len(g.tables))].name
	own := fmt.Sprint(g.owner)
	return g.one(
		"INSERT INTO "+t+" (own, tag, k) VALUES ("+own+", ?, ?)",
		"INSERT OR "+g.one("FAIL", "IGNORE", "REPLACE", "ROLLBACK")+" INTO "+t+" (own, tag, k) VALUES ("+own+", ?, ?)",
		"INSERT INTO "+t+" (own, tag, k) VALUES ("+own+", ?1, ?2), ("+own+", ?1, ?2 + 1)",
		"INSERT INTO "+t+" (own, tag, k) VALUES ("+own+", ?, ?) RETURNING k",
		"UPDATE "+t+" SET tag = ?, a = "+g.sometimes("a", 2)+" WHERE k <= ? AND own = "+own,
		"INSERT INTO t0 (own, tag, k) VALUES ("+own+", ?, ?); DELETE FROM t0",
		"DELETE FROM "+t+" WHERE tag <> ? AND k = ?",
		"SELECT k, a, ? FROM "+t+" WHERE own = "+own+" AND k > ? ORDER BY k",
		"INSERT INTO o"+own+" (k, a) VALUES (? % 5, ? % 5)",
		"DELETE FROM o"+own+" WHERE a <> ? AND k = ?",
		"SELECT *, ? FROM o"+own+" WHERE k > ?",
		"SELECT nothing FROM t0",
		"INSERT INTO nothing (tag, a) VALUES (?, ?)",
		"no sense",
	)
}

// ddl changes tables that others use as well.
func (g *diffGen) ddl() string {
	t := g.tables[g.IntN(len(g.tables))].name
	return g.one(
		"ALTER TABLE "+t+" ADD COLUMN d"+g.one("1", "2")+g.one("", " NOT NULL DEFAULT 3", " REFERENCES t0"),
		"ALTER TABLE "+t+" RENAME COLUMN b TO "+g.one("bb", "b"),
		"ALTER TABLE "+t+" DROP COLUMN b",
		"CREATE UNIQUE INDEX u ON "+t+" (a)",
		"DROP INDEX u",
		"DROP TRIGGER "+t+"_0",
		"DROP INDEX "+t+"_i0",
		"DROP VIEW v",
		"DROP TABLE "+t,
		"ANALYZE",
		"VACUUM",
		"REINDEX",
	)
}

func (g *diffGen) control() string {
	return g.one("BEGIN", "BEGIN IMMEDIATE", "COMMIT", "END", "ROLLBACK", "SAVEPOINT s", "SAVEPOINT s", "RELEASE s", "ROLLBACK TO s",
		"BEGIN; INSERT INTO t0 (a) VALUES (11)", "INSERT INTO t0 (a) VALUES (12); COMMIT")
}

func (g *diffGen) session() string {
	return g.one("PRAGMA foreign_keys = OFF", "PRAGMA foreign_keys", "PRAGMA recursive_triggers = 1", "PRAGMA user_version = 5",
		"PRAGMA user_version", "CREATE TEMP TABLE o0 (k, a)", "CREATE TEMP TABLE IF NOT EXISTS mine (tag, a)", "INSERT INTO mine VALUES (1, 2)",
		"DROP TABLE temp.o0", "SELECT * FROM mine", "ATTACH ':memory:' AS m", "DETACH m", "CREATE TABLE m.o0 (a)", "PRAGMA query_only = 1",
		"PRAGMA query_only = 0", "PRAGMA case_sensitive_like = 1", "PRAGMA wal_checkpoint", "PRAGMA defer_foreign_keys = 1",
		"PRAGMA synchronous", "SELECT synchronous FROM pragma_synchronous",
		"PRAGMA foreign_key_check", "PRAGMA table_info(t0)", "PRAGMA ignore_check_constraints = 1", "EXPLAIN QUERY PLAN DELETE FROM t0", "SELECT 1; SELECT 2")
}

// less yields smaller programs: without some callers, some steps, or some of the schema.
func (p diffProgram) less(yield func(diffProgram) bool) {
	if len(p.callers) > 1 && difftest.Without(p.callers, func(callers [][]diffOp) bool {
		less := p
		less.callers = callers
		return len(callers) > 0 && yield(less)
	}) {
		return
	}
	for i, ops := range p.callers {
		if difftest.Without(ops, func(ops []diffOp) bool {
			less := p
			less.callers = slices.Clone(p.callers)
			less.callers[i] = ops
			return len(ops) > 0 && yield(less)
		}) {
			return
		}
	}
	difftest.Without(p.schema, func(schema []string) bool {
		less := p
		less.schema = schema
		return yield(less)
	})
}

// String is the program as a test of it would have it.
func (p diffProgram) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "sameAnswers(t, diffProgram{memory: %v, params: %q, hooked: %v, pinned: %v, schema: []string{\n", p.memory, p.params, p.hooked, p.pinned)
	for _, q := range p.schema {
		fmt.Fprintf(&b, "\t%s,\n", quoted(q))
	}
	b.WriteString("}, callers: [][]diffOp{\n")
	for _, ops := range p.callers {
		b.WriteString("\t{\n")
		for _, op := range ops {
			fmt.Fprintf(&b, "\t\t%s,\n", op)
		}
		b.WriteString("\t},\n")
	}
	b.WriteString("}})")
	return b.String()
}

func (o diffOp) String() string {
	s := fmt.Sprintf("{what: %q", o.what)
	if strings.Contains(o.what, "stmt") || o.what == "prepare" {
		s += fmt.Sprintf(", slot: %d", o.slot)
	}
	if o.sql != "" {
		s += ", sql: " + quoted(o.sql)
	}
	if o.args != nil {
		var args []string
		for _, a := range o.args {
			args = append(args, literal(a))
		}
		s += ", args: []any{" + strings.Join(args, ", ") + "}"
	}
	for name, set := range map[string]bool{"cancelled": o.cancelled, "counted": o.counted, "inserts": o.inserts} {
		if set {
			s += ", " + name + ": true"
		}
	}
	return s + "}"
}

func quoted(s string) string {
	if strings.ContainsAny(s, "`\x00\uFEFF") {
		return fmt.Sprintf("%q", s)
	}
	return "`" + s + "`"
}

func literal(v any) string {
	switch v := v.(type) {
	case nil:
		return "nil"
	case sql.NamedArg:
		return fmt.Sprintf("sql.Named(%q, %s)", v.Name, literal(v.Value))
	case []byte:
		return fmt.Sprintf("[]byte(%q)", v)
	case time.Time:
		return fmt.Sprintf("time.Unix(%d, %d).UTC()", v.Unix(), v.Nanosecond())
	case string:
		return quoted(v)
	case struct{}:
		return "struct{}{}"
	}
	return fmt.Sprintf("%T(%v)", v, v)
}
