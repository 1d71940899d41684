package sqlite3

import (
	"context"
	"database/sql/driver"
	"errors"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/lru"
	"github.com/groupcommit/groupcommit/internal/sqltext"
	"github.com/mattn/go-sqlite3"
)

// session runs calls on one connection of the driver.
//
// The driver prepares the text of every Exec anew. The session keeps the statements, for the texts that are used again
// and again. A kept statement does what the driver's Exec does with it, bar two
// cases that go to the driver's Exec itself: a count of arguments that the statement does not have, and a statement with
// rows (RETURNING, PRAGMA count_changes), which would stay in the middle of them and fail the COMMIT.
type session struct {
	conn   driver.Conn         // what statements go through
	lite   *sqlite3.SQLiteConn // the same or inside it, for its state
	traits groupcommit.Traits
	rows   bool                  // every statement may have rows
	kept   *lru.Cache[statement] // nil for a text that the driver's Exec must run
	busy   time.Duration         // the busy timeout, as it was last seen
	inTurn func(*groupcommit.Call) (driver.Result, error)
	ledger ledger
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

func newSession(conn driver.Conn, lite *sqlite3.SQLiteConn, t groupcommit.Traits, rows bool) *session {
	s := &session{conn: conn, lite: lite, traits: t, rows: rows}
	s.kept = lru.New(keptStatements, func(st statement) {
		if st != nil {
			st.Close()
		}
	})
	// Without a context that can end: the driver would start a goroutine for each statement, and interrupt the
	// transaction of all for the sake of one.
	s.inTurn = func(c *groupcommit.Call) (driver.Result, error) { return s.exec(background, c) }
	return s
}

func (s *session) Traits() groupcommit.Traits { return s.traits }
func (s *session) Idle() bool                 { return s.lite.AutoCommit() }

func (s *session) Close() {
	s.kept.Clear()
	s.ledger.close()
}

func (s *session) Alone(c *groupcommit.Call) (driver.Result, error) {
	if c.ID() != "" {
		return s.once(c)
	}
	return s.exec(c.Context(), c)
}

func (s *session) Group(_ context.Context, calls []*groupcommit.Call) groupcommit.Outcome {
	if err := s.control("BEGIN IMMEDIATE"); err != nil {
		if isBusy(err) { // the others would only wait for as long
			return groupcommit.Outcome{Verdict: groupcommit.Refused, Err: err}
		}
		return groupcommit.Outcome{Verdict: groupcommit.RolledBack, Culprit: -1}
	}
	found, err := s.claim(calls)
	if err != nil {
		return s.rollback() // each to its own error, and none for who has no id
	}
	for i, c := range calls {
		if p, ok := found[c.ID()]; ok {
			c.Answer(c.Replay(p))
			continue
		}
		returned := c.Try(s.inTurn)
		if !returned {
			return groupcommit.Outcome{Verdict: groupcommit.RolledBack, Culprit: i, Broken: true}
		}
		// Only the connection knows whether the error has ended the transaction. What came next would commit by itself.
		if c.Err() != nil && s.lite.AutoCommit() {
			return groupcommit.Outcome{Verdict: groupcommit.RolledBack, Culprit: i}
		}
	}
	if s.record(calls, found) != nil {
		return s.rollback()
	}
	start := time.Now()
	err = s.control("COMMIT")
	if err == nil {
		return groupcommit.Outcome{Commit: time.Since(start)}
	}
	out := s.rollback()
	if isBusy(err) {
		out.Verdict, out.Err = groupcommit.Refused, err
	}
	return out
}

// rollback ends a group's transaction that cannot be committed.
func (s *session) rollback() groupcommit.Outcome {
	// Closing the connection rolls back, too.
	broken := !s.lite.AutoCommit() && s.control("ROLLBACK") != nil
	return groupcommit.Outcome{Verdict: groupcommit.RolledBack, Culprit: -1, Broken: broken}
}

// exec runs one call as the driver's own Exec would.
func (s *session) exec(ctx context.Context, c *groupcommit.Call) (driver.Result, error) {
	if len(c.Args) == 0 || s.rows || c.Bytes() > keptBytes {
		return groupcommit.ExecOn(ctx, s.conn, c)
	}
	st, known := s.kept.Get(c.Query)
	if !known {
		var err error
		if st, err = s.prepare(ctx, c.Query); err != nil {
			return nil, err
		}
		s.kept.Put(c.Query, st)
	}
	if st == nil || st.NumInput() != len(c.Args) {
		return groupcommit.ExecOn(ctx, s.conn, c)
	}
	return st.ExecContext(ctx, c.Args)
}

// prepare returns nil for a text whose statement cannot be kept.
func (s *session) prepare(ctx context.Context, query string) (statement, error) {
	p, ok := s.conn.(driver.ConnPrepareContext)
	if !ok || sqltext.Classify(sqltext.SQLite, query).Returning {
		return nil, nil
	}
	prepared, err := p.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	st, ok := prepared.(statement)
	if !ok { // a wrapper's
		prepared.Close()
	}
	return st, nil
}

// control runs a statement of transaction control. It is the session's own, so it is not shown to wrappers.
func (s *session) control(query string) error {
	_, err := s.lite.ExecContext(background, query, nil)
	return err
}

func isBusy(err error) bool {
	var e sqlite3.Error
	return errors.As(err, &e) && e.Code == sqlite3.ErrBusy
}
