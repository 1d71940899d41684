//go:build cgo

package sqlite3

import (
	"database/sql/driver"
	"fmt"
	"runtime"

	"github.com/groupcommit/groupcommit/engine"
)

func (s *session) Alone(c *engine.Call) (driver.Result, error) {
	if s.hasGuests() && c.Context().Done() == nil { // or else the driver takes another goroutine, whose panic ends the program
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
	}
	returned := false
	defer func() {
		if !returned {
			s.abandon()
		}
	}()
	var res driver.Result
	var err error
	if c.ID() != "" {
		res, err = s.aloneWithID(c)
	} else {
		res, err = s.exec(c.Context(), c)
	}
	returned = true
	return res, err
}

// aloneWithID runs one call with an id in a transaction of its own.
func (s *session) aloneWithID(c *engine.Call) (driver.Result, error) {
	if s.unprotected() {
		return nil, errUnprotected(fmt.Sprintf("id %q", c.ID()))
	}
	res, err, done := s.inTransaction(c, func() (driver.Result, error) { return s.once(c) })
	if done {
		return res, err
	}
	// In autocommit the call would leave nothing but its error. The error is recorded.
	rejected := err
	s.untouched = true
	res, err, done = s.inTransaction(c, func() (driver.Result, error) { return nil, rejected })
	if !done {
		err = fmt.Errorf("groupcommit/sqlite3: the outcome could not be recorded: %w", err)
	}
	return res, err
}

// once executes a call with an id.
func (s *session) once(c *engine.Call) (driver.Result, error) {
	s.unread = nil
	if c.WantsRows() {
		return s.queryAlone(c)
	}
	return s.exec(c.Context(), c)
}

// inTransaction claims the call's id, runs the call and records its outcome. done is false if the outcome is an error that
// is still to be recorded.
func (s *session) inTransaction(c *engine.Call, run func() (driver.Result, error)) (res driver.Result, err error, done bool) {
	s.words.locked = false
	if err := s.begin(); err != nil {
		return nil, err, true
	}
	defer s.ledger.forget()
	defer func() { // also of a panic
		if !s.lite.AutoCommit() && s.rollback() != nil {
			res, err, done = nil, driver.ErrBadConn, true // closing the connection rolls back, too
		}
	}()
	one := []*engine.Call{c}
	found, err := s.ledger.claim(one)
	if err != nil {
		return nil, err, true
	}
	if p, ok := found[c.ID()]; ok {
		if err := s.settled(); err != nil { // what is not durable yet must not be acknowledged
			return nil, &engine.OutcomeUnknownError{ID: c.ID(), Cause: err}, true
		}
		res, err := c.Replay(p)
		return res, err, true
	}
	res, err = run()
	if s.unread != nil { // there is no record of the rows, so there is to be no effect
		return nil, s.unread, true
	}
	c.Answer(res, err)
	if err != nil {
		_, final := rejection(err)
		if !final {
			return nil, err, true
		}
		// An error is recorded beside the rows that autocommit would have left of the statement, and beside no others. If
		// SQLite does not tell which rows are left, they stay.
		if s.lite.AutoCommit() || s.remains(c, err) == more {
			return nil, err, false
		}
	}
	if err := s.ledger.write(nil); err != nil {
		return nil, err, true
	}
	if failed := s.commit(); failed != nil {
		if s.lite.AutoCommit() && !s.undone(failed) {
			return nil, &engine.OutcomeUnknownError{ID: c.ID(), Cause: failed}, true
		}
		_, final := rejection(failed)
		return nil, failed, !final
	}
	return res, err, true
}
