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

// RegisterEngine makes an engine known to [Register] and [NewConnector]: see engine.Register.
func RegisterEngine(match func(driver.Conn) Engine) { engine.Register(match) }
