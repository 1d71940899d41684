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

// remains says what a failed statement has left in the transaction, beside what it leaves in autocommit.
//
// In autocommit SQLite rolls back everything, unless the error was raised with FAIL; in a transaction it undoes the
// statement only if that was compiled with a statement journal, which it is where the compiler saw that the statement
// writes more than once and may abort (sqlite3MultiWrite and sqlite3MayAbort). Of an error that comes from elsewhere (a
// function, a STRICT column's type, a sum that overflows) the compiler does not know.
type remains uint8

const (
	same    remains = iota // what autocommit leaves
	more                   // autocommit leaves nothing; here there may be rows of it
	unclear                // nobody knows
)

// remains is asked after an error that has left the transaction open.
//
//   - The codes of raised are given to sqlite3HaltConstraint, which makes the compiler see that the statement may abort.
//     With FAIL instead of ABORT the rows are kept, and are so in autocommit: SQLite looks first whether an immediate
//     foreign key is violated, and if so the code is FOREIGNKEY. A deferred one fails the COMMIT of the group, as it
//     fails the statement in autocommit.
//   - A violated foreign key is ABORT, whatever the statement says. The compiler sees that it may come, except
//     from a parent's ON DELETE or ON UPDATE CASCADE or SET NULL: it relies on the action to mend what the parent's change has
//     broken. RAISE(IGNORE), RAISE(FAIL) and conflict clauses can keep the action from it.
//   - Every other error is ABORT, too, except of a virtual table whose module takes part in conflict clauses: an OR FAIL
//     keeps what was before its plain SQLITE_CONSTRAINT.
//   - A savepoint undoes everything, except in a virtual table whose module does not know of savepoints.
//   - What is not the statement's own error (of a wrapper, of the disk, of another connection) says nothing.
func (s *session) remains(c *engine.Call, err error) remains {
	if s.untouched {
		return same
	}
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
	words, err := s.schemaWords()
	if err != nil {
		return unclear
	}
	switch {
	case e.ExtendedCode == sqlite3.ErrConstraintForeignKey && !words.conflict && !conflictWord.MatchString(c.Query):
		return same
	case words.foreign, isPlainConstraint(e) && (words.fail || failWord.MatchString(c.Query)):
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

// codeOf is the code of an error of SQLite's; 0 of any other.
func codeOf(err error) sqlite3.ErrNo {
	var e sqlite3.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}

// schemaWords is what the schemas of all databases say that bears on what a failed statement leaves.
type schemaWords struct {
	version  string
	locked   bool // no schema can change before the transaction ends
	conflict bool // a word that says what becomes of a conflict
	fail     bool // the word FAIL
	foreign  bool // a virtual table that may not know of savepoints
}

var (
	conflictWord = regexp.MustCompile(`(?i)\b(FAIL|IGNORE|REPLACE)\b`)
	failWord     = regexp.MustCompile(`(?i)\bFAIL\b`)
	virtualTable = regexp.MustCompile(`(?is)^CREATE VIRTUAL TABLE .*\bUSING\s+["'\[` + "`" + `]?(\w+)`)
	using        = regexp.MustCompile(`(?i)\bUSING\b`)
)

// modules keep what they store in tables of the database itself, so that savepoints hold for it.
var modules = []string{"fts3", "fts4", "fts5", "rtree", "rtree_i32", "geopoly"}

// schemaWords reads the schemas, if they are others than before. It is asked within a transaction, which keeps the main
// schema as it is.
func (s *session) schemaWords() (schemaWords, error) {
	if s.words.locked {
		return s.words, nil
	}
	names, err := s.databases()
	if err != nil {
		return schemaWords{}, err
	}
	words := schemaWords{}
	for _, name := range names {
		n, err := number(s.lite, "PRAGMA "+quoted(name)+".schema_version")
		if err != nil {
			return schemaWords{}, err
		}
		words.version += fmt.Sprintf("%s=%d,", quoted(name), n)
	}
	if s.words.version != words.version {
		for _, name := range names {
			created, err := first(s.lite.Query("SELECT sql FROM "+quoted(name)+".sqlite_schema WHERE sql IS NOT NULL", nil))
			if err != nil {
				return schemaWords{}, err
			}
			for _, text := range created {
				words.conflict = words.conflict || conflictWord.MatchString(text)
				words.fail = words.fail || failWord.MatchString(text)
				words.foreign = words.foreign || isForeign(text)
			}
		}
		s.words = words
	}
	s.words.locked = len(names) == 1
	return s.words, nil
}

// isForeign reports a virtual table of a module that is not SQLite's own. SQLite writes the beginning of the text itself.
func isForeign(created string) bool {
	if !strings.HasPrefix(created, "CREATE VIRTUAL TABLE ") {
		return false
	}
	m := virtualTable.FindStringSubmatch(created)
	return m == nil || len(using.FindAllString(created, 2)) != 1 || !slices.Contains(modules, strings.ToLower(m[1]))
}
