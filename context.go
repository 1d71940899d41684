package groupcommit

import (
	"context"

	"github.com/groupcommit/groupcommit/internal/virtual"
)

// NoBatch returns a context whose Exec goes straight to the driver, alone. The connection that runs it stays with the
// caller's until database/sql has its own back. NoBatch is for a statement with effects that its text does not show, such as
// a function that looks at the session. On a *sql.Conn, the next statement then asks the same session.
func NoBatch(ctx context.Context) context.Context {
	return virtual.WithNoBatch(ctx)
}

// WithID returns a context whose Exec, or query with RETURNING, is a durable promise with that id: it takes effect at most once, together with its
// recorded outcome. Every later call with the same id gets that outcome, in this process or another, before or after a
// crash. The database must have been opened with [Promises], which says more.
//
// An id names one statement with its arguments; with another statement or other arguments it is an error, [ErrMismatch]. An
// argument that cannot be compared with one of another process, such as a function, is an error, too. An id has 1 to 255
// bytes of UTF-8 without NUL. It is unique in the database, for all schemas and roles: on a connection whose session has
// been changed, by SET, PRAGMA, a temporary table or [Raw], an id is an error.
//
// The call must be one INSERT, UPDATE, DELETE or the like, outside a transaction; one that comes by Query must have RETURNING. If a
// context with an id reaches another statement that writes, or BeginTx, that is an error there. A query that only reads ignores
// the id.
//
// The rows of a query are recorded, and each call gets the same: names, types and values. They are 256 at the most, and 64 KiB,
// where each value counts 16 bytes and what is in it. A query that returns more gets an error, and nothing of it is committed. All
// errors of a query come from Query itself, before its first row. An Exec that is made again as a query gets an error that
// matches [ErrMismatch], because it has recorded no rows; a query that is made again as an Exec gets their number.
//
// If another call with the same id is under way in this process, the call waits for its outcome. If the context ends
// meanwhile, the other call goes on, and the error is an [*OutcomeUnknownError], which matches the context's error. If the
// error is the context's own, the call was not executed.
func WithID(ctx context.Context, id string) context.Context {
	return virtual.WithID(ctx, id)
}
