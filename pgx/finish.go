package pgx

import (
	"github.com/groupcommit/groupcommit/engine"

	"github.com/jackc/pgx/v5/pgconn"
)

// The end of a transaction whose last statements are the library's own, and count for themselves what they have done. COMMIT
// travels with them, in one pipeline:
//
//	[parse] last… COMMIT Sync
//
// If one of them fails, the server skips what is behind it, up to the Sync. So nothing is committed, and the transaction is
// still there, to be rolled back.
//
// Rejected: the same for the last statement of a handler. It may be followed by another, or its result decide that there is to
// be no COMMIT.

var _ engine.Finisher = (*beginning)(nil)

// Finishes is an engine.Finisher's. Where each call must be seen, or nothing can be pipelined, nothing begins later, either. A
// connection is busy if a handler has left rows open: then the record has an error of its own.
func (b *beginning) Finishes() bool {
	pg := b.session.pg
	return !b.pending && !pg.IsClosed() && !pg.PgConn().IsBusy()
}

// Finish is an engine.Finisher's.
func (b *beginning) Finish(last []engine.Statement) (before bool, err error) {
	s := b.session
	// A connection that was lost meanwhile is found out while it is certain that COMMIT has not been sent.
	if err = s.probe(b.ctx, aMoment); err != nil {
		b.Rollback()
		return true, err
	}
	before, err = s.finish(b, last)
	if before {
		b.Rollback()
	}
	s.later = nil
	return before, err
}

// finish sends the pipeline, and reads its answers. If the connection is lost behind the sending, COMMIT may have been executed,
// unless the server's own process has said before that it ends.
func (s *session) finish(b *beginning, last []engine.Statement) (before bool, err error) {
	p := s.pg.PgConn().StartPipeline(b.ctx)
	parsed, remains := s.sendLast(p, last)
	sendText(p, "commit")
	if err = p.Sync(); err == nil {
		if err = s.readRemains(p, remains); err == nil {
			err = s.readLast(p, last, parsed)
		}
		before = err != nil
	} else {
		before = pgconn.SafeToRetry(err)
	}
	switch {
	case before && !endsConnection(err):
		s.drop(last[0].Query) // it may be that which has made it fail
		readSync(p)
	case before:
		before = lastWords(err) && s.server != nil && s.direct() || pgconn.SafeToRetry(err)
	case err == nil:
		if _, _, err = readAnswer(p, false); err == nil || !endsConnection(err) {
			if lost := readSync(p); err == nil {
				err = lost
			}
		}
	}
	if closeErr := p.Close(); err == nil {
		err = closeErr
	}
	if err != nil && asPg(err) == nil { // it is not known where the server's answers stand
		closeAtOnce(s.pg)
	}
	return before, err
}

// sendLast sends statements that have one text. A text that is new to the connection is parsed on the way.
func (s *session) sendLast(p *pgconn.Pipeline, last []engine.Statement) (parsed bool, remains int) {
	text := last[0].Query
	sd, known := s.known.Get(text)
	if !known {
		sd = &pgconn.StatementDescription{Name: s.name(text), SQL: text}
		if parsed = sd.Name != ""; parsed {
			s.closing, s.dropped = append(s.closing, s.dropped...), s.dropped[:0] // it may be among them
			remains = s.sendRemains(p)
			p.SendPrepare(sd.Name, text, nil)
		}
	}
	for _, l := range last {
		params := make([][]byte, len(l.Args))
		for i, arg := range l.Args {
			params[i] = []byte(arg.Value.(string))
		}
		sendPrepared(p, sd, text, params)
	}
	return parsed, remains
}

// readLast reads the answers to what sendLast has sent.
func (s *session) readLast(p *pgconn.Pipeline, last []engine.Statement, parsed bool) error {
	if parsed {
		sd, err := readDescription(p)
		if err != nil {
			return err
		}
		text := last[0].Query
		sd.Name, sd.SQL = s.name(text), text
		s.known.Put(text, sd)
	}
	for range last {
		if _, _, err := readAnswer(p, false); err != nil {
			return err
		}
	}
	return nil
}
