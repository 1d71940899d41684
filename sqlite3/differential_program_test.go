package sqlite3_test

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// diffSchema has something of everything that can make a statement fail, or do something on the side. Every table has a
// tag, which every statement sets, and log tells in which order they were applied.
var diffSchema = []string{
	`CREATE TABLE log (seq INTEGER PRIMARY KEY AUTOINCREMENT, tab TEXT, tag)`,
	`CREATE TABLE t (id INTEGER PRIMARY KEY, tag, a INT UNIQUE, b TEXT NOT NULL DEFAULT 'd', c REAL CHECK (c IS NULL OR c < 100), d BLOB)`,
	`CREATE TABLE auto (id INTEGER PRIMARY KEY AUTOINCREMENT, tag, a UNIQUE)`,
	`CREATE TABLE wr (a TEXT PRIMARY KEY, tag, b) WITHOUT ROWID`,
	`CREATE TABLE onrollback (tag, a UNIQUE ON CONFLICT ROLLBACK)`,
	`CREATE TABLE onfail (tag, a UNIQUE ON CONFLICT FAIL)`,
	`CREATE TABLE onignore (tag, a UNIQUE ON CONFLICT IGNORE)`,
	`CREATE TABLE onreplace (tag, a UNIQUE ON CONFLICT REPLACE)`,
	`CREATE TABLE parent (a INTEGER PRIMARY KEY, tag)`,
	`CREATE TABLE child (tag, a REFERENCES parent)`,
	`CREATE TABLE cascaded (tag, a REFERENCES parent ON DELETE CASCADE)`,
	`CREATE TABLE deferred (tag, a REFERENCES parent DEFERRABLE INITIALLY DEFERRED)`,
	`CREATE TABLE raising (tag, a)`,
	`CREATE TRIGGER raise1 BEFORE INSERT ON raising WHEN NEW.a = 1 BEGIN SELECT RAISE(ABORT, 'raised abort'); END`,
	`CREATE TRIGGER raise2 AFTER INSERT ON raising WHEN NEW.a = 2 BEGIN SELECT RAISE(FAIL, 'raised fail'); END`,
	`CREATE TRIGGER raise3 BEFORE INSERT ON raising WHEN NEW.a = 3 BEGIN SELECT RAISE(IGNORE); END`,
	`CREATE TRIGGER raise4 AFTER INSERT ON raising WHEN NEW.a = 4 BEGIN SELECT RAISE(ROLLBACK, 'raised rollback'); END`,
	`CREATE TRIGGER raise5 AFTER UPDATE ON raising WHEN NEW.a = 4 BEGIN SELECT RAISE(ROLLBACK, 'raised by update'); END`,
	`INSERT INTO parent (a, tag) VALUES (1, 0), (2, 0), (3, 0)`,
	`INSERT INTO t (tag, a) VALUES (0, 1), (0, 2)`,
}

var diffTables = []string{"t", "auto", "wr", "onrollback", "onfail", "onignore", "onreplace", "parent", "child", "cascaded", "deferred", "raising"}

func init() {
	for _, tab := range diffTables {
		for _, event := range []string{"INSERT", "UPDATE"} {
			diffSchema = append(diffSchema, fmt.Sprintf(
				"CREATE TRIGGER log_%s_%s AFTER %[2]s ON %[1]s BEGIN INSERT INTO log (tab, tag) VALUES ('%[1]s', NEW.tag); END", tab, event))
		}
	}
}

// diffOp is one step of a program.
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

func (o diffOp) String() string {
	var args []string
	for _, a := range o.args {
		args = append(args, diffValue(a))
	}
	s := fmt.Sprintf("%-10s %d  %q  %s", o.what, o.slot, o.sql, strings.Join(args, ", "))
	if o.cancelled {
		s += "  cancelled"
	}
	return s
}

func diffValue(v any) string {
	if b, ok := v.([]byte); ok {
		return fmt.Sprintf("[]byte(%q)", b)
	}
	return fmt.Sprintf("%T(%v)", v, v)
}

// firstTag: a number as large as this is a tag and nothing else.
const firstTag = 1_000_000

var tagText = regexp.MustCompile(`\b1\d{6}\b`)

// tagOf finds the tag in a statement.
func tagOf(query string, args []any) int64 {
	for _, a := range args {
		if named, ok := a.(sql.NamedArg); ok {
			a = named.Value
		}
		if n, ok := a.(int64); ok && n >= firstTag {
			return n
		}
	}
	n, _ := strconv.ParseInt(tagText.FindString(query), 10, 64)
	return n
}

// diffGen makes statements.
type diffGen struct {
	*rand.Rand
	tag        int64
	concurrent bool // without what depends on a neighbour of the same group (traps.md G7)
	style      int  // of placeholders in the statement being made
	args       []any
}

func (g *diffGen) one(choices ...string) string { return choices[g.IntN(len(choices))] }
func (g *diffGen) chance(percent int) bool      { return g.IntN(100) < percent }

// p writes v into the statement: as text, or as an argument.
func (g *diffGen) p(v any) string {
	switch g.style {
	case 0:
		switch v := v.(type) {
		case nil:
			return "NULL"
		case int64:
			return strconv.FormatInt(v, 10)
		case string:
			return "'" + strings.ReplaceAll(v, "'", "''") + "'"
		case []byte:
			return fmt.Sprintf("x'%x'", v)
		case float64:
			return fmt.Sprintf("%.3f", v)
		default:
			return "1"
		}
	case 1:
		g.args = append(g.args, v)
		return "?"
	case 2:
		g.args = append(g.args, v)
		return "?" + strconv.Itoa(len(g.args))
	default:
		name := "p" + strconv.Itoa(len(g.args))
		g.args = append(g.args, sql.Named(name, v))
		return g.one(":", "@", "$") + name
	}
}

