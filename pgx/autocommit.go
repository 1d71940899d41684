package pgx

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/repeat"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// each sends the requests by the autocommit pipeline, in two pieces:
//
//	Sync
//	(loosen request Sync)... flush Sync
//
// The second waits for the answer to the first: what was sent into a connection that had died would be of unknown outcome.
//
// Each request is a transaction of its own and may fail by itself. They do not wait for the disk, because
// synchronous_commit is off in each of them, and only there; the last transaction does, and with its record in the log all
// before it is on the disk. It must write something, or it would have nothing to flush; and it comes whatever became of the
// requests.
//
// Rejected: synchronous_commit for the session, and back again. Behind a pooler these are two sessions, of which the first is
// left to strangers, whose commits do not wait for the disk.
//
// Every request is answered, or put off. An error says that the connection was lost before any of them was sent.
func (s *session) each(ctx context.Context, requests []request) error {
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
	lost := p.Sync()
	if lost == nil {
		lost = a.sync()
	}
	if lost != nil {
		s.ended = true
		p.Close()
		putOff(requests)
		return lost
	}
	sent := ready[:0]
	for _, r := range ready {
		if s.try(p, r, func() { loosen(p) }) {
			p.SendPipelineSync()
			sent = append(sent, r)
		}
	}
	s.watch.begin(s.itself())
	sendText(p, flush)
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
	answered, flushed, lost := a.each(sent)
	closeErr := p.Close()
	hit := s.watch.end(ctx)
	if lost != nil || closeErr != nil {
		s.ended = true
	}
	if hit && flushed { // it may have been what was cancelled
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

// flush is a transaction that writes to the log, and so waits for it.
const flush = "SELECT " + emit

const emit = "pg_logical_emit_message(true, 'groupcommit', '')"

// flushElsewhere makes durable what the server has answered, on a connection of its own, since this one cannot do it.
// nil says that it did: a transaction is in the log before it is answered, so whatever is flushed later covers it, if
// the server has not lost the end of its log in between.
func (s *session) flushElsewhere() error {
	ctx, cancel := context.WithTimeout(context.Background(), s.settings.MaxTime)
	defer cancel()
	for within := flushWithin; ; within *= 2 { // each by a connection of its own, which may be a silent one
		same, err := s.server.flush(ctx, within, &s.pg.Config().Config)
		switch {
		case err == nil && same:
			return nil
		case err == nil:
			return errNotTheSame
		}
		if !repeat.Pause(ctx, tryAgain) {
			return err
		}
	}
}

const (
	tryAgain    = 20 * time.Millisecond
	flushWithin = time.Second // for the first time
)

var errNotTheSame = errors.New("groupcommit/pgx: the server has been restarted, or is another, and may not have kept what it had answered")

// flush flushes the log of the server at the other end of a new connection, and reports whether it is still the same.
func (v *server) flush(ctx context.Context, within time.Duration, way *pgconn.Config) (same bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	conn, err := pgconn.ConnectConfig(ctx, way)
	if err != nil {
		return false, err
	}
	defer conn.Close(ctx)
	res, err := conn.Exec(ctx, "SELECT set_config('synchronous_commit', "+quote(v.syncCommit)+", true), "+emit+", "+v.life.lasts()).ReadAll()
	if err != nil {
		return false, err
	}
	return string(res[0].Rows[0][2]) == "t", nil
}

// loosen is the statement before each request, for its transaction only. As SET LOCAL it would be warned of in the server's log.
const loosen = "SELECT set_config('synchronous_commit', 'off', true)"

// loosening returns what sends loosen. Behind a pooler it tells, too, who executes the transaction, and before that is over:
// there is no other way to know what to watch.
func (s *session) loosening(ctx context.Context) (send func(*pgconn.Pipeline), tell bool, err error) {
	if s.watch.limit > 0 && !s.direct() {
		return func(p *pgconn.Pipeline) {
			sendText(p, loosen+", "+thisTransaction)
			p.SendFlushRequest()
		}, true, nil
	}
	var sd *pgconn.StatementDescription
	if s.pg.Config().DefaultQueryExecMode == pgx.QueryExecModeCacheStatement {
		if sd, err = s.describe(ctx, loosen, false); err != nil {
			return nil, false, err
		}
	}
	return func(p *pgconn.Pipeline) {
		if sd == nil {
			sendText(p, loosen)
		} else {
			p.SendQueryStatement(sd, nil, nil, nil)
		}
	}, false, nil
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// each reads the answers up to the flush's, which is the last. It returns how many requests have theirs, whether the flush
// has, and what the connection was lost to.
func (a *answers) each(sent []request) (answered int, flushed bool, lost error) {
	s := a.session
	last := time.Now()
	for _, r := range sent {
		var n int64
		err, lost := a.loosened()
		loose := err == nil
		if loose && lost == nil {
			n, err, lost = a.one()
		}
		if err == nil && lost != nil {
			return answered, false, lost
		}
		switch {
		case !loose: // it was not executed
			r.call.PutOff()
		case s.watch.mayHaveHit(err), transient(err):
			r.call.PutOff() // it waits, or is tried again, by itself
		case err != nil && len(r.call.Args) == 0:
			r.call.PutOff() // the plain driver sends it by the simple protocol, and some errors are different there
		case err != nil && s.invalidate(r.query, err):
			r.call.PutOff() // the plain driver may not fail
		case err != nil:
			r.call.Answer(nil, err)
		default:
			r.call.Answer(result(n), nil)
		}
		now := time.Now()
		s.watch.hear(now)
		if r.sample {
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
	_, err, lost := a.one()
	return answered, err == nil && lost == nil, lost
}

// loosened reads the answer to loosen. With an error of the server's own the transaction is over.
func (a *answers) loosened() (err, lost error) {
	if a.tell {
		_, err = a.named()
	} else {
		_, _, err = a.next(false)
	}
	switch {
	case err == nil:
		return nil, nil
	case endsConnection(err):
		return nil, err
	}
	a.session.drop(loosen) // the server may have been told to forget it
	return err, a.sync()
}

// one reads one transaction's answer, and the sync after it: before that, it has not been committed. err is the server's
// own, which has undone it for certain; lost is what the connection was lost to.
func (a *answers) one() (n int64, err, lost error) {
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

// sync reads up to the end of a transaction.
func (a *answers) sync() (lost error) {
	for {
		switch _, _, err := a.next(false); {
		case errors.Is(err, errSynced):
			return nil
		case err != nil && endsConnection(err):
			return err
		}
	}
}

// succeeded are the requests that have been committed. One that failed left nothing.
func succeeded(answered []request) []request {
	var ok []request
	for _, r := range answered {
		if r.call.Err() == nil {
			ok = append(ok, r)
		}
	}
	return ok
}

func putOff(requests []request) {
	for _, r := range requests {
		r.call.PutOff()
	}
}

// unanswered answers the requests that the server has not answered. Where its process has said that it ends, it has executed
// nothing of what was behind what it was at, which others may do. What it was at gets the server's word for it, as on the
// plain driver. A pooler's word, or none, says nothing about what is still executed.
func (s *session) unanswered(requests []request, lost error) {
	switch {
	case len(requests) == 0:
	case ended(lost) && s.direct():
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

func unknown(requests []request, err error) {
	for _, r := range requests {
		r.call.Answer(nil, &engine.OutcomeUnknownError{Cause: err})
	}
}

// rollback ends a transaction that failed, if there is one.
func (s *session) rollback(ctx context.Context) error {
	if !s.failed {
		return nil
	}
	_, err := s.pg.PgConn().Exec(ctx, "ROLLBACK").ReadAll()
	s.failed, s.ended = false, err != nil
	return err
}
