package engine

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/groupcommit/groupcommit/durable"
)

// ErrUnanswered is the outcome of a call whose leader's goroutine ended in the middle of the group. No caller should ever
// see it.
var ErrUnanswered = errors.New("groupcommit: the call's group ended before the call had an outcome")

// ErrMismatch is the error of a call whose id belongs to another statement, or to the same statement with other arguments.
// Or it is that of a query whose id belongs to an Exec, which has recorded no rows. An id without a record belongs to the call in this
// process that has it and is under way. The call with the error was not executed.
var ErrMismatch = errors.New("groupcommit: the id belongs to another statement or command, or to other arguments")

// Mismatch is an error about an id that matches ErrMismatch.
func Mismatch(id string) error { return mismatch{id} }

type mismatch struct{ id string }

func (e mismatch) Unwrap() error { return ErrMismatch }
func (e mismatch) Error() string {
	return fmt.Sprintf("groupcommit: id %q belongs to another statement or command, or to other arguments", e.id)
}

// RejectedError is a recorded error, for a call that is made again. The first call got the driver's own error; the record
// has only its text and code.
type RejectedError struct {
	ID      string        // the promise's
	State   durable.State // REJECTED; of a command also REJECTED_CANCELED or REJECTED_TIMEDOUT
	Code    string        // the database's own: a SQLSTATE, SQLite's extended code as a number; "" if there was none
	Message string        // at most 1 KiB
}

func (e *RejectedError) Error() string {
	if e.State != durable.Rejected {
		return fmt.Sprintf("groupcommit: promise %q is %v", e.ID, e.State)
	}
	return fmt.Sprintf("groupcommit: promise %q was rejected: %s", e.ID, e.Message)
}

// Is makes a promise that was taken back match context.Canceled, and a promise whose time was over match
// context.DeadlineExceeded.
func (e *RejectedError) Is(target error) bool {
	return e.State == durable.RejectedCanceled && target == context.Canceled ||
		e.State == durable.RejectedTimedout && target == context.DeadlineExceeded
}

// OutcomeUnknownError says that the call may have been executed or not, or may still be. Either a COMMIT was sent and its
// answer never came, or the caller's context ended while another call with the same id was under way, which goes on. A call
// without an id cannot be asked about. A call with an id finds out when it is made again.
//
// It matches the error of the caller's context if that context has ended. It never matches driver.ErrBadConn, which would
// make database/sql execute the call again.
type OutcomeUnknownError struct {
	ID    string // the call's; "" if it has none
	Cause error  // what happened to the connection, or the error of the caller's context

	ended    error // the error of the caller's context; nil if that has not ended
	attached bool  // the call waited for another one with its id, which is under way
}

// Left is the error of a caller whose context ended while another call with the same id was under way.
func Left(id string, ended error) *OutcomeUnknownError {
	return &OutcomeUnknownError{ID: id, Cause: ended, ended: ended, attached: true}
}

// InDoubt is the error of a call that has failed, while it is not known whether an earlier attempt has left an effect. why
// is the reason of the doubt. ended is the error of the caller's context; nil if that has not ended.
func InDoubt(id string, why, ended error) *OutcomeUnknownError {
	return &OutcomeUnknownError{ID: id, Cause: why, ended: ended}
}

func (e *OutcomeUnknownError) Error() string {
	id := ""
	if e.ID != "" {
		id = fmt.Sprintf("id %q: ", e.ID)
	}
	why := "the answer to COMMIT was lost"
	if e.attached {
		why = "another call with the id is still under way and may take effect"
	}
	return fmt.Sprintf("groupcommit: %sthe outcome of the call is unknown: %s: %v", id, why, e.Cause)
}

// Unwrap returns the error of the caller's context, and no other: Cause may be driver.ErrBadConn, or the end of a time limit
// that is not the caller's.
func (e *OutcomeUnknownError) Unwrap() error { return e.ended }

// PanicError is the outcome of a call during which the program's own code panicked: a [driver.Valuer], a type's conversion,
// a function that SQL calls, a command's handler. A blocking Exec panics with Value, as it does on the plain driver. A
// promise is rejected with the PanicError.
type PanicError struct {
	Value any
	Stack []byte // of the goroutine that panicked
}

func (e *PanicError) Error() string {
	return fmt.Sprintf("groupcommit: panic during a call: %v", e.Value)
}

// Unwrap returns Value if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// Catch calls f, which may run a program's code. If f does not return, Catch calls caught: after a panic, which Catch has
// ended, or in runtime.Goexit, which goes on when caught has returned. The error's Value says which.
func Catch(f func(), caught func(*PanicError)) {
	returned := false
	defer func() {
		if returned {
			return
		}
		v := recover()
		if v == nil {
			v = "runtime.Goexit was called"
		}
		caught(&PanicError{Value: v, Stack: debug.Stack()})
	}()
	f()
	returned = true
}

// Guard calls f, which is a program's code, and returns its error, or a *[PanicError] if it panics.
func Guard(f func() error) (err error) {
	Catch(func() { err = f() }, func(p *PanicError) { err = p })
	return err
}

// An OptionError is the error of an option whose value is not allowed.
type OptionError struct {
	Name    string // as the program has spelled it: see [Settings.Spelled]
	Value   string
	Allowed string
}

func (e *OptionError) Error() string {
	return fmt.Sprintf("groupcommit: option %s: %q is not allowed; %s is", e.Name, e.Value, e.Allowed)
}
