// Package sqltext decides from the text of a query alone how it may be run: in a transaction that it shares with other
// callers' statements, on any connection, or only on a connection that stays its own.
//
// It is a lexer and a little grammar, not a parser: it knows where statements begin and end and what their first words mean.
// Its answers are one-sided. A text is [Batch] or [Read] only if every token of it was understood. If the tokens themselves
// are in doubt (a backslash in a string, say, ends the string in one database and not in another), the text is searched for
// all that could be a BEGIN or a SET under any reading.
//
// A text does not show triggers and functions that change the session or end the transaction, so the package does not see
// these.
package sqltext

// Dialect says which database's rules a text is read by.
type Dialect uint8

const (
	// Generic is any database. A text that databases read differently is not batchable.
	Generic Dialect = iota
	SQLite
	Postgres
)

func (d Dialect) String() string {
	switch d {
	case Generic:
		return "generic"
	case SQLite:
		return "sqlite"
	case Postgres:
		return "postgres"
	}
	return "invalid dialect"
}

// Class says how a text may be run.
type Class uint8

const (
	// Unknown is a text that is not recognised, or that is recognised as standing alone: DDL, CALL, VACUUM, several
	// statements in one text. It needs a connection, but leaves nothing on it.
	Unknown Class = iota
	// Batch is exactly one INSERT, UPDATE, DELETE, REPLACE, MERGE, or WITH that ends in one of these. It calls no function
	// whose answer or effect depends on the connection or on the extent of the transaction.
	Batch
	// Read is exactly one statement that only reads and takes no write lock.
	Read
	// Control begins, ends or divides a transaction, perhaps among other statements. The connection must be kept while
	// the transaction is open.
	Control
	// Session changes the connection itself, perhaps among other statements, Control ones too. The connection must be
	// kept for good.
	Session
)

func (c Class) String() string {
	switch c {
	case Unknown:
		return "Unknown"
	case Batch:
		return "Batch"
	case Read:
		return "Read"
	case Control:
		return "Control"
	case Session:
		return "Session"
	}
	return "invalid class"
}

// Statement is the result of Classify for a text.
type Statement struct {
	Class Class
	// Why says what keeps the text from being a Batch.
	Why Why
	// Write is false only for a Read that calls no function known to write.
	Write bool
	// Returning says that the word RETURNING stands in the text, outside quotes and comments.
	Returning bool
	// Schema says that the text may change the meaning of a prepared statement. It is false only for a Batch, a Read, and
	// pure transaction control.
	Schema bool
	// Sets says that [Settings] may find settings in the text.
	Sets bool
	// Empty says that there is no statement in the text.
	Empty bool
	// Tentative says that the text is one plain statement of transaction control that takes no lock and writes nothing by
	// itself. A statement that is not recognised is not Tentative.
	Tentative bool
	// Savepoint says that the text is one plain statement that makes a savepoint, releases it or goes back to it.
	Savepoint bool
	// Pragma says that the text is one PRAGMA.
	Pragma bool
}
