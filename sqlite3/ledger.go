//go:build cgo

package sqlite3

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/groupcommit/groupcommit/engine"

	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/internal/record"
	"github.com/mattn/go-sqlite3"
)

// ledger claims and records the calls with an id of one session, by the statements of package record, some hundred calls
// with one statement. BEGIN IMMEDIATE keeps all other connections from writing. That alone claims an id which is not there.
//
// Both go through the ids in their order. A group's calls come in none, and a statement that goes back and forth among the pages of
// an index takes up to twice as long.
//
// The buffers are used again and again: the garbage of each group would have the collector walk a thousand callers' stacks
// more often.
type ledger struct {
	*connection
	rows bool                // every statement may have rows
	find *sqlite3.SQLiteStmt // made when first needed
	note *sqlite3.SQLiteStmt

	calls []*engine.Call // with ids, by their ids
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

// claim returns the promises of the calls whose ids are in the ledger. The other ids belong to their calls until the
// transaction ends, in any order: no other connection claims meanwhile.
func (l *ledger) claim(calls []*engine.Call) (map[string]durable.Promise, error) {
	l.calls = l.calls[:0]
	for _, c := range calls {
		if c.ID() != "" {
			l.calls = append(l.calls, c)
		}
	}
	if len(l.calls) == 0 {
		return nil, nil
	}
	slices.SortFunc(l.calls, func(a, b *engine.Call) int { return strings.Compare(a.ID(), b.ID()) })
	ids := l.ids[:0]
	for _, c := range l.calls {
		ids.Add(c.ID())
	}
	l.ids = ids
	st, err := l.prepareOwn(&l.find, record.SQLiteRead)
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

// write records the outcomes of the calls that claim had, except those that it has found. An error that may go away is not
// recorded.
func (l *ledger) write(found map[string]durable.Promise) error {
	l.notes.Reset()
	for _, c := range l.calls {
		if c.IsPutOff() {
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
		if l.notes.Bytes() < mostNoteBytes {
			continue
		}
		if err := l.flush(); err != nil {
			return err
		}
		l.notes = record.Notes{} // most groups need no such room
	}
	return l.flush()
}

// forget lets go of the calls, at the end of a transaction.
func (l *ledger) forget() {
	clear(l.calls)
	l.calls = l.calls[:0]
}

// mostNoteBytes bounds what goes into the table by one statement, roughly. Only outcomes with rows are so large.
const mostNoteBytes = 4 << 20

// flush inserts what is noted.
func (l *ledger) flush() error {
	defer l.notes.Reset()
	for i := range l.notes.All() {
		if err := l.insert(&l.notes.All()[i]); err != nil {
			return fmt.Errorf("groupcommit/sqlite3: the outcome could not be recorded: %w", err)
		}
	}
	return nil
}

// insert records promises. It returns an error if the table has not taken them all: a trigger may ignore a row.
func (l *ledger) insert(n *record.Note) error {
	st, err := l.prepareOwn(&l.note, record.SQLiteInsert)
	if err != nil {
		return err
	}
	res, err := st.Exec(n.Args(nil, time.Now()))
	if err == nil && l.rows {
		res, err = l.countAtEnd(&l.note)
	}
	if err != nil {
		return err
	}
	if rows, err := res.RowsAffected(); err != nil || rows != int64(n.Rows) {
		return errors.Join(err, fmt.Errorf(record.Name+" has taken %d rows of %d", rows, n.Rows))
	}
	return nil
}

// countAtEnd ends a statement of the ledger's that may have a row, and returns how many rows it has changed, which SQLite
// counts at its end. The statement would stay in the middle of its row, and nothing could be committed, now or later.
func (l *ledger) countAtEnd(st **sqlite3.SQLiteStmt) (driver.Result, error) {
	err := (*st).Close()
	*st = nil
	if err != nil {
		return nil, err
	}
	n, err := number(l.lite, "SELECT changes()")
	return driver.RowsAffected(n), err
}
