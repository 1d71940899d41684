// Package engine is for authors of adapters: what a database must tell groupcommit, and how groups become one commit on it.
// A program needs none of it.
package engine

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"slices"
	"sync"
	"time"

	"github.com/groupcommit/groupcommit/internal/sqltext"
)

// An Engine is what a database must tell us: how a group becomes one commit on it, and how it differs from the
// database next door. Packages sqlite3 and pgx bring one each; without one, the engine for any driver serves.
type Engine interface {
	// Open is called once for every new physical connection, before anything runs on it, possibly by several
	// goroutines at once.
	//
	// conn is what the wrapped driver (or a wrapper around it) returned; statements go through it, so that hooks
	// of the user's see them.
	Open(ctx context.Context, conn driver.Conn, s Settings) (Session, error)
}

// Settings are what an engine must know of the options.
type Settings struct {
	DSN         string           // without our options; "" where a connector came without one
	Connector   driver.Connector // the wrapped one, which opens the physical connections
	Mode        GroupMode        // how groups are committed, where there is a choice
	LockTimeout time.Duration    // how long a call in a group may wait for a lock; 0: as long as the session says
	MaxTime     time.Duration    // how long a group may take
	Promises    bool             // calls may have ids; the ledger's table is there before the first of them

	Spelling func(option string) string // how the program has written an option; nil: as it is called in code
	Schema   func() int64               // counts the changes of the schema; nil: there are none
}

// SchemaChanges counts the changes of the schema that have gone through this database.
func (s Settings) SchemaChanges() int64 {
	if s.Schema == nil {
		return 0
	}
	return s.Schema()
}

// Spelled returns an option's name as the program has written it, for an error about it: of "Mode", groupcommit_mode where it
// stood in the data source name.
func (s Settings) Spelled(option string) string {
	if s.Spelling == nil {
		return option
	}
	return s.Spelling(option)
}

// A Session is an [Engine] on one physical connection. It is never used by two goroutines at once.
//
// One that is a driver.Validator, too, says by IsValid whether the connection is still there.
type Session interface {
	// Traits describes the database. It returns the same for every connection of one data source.
	Traits() Traits

	// Alone runs one call as the plain driver runs it: in a transaction of its own, under the caller's context.
	Alone(c *Call) (driver.Result, error)

	// Group runs at least two calls in one transaction and commits it, answering each with [Call.Answer] or
	// [Call.Try], or putting it off with [Call.PutOff]. The answers count only if the outcome is Committed. ctx is
	// nobody's but the group's.
	Group(ctx context.Context, calls []*Call) Outcome

	// Idle reports that no transaction is open on the connection. False where it cannot be known.
	Idle() bool

	// Close frees what the session keeps on the connection. The connection itself is not the session's to close.
	Close()
}

// Outcome is how a group ended.
type Outcome struct {
	Verdict Verdict
	Culprit int   // for RolledBack: the index of the call that ended the transaction, or -1; for Unknown: at which it was
	Token   any   // for Unknown: what a [Resolver] can be asked about; nil if there is nothing to ask
	Err     error // for Refused and Unknown: why
	Again   bool  // for Refused: the group may run again, though Err is not transient by itself
	Broken  bool  // the connection must not be used again
	Apart   bool  // for RolledBack: the culprit has called runtime.Goexit, so that only its own caller may run it

	// Commit is how long the part took that a group pays once, however many calls it has: COMMIT, a round trip. It is
	// what waiting for one more caller can save. 0 says that it is not known: then nobody is waited for.
	Commit time.Duration
}

// Verdict says what became of a group's transaction.
type Verdict uint8

const (
	// Committed: the transaction is durable, and each call's answer stands; a failed call left nothing of itself,
	// or what the plain driver would have left.
	Committed Verdict = iota
	// RolledBack: nothing of the group is in the database, for certain. The calls run again: the culprit alone,
	// the others as groups; with no culprit each alone.
	RolledBack
	// Refused: nothing of the group is in the database, for certain, and trying again now is no use (the database
	// is busy, the connection failed). Err goes to every caller, unless it is transient or driver.ErrBadConn: then
	// the group runs again, on another connection.
	Refused
	// Unknown: COMMIT was sent and its answer never came. Calls with an id run again, each alone: its claim tells. The
	// others get an [OutcomeUnknownError].
	Unknown
)

// Dialect is how a database reads SQL text, as far as a wrapper must know.
type Dialect = sqltext.Dialect

// The dialects. GenericSQL is for a database that is not known: what two dialects would read differently is not
// batched.
const (
	GenericSQL  = sqltext.Generic
	SQLiteSQL   = sqltext.SQLite
	PostgresSQL = sqltext.Postgres
)

// A Resolver is a [Session] that can be asked what became of a group whose answer to COMMIT was lost. It is asked on
// another connection than the group's.
type Resolver interface {
	// Resolve returns Committed or RolledBack for certain, or Unknown. An error says that it is worth asking again.
	Resolve(ctx context.Context, token any) (Verdict, error)
}

// A Refresher is a [Session] whose traits a setting can change.
type Refresher interface {
	// Refresh returns the database's traits as they are after the program has made a setting, of that name in lower case, on the session's connection.
	// Nothing but Busy and BusyWait may differ from those that it is given.
	Refresh(t Traits, setting string) Traits
}

