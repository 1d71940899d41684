package pgx_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/groupcommit/groupcommit/internal/difftest"
)

// diffProgram is what callers do with a database at the same time, each on rows of its own: so it does not matter to any
// of them what the others have done already.
type diffProgram struct {
	schema  []string
	callers [][]diffOp
}

// diffOp is one step of a caller: a statement on some way, or a transaction's begin or end.
type diffOp struct {
	what string // exec, go, nobatch, prepared, query, begin, commit, rollback
	call
}

// diffGen makes programs. Their tables have names that no other program uses, so that no connection knows a
// text of another schema.
type diffGen struct {
	*rand.Rand
	suffix string
	tables []string
	owner  int   // whose rows the statement is about
	args   []any // nil: the statement has its values in its text
	bound  bool
	early  bool // deferred constraints are checked by each statement: see schema
}

// manyCallers is the number of callers of a concurrent program.
const manyCallers = 24

const ownersKeys = 1000

func newProgram(r *rand.Rand, callers int, early bool) diffProgram {
	g := &diffGen{Rand: r, suffix: fmt.Sprintf("_%x", r.Uint32()), early: early}
	p := diffProgram{schema: g.schema(callers)}
	alike := g.table()
	for g.owner = range callers {
		var ops []diffOp
		if callers > 1 && g.chance(85) {
			ops = append(ops, diffOp{"exec", g.alike(alike)})
		}
		n := 2 + g.IntN(4)
		if callers == 1 {
			n = 8 + g.IntN(16)
		}
		for len(ops) < n {
			ops = append(ops, g.ops()...)
		}
		p.callers = append(p.callers, ops)
	}
	return p
}

func (g *diffGen) one(choices ...string) string { return choices[g.IntN(len(choices))] }
func (g *diffGen) chance(percent int) bool      { return g.IntN(100) < percent }

// schema makes the tables and their code. Where a group checks deferred constraints early, a function that handles the error can
// tell, and so can a trigger of the program's that is deferred: docs/differences.md has that.
func (g *diffGen) schema(owners int) []string {
	statements := g.relations(owners)
	if g.early {
		handles := strings.Contains(strings.Join(statements, ""), "EXCEPTION WHEN OTHERS THEN INSERT")
		for i, q := range statements {
			if handles || strings.HasPrefix(q, "CREATE CONSTRAINT TRIGGER") {
				statements[i] = strings.ReplaceAll(q, "INITIALLY DEFERRED", "INITIALLY IMMEDIATE")
			}
		}
	}
	return statements
}

