package pgx

import (
	"cmp"
	"context"
	"database/sql/driver"
	"time"

	"github.com/groupcommit/groupcommit/engine"

	"github.com/jackc/pgx/v5/pgconn"
)

// transaction commits the requests in one transaction, which is sent in two pieces:
//
//	[ROLLBACK] BEGIN SET CONSTRAINTS head Flush request... Flush
//	COMMIT Sync
//
// The head names the transaction, and COMMIT is not sent before the name is known. So if the answer to COMMIT is lost, the
// session knows which transaction to ask for; if the connection is lost earlier, it knows that nothing was committed. The
// name arrives while the server is still executing the requests, and COMMIT reaches the server before it has executed them.
// So the name costs one more write, and nothing else.
//
// The second Flush has the results on their way while the server is writing its log.
//
// Rejected: one Sync without BEGIN. It needs no ROLLBACK after an error, but SET CONSTRAINTS then puts a warning into the
// server's log each time, and the name could not be waited for.
//
// sent are the requests that the transaction held: the others have been put off or answered, and must not come again.
// culprit is the index in sent of the request whose error undid the transaction, or -1.
func (s *session) transaction(ctx context.Context, requests []request) (out engine.Outcome, sent []request, culprit int) {
	ready, err := s.prepare(ctx, requests)
	if err != nil {
		return s.refused(ctx, err), nil, -1
	}
	p := s.pg.PgConn().StartPipeline(ctx)
	s.watch.begin("")
	head := s.sendBegin(p)
	p.SendFlushRequest()
	a := answers{session: s, p: p, token: token{server: s.server}, failed: -1}
	a.sendAll(ready)
	sent = a.sent
	a.started = time.Now()
	err = p.Flush()
	if err == nil {
		err = a.readHead(head)
	}
	if err != nil && endsConnection(err) {
		s.ended = true
		p.Close()
		s.watch.end(ctx)
		return s.refused(ctx, err), nil, -1
	}
	s.failed = false
	sendText(p, "COMMIT")
	syncErr := p.Sync()
	switch {
	case syncErr != nil:
		err = syncErr
	case err != nil:
		a.drain()
	default:
		err = a.readAll()
	}
	closeErr := p.Close()
	hit := s.watch.end(ctx)
	switch {
	case err == nil && closeErr == nil:
		return a.committed(ctx, hit), sent, -1
	case a.synced:
		return a.undone(err)
	case s.direct() && lastWords(err) && a.answered < len(sent): // before the server came to COMMIT
		s.ended, s.stuck = true, sent[a.answered].call
		return engine.Outcome{Verdict: engine.RolledBack, Broken: true}, sent, -1
	}
	s.ended = true
	if a.failed >= 0 { // undone for certain, whatever came after; its error is no other request's
		return engine.Outcome{Verdict: engine.Refused, Err: driver.ErrBadConn, Broken: true}, sent, -1
	}
	// The connection is gone, and the server may have received COMMIT. If it committed, the results that did not arrive are
	// lost.
	for _, r := range sent[a.answered:] {
		r.call.Answer(lostResult{}, nil)
	}
	if a.answered < len(sent) {
		s.stuck = sent[a.answered].call
	}
	return a.unknown(cmp.Or(err, closeErr)), sent, -1
}

// sendBegin sends the first statements of a transaction, and returns how many there are.
func (s *session) sendBegin(p *pgconn.Pipeline) (head int) {
	texts := []string{"BEGIN", "SET CONSTRAINTS ALL IMMEDIATE", s.server.head}
	if s.failed {
		texts = append([]string{"ROLLBACK"}, texts...)
	}
	for _, text := range texts {
		sendText(p, text)
	}
	return len(texts)
}
