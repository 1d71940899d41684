package sqlite3_test

import (
	"database/sql"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

// diffGen makes statements.
type diffGen struct {
	*rand.Rand
	tables  []diffTable
	hooked  bool  // there is the function failing, which is the program's
	traced  bool  // schema's
	owner   int   // whose rows the statement is about
	several bool  // there are other owners
	tag     int64 // of the statement
	style   int   // of placeholders in it
	args    []any
}

const (
	// firstTag: a number from here to twice as much is a tag and nothing else.
	firstTag = 1_000_000
	// ownersKeys are the keys of one owner.
	ownersKeys = 1000
)

func (g *diffGen) one(choices ...string) string { return choices[g.IntN(len(choices))] }
func (g *diffGen) chance(percent int) bool      { return g.IntN(100) < percent }

// p writes v into the statement: as text, or as an argument.
func (g *diffGen) p(v any) string {
	if i, ok := v.(int); ok {
		v = int64(i)
	}
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
			if math.IsInf(v, 1) {
				return "9e999"
			}
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

func (g *diffGen) key() int { return g.owner*ownersKeys + g.IntN(10) }

func (g *diffGen) any() any {
	switch g.IntN(11) {
	case 0:
		return nil
	case 1:
		return g.one("", "text", "it's", "日本", "; DROP TABLE t; --", "{}", "12")
	case 2:
		return []byte(g.one("", "blob", "\x00\xff"))
	case 3:
		return g.Float64() * 150
	case 4:
		return g.chance(50)
	case 5:
		return time.Unix(int64(g.IntN(1<<30)), 123000).UTC()
	case 6:
		return []any{int64(math.MinInt64), int64(math.MaxInt64), math.Inf(1), "a\x00b"}[g.IntN(4)]
	default:
		return int64(g.IntN(8))
	}
}

// value is one for a column, seldom a good one for this row.
func (g *diffGen) value(col string) string {
	if g.chance(4) {
		return g.bad()
	}
	switch col {
	case "a":
		if g.chance(15) {
			return g.p(g.any())
		}
		return g.p(g.IntN(8))
	case "b":
		if g.chance(50) {
			return g.p("text")
		}
		return g.p(g.any())
	case "c":
		return g.p(g.Float64() * 120)
	case "p":
		if g.chance(40) {
			return g.p(nil)
		}
		return g.p(g.owner*ownersKeys + g.IntN(5))
	}
	panic("no such column: " + col)
}

// sometimes is an expression that is an error in the row where col is n.
func (g *diffGen) sometimes(col string, n int) string {
	switch g.IntN(4) {
	case 0:
		return fmt.Sprintf("CASE %s WHEN %d THEN 'x' ELSE %[1]s END", col, n) // which is one in a STRICT table
	case 1:
		return fmt.Sprintf("CASE %s WHEN %d THEN NULL ELSE %[1]s END", col, n)
	case 2:
		return fmt.Sprintf("(SELECT value FROM json_each(CASE %s WHEN %d THEN '{' ELSE '[1]' END))", col, n)
	default:
		return fmt.Sprintf("CASE %s WHEN %d THEN %s ELSE %[1]s END", col, n, g.bad())
	}
}

func (g *diffGen) verbClause() string {
	if g.chance(50) {
		return ""
	}
	return "OR " + g.one("ABORT", "FAIL", "FAIL", "IGNORE", "REPLACE", "ROLLBACK") + " "
}

// mine keeps a statement to the rows of its owner.
func (g *diffGen) mine() string {
	if !g.several && g.chance(25) {
		return ""
	}
	return "own = " + g.p(g.owner) + " AND "
}

func (g *diffGen) where() string {
	return g.mine() + g.one(
		"1", "1",
		"k = "+strconv.Itoa(g.key()),
		"k <= "+strconv.Itoa(g.key()),
		"a "+g.one("=", "<", ">=", "IS NOT")+" "+strconv.Itoa(g.IntN(6)),
		g.sometimes("a", g.IntN(4))+" > 0",
		"c > 10",
		"p IS NULL",
	)
}

// insert leaves LastInsertId undefined where it says so.
func (g *diffGen) insert(op *diffOp, t diffTable) string {
	op.inserts = t.on == "" && !t.noRowid && (t.keyAuto || !g.several)
	verb := "INSERT " + g.verbClause()
	if g.chance(10) {
		verb = "REPLACE "
	}
	cols := []string{"k", "own", "tag"}
	if !g.several && t.keyAuto && g.chance(30) {
		cols = cols[1:]
	}
	for _, c := range t.cols {
		if g.chance(60) {
			cols = append(cols, c)
		}
	}
	into := fmt.Sprintf("%sINTO %s (%s)", verb, t.name, strings.Join(cols, ", "))
	if g.chance(30) {
		return g.insertSelect(op, verb, t)
	}
	var rows []string
	for len(rows) == 0 || g.chance(50) {
		var vals []string
		for _, c := range cols {
			switch c {
			case "k":
				vals = append(vals, g.p(g.key()))
			case "own":
				vals = append(vals, g.p(g.owner))
			case "tag":
				vals = append(vals, g.p(g.tag))
			default:
				vals = append(vals, g.value(c))
			}
		}
		rows = append(rows, "("+strings.Join(vals, ", ")+")")
	}
	query := into + " VALUES " + strings.Join(rows, ", ")
	if t.on == "" && g.chance(20) {
		op.inserts = false // an update leaves the id of an earlier INSERT
		set := "tag = excluded.tag"
		if g.chance(60) {
			set += ", " + g.one("a = excluded.a + 1", "b = 'up'", "c = c + 40", "k = "+t.name+".k + 5", "p = NULL", "a = "+g.bad(), "a = "+g.sometimes("excluded.a", 2))
		}
		query += " ON CONFLICT " + g.one(t.targets...) + " DO " + g.one("NOTHING", "UPDATE SET "+set, "UPDATE SET "+set, "UPDATE SET "+set+" WHERE "+t.name+".a < 3")
	}
	return query
}

// insertSelect takes its rows from somewhere, where a later one may be an error.
func (g *diffGen) insertSelect(op *diffOp, verb string, t diffTable) string {
	from := g.tables[g.IntN(len(g.tables))]
	into := verb + "INTO " + t.name
	n := 1 + g.IntN(4)
	base := g.p(g.owner * ownersKeys)
	own := g.p(g.owner) + ", " + g.p(g.tag)
	switch g.IntN(6) {
	case 0:
		return fmt.Sprintf("%s (k, own, tag, a, b, c) SELECT k + %d - %s * 0, %s, a, b, c FROM %s WHERE own = %s", into, n, base, own, from.name, g.p(g.owner))
	case 1:
		return fmt.Sprintf("%s (k, own, tag, a) SELECT %s + value, %s, %s FROM json_each('[5,2,3,%d,4]')", into, base, own, g.sometimes("value", n), 10+g.IntN(3))
	case 2:
		return fmt.Sprintf("%s (k, own, tag, a) SELECT %s + x, %s, sum(y) FROM (SELECT column1 AS x, column2 AS y FROM (VALUES (10, 1), (12, %d), (12, 1), (13, 1))) GROUP BY x", into, base, own,
			[]int64{1, math.MaxInt64, math.MaxInt64}[g.IntN(3)])
	case 3:
		return fmt.Sprintf("WITH RECURSIVE r (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM r WHERE x < 5) %s (k, own, tag, a) SELECT %s + x + 8, %s, %s FROM r", into, base, own, g.sometimes("x", n))
	case 4:
		return fmt.Sprintf("%s (k, own, tag, a) SELECT %s + key + 6, %s, value FROM json_each(%s)", into, base, own, g.p(g.one("[1,2,\"x\",4]", "[1,2", "[7,8,9]", "{")))
	default:
		return fmt.Sprintf("%s (k, own, tag, a, b) SELECT k + 6 - %s * 0, %s, sum(a) OVER (ORDER BY k), %s FROM %s WHERE own = %s", into, base, own, g.sometimes("a", n), from.name, g.p(g.owner))
	}
}

func (g *diffGen) update(t diffTable) string {
	verb := "UPDATE " + g.verbClause() + t.name + " SET tag = " + g.p(g.tag)
	if t.on == "" && g.chance(10) {
		return fmt.Sprintf("%s, %s FROM %s AS o WHERE o.own = %s.own AND o.k = %[4]s.k AND %[4]s.own = %s", verb,
			g.one("a = o.a + 1", "b = o.b", "c = o.c + 50", "b = "+g.sometimes("o.a", g.IntN(4)), "a = "+g.sometimes("o.a", g.IntN(4))),
			g.tables[g.IntN(len(g.tables))].name, t.name, g.p(g.owner))
	}
	for range 1 + g.IntN(2) {
		verb += ", " + g.one("a = a + 1", "a = "+g.sometimes("a", g.IntN(4)), "a = a - 1", "c = c + 35", "b = "+g.sometimes("k", g.key()),
			"k = k + 1", "k = k - 1", "p = "+strconv.Itoa(g.owner*ownersKeys+g.IntN(6)), "p = NULL", "b = NULL", "a = a + 9223372036854775807", "a = 3")
	}
	return verb + " WHERE " + g.where()
}

// dml is one INSERT, UPDATE, DELETE or REPLACE.
func (g *diffGen) dml(op *diffOp) string {
	g.style, g.args = g.IntN(4), nil
	t := g.tables[g.IntN(len(g.tables))]
	op.counted, op.inserts = true, false
	var query string
	switch n := g.IntN(10); {
	case n < 6:
		query = g.insert(op, t)
	case n < 9:
		query = g.update(t)
	default:
		query = "DELETE FROM " + t.name + " WHERE tag IS NOT " + g.p(g.tag) + " AND " + g.where()
	}
	return query
}

// decorated has something around it that changes nothing.
func (g *diffGen) decorated(query string) string {
	switch g.IntN(20) {
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
	case 6:
		return "\uFEFF" + query
	case 7:
		return query + " /* unterminated"
	case 8:
		return query + "\x00garbage"
	}
	return query
}

func (g *diffGen) selects() string {
	t := g.tables[g.IntN(len(g.tables))].name
	own := " WHERE own = " + g.p(g.owner)
	return g.one(
		"SELECT k, tag, a, b, c, p FROM "+t+own+" ORDER BY k",
		"SELECT a, count(*), max(c) AS x FROM "+t+own+" GROUP BY a HAVING a > 1",
		"SELECT what FROM log"+own+" ORDER BY rowid LIMIT 3",
		"SELECT "+g.sometimes("k", g.key())+" FROM "+t+own+" ORDER BY k",
		"SELECT 1/0, abs(-9223372036854775808)",
		"VALUES (1, 'a'), (2, NULL)",
	)
}

// mistake is a text that is wrong, or that the arguments do not fit.
func (g *diffGen) mistake() (string, []any) {
	var op diffOp
	query := g.dml(&op)
	args := g.args
	n := g.IntN(6)
	if g.several && (n == 0 || n == 2 && g.style == 3) { // it could be about anybody's rows
		n = 3
	}
	switch n {
	case 0:
		return query[:len(query)*2/3], args
	case 1:
		return query, append(args, g.any()) // one too many
	case 2:
		return query, append([]any{}, args...)[:len(args)/2]
	case 3:
		return query + " nonsense", args
	case 4:
		return "INSERT INTO t0 (tag, a) VALUES (?, ?)", []any{g.tag, struct{}{}}
	default:
		return g.one("INSERT INTO t0 (nothing) VALUES (1)", "INSERT INTO nothing VALUES (1)", "BEGN", "'", "/*", ";", "",
			"UPDATE t1 SET a = abs(-9223372036854775808) WHERE own = 0", "DELETE FROM t0 WHERE own = 0 AND a < 3",
			"INSERT INTO t0 (tag) VALUES (1, 2)", "DELETE FROM sqlite_schema", "INSERT INTO t0 (a) VALUES (RAISE(ROLLBACK, 'x'))"), nil
	}
}

// texts are several statements in one text, where the second may fail.
func (g *diffGen) texts() string {
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

// ownTable is a statement about a table of the owner's own, which he makes, changes and drops.
func (g *diffGen) ownTable(op *diffOp) string {
	o := "o" + strconv.Itoa(g.owner)
	g.style, g.args, op.counted, op.inserts = 0, nil, false, false
	if !g.several && g.chance(15) { // a view of what is not there is in the way of everybody's ALTER TABLE
		return g.one("CREATE VIEW "+o+"v AS SELECT k FROM "+o, "DROP VIEW "+o+"v",
			"CREATE TRIGGER "+o+"w INSTEAD OF INSERT ON "+o+"v BEGIN INSERT INTO "+o+" (k) VALUES (NEW.k + 1); END")
	}
	if g.chance(50) {
		return g.one(
			"CREATE TABLE "+o+" (k INTEGER PRIMARY KEY, a)",
			"CREATE TABLE "+o+" (k INTEGER PRIMARY KEY, a)",
			"CREATE TABLE IF NOT EXISTS "+o+" (k INTEGER PRIMARY KEY, a, b DEFAULT 7)",
			"CREATE TABLE "+o+" AS SELECT k, a FROM t0 WHERE own = "+strconv.Itoa(g.owner),
			"ALTER TABLE "+o+" ADD COLUMN c"+strconv.Itoa(g.IntN(2)),
			"ALTER TABLE "+o+" ADD COLUMN c"+strconv.Itoa(g.IntN(2))+" NOT NULL DEFAULT 'x'",
			"ALTER TABLE "+o+" RENAME COLUMN a TO b",
			"ALTER TABLE "+o+" DROP COLUMN a",
			"CREATE UNIQUE INDEX "+o+"i ON "+o+" (a)",
			"DROP INDEX "+o+"i",
			"CREATE TRIGGER "+o+"t AFTER INSERT ON "+o+" WHEN NEW.k > 3 BEGIN SELECT RAISE("+g.one("FAIL", "ABORT")+", 'own'); END",
			"DROP TABLE "+o,
		)
	}
	op.counted = true
	g.style = g.IntN(3)
	return g.one(
		"INSERT INTO "+o+" VALUES ("+strconv.Itoa(g.IntN(6))+", 2)",
		"INSERT INTO "+o+" VALUES ("+strconv.Itoa(g.IntN(6))+", 2, 3)",
		"INSERT INTO "+o+" VALUES ("+strconv.Itoa(g.IntN(6))+", 2, 3, 4)",
		"INSERT INTO "+o+" (k, a) VALUES (5, "+strconv.Itoa(g.IntN(3))+"), (2, 1), (5, 3)",
		"INSERT INTO "+o+" (k, a) VALUES (NULL, 1) ON CONFLICT (a) DO UPDATE SET a = a + 1",
		"INSERT INTO "+o+" (k, b) VALUES (NULL, 1)",
		"INSERT INTO "+o+"v (k) VALUES (1)",
		"UPDATE "+o+" SET c"+strconv.Itoa(g.IntN(2))+" = 1",
		"UPDATE "+o+" SET a = a + 1",
		"DELETE FROM "+o+" WHERE k = 2",
	)
}
