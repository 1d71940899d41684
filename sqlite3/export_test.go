package sqlite3

import (
	"os"

	"github.com/groupcommit/groupcommit"
	mattn "github.com/mattn/go-sqlite3"
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

// Crosses reports that several statements of a connection may go to SQLite at once.
func Crosses(c *mattn.SQLiteConn) bool { return crosses(c) }

// DriverOnly has connections that are opened until restore is called go by the driver's own calls.
func DriverOnly() (restore func()) {
	before := driverOnly.Swap(true)
	return func() { driverOnly.Store(before) }
}

// MayCross says that the package was built to do that.
const MayCross = mayCross

// GuestsAmong are the functions that are the program's.
var GuestsAmong = guestsAmong
