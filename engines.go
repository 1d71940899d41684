package groupcommit

import (
	"database/sql/driver"

	"github.com/groupcommit/groupcommit/engine"
)

// An Engine is what a database must tell us: how a group becomes one commit on it, and how it differs from the
// database next door. Packages sqlite3 and pgx bring one each; without one, the engine for any driver serves. A program needs
// to know no more: package engine is for authors of adapters.
type Engine = engine.Engine

// A Call is one Exec of a group, as [OnGroup] is told of it.
type Call = engine.Call

// GroupMode is how a group is committed, where an engine has the choice.
type GroupMode = engine.GroupMode

const (
	// Automatic, the default: Transaction, but Autocommit where the engine finds that the calls of one transaction would not be
	// safe from each other. [Stats] tells which one it is, and why. On PostgreSQL it asks for functions that set something
	// for their transaction: see package pgx.
	Automatic = engine.Automatic
	// Transaction: the calls of a group share one transaction.
	Transaction = engine.Transaction
	// Autocommit: each call has a transaction of its own, and they share what makes them durable. It is slower than
	// one transaction, and in nothing different from the plain driver: for programs that count notifications, or read
	// the time of their transaction. PostgreSQL only; elsewhere it is an error when the database is first used.
	Autocommit = engine.Autocommit
)

// RegisterEngine makes an engine known to [Register] and [NewConnector]: see engine.Register.
func RegisterEngine(match func(driver.Conn) Engine) { engine.Register(match) }
