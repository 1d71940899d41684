// Package pgx is the engine for PostgreSQL through jackc/pgx/v5. Importing it registers the driver "pgx-groupcommit", which
// takes every data source name that "pgx" takes, as a URL and as words. It also makes the engine known for a program's own
// connectors:
//
//	import _ "github.com/groupcommit/groupcommit/pgx"
//
//	db, err := sql.Open("pgx-groupcommit", "postgres://localhost/app?groupcommit_maxlen=500")
//
// # What a group is
//
// A group is one transaction, sent in one piece and answered in one: BEGIN, SET CONSTRAINTS ALL IMMEDIATE, the calls,
// COMMIT. SET CONSTRAINTS has a deferrable constraint checked by the call that violates it. A group costs one
// round trip and one flush of the log; a large one may have another round trip: see below. The texts that are new to its connection cost one round trip more, however many there
// are, where they have arguments or rows and the driver's mode describes them.
//
// An error undoes a transaction in PostgreSQL. The others are then committed as a group again, and after that the culprit's
// own caller runs it alone. If a second call fails, the rest goes by the autocommit pipeline: each call has a transaction of
// its own, with synchronous_commit off in that transaction, and a last transaction is flushed, and the others with it. All
// of them take one round trip, too. The pipeline is slower than one transaction. Otherwise it behaves as the plain driver
// does, except after a lost connection. A text that keeps failing goes that way from the start. All calls do with
// groupcommit_mode=autocommit, and where default_transaction_isolation is not read committed.
//
// # Statements of many rows
//
// In a large group, calls that follow each other with the text of one plain INSERT, whose values are parameters and literals, are sent as
// statements of 50 and 10 rows, which cost the server about half as much a row. Their answers must be known before COMMIT is sent, which
// takes one more round trip. So it is done only where the statements that are saved cost more than that. If such a group fails, it is rolled back and
// sent again call by call.
//
// The table must be one on which the rows' own statements would have come to the same: docs/differences.md lists what it must not have.
// The engine asks when the statements are prepared, and again before each COMMIT. The connection must be the server's own, and prepare
// statements, and its level of isolation must be read committed. With ids it costs no round trip more, because COMMIT waits for the answers
// anyway. [groupcommit.ManyRows] turns it off.
//
// # Queries with RETURNING
//
// An INSERT, UPDATE, DELETE or MERGE with RETURNING by Query or QueryRow is a call of a group, too. Its rows are read and copied
// before the commit, and handed out after it: names, types and values are those that package stdlib makes of them, by the type map
// of the group's connection. So what an AfterConnect hook registers is to be the same for each connection.
//
// A group keeps 256 rows and 64 KiB of a call. One with more runs by itself after the group, on the plain driver, and the next ones of
// its text go by themselves at once. To know that in time, the group sends COMMIT when all results are there, which takes one more
// round trip. It does not if the texts of all its queries bound their rows: an INSERT with a list of VALUES that are constants,
// parameters, casts of these and calls of a few functions (now, nextval, gen_random_uuid, coalesce), with one row, or up to 256
// whose columns have a fixed size. In the autocommit pipeline nothing can be undone: there all other texts go by themselves.
//
// By the simple protocol, and with a wrapper of the driver, the rows are the driver's own.
//
// # Functions that set something for their transaction
//
// A function, a trigger's say, may set something for its transaction: by set_config(…, true), SET LOCAL, SET CONSTRAINTS, or
// a temporary table ON COMMIT DROP. The setting lasts to the transaction's end, and so applies to later calls of the same
// group. An audit trigger or a policy of row level security would take one caller for another. So the engine searches the
// source of the database's functions, on the server: before the first group, after a change of the schema through the same
// sql.DB, and otherwise every five seconds of use. If it finds such functions, groups are committed in the autocommit mode.
// The log says so once, and groupcommit.StatsOf names the functions. The search takes the server some 0.5 s for 5,000
// functions of 2 kB, and 7 ms to see that none has changed. groupcommit_mode=transaction says that it does not matter.
//
// The same is done where a function could tell that a group checks deferred constraints with each statement: where a
// constraint trigger of the program's is INITIALLY DEFERRED, and where any constraint is and some function handles errors.
//
// The search leaves out functions in C, functions of extensions unless they return trigger, a function's own SET clause,
// which ends with the function, and locks, which are held for longer and change no answer. It does not see a setting whose
// statement is put together at run time from parts, or stands in a default, a policy, a view, a rule or a constraint. For up
// to five seconds it does not see what another program has just created.
//
// # Connections that are prepared for their user
//
// OptionResetSession of package stdlib, and PrepareConn and BeforeAcquire of a pgxpool, get the context of the caller that
// is about to use a connection. With one of them calls are not grouped unless groupcommit.Partition says which callers may
// share a group. BeforeConnect and AfterConnect do not count: they run once for all later users of the connection. A
// connector that stands on a pgxpool keeps none of its connections when they are not used.
//
// # Transactions of the program's
//
// Begin sends nothing. BEGIN travels with the first statement of the transaction, in one write, and a transaction without a
// statement sends nothing at all. The isolation is the same: the server takes a snapshot at the first statement, and not at
// BEGIN. now() is the time of that statement, and an error of BEGIN itself comes from it. If the connection was lost before the
// server has answered BEGIN, another connection is taken, twice at most: on the plain driver Begin would have failed. A
// connection that is lost later is the end of its transaction.
//
// The first statement must go by the extended protocol. One that does not, which is an Exec without arguments, comes behind a
// BEGIN of its own, and so do one that is large and one whose arguments hold an option of the driver's. BEGIN is sent by Begin
// itself with QueryExecModeSimpleProtocol, where a wrapper or a Tracer is to see it, and where the program may know the
// connection, by SET or [groupcommit.Raw].
//
// # Waiting and slow calls
//
// A group that takes twice as long as it should is late. Another connection then asks the server to cancel the group's
// statement if that waits for a lock. [groupcommit.LockTimeout] bounds the time before. A cancelled call is undone, and runs
// alone. This needs no setting, and a function does not handle the error by WHEN OTHERS. The text of a call that has waited
// for a lock, or was in a deadlock, goes by the autocommit pipeline for a while, where each call's locks end with it, and a
// few of its calls at a time at first. If it waits there, too, its calls run by themselves.
//
// A lone call keeps the calls behind it waiting for a tenth of a second at most, whatever it waits for. A text whose calls
// cost their group more than the group saves them, which is a commit and a round trip, is learned, and its calls run by
// themselves. Now and then a few of them are grouped again, one in two hundred at most, so that a change is found out within
// two seconds. If a text becomes slow while a large group of it is under way, that group's statement is cancelled, and the
// calls run by themselves.
//
// # Lost connections
//
// A connection that has died while it was not used is replaced before anything is sent.
//
// If the connection dies before the answer to COMMIT, the engine asks the server for the outcome of the transaction, by its
// id. Either the callers get their results, or the group runs again. The callers get a [*engine.OutcomeUnknownError] only if
// the outcome cannot be known: because the connection was lost within the first round trip, before the server has told the
// id; because the server cannot be reached for [groupcommit.MaxTime]; or because the server has been restarted, has crashed or
// has been replaced by its standby in between and says that the id was committed, which may then be another transaction's. A
// call that was committed, but whose result was lost with the connection, is answered without an error; its RowsAffected
// returns an error that says so. A query gets that error from Query.
//
// In the autocommit pipeline, a new connection of the same configuration flushes the calls that had been answered, and they
// get their results. The others are of unknown outcome. If the same server cannot be asked to flush any more, all calls that
// had not failed are of unknown outcome. If the server says that it ends the connection, as it does to a call that ends its
// own, the current call gets the server's error, and the calls behind it run again.
//
// # What is tried again
//
// By the policy of [groupcommit.Retry], these are tried again: a group whose transaction is certain to have been undone with
// its connection; and a call or group that PostgreSQL ended with serialization_failure (40001) or deadlock_detected (40P01),
// or did not let in while starting up (57P03). lock_not_available (55P03) is an answer: a program asks for it by NOWAIT or
// lock_timeout.
//
// A query with RETURNING that has no id is tried again only as long as it is in a group. Where it runs by itself, its rows go to its
// caller as they come, with the plain driver's errors.
//
// # Calls with ids
//
// A group claims all its ids first, executes the calls whose ids are new, and commits their records with them. This costs
// one more round trip, for a lone call, too. An id that is there already costs two round trips more than a new one, and one
// where the last group had met one, too. The server's log then has an error, duplicate key value of groupcommit_promises,
// because the claim is to fail.
//
// Where its group could not have been one transaction, a call with an id runs by itself: in the autocommit mode, by the simple
// protocol, or at another level of isolation. There the others of its group do not wait for it. Elsewhere they wait for
// another program's claim of the id up to [groupcommit.LockTimeout].
//
// A lone call takes three round trips by the simple protocol, where a wrapper of the driver or a Tracer is to see it, and if it
// is a query with RETURNING. Such a query always runs by itself.
//
// An error is recorded as the outcome if the same call meets it again: of SQLSTATE class 22, 23 or P0. It is recorded in a
// separate transaction, after the call's own has been undone. Any other error leaves the id free.
//
// The client_encoding of a session must be UTF8, whatever the database's is. If the session's is another one, the data
// source name needs client_encoding=UTF8. If the database's encoding has no characters for an id, the server gives an error.
//
// # Servers
//
// PostgreSQL 13 and later. From 10 to 12 the older names of the same functions are used; before that, a lost answer is
// always an OutcomeUnknownError. QueryExecModeSimpleProtocol cannot be pipelined: a group is then one transaction of many
// round trips, and calls that would go by the autocommit pipeline run one by one.
//
// If a data source name has several hosts, a standby may answer. It is not believed, but asked again until it is no longer a
// standby. pg_control_system tells whether two servers are of one cluster. If the role may not call it, a restart always
// leaves an OutcomeUnknownError.
//
// # Known limits
//
// A pooler that gives each transaction another connection, as pgbouncer's transaction mode does, needs a
// default_query_exec_mode that prepares nothing, as with the plain driver: exec, cache_describe or simple_protocol.
//
// A function that handles query_canceled by that name can see a cancel that the program did not ask for. So can a function
// that handles all errors in a language whose handlers know no exception to that (PL/Perl's eval, PL/Python's except). With
// LockTimeout(0) there is no such cancel.
//
// pg_stat_activity tells which call waits for a lock. With track_activities=off nothing is cancelled, and
// [groupcommit.MaxTime] bounds the wait. If the server has no room for the connection that asks, a call that takes longer
// than LockTimeout is cancelled after some vain attempts, be it a lock that it waits for or not. Between the server's look and its signal lie
// microseconds. In these a pooler in transaction mode could have given the server's session to another client.
//
// Calls that were put off share 64 connections. If 64 of them wait for locks, the next one waits for one of these
// connections; on the plain driver it would wait for the pool.
//
// A call that takes a whole group's time leaves the calls behind it in the autocommit pipeline with an unknown outcome.
// Behind a pooler, a call that ends its own connection does so, too.
//
// If a server was replaced, the new one is believed about transactions that it does not have. If the old one goes on taking
// writes, too, there are two truths, and neither server can tell which one a call belongs to.
//
// A wrapper around the driver's connections may look at calls, change them or refuse them, so each call goes by the wrapper's own
// Exec. A group is then one transaction of as many round trips as it has calls, which is logged once. A wrapper around
// groupcommit's driver sees all calls, too, and costs nothing of that.
//
// A Tracer of a pgx.ConnConfig sees the calls that run alone. It does not see the calls of a group and the preparing of their
// texts, except by the simple protocol, nor what the engine asks the server. Module otel tells of those.
//
// An OnPgError that closes connections for errors of statements leaves the calls behind such a statement in the autocommit
// pipeline with an unknown outcome.
package pgx

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"slices"

	"github.com/groupcommit/groupcommit/engine"

	"github.com/groupcommit/groupcommit"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// DriverName is the name that importing the package registers, unless it is taken. The package also registers
