package groupcommit

import (
	"context"
)

type noBatchKey struct{}

// NoBatch returns a context whose Exec goes straight to the driver, alone, on a connection that it keeps until
// database/sql has its own back. It is for a statement with effects that the text does not show, such as a function
// that looks at the session. On a *sql.Conn, what is asked of the session next is then asked of the same connection.
func NoBatch(ctx context.Context) context.Context {
	return context.WithValue(ctx, noBatchKey{}, true)
}

func noBatch(ctx context.Context) bool {
	return ctx != context.Background() && ctx.Value(noBatchKey{}) != nil
}

// idContext is the context of [WithID]. Its own type costs one allocation a call, not two, and mostly it is the one that
// reaches Exec: then there is nothing to look for.
type idContext struct {
	context.Context
	id string
}

type idKey struct{}

func (c *idContext) Value(key any) any {
	if key == (idKey{}) {
		return c
	}
	return c.Context.Value(key)
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
	return &idContext{ctx, id}
}

// idOf returns the id of a context. It may be empty, which is an error of the call's.
func idOf(ctx context.Context) (id string, ok bool) {
	if ctx == context.Background() {
		return "", false
	}
	c, ok := ctx.(*idContext)
	if !ok {
		if c, ok = ctx.Value(idKey{}).(*idContext); !ok {
			return "", false
		}
	}
	return c.id, true
}

// withoutID is for a statement of ours on behalf of a caller.
func withoutID(ctx context.Context) context.Context {
	if _, ok := idOf(ctx); ok {
		return context.WithValue(ctx, idKey{}, nil)
	}
	return ctx
}
