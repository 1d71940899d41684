// Package pgx is the engine for PostgreSQL through jackc/pgx/v5. Importing it registers the driver "pgx-groupcommit",
// which takes every data source name that "pgx" takes, as a URL and as words, and makes the engine known for
// connectors of your own:
//
//	import _ "github.com/groupcommit/groupcommit/pgx"
//
//	db, err := sql.Open("pgx-groupcommit", "postgres://localhost/app?groupcommit_maxlen=500")
//
// # What a group is
//
// One transaction, sent in one piece and answered in one: BEGIN, SET CONSTRAINTS ALL IMMEDIATE, so that a deferrable
// constraint is checked by the call that violates it, the calls, COMMIT. So a group costs one round trip and one flush of
// the log, whatever its size.
//
// An error undoes a transaction in PostgreSQL. The call that caused it is run alone by its own caller once the others
// have been committed, as a group again. Where a second one fails, the rest goes by the autocommit pipeline: each call
// has a transaction of its own, still in two round trips for all, with synchronous_commit off in that transaction, and at the
// end one that is flushed, and the others with it. That is slower than one transaction, and otherwise as the plain driver,
// but for a lost connection. A text that keeps failing goes that way from the start; with groupcommit_mode=autocommit
// everything does, and it does where default_transaction_isolation is not read committed.
//
// # Functions that set something for their transaction
//
// What a function, a trigger's say, sets for its transaction lasts to the transaction's end, and in a group that is the
// neighbours': set_config(…, true), SET LOCAL, SET CONSTRAINTS, a temporary table ON COMMIT DROP. An audit trigger or a policy of row level security would
// take one caller for another. So the source of the database's functions is looked through, on the server, before the first
// group, when the schema has been changed through the same sql.DB, and otherwise every five seconds of use. Where there are such functions, groups
// are committed in the autocommit mode; the log says so once, and groupcommit.StatsOf tells which. It takes the
// server some 0.5 s for 5,000 functions of 2 kB, and 7 ms to see that none has changed. groupcommit_mode=transaction says that
// it does not matter.
//
// The same is done where a function could tell that a group checks deferred constraints with each statement: where a constraint trigger
// of the program's is INITIALLY DEFERRED, and where any constraint is and some function handles errors.
//
// Not looked at: functions in C, those of extensions unless they return trigger, a function's own SET clause, which ends
// with it, and locks, which are held for longer and change no answer. Not seen: a setting's statement that is put together at run time from parts, or
// stands in a default, a policy, a view, a rule or a constraint; and for up to five seconds, what another program has just created.
//
// # Connections that are prepared for their user
//
// OptionResetSession of package stdlib, and PrepareConn and BeforeAcquire of a pgxpool, are given the context of whoever is about to use a
// connection. With one of them calls are not grouped unless groupcommit.Partition says which callers may share a group. BeforeConnect and
// AfterConnect do not count: what they do holds for all who use the connection later. A connector that stands on a pgxpool
// keeps none of its connections when they are not used.
//
// # Waiting and slow calls
//
// A call that waits for a lock longer than [groupcommit.LockTimeout] leaves its group and waits by itself: where a group is not
// answered for so long, another connection asks the server to cancel the call, if it is a lock that it waits for. What is
// cancelled is undone. Nothing is set for that, and the error is not one that a function handles by WHEN OTHERS. Of many calls
// that wait for the same lock the later ones are given less time.
//
// A lone call keeps the calls behind it waiting for a tenth of a second at most, whatever it waits for. A text that takes far longer than the others of its groups is learned, and runs by itself for a while.
//
// # Lost connections
//
// Where the connection dies before the answer to COMMIT, the server is asked what became of the transaction, by its id.
// Either the callers get their results, or the group runs again. Only if that cannot be known they get a
// [*engine.OutcomeUnknownError]: because the server cannot be reached for [groupcommit.MaxTime], or because it has been
// restarted, has crashed or has been replaced by its standby in between and says that the id was committed, which may then
// be another's. A call that was committed, but whose result was lost with the connection, is answered without an error; its
// RowsAffected says that it is not known.
//
// In the autocommit pipeline the calls that had been answered are flushed by a new connection of the same
// configuration, and get their results; the others are of unknown outcome, and all that had not failed are where the same
// server cannot be asked to flush any more. Where the server says that it ends the connection, as it does to a call that ends
// its own, the call that it was at gets what it says, and those behind it run again.
//
// # What is tried again
//
// By the policy of [groupcommit.Retry]: a group whose transaction is certain to have been undone with its connection;
// and a call or group that PostgreSQL ended with serialization_failure (40001), deadlock_detected (40P01), or that it did not
// let in while starting up (57P03). lock_not_available (55P03) is an answer: who says NOWAIT, or sets lock_timeout, asks for it.
//
// # Calls with ids
//
// A group claims all its ids first, has those executed that are new, and commits their records with them, at the cost of
// two more round trips. A call with an id runs by itself, in a transaction of three round trips, where its group could not
// have been one transaction: in the autocommit mode, by the simple protocol, or at another level of isolation. There, and
// where another program's claim of the id is waited for longer than [groupcommit.LockTimeout], the others of its group do
// not wait for it.
//
// An error is recorded as the outcome if the same call deserves it again: of SQLSTATE class 22, 23 or P0. It is recorded
// in a transaction of its own, after the call's own has been undone. Any other error leaves the id free.
//
// The client_encoding of a session must be UTF8, whatever the database's is: where that is another one, the data source name
// needs client_encoding=UTF8. An id that the database's encoding has no characters for is an error of the server's.
//
// # Servers
//
// PostgreSQL 13 and later. From 10 to 12 the older names of the same functions are used; before that, a lost answer is
// always an OutcomeUnknownError. QueryExecModeSimpleProtocol cannot be pipelined: a group is then one transaction of many
// round trips, and what would go by the autocommit pipeline runs call by call.
//
// Of a data source name with several hosts a standby may answer: it is not believed, but asked again until it is no longer
// one. Whether two servers are of one cluster is told by pg_control_system; where the role may not call it, a restart
// always leaves an OutcomeUnknownError.
//
// # Known limits
//
// A pooler that gives each transaction another connection, as pgbouncer's transaction mode does, needs a
// default_query_exec_mode that prepares nothing, as it does with the plain driver: exec, cache_describe or simple_protocol.
//
// A function that handles query_canceled by that name, or all errors in a language whose handlers know no exception to that
// (PL/Perl's eval, PL/Python's except), can be told of a cancel that the program did not ask for. With LockTimeout(0) there is
// none.
//
// What waits for a lock is found in pg_stat_activity: with track_activities=off nothing is cancelled, and [groupcommit.MaxTime]
// bounds the wait. Where the server has no room for the connection that asks, a slow call is cancelled after some vain attempts, be it
// a lock that it waits for or not. Between the server's look and its signal lie microseconds, in which a pooler in transaction
// mode could have given the server's session to somebody else.
//
// Calls that were put off share 64 connections. Where so many of them wait for locks, the next one waits for one of these; on
// the plain driver it would wait for the pool.
//
// A call that takes a whole group's time leaves those that were sent behind it in the autocommit pipeline with an unknown
// outcome; behind a pooler, one that ends its own connection does, too.
//
// A server that was replaced is believed about what it does not have. Where the old one goes on taking writes, too, there are
// two truths, and nobody can tell which one a call belongs to.
//
// A Tracer of a pgx.ConnConfig sees the calls that run alone, and the preparing of texts, but not the calls of a group, except
// by the simple protocol.
package pgx

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/groupcommit/groupcommit/engine"

	"github.com/groupcommit/groupcommit"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// DriverName is the name that importing the package registers, unless it is taken.