func (g *diffGen) relations(owners int) (statements []string) {
	s := g.suffix
	statements = append(statements,
		"CREATE TABLE log"+s+" (own INT, what TEXT)",
		"CREATE FUNCTION raising"+s+"(x BIGINT) RETURNS BIGINT LANGUAGE plpgsql AS $$ BEGIN IF x = 2 THEN RAISE EXCEPTION 'raised %', x USING ERRCODE = "+g.code()+", DETAIL = 'a detail', HINT = 'a hint'; END IF; RETURN x; END $$",
		"CREATE FUNCTION swallowing"+s+"(x BIGINT) RETURNS BIGINT LANGUAGE plpgsql AS $$ BEGIN RETURN 1 / (x - 2); EXCEPTION WHEN OTHERS THEN RETURN 7; END $$")
	for i := range 2 + g.IntN(2) {
		t := fmt.Sprint("t", i, s)
		g.tables = append(g.tables, t)
		a := "a BIGINT" + g.one("", " CHECK (a < 7)", " CHECK (12 / (a - 5) > -20)")
		b := "b TEXT" + g.one("", " NOT NULL", " NOT NULL DEFAULT 'd'")
		c := "c " + g.one("INT", "FLOAT8", "SMALLINT") + g.one("", " CHECK (c < 100)")
		k, p := "k BIGINT PRIMARY KEY", "p BIGINT"
		if i > 0 && g.chance(30) {
			k += " DEFERRABLE INITIALLY DEFERRED" // and nothing can refer to it
		}
		if g.chance(70) {
			p += " REFERENCES t0" + s +
				g.one("", "", " ON DELETE CASCADE", " ON DELETE SET NULL", " ON DELETE RESTRICT", " ON UPDATE CASCADE", " ON DELETE SET DEFAULT ON UPDATE CASCADE") +
				g.one("", "", " DEFERRABLE INITIALLY DEFERRED", " DEFERRABLE INITIALLY IMMEDIATE")
		}
		cols := []string{k, "own INT", a, b, c, p}
		if g.chance(25) {
			cols = append(cols, "g BIGINT GENERATED ALWAYS AS (a * 2) STORED")
		}
		if g.chance(60) {
			cols = append(cols, "UNIQUE (own, a)"+g.one("", "", " DEFERRABLE INITIALLY DEFERRED", " DEFERRABLE"))
		}
		statements = append(statements, fmt.Sprintf("CREATE TABLE %s (%s)", t, strings.Join(cols, ", ")))
		if g.chance(15) {
			statements = append(statements, "CREATE UNIQUE INDEX ON "+t+" (own, "+g.one("c) WHERE c > 50", "(a % 6))", "(12 / (a - 9) * 100 + a))"))
		}
		statements = append(statements, fmt.Sprintf("INSERT INTO %s (k, own, a, b, c) SELECT %d * o + r, o, r, 'b', 10 * r FROM generate_series(0, %d) o, generate_series(0, 3) r", t, ownersKeys, owners-1))
	}
	for _, t := range g.tables {
		for i := range g.IntN(3) {
			statements = append(statements, g.trigger(t, i)...)
		}
	}
	return statements
}

// code is an SQLSTATE that a function raises, whatever it means elsewhere. Those of transient errors are in
// docs/differences.md.
func (g *diffGen) code() string {
	return g.one("'P0001'", "'GC013'", "'23505'", "'55P03'", "'57014'", "'08006'", "'57P01'", "'22012'", "'XX000'", "'25P02'")
}

func (g *diffGen) trigger(t string, i int) []string {
	name := fmt.Sprint(t, "_", i)
	event := g.one("INSERT", "INSERT", "UPDATE", "DELETE", "INSERT OR UPDATE")
	row, time := "NEW", g.one("BEFORE", "AFTER", "CONSTRAINT")
	if event == "DELETE" {
		row = "OLD"
	}
	other := g.tables[g.IntN(len(g.tables))]
	body := ""
	if g.chance(60) {
		body += fmt.Sprintf("INSERT INTO log%s VALUES (%s.own, TG_OP || TG_NAME); ", g.suffix, row)
	}
	switch g.IntN(8) {
	case 0, 1:
		body += fmt.Sprintf("RAISE EXCEPTION 'trigger %%', %s.k USING ERRCODE = %s; ", row, g.code())
	case 2, 3:
		body += fmt.Sprintf("BEGIN INSERT INTO %s (k, own, a, b) VALUES (%s.k, %[2]s.own, %[2]s.a, NULL); EXCEPTION WHEN OTHERS THEN INSERT INTO log%s VALUES (%[2]s.own, SQLSTATE); END; ", other, row, g.suffix)
	case 4:
		body += fmt.Sprintf("PERFORM 1 / (%s.a - %[1]s.a); ", row)
	case 5:
		body += fmt.Sprintf("UPDATE %s SET c = c + 1 WHERE own = %s.own AND k < %[2]s.k; ", other, row)
	case 6:
		body += "RAISE WARNING 'a warning'; "
	default:
		if time == "BEFORE" && row == "NEW" {
			body += "NEW.b := 'changed'; "
		}
	}
	if time == "BEFORE" && g.chance(20) {
		body += "RETURN NULL; "
	}
	function := fmt.Sprintf("CREATE FUNCTION f_%s() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF %s.%s THEN %s END IF; RETURN %[2]s; END $$", name, row, g.one("a = 2", "a = 4", "c > 60", "k % 3 = 1"), body)
	kind := "CREATE TRIGGER " + name + " " + time
	if time == "CONSTRAINT" {
		kind = "CREATE CONSTRAINT TRIGGER " + name + " AFTER"
	}
	on := " ON " + t
	if time == "CONSTRAINT" {
		on += " DEFERRABLE INITIALLY " + g.one("DEFERRED", "IMMEDIATE")
	}
	return []string{function, kind + " " + event + on + " FOR EACH ROW EXECUTE FUNCTION f_" + name + "()"}
}

