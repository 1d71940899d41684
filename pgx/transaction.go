package pgx

import (
	"context"
	"database/sql/driver"
	"time"

	"github.com/groupcommit/groupcommit/engine"

	"github.com/jackc/pgx/v5/pgconn"
)

// transaction commits the requests in one transaction, which is sent in one piece:
//
//	[close…] [ROLLBACK] BEGIN SET CONSTRAINTS head Flush request... Flush COMMIT Sync
//
// The head names the transaction, and its answer is on its way while the server executes the requests. So if the answer to
// COMMIT is lost, the session knows which transaction to ask for. If the connection is lost before the name has come, the
// outcome is unknown, as that of the plain driver's call is.
//
// The second Flush has the results on their way while the server is writing its log.
//
// COMMIT is held back, for one more round trip, where a request may have more rows than a group keeps: those of a transaction that is
// committed must be kept for their caller.
//
// Rejected: to hold COMMIT back until the name is known. That costs each group a round trip, for the sake of connections that
// are lost within the first one. Most of these are dead before anything is sent, which probe finds out.
//
// Rejected: to cancel a statement that turns out to have many rows behind a COMMIT that was sent. The server executes a statement with
// RETURNING to its end before it sends the first row. No cancel ends the sending, and the COMMIT behind it succeeds.
//
// Rejected: one Sync without BEGIN. It needs no ROLLBACK after an error, but SET CONSTRAINTS then puts a warning into the
// server's log each time.
//
// sent are the requests that the transaction held: the others have been put off or answered, and must not come again.
// culprit is the index in sent of the request whose error undid the transaction, or -1.
func (s *session) transaction(ctx context.Context, requests []request) (out engine.Outcome, sent []request, culprit int) {
	ready, _, err := s.prepare(ctx, &s.watch, requests, "")
	if err == nil {
		err = s.probe(ctx, s.watch.silent())
	}
	if err != nil {
		return s.refused(ctx, err), nil, -1
	}
	a := s.begin(ctx)
	a.sendAll(ready)
	if a.held = mayBeLarge(ready); a.held {
		err = a.finish(a.executeHeld())
	} else if err = a.sendCommit(); err == nil {
		err = a.readAll()
	}
	return a.end(ctx, err)
}

// executeHeld has the requests executed, and reads their answers, before COMMIT is sent.
func (a *answers) executeHeld() (sent time.Time, err error) {
	sent = time.Now()
	if lost := a.p.Sync(); lost != nil {
		return sent, lost
	}
	if err = a.readHead(); err == nil {
		err = a.readResults()
	}
	return sent, a.settle(err)
}

// begin begins a pipeline with the first statements of a transaction.
func (s *session) begin(ctx context.Context) *answers {
	a := &answers{session: s, p: s.pg.PgConn().StartPipeline(ctx), token: token{server: s.server}, failed: -1}
	s.watch.begin(s.itself())
	a.head = s.sendRemains(a.p) + s.sendControls(a.p)
	a.p.SendFlushRequest()
	return a
}

// writeApart is the size in bytes from which the requests are written before COMMIT is put behind them. The write of so much
// takes a while, and if the connection is lost in it, it is certain that nothing was committed.
const writeApart = 64 << 10

// sendCommit sends COMMIT, and writes all that is in the pipeline.
func (a *answers) sendCommit() error {
	if !a.held {
		a.started = time.Now()
	}
	size := 0
	for _, r := range a.sent {
		size += r.call.Bytes()
	}
	if size >= writeApart {
		if err := a.p.Flush(); err != nil {
			return err
		}
	}
	a.sendControl(a.p, nameOfCommit, textOfCommit)
	err := a.p.Sync()
	if !a.held {
		a.written = time.Now()
	}
	a.committing = err == nil || !pgconn.SafeToRetry(err)
	return err
}

// end ends a transaction's pipeline. err is nil if the transaction was committed.
func (a *answers) end(ctx context.Context, err error) (out engine.Outcome, sent []request, culprit int) {
	closeErr := a.p.Close()
	hit := a.watch.end(ctx)
	switch {
	case err == nil:
		a.ended = a.ended || closeErr != nil
		return a.committed(ctx, hit), a.sent, -1
	case a.synced:
		return a.undone(err)
	}
	return a.lost(ctx, err), a.sent, -1
}

// undone is the end of a transaction that the server has rolled back for err. The culprit is a request, or -1.
func (a *answers) undone(err error) (out engine.Outcome, sent []request, culprit int) {
	a.wire.failed = a.pg.PgConn().TxStatus() != 'I'
	if a.failed < 0 {
		a.controlled(err)
	} else {
		a.invalidate(a.sent[a.failed].query, err)
		a.blame(err)
		if a.ended {
			a.stuck = a.sent[a.failed].call
		}
	}
	return engine.Outcome{Verdict: engine.RolledBack, Broken: a.ended}, a.sent, a.failed
}

// lost is the outcome of a transaction that lost its connection by err.
func (a *answers) lost(ctx context.Context, err error) engine.Outcome {
	a.ended = true
	left := a.sent[a.answered:]
	if a.executing && len(left) > 0 {
		a.stuck = left[0].call
	}
	switch {
	case a.failed >= 0: // undone for certain, whatever came after. A hook of the program's may have closed it for the error
		a.stuck = a.sent[a.failed].call
		return engine.Outcome{Verdict: engine.RolledBack, Broken: true}
	case a.refusal: // likewise
		a.stuck = nil
		return engine.Outcome{Verdict: engine.Refused, Err: driver.ErrBadConn, Broken: true}
	case a.committing && !(lastWords(err) && a.direct() && len(left) > 0): // not certain to have ended before COMMIT
		for _, r := range left { // if it committed, these results are lost
			r.call.Answer(lostResult{}, lostRows(r.call))
		}
		out := engine.Outcome{Verdict: engine.Unknown, Err: err, Broken: true}
		if a.token.xid != "" {
			out.Token = a.token
		}
		return out
	case ctx.Err() != nil, lastWords(err) && a.named: // a statement took all the time, or ended the connection
		return engine.Outcome{Verdict: engine.RolledBack, Broken: true}
	}
	out := a.refused(ctx, err)
	out.Broken = true
	return out
}
