// Package record has every statement that calls with ids and commands use on the table groupcommit_promises, once for each
// database. (Package durable makes the table, and has the statements of its own Store.)
//
// A [Dialect] is the statements of one database. Four parts of the library execute them, each in its own way:
//
//   - A [Table] is for commands: it executes statements in a *sql.Tx or on a *sql.DB.
//   - A [Sweep] deletes old promises, in the same way.
//   - Package sqlite3 keeps [SQLiteRead] and [SQLiteInsert] prepared on its connection. [Notes] has the arguments.
//   - Package pgx sends [PostgresClaim], [PostgresRead] and [PostgresCorrect] in a pipeline, and for one call by
//     itself the same with literals.
//
// Another database is another Dialect: see [Of].
package record

import (
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/groupcommit/groupcommit/durable"
)

// Name is the table's name, for the texts of errors.
const Name = "groupcommit_promises"

// Row is a promise in the table.
type Row struct {
	ID      string
	Kind    string // a command's; "": it is no command
	Key     durable.Key
	State   durable.State
	Value   []byte // the outcome's
	Param   []byte
	Owner   string // the process that has leased it
	Created time.Time
	Timeout time.Time // zero: never
}

// Statement is a text with its arguments.
type Statement struct {
	Text string
	Args []any
}

// Dialect is how one database says what a [Table] does: each method makes the statements for the Table's method of the same
// name. A method that returns several is for a database that needs several: the last of them returns the rows.
type Dialect interface {
	// Claim returns no statement where the transaction already keeps other writers out. The rows are the ids that were
	// claimed.
	Claim(t *Table, rows []Row) []Statement
	// Record yields each statement with the number of rows that it must affect.
	Record(t *Table, rows []Row, claimed time.Time) iter.Seq2[Statement, int]
	Settle(rows []Row) iter.Seq[Statement]
	// Last is Record's statements, or those of Settle if the rows are in the state Pending, where they can count by themselves:
	// each fails unless it completes all its rows. false: they cannot.
	Last(t *Table, rows []Row, from durable.State, claimed time.Time) ([]Statement, bool)
	// Read has the columns that scan reads, as does Take.
	Read(ids []string) Statement

	Pending(kind string, r Row, owner string, until time.Time) Statement
	Hold(ids []string, owner string, now time.Time) Statement
	// Look has three booleans, in the order of [Due].
	Look(kind string, now time.Time) Statement
	Take(kind, owner string, now, until time.Time, n int) []Statement
	Renew(ids []string, owner string, until time.Time) Statement
	Release(kind, owner string) Statement
	Expire(kind string, now time.Time) Statement
	Shelve(ids []string, until time.Time) Statement
	Waiting(kind string, before time.Time, n int) Statement

	// Old is for a [Sweep]. It reads a piece of the table that begins at a place, and has one row: where the next piece begins
	// (From, Version), whether this piece is the last, how many promises in it are older than age, up to sweepMost, and their
	// places, as Forget has them.
	Old(at Place, age time.Duration) Statement
	// Forget deletes the promises at places, if they are older than age.
	Forget(places string, age time.Duration) Statement
}

// Of returns the statements of a database, or nil if there are none for it.
func Of(d durable.Dialect) Dialect {
	switch d {
	case durable.SQLite:
		return SQLite{common{in: "IN (SELECT value FROM json_each($1))", list: jsonArray}}
	case durable.PostgreSQL:
		return Postgres{common{in: "= ANY ($1::text[])", list: textArray, order: " ORDER BY id FOR UPDATE", lock: " FOR UPDATE SKIP LOCKED"}}
	}
	return nil
}

// Incomplete is the error of a table that has not taken the outcomes of so many commands: a trigger may ignore a row.
func Incomplete(rows int, taken int64) error {
	return fmt.Errorf("groupcommit: the outcomes of %d commands could not be recorded: "+Name+" has taken %d", rows, taken)
}

// taken is what the server says of a statement that has not completed all its rows, before the number that it has completed.
const taken = Name + " has completed "

// LastFailed is the error of a statement of [Table.Last], as Record would have said it.
func LastFailed(err error) error {
	if _, said, ok := strings.Cut(err.Error(), taken); ok {
		var rows int
		var n int64
		if _, failed := fmt.Sscanf(said, "%d of %d", &n, &rows); failed == nil {
			return Incomplete(rows, n)
		}
	}
	return err
}

// Hidden is the error of an id that cannot be claimed although no row with it can be seen.
func Hidden(id string) error {
	return fmt.Errorf("groupcommit: id %q: "+Name+" neither takes a row with it nor shows one; a trigger or a policy may hide it", id)
}

// mostBytes bounds what goes into the database together, but for a single row: there is a limit to a value, and results that
// keep it one by one would exceed it together.
const mostBytes = 4 << 20

// pieces are rows, in their order, as many at a time as go into the database together.
func pieces(rows []Row) iter.Seq[[]Row] {
	return func(yield func([]Row) bool) {
		for len(rows) > 0 {
			n, bytes := 0, 0
			for n < len(rows) {
				bytes += len(rows[n].ID) + len(rows[n].Key) + len(rows[n].Value)
				if n > 0 && bytes > mostBytes {
					break
				}
				n++
			}
			if !yield(rows[:n]) {
				return
			}
			rows = rows[n:]
		}
	}
}

func idsOf(rows []Row) []string {
	ids := make([]string, len(rows))
	for i, r := range rows {
		ids[i] = r.ID
	}
	return ids
}
