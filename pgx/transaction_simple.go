package pgx

import (
	"context"
	"database/sql/driver"
	"slices"
	"time"

	"github.com/groupcommit/groupcommit/engine"
)

// oneByOne is transaction where nothing can be pipelined. It sends the same statements, each in a round trip, but the first
// three in one.
func (s *session) oneByOne(ctx context.Context, requests []request) (out engine.Outcome, sent []request, culprit int) {
	if err := s.rollback(ctx); err != nil {
		return s.refused(ctx, err), nil, -1
	}
	sent = slices.DeleteFunc(requests, func(r request) bool {
		if r.sendable() {
			return false
		}
		r.call.PutOff()
		return true
	})
	if len(sent) == 0 {
		return engine.Outcome{}, nil, -1
	}
	s.watch.begin("")
	out, culprit = s.executeOneByOne(ctx, sent)
	hit := s.watch.end(ctx)
	if out.Verdict == engine.Committed {
		return s.confirmed(ctx, out.Commit, out.Members, hit), sent, -1
	}
	if s.ended && !out.Broken {
		out.Broken = true
		if culprit >= 0 {
			s.stuck = sent[culprit].call
		}
	}
	return out, sent, culprit
}

// executeOneByOne has the requests executed and commits them.
func (s *session) executeOneByOne(ctx context.Context, requests []request) (out engine.Outcome, culprit int) {
	conn := s.pg.PgConn()
	sent := time.Now()
	begun, err := conn.Exec(ctx, "BEGIN; SET CONSTRAINTS ALL IMMEDIATE; "+s.server.head).ReadAll()
	if err != nil {
		return s.rolledBack(ctx, err), -1
	}
	head := begun[2].Rows[0]
	began := time.Now()
	start := began
	s.watch.aim(at(string(head[1]), string(head[2])), start)
	for i, r := range requests {
		returned := r.try(s.seen || r.hasGuests(), func(c *engine.Call) (driver.Result, error) { return s.executeOn(c.Within(ctx), c) })
		now := time.Now()
		s.watch.hear(now)
		if r.route.sample {
			s.memory.took(r.query, now.Sub(start), now)
		}
		start = now
		switch err := r.call.Err(); {
		case returned && err == nil && conn.TxStatus() != 'T':
			return s.endedWithin(requests[i+1:]), -1
		case returned && err == nil:
		case conn.IsClosed(): // it took all the time, or ended the connection
			s.stuck = r.call
			return engine.Outcome{Verdict: engine.RolledBack, Broken: true}, -1
		default:
			return s.rolledBack(ctx, err), i
		}
	}
	s.watch.executed()
	answer, err := conn.Exec(ctx, "COMMIT").ReadAll()
	switch {
	case err == nil && answer[0].CommandTag.String() == "COMMIT":
		out = engine.Outcome{Commit: time.Since(start), Members: start.Sub(began)}
		s.memory.paid(began.Sub(sent) + out.Commit)
		return out, -1
	case err == nil, !endsConnection(err): // not by pgconn.SafeToRetry: ReadAll says yes also for a COMMIT that was sent
		return s.rolledBack(ctx, err), -1
	}
	s.ended = true
	out = engine.Outcome{Verdict: engine.Unknown, Err: err, Broken: true}
	if xid := string(head[0]); xid != "" {
		out.Token = token{xid: xid, server: s.server}
	}
	return out, -1
}

// executeOn runs one call by the driver's own Exec or Query. The rows of a query are the driver's, read to their end. If there are more
// than a group keeps, or an error is behind one, the call fails.
func (s *session) executeOn(ctx context.Context, c *engine.Call) (driver.Result, error) {
	if !c.WantsRows() {
		return engine.ExecOn(ctx, s.conn, c)
	}
	rows, end, err := engine.QueryOn(ctx, s.conn, c)
	defer end()
	if err != nil {
		return nil, err
	}
	return nil, s.rows.Read(c, rows, nil)
}

// endedWithin is the outcome where a wrapper has ended the group's transaction in the middle of it, by a transaction of its own for
// each call: the calls up to there are committed, and the others were not begun.
func (s *session) endedWithin(others []request) engine.Outcome {
	s.failed = s.pg.PgConn().TxStatus() != 'I'
	putOff(others)
	return engine.Outcome{}
}

// rolledBack is the outcome of a transaction whose COMMIT was not sent, or has failed.
func (s *session) rolledBack(ctx context.Context, err error) engine.Outcome {
	if s.pg.IsClosed() {
		return s.refused(ctx, err)
	}
	s.failed = s.pg.PgConn().TxStatus() != 'I'
	s.blame(err)
	return engine.Outcome{Verdict: engine.RolledBack}
}
