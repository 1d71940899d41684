package physical

import (
	"context"
	"database/sql/driver"

	"github.com/groupcommit/groupcommit/engine"
)

// Config is what a pool needs of its database.
type Config struct {
	Connector driver.Connector // the wrapped one
	// Open makes the engine's session on a connection that the connector has opened.
	Open func(ctx context.Context, raw driver.Conn) (engine.Session, error)
	// TakeTurn takes the writer's turn for the opening of a connection, where that may write. It is not asked under a
	// context of InTurn.
	TakeTurn func(ctx context.Context) (leave func(), err error)
	// Refresh learns from a session what a setting of that name has changed of the database's traits.
	Refresh func(s engine.Session, setting string)
	// NoRoom reports that the server has refused a connection, but may serve those that are open; nil: no error says so.
	NoRoom func(error) bool
	// Most is how many connections there may be; 0 is as many as there are seats.
	Most int
}

type inTurnKey struct{}

// A Turn is the writer's turn, which a borrower has. The borrower gives it up while it waits for a connection: whoever has
// that may be waiting for the turn.
type Turn interface {
	Yield()
	Regain(ctx context.Context) error // before the connection is used
}

// InTurn returns a context for a use of DB, which says that the writer's turn is taken already.
func InTurn(ctx context.Context, t Turn) context.Context {
	return context.WithValue(ctx, inTurnKey{}, t)
}
