package durable

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
)

// Dialect is the SQL that a database speaks.
type Dialect uint8

const (
	SQLite     Dialect = iota + 1 // 3.35 or later
	PostgreSQL                    // 12 or later
)

// String returns the database's name.
func (d Dialect) String() string {
	switch d {
	case SQLite:
		return "SQLite"
	case PostgreSQL:
		return "PostgreSQL"
	}
	return fmt.Sprintf("Dialect(%d)", uint8(d))
}

// Querier is what this package needs of a database. *sql.DB, *sql.Conn and *sql.Tx have it.
type Querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// version is the version of the table that this package makes and can use.
const version = 1

// schema makes the table, version 1. Its columns hold:
//
//	state                    a State
//	kind                     the type of a command; NULL for other promises
//	…_headers, tags          JSON objects of strings; NULL if there are none
//	param, value             the Data; NULL if there is none
//	timeout, …_at, …_until   milliseconds since 1970; a NULL timeout is never
//
// The row with the empty id, which no promise has, holds the table's version as its value. It is made last: a process that
// finds it finds the whole table. Every search for promises has a condition that leaves this row out.
//
// What the deletion of old promises reads comes before what may be long: SQLite goes through all of a long value to find what is
// behind it.
//
// Pending promises are searched by kind, in the order of their creation. The index for that is partial: a promise that is made
// completed, as those of calls are, is never in it. Without it the table works, but slowly. There is none by which completed
// promises are found: whoever deletes the old ones reads all.
const schema = `
CREATE TABLE IF NOT EXISTS groupcommit_promises (
	id            {ID},
	state         SMALLINT NOT NULL,
	timeout       BIGINT,
	created_at    BIGINT NOT NULL,
	completed_at  BIGINT,
	create_key    {BYTES},
	complete_key  {BYTES},
	kind          TEXT,
	param_headers TEXT,
	param         {BYTES},
	value_headers TEXT,
	value         {BYTES},
	tags          TEXT,
	lease_owner   TEXT,
	lease_until   BIGINT
);
CREATE INDEX IF NOT EXISTS groupcommit_promises_pending ON groupcommit_promises (kind, created_at, id) WHERE state = 0;
INSERT INTO groupcommit_promises (id, state, created_at, value) VALUES ('', 1, 0, {VERSION}) ON CONFLICT (id) DO NOTHING`

// Schema returns the statements that make the table, in their order. They may be run again without harm. Prepare runs them
// if it may. If the program's role may not create tables, another role must run them, and the program's role then needs
// SELECT, INSERT, UPDATE and DELETE on groupcommit_promises. On SQLite the table must have rowids, by which the library finds old
// promises. Schema returns nil for a dialect that is not one of the constants.
func Schema(d Dialect) []string {
	var r *strings.Replacer
	switch d {
	case SQLite:
		r = strings.NewReplacer("{ID}", "TEXT NOT NULL PRIMARY KEY", "{BYTES}", "BLOB", "{VERSION}", fmt.Sprintf("X'%x'", "1"))
	case PostgreSQL:
		// The collation is that of the bytes, as in SQLite: searches have one order everywhere.
		r = strings.NewReplacer("{ID}", `TEXT COLLATE "C" PRIMARY KEY`, "{BYTES}", "BYTEA", "{VERSION}", "'1'")
	default:
		return nil
	}
	return strings.Split(strings.TrimSpace(r.Replace(schema)), ";\n")
}

// key stands for the index that keeps each id unique.
const key = "UNIQUE (id)"

// shape lists what the table must have: each column with its type, and the key. It may have more columns if they need no
// value.
func shape(d Dialect) (parts []string) {
	_, columns, _ := strings.Cut(Schema(d)[0], "(\n")
	for line := range strings.Lines(columns) {
		if words := strings.Fields(strings.TrimRight(line, ",\n")); len(words) > 1 {
			parts = append(parts, words[0]+" "+words[1])
		}
	}
	return append(parts, key)
}

// shapeOf are the queries for the parts of a shape that a table has. A unique index counts as the key if it has the id alone
// and covers every row, so that ON CONFLICT (id) finds it.
var shapeOf = map[Dialect]string{
	SQLite: `
		SELECT name || ' ' || upper(type) FROM pragma_table_info('groupcommit_promises')
		UNION ALL SELECT '` + key + `' WHERE EXISTS (
			SELECT 1 FROM pragma_index_list('groupcommit_promises') AS i WHERE i."unique" AND NOT i.partial AND
				(SELECT group_concat(name || ' ' || coll) FROM pragma_index_xinfo(i.name) WHERE key) = 'id BINARY')`,
	PostgreSQL: `
		SELECT attname || ' ' || upper(format_type(atttypid, atttypmod)) FROM pg_attribute
			WHERE attrelid = to_regclass('groupcommit_promises') AND attnum > 0 AND NOT attisdropped
		UNION ALL SELECT '` + key + `' WHERE EXISTS (
			SELECT 1 FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
			WHERE i.indrelid = to_regclass('groupcommit_promises') AND i.indisunique AND i.indisvalid AND i.indimmediate
				AND i.indpred IS NULL AND i.indnkeyatts = 1 AND a.attname = 'id')`,
}