// ops are a statement, or a transaction.
func (g *diffGen) ops() []diffOp {
	what := g.one("exec", "exec", "go", "go", "prepared", "nobatch")
	switch n := g.IntN(40); {
	case n < 28:
		return []diffOp{{what, g.dml()}}
	case n < 31:
		c := g.dml()
		c.query += " RETURNING k, a, b"
		return []diffOp{{g.one("query", "query", "exec"), c}}
	case n < 32:
		g.args, g.bound = nil, false
		return []diffOp{{"query", call{fmt.Sprintf("SELECT k, a, %s FROM %s WHERE own = %d ORDER BY k", g.expr("a"), g.table(), g.owner), nil}}}
	case n < 34:
		return []diffOp{{"exec", call{fmt.Sprintf("INSERT INTO log%s VALUES (%d, 'a'); %s", g.suffix, g.owner, g.unbound()), nil}}}
	case n < 36:
		return []diffOp{{g.one("exec", "go"), g.mistake()}}
	case n < 37:
		return []diffOp{{"exec", g.ownTable()}}
	}
	ops := []diffOp{{"begin", call{}}}
	for range 1 + g.IntN(3) {
		ops = append(ops, diffOp{g.one("exec", "prepared"), g.dml()})
	}
	return append(ops, diffOp{g.one("commit", "commit", "rollback"), call{}})
}

func (g *diffGen) table() string { return g.tables[g.IntN(len(g.tables))] }
func (g *diffGen) key() int64    { return int64(g.owner*ownersKeys + g.IntN(10)) }

// p writes v into the statement: as text, or as an argument.
func (g *diffGen) p(v any) string {
	if i, ok := v.(int); ok {
		v = int64(i)
	}
	if g.bound {
		g.args = append(g.args, v)
		return fmt.Sprint("$", len(g.args))
	}
	switch v := v.(type) {
	case nil:
		return "NULL"
	case string:
		return "'" + strings.ReplaceAll(strings.ToValidUTF8(strings.ReplaceAll(v, "\x00", ""), "?"), "'", "''") + "'"
	case int64, float64:
		return fmt.Sprint(v)
	}
	return "1"
}

// bad is an expression that is an error.
func (g *diffGen) bad() string {
	return g.one("1 / 0", "'seven'::INT", "raising"+g.suffix+"(2)", "9223372036854775807 + 1", "(SELECT 1 FROM generate_series(1, 2))", "('{}'::JSONB -> 'a' ->> 'b')::INT / 0", "ln(0)::INT")
}

// expr is an expression about a column, which may be an error in some rows.
func (g *diffGen) expr(col string) string {
	return fmt.Sprintf(g.one("%s + 1", "%s + 1", "swallowing"+g.suffix+"(%s)", "raising"+g.suffix+"(%s)", "12 / (%s - 2)", "CASE %s WHEN 3 THEN NULL ELSE 9 END", "%s * 9223372036854775807"), col)
}

func (g *diffGen) value(col string) string {
	if g.chance(4) {
		return g.bad()
	}
	switch col {
	case "a":
		if g.bound && g.chance(10) {
			return g.p([]any{"7", "seven", 2.5, true, int64(1) << 40, nil}[g.IntN(6)])
		}
		return g.p(g.IntN(8))
	case "b":
		return g.p([]any{"text", "it's", "日本", nil, "a\x00b", "\xff", int64(5)}[g.IntN(5+2*g.IntN(2))])
	case "c":
		return g.p([]any{g.IntN(120), g.IntN(90), 1 << 20, 2.5}[min(g.IntN(20), 3)*g.IntN(2)])
	}
	return g.p([]any{nil, g.key()}[g.IntN(2)])
}

