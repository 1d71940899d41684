package groupcommit

import (
	"errors"
	"fmt"
)

// ErrClosed is returned for a call that came after db.Close had begun. It was not executed.
var ErrClosed = errors.New("groupcommit: database is closed")

// errUnanswered is the outcome of a call whose leader's goroutine ended in the middle of the group. No caller should
// ever see it.
var errUnanswered = errors.New("groupcommit: the call's group ended before the call had an outcome")

// OutcomeUnknownError says that the call may have been executed or not, or may still be. A COMMIT was sent and its answer
// never came; or the caller's context ended while another call with the same id was under way, which goes on. For a call
// without an id nobody can be asked; one with an id finds out when it is made again.
//
// It matches the error of the caller's context if that is what has ended and the call has an id. It never matches
// driver.ErrBadConn, which would make database/sql execute the call again.
type OutcomeUnknownError struct {
	ID    string // the call's; "" if it has none
	Cause error  // what happened to the connection, or the error of the caller's context

	ended    error // the error of the caller's context; nil if that has not ended
	attached bool  // to another call, which is under way
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

// Unwrap returns the error of the caller's context, and nothing else: Cause may be driver.ErrBadConn, or the end of a
// time that is not the caller's.
func (e *OutcomeUnknownError) Unwrap() error { return e.ended }
