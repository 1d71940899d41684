// Package sqlite3 is the engine for SQLite through mattn/go-sqlite3. Importing it registers the driver
// "sqlite3-groupcommit", which takes every data source name that "sqlite3" takes. It also makes the engine known for a
// program's own drivers:
//
//	import _ "github.com/groupcommit/groupcommit/sqlite3"
//
//	db, err := sql.Open("sqlite3-groupcommit", "app.db?_journal=WAL&_synchronous=FULL")
//
// # What a group is
//
// A group is BEGIN IMMEDIATE, the calls, COMMIT. A failed call leaves the rows that it would have left by itself: none, or
// with OR FAIL those before the error. Its caller gets the error and the others go on. After some errors (a STRICT column's
// type, an overflow, an error of a function) SQLite does not undo the failed statement of a transaction by itself. The group
// then runs again with savepoints, and the statement has one for a while in later groups. Some errors end the transaction
// (RAISE(ROLLBACK), ON CONFLICT ROLLBACK, a full disk). Then nothing of the group is left, and it runs again around the
// culprit, in the same order. If COMMIT fails (a deferred foreign key), each call runs alone.
//
// An I/O error of COMMIT may come when the transaction is committed already: with the journal modes TRUNCATE, PERSIST and
// MEMORY, with DELETE and synchronous=EXTRA, and where files are attached. The callers then get an
// [engine.OutcomeUnknownError]; calls with ids find out for themselves. With WAL, and with DELETE below EXTRA, such an error says
// that nothing was committed.
//
// With journal_mode=OFF nothing can be rolled back. There is no group then, which is logged once, and no call can have an
// id.
//
// A function of the program's may panic, or call runtime.Goexit, in a group or in an Exec by itself. It then does so in its
// caller's goroutine. The connection is closed, because the panic has left it locked. A database in memory is gone with it.
//
// # Which transaction writes
//
// SQLite has one writer at a time. Within the process groups, write transactions, RETURNING queries and schema changes of
// one file take turns, also across several sql.Open of it, so that there is no SQLITE_BUSY between them. A wait for the turn
// ends with the context, or with SQLITE_BUSY after the busy timeout, if the program has set one by the data source name, a
// PRAGMA or a hook; otherwise after 10 seconds.
//
// A transaction takes the turn with its first write, and keeps it until it ends. A transaction that only reads needs no
// turn, and waits for no other. A transaction that reads and then writes needs the turn from its first read on. Otherwise
// its snapshot may be stale when it writes, and SQLite answers SQLITE_BUSY, as on the plain driver. So the engine learns
// which transactions will write, by the text of their first statement. A text that is not known to begin readers takes the
// turn, but tentatively: if its transaction has not written for a second, another writer may go first. Two transactions in a
// row that began with a text and did not write make the text a reader's. 16 such texts in a row make all new texts readers'.
// A transaction that writes takes that back. So only the first write behind a text that had only read before may find its
// snapshot stale. A transaction declared read-only (sql.TxOptions.ReadOnly) never takes a turn.
//
// # When a commit is durable
//
// With journal_mode=WAL and synchronous=FULL or EXTRA, SQLite syncs the log within each COMMIT, before others can read what
// was committed. Where several callers write, the engine shares that sync: a transaction runs at synchronous=NORMAL and
// commits, its connection and its turn go to the next, and its caller has the answer after a sync of the log that all share who
// have committed meanwhile. So an answer is as durable as on the plain driver, and each transaction is one of its own. Groups,
// RETURNING queries, texts of several statements, schema changes and handlers' transactions share syncs in the same way. A
// caller that writes alone commits as on the plain driver. Three things differ:
//
//   - Others can read a commit before it is durable, for as long as a sync or two take. If the machine fails then, they have
//     read what is gone, and its writer had no answer. What they have written because of it is gone, too: it is behind it in the
//     same log. [groupcommit.DurableReads] has queries wait; [groupcommit.SyncAlone] turns the sharing off for its own commits. What is recorded
//     about an id is never told before it is durable.
//   - If a sync fails, those that wait for it get an [engine.OutcomeUnknownError] whose cause is IOERR_FSYNC: their rows are there,
//     perhaps not on the disk. The next writer moves the whole log into the database file, at FULL; until that has succeeded,
//     which is tried once a second, each writer gets IOERR_FSYNC, and nothing of it is executed.
//   - When COMMIT of a sql.Conn's transaction has returned, its next statement may have another physical connection, unless the
//     sql.Conn has had rows before.
//
// PRAGMA synchronous answers the program's own level everywhere. To share needs Linux, a file of the usual kind (no vfs, psow,
// nolock, immutable or mode=ro in the name) on a file system that is no network's, and a log that the program may open.
// [groupcommit.Stats] tells how many commits have shared, and why the last other one did not.
//
// go-sqlite3 takes NORMAL where a name says journal_mode=WAL and nothing else: then no commit is synced, and there is nothing to
// share. [groupcommit.SyncFull] makes each answer of such a program durable, for a part of its rate where several callers
// write, and for a sync each where one does. With a rollback journal nothing can be shared: a COMMIT syncs several files in an order. Use WAL.
//
// # Settings
//
// A PRAGMA that sets something for its connection, such as foreign_keys or synchronous, holds for every physical connection
// of the sql.DB from then on if one of the sql.DB's own methods executes it: idle connections get it before they are used
// again. A PRAGMA on a sql.Conn is the sql.Conn's alone, unless the sql.Conn was used for nothing else. A PRAGMA in a
// transaction, or of a database that is attached by ATTACH, stays on the connection that executes it.
//
// Databases in memory, temporary ones and those with cache=shared have exactly one physical connection, which all callers
// share.
//
// # How statements reach SQLite
//
// On Linux the statements of a group go to SQLite in one call into C: BEGIN IMMEDIATE, each call's own statement with its own
// arguments, COMMIT. The functions that they call are those of the SQLite that go-sqlite3 has linked; the statements are its own. When
// the first connection is opened, the package looks for SQLite's handles in go-sqlite3's values, and checks them. If they are not
// where they are expected, or on another system, or with the build tag groupcommit_driver, each statement goes by
// go-sqlite3's own call, as all others do: queries, calls without arguments or with large ones, with named ones, by a wrapper of the
// driver, or where SQL may call functions of the program's. A program sees no difference but the time.
//
// # Calls with ids
//
// The record of a call with an id is in the main database. If a hook has attached another database, the call's writes to it
// are committed with the record, but in WAL mode each file by itself: after a crash of the machine one may be there without
// the other.
package sqlite3