func (g *diffGen) where() string {
	mine := fmt.Sprintf("own = %s AND ", g.p(g.owner))
	if g.chance(30) {
		return mine + "k " + g.one("=", "<=") + " " + g.p(g.key())
	}
	return mine + g.one("true", "a > 1", g.expr("a")+" > 3", "p IS NULL")
}

// alike is an insert of one row by a text that other callers have, too.
func (g *diffGen) alike(t string) call {
	g.args, g.bound = nil, true
	k, a, b, c := int64(g.owner*ownersKeys+100), 6, any("text"), any(g.IntN(90))
	switch g.IntN(100) {
	case 0:
		k = g.key()
	case 1:
		a = g.IntN(8)
	case 2:
		b = nil
	case 3:
		c = []any{"7", 120, 1 << 20, 2.5}[g.IntN(4)]
	}
	return call{"INSERT INTO " + t + " (k, own, a, b, c, p) VALUES ($1, $2, $3, $4, $5, NULL)", []any{k, g.owner, a, b, c}}
}

// unbound is a statement without arguments.
func (g *diffGen) unbound() string {
	for {
		if c := g.dml(); c.args == nil {
			return c.query
		}
	}
}

func (g *diffGen) dml() call {
	g.args, g.bound = nil, g.chance(70)
	t := g.table()
	var query string
	switch n := g.IntN(10); {
	case n < 5:
		cols := []string{"k", "own"}
		for _, c := range []string{"a", "b", "c", "p"} {
			if g.chance(65) {
				cols = append(cols, c)
			}
		}
		var rows []string
		for len(rows) == 0 || g.chance(40) {
			vals := []string{g.p(g.key()), g.p(g.owner)}
			for _, c := range cols[2:] {
				vals = append(vals, g.value(c))
			}
			rows = append(rows, "("+strings.Join(vals, ", ")+")")
		}
		query = fmt.Sprintf("INSERT INTO %s (%s) VALUES %s", t, strings.Join(cols, ", "), strings.Join(rows, ", "))
		if g.chance(30) {
			query += " ON CONFLICT " + g.one("DO NOTHING", "(k) DO NOTHING", "(k) DO UPDATE SET a = excluded.a + 1", "(own, a) DO UPDATE SET b = 'up', c = "+t+".c + 40", "(k) DO UPDATE SET a = "+g.expr(t+".a"))
		}
	case n < 6:
		query = fmt.Sprintf("INSERT INTO %s (k, own, a, b) SELECT %s + i, %s, %s, 'sel' FROM generate_series(1, %d) i", t, g.p(g.owner*ownersKeys+3), g.p(g.owner), g.expr("i"), 1+g.IntN(5))
		if g.chance(30) {
			query += " ON CONFLICT DO NOTHING"
		}
	case n < 8:
		set := g.one("a = "+g.expr("a"), "a = a - 1", "c = c + 40", "b = NULL", "k = k + 1", fmt.Sprint("p = ", g.key()), "p = NULL", "a = 3")
		query = fmt.Sprintf("UPDATE %s SET %s WHERE %s", t, set, g.where())
	case n < 9:
		query = fmt.Sprintf("DELETE FROM %s WHERE %s", t, g.where())
	default:
		if g.chance(50) {
			query = fmt.Sprintf("UPDATE %s SET c = o.c FROM %s o WHERE o.own = %[1]s.own AND o.k = %[1]s.k AND %[1]s.own = %s", t, g.table(), g.p(g.owner))
		} else {
			query = fmt.Sprintf("WITH gone AS (DELETE FROM %s WHERE own = %s AND k > %s RETURNING k, own) INSERT INTO log%s SELECT own, 'gone ' || %s FROM gone", t, g.p(g.owner), g.p(g.key()), g.suffix, g.expr("k"))
		}
	}
	return call{query, g.args}
}

