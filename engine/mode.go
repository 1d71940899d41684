package engine

import "fmt"

// GroupMode is how a group is committed, where an engine has the choice.
type GroupMode uint8

const (
	// Automatic, the default: Transaction, but Autocommit where the engine finds that the calls of one transaction would not be
	// safe from each other. Stats tell which one it is, and why. On PostgreSQL it asks for functions that set something
	// for their transaction: see package pgx.
	Automatic GroupMode = iota
	// Transaction: the calls of a group share one transaction.
	Transaction
	// Autocommit: each call has a transaction of its own, and they share what makes them durable. It is slower than
	// one transaction, and in nothing different from the plain driver: for programs that count notifications, or read
	// the time of their transaction. PostgreSQL only; elsewhere it is an error when the database is first used.
	Autocommit
)

// Modes names all modes, for an error about another.
const Modes = "automatic, transaction or autocommit"

func (m GroupMode) String() string {
	switch m {
	case Automatic:
		return "automatic"
	case Transaction:
		return "transaction"
	case Autocommit:
		return "autocommit"
	}
	return fmt.Sprintf("GroupMode(%d)", uint8(m))
}
