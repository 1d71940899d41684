//go:build cgo

package sqlite3

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/groupcommit/groupcommit/engine"

	"github.com/mattn/go-sqlite3"
)

// remains says which rows a failed statement has left in the transaction, compared with autocommit.
//
// In autocommit SQLite rolls back everything, unless the error was raised with FAIL. In a transaction it undoes the
// statement only if that was compiled with a statement journal. The compiler adds one if it sees that the statement writes
// more than once and may abort (sqlite3MultiWrite and sqlite3MayAbort). It does not see an error that comes from elsewhere:
// from a function, a STRICT column's type, a sum that overflows.
type remains uint8

const (
	same    remains = iota // the rows that autocommit leaves
	more                   // autocommit leaves nothing; here there may be rows of the statement
	unclear                // SQLite does not tell
)

// remains is asked after an error that has left the transaction open.
//
//   - The codes of raised are given to sqlite3HaltConstraint, which makes the compiler see that the statement may abort. FAIL
//     instead of ABORT keeps the rows, also in autocommit: SQLite first checks the immediate foreign keys, and if one is
//     violated the code is FOREIGNKEY. A deferred foreign key fails the COMMIT of the group, as it fails the statement in
//     autocommit.
//   - A violated foreign key is ABORT, whatever the statement says. The compiler sees that it may come, except from a parent's ON
//     DELETE or ON UPDATE CASCADE or SET NULL: it relies on the action to mend the rows that the parent's change has broken.
//     RAISE(IGNORE), RAISE(FAIL) and conflict clauses can keep the action from it.
//   - Every other error is ABORT, too, except of a virtual table whose module takes part in conflict clauses: an OR FAIL keeps
//     the rows before its plain SQLITE_CONSTRAINT.
//   - A savepoint undoes everything, except in a virtual table whose module does not know of savepoints.
//   - An error that is not the statement's own (of a wrapper, of the disk, of another connection) says nothing.
func (w *schemaWords) remains(conn *connection, c *engine.Call, err error) remains {
	var e sqlite3.Error
	if !errors.As(err, &e) {
		return unclear
	}
	switch e.Code {
	case sqlite3.ErrConstraint, sqlite3.ErrError, sqlite3.ErrMismatch, sqlite3.ErrTooBig:
	default:
		return unclear
	}
	if slices.Contains(raised, e.ExtendedCode) {
		return same
	}
	if w.read(conn) != nil {
		return unclear
	}
	switch {
	case e.ExtendedCode == sqlite3.ErrConstraintForeignKey && !w.conflict && !conflictWord.MatchString(c.Query):
		return same
	case w.foreign, isPlainConstraint(e) && (w.fail || failWord.MatchString(c.Query)):
		return unclear
	}
	return more
}

var raised = []sqlite3.ErrNoExtended{
	sqlite3.ErrConstraintUnique, sqlite3.ErrConstraintPrimaryKey, sqlite3.ErrConstraintNotNull, sqlite3.ErrConstraintCheck,
	sqlite3.ErrConstraintRowID, sqlite3.ErrConstraintTrigger,
}

func isPlainConstraint(e sqlite3.Error) bool {
	return e.ExtendedCode == sqlite3.ErrNoExtended(sqlite3.ErrConstraint)
}

// schemaWords are the words in the schemas of all databases that matter for the remains of a failed statement.
type schemaWords struct {
	version  string
	locked   bool // no schema can change before the transaction ends
	conflict bool // a word of a conflict clause
	fail     bool // the word FAIL
	foreign  bool // a virtual table that may not know of savepoints
}

var (
	conflictWord = regexp.MustCompile(`(?i)\b(FAIL|IGNORE|REPLACE)\b`)
	failWord     = regexp.MustCompile(`(?i)\bFAIL\b`)
	virtualTable = regexp.MustCompile(`(?is)^CREATE VIRTUAL TABLE .*\bUSING\s+["'\[` + "`" + `]?(\w+)`)
	using        = regexp.MustCompile(`(?i)\bUSING\b`)
)

// modules store their data in tables of the database itself, so that savepoints hold for it.
var modules = []string{"fts3", "fts4", "fts5", "rtree", "rtree_i32", "geopoly"}

// read reads the schemas, if they have changed since. It is called within a transaction, which keeps the main schema as it is.
func (w *schemaWords) read(conn *connection) error {
	if w.locked {
		return nil
	}
	names, err := conn.databases()
	if err != nil {
		return err
	}
	words := schemaWords{}
	for _, name := range names {
		n, err := number(conn.lite, "PRAGMA "+quoted(name)+".schema_version")
		if err != nil {
			return err
		}
		words.version += fmt.Sprintf("%s=%d,", quoted(name), n)
	}
	if w.version != words.version {
		for _, name := range names {
			created, err := firstColumn(conn.lite.Query("SELECT sql FROM "+quoted(name)+".sqlite_schema WHERE sql IS NOT NULL", nil))
			if err != nil {
				return err
			}
			for _, text := range created {
				words.conflict = words.conflict || conflictWord.MatchString(text)
				words.fail = words.fail || failWord.MatchString(text)
				words.foreign = words.foreign || isForeign(text)
			}
		}
		*w = words
	}
	w.locked = len(names) == 1
	return nil
}

// isForeign reports a virtual table of a module that is not SQLite's own. SQLite writes the beginning of the text itself.
func isForeign(created string) bool {
	if !strings.HasPrefix(created, "CREATE VIRTUAL TABLE ") {
		return false
	}
	m := virtualTable.FindStringSubmatch(created)
	return m == nil || len(using.FindAllString(created, 2)) != 1 || !slices.Contains(modules, strings.ToLower(m[1]))
}
