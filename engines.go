package groupcommit

import (
	"database/sql/driver"

	"github.com/groupcommit/groupcommit/engine"
)

// An Engine tells the library about one kind of database: how a group becomes one commit on it, and how it differs from
// other databases. Packages sqlite3 and pgx bring one each. Without one, the engine for any driver serves. A program needs
// to know no more: package engine is for authors of adapters.
type Engine = engine.Engine

// A Call is one Exec of a group, as [OnGroup] sees it.
type Call = engine.Call

// GroupMode says how a group is committed, where an engine has the choice.
type GroupMode = engine.GroupMode

const (
	// Automatic, the default, is Transaction, but Autocommit if the engine finds that calls of one transaction could affect
	// each other. [Stats] tells which mode it is, and why. On PostgreSQL the engine looks for functions that set a value for
	// their transaction: see package pgx.
	Automatic = engine.Automatic
	// Transaction: the calls of a group share one transaction.
	Transaction = engine.Transaction
	// Autocommit: each call has its own transaction, and the transactions share what makes them durable. It is slower than
	// one transaction, and does not differ from the plain driver: it is for programs that count notifications, or read the
	// time of their transaction. PostgreSQL only; elsewhere it is an error when the database is first used.
	Autocommit = engine.Autocommit
)

// SyncMode says when a commit is durable, where an engine has the choice: on SQLite in WAL mode.
type SyncMode = engine.SyncMode

const (
	// SyncShared, the default: where several callers write, a transaction commits first, and its caller gets the answer after
	// a sync that it shares with those that have committed meanwhile. In between, others can read what the caller does not
	// know to be durable: it is lost if the machine fails then. A caller that writes alone commits as on the plain driver.
	SyncShared = engine.SyncShared
	// SyncAlone: each commit is synced before others can read it, as on the plain driver.
	SyncAlone = engine.SyncAlone
	// SyncFull is SyncShared for a database whose synchronous is NORMAL, too: what is answered is durable, though the
	// program has not asked for it. Callers that write at the same time share the syncs that this costs; one alone pays a sync each time.
	SyncFull = engine.SyncFull
)

// RegisterEngine makes an engine known to [Register] and [NewConnector]: see engine.Register.
func RegisterEngine(match func(driver.Conn) Engine) { engine.Register(match) }
