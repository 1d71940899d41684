package command

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/turn"
)

// A Host is the database, as commands see it. It is comparable: two runners of one database have equal hosts.
type Host interface {
	// Begin begins a write transaction. t is a turn that the caller has, or nil: then the transaction takes one. An error
	// leaves nothing open.
	Begin(ctx context.Context, t *turn.Turn) (Tx, error)
	// DB is for the statements that this package has to execute outside of a handler's transaction.
	DB() *sql.DB
	// Enter takes the turn on the writer, for a caller that has waited since then.
	Enter(ctx context.Context, t *turn.Turn, since time.Time) error
	// Leave ends a turn, if t has it.
	Leave(t *turn.Turn)
	// Patience is how long a command may wait for others at the most, and its error then; 0 for as long as it takes.
	Patience() (time.Duration, error)
	// Transient reports that an error has left nothing behind, for certain, and may not come again.
	Transient(err error) bool
	// Keeps is the error of an id that cannot be kept.
	Keeps(id string) error
	// WithoutID is the context for a statement of this package on behalf of a caller, whose own context may have an id.
	WithoutID(ctx context.Context) context.Context
	// Added notes that a command was recorded in a transaction that is still open. After each COMMIT the host wakes the
	// runners: see [Runner.Wake].
	Added()
	// Traits is how the database differs from another.
	Traits() *engine.Traits
}

// A Tx is a handler's transaction. Only Commit and Close end it: if the handler does, it is rolled back.
type Tx interface {
	// SQL is what the handler gets.
	SQL() *sql.Tx
	// Own executes a statement of this package beside the handler's, such as a savepoint. It is [Errors.Undone] if a
	// statement of the handler's has ended the transaction.
	Own(text string) error
	// State says whether database/sql has the transaction still open, and whether the database has none. lost is the error
	// of a connection that cannot be asked.
	State() (open, idle bool, lost error)
	// Gone reports that the connection is not there any longer.
	Gone() bool
	// Finishes reports that Commit can execute statements.
	Finishes() bool
	// Commit executes last, of which nothing is left if one fails, and commits. before says of an error that it is theirs, and
	// that COMMIT was certainly not executed; unclear, that COMMIT may have taken effect.
	Commit(last []engine.Statement) (before, unclear bool, err error)
	// Close rolls back what is open, and gives the connection back without what the handler has done to its session.
	Close()
}

// A Codec turns the values and results of commands into bytes and back. Its methods may panic.
type Codec interface {
	Encode(v any) ([]byte, error)
	Decode(data []byte, v any) error
}

// A handler must not wait for a command of its own database: that may be waiting for the handler's turn, or for its batch. The
// handler's context tells.
var errWaitsForItself = errors.New("groupcommit: a handler must not wait for a command of its own database, which may be waiting for the handler; hand it over with Go, or record it with Add in the handler's transaction")

// handlingKey is the key of the host whose handler a context is for.
type handlingKey struct{}

// handledBy is the host whose handler a context is for, whatever the kind of the commands; nil if it is for none.
func handledBy(ctx context.Context) Host {
	h, _ := ctx.Value(handlingKey{}).(Host)
	return h
}
