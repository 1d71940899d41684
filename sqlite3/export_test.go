package sqlite3

import "github.com/groupcommit/groupcommit"

// Engine is what the package registers.
var Engine groupcommit.Engine = adapter{}

// Environment is the trait.
var Environment = environment

// IsForeign is what is said of a virtual table's text.
var IsForeign = isForeign

// UndoneIn is what is said of a COMMIT's error in a journal mode.
var UndoneIn = undoneIn

// BehindASync reports that a caller waits behind the sync that is under way of a database file's log.
func BehindASync(file string) bool {
	wals.mu.Lock()
	w := wals.byFile[file]
	wals.mu.Unlock()
	if w == nil {
		return false
	}
	log, err := w.syncer()
	return err == nil && log != nil && log.Behind()
}
