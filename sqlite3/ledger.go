package sqlite3

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/groupcommit/groupcommit/engine"

	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/internal/record"
	"github.com/mattn/go-sqlite3"
)

// ledger claims and records the calls with an id of one session, by the statements of package record, some hundred calls with
// one statement. BEGIN IMMEDIATE keeps everybody else from writing, so that an id which is not there is claimed by that alone.
//
// The rest is used again and again: what each group would leave behind has the collector walk a thousand callers' stacks more
// often.
type ledger struct {
	find *sqlite3.SQLiteStmt // made when first needed
	note *sqlite3.SQLiteStmt

	ids   record.IDs
	value []byte
	notes record.Notes
}

func (l *ledger) close() {
	for _, st := range []*sqlite3.SQLiteStmt{l.find, l.note} {
		if st != nil {
			st.Close()
		}
	}
}

// claim returns the promises of those calls that have an id which is in the ledger. The others' ids are the calls' own until
// the transaction ends, in whatever order: nobody else claims meanwhile.
func (s *session) claim(calls []*engine.Call) (map[string]durable.Promise, error) {
	ids := s.ledger.ids[:0]
	for _, c := range calls {
		if c.ID() != "" {
			ids.Add(c.ID())
		}
	}
	s.ledger.ids = ids
	if len(ids) == 0 {
		return nil, nil
	}
	st, err := s.statement(&s.ledger.find, record.SQLiteRead)
	if err != nil {
		return nil, err
	}
	rows, err := st.Query([]driver.Value{ids.JSON()})
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var found map[string]durable.Promise
	row := make([]driver.Value, 4)
	for {
		if err := rows.Next(row); err == io.EOF {
			break
		} else if err != nil {
			return nil, err
		}
		if found == nil {
			found = make(map[string]durable.Promise)
		}
		p := record.SQLitePromise(row)
		found[p.ID] = p
	}
	for _, c := range calls {
		c.Claimed()
	}
	return found, nil
}

// record writes down what the calls with an id have come to, but for those that were found in the ledger. An error that may go
// away is not recorded.
func (s *session) record(calls []*engine.Call, found map[string]durable.Promise) error {
	l := &s.ledger
	l.notes.Reset()
	for _, c := range calls {
		if c.ID() == "" {
			continue
		}
		if _, ok := found[c.ID()]; ok {
			continue
		}
		if err := c.Err(); err == nil {
			l.value = c.Record(l.value[:0])
			l.notes.Add(c.ID(), c.Fingerprint(), durable.Resolved, l.value)
		} else if code, ok := rejection(err); ok {
			l.value = record.Outcome{Code: code, Message: err.Error()}.Append(l.value[:0])
			l.notes.Add(c.ID(), c.Fingerprint(), durable.Rejected, l.value)
		}
	}
	for i := range l.notes.All() {
		if err := s.insert(&l.notes.All()[i]); err != nil {
			return fmt.Errorf("groupcommit/sqlite3: the outcome could not be recorded: %w", err)
		}
	}
	return nil
}

// insert records promises, or returns the error of a table that has not taken them all: a trigger may ignore a row.
func (s *session) insert(n *record.Note) error {
	st, err := s.statement(&s.ledger.note, record.SQLiteInsert)
	if err != nil {
		return err
	}
	res, err := st.Exec(n.Args(nil, time.Now()))
	if err == nil && s.rows {
		res, err = s.finish(&s.ledger.note)
	}
	if err != nil {
		return err
	}
	if rows, err := res.RowsAffected(); err != nil || rows != int64(n.Rows) {
		return errors.Join(err, fmt.Errorf(record.Name+" has taken %d rows of %d", rows, n.Rows))
	}
	return nil
}

// finish ends a statement of the ledger's where it may have a row, in the middle of which it would stay: nothing could be
// committed, now or later. What it has changed is counted at its end.
func (s *session) finish(st **sqlite3.SQLiteStmt) (driver.Result, error) {
	err := (*st).Close()
	*st = nil
	if err != nil {
		return nil, err
	}
	n, err := number(s.lite, "SELECT changes()")
	return driver.RowsAffected(n), err
}

// rejection reports an error that the same call would meet again, and its code.
func rejection(err error) (code string, ok bool) {
	var e sqlite3.Error
	if !errors.As(err, &e) || e.Code != sqlite3.ErrConstraint && e.Code != sqlite3.ErrMismatch {
		return "", false
	}
	return strconv.Itoa(int(e.ExtendedCode)), true
}

// environment reports an error that is of the file, the machine or another connection, whatever the statement.
func environment(err error) bool {
	var e sqlite3.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code {
	case sqlite3.ErrPerm, sqlite3.ErrBusy, sqlite3.ErrNomem, sqlite3.ErrReadonly, sqlite3.ErrInterrupt, sqlite3.ErrIoErr, sqlite3.ErrCorrupt,
		sqlite3.ErrFull, sqlite3.ErrCantOpen, sqlite3.ErrProtocol, sqlite3.ErrNoLFS, sqlite3.ErrNotADB:
		return true
	case sqlite3.ErrLocked: // by another connection, and not by rows that the handler itself has left open
		return e.ExtendedCode == sqlite3.ErrLockedSharedCache
	}
	return false
}

// promised runs one call with an id in a transaction of its own.
func (s *session) promised(c *engine.Call) (driver.Result, error) {
	if s.unprotected() {
		return nil, errUnprotected(fmt.Sprintf("id %q", c.ID()))
	}
	res, err, done := s.attempt(c, func() (driver.Result, error) { return s.exec(c.Context(), c) })
	if done {
		return res, err
	}
	// In autocommit nothing would be left of the call but its error. That is recorded.
	rejected := err
	s.untouched = true
	res, err, done = s.attempt(c, func() (driver.Result, error) { return nil, rejected })
	if !done {
		err = fmt.Errorf("groupcommit/sqlite3: the outcome could not be recorded: %w", err)
	}
	return res, err
}

// attempt claims the call's id, runs it and records what it came to. It is not done if the outcome is an error that is still to be
// recorded.
func (s *session) attempt(c *engine.Call, run func() (driver.Result, error)) (res driver.Result, err error, done bool) {
	s.words.locked = false
	if err := s.begin(); err != nil {
		return nil, err, true
	}
	defer func() { // also of a panic
		if !s.lite.AutoCommit() && s.rollback() != nil {
			res, err, done = nil, driver.ErrBadConn, true // closing the connection rolls back, too
		}
	}()
	one := []*engine.Call{c}
	found, err := s.claim(one)
	if err != nil {
		return nil, err, true
	}
	if p, ok := found[c.ID()]; ok {
		res, err := c.Replay(p)
		return res, err, true
	}
	res, err = run()
	c.Answer(res, err)
	if err != nil {
		_, final := rejection(err)
		if !final {
			return nil, err, true
		}
		// An error is recorded beside what autocommit would have left of the statement, and beside nothing else. What SQLite does
		// not tell of is left as it is.
		if s.lite.AutoCommit() || s.remains(c, err) == more {
			return nil, err, false
		}
	}
	if err := s.record(one, nil); err != nil {
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