func (g *diffGen) key() any { return int64(g.IntN(8)) }

func (g *diffGen) any() any {
	switch g.IntN(9) {
	case 0:
		return nil
	case 1:
		return g.one("", "text", "it's", "日本", "; DROP TABLE t; --")
	case 2:
		return []byte(g.one("", "blob", "\x00\xff"))
	case 3:
		return g.Float64() * 150
	case 4:
		return g.chance(50)
	case 5:
		return time.Unix(int64(g.IntN(1<<30)), 123000).UTC()
	default:
		return g.key()
	}
}

// columns of a table, but for the tag, and a row for them.
func (g *diffGen) row(tab string) (cols, vals []string) {
	add := func(col string, v any) { cols, vals = append(cols, col), append(vals, g.p(v)) }
	add("tag", g.tag)
	switch tab {
	case "t":
		if g.chance(30) {
			add("id", g.key())
		}
		add("a", g.key())
		if g.chance(60) {
			add("b", g.any())
		}
		if g.chance(40) {
			add("c", g.Float64()*130)
		}
		if g.chance(40) {
			add("d", g.any())
		}
	case "wr":
		add("a", g.any())
		add("b", g.any())
	case "raising":
		add("a", int64(g.IntN(7)))
	case "parent":
		add("a", int64(1+g.IntN(12)))
	case "deferred":
		if g.concurrent { // a violation must not be healed by a neighbour
			add("a", []any{int64(1), int64(2), int64(99), nil}[g.IntN(4)])
		} else {
			add("a", int64(1+g.IntN(12)))
		}
	default:
		add("a", g.key())
	}
	return cols, vals
}

func (g *diffGen) where(tab string) string {
	col := "a"
	if tab == "deferred" && g.concurrent {
		return fmt.Sprintf("tag <> %s AND a = 1", g.p(g.tag))
	}
	cond := fmt.Sprintf("%s %s %s", col, g.one("=", "=", "=", "<", ">="), g.p(g.key()))
	if tab == "parent" { // 1 to 3 stay
		cond += " AND a > 3"
	}
	return fmt.Sprintf("%s AND tag <> %s", cond, g.p(g.tag))
}

func (g *diffGen) insert(op *diffOp, tab string) string {
	op.inserts = tab != "wr"
	verb := "INSERT"
	if g.chance(50) {
		verb += " OR " + g.one("ABORT", "FAIL", "IGNORE", "REPLACE", "ROLLBACK")
	} else if g.chance(15) {
		verb = "REPLACE"
	}
	cols, vals := g.row(tab)
	into := fmt.Sprintf("%s INTO %s (%s)", verb, tab, strings.Join(cols, ", "))
	rows := "(" + strings.Join(vals, ", ") + ")"
	for g.chance(30) {
		more := []string{g.p(g.tag)}
		for _, c := range cols[1:] {
			if c == "b" || c == "d" {
				more = append(more, g.p(g.any()))
			} else if tab == "deferred" {
				more = append(more, g.p(int64(1)))
			} else {
				more = append(more, g.p(g.key()))
			}
		}
		rows += ", (" + strings.Join(more, ", ") + ")"
	}
	switch {
	case g.chance(10) && tab != "deferred":
		g.args = nil
		with := g.one("", "WITH w (n) AS (VALUES (1), (2)) ")
		return fmt.Sprintf("%s%s INTO %s (tag, a) SELECT %s, a FROM t WHERE a > %s", with, verb, tab, g.p(g.tag), g.p(g.key()))
	case g.chance(20) && verb == "INSERT" && (tab == "t" || tab == "auto"):
		op.inserts = false // an update leaves the id of an earlier INSERT
		return into + " VALUES " + rows + " ON CONFLICT (a) DO " +
			g.one("NOTHING", "UPDATE SET tag = excluded.tag", "UPDATE SET a = excluded.a + 1, tag = excluded.tag")
	}
	return into + " VALUES " + rows
}

func (g *diffGen) update(tab string) string {
	verb := "UPDATE "
	if g.chance(30) {
		verb += "OR " + g.one("ABORT", "FAIL", "IGNORE", "REPLACE", "ROLLBACK") + " "
	}
	set := "tag = " + g.p(g.tag)
	if tab != "deferred" || !g.concurrent {
		if tab == "parent" {
			set += ", a = a + 1"
		} else {
			set += ", a = " + g.one("a + 1", g.one("a", "a - 1"), "NULL")
		}
	}
	return verb + tab + " SET " + set + " WHERE " + g.where(tab)
}

// dml is one INSERT, UPDATE, DELETE or REPLACE.
func (g *diffGen) dml(op *diffOp) string {
	g.style, g.args = g.IntN(4), nil
	tab := diffTables[g.IntN(len(diffTables))]
	op.counted, op.inserts = true, false
	var query string
	switch n := g.IntN(10); {
	case n < 6:
		query = g.insert(op, tab)
	case n < 8:
		query = g.update(tab)
	default:
		query = "DELETE FROM " + tab + " WHERE " + g.where(tab)
	}
	return query
}

// decorated has something around it that changes nothing.
func (g *diffGen) decorated(query string) string {
	switch g.IntN(12) {
	case 0:
		return "-- a comment; BEGIN;\n" + query
	case 1:
		return "/* ; COMMIT */ " + query + ";"
	case 2:
		return "\t" + query + " ;\n"
	case 3:
		return query + " -- the end"
	case 4:
		return query + "; -- the end"
	case 5:
		return ";" + query
	}
	return query
}
