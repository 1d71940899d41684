package sqlite3

import (
	"os"

	"github.com/groupcommit/groupcommit"
)

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
	for _, w := range walsOf(file) {
		if log, err := w.log(); err == nil && log != nil && log.Behind() {
			return true
		}
	}
	return false
}

// ShareNowhere has every file system be one on which no syncs are shared, until restore is called.
func ShareNowhere() (restore func()) {
	before := sharable
	sharable = func(*os.File) error { return errUnshared }
	return func() { sharable = before }
}
