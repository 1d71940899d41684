package sqlite3_test

import (
	"fmt"
	"strings"
)

// A random schema has something of everything that can make a statement fail half-way, or do something on the side. Every
// row has a key, an owner, whose rows nobody else touches, and the tag of the statement that wrote it last.
type diffTable struct {
	name    string
	on      string   // of a view: the table that its triggers write
	cols    []string // that may be left out
	keyAuto bool     // the key is the rowid
	noRowid bool
	logged  bool     // triggers tell log of every row that is written
	targets []string // of an upsert
	blobs   bool     // b takes nothing else
	parent  string   // whose keys p refers to; "" for none
}

// schema makes tables for so many owners, with some rows for each. traced: whatever is written leaves a trace in log.
func (g *diffGen) schema(owners []int, traced bool) (statements []string) {
	g.tables, g.traced = nil, traced
	statements = append(statements, "CREATE TABLE log (own INT, tag INT, what)")
	var later []string // indexes and triggers, which the first rows do without
	for i := range 2 + g.IntN(3) {
		t, create := g.table(i)
		g.tables = append(g.tables, t)
		statements = append(statements, create, g.firstRows(t, owners))
		later = append(later, g.indexes(t)...)
	}
	for _, t := range g.tables {
		later = append(later, g.triggers(t)...)
	}
	if !traced && g.chance(40) {
		t := g.tables[g.IntN(len(g.tables))]
		view := diffTable{name: "v", on: t.name, cols: t.cols}
		later = append(later, "CREATE VIEW v AS SELECT k, own, tag, "+strings.Join(t.cols, ", ")+" FROM "+t.name)
		for _, event := range []string{"INSERT", "UPDATE", "DELETE"} {
			later = append(later, fmt.Sprintf("CREATE TRIGGER v_%s INSTEAD OF %[1]s ON v BEGIN %s END", event, g.instead(t, event)))
		}
		g.tables = append(g.tables, view)
	}
	return append(statements, later...)
}

// conflict is a constraint's own conflict clause.
func (g *diffGen) conflict() string {
	return g.one("", "", "", "", " ON CONFLICT ROLLBACK", " ON CONFLICT FAIL", " ON CONFLICT IGNORE", " ON CONFLICT REPLACE", " ON CONFLICT ABORT")
}

func (g *diffGen) table(i int) (diffTable, string) {
	t := diffTable{name: fmt.Sprint("t", i), cols: []string{"a", "b", "c", "p"}, targets: []string{"(k)"}}
	strict := g.chance(40)
	typ := func(strictly, loosely string) string {
		if strict {
			return strictly
		}
		return loosely
	}
	var cols, rest []string
	switch g.IntN(8) {
	case 0:
		cols = append(cols, "k INT PRIMARY KEY"+g.conflict())
		t.noRowid = true
	case 1:
		cols = append(cols, "k INT UNIQUE"+g.conflict())
	case 2, 3:
		auto := " AUTOINCREMENT"
		if g.traced { // a row that is ignored has its number nevertheless, and leaves no other trace
			auto = ""
		}
		cols = append(cols, "k INTEGER PRIMARY KEY"+g.conflict()+auto)
		t.keyAuto = true
	default:
		cols = append(cols, "k INTEGER PRIMARY KEY"+g.conflict())
		t.keyAuto = true
	}
	a := "a " + typ(g.one("INT", "INT", "ANY"), g.one("INT", "", "TEXT"))
	if g.chance(20) {
		a += " CHECK (" + g.one("a < 7", "abs(a) < 100") + ")"
	}
	btype := typ(g.one("TEXT", "ANY", "BLOB"), g.one("TEXT", "", "BLOB"))
	t.blobs = strict && btype == "BLOB"
	b := "b " + btype
	if g.chance(50) {
		b += " NOT NULL" + g.conflict() + g.one("", " DEFAULT 'd'", " DEFAULT (abs(7))")
	}
	c := "c REAL"
	if g.chance(60) {
		c += " CHECK (c < 100)"
	}
	p := "p INT"
	if i == 0 || g.chance(70) {
		t.parent = fmt.Sprint("t", g.IntN(i+1))
		p += " REFERENCES " + t.parent + " (k)"
		p += g.one("", "", " ON DELETE CASCADE", " ON DELETE SET NULL", " ON DELETE RESTRICT", " ON DELETE SET DEFAULT", " ON UPDATE CASCADE ON DELETE CASCADE", " ON UPDATE SET NULL")
		if !g.traced && g.chance(30) { // a violation could be healed by a neighbour
			p += " DEFERRABLE INITIALLY DEFERRED"
		}
	}
	cols = append(cols, "own INT", "tag INT", a, b, c, p)
	if g.chance(25) {
		cols = append(cols, "g "+typ("INT", g.one("INT", ""))+" AS ("+g.one("a * 2", "abs(a)", "a + 1", "length(b)")+") "+g.one("STORED", "VIRTUAL")+g.one("", "", " NOT NULL", " UNIQUE"))
		if strings.HasSuffix(cols[len(cols)-1], "UNIQUE") { // among all owners' rows
			cols[len(cols)-1] = strings.TrimSuffix(cols[len(cols)-1], " UNIQUE")
			rest = append(rest, "UNIQUE (own, g)"+g.conflict())
		}
	}
	if g.chance(60) {
		rest = append(rest, "UNIQUE (own, a)"+g.conflict())
		t.targets = append(t.targets, "(own, a)", "(a, own)")
	}
	var options []string
	if strict {
		options = append(options, "STRICT")
	}
	if t.noRowid {
		options = append(options, "WITHOUT ROWID")
	}
	return t, fmt.Sprintf("CREATE TABLE %s (%s) %s", t.name, strings.Join(append(cols, rest...), ", "), strings.Join(options, ", "))
}