const DriverName = "pgx-groupcommit"

func init() {
	engine.Register(func(c driver.Conn) engine.Engine {
		if _, ok := c.(*stdlib.Conn); ok {
			return &adapter{memory: newMemory()}
		}
		return nil
	})
	if !slices.Contains(sql.Drivers(), DriverName) {
		groupcommit.Register(DriverName, stdlib.GetDefaultDriver())
	}
}

// adapter is the engine for one PostgreSQL database.
type adapter struct {
	memory    *memory
	functions functions
	isolation atomic.Pointer[string] // of a session, if it is stricter than read committed

	once     sync.Once
	traits   engine.Traits // of the first connection: all are of one connector
	settings engine.Settings
}

func (e *adapter) Open(_ context.Context, conn driver.Conn, s engine.Settings) (engine.Session, error) {
	std, ok := engine.Unwrapped[*stdlib.Conn](conn)
	if !ok {
		return nil, fmt.Errorf("groupcommit/pgx: the connection is a %T; a *stdlib.Conn of pgx is needed", conn)
	}
	if s.Promises {
		if err := checkEncoding(s, std.Conn().PgConn().ParameterStatus("client_encoding")); err != nil {
			return nil, err
		}
	}
	e.once.Do(func() { e.traits, e.settings = hooksOf(s.Connector, std).traits(), s })
	return e.session(conn, std.Conn(), s), nil
}

// session returns the session of a connection. One that comes from a pool has been there before, perhaps.
func (e *adapter) session(conn driver.Conn, pg *pgx.Conn, s engine.Settings) *session {
	if !e.traits.Pooled {
		return newSession(conn, pg, s, e)
	}
	const key = "groupcommit"
	data := pg.PgConn().CustomData()
	if known, ok := data[key].(*session); ok && known.adapter == e {
		known.conn = conn
		return known
	}
	ses := newSession(conn, pg, s, e)
	data[key] = ses
	return ses
}

// checkEncoding is the error of a session in which an id is another one as an argument of a statement, which the server
// converts, than in its text.
func checkEncoding(s engine.Settings, of string) error {
	if of == "UTF8" || of == "" { // not told by some poolers
		return nil
	}
	return fmt.Errorf("groupcommit/pgx: option %s: client_encoding %q is not allowed; UTF8 is, by client_encoding=UTF8 in the data source name, whatever the encoding of the database", s.Spelled("Promises"), of)
}

var traits = engine.Traits{
	Dialect:     engine.PostgresSQL,
	Writers:     2,
	Ledger:      true,
	ByText:      true,
	Check:       func(*driver.NamedValue) error { return nil }, // as the driver's own: pgx converts when it encodes
	Alone:       forTheDriver,
	Final:       final,
	Transient:   transient,
	Environment: environment,
}

// forTheDriver reports an argument that is not a value but an option, of which pgx takes some before the values.
func forTheDriver(args []driver.NamedValue) bool {
	for i := range args {
		switch args[i].Value.(type) {
		case sql.Out, pgx.QueryExecMode, pgx.QueryResultFormats, pgx.QueryResultFormatsByOID, pgx.QueryRewriter:
			return true
		}
	}
	return false
}
