package command

import (
	"context"
	"database/sql"
	"reflect"
	"time"

	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/flight"
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
	// Own executes a statement of this package beside the handler's, such as a savepoint. It is [Config.Undone] if a
	// statement of the handler's has ended the transaction.
	Own(text string) error
	// State says whether database/sql has the transaction still open, and whether the database has none. lost is the error
	// of a connection that cannot be asked.
	State() (open, idle bool, lost error)
	// Gone reports that the connection is not there any longer.
	Gone() bool
	// Commit commits. unclear says of an error that COMMIT may have taken effect.
	Commit() (unclear bool, err error)
	// Close rolls back what is open, and gives the connection back without what the handler has done to its session.
	Close()
}

// A Codec turns the values and results of commands into bytes and back. Its methods may panic.
type Codec interface {
	Encode(v any) ([]byte, error)
	Decode(data []byte, v any) error
}

// Config is what a [Runner] is to do.
type Config struct {
	Type reflect.Type // of the commands
	Kind string       // their name in the database
	Zero any          // the result of a command that the handler does not touch

	// Handle is the handler.
	Handle func(ctx context.Context, tx *sql.Tx, batch []*Task) error
	// Revive makes the task of a command that is recorded, from its value.
	Revive func(r *Runner, id string, value []byte) (*Task, error)
	Codec  Codec

	MaxLen   int // of the commands of a batch
	MaxQueue int // of those that wait for one
	MaxDelay time.Duration
	MaxTime  time.Duration                                     // of a batch, where the database can have more than one writer
	Retry    func(failed int) (wait time.Duration, again bool) // its panic is its end

	Promises bool                       // commands may have ids
	Dialect  durable.Dialect            // of the table that they are recorded in; zero without Promises
	Flights  *flight.Map[engine.Answer] // the database's, where commands may have ids

	Durable bool          // commands are recorded before they are handled
	Store   durable.Store // of the table that they are recorded in
	Lease   time.Duration // for how long a process has a recorded command to itself
	Timeout time.Duration // after which a recorded command is not begun with; 0 is never

	Closed  error                              // of a command that comes after Close
	Ended   error                              // of a handler that has ended its transaction
	Undone  error                              // of a handler that goes on after a statement has ended its transaction
	Pending func(id string, cause error) error // of a recorded command that stays pending here, and why
}
