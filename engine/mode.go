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

// SyncMode says when a commit is durable, where an engine has the choice: on SQLite in WAL mode, for a database whose
// synchronous is FULL or EXTRA.
type SyncMode uint8

const (
	// SyncShared, the default: where several callers write, a transaction commits first, and its caller gets the answer after
	// a sync that it shares with those that have committed meanwhile. In between, others can read what the caller does not
	// know to be durable. A caller that writes alone commits as on the plain driver.
	SyncShared SyncMode = iota
	// SyncAlone: each commit is synced by itself, before others can read it, as on the plain driver.
	SyncAlone
	// SyncFull is SyncShared for a database whose synchronous is NORMAL, too: what is answered is durable, though the
	// program has not asked for it. What a program does on the driver's own connection (Raw) is as durable as that makes it.
	SyncFull
)

// SyncModes names all of them, for an error about another.
const SyncModes = "shared, alone or full"

func (m SyncMode) String() string {
	switch m {
	case SyncShared:
		return "shared"
	case SyncAlone:
		return "alone"
	case SyncFull:
		return "full"
	}
	return fmt.Sprintf("SyncMode(%d)", uint8(m))
}
