package sqltext

import (
	"strings"
	"testing"
	"time"
)

var dialects = []Dialect{Generic, SQLite, Postgres}

func FuzzClassify(f *testing.F) {
	for _, q := range benchmarks {
		f.Add(q.query)
	}
	for _, q := range []string{
		"", ";", "DELETE FROM t -- x", "DELETE FROM t;\n", "-- x\rBEGIN", "/* /* */ */ COMMIT", "/*! SET a = 1 */",
		"INSERT INTO t VALUES ('it''s', \"a\", `b`, [c], x'00', E'\\'', U&'a', $$b$$, $t$c$t$, $1, ?1, :a, @a, $a::b(c), .5e+1, 0xf)",
		"WITH RECURSIVE a (x) AS NOT MATERIALIZED (SELECT 1), b AS (DELETE FROM t RETURNING *) INSERT INTO changes (a) SELECT changes() FROM a",
		"INSERT OR ROLLBACK INTO t VALUES (1) ON CONFLICT DO UPDATE SET a = 1", "UPDATE t SET a = 1 WHERE CURRENT OF c",
		"CREATE TEMP TRIGGER r AFTER INSERT ON t BEGIN SELECT CASE WHEN 1 THEN 2 END; END; BEGIN",
		"CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; END; BEGIN", "PRAGMA main.journal_mode = wal", "EXPLAIN QUERY PLAN PRAGMA a(b)",
		"SELECT a INTO TEMP b FROM c FOR UPDATE", "\uFEFFSELECT \v\x00\xff\\ {}",
		"MERGE INTO t USING u ON a = b WHEN MATCHED THEN UPDATE SET c = @d := 1",
	} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, query string) {
		for _, d := range dialects {
			checkLaws(t, d, query)
		}
	})
}

// checkLaws checks what holds of every text.
func checkLaws(t *testing.T, d Dialect, query string) {
	t.Helper()
	class := func(q string) Class { return Classify(d, q).Class }

	got := Classify(d, query)
	calm := got.Class == Batch || got.Class == Read
	if got.Class > Session || !got.Write && got.Class != Read || calm && got.Schema || got.Class == Session && !got.Schema {
		t.Errorf("%v: %q contradicts itself: %+v", d, query, got)
	}
	if c := class("BEGIN;" + query); c != Control && c != Session {
		t.Errorf("%v: %q after BEGIN is %v", d, query, c)
	}
	session := "SET a = 1;"
	if d == SQLite {
		session = "ATTACH 'a' AS b;"
	}
	if c := class(session + query); c != Session {
		t.Errorf("%v: %q after %s is %v", d, query, session, c)
	}
	if !calm {
		return
	}

	if c := class(" \n" + swapCase(d, query) + "\n "); c != got.Class {
		t.Errorf("%v: %q is %v, but in other letters %v", d, query, got.Class, c)
	}
	if c := class(query + "\n;\n" + query); c == Batch || c == Read {
		t.Errorf("%v: %q twice is %v", d, query, c)
	}
	if c := class(query + "\n; BEGIN"); c != Control {
		t.Errorf("%v: %q before BEGIN is %v", d, query, c)
	}
	if c := class(query + "\n;" + session); c != Session {
		t.Errorf("%v: %q before %s is %v", d, query, session, c)
	}
	for _, bad := range []string{"'", "\"", "/*", "\x00", "\xff", ")", "("} {
		if c := class(query + "\n" + bad); c == Batch || c == Read {
			t.Errorf("%v: %q before %q is %v", d, query, bad, c)
		}
	}
}

// swapCase turns capitals into small letters and back, in what is no string, name or parameter.
func swapCase(d Dialect, query string) string {
	b := []byte(query)
	l := newLexer(d, query)
	for t := l.next(); t.kind != end; t = l.next() {
		if t.kind != word {
			continue
		}
		for i, c := range b[t.start:t.stop] {
			if 'a' <= c|0x20 && c|0x20 <= 'z' {
				b[t.start+i] = c ^ 0x20
			}
		}
	}
	return string(b)
}

func TestEveryLawHoldsOfEveryBeginningOfAText(t *testing.T) {
	for _, query := range []string{
		"WITH a (b) AS (SELECT ';''' || \"c\"\"d\") INSERT INTO changes (a) SELECT $1, ?, $$x;$$ /* y /* z */ */ RETURNING a -- b\n ; ",
		"CREATE TEMP TRIGGER r AFTER INSERT ON t BEGIN SELECT CASE WHEN 1 THEN 2 END; END; PRAGMA main.user_version = -1",
		"INSERT INTO t VALUES (E'\\'', U&\"\\0061\", x'ff', $a::b(c), 1.5e+3, `d`, [e], q'[f]', @g := 1) # h\n;",
	} {
		for i := range query {
			for _, d := range dialects {
				checkLaws(t, d, query[:i])
				checkLaws(t, d, query[i:])
			}
		}
	}
}

// A text of a megabyte may take a few seconds: in quadratic time it would take hours. A shorter one that is quick enough will do. One of
// a 16th may take a 256th of the time: then the longest has its time, even if it were quadratic.
func TestClassifyingTakesLinearTime(t *testing.T) {
	const size, most = 1 << 20, 5 * time.Second
	for _, piece := range []string{
		"'", "\"", "`", "[", "(", ")", ";", "/*", "*/", "/*/", "--", "--\n", "\r", "$", "$a", "$a$", "$$a", "$a::", "$a(", ":", "@", "#", "\\", "E'", "e'\\", "U&\"", "0x", "1e", "1.",
		"a", "a ", "a(", "_", "\x00", "\xff", "\uFEFF", "é", "WITH ", "WITH a AS (", "CREATE ", "CREATE TRIGGER ", "BEGIN ", "BEGIN;", ";END", "PRAGMA ", "EXPLAIN ", "/*!", "SET ", "INTO ", "a.",
	} {
		for _, d := range dialects {
			for part := time.Duration(16); ; part /= 2 {
				query := strings.Repeat(piece, size/len(piece)/int(part))
				begin := time.Now()
				Classify(d, query)
				took := time.Since(begin)
				if took <= most/(part*part) {
					break
				}
				if part == 1 {
					t.Errorf("%v: %d bytes of %q take %v", d, len(query), piece, took)
					break
				}
			}
		}
	}
}
