package command

import (
	"context"
	"database/sql"
	"reflect"
	"time"

	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/flight"
)

// Config is what a [Runner] is to do. [New] gives each part to what needs it.
type Config struct {
	Type   reflect.Type // of the commands
	Kind   string       // their name in the database
	Zero   any          // the result of a command that the handler does not touch
	Codec  Codec
	Errors Errors

	// Handle is the handler.
	Handle   func(ctx context.Context, tx *sql.Tx, batch []*Task) error
	MaxTime  time.Duration                                     // of a batch, where the database can have more than one writer
	Retry    func(failed int) (wait time.Duration, again bool) // if it panics, a batch is not tried again
	MaxLen   int                                               // of the commands of a batch
	MaxQueue int                                               // of those that wait for one
	MaxDelay time.Duration                                     // for how long a batch waits until it is full

	Dialect durable.Dialect            // of the table that outcomes are recorded in; zero if commands cannot have ids
	Flights *flight.Map[engine.Answer] // the database's, where commands may have ids
	Durable *Durable                   // nil unless commands are recorded before they are handled
}

// Durable is what a [Runner] needs to know of commands that are recorded before they are handled.
type Durable struct {
	// Revive makes the task of a command that is recorded, from its value.
	Revive  func(k *Kind, id string, value []byte) (*Task, error)
	Store   durable.Store // of the table that they are recorded in
	Lease   time.Duration // for how long a process has a recorded command to itself
	Timeout time.Duration // a recorded command is not begun with afterwards; 0 is never
}
