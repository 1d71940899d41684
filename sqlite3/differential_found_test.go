package sqlite3_test

import "testing"

// Programs that a differential test has found, as it prints them.

func TestRowsOfAFailedStatementDoNotStayWithTheNeighbours(t *testing.T) {
	neighbour := []diffOp{{what: "exec", sql: `INSERT INTO t (k, own, a) VALUES (2000, 2, 1)`, counted: true}}
	for name, failing := range map[string]string{
		"an error of a table-valued function": `UPDATE t SET a = (SELECT value FROM json_each(CASE a WHEN 3 THEN '{' ELSE '[1]' END)) WHERE own = 1`,
		"a type of a STRICT table":            `INSERT INTO t (k, own, a) VALUES (1005, 1, 5), (1006, 1, 'x')`,
		"an overflow in mid-scan":             `INSERT INTO t (k, own, a) SELECT x, 1, sum(y) FROM (SELECT column1 AS x, column2 AS y FROM (VALUES (1010, 1), (1012, 9223372036854775807), (1012, 1))) GROUP BY x`,
	} {
		t.Run(name, func(t *testing.T) {
			sameAnswers(t, diffProgram{params: "_sync=OFF&_busy_timeout=60000&_journal=WAL", schema: []string{
				`CREATE TABLE t (k INT, own INT, a INT) STRICT`,
				`INSERT INTO t VALUES (1000, 1, 1), (1001, 1, 2), (1002, 1, 3)`,
			}, callers: [][]diffOp{{{what: "exec", sql: failing, counted: true}}, neighbour}})
		})
	}
}

func TestADeferredForeignKeyThatExecOfAQueryViolates(t *testing.T) {
	sameAnswers(t, diffProgram{params: "_sync=OFF&_fk=1&_journal=WAL", schema: []string{
		`CREATE TABLE t (k INT PRIMARY KEY, p INT REFERENCES t (k) DEFERRABLE INITIALLY DEFERRED) WITHOUT ROWID`,
	}, callers: [][]diffOp{{{what: "exec", sql: `INSERT INTO t (k, p) VALUES (6, 2) RETURNING *`}}}})
}
