//go:build cgo

package sqlite3

import (
	"context"
	"database/sql/driver"
	"time"

	"github.com/groupcommit/groupcommit/engine"

	"github.com/groupcommit/groupcommit/internal/lru"
	"github.com/groupcommit/groupcommit/internal/sqltext"
	"github.com/mattn/go-sqlite3"
)

// session runs calls on one connection of the driver.
//
// The driver prepares the text of every Exec anew. The session keeps the statements, for the texts that are used again and
// again. A kept statement gives the same result as the driver's Exec, except in two cases: with a wrong count of arguments,
// which the driver must refuse, and for a statement with rows (RETURNING, PRAGMA count_changes), which would stay in the
// middle of its rows and fail the COMMIT.
//
// If a wrapper is around the driver's connection, every call goes by the wrapper's own Exec, as the plain driver's would: the
// wrapper sees the call once, with the values of its caller's context, and may change it.
//
// Where statements may call the program's functions, a call or a group stays on one thread until it is over, see abandon.
// Elsewhere that would cost a tenth.
type session struct {
	connection
	deferral
	conn   driver.Conn // for the calls' statements; the connection is the same or inside it
	within bool        // the connection is inside it, in a wrapper
	traits engine.Traits
	rows   bool                   // every statement may have rows
	counts bool                   // every statement that writes has one
	kept   *lru.Cache[*keptExec]  // nil for a text that the driver's Exec must run
	asked  *lru.Cache[*keptQuery] // the kept statements of calls that want rows
	reader engine.RowReader
	inTurn func(*engine.Call) (driver.Result, error)
	ledger ledger
	words  schemaWords

	untouched bool                // the latest statement has failed before any part of it was executed
	unread    error               // the latest query was executed, and its rows could not be kept: it must run by itself instead
	current   *sqlite3.SQLiteStmt // is executed, and not kept

	crossing bool    // statements may go to SQLite several at once
	segment  segment // of those
}

// A keptExec is a kept statement without rows.
type keptExec struct {
	*sqlite3.SQLiteStmt
	handle uint64 // SQLite's; 0 without crossing
}

const (
	keptStatements = 128
	// keptBytes bounds the arguments of a kept statement, which holds on to them until it is used again.
	keptBytes = 64 << 10
)

func newSession(conn driver.Conn, lite *sqlite3.SQLiteConn, t engine.Traits, counts bool, files []string) *session {
	// On the only connection of a database the program may set the PRAGMA at any time.
	s := &session{connection: connection{lite: lite, files: files}, conn: conn, traits: t, rows: counts || t.OneConn, counts: counts}
	s.within = conn != driver.Conn(lite)
	s.crossing = !s.within && !s.rows && !driverOnly.Load() && crosses(lite)
	s.ledger.connection, s.ledger.rows = &s.connection, s.rows
	s.kept = lru.New(keptStatements, func(st *keptExec) {
		if st != nil {
			st.Close()
		}
	})
	s.asked = lru.New(keptStatements, func(q *keptQuery) { q.st.Close() })
	// Without a context that can end: the driver would start a goroutine for each statement, and interrupt the transaction
	// of all calls for the sake of one.
	s.inTurn = func(c *engine.Call) (driver.Result, error) {
		ctx := background
		if s.within {
			ctx = context.WithoutCancel(c.Context())
		}
		if c.WantsRows() {
			return s.query(ctx, c)
		}
		return s.exec(ctx, c)
	}
	return s
}

func (s *session) Traits() engine.Traits { return s.traits }
func (s *session) Idle() bool            { return s.lite.AutoCommit() }

// abandon closes the connection after a panic, or runtime.Goexit, in a statement.
//
// A statement that ends that way leaves the connection's mutex locked by its thread. On another thread the next caller that
// touches the connection would wait for ever, and with it every connection that waits for its lock on the file. So abandon
// does all before the goroutine may change threads. No row of the statement may be committed (its end would commit, if it is
// a transaction of its own), and no statement may be left (or else the connection is not closed, and keeps its lock). Close
// does nothing after that.
func (s *session) abandon() {
	defer func() { recover() }() // from a hook of the program's
	defer s.lite.Close()
	if s.lite.AutoCommit() {
		s.control("BEGIN")
	}
	s.Close()
	s.rollback()
}

// remains says which rows a failed call has left in the open transaction.
func (s *session) remains(c *engine.Call, err error) remains {
	if s.untouched {
		return same
	}
	return s.words.remains(&s.connection, c, err)
}

func (s *session) Close() {
	if s.current != nil {
		s.current.Close()
	}
	s.kept.Clear()
	s.asked.Clear()
	s.ledger.close()
	s.own.close()
	s.deferral.close()
}

// exec runs one call as the driver's own Exec would.
func (s *session) exec(ctx context.Context, c *engine.Call) (driver.Result, error) {
	s.untouched = false
	if s.within {
		return s.execWithin(ctx, c)
	}
	if len(c.Args) > 0 && !s.rows && c.Bytes() <= keptBytes {
		st, err := s.keptFor(ctx, c.Query)
		if err != nil {
			return nil, err
		}
		if st != nil && st.NumInput() == len(c.Args) {
			return st.ExecContext(ctx, c.Args)
		}
	}
	switch {
	case s.counts || returns(c.Query):
		return s.execUnkept(ctx, c, s.counted)
	case !s.rows && s.hasGuests(): // after a panic a statement that only the driver knows could not be ended
		return s.execUnkept(ctx, c, nil)
	}
	return s.direct(ctx, c)
}