// mistake is a text that is wrong, or that the arguments do not fit.
func (g *diffGen) mistake() call {
	c := g.dml()
	switch g.IntN(7) {
	case 0:
		c.query += " nonsense nonsense"
	case 1:
		c.args = append(slices.Clone(c.args), int64(1))
	case 2:
		c.args = slices.Clone(c.args)[:len(c.args)/2]
	case 3:
		return call{"INSERT INTO nothing (k) VALUES ($1)", []any{1}}
	case 4:
		return call{"INSERT INTO " + g.tables[0] + " (k, nothing) VALUES ($1, $2)", []any{1, 2}}
	case 5:
		return call{"INSERT INTO " + g.tables[0] + " (k, own) VALUES ($1, $2)", []any{struct{}{}, 2}}
	default:
		return call{"UPDATE " + g.tables[0] + " SET a = $1::INT WHERE own = 1 AND", []any{1}}
	}
	return c
}

// ownTable is a statement about a table of the owner's own.
func (g *diffGen) ownTable() call {
	o := fmt.Sprint("o", g.owner, g.suffix)
	return call{g.one(
		"CREATE TABLE "+o+" (k BIGINT PRIMARY KEY, a INT)",
		"CREATE TABLE "+o+" (k BIGINT PRIMARY KEY, a INT)",
		"ALTER TABLE "+o+" ADD COLUMN d INT NOT NULL DEFAULT 4",
		"ALTER TABLE "+o+" ALTER COLUMN a TYPE TEXT",
		"CREATE UNIQUE INDEX ON "+o+" (a)",
		"INSERT INTO "+o+" VALUES (1, 2)",
		"INSERT INTO "+o+" VALUES (2, 2, 3)",
		"INSERT INTO "+o+" (k, a) VALUES (3, 2), (3, 4)",
		"INSERT INTO "+o+" (k, a) VALUES (3, 2) ON CONFLICT (a) DO NOTHING",
		"DROP TABLE "+o,
	), nil}
}

// less yields smaller programs: without some callers, some steps, or some of the schema.
func (p diffProgram) less(yield func(diffProgram) bool) {
	if len(p.callers) > 1 && difftest.Without(p.callers, func(callers [][]diffOp) bool {
		return len(callers) > 0 && yield(diffProgram{p.schema, callers})
	}) {
		return
	}
	for i, ops := range p.callers {
		if difftest.Without(ops, func(ops []diffOp) bool {
			callers := slices.Clone(p.callers)
			callers[i] = ops
			return len(ops) > 0 && yield(diffProgram{p.schema, callers})
		}) {
			return
		}
	}
	difftest.Without(p.schema, func(schema []string) bool { return yield(diffProgram{schema, p.callers}) })
}

// String is the program as a test of it would have it.
func (p diffProgram) String() string {
	var b strings.Builder
	b.WriteString("sameAnswers(t, diffProgram{schema: []string{\n")
	for _, q := range p.schema {
		fmt.Fprintf(&b, "\t`%s`,\n", q)
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
	if o.query == "" {
		return fmt.Sprintf("{what: %q}", o.what)
	}
	if o.args == nil {
		return fmt.Sprintf("{%q, call{query: `%s`}}", o.what, o.query)
	}
	var args []string
	for _, a := range o.args {
		switch a := a.(type) {
		case nil:
			args = append(args, "nil")
		case string:
			args = append(args, fmt.Sprintf("%q", a))
		case struct{}:
			args = append(args, "struct{}{}")
		default:
			args = append(args, fmt.Sprintf("%T(%v)", a, a))
		}
	}
	return fmt.Sprintf("{%q, call{`%s`, []any{%s}}}", o.what, o.query, strings.Join(args, ", "))
}
