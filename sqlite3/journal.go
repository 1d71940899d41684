//go:build cgo

package sqlite3

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"

	"github.com/groupcommit/groupcommit/internal/applog"
	"github.com/mattn/go-sqlite3"
)

// Without a journal nothing can be rolled back: the pages that were written to the file stay there. A call of the plain
// driver's is one transaction and rarely needs a rollback. A group needs one whenever a call ends its transaction, and a
// call with an id whenever it fails. So there are neither where journal_mode is OFF.

// unprotected reports that a database of the connection has no journal. A program can change that at any time, so each
// group asks.
func (c *connection) unprotected() bool {
	for _, name := range c.files[len(c.own.journals):] {
		var st *sqlite3.SQLiteStmt
		if _, err := c.prepareOwn(&st, "PRAGMA "+quoted(name)+".journal_mode"); err != nil {
			return false // BEGIN will meet the same error
		}
		c.own.journals = append(c.own.journals, st)
	}
	for _, st := range c.own.journals {
		if c.isOff(st) {
			return true
		}
	}
	return false
}

func (c *connection) isOff(journal *sqlite3.SQLiteStmt) bool {
	rows, err := journal.Query(nil)
	if err != nil {
		return false
	}
	defer rows.Close()
	mode := c.own.row[:]
	return rows.Next(mode) == nil && strings.EqualFold(text(mode[0]), "off")
}

func errUnprotected(what string) error {
	return fmt.Errorf("groupcommit/sqlite3: %s: with journal_mode=OFF nothing can be rolled back; another journal_mode is needed", what)
}

var warned sync.Map // of the databases that were warned of

func warnUnprotected(file string) {
	if _, known := warned.LoadOrStore(file, true); !known {
		applog.Write(slog.LevelWarn, "groupcommit/sqlite3: with journal_mode=OFF nothing can be rolled back; each call has a transaction of its own, and none shares a commit", "database", file)
	}
}
