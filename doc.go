// Package groupcommit makes an existing program's database writes faster by committing concurrent ones together. A
// program changes one string:
//
//	db, err := sql.Open("sqlite3-groupcommit", "app.db")        // was "sqlite3"
//	db, err := sql.Open("pgx-groupcommit", os.Getenv("PG_DSN")) // was "pgx"
//
// and its Exec calls, made by any number of goroutines that know nothing of each other, share transactions: every call
// becomes a promise, the promises that are waiting share one transaction and one commit, and each caller gets its own
// result or its own error, after the commit and not a moment before.
//
// It helps programs that write from many goroutines at once. One goroutine that writes one row after the other
// gains nothing.
//
// # Which calls are grouped
//
// An Exec of a single INSERT, UPDATE, DELETE, REPLACE or MERGE, also behind WITH, directly or through a prepared statement,
// outside of a transaction, and on a sql.Conn only if it is the first thing done with it. Everything else goes to the wrapped driver as it is: queries, transactions, DDL, several
// statements in one text, and statements that ask the session something, such as last_insert_rowid(). A statement
// that changes the session (SET, ATTACH, a temporary table) ties a physical connection to the pooled connection that
// it ran on, which is what the plain driver does; a PRAGMA that sets something, by a method of the sql.DB, holds for all
// physical connections. What the text does not show, such as a function with effects outside
// of the transaction, can be kept out of groups with [NoBatch].
//
// # When a group is closed
//
// There is no timer. The first caller leads: it claims what is queued and has it committed, while the next group
// queues up. A lone call is run by its own caller as the plain driver's call, with no transaction around it. After a
// commit, the next leader yields for a moment, shorter than a commit, to callers that were just answered, if they have
// been coming back. A group has at most [MaxLen] calls and [MaxBytes] bytes. [MaxQueue] bounds the calls that wait; a
// further one waits for room.
//
// # What a caller may rely on
//
// Exec returns nil after its transaction has been committed: it is then as durable as the database's settings make a
// commit. Errors are the driver's own values, and nobody else's: when a call fails, what the others of its group did is
// committed, if need be by running them again after a rollback.
//
// A context counts until a group of several claims the call. If it ends before, the call returns the context's error and
// has certainly not been executed. After that the call waits for its true outcome. A call that runs alone runs under its
// own context.
//
// The calls of one goroutine happen in order. Calls of several goroutines are executed in the order in which they were
// queued.
//
// # Sessions that are the caller's
//
// A hook may prepare each connection from the context of whoever uses it, for a tenant, say. Queries, transactions and calls
// that run alone show it their own caller's context. A group is of many callers: [Partition] says which of them may share one,
// and the hook sees the values of one of these. A program with such a hook needs it; where the hook can be seen, as pgx's can,
// there are no groups without. What the library does for itself (deleting old promises, say) has the values of nobody.
//
// # Sizing the pool
//
// What sql.DB pools are cheap connections without I/O; a goroutine needs one for as long as its Exec takes. So
// SetMaxOpenConns bounds how many calls can be in a group: leave it unlimited, or well above the number of
// goroutines that write. SetMaxIdleConns should be as high as that number, or connections are made and thrown
// away. Physical connections are in one pool below, which [Physical] sets up: as many as there are groups, queries and
// transactions at the same time, and the one that was used last is used next. So a program that does one thing at a time has
// one, as on the plain driver.
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
// id takes effect at most once, together with its recorded outcome, and a caller that retries with the same id until it gets
// an answer gets that one outcome: in this program or another, before or after a crash.
//
//	res, err := db.ExecContext(groupcommit.WithID(ctx, "payment-4711"), "INSERT INTO payments (cents) VALUES (?)", 995)
//
// [Lookup] says what became of an id, [Deduplicated] whether a result is a replay. Package durable has the promises
// themselves, for promises that are not of an Exec.
//
// # Commands
//
// What takes several statements, or is faster for many than for one, is a command: a type of yours, and a handler that gets
// a batch of them in one transaction.
//
//	type InsertUser struct{ ID int }
//
//	users, err := groupcommit.Handle(db, func(ctx context.Context, tx *sql.Tx, batch []*groupcommit.Command[InsertUser, int64]) error {
//		...
//	}, groupcommit.MaxLen(1000))
//
//	id, err := users.Do(ctx, "insert-user-7", InsertUser{7})
//
// The batches fill as groups do, and take turns with them. Each command gets what the handler gives it, by [Command.Resolve] or
// [Command.Reject], after the commit. If the handler fails, its transaction is rolled back and the batch comes again, as the
// policy of [Retry] says, while other batches go on. [Command.Try] confines an error to one command, and [Each] makes a handler
// of a function for one.
//
// A command with an id has one outcome, which is recorded in the handler's transaction, as that of an Exec is. A [Durable] one
// outlives the program: it is recorded before [Commands.Go] returns, or in a transaction of yours, by [Commands.Add]; and is
// carried out by whichever process handles its kind, after a crash, too. Within the retention window and on one database it
// takes effect at most once, and is tried until it has an outcome. Effects outside of the database, such as an e-mail, may
// happen again if the program dies between them and the commit.
//
// # Drivers
//
// Package sqlite3 registers "sqlite3-groupcommit", package pgx "pgx-groupcommit". Any other driver can be wrapped with [Register] or [NewConnector];
// it is then used by its own BEGIN and COMMIT, and a group in which a call fails is rolled back and run again around it.
// A driver whose COMMIT fails is taken at its word that the outcome is not known: see [OutcomeUnknownError].
package groupcommit
