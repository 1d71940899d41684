package engine

import "database/sql/driver"

// A Keeper is a [Session] that keeps the statements of texts that are executed again and again.
type Keeper interface {
	// Kept returns a statement that gives for these arguments, which nobody has converted yet, what the connection's own Exec of
	// the text gives; nil if there is none. The text has no rows. The statement is the session's, and is used before anything else
	// happens on the connection.
	Kept(query string, args []driver.NamedValue) driver.Stmt
}
