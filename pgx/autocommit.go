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
// Every request is answered, or put off.
func (s *session) each(ctx context.Context, requests []request) {
	if len(requests) == 0 {
		return
	}
	if err := s.rollback(ctx); err != nil {
		putOff(requests)
		return
	}
	ready, err := s.prepare(ctx, requests)
	if err != nil {
		s.ended = true
		putOff(requests)
		return
	}
	p := s.pg.PgConn().StartPipeline(ctx)
	a := answers{session: s, p: p}
	sendText(p, s.server.loosen(s.settings))
	if err = p.Sync(); err == nil {
		_, err = a.one()
	}
	if err != nil {
		s.ended = true
		p.Close()
		putOff(requests)
		return
	}
	sent := ready[:0:0]
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
			putOff(sent)
			return
		}
		unknown(sent, err)
		return
	}
	answered, err := a.each(sent)
	if closeErr := p.Close(); err == nil && closeErr != nil && endsConnection(closeErr) {
		err = closeErr
	}
	if err != nil {
		s.ended = true
		// What is committed may not be on the disk, and what was sent may still be executed.
		unknown(undecided(sent, answered), err)
	}
}

// flush is a transaction that writes to the log, and so waits for it.
const flush = "SELECT pg_logical_emit_message(true, 'groupcommit', '')"

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

// each reads the answers up to the flush's, which is the last. It returns how many requests have theirs.
func (a *answers) each(sent []request) (answered int, err error) {
	s := a.session
	last := time.Now()
	for _, r := range sent {
		n, err := a.one()
		if err != nil && endsConnection(err) {
			return answered, err
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
	}
	for range 2 { // tighten, flush
		if _, err := a.one(); err != nil {
			return answered, err
		}
	}
	return answered, nil
}

// one reads one transaction's answer, and the sync after it.
func (a *answers) one() (n int64, err error) {
	n, _, err = a.next(false)
	if errors.Is(err, errSynced) {
		return 0, errors.New("groupcommit/pgx: the server's answers do not fit what it was sent")
	}
	if err != nil && endsConnection(err) {
		return 0, err
	}
	for {
		switch _, _, next := a.next(false); {
		case errors.Is(next, errSynced):
			return n, err
		case next != nil && endsConnection(next):
			return 0, next
		case err == nil:
			err = next // of the transaction's end: a deferred constraint
		}
	}
}

// undecided are the requests of which it is not known whether they are on the disk. One that failed left nothing.
func undecided(sent []request, answered int) []request {
	var open []request
	for i, r := range sent {
		if i >= answered || r.call.Err() == nil {
			open = append(open, r)
		}
	}
	return open
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