// firstRows gives each owner the keys from 0 to 3.
func (g *diffGen) firstRows(t diffTable, owners []int) string {
	b := "'1'"
	if t.blobs {
		b = "x'31'"
	}
	from := t.parent
	if from == "" {
		from = t.name
	}
	return fmt.Sprintf("INSERT OR IGNORE INTO %s (k, own, tag, a, b, c, p) SELECT %d * o.value + r.value, o.value, 0, r.value, %s, 10 * r.value, "+
		"CASE WHEN r.value > 1 THEN (SELECT k FROM %[5]s WHERE k = %[2]d * o.value + r.value - 2) END FROM json_each('%[4]s') o, json_each('[0,1,2,3]') r",
		t.name, ownersKeys, b, strings.ReplaceAll(fmt.Sprint(owners), " ", ","), from)
}

func (g *diffGen) indexes(t diffTable) (statements []string) {
	add := func(percent int, unique, what string) {
		if g.chance(percent) {
			statements = append(statements, fmt.Sprintf("CREATE %s INDEX %s_i%d ON %s %s", unique, t.name, len(statements), t.name, what))
		}
	}
	add(15, "UNIQUE", "(own, c) WHERE c > 50")
	add(10, g.one("", "UNIQUE"), "(own, abs(a))")
	if !t.blobs {
		add(10, "", "(json_extract(b, '$'))")
	}
	add(15, "", "("+g.one("p", "b", "own, b", "tag")+")")
	return statements
}

// triggers of a table. They fire on some values only.
func (g *diffGen) triggers(t diffTable) (statements []string) {
	if t.logged = g.traced || g.chance(30); t.logged {
		for _, event := range []string{"INSERT", "UPDATE"} {
			statements = append(statements, fmt.Sprintf(
				"CREATE TRIGGER log_%s_%s AFTER %[2]s ON %[1]s BEGIN INSERT INTO log VALUES (NEW.own, NEW.tag, '%[1]s'); END", t.name, event))
		}
	}
	for i := range g.IntN(3) {
		event, row := g.one("INSERT", "INSERT", "UPDATE", "DELETE"), "NEW"
		if event == "DELETE" {
			row = "OLD"
		}
		statements = append(statements, fmt.Sprintf("CREATE TRIGGER %s_%d %s %s ON %s WHEN %s.%s BEGIN %s END", t.name, i,
			g.one("BEFORE", "AFTER"), event, t.name, row, g.one("a = 2", "a = 3", "a = 5", "k % 4 = 1", "c > 90"), g.trigger(row)))
	}
	return statements
}

// trigger is the body of one: something on the side, and then perhaps an error.
func (g *diffGen) trigger(row string) string {
	var body string
	other := g.tables[g.IntN(len(g.tables))]
	if g.traced || g.chance(40) {
		body += fmt.Sprintf("INSERT INTO log VALUES (%s.own, %[1]s.tag, 'trigger'); ", row)
	}
	switch g.IntN(10) {
	case 0, 1:
		// It may fire itself; so it ends before it comes to the keys of another owner.
		body += fmt.Sprintf("INSERT OR %s INTO %s (k, own, tag, a) SELECT %s.k + %d, %[3]s.own, %[3]s.tag, %[3]s.a + 1 WHERE %[3]s.k %% %d < 100; ",
			g.one("ABORT", "FAIL", "IGNORE", "REPLACE", "ROLLBACK"), other.name, row, 20+g.IntN(2), ownersKeys)
	case 2:
		body += fmt.Sprintf("UPDATE %s SET tag = %s.tag, a = a + 1 WHERE own = %[2]s.own AND k > %[2]s.k; ", other.name, row)
	case 3:
		body += fmt.Sprintf("DELETE FROM %s WHERE own = %s.own AND a = %[2]s.a; ", other.name, row)
	}
	switch n := g.IntN(10); {
	case n < 6:
		body += fmt.Sprintf("SELECT RAISE(%s);", g.one("ABORT, 'raised'", "FAIL, 'raised'", "FAIL, 'raised'", "ROLLBACK, 'raised'", "IGNORE"))
	case n < 8:
		body += "SELECT " + g.bad() + ";"
	default:
		body += "SELECT 1;"
	}
	return body
}

func (g *diffGen) instead(t diffTable, event string) string {
	into := fmt.Sprintf("INSERT %sINTO %s (k, own, tag, a, b) VALUES (NEW.k%s, NEW.own, NEW.tag, NEW.a, NEW.b); ", g.verbClause(), t.name, g.one("", " + 3"))
	body := into
	switch event {
	case "UPDATE":
		body = fmt.Sprintf("UPDATE %s%s SET tag = NEW.tag, a = NEW.a WHERE k = OLD.k; ", g.verbClause(), t.name)
	case "DELETE":
		body = fmt.Sprintf("DELETE FROM %s WHERE k = OLD.k; ", t.name)
	}
	if g.chance(30) {
		row := "NEW"
		if event == "DELETE" {
			row = "OLD"
		}
		body += fmt.Sprintf("SELECT CASE WHEN %s.a = 3 THEN RAISE(%s, 'of the view') END; ", row, g.one("ABORT", "FAIL", "ROLLBACK"))
	}
	return body
}

// bad is an expression that is an error.
func (g *diffGen) bad() string {
	bad := []string{"abs(-9223372036854775808)", "json('{')", "(SELECT value FROM json_each('{'))", "'x' LIKE 'x' ESCAPE 'zz'",
		"zeroblob(2000000000)", "(SELECT sum(column1) FROM (VALUES (9223372036854775807), (1)))", "json_extract('{}', 'no path')"}
	if g.hooked {
		bad = append(bad, "failing(7)", "failing(7)")
	}
	return g.one(bad...)
}
