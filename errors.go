package groupcommit

import (
	"errors"
	"fmt"

	"github.com/groupcommit/groupcommit/engine"
)

// ErrClosed is returned for a call that came after db.Close had begun. It was not executed.
var ErrClosed = errors.New("groupcommit: database is closed")

// ErrMismatch is the error of a call whose id belongs to another statement, or to the same one with other arguments. The
// call was not executed.
var ErrMismatch = engine.ErrMismatch

// RejectedError is a recorded error, for a call that comes again after the first one had been answered with the driver's
// own. Of that there is left what the database said.
type RejectedError = engine.RejectedError

// OutcomeUnknownError says that the call may have been executed or not, or may still be. A COMMIT was sent and its answer
// never came; or the caller's context ended while another call with the same id was under way, which goes on. For a call
// without an id there is nothing to ask; one with an id finds out when it is made again.
//
// It matches the error of the caller's context if that is what has ended and the call has an id. It never matches
// driver.ErrBadConn, which would make database/sql execute the call again.
type OutcomeUnknownError = engine.OutcomeUnknownError

// PanicError is the outcome of a call during which something of the caller's own panicked: a [driver.Valuer], a
// type's conversion, a function that SQL calls, a command's handler. A blocking Exec panics with Value, as it does on the
// plain driver; a [Promise] is rejected with the PanicError.
type PanicError = engine.PanicError

// PendingError says that a [Durable] command is recorded, and could not be carried out by now: the program is being closed,
// or the database could not be written to. It will be carried out, by this program or another. Cause is why it was not.
type PendingError struct {
	ID    string
	Cause error
}

func (e *PendingError) Error() string {
	return fmt.Sprintf("groupcommit: command %q is recorded and still pending: %v", e.ID, e.Cause)
}

// Unwrap returns Cause.
func (e *PendingError) Unwrap() error { return e.Cause }
