package engine

import (
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/internal/record"
)

// Replay is the outcome of a call whose id is in the ledger: the recorded outcome, or [ErrMismatch].
func (c *Call) Replay(p durable.Promise) (driver.Result, error) { return Replay(c.id, c.print, p) }

// Replay is [Call.Replay] for an id and a key that are not an Exec's.
func Replay(id string, key durable.Key, p durable.Promise) (driver.Result, error) {
	if p.CreateKey != key {
		return nil, Mismatch(id)
	}
	if p.State == durable.RejectedCanceled || p.State == durable.RejectedTimedout {
		return nil, &RejectedError{ID: id, State: p.State}
	}
	o, err := record.DecodeOutcome(p.Value.Data)
	if err != nil || !p.State.Done() {
		return nil, fmt.Errorf("groupcommit: id %q: the ledger has a promise that is %s with the value %q; a completed one with a result or an error is needed", id, p.State, p.Value.Data)
	}
	if p.State != durable.Resolved {
		return nil, &RejectedError{ID: id, State: p.State, Code: o.Code, Message: o.Message}
	}
	res := Result{Replayed: true, rowsErr: errNoRows, idErr: errNoInsertID, returned: o.Returned}
	if o.HasRows {
		res.rows, res.rowsErr = o.Rows, nil
	}
	if o.HasLastID {
		res.id, res.idErr = o.LastID, nil
	}
	return &res, nil
}

var (
	errNoRows = errors.New("groupcommit: the number of rows affected was not recorded")
	// errNoInsertID is database/sql's error for a driver that has no last insert id.
	_, errNoInsertID = driver.RowsAffected(0).LastInsertId()
)

// Record appends the value that the ledger records for a call that was answered with a result.
func (c *Call) Record(b []byte) []byte { return c.out.Result.Record(b) }

// Record appends the value that the ledger records for a result.
func (r *Result) Record(b []byte) []byte {
	return record.Outcome{Rows: r.rows, HasRows: r.rowsErr == nil, LastID: r.id, HasLastID: r.idErr == nil, Returned: r.returned}.Append(b)
}
