package pgx

import (
	"context"
	"database/sql/driver"
	"time"

	"github.com/groupcommit/groupcommit"
)

// oneByOne is transaction where nothing can be pipelined. It is the same statements, each a round trip but for the head.
func (s *session) oneByOne(ctx context.Context, requests []request) (out groupcommit.Outcome, sent []request, culprit int) {
	if err := s.rollback(ctx); err != nil {
		return s.refused(ctx, err), nil, -1
	}
	conn := s.pg.PgConn()
	begun, err := conn.Exec(ctx, "BEGIN; SET CONSTRAINTS ALL IMMEDIATE; "+s.server.head).ReadAll()
	if err != nil {
		return s.undone(ctx, err), requests, -1
	}
	for i, r := range requests {
		start := time.Now()
		returned := r.call.Try(func(c *groupcommit.Call) (driver.Result, error) { return groupcommit.ExecOn(ctx, s.conn, c) })
		if r.sample {
			now := time.Now()
			s.memory.took(r.query, now.Sub(start), now)
		}
		switch err := r.call.Err(); {
		case returned && err == nil:
		case conn.IsClosed(): // it took all the time, or ended the connection
			s.stuck = r.call
			return groupcommit.Outcome{Verdict: groupcommit.RolledBack, Broken: true}, requests, -1
		default:
			return s.undone(ctx, err), requests, i
		}
	}
	start := time.Now()
	ended, err := conn.Exec(ctx, "COMMIT").ReadAll()
	switch {
	case err == nil && ended[0].CommandTag.String() == "COMMIT":
		return groupcommit.Outcome{Commit: time.Since(start)}, requests, -1
	case err == nil, !endsConnection(err): // not by pgconn.SafeToRetry: ReadAll says so also of a COMMIT that was sent
		return s.undone(ctx, err), requests, -1
	}
	s.ended = true
	out = groupcommit.Outcome{Verdict: groupcommit.Unknown, Err: err, Broken: true}
	if xid := string(begun[2].Rows[0][0]); xid != "" {
		out.Token = token{xid: xid, server: s.server}
	}
	return out, requests, -1
}

// undone is the outcome of a transaction whose COMMIT was not sent, or has failed.
func (s *session) undone(ctx context.Context, err error) groupcommit.Outcome {
	if s.pg.IsClosed() {
		return s.refused(ctx, err)
	}
	s.failed = s.pg.PgConn().TxStatus() != 'I'
	return groupcommit.Outcome{Verdict: groupcommit.RolledBack}
}