// A Moder is an [Engine] that chooses how groups are committed. One that is none has the mode Transaction.
type Moder interface {
	// Mode is how they are now, and why: "" where there is nothing to say. Any goroutine may ask, once a connection has been opened.
	Mode() (mode GroupMode, why string)
}

// Traits is how one database differs from another.
type Traits struct {
	// Dialect is how statements are read: what may join a group, what changes session state.
	Dialect Dialect

	// OneWriter says that the database has one writer at a time, whoever it is. Everything that writes then takes
	// turns: groups, write transactions, RETURNING queries.
	OneWriter bool
	// WriterKey names the database within this process, so that several sql.Open of it share the writer's turns.
	// "" shares with nobody.
	WriterKey string
	// OneConn says that the database lives in its one physical connection (in memory): there is never a second,
	// and it is kept until Close.
	OneConn bool
	// Ledger says that sessions claim and record the calls that have an id. Dialect must be one that package durable knows,
	// too.
	Ledger bool
	// Writers is how many groups run at the same time unless the option says otherwise; 0 is 1.
	Writers int
	// BeginWrites says that every BeginTx takes the database's write lock at once, also a read-only one.
	BeginWrites bool
	// OpenWrites says that a new connection may write to the file while it is being opened: it is then opened in the writer's
	// turn.
	OpenWrites bool
	// Busy is the error that a caller gets who waited longer than BusyWait for the writer: the driver's own.
	Busy     error
	BusyWait time.Duration

	// Check converts one argument without a connection, as database/sql does before it calls the driver. nil says
	// that only the physical connection can do it: arguments then stay raw until they reach it.
	Check func(*driver.NamedValue) error
	// Alone reports that some of the arguments are for the driver (an option, an out parameter), so that the call
	// cannot join a group. nil: only those with a sql.Out.
	Alone func([]driver.NamedValue) bool
	// ByText says that a statement which is prepared on a connection is used for every call with its text there, so that one
	// that the program has closed must be closed.
	ByText bool
	// Hook names what prepares a connection before each use from the context of whoever uses it, a pool's hook say; "" if
	// nothing does that is known. There are then no groups without groupcommit.Partition.
	Hook string
	// Pooled says that the physical connections come from another pool, whose users want them: none is kept when it is not
	// used, and what the pool does before each use is done.
	Pooled bool
	// Begin is the statement that begins a transaction which will write; "" is the driver's own Begin.
	Begin string
	// Savepoints says that a savepoint is cheap, and that a transaction can be used after a statement in it has failed.
	Savepoints bool
	// Final reports that an error would come again if the same was tried again (a violated constraint, a value that does not
	// fit), and the database's code for it. nil: none would.
	Final func(error) (code string, final bool)
	// Transient reports that an error is certain to have left nothing behind and may not come again: the call is
	// tried again by the policy of groupcommit.Retry. nil: none is.
	Transient func(error) bool
	// Environment reports that an error is none of the statement's: a server or a disk that does not serve, a lock that
	// somebody else has. At another time the same statement may do. nil: none is.
	Environment func(error) bool
}

// NeedsConn reports that the arguments must be seen by the connection that the call runs on, and by no other.
func (t *Traits) NeedsConn(args []driver.NamedValue) bool {
	if t.Alone != nil {
		return t.Alone(args)
	}
	if t.Check != nil {
		return false // it refuses them, as the driver does
	}
	return slices.ContainsFunc(args, func(a driver.NamedValue) bool {
		_, out := a.Value.(sql.Out)
		return out
	})
}

var engines struct {
	mu    sync.RWMutex
	match []func(driver.Conn) Engine
}

// Register makes an engine known to groupcommit.Register and groupcommit.NewConnector, which choose by the physical connection:
// match returns an engine for one database, or nil for a connection that is not its own. It is called in an init
// function of the engine's package.
//
// match sees the connection that the wrapped driver returned and, if that is nobody's, what is inside it, as far
// as Raw, Unwrap or WrappedConn methods show it.
func Register(match func(driver.Conn) Engine) {
	if match == nil {
		panic("groupcommit: RegisterEngine: match is nil; a function is needed")
	}
	engines.mu.Lock()
	defer engines.mu.Unlock()
	engines.match = append(engines.match, match)
}

// Find returns the engine for a connection: a registered one, or the one for any driver.
func Find(conn driver.Conn) Engine {
	engines.mu.RLock()
	defer engines.mu.RUnlock()
	for ; conn != nil; conn = Unwrap(conn) {
		for _, match := range engines.match {
			if e := match(conn); e != nil {
				return e
			}
		}
	}
	return anyDriver{}
}

// Unwrapped returns the first connection of type C in conn or inside its wrappers.
func Unwrapped[C driver.Conn](conn driver.Conn) (C, bool) {
	for ; conn != nil; conn = Unwrap(conn) {
		if c, ok := conn.(C); ok {
			return c, true
		}
	}
	var none C
	return none, false
}

// Unwrap takes one wrapper off, by the names that the known wrappers use; nil when there is none.
func Unwrap(conn driver.Conn) driver.Conn {
	switch w := conn.(type) {
	case interface{ Raw() driver.Conn }:
		return w.Raw()
	case interface{ Unwrap() driver.Conn }:
		return w.Unwrap()
	case interface{ WrappedConn() driver.Conn }:
		return w.WrappedConn()
	}
	return nil
}
