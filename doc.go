// Package groupcommit makes concurrent database writes faster by committing them together. A program changes the driver's
// name:
//
//	db, err := sql.Open("sqlite3-groupcommit", "app.db")        // was "sqlite3"
//	db, err := sql.Open("pgx-groupcommit", os.Getenv("PG_DSN")) // was "pgx"
//
// and Exec calls that arrive at the same time share one transaction and one commit. Their goroutines need not know of each
// other. Every call becomes a promise, and each caller gets its own result or its own error, after the commit and not a
// moment before.
//
// It helps programs that write from many goroutines at once. A single goroutine that writes row after row gains nothing.
//
// # Which calls are grouped
//
// A group takes an Exec of a single INSERT, UPDATE, DELETE, REPLACE or MERGE, also behind WITH, directly or through a prepared
// statement. The call must be outside of a transaction, and on a sql.Conn it must be the first thing done with it.
//
// On SQLite and PostgreSQL a group takes such a statement with RETURNING by a query, too, if it has 256 rows and 64 KiB at the
// most.
//
// Everything else goes to the wrapped driver as it is: other queries, explicit transactions, DDL, several statements in one
// text, and statements that ask the session something, such as last_insert_rowid(). On SQLite in WAL mode with synchronous=FULL
// those that write share the sync that makes their commit durable: see [SyncShared]. On PostgreSQL the BEGIN of an explicit
// transaction travels with its first statement. Elsewhere they gain nothing.
//
// A statement that changes the session (SET, ATTACH, a temporary table) ties a physical connection to the pooled connection
// that it ran on, as on the plain driver. A PRAGMA that sets something, executed by a method of the sql.DB, holds for all
// physical connections.
//
// The text does not show everything: a function may have effects outside of the transaction. [NoBatch] keeps such a call
// out of groups.
//
// # When a group is closed
//
// There is no timer. The first caller becomes the leader: in its own goroutine it takes everything that is queued, runs it in
// one transaction, commits, and wakes the other callers. The next group queues up meanwhile. A lone call is run by its own
// caller as the plain driver's call, with no transaction around it.
//
// After a commit, the callers that were just answered often come back at once. If they have been coming back, the next leader
// yields to them for a moment, which is shorter than a commit and the way to the server and back, and 2 ms at most.
//
// A group has at most [MaxLen] calls and [MaxBytes] bytes. [MaxQueue] bounds the calls that wait, and a further one waits for
// room.
//
// # What a caller may rely on
//
// Exec returns nil after its transaction has been committed. It is then as durable as the database's settings make a commit.
//
// Errors are the driver's own values, and a caller gets no error of another call. When a call fails, the work of the others
// of its group is committed. If the failure has rolled the group back, they run again before that.
//
// A context counts until a group of several calls claims the call. If it ends before that, the call returns the context's
// error and has certainly not been executed. Afterwards the call waits for its true outcome. A call that runs alone runs under
// its own context.
//
// The calls of one goroutine happen in order. Calls of several goroutines are executed in the order in which they were
// queued.
//
// Some things differ from the plain driver. The file docs/differences.md lists them.
//
// # Connections that are prepared from the caller's context
//
// A hook of the pool may prepare each connection from the context of the caller that is about to use it, for a tenant, say.
// Queries, transactions and calls that run alone show the hook their own caller's context. A group has many callers:
// [Partition] says which of them may share one, and the hook sees the context values of one of these.
//
// A program with such a hook needs Partition. Where the library can see the hook, as it can see pgx's, it groups nothing
// without Partition. What the library does for itself, such as deleting old promises, has no caller's values.
//
// # Sizing the pool
//
// What sql.DB pools are cheap connections without I/O. They have the physical ones below, of which there are never more than
// sql.DB has open: each of its settings means what it means on the plain driver. What it closes, because of SetMaxIdleConns
// or SetConnMaxIdleTime, is closed below. A physical connection that is older than all of sql.DB's is closed, too, so that
// SetConnMaxLifetime holds; but it may always become ten seconds old, because a pool that keeps few of many connections
// closes its own after milliseconds.
//
// A goroutine needs a cheap connection for as long as its Exec takes, and a physical one only while the database works. So
// many writers need few physical connections: [Physical] bounds those, where the server has room for few, and SetMaxOpenConns
// may be above the number of goroutines that write, or unlimited. SetMaxOpenConns bounds how many calls can be in a group.
//
// Groups use the same physical connections as queries and transactions, and the one that was used last is used next. So a
// program that does one thing at a time has one connection, as on the plain driver. What has no caller in the program's pool,
// a group of promises by [Go] or a handler's transaction, takes connections of that pool when there are not enough, as if the
// program had called db.Exec in a goroutine. With SetMaxOpenConns(1) all is done one after the other, and a promise waits
// for a transaction that is open.
//
// If the server refuses a connection because it has no room, a call waits for one that is open. It gets the server's error
// if none is open, or if for ten seconds none has become free.
//
// # Promises
//
// [Go] does not wait: it returns a [Promise], and a single goroutine can have thousands of calls in one group.
//
//	p := groupcommit.Go(ctx, db, "INSERT INTO users (value) VALUES (?)", 7)
//	...
//	res, err := p.Await(ctx)
//
// # Durable promises
//
// With [Promises], a call may have an id, by [WithID]. Within the retention window and on one database, a statement with an
// id takes effect at most once, together with its recorded outcome. A caller that retries with the same id until it gets an
// answer gets that one outcome: in this program or another, before or after a crash.
//
//	res, err := db.ExecContext(groupcommit.WithID(ctx, "payment-4711"), "INSERT INTO payments (cents) VALUES (?)", 995)
//
// [Lookup] tells what became of an id, and [Deduplicated] tells whether a result is a replay. Package durable has the promises
// themselves, for promises that are not of an Exec.
//
// # Commands
//
// Some calls are several statements, and some are faster together than one by one. A command is a type of yours, and a handler
// gets a batch of them in one transaction.
//
//	type InsertUser struct{ ID int }
//
//	users, err := groupcommit.Handle(db, func(ctx context.Context, tx *sql.Tx, batch []*groupcommit.Command[InsertUser, int64]) error {
//		...
//	}, groupcommit.MaxLen(1000))
//
//	id, err := users.Do(ctx, "insert-user-7", InsertUser{7})
//
// The batches fill as groups do, and take turns with them. The handler gives each command its outcome by [Command.Resolve] or
// [Command.Reject], and the command gets it after the commit. If the handler fails, its transaction is rolled back. It gets
// the batch again, as the policy of [Retry] says, while other batches go on. [Command.Try] confines an error to one command,
// and [Each] makes a batch handler from a function that handles one command.
//
// A command with an id has one outcome, which is recorded in the handler's transaction, as that of an Exec is.
//
// A [Durable] command outlives the program. It is recorded before [Commands.Go] returns, or in a transaction of yours, by
// [Commands.Add]. Any process that handles its kind carries it out, after a crash, too. Within the retention window and on one
// database it takes effect at most once, and it is tried until it has an outcome. Effects outside of the database, such as an
// e-mail, may happen again if the program dies between them and the commit.
//
// # What to look at
//
// [StatsOf] has the counters of a database: sizes, waits, errors by class, commands by kind. Package expvars publishes them, and packages prom
// and otel, each a module of its own, have Prometheus and OpenTelemetry collect them. Package debug shows them live, on a page. [BacklogOf] counts the durable commands
// of all processes. [Explain] says why a call joins no group. What a program should know unasked is in the log of package log/slog, by its
// default logger, each warning once: that a hook keeps calls from groups, say. A line is written in a goroutine of its own, so that a handler may
// use the database.
//
// # Drivers
//
// Package sqlite3 registers "sqlite3-groupcommit", and package pgx registers "pgx-groupcommit". [Register] and [NewConnector]
// wrap any other driver. Groups then use its own BEGIN and COMMIT, and a group in which a call fails is rolled back and run
// again around it. If the COMMIT of such a driver fails, the outcome is not known: see [OutcomeUnknownError].
//
// sqlx must be told the new names: import package sqlxbind.
package groupcommit
