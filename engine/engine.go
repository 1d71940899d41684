// Package engine is for authors of adapters. An adapter tells groupcommit about its database, and how groups become one
// commit on it. A program needs none of it.
package engine

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"slices"
	"time"

	"github.com/groupcommit/groupcommit/internal/sqltext"
)

// An Engine tells the library about one kind of database: how a group becomes one commit on it, and how it differs from
// other databases. Packages sqlite3 and pgx bring one each. Without one, the engine for any driver serves.
type Engine interface {
	// Open is called once for every new physical connection, before any statement runs on it. Several goroutines may call it
	// at once.
	//
	// conn is the connection that the wrapped driver, or a wrapper around it, returned. Every call goes through it, in a group,
	// too: a wrapper may only look at the calls, but it may as well change them, or refuse them.
	Open(ctx context.Context, conn driver.Conn, s Settings) (Session, error)
}

// Settings are the options as far as an engine needs them.
type Settings struct {
	DSN         string           // without our options; "" where a connector came without one
	Connector   driver.Connector // the wrapped one, which opens the physical connections
	Mode        GroupMode        // how groups are committed, where there is a choice
	LockTimeout time.Duration    // how long a call in a group may wait for a lock; 0: as long as the session says
	MaxTime     time.Duration    // how long a group may take
	Sync        SyncMode         // when a commit is durable, where there is a choice
	ManyRows    bool             // calls of one plain INSERT may be one statement with many rows, where the engine can
	Promises    bool             // calls may have ids; the ledger's table is there before the first of them

	Spelling func(option string) string // returns the program's spelling of an option; nil: its name in code
	Schema   func() int64               // counts the changes of the schema; nil: there are none
}

// SchemaChanges counts the changes of the schema that have gone through this database.
func (s Settings) SchemaChanges() int64 {
	if s.Schema == nil {
		return 0
	}
	return s.Schema()
}

// Spelled returns the program's spelling of an option, for an error about it: for "Mode", groupcommit_mode if it stood in
// the data source name.
func (s Settings) Spelled(option string) string {
	if s.Spelling == nil {
		return option
	}
	return s.Spelling(option)
}

// A Session is an [Engine] on one physical connection. It is never used by two goroutines at once.
//
// A Session that is also a driver.Validator says by IsValid whether the connection is still there.
type Session interface {
	// Traits describes the database. It returns the same for every connection of one data source.
	Traits() Traits

	// Alone runs one call as the plain driver runs it: in its own transaction, under the caller's context.
	Alone(c *Call) (driver.Result, error)

	// Group runs at least two calls in one transaction and commits it. It answers each call with [Call.Answer] or
	// [Call.Try], or puts it off with [Call.PutOff]. The answers count only if the outcome is Committed. ctx is the group's,
	// and not a caller's.
	Group(ctx context.Context, calls []*Call) Outcome

	// Idle reports that no transaction is open on the connection. False if the session cannot know.
	Idle() bool

	// Close frees what the session keeps on the connection. The session must not close the connection itself.
	Close()
}

// Outcome is how a group ended.
type Outcome struct {
	Verdict Verdict
	Culprit int   // for RolledBack: the index of the call that ended the transaction, or -1; for Unknown: the one that ran then
	Token   any   // for Unknown: identifies the group to a [Resolver]; nil if it cannot be asked
	Err     error // for Refused and Unknown: why
	Again   bool  // for Refused: the group may run again, even if Err is not transient
	Broken  bool  // the connection must not be used again
	Goexit  bool  // for RolledBack: the culprit has called runtime.Goexit, so that only its own caller may run it

	// Commit is the time of what a group pays once, however many calls it has: COMMIT, a round trip. Waiting for one more
	// caller can save that time. 0 says that it is not known: then the next leader waits for no caller.
	Commit time.Duration

	// Members is the time that the calls took together, one after the other, without what the group paid once. It tells what
	// one more call costs its neighbours. 0 says that it is not known.
	Members time.Duration
}

// Verdict says what became of a group's transaction.
type Verdict uint8

const (
	// Committed: the transaction is durable, and each call's answer stands. A call that failed left nothing behind, or what
	// the plain driver would have left.
	Committed Verdict = iota
	// RolledBack: the database certainly holds nothing of the group. The calls run again: the culprit alone, the others as
	// groups. If there is no culprit, each runs alone.
	RolledBack
	// Refused: the database certainly holds nothing of the group, and another attempt at once is no use (the database is
	// busy, the connection failed). Every caller gets Err, unless it is transient or driver.ErrBadConn: then the group runs
	// again, on another connection.
	Refused
	// Unknown: COMMIT was sent and its answer never came. Calls with an id run again, each alone: its claim tells. The
	// others get an [OutcomeUnknownError].
	Unknown
)

// Dialect is how a database reads SQL text, as far as a wrapper must know.
type Dialect = sqltext.Dialect

// The dialects. GenericSQL is for an unknown database: a text that two dialects would read differently is not batched.
const (
	GenericSQL  = sqltext.Generic
	SQLiteSQL   = sqltext.SQLite
	PostgresSQL = sqltext.Postgres
)

// A Resolver is a [Session] that can find out what became of a group whose answer to COMMIT was lost. The question goes by
// another connection than the group's.
type Resolver interface {
	// Resolve returns Committed or RolledBack if it is certain, or else Unknown. An error says that it is worth asking
	// again.
	Resolve(ctx context.Context, token any) (Verdict, error)
}

// A Refresher is a [Session] whose traits a setting can change.
type Refresher interface {
	// Refresh returns the database's traits after the program has made a setting on the session's connection. setting is its
	// name in lower case. Only Busy and BusyWait may differ from t's.
	Refresh(t Traits, setting string) Traits
}

