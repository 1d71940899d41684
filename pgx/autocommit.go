package pgx

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/jackc/pgx/v5/pgconn"
)

// each sends the requests by the autocommit pipeline, in two pieces:
//
//	loosen Sync
//	(request Sync)... tighten Sync flush Sync
//
// The second waits for the answer to the first: what was sent into a connection that had died would be of unknown outcome.
//
// Each request is a transaction of its own and may fail by itself. They do not wait for the disk, because
// synchronous_commit is off; the last transaction does, and with its record in the log all before it is on the disk. It
// must write something, or it would have nothing to flush; and it comes whatever became of the requests.
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
	if err != nil {
		s.ended = true
		return err
	}
	p := s.pg.PgConn().StartPipeline(ctx)
	a := answers{session: s, p: p}
	sendText(p, s.server.loosen(s.settings))
	lost := p.Sync()
	if lost == nil {
		_, err, lost = a.one()
	}
	if err != nil || lost != nil {
		s.ended = true
		p.Close()
		putOff(requests)
		return lost
	}
	sent := ready[:0]
	for _, r := range ready {
		if s.try(p, r) {
			p.SendPipelineSync()
			sent = append(sent, r)
		}
	}
	sendText(p, s.server.tighten())
	p.SendPipelineSync()
	sendText(p, flush)
	if err := p.Sync(); err != nil {
		s.ended = true
		p.Close()
		if pgconn.SafeToRetry(err) {
			return err
		}
		unknown(sent, err)
		return nil
	}
	answered, flushed, lost := a.each(sent)
	closeErr := p.Close()
	if lost != nil || closeErr != nil {
		s.ended = true
	}
	unknown(sent[answered:], lost) // what was sent may still be executed
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
	for {
		same, err := s.server.flush(ctx, &s.pg.Config().Config)
		switch {
		case err == nil && same:
			return nil
		case err == nil:
			return errNotTheSame
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(tryAgain):
		}
	}
}

const tryAgain = 20 * time.Millisecond

var errNotTheSame = errors.New("groupcommit/pgx: the server has been restarted, or is another, and may not have kept what it had answered")

// flush flushes the log of the server at the other end of a new connection, and reports whether it is still the same.
func (v *server) flush(ctx context.Context, way *pgconn.Config) (same bool, err error) {
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

// loosen and tighten are the statements before and after the requests.
func (v *server) loosen(s groupcommit.Settings) string {
	set := "SELECT set_config('synchronous_commit', 'off', false)"
	if s.LockTimeout > 0 {
		set += ", set_config('lock_timeout', " + quote(lockTimeout(s)) + ", false)"
	}
	return set
}

func (v *server) tighten() string {
	return "SELECT set_config('synchronous_commit', " + quote(v.syncCommit) + ", false), set_config('lock_timeout', " +
		quote(v.lockTimeout) + ", false)"
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// each reads the answers up to the flush's, which is the last. It returns how many requests have theirs, whether the flush
// has, and what the connection was lost to.
func (a *answers) each(sent []request) (answered int, flushed bool, lost error) {
	s := a.session
	last := time.Now()
	for _, r := range sent {
		n, err, lost := a.one()
		if err == nil && lost != nil {
			return answered, false, lost
		}
		switch {
		case blocked(err), transient(err):
			r.call.Apart() // it waits, or is tried again, by itself
		case err != nil && len(r.call.Args) == 0:
			r.call.Apart() // the plain driver sends it by the simple protocol, and some errors are different there
		case err != nil && s.invalidate(r.query, err):
			r.call.Apart() // the plain driver may not fail
		case err != nil:
			r.call.Answer(nil, err)
		default:
			r.call.Answer(result(n), nil)
		}
		now := time.Now()
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
	_, err, lost := a.one()
	if err != nil {
		s.ended = true // its settings are still ours
	}
	if lost == nil {
		_, err, lost = a.one()
		flushed = err == nil && lost == nil
	}
	return answered, flushed, lost
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
		r.call.Apart()
	}
}

func unknown(requests []request, err error) {
	for _, r := range requests {
		r.call.Answer(nil, &groupcommit.OutcomeUnknownError{Cause: err})
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

// blocked reports that a call waited for a lock longer than its group allows.
func blocked(err error) bool {
	pg := asPg(err)
	return pg != nil && pg.Code == "55P03"
}
