package sqlite3

import (
	"context"
	"database/sql/driver"
	"errors"
	"runtime"
	"strings"

	"github.com/groupcommit/groupcommit/engine"

	"github.com/groupcommit/groupcommit/internal/lru"
	"github.com/groupcommit/groupcommit/internal/sqltext"
	"github.com/mattn/go-sqlite3"
)

// session runs calls on one connection of the driver.
//
// The driver prepares the text of every Exec anew. The session keeps the statements, for the texts that are used again
// and again. A kept statement does what the driver's Exec does with it, bar two
// cases: a count of arguments that the statement does not have, which is the driver's to refuse, and a statement with
// rows (RETURNING, PRAGMA count_changes), which would stay in the middle of them and fail the COMMIT.
//
// Where statements may call the program's functions, a call or a group stays on one thread until it is over, see abandon.
// Elsewhere that would cost a tenth.
type session struct {
	conn   driver.Conn         // what statements go through
	lite   *sqlite3.SQLiteConn // the same or inside it, for its state
	traits engine.Traits
	rows   bool                  // every statement may have rows
	counts bool                  // every statement that writes has one
	kept   *lru.Cache[statement] // nil for a text that the driver's Exec must run
	inTurn func(*engine.Call) (driver.Result, error)
	own    ownStatements
	ledger ledger

	untouched bool      // the latest statement has failed before anything of it was executed
	fresh     bool      // the connection knows the schema for certain
	current   statement // is executed, and neither kept nor anybody else's
	guests    knowledge // of functions that are the program's own
	words     schemaWords
	files     []string // the databases that were there when the connection was opened
}

type statement interface {
	driver.Stmt
	driver.StmtExecContext
}

const (
	keptStatements = 128
	// keptBytes bounds what a call may hand to a kept statement, which holds on to it until it is used again.
	keptBytes = 64 << 10
)

var background = context.Background()

func newSession(conn driver.Conn, lite *sqlite3.SQLiteConn, t engine.Traits, counts bool, files []string) *session {
	// On the only connection of a database the program may set the PRAGMA at any time.
	s := &session{conn: conn, lite: lite, traits: t, rows: counts || t.OneConn, counts: counts, files: files}
	s.kept = lru.New(keptStatements, func(st statement) {
		if st != nil {
			st.Close()
		}
	})
	// Without a context that can end: the driver would start a goroutine for each statement, and interrupt the
	// transaction of all for the sake of one.
	s.inTurn = func(c *engine.Call) (driver.Result, error) { return s.exec(background, c) }
	return s
}

func (s *session) Traits() engine.Traits { return s.traits }
func (s *session) Idle() bool            { return s.lite.AutoCommit() }

func (s *session) Close() {
	if s.current != nil {
		s.current.Close()
	}
	s.kept.Clear()
	s.ledger.close()
	s.own.close()
}

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
		res, err = s.promised(c)
	} else {
		res, err = s.exec(c.Context(), c)
	}
	returned = true
	return res, err
}

// exec runs one call as the driver's own Exec would.
func (s *session) exec(ctx context.Context, c *engine.Call) (driver.Result, error) {
	s.untouched = false
	if len(c.Args) > 0 && !s.rows && c.Bytes() <= keptBytes {
		st, known := s.kept.Get(c.Query)
		if !known && !returns(c.Query) {
			var err error
			if st, err = s.prepare(ctx, c.Query); err != nil {
				return nil, err
			}
			s.kept.Put(c.Query, st)
		}
		if st != nil && st.NumInput() == len(c.Args) {
			return st.ExecContext(ctx, c.Args)
		}
	}
	switch {
	case s.counts || returns(c.Query):
		return s.once(ctx, c, s.counted)
	case !s.rows && s.hasGuests(): // after a panic a statement that only the driver knows could not be ended
		return s.once(ctx, c, nil)
	}
	return s.direct(ctx, c)
}

// once runs a call by a statement of its own. counts makes the result, for a statement that is at its end only when it has
// been closed.
func (s *session) once(ctx context.Context, c *engine.Call, counts func(driver.Result) (driver.Result, error)) (driver.Result, error) {
	st, err := s.prepare(ctx, c.Query)
	if err != nil {
		return nil, err
	}
	if st == nil || st.NumInput() != len(c.Args) {
		if st != nil {
			st.Close()
		}
		return s.direct(ctx, c)
	}
	s.current = st
	res, err := st.ExecContext(ctx, c.Args)
	s.current = nil
	st.Close() // an error, of a deferred foreign key, the driver's Exec keeps to itself, too
	if err == nil && counts != nil {
		return counts(res)
	}
	return res, err
}

// counted is the result of a statement that gives rows. SQLite counts what a statement has changed at its end; until then it
// tells of the one before, which may be somebody else's.
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
	const word = "returning"
	for i := range len(query) - len(word) + 1 {
		if query[i]|' ' == 'r' && strings.EqualFold(query[i:i+len(word)], word) {
			return sqltext.Classify(sqltext.SQLite, query).Returning
		}
	}
	return false
}

// direct runs a call by the driver's own Exec.
func (s *session) direct(ctx context.Context, c *engine.Call) (driver.Result, error) {
	res, err := engine.ExecOn(ctx, s.conn, c)
	if err == nil {
		return res, nil
	}
	prepared, inputs := s.prepares(c.Query)
	if !prepared && s.mayBeOutdated(err) && s.refresh() {
		if prepared, inputs = s.prepares(c.Query); prepared {
			if res, err = engine.ExecOn(ctx, s.conn, c); err == nil {
				return res, nil
			}
		}
	}
	s.untouched = !prepared || len(c.Args) < inputs
	return nil, err
}

// prepares reports that SQLite has no fault to find with a text, and how many arguments its statement has.
func (s *session) prepares(query string) (ok bool, inputs int) {
	st, err := s.lite.Prepare(query)
	if err != nil {
		return false, 0
	}
	defer st.Close()
	return true, st.NumInput()
}

// prepare returns nil for a text whose statement cannot be kept.
func (s *session) prepare(ctx context.Context, query string) (statement, error) {
	p, ok := s.conn.(driver.ConnPrepareContext)
	if !ok {
		return nil, nil
	}
	prepared, err := p.PrepareContext(ctx, query)
	if s.mayBeOutdated(err) && s.refresh() {
		prepared, err = p.PrepareContext(ctx, query)
	}
	if err != nil {
		s.untouched = true
		return nil, err
	}
	st, ok := prepared.(statement)
	if !ok { // a wrapper's
		prepared.Close()
	}
	return st, nil
}

func isBusy(err error) bool {
	var e sqlite3.Error
	return errors.As(err, &e) && e.Code == sqlite3.ErrBusy
}
