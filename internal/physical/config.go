package physical

import (
	"context"
	"database/sql"
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
	// SetUp sets up the pool on the program's behalf. If it is nil, no connection is idle in the pool before MayKeep.
	SetUp func(*sql.DB)
}

type inTurnKey struct{}

// InTurn returns a context that says that the writer's turn is taken already.
func InTurn(ctx context.Context) context.Context { return context.WithValue(ctx, inTurnKey{}, true) }
