package engine

import "database/sql/driver"

// An Answer is a call's outcome: a result or an error.
type Answer struct {
	Result   Result
	Value    any // a command's result; nil for an Exec
	Err      error
	Panicked bool // Err is a *PanicError, after a panic of the caller's own code
}

// Get returns what Exec returns. It panics where the plain driver would have.
func (a *Answer) Get() (driver.Result, error) {
	switch {
	case a.Panicked:
		panic(a.Err.(*PanicError).Value)
	case a.Err != nil:
		return nil, a.Err
	}
	switch r := &a.Result; {
	case r.rowsErr != nil, r.returned != nil, r.Replayed:
	case r.idErr == nil:
		return &counts{r.id, r.rows}, nil
	case r.idErr == errNoInsertID:
		return driver.RowsAffected(r.rows), nil
	}
	res := a.Result
	return &res, nil
}

// counts is a result that has its two numbers and nothing else, as nearly all have. It is a fifth of a [Result], and the collector
// need not look into it.
type counts struct{ id, rows int64 }

func (c *counts) LastInsertId() (int64, error) { return c.id, nil }
func (c *counts) RowsAffected() (int64, error) { return c.rows, nil }

// Result is a [driver.Result] that was read right after its statement.
type Result struct {
	id, rows       int64
	idErr, rowsErr error
	returned       []byte // the record of a query's rows; nil for an Exec
	// Replayed says that the result comes from the ledger, or from another call.
	Replayed bool
}

func (r *Result) LastInsertId() (int64, error) { return r.id, r.idErr }
func (r *Result) RowsAffected() (int64, error) { return r.rows, r.rowsErr }