// A Moder is an [Engine] that chooses how groups are committed. Any other engine has the mode Transaction.
type Moder interface {
	// Mode is the mode of the groups, and why it is that: "" if there is no reason to tell. Any goroutine may call it, once
	// a connection has been opened.
	Mode() (mode GroupMode, why string)
}

// A Way is how a call is run.
type Way uint8

const (
	// InGroup is for calls that a group may take.
	InGroup Way = iota
	// Apart is for those that are better off by themselves: they cost a group more than they save, or they wait for locks.
	Apart
	// OnTrial is for a few of those, which are run in a small group of their own, so that a session can tell what they cost.
	OnTrial
)

// Traits says how one database differs from another.
type Traits struct {
	// Dialect is how statements are read: which of them may join a group, which change session state.
	Dialect Dialect

	// OneWriter says that the database has one writer at a time, from this process or another. Then all that write take
	// turns: groups, write transactions, RETURNING queries.
	OneWriter bool
	// WriterKey names the database within this process. Several sql.Open with one key share the writer's turns. "" shares
	// with no other.
	WriterKey string
	// OneConn says that the database lives in its one physical connection (in memory). There is never a second one, and it
	// is kept until Close.
	OneConn bool
	// Ledger says that sessions claim and record the calls that have an id. Package durable must know the Dialect, too.
	Ledger bool
	// Rows says that the sessions' groups take calls that want rows: see [Call.WantsRows]. Without it each query goes by itself.
	Rows bool
	// RowsWithID says that these groups take such calls with an id, too. Without it each of them goes by itself.
	RowsWithID bool
	// Writers is how many groups may run at the same time unless the option says otherwise; 0 is 1.
	Writers int
	// Singly says that where it pays to have several groups at the same time, each call is to run by itself, as on the plain
	// driver: nothing is known of what transactions of many calls do to each other.
	Singly bool
	// Way chooses how the next call of a text is run, as far as is known now. It is asked for each call before it is queued, by
	// any goroutine. nil: each call goes into a group.
	Way func(query string) Way
	// IsApart reports that calls of a text are run Apart at present, but for those on trial. It learns nothing. nil: none are.
	IsApart func(query string) bool
	// BeginWrites says that every BeginTx takes the database's write lock at once, a read-only one, too.
	BeginWrites bool
	// BeginsLate says that the driver's own Begin without options asks nothing of the database, takes no lock and no snapshot,
	// and is seen by nobody. Such a transaction gets its connection, and begins there, with its first statement.
	BeginsLate bool
	// OpenWrites says that the opening of a connection may write to the file. A connection is then opened in the writer's
	// turn.
	OpenWrites bool
	// Busy is the error of a caller that has waited for the writer for longer than BusyWait: the driver's own.
	Busy     error
	BusyWait time.Duration

	// Durable returns when everything that any process has committed to the database so far is durable: an answer that comes
	// of what another transaction has committed must wait for it. After an error that is not known. Any goroutine may call it.
	// nil: what a connection can see is durable.
	Durable func() error
	// Seen is Durable for what this process has committed. It costs little where none of it waits for a sync.
	Seen func() error

	// Check converts one argument without a connection, as database/sql does before it calls the driver. nil says that only
	// the physical connection can convert arguments: they then stay raw until they reach it.
	Check func(*driver.NamedValue) error
	// ForDriver reports that some of the arguments are for the driver (an option, an out parameter), so that the call cannot
	// join a group. nil: a sql.Out is, and no other.
	ForDriver func([]driver.NamedValue) bool
	// ByText says that a connection uses one prepared statement for all calls with the same text. A statement that the
	// program has closed must then be closed there, too.
	ByText bool
	// Hook names the function that prepares a connection before each use from the context of its caller, such as a pool's
	// hook; "" if no such function is known. With a hook there are no groups without groupcommit.Partition.
	Hook string
	// Pooled says that the physical connections come from another pool, whose users want them. Then the library keeps none
	// that is not in use, and that pool's work before each use is done.
	Pooled bool
	// Begin is the statement that begins a transaction which will write; "" is the driver's own Begin.
	Begin string
	// Savepoints says that a savepoint is cheap, and that a transaction is usable after a statement in it has failed.
	Savepoints bool
	// Final reports that an error would come again if the same statement ran again (a violated constraint, a value that does
	// not fit), and the database's code for it. nil: no error would.
	Final func(error) (code string, final bool)
	// Transient reports that an error has certainly left nothing behind and may not come again. The call is then tried again
	// by the policy of groupcommit.Retry. nil: no error is transient.
	Transient func(error) bool
	// NoRoom reports that the server has refused a new connection, but may serve those that are open: it has as many as it,
	// the database or the role may have, or the role may not open one now. nil: no error says so.
	NoRoom func(error) bool
	// Environment reports that the statement did not cause an error: a server or a disk does not serve, or another
	// transaction has a lock. At another time the same statement may succeed. nil: no error is such.
	Environment func(error) bool
	// Class is the class of an error of the database's or the driver's, or of a *[RejectedError] by its Code. It is ErrorOther for
	// all that it does not know: that a context has ended, and what package net says of a connection, need not be known to it.
	// nil: it knows none.
	Class func(error) ErrorClass
}

// NeedsConn reports that only the connection that runs the call may see the arguments.
func (t *Traits) NeedsConn(args []driver.NamedValue) bool {
	if t.ForDriver != nil {
		return t.ForDriver(args)
	}
	if t.Check != nil {
		return false // Check refuses them, as the driver does
	}
	return slices.ContainsFunc(args, func(a driver.NamedValue) bool {
		_, out := a.Value.(sql.Out)
		return out
	})
}
