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

// OutcomeUnknownError says that a group's COMMIT was sent and its answer never came: the call may have been
// executed or not, and the database could not be asked. If the call has an id, the same call made again tells, and [Lookup] does
// once nothing of the group is under way any more; without one nobody knows. It never matches driver.ErrBadConn, which would
// make database/sql execute the call again.
type OutcomeUnknownError struct {
	Cause error // what happened to the connection
}

func (e *OutcomeUnknownError) Error() string {
	return fmt.Sprintf("groupcommit: the outcome of the call is unknown: the answer to COMMIT was lost: %v", e.Cause)
}

// There is no Unwrap: Cause may be driver.ErrBadConn.
