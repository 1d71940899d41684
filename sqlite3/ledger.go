package sqlite3

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/groupcommit/groupcommit/engine"

	"github.com/groupcommit/groupcommit/durable"
	"github.com/mattn/go-sqlite3"
)

// ledger claims and records the calls with an id of one session, some hundred with one statement: what a statement costs
// from Go is more than what a row costs in SQLite. BEGIN IMMEDIATE keeps everybody else from writing, so that an id which
// is not there is claimed by that alone.
//
// The rest is used again and again: what each group would leave behind has the collector walk a thousand callers' stacks more
// often.
type ledger struct {
	find *sqlite3.SQLiteStmt // made when first needed
	note *sqlite3.SQLiteStmt

	ids   []byte
	value []byte
	notes []notes
}

// The ids go in as a JSON array; the keys and the values as one blob each, of pieces that have the same size. Everything
// else that takes an array apart in SQLite was found to be two to three times as slow.
const (
	findPromises = `SELECT p.id, p.state, p.create_key, p.value FROM json_each(?1) AS j
		CROSS JOIN groupcommit_promises AS p ON p.id = j.value`
	notePromises = `INSERT INTO groupcommit_promises (id, state, create_key, value, created_at, completed_at)
		SELECT j.value, ?2, substr(?3, j.key * 32 + 1, 32), substr(?4, j.key * ?5 + 1, ?5), ?6, ?6
		FROM json_each(?1) AS j`
	keySize = 32
)

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
			ids = appendID(ids, c.ID())
		}
	}
	s.ledger.ids = ids
	if len(ids) == 0 {
		return nil, nil
	}
	st, err := s.statement(&s.ledger.find, findPromises)
	if err != nil {
		return nil, err
	}
	rows, err := st.Query([]driver.Value{array(ids)})
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
		p := durable.Promise{ID: text(row[0]), CreateKey: durable.Key(text(row[2]))}
		state, _ := row[1].(int64)
		p.State, p.Value.Data = durable.State(state), []byte(text(row[3]))
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
	l.notes = l.notes[:0]
	for _, c := range calls {
		if c.ID() == "" {
			continue
		}
		if _, ok := found[c.ID()]; ok {
			continue
		}
		if err := c.Err(); err == nil {
			l.value = c.AppendResolved(l.value[:0])
			l.add(c, durable.Resolved, l.value)
		} else if code, ok := rejection(err); ok {
			l.add(c, durable.Rejected, engine.RejectedValue(code, err.Error()))
		}
	}
	for i := range l.notes {
		n := &l.notes[i]
		st, err := s.statement(&l.note, notePromises)
		if err == nil {
			var res driver.Result
			res, err = st.Exec([]driver.Value{array(n.ids), int64(n.state), n.keys, n.values, int64(n.size), time.Now().UnixMilli()})
			if err == nil && s.rows {
				res, err = s.finish(&l.note)
			}
			if err == nil {
				err = n.all(res)
			}
		}
		if err != nil {
			return fmt.Errorf("groupcommit/sqlite3: the outcome could not be recorded: %w", err)
		}
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

// notes are promises with the same state, and values of the same size. A group has few such: numbers of as many digits.
type notes struct {
	state  durable.State
	size   int
	count  int
	ids    []byte
	keys   []byte
	values []byte
}

// all is the error of a table that has not taken them all: a trigger may ignore a row.
func (n *notes) all(res driver.Result) error {
	if rows, err := res.RowsAffected(); err != nil || rows != int64(n.count) {
		return errors.Join(err, fmt.Errorf("groupcommit_promises has taken %d rows of %d", rows, n.count))
	}
	return nil
}

func (l *ledger) add(c *engine.Call, state durable.State, value []byte) {
	n := l.notesOf(state, len(value))
	n.count++
	n.ids = appendID(n.ids, c.ID())
	n.keys = append(n.keys, c.Fingerprint()...)
	n.values = append(n.values, value...)
}

func (l *ledger) notesOf(state durable.State, size int) *notes {
	for i := range l.notes {
		if n := &l.notes[i]; n.state == state && n.size == size {
			return n
		}
	}
	l.notes = slices.Grow(l.notes, 1)[:len(l.notes)+1]
	n := &l.notes[len(l.notes)-1]
	*n = notes{state: state, size: size, ids: n.ids[:0], keys: n.keys[:0], values: n.values[:0]}
	return n
}

// array is the JSON array of ids that appendID has written one after the other.
func array(ids []byte) string { return "[" + string(ids[:len(ids)-1]) + "]" }

// appendID writes an id, which is UTF-8, as a JSON string and a comma.
func appendID(b []byte, id string) []byte {
	b = append(b, '"')
	for i := range len(id) {
		switch c := id[i]; {
		case c < ' ':
			b = fmt.Appendf(b, `\u%04x`, c)
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		default:
			b = append(b, c)
		}
	}
	return append(b, '"', ',')
}

func text(v driver.Value) string {
	switch v := v.(type) {
	case string:
		return v
	case []byte:
		return string(v)
	}
	return ""
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