// "pgx/v5-groupcommit", as package stdlib registers "pgx/v5" beside "pgx".
const DriverName = "pgx-groupcommit"

func init() {
	engine.Register(func(c driver.Conn) engine.Engine {
		if _, ok := c.(*stdlib.Conn); ok {
			return newAdapter()
		}
		return nil
	})
	for _, name := range []string{DriverName, "pgx/v5-groupcommit"} {
		if !slices.Contains(sql.Drivers(), name) {
			groupcommit.Register(name, stdlib.GetDefaultDriver())
		}
	}
}

// adapter is the engine for one PostgreSQL database.
type adapter struct{ database }

func newAdapter() *adapter {
	return &adapter{database{
		memory: newMemory(), functions: functions{asking: make(contextMutex, 1)}, asker: asker{asking: make(contextMutex, 1)}, widths: usualWidths,
	}}
}

func (e *adapter) Open(_ context.Context, conn driver.Conn, s engine.Settings) (engine.Session, error) {
	std, ok := engine.Unwrapped[*stdlib.Conn](conn)
	if !ok {
		return nil, fmt.Errorf("groupcommit/pgx: the connection is a %T; a *stdlib.Conn of pgx is needed", conn)
	}
	if s.Sync != engine.SyncShared {
		return nil, fmt.Errorf("groupcommit/pgx: option %s: %q is not allowed; on PostgreSQL only shared is, and synchronous_commit decides", s.Spelled("Sync"), s.Sync)
	}
	if s.Promises {
		if err := checkEncoding(s, std.Conn().PgConn().ParameterStatus("client_encoding")); err != nil {
			return nil, err
		}
	}
	e.once.Do(func() {
		h := hooksOf(s.Connector, std)
		e.traits, e.settings = traits, s
		e.traits.Hook, e.traits.Pooled = h.name, h.pooled
		e.traits.Way, e.traits.IsApart = e.memory.way, e.memory.isApart
		e.traits.Rows = s.Mode != engine.Autocommit || !isSimple(conn, std.Conn().Config()) // there each would be put off
	})
	if conn != driver.Conn(std) {
		warnOfWrapper(conn)
	}
	return e.session(conn, std.Conn(), s), nil
}

