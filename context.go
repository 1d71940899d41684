package groupcommit

import (
	"context"

	"github.com/groupcommit/groupcommit/internal/virtual"
)

// NoBatch returns a context whose Exec goes straight to the driver, alone, on a connection that it keeps until
// database/sql has its own back. It is for a statement with effects that the text does not show, such as a function
// that looks at the session. On a *sql.Conn, what is asked of the session next is then asked of the same connection.
func NoBatch(ctx context.Context) context.Context {
	return virtual.WithNoBatch(ctx)
}

// WithID returns a context whose Exec is a durable promise with that id: it takes effect at most once, together with its
// recorded outcome, and whoever calls again with the same id, in this process or another, before or after a crash, gets
// that outcome. See [Promises], which the database must have been opened with.
//
// An id names one statement with its arguments: with others it is an error, [ErrMismatch]. An argument that cannot be
// compared with one of another process, such as a function, is an error, too. An id has 1 to 255 bytes of UTF-8
// without NUL, and is one per database, whatever schema or role a session is in: on a connection whose session has been
// changed, by SET, PRAGMA, a temporary table or [Raw], it is an error.
//
// The call must be one INSERT, UPDATE, DELETE or the like, outside a transaction; a context with an id that reaches
// another statement that writes, or BeginTx, is an error there. A query that only reads takes no notice of it.
//
// A call whose id is that of another one under way in this process waits for its outcome. If the context ends meanwhile,
// the other call goes on, and the error is an [*OutcomeUnknownError], which matches the context's. A context's bare error
// says that nothing was executed.
func WithID(ctx context.Context, id string) context.Context {
	return virtual.WithID(ctx, id)
}
