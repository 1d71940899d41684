package pgx

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	"github.com/groupcommit/groupcommit/engine"

	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/internal/record"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// ledgeredAlone runs a call with an id by itself, in one transaction with its record in the ledger:
//
//	BEGIN; claim
//	the call, as the plain driver runs it
//	[correction;] COMMIT
//
// Each line is a round trip, by the simple protocol except for the call's own. So this serves every mode of the driver, and
// the arguments and errors are the driver's. The transaction has the session's own level of isolation, and waits for locks
// as long as the caller's context lasts. The claim waits for another transaction with the same id, until that has ended.
//
// An error that would come again is recorded, too, after the rollback: see [deterministic].
func (s *session) ledgeredAlone(c *engine.Call) (driver.Result, error) {
	ctx := c.Context()
	defer s.abort(ctx) // whatever happened: an argument may have panicked
	claimed := time.Now()
	for tried := 1; ; tried++ {
		tag, err := s.text(ctx, "BEGIN; "+record.PostgresInsertOne(c.ID(), c.Fingerprint(), durable.Resolved, expected))
		switch {
		case err != nil && s.pg.IsClosed() && ctx.Err() == nil:
			return nil, driver.ErrBadConn // nothing was begun
		case err != nil:
			return nil, fmt.Errorf("groupcommit: id %q: it cannot be claimed: %w", c.ID(), err)
		}
		if tag.RowsAffected() == 1 {
			break
		}
		if p, err := s.recorded(ctx, c.ID()); err == nil {
			c.Claimed()
			return c.Replay(p)
		} else if !errors.Is(err, pgx.ErrNoRows) {
			return nil, err
		}
		if err := s.abort(ctx); err != nil { // the row has been deleted since
			return nil, err
		}
		if tried == mostClaims {
			return nil, record.Hidden(c.ID())
		}
	}
	c.Claimed()
	res, err := engine.ExecOn(ctx, s.conn, c)
	if err != nil {
		return s.rejected(c, err)
	}
	rows, err := res.RowsAffected()
	if err != nil {
		return nil, err
	}
	end := "COMMIT"
	if rows != expectedRows || record.Late(claimed) {
		end = record.PostgresCorrectOne(c.ID(), valueOf(rows)) + "; COMMIT"
	}
	switch _, err := s.text(ctx, end); {
	case err == nil:
		return res, nil
	case s.pg.IsClosed():
		return nil, &engine.OutcomeUnknownError{Cause: err}
	case s.Idle(): // COMMIT itself failed, by a deferred constraint, say
		return s.rejected(c, err)
	default:
		return nil, fmt.Errorf("groupcommit: id %q: its result cannot be recorded: %w", c.ID(), err)
	}
}

// rejected ends a call whose statement failed. The caller gets the driver's own error, and later calls with the id get the
// record of it.
func (s *session) rejected(c *engine.Call, failed error) (driver.Result, error) {
	ctx := c.Context()
	if s.pg.IsClosed() || !deterministic(failed) {
		return nil, failed
	}
	err := s.abort(ctx)
	if err == nil {
		pg := asPg(failed)
		var tag pgconn.CommandTag
		tag, err = s.text(ctx, record.PostgresInsertOne(c.ID(), c.Fingerprint(), durable.Rejected, record.Outcome{Code: pg.Code, Message: pg.Message}.Append(nil)))
		if err == nil && tag.RowsAffected() == 1 {
			return nil, failed
		}
	}
	if err == nil { // another transaction has recorded the id in between
		var p durable.Promise
		if p, err = s.recorded(ctx, c.ID()); err == nil {
			return c.Replay(p)
		}
	}
	if s.pg.IsClosed() && ctx.Err() == nil {
		return nil, &engine.OutcomeUnknownError{Cause: errors.Join(failed, err)} // it may have been recorded
	}
	return nil, fmt.Errorf("groupcommit: id %q: %w; that could not be recorded, so the id may be executed again: %w", c.ID(), failed, err)
}

// recorded reads the ledger's record of an id, or returns pgx.ErrNoRows.
func (s *session) recorded(ctx context.Context, id string) (durable.Promise, error) {
	var key, state, print, value string
	err := s.pg.QueryRow(ctx, record.PostgresReadOne(id), pgx.QueryExecModeSimpleProtocol).
		Scan(&key, &state, &print, &value)
	return record.PostgresPromise(key, state, print, value), err
}

// mostClaims bounds the claims of a call if the id's row is deleted each time before it can be read.
const mostClaims = 5
