//go:build cgo && (!linux || groupcommit_driver)

package sqlite3

import "github.com/mattn/go-sqlite3"

const mayCross = false

// Here each step of a group goes by the driver's calls.

func crosses(*sqlite3.SQLiteConn) bool                          { return false }
func handleOf(*sqlite3.SQLiteStmt) uint64                       { return 0 }
func levelOf(*sqlite3.SQLiteConn, int64) (level int64, ok bool) { return 0, false }
func (*segment) run()                                           {}