// keptFor returns the kept statement of a text, which is made if it is not there; nil for a text of which none is kept.
func (s *session) keptFor(ctx context.Context, query string) (*keptExec, error) {
	st, known := s.kept.Get(query)
	if known || returns(query) {
		return st, nil
	}
	made, err := s.prepare(ctx, query)
	if err != nil {
		return nil, err
	}
	st = s.keptOf(made)
	s.kept.Put(query, st)
	return st, nil
}

// Kept makes a session an engine.Keeper.
func (s *session) Kept(query string, args []driver.NamedValue) driver.Stmt {
	if s.within || s.rows || len(args) == 0 || !small(args) || s.hasGuests() {
		return nil
	}
	if st, err := s.keptFor(background, query); err == nil && st != nil && st.NumInput() == len(args) {
		return st.SQLiteStmt
	}
	return nil
}

// small reports that a kept statement may hold on to arguments, of which their types tell how large they are.
func small(args []driver.NamedValue) bool {
	n := 0
	for _, a := range args {
		switch v := a.Value.(type) {
		case string:
			n += len(v)
		case []byte:
			n += len(v)
		case nil, bool, int, int8, int16, int32, int64, uint, uint8, uint16, uint32, uint64, float32, float64, time.Time:
		default:
			return false
		}
	}
	return n <= keptBytes
}

func (s *session) keptOf(st *sqlite3.SQLiteStmt) *keptExec {
	k := &keptExec{SQLiteStmt: st}
	if s.crossing {
		k.handle = handleOf(st)
	}
	return k
}

// execWithin runs a call by the wrapper's own Exec. It is made once: a second attempt, after an error of an old schema, would be
// another call to the wrapper. And the statement may have been another than the call's text, so an error tells less.
func (s *session) execWithin(ctx context.Context, c *engine.Call) (driver.Result, error) {
	s.freshen()
	res, err := engine.ExecOn(ctx, s.conn, c)
	if err == nil && (s.counts || returns(c.Query)) { // the driver has closed its statement
		return s.counted(res)
	}
	return res, err
}

// freshen has SQLite know the latest schema.
func (s *session) freshen() {
	switch {
	case s.fresh:
	case len(s.files) == 1:
		s.do(&s.own.schema, schemaText)
	default:
		s.refresh()
	}
}

// execUnkept runs a call by a statement that is not kept. counts makes the result, for a statement that is at its end only
// when it has been closed.
func (s *session) execUnkept(ctx context.Context, c *engine.Call, counts func(driver.Result) (driver.Result, error)) (driver.Result, error) {
	st, err := s.prepare(ctx, c.Query)
	if err != nil {
		return nil, err
	}
	if st.NumInput() != len(c.Args) {
		st.Close()
		return s.direct(ctx, c)
	}
	s.current = st
	res, err := st.ExecContext(ctx, c.Args)
	s.current = nil
	st.Close() // the driver's Exec ignores its error, of a deferred foreign key, too
	if err == nil && counts != nil {
		return counts(res)
	}
	return res, err
}

// counted is the result of a statement that gives rows. SQLite counts a statement's changes at its end; until then it tells
// the count of the statement before, which may be another caller's.
func (s *session) counted(res driver.Result) (driver.Result, error) {
	changes, err := number(s.lite, "SELECT changes()")
	if err != nil {
		return nil, err
	}
	id, err := res.LastInsertId()
	return result{id, changes}, err
}

type result struct{ id, changes int64 }

func (r result) LastInsertId() (int64, error) { return r.id, nil }
func (r result) RowsAffected() (int64, error) { return r.changes, nil }

// returns reports that a text is a statement with rows.
func returns(query string) bool {
	return sqltext.Mentions(query, "returning") && sqltext.Classify(sqltext.SQLite, query).Returning
}

// direct runs a call by the driver's own Exec.
func (s *session) direct(ctx context.Context, c *engine.Call) (driver.Result, error) {
	res, err := engine.ExecOn(ctx, s.lite, c)
	if err == nil {
		return res, nil
	}
	prepared, inputs := s.prepares(c.Query)
	if !prepared && s.mayBeOutdated(err) && s.refresh() {
		if prepared, inputs = s.prepares(c.Query); prepared {
			if res, err = engine.ExecOn(ctx, s.lite, c); err == nil {
				return res, nil
			}
		}
	}
	s.untouched = !prepared || len(c.Args) < inputs
	return nil, err
}

// prepares reports that SQLite accepts a text, and how many arguments its statement has.
func (s *session) prepares(query string) (ok bool, inputs int) {
	st, err := s.lite.Prepare(query)
	if err != nil {
		return false, 0
	}
	defer st.Close()
	return true, st.NumInput()
}

func (s *session) prepare(ctx context.Context, query string) (*sqlite3.SQLiteStmt, error) {
	prepared, err := s.lite.PrepareContext(ctx, query)
	if s.mayBeOutdated(err) && s.refresh() {
		prepared, err = s.lite.PrepareContext(ctx, query)
	}
	if err != nil {
		s.untouched = true
		return nil, err
	}
	return prepared.(*sqlite3.SQLiteStmt), nil
}
