package pgx

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// autocommit sends the requests by the autocommit pipeline, in two pieces:
//
//	Sync
//	(loosen request Sync)... flush Sync
//
// The second waits for the answer to the first: requests sent into a dead connection would be of unknown outcome.
//
// Each request is one transaction and may fail by itself. These transactions do not wait for the disk, because
// synchronous_commit is off in each of them, and only there. The last transaction waits, and with its record in the log all
// before it is on the disk. It must write something, or it would have nothing to flush. It is sent whether the requests
// succeed or not.
//
// Rejected: synchronous_commit for the session, and back again. Behind a pooler these may be two sessions. The first is left
// to other clients, whose commits then do not wait for the disk.
//
// Every request is answered, or put off. An error says that the connection was lost before any of them was sent.
func (s *session) autocommit(ctx context.Context, requests []request) error {
	if len(requests) == 0 {
		return nil
	}
	if err := s.rollback(ctx); err != nil {
		return err
	}
	ready, err := s.prepare(ctx, requests)
	if err != nil || s.ended {
		s.ended = true
		putOff(requests)
		return err
	}
	loosen, tell, err := s.loosening(ctx)
	if err != nil {
		s.ended = true
		return err
	}
	p := s.pg.PgConn().StartPipeline(ctx)
	a := answers{session: s, p: p, tell: tell}
	start := time.Now()
	lost := p.Sync()
	if lost == nil {
		lost = readSync(p)
	}
	if lost != nil {
		s.ended = true
		p.Close()
		putOff(requests)
		return lost
	}
	a.headTook = time.Since(start)
	sent := s.sendEach(p, ready, loosen)
	s.watch.begin(s.itself())
	sendText(p, flushText)
	if err := p.Sync(); err != nil {
		s.ended = true
		p.Close()
		s.watch.end(ctx)
		if pgconn.SafeToRetry(err) {
			return err
		}
		unknown(sent, err)
		return nil
	}
	answered, flushed, lost := a.readEach(sent)
	closeErr := p.Close()
	hit := s.watch.end(ctx)
	if lost != nil || closeErr != nil {
		s.ended = true
	}
	if hit && flushed { // the cancel may have hit the flush
		flushed = s.confirm(ctx) == nil
	}
	s.unanswered(sent[answered:], lost)
	if open := succeeded(sent[:answered]); !flushed && len(open) > 0 && s.server.syncCommit != "off" {
		if err := s.flushElsewhere(); err != nil {
			unknown(open, errors.Join(lost, err))
		}
	}
	return nil
}

// sendEach sends the requests, and returns those that were sent.
func (s *session) sendEach(p *pgconn.Pipeline, ready []request, loosen func(*pgconn.Pipeline)) []request {
	sent := ready[:0]
	for _, r := range ready {
		if s.try(p, r, func() { loosen(p) }) {
			p.SendPipelineSync()
			sent = append(sent, r)
		}
	}
	return sent
}

// loosenText is the statement before each request, for its transaction only. The server would log a warning for SET LOCAL.
const loosenText = "SELECT set_config('synchronous_commit', 'off', true)"

// loosening returns the function that sends loosenText. Behind a pooler the statement also names the transaction, and is
// answered before the transaction is over: there is no other way to know which transaction to watch.
func (s *session) loosening(ctx context.Context) (send func(*pgconn.Pipeline), tell bool, err error) {
	if s.watch.limit > 0 && !s.direct() {
		return func(p *pgconn.Pipeline) {
			sendText(p, loosenText+", "+thisTransaction)
			p.SendFlushRequest()
		}, true, nil
	}
	var sd *pgconn.StatementDescription
	if s.pg.Config().DefaultQueryExecMode == pgx.QueryExecModeCacheStatement {
		if sd, err = s.describe(ctx, loosenText, false); err != nil {
			return nil, false, err
		}
	}
	return func(p *pgconn.Pipeline) {
		if sd == nil {
			sendText(p, loosenText)
		} else {
			p.SendQueryStatement(sd, nil, nil, nil)
		}
	}, false, nil
}

// readEach reads the answers up to the flush's, which is the last. It returns how many requests are answered, whether the
// flush has succeeded, and the error with which the connection was lost.
func (a *answers) readEach(sent []request) (answered int, flushed bool, lost error) {
	s := a.session
	last := time.Now()
	for _, r := range sent {
		var n int64
		err, lost := a.readLoosen()
		loose := err == nil
		if loose && lost == nil {
			n, err, lost = a.readOne()
		}
		if err == nil && lost != nil {
			return answered, false, lost
		}
		switch {
		case !loose: // it was not executed
			r.call.PutOff()
		case s.watch.mayHaveHit(err):
			s.memory.waited(r.query, true, s.watch.limit, time.Now())
			r.call.PutOff() // it waits by itself
		case transient(err):
			r.call.PutOff() // it is tried again by itself
		case err != nil && len(r.call.Args) == 0:
			r.call.PutOff() // the plain driver sends it by the simple protocol, where some errors differ
		case err != nil && s.invalidate(r.query, err):
			r.call.PutOff() // the plain driver may not fail
		case err != nil:
			r.call.Answer(nil, err)
		default:
			r.call.Answer(result(n), nil)
		}
		now := time.Now()
		s.watch.hear(now)
		if r.route.sample {
			s.memory.took(r.query, now.Sub(last), now)
		}
		last = now
		failed := 0
		if err != nil {
			failed = 1
		}
		s.memory.ran(r.query, 1, failed)
		answered++
		if lost != nil {
			return answered, false, lost
		}
	}
	s.watch.executed()
	_, err, lost := a.readOne()
	s.memory.paid(a.headTook + time.Since(last))
	return answered, err == nil && lost == nil, lost
}

// readLoosen reads the answer to loosenText. After an error of the server's own the transaction is over.
func (a *answers) readLoosen() (err, lost error) {
	if a.tell {
		_, err = a.watch.named(a.p)
	} else {
		_, _, err = a.next(false)
	}
	switch {
	case err == nil:
		return nil, nil
	case endsConnection(err):
		return nil, err
	}
	a.drop(loosenText) // the program may have had the server forget it
	return err, readSync(a.p)
}

// readOne reads one transaction's answer, and the sync after it: before the sync, the transaction has not been committed.
// err is the server's own, which has undone the transaction for certain. lost is the error with which the connection was
// lost.
func (a *answers) readOne() (n int64, err, lost error) {
	n, _, err = a.next(false)
	if errors.Is(err, errSynced) {
		return 0, nil, errors.New("groupcommit/pgx: the server's answers do not fit what it was sent")
	}
	if err != nil && endsConnection(err) {
		return 0, nil, err
	}
	for {
		switch _, _, next := a.next(false); {
		case errors.Is(next, errSynced):
			return n, err, nil
		case next != nil && endsConnection(next):
			return n, err, next
		case err == nil:
			err = next // of the transaction's end: a deferred constraint
		}
	}
}

// unanswered answers the requests that the server has not answered. If the server's process has said that it ends, it has
// executed no request behind its current one, and those may run elsewhere. The current request gets the server's error, as
// on the plain driver. A pooler's error, or none, does not tell which requests the server still executes.
func (s *session) unanswered(requests []request, lost error) {
	switch {
	case len(requests) == 0:
	case lastWords(lost) && s.direct():
		if asPg(lost).SeverityUnlocalized == "FATAL" {
			requests[0].call.Answer(nil, lost)
		} else { // it may have crashed after the commit
			unknown(requests[:1], lost)
		}
		putOff(requests[1:])
	default:
		unknown(requests, lost)
	}
}