// session returns the session of a connection. A connection that comes from a pool may have one already.
func (e *adapter) session(conn driver.Conn, pg *pgx.Conn, s engine.Settings) *session {
	if !e.traits.Pooled {
		return newSession(conn, pg, s, &e.database)
	}
	const key = "groupcommit"
	data := pg.PgConn().CustomData()
	if known, ok := data[key].(*session); ok && known.database == &e.database {
		known.conn = conn
		return known
	}
	ses := newSession(conn, pg, s, &e.database)
	data[key] = ses
	return ses
}

// checkEncoding returns an error if the session's client_encoding is not UTF8. There an id that is an argument, which the
// server converts, differs from the same id in a statement's text.
func checkEncoding(s engine.Settings, of string) error {
	if of == "UTF8" || of == "" { // not told by some poolers
		return nil
	}
	return fmt.Errorf("groupcommit/pgx: option %s: client_encoding %q is not allowed; UTF8 is, by client_encoding=UTF8 in the data source name, whatever the encoding of the database", s.Spelled("Promises"), of)
}

// Mode makes an adapter an engine.Moder. It is asked after the first connection.
func (e *adapter) Mode() (engine.GroupMode, string) {
	if e.settings.Mode != engine.Automatic {
		return e.settings.Mode, "option " + e.settings.Spelled("Mode")
	}
	if level := e.isolation.Load(); level != nil {
		return engine.Autocommit, "default_transaction_isolation is " + *level
	}
	switch k := e.functions.latest.Load(); {
	case k == nil:
		return engine.Automatic, ""
	case k.why != "":
		return engine.Autocommit, k.why
	}
	return engine.Transaction, ""
}

var traits = engine.Traits{
	Dialect:     engine.PostgresSQL,
	Writers:     1000, // the program's own pool is the bound
	Ledger:      true,
	ByText:      true,
	Check:       func(*driver.NamedValue) error { return nil }, // as the driver's own: pgx converts when it encodes
	ForDriver:   forTheDriver,
	Final:       final,
	Transient:   transient,
	NoRoom:      noRoom,
	Environment: environment,
	Class:       class,
}

// forTheDriver reports an argument that is not a value but an option. pgx takes options before the values.
func forTheDriver(args []driver.NamedValue) bool {
	for i := range args {
		switch args[i].Value.(type) {
		case sql.Out, pgx.QueryExecMode, pgx.QueryResultFormats, pgx.QueryResultFormatsByOID, pgx.QueryRewriter:
			return true
		}
	}
	return false
}
