package groupcommit

import (
	"errors"
	"fmt"

	"github.com/groupcommit/groupcommit/engine"
)

// ErrClosed is the error of a call that came after db.Close had begun. The call was not executed.
var ErrClosed = errors.New("groupcommit: database is closed")

// ErrMismatch is the error of a call whose id belongs to another statement, or to the same statement with other arguments.
// The call was not executed.
var ErrMismatch = engine.ErrMismatch

// RejectedError is a recorded error, for a call that is made again. The first call got the driver's own error; the record
// has only its text and code.
type RejectedError = engine.RejectedError

// OutcomeUnknownError says that the call may have been executed or not, or may still be. Either a COMMIT was sent and its
// answer never came, or the caller's context ended while another call with the same id was under way, which goes on. A call
// without an id cannot be asked about. A call with an id finds out when it is made again.
//
// It matches the error of the caller's context if that context has ended. It never matches driver.ErrBadConn, which would
// make database/sql execute the call again.
type OutcomeUnknownError = engine.OutcomeUnknownError

// PanicError is the outcome of a call during which the program's own code panicked: a [driver.Valuer], a type's conversion,
// a function that SQL calls, a command's handler. A blocking Exec panics with Value, as it does on the plain driver; a
// [Promise] is rejected with the PanicError.
type PanicError = engine.PanicError

// PendingError says that a [Durable] command is recorded, and has not been carried out: the program is being closed, or the
// database could not be written to. This program or another will carry it out. Cause is the reason for the delay.
type PendingError struct {
	ID    string
	Cause error
}

func (e *PendingError) Error() string {
	return fmt.Sprintf("groupcommit: command %q is recorded and still pending: %v", e.ID, e.Cause)
}

// Unwrap returns Cause.
func (e *PendingError) Unwrap() error { return e.Cause }
