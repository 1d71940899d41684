package engine

import "fmt"

// GroupMode says how a group is committed, where an engine has the choice.
type GroupMode uint8

const (
	// Automatic, the default, is Transaction, but Autocommit if the engine finds that calls of one transaction could affect
	// each other. Stats tell which mode it is, and why. On PostgreSQL the engine looks for functions that set a value for
	// their transaction: see package pgx.
	Automatic GroupMode = iota
	// Transaction: the calls of a group share one transaction.
	Transaction
	// Autocommit: each call has its own transaction, and the transactions share what makes them durable. It is slower than
	// one transaction, and does not differ from the plain driver: it is for programs that count notifications, or read the
	// time of their transaction. PostgreSQL only; elsewhere it is an error when the database is first used.
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
