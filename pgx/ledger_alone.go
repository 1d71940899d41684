package pgx

import (
	"bytes"
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
//	BEGIN claim call Sync
//	[correction;] COMMIT
//
// Each line is a round trip. The first is a pipeline: see [session.claimAndCall]. Where that cannot be, or the id is there
// already, or the plain driver might say something else, it is made anew in two:
//
//	[ROLLBACK;] BEGIN; claim
//	the call, as the plain driver runs it
//
// Here all but the call goes by the simple protocol. So this serves every mode of the driver, and the arguments and errors
// are the driver's. The transaction has the session's own level of isolation, and waits for locks as long as the caller's
// context lasts. The claim waits for another transaction with the same id, until that has ended.
//
// An error that would come again is recorded, too, after the rollback: see [deterministic].
func (s *session) ledgeredAlone(c *engine.Call) (driver.Result, error) {
	ctx := c.Context()
	defer s.abort(ctx) // whatever happened: an argument may have panicked
	claimed := time.Now()
	res, err := s.claimAndCall(c)
	if err == errAnew {
		var there bool
		claimed = time.Now()
		if res, there, err = s.claim(c); there || err != nil {
			return res, err
		}
		res, err = s.call(c)
	}
	if err != nil {
		return s.rejected(c, err)
	}
	value, err := recordOf(res)
	if err != nil {
		return nil, err
	}
	end := "COMMIT"
	if !bytes.Equal(value, expected) || record.Late(claimed) {
		end = record.PostgresCorrectOne(c.ID(), value) + "; COMMIT"
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

// call runs a call as the plain driver does.
func (s *session) call(c *engine.Call) (driver.Result, error) {
	if !c.WantsRows() {
		return engine.ExecOn(c.Context(), s.conn, c)
	}
	rows, end, err := engine.QueryOn(c.Context(), s.conn, c)
	defer end()
	if err != nil {
		return nil, err
	}
	res, err := engine.ReadReturned(c, rows, nil)
	if err != nil {
		return nil, err
	}
	return res, nil
}

// recordOf is what the ledger records of a call's result.
func recordOf(res driver.Result) ([]byte, error) {
	if own, ok := res.(*engine.Result); ok { // of a query
		return own.Record(nil), nil
	}
	rows, err := res.RowsAffected()
	return valueOf(rows), err
}

// claim begins a transaction and claims the id of a call. If the id is there, it returns the call's recorded outcome.
func (s *session) claim(c *engine.Call) (recorded driver.Result, there bool, err error) {
	ctx := c.Context()
	for range mostClaims {
		begin := "BEGIN; "
		if !s.pg.IsClosed() && !s.Idle() {
			begin = "ROLLBACK; BEGIN; "
		}
		tag, err := s.text(ctx, begin+record.PostgresInsertOne(c.ID(), c.Fingerprint(), durable.Resolved, expected))
		if err != nil {
			return nil, false, s.unclaimed(c, err)
		}
		if tag.RowsAffected() == 1 {
			s.database.replays.Store(false)
			c.Claimed()
			return nil, false, nil
		}
		if p, err := s.recorded(ctx, c.ID()); err == nil {
			s.database.replays.Store(true)
			c.Claimed()
			recorded, err = c.Replay(p)
			return recorded, true, err
		} else if !errors.Is(err, pgx.ErrNoRows) { // otherwise the row has been deleted since
			return nil, false, err
		}
	}
	return nil, false, record.Hidden(c.ID())
}

// errAnew says that a call must be made anew: nothing of it is left but the transaction, which must be rolled back.
var errAnew = errors.New("groupcommit/pgx: a call with an id is to be claimed and called one after the other") // no caller gets it

// claimAndCall begins a transaction, claims the id of a call, which may not be there, and executes the call, in one round
// trip.
func (s *session) claimAndCall(c *engine.Call) (driver.Result, error) {
	ctx := c.Context()
	if s.seen || s.simple || c.WantsRows() || s.database.replays.Load() {
		return nil, errAnew
	}
	ready, claim, err := s.prepare(ctx, nil, []request{{call: c, query: c.Query}}, record.PostgresClaimNew)
	if err != nil || len(ready) == 0 {
		c.Reset()
		return nil, s.anew(c, err)
	}
	a := answers{session: s, p: s.pg.PgConn().StartPipeline(ctx), failed: -1}
	a.head = s.sendRemains(a.p) + 1
	sendText(a.p, "BEGIN")
	sendClaim(a.p, claim, record.PostgresClaimNew, record.PostgresRows([]string{c.ID()}, []durable.Key{c.Fingerprint()}, durable.Resolved, "", expected))
	sendable := a.try(a.p, &ready[0], nil)
	c.Reset()
	err = a.p.Sync()
	if err == nil {
		err = a.readRemains(a.p, a.head)
	}
	claimed := err == nil
	var n int64
	if claimed {
		n, _, err = a.next(false)
		claimed = err == nil && n == 1
	}
	if claimed && sendable {
		c.Claimed()
		n, _, err = a.next(false)
	}
	if closeErr := a.p.Close(); err == nil {
		err = closeErr
	}
	switch {
	case err == nil && claimed && sendable:
		return result(n), nil
	case claimed && sendable && (s.pg.IsClosed() || s.same(ready[0], err)):
		return nil, err
	}
	return nil, s.anew(c, err)
}

// anew is errAnew, unless the call has lost its connection by err.
func (s *session) anew(c *engine.Call, err error) error {
	if s.pg.IsClosed() {
		return s.unclaimed(c, err)
	}
	return errAnew
}

// unclaimed is the error of a call that could not claim its id because of err.
func (s *session) unclaimed(c *engine.Call, err error) error {
	if s.pg.IsClosed() && c.Context().Err() == nil {
		return driver.ErrBadConn // nothing was begun
	}
	return fmt.Errorf("groupcommit: id %q: it cannot be claimed: %w", c.ID(), err)
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
