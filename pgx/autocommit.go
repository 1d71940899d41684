package pgx

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// autocommit sends the requests by the autocommit pipeline, in one piece:
//
//	[close…] [ROLLBACK] (loosen request Sync)... flush Sync
//
// Each request is one transaction and may fail by itself. These transactions do not wait for the disk, because
// synchronous_commit is off in each of them, and only there. The last transaction waits, and with its record in the log all
// before it is on the disk. It must write something, or it would have nothing to flush. It is sent whether the requests
// succeed or not.
//
// Rejected: synchronous_commit for the session, and back again. Behind a pooler these may be two sessions. The first is left
// to other clients, whose commits then do not wait for the disk.
//
// A request that may have more rows than a group keeps is put off, because nothing could undo it when they come.
//
// Every request is answered, or put off. took is the time that the requests took one after the other. An error says that the
// connection was lost before any of them was sent.
func (s *session) autocommit(ctx context.Context, requests []request) (took time.Duration, err error) {
	if len(requests) == 0 {
		return 0, nil
	}
	ready, loosen, err := s.prepare(ctx, &s.watch, requests, s.loosenText())
	if err == nil && !s.ended {
		err = s.probe(ctx, s.watch.silent())
	}
	if err != nil || s.ended {
		s.ended = true
		putOff(requests)
		return 0, err
	}
	if ready = withoutLarge(ready); len(ready) == 0 {
		return 0, nil
	}
	p := s.pg.PgConn().StartPipeline(ctx)
	a := answers{session: s, p: p, tell: s.tells()}
	a.head = s.sendRemains(p)
	sent := a.sendEach(ready, loosen)
	s.watch.begin(s.itself())
	sendText(p, flushText)
	a.started = time.Now()
	if err := p.Sync(); err != nil {
		s.ended = true
		p.Close()
		s.watch.end(ctx)
		if pgconn.SafeToRetry(err) {
			return 0, err
		}
		unknown(sent, err)
		return 0, nil
	}
	flushed, lost := a.readEach(sent)
	closeErr := p.Close()
	hit := s.watch.end(ctx)
	if lost != nil || closeErr != nil {
		s.ended = true
	}
	if hit && flushed { // the cancel may have hit the flush
		flushed = s.confirm(ctx) == nil
	}
	s.unanswered(sent[a.answered:], lost)
	if open := succeeded(sent[:a.answered]); !flushed && len(open) > 0 && s.server.syncCommit != "off" {
		if err := s.flushElsewhere(); err != nil {
			unknown(open, errors.Join(lost, err))
		}
	}
	return a.members, nil
}

// sendEach sends the requests, and returns those that were sent. The first loosen's answer comes at once: it says that the
// requests' turn has come.
func (a *answers) sendEach(ready []request, loosen *pgconn.StatementDescription) []request {
	sent := ready[:0]
	for i := range ready {
		if a.try(a.p, &ready[i], func() { a.sendLoosen(loosen, len(sent) == 0) }) {
			a.p.SendPipelineSync()
			sent = append(sent, ready[i])
		}
	}
	return sent
}

// loosenSQL is the statement before each request, for its transaction only. The server would log a warning for SET LOCAL.
const loosenSQL = "SELECT set_config('synchronous_commit', 'off', true)"

// tells reports that the statement before each request also names the transaction, and is answered before the transaction is
// over. Behind a pooler there is no other way to know which transaction to watch.
func (s *session) tells() bool { return s.watch.limit > 0 && !s.direct() }

// loosenText is the statement to prepare, if it is one that may be.
func (s *session) loosenText() string {
	if s.tells() {
		return ""
	}
	return loosenSQL
}

func (a *answers) sendLoosen(prepared *pgconn.StatementDescription, first bool) {
	switch {
	case a.tell:
		sendText(a.p, loosenSQL+", "+thisTransaction)
	case prepared == nil:
		sendText(a.p, loosenSQL)
	default:
		a.p.SendQueryStatement(prepared, nil, nil, nil)
	}
	if a.tell || first {
		a.p.SendFlushRequest()
	}
}

// readEach reads the answers up to the flush's, which is the last. It returns whether the flush has succeeded, and the error
// with which the connection was lost.
func (a *answers) readEach(sent []request) (flushed bool, lost error) {
	if lost := a.readRemains(a.p, a.head); lost != nil {
		return false, lost
	}
	var last time.Time
	for i, r := range sent {
		a.executing = false
		err, lost := a.readLoosen()
		if i == 0 {
			a.began = time.Now()
			a.headTook, last = a.began.Sub(a.started), a.began
		}
		a.executing = err == nil && lost == nil
		if a.executing {
			err, lost = a.readOne(&r)
		}
		if err == nil && lost != nil {
			return false, lost
		}
		a.judge(r, err)
		now := time.Now()
		a.watch.hear(now)
		if r.route.sample {
			a.memory.took(r.query, now.Sub(last), now)
		}
		last = now
		a.answered++
		a.members = last.Sub(a.began)
		if lost != nil {
			return false, lost
		}
	}
	a.watch.executed()
	err, lost := a.readOne(nil)
	a.memory.paid(a.headTook + time.Since(last))
	return err == nil && lost == nil, lost
}

// judge ends a request whose transaction is over: it has its answer, or is put off. It has been undone if err is not nil.
func (a *answers) judge(r request, err error) {
	switch {
	case err == nil:
	case !a.executing: // it was not executed
		r.call.PutOff()
	case a.watch.mayHaveHit(err):
		a.memory.waited(r.query, true, a.watch.limit, time.Now())
		r.call.PutOff() // it waits by itself
	case transient(err):
		r.call.PutOff() // it is tried again by itself
	case !a.same(r, err), r.call.WantsRows() && a.rows.began: // the plain driver gives the error behind the rows
		r.call.PutOff()
	default:
		r.call.Answer(nil, err)
	}
	failed := 0
	if err != nil {
		failed = 1
	}
	a.memory.ran(r.query, 1, failed)
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
	a.drop(loosenSQL) // the program may have had the server forget it
	return err, readSync(a.p)
}

// readOne reads the answer to one transaction, of a request or of the flush (nil), and the sync after it: before the sync, the
// transaction has not been committed. err is the server's own, which has undone the transaction for certain. lost is the error
// with which the connection was lost.
func (a *answers) readOne(r *request) (err, lost error) {
	if r != nil {
		_, err = a.answer(*r)
	} else {
		_, _, err = a.next(false)
	}
	if errors.Is(err, errSynced) {
		return nil, errors.New("groupcommit/pgx: the server's answers do not fit what it was sent")
	}
	if err != nil && endsConnection(err) {
		return nil, err
	}
	for {
		switch _, _, next := a.next(false); {
		case errors.Is(next, errSynced):
			return err, nil
		case next != nil && endsConnection(next):
			return err, next
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
