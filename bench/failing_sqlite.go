package main

import (
	"errors"

	"github.com/mattn/go-sqlite3"
)

// sqliteFailures cover all the ways in which SQLite undoes a failed statement, or does not.
var sqliteFailures = []*failure{
	{"UNIQUE", "CREATE TABLE T_f (u INT UNIQUE, n INT); INSERT INTO T_f VALUES (1, 1)", "INSERT INTO T_f VALUES (1, ?)", isExtended(sqlite3.ErrConstraintUnique)},
	{"CHECK", "CREATE TABLE T_f (u INT CHECK (u < 5), n INT)", "INSERT INTO T_f VALUES (7, ?)", isExtended(sqlite3.ErrConstraintCheck)},
	{"NOT NULL", "CREATE TABLE T_f (u INT NOT NULL, n INT)", "INSERT INTO T_f VALUES (NULL, ?)", isExtended(sqlite3.ErrConstraintNotNull)},
	{"foreign key", "CREATE TABLE T_p (k INTEGER PRIMARY KEY); CREATE TABLE T_f (p INT REFERENCES T_p, n INT)", "INSERT INTO T_f VALUES (1, ?)", isExtended(sqlite3.ErrConstraintForeignKey)},
	{"STRICT type in the 2nd row", "CREATE TABLE T_f (a INT, n INT) STRICT", "INSERT INTO T_f VALUES (1, ?1), ('x', ?1)", isExtended(sqlite3.ErrConstraint.Extend(12))},
	{"integer overflow in mid-scan", "CREATE TABLE T_s (k INT, v INT); INSERT INTO T_s VALUES (1, 1), (2, 9223372036854775807), (2, 1); CREATE TABLE T_f (k INT, v INT, n INT)",
		"INSERT INTO T_f SELECT k, sum(v), ? FROM T_s GROUP BY k", isCode(sqlite3.ErrError)},
	{"RAISE(ABORT)", "CREATE TABLE T_f (n INT); CREATE TRIGGER T_t AFTER INSERT ON T_f BEGIN SELECT RAISE(ABORT, 'no'); END", "INSERT INTO T_f VALUES (?)", isExtended(sqlite3.ErrConstraintTrigger)},
	{"RAISE(FAIL)", "CREATE TABLE T_f (n INT); CREATE TRIGGER T_t BEFORE INSERT ON T_f BEGIN SELECT RAISE(FAIL, 'no'); END", "INSERT INTO T_f VALUES (?)", isExtended(sqlite3.ErrConstraintTrigger)},
	{"OR FAIL", "CREATE TABLE T_f (u INT UNIQUE, n INT); INSERT INTO T_f VALUES (1, 1)", "INSERT OR FAIL INTO T_f VALUES (1, ?)", isExtended(sqlite3.ErrConstraintUnique)},
	{"OR ROLLBACK", "CREATE TABLE T_f (u INT UNIQUE, n INT); INSERT INTO T_f VALUES (1, 1)", "INSERT OR ROLLBACK INTO T_f VALUES (1, ?)", isExtended(sqlite3.ErrConstraintUnique)},
	{"ON CONFLICT ROLLBACK", "CREATE TABLE T_f (u INT UNIQUE ON CONFLICT ROLLBACK, n INT); INSERT INTO T_f VALUES (1, 1)", "INSERT INTO T_f VALUES (1, ?)", isExtended(sqlite3.ErrConstraintUnique)},
}

func isExtended(code sqlite3.ErrNoExtended) func(error) bool {
	return func(err error) bool {
		e, ok := errors.AsType[sqlite3.Error](err)
		return ok && e.ExtendedCode == code
	}
}

func isCode(code sqlite3.ErrNo) func(error) bool {
	return func(err error) bool {
		e, ok := errors.AsType[sqlite3.Error](err)
		return ok && e.Code == code
	}
}

func (d dir) failures() []*failure { return sqliteFailures }

func (d dir) failing(int) (theirs, ours run) {
	return run{side: plain, users: unbounded, synchronous: "full"}, run{side: grouped, users: unbounded, synchronous: "full"}
}
