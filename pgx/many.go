package pgx

import (
	"context"
	"database/sql/driver"
	"slices"
	"time"

	"github.com/groupcommit/groupcommit/engine"

	"github.com/groupcommit/groupcommit/internal/lru"
	"github.com/groupcommit/groupcommit/internal/sqltext"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// widths are how many rows a statement of many rows may have, in falling order. What is left over are single rows.
type widths []int

// usualWidths: the server's cost of a row falls to less than the half with 10 rows a statement, and hardly falls beyond 50.
var usualWidths = widths{50, 10}

// least is the fewest rows that make a statement of many rows.
func (w widths) least() int { return w[len(w)-1] }

// of are the widths of an insert, whose statements may have so many parameters only.
func (w widths) of(insert *sqltext.PlainInsert) widths {
	for len(w) > 0 && w[0]*insert.Params > maxParams {
		w = w[1:]
	}
	return w
}

// maxManyBytes bounds the arguments of one statement with many rows. Of larger rows the statement is the smaller part.
const maxManyBytes = 256 << 10

// manyState is what a session needs to send statements of many rows.
type manyState struct {
	texts *lru.Cache[*manyText]
	rows  encodedRows
	at    *manyText // the answer that is read is to a statement with many rows of this text; nil: to another statement

	units   []unit      // what was sent
	guarded []*manyText // the guards' texts
}

// hasMany reports that statements of many rows may be sent on the connection. They are prepared, and so the connection must be the
// server's own. A smaller cache would forget them from group to group.
func (s *session) hasMany() bool {
	const enough = 8 // texts in the cache
	return s.settings.ManyRows && !s.simple && s.mode == pgx.QueryExecModeCacheStatement && s.capacity >= enough &&
		s.server.version >= manyFrom && s.server.version < manyUntil && s.direct()
}

// manyRows is transaction for requests of which many have the text of one plain INSERT. It is sent in two pieces:
//
//	[close…] [ROLLBACK] BEGIN SET CONSTRAINTS head Flush (rows | request)... guard... Sync
//	COMMIT Sync
//
// A statement with rows stands for as many requests that follow each other. The others of a text are sent one by one.
//
// A statement with many rows has one answer. It stands for success only: each row is there, and the guard says that the table is one on
// which nothing else can have come of it. Before that is known COMMIT must not be sent. That is one more round trip; so it is done only for
// groups that save more than that (see [memory.manyPay]). In any other case the transaction is rolled back, which is certain, and the
// requests are sent again by transaction. It finds the culprit, and gives it its own error.
//
// Calls with ids have them in the ledger's own transaction: see [session.ledgered].
func (s *session) manyRows(ctx context.Context, requests []request) (out engine.Outcome, sent []request, culprit int) {
	ready, _, err := s.prepare(ctx, &s.watch, requests, "")
	many := false
	if err == nil {
		many, err = s.prepareMissing(ctx, ready)
	}
	if err == nil {
		err = s.probe(ctx, s.watch.silent())
	}
	switch {
	case err != nil:
		return s.refused(ctx, err), nil, -1
	case !many:
		return s.transaction(ctx, ready)
	}
	a := s.beginMany(ctx, true)
	return a.endMany(ctx, a.finish(a.executeMany(ready)), s.transaction)
}

// beginMany is begin for a transaction whose COMMIT is held. With many, statements may have many rows.
func (s *session) beginMany(ctx context.Context, many bool) *answers {
	a := s.begin(ctx)
	a.held, a.bundled, s.many.at = true, many, nil
	return a
}

// endMany is end for a transaction that may have had statements of many rows. If it was rolled back, and perhaps for such a statement,
// the requests go another way.
func (a *answers) endMany(ctx context.Context, failed error, singly func(context.Context, []request) (engine.Outcome, []request, int)) (out engine.Outcome, sent []request, culprit int) {
	s := a.session
	out, sent, culprit = a.end(ctx, failed)
	switch {
	case !a.bundled, a.synced && (failed == errNotSent || !a.executing && anyID(sent)): // it was no statement with many rows
		return out, sent, culprit
	case failed == nil || a.committing:
		if failed == nil {
			s.memory.manies.Add(1)
		}
		return out, sent, culprit
	case !a.synced || s.ended: // it is certain that nothing was committed
		s.memory.manyFailed(sent, time.Now())
		if s.many.at == nil && a.answered < len(sent) { // as in transaction: that request may have ended the connection
			return out, sent, culprit
		}
		s.stuck = nil
		return engine.Outcome{Verdict: engine.Refused, Err: driver.ErrBadConn, Broken: true}, sent, -1
	}
	struck := s.watch.struck()
	s.waits, s.stuck = false, nil
	for _, r := range sent {
		if r.insert != nil && (failed == errNotAlike || !deterministic(failed)) {
			s.many.texts.Take(r.query) // its table may be another one by now
			s.memory.manyPrinted(r.query, "")
		}
	}
	if struck { // and so the requests will wait, too
		s.memory.manyFailed(sent, time.Now())
	}
	queries := insertsOf(sent)
	withoutInserts(sent)
	out, sent, culprit = singly(ctx, sent)
	if !struck && (culprit < 0 || !deterministic(failed)) { // it was not one of the requests
		s.memory.manyFailed(queries, time.Now())
	}
	return out, sent, culprit
}

// withoutInserts leaves the requests to single rows.
func withoutInserts(requests []request) {
	for i := range requests {
		requests[i].insert = nil
	}
}

// insertsOf returns a request of each run with an insert. The requests themselves change.
func insertsOf(requests []request) (some []request) {
	for i, r := range requests {
		if r.insert != nil && (i == 0 || requests[i-1].insert != r.insert) {
			some = append(some, request{query: r.query, insert: r.insert})
		}
	}
	return some
}

// prepareMissing prepares what the requests need. many says that there are statements of many rows. An error is the connection's.
func (s *session) prepareMissing(ctx context.Context, ready []request) (many bool, err error) {
	for _, r := range insertsOf(ready) {
		i := slices.IndexFunc(ready, func(o request) bool { return o.insert == r.insert })
		r = ready[i]
		if s.hasManyText(&r) {
			many = true
			continue
		}
		err := s.prepareMany(ctx, &r)
		switch {
		case err == nil:
			many = true
		case err != errSingleRows && endsConnection(err):
			return false, err
		default: // the text may have to be prepared again
			s.memory.manyFailed(ready[i:i+1], time.Now())
			return false, nil
		}
	}
	return many, nil
}

// hasManyText reports that the connection has all statements of a request's text.
func (s *session) hasManyText(r *request) bool {
	m, ok := s.many.texts.Get(r.query)
	if !ok || m.single != r.described {
		return false
	}
	_, ok = s.known.Get(guardKey)
	for _, sd := range m.wide {
		_, has := s.known.Get(sd.SQL)
		ok = ok && has
	}
	return ok
}

// executeMany has the requests executed, and reads their answers.
func (a *answers) executeMany(ready []request) (sent time.Time, err error) {
	a.sendMany(ready)
	sent = time.Now()
	if lost := a.p.Sync(); lost != nil {
		return sent, lost
	}
	if err = a.readHead(); err == nil {
		err = a.readMany()
	}
	return sent, a.settle(err)
}

// readMany reads the answers to what sendMany has sent.
func (a *answers) readMany() error {
	err := a.readUnits(a.many.units)
	for _, m := range a.many.guarded {
		if err != nil {
			break
		}
		var row [][]byte
		if _, row, err = a.next(true); err == nil && (len(row) != 1 || string(row[0]) != m.print) {
			err = errNotAlike
		}
	}
	return err
}

// readUnits reads the answers to statements, and answers the requests. Their turn has come.
func (a *answers) readUnits(units []unit) error {
	a.executing, a.began = true, time.Now()
	a.watch.hear(a.began)
	last, heard := a.began, 0
	for i, u := range units {
		at := a.answered
		a.many.at = u.many
		var n int64
		var err error
		if u.many == nil {
			n, err = a.answer(a.sent[at])
			a.sent[at].rows = n
		} else if n, _, err = a.next(false); err == nil && n != int64(u.rows) {
			return errNotAlike
		}
		if err != nil {
			if err == errTooMany || !endsConnection(err) {
				a.failed = at
			}
			return err
		}
		if u.many != nil {
			for j := range u.rows {
				a.sent[at+j].rows = 1
				a.sent[at+j].call.Answer(result(1), nil)
			}
		}
		a.answered += u.rows
		if u.flushed || i == len(units)-1 {
			last = a.heardUnits(units[heard:i+1], last)
			heard = i + 1
		}
	}
	a.members = last.Sub(a.began)
	a.watch.executed()
	return nil
}

// heardUnits notes how long units took that have come since the last time, if they have many rows and one text. If the text has
// become too slow, it has the server stop.
func (a *answers) heardUnits(units []unit, last time.Time) (now time.Time) {
	now = time.Now()
	a.watch.hear(now)
	m, rows := units[0].many, 0
	for _, u := range units {
		if u.many != m || m == nil {
			return now
		}
		rows += u.rows
	}
	each := now.Sub(last) / time.Duration(rows)
	if a.memory.took(a.sent[a.answered-1].query, each, now) && !a.stopped {
		a.stopped = a.watch.stop(now, each*time.Duration(len(a.sent)-a.answered))
	}
	return now
}

// A wideStatement is a statement with many rows.
type wideStatement struct {
	*pgconn.StatementDescription
	rows int
}
