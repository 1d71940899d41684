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
