package sqlite3

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"

	"github.com/mattn/go-sqlite3"
)

// Without a journal nothing can be rolled back: what pages were written to the file stays there. The plain driver's
// calls each are a transaction and rarely need to be. A group does whenever a call ends its transaction, and a call with
// an id whenever it fails. So there are neither where journal_mode is OFF.

// unprotected reports that a database of the connection has no journal. A program can change that at any time, so each
// group asks.
func (s *session) unprotected() bool {
	for _, name := range s.files[len(s.own.journals):] {
		var st *sqlite3.SQLiteStmt
		if _, err := s.statement(&st, "PRAGMA "+quoted(name)+".journal_mode"); err != nil {
			return false // whatever it is, BEGIN will meet it
		}
		s.own.journals = append(s.own.journals, st)
	}
	for _, st := range s.own.journals {
		if s.isOff(st) {
			return true
		}
	}
	return false
}

func (s *session) isOff(journal *sqlite3.SQLiteStmt) bool {
	rows, err := journal.Query(nil)
	if err != nil {
		return false
	}
	defer rows.Close()
	mode := s.own.row[:]
	return rows.Next(mode) == nil && strings.EqualFold(text(mode[0]), "off")
}

func errUnprotected(what string) error {
	return fmt.Errorf("groupcommit/sqlite3: %s: with journal_mode=OFF nothing can be rolled back; another journal_mode is needed", what)
}

var warned sync.Map // of the databases that were warned of

func warnUnprotected(file string) {
	if _, known := warned.LoadOrStore(file, true); !known {
		slog.Warn("groupcommit/sqlite3: with journal_mode=OFF nothing can be rolled back; each call has a transaction of its own, and none shares a commit", "database", file)
	}
}
