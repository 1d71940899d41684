package sqlite3

import (
	"database/sql"
	"slices"

	"github.com/groupcommit/groupcommit"
	"github.com/mattn/go-sqlite3"
)

// DriverName is the name that importing the package registers, unless it is taken. Without cgo it is registered, too: the first use
// of a database then has go-sqlite3's own error, which says that it needs cgo.
const DriverName = "sqlite3-groupcommit"

func init() {
	if !slices.Contains(sql.Drivers(), DriverName) {
		groupcommit.Register(DriverName, &sqlite3.SQLiteDriver{})
	}
}
