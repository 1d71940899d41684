package engine

import (
	"context"
	"database/sql/driver"
)

// A Beginner is a [Session] that can have a transaction begin together with its first statement. That saves a round trip.
type Beginner interface {
	// BeginLater returns a transaction of which nothing has been sent yet. It returns nil where the driver's own Begin must
	// begin the transaction: then that gives the error, too, if there is one. From BeginLater to the end of the transaction
	// the session is not Idle.
	BeginLater(ctx context.Context, opts driver.TxOptions) Beginning
}

// A Beginning is a transaction that is still to begin, and afterwards that transaction. Commit and Rollback of one that has
// not begun send nothing.
type Beginning interface {
	driver.Tx

	// First begins the transaction. It calls run, which executes or prepares s on the session's connection, and has the
	// beginning travel with what run sends, or sends it before. The error is run's, or that of the beginning. First is called
	// for each statement, until the transaction has begun.
	First(ctx context.Context, s Statement, run func() error) (Start, error)
}

// A Statement is what is executed first in a transaction. One that is only prepared has no arguments.
type Statement struct {
	Query string
	Args  []driver.NamedValue
	Text  bool // it is a text for Exec, and neither a query nor a prepared statement
}

// Start is what became of the beginning of a transaction.
type Start uint8

const (
	// NotBegun: nothing was sent. The next statement is the first.
	NotBegun Start = iota
	// Begun: the transaction has begun, or its connection is of no more use.
	Begun
	// LostBefore: the connection was lost before the transaction had begun on it, so that the statement has certainly not been
	// executed. Another connection may do for both.
	LostBefore
)
