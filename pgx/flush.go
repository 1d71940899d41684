package pgx

import (
	"context"
	"errors"
	"time"

	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/repeat"

	"github.com/jackc/pgx/v5/pgconn"
)

// flushText is a transaction that writes to the log, and so waits for it.
const flushText = "SELECT " + emit

const emit = "pg_logical_emit_message(true, 'groupcommit', '')"

// confirmed is the outcome of a transaction that the server has committed, perhaps in spite of a cancel.
func (s *session) confirmed(ctx context.Context, commit, members time.Duration, cancelled bool) engine.Outcome {
	if cancelled {
		if err := s.confirm(ctx); err != nil {
			return engine.Outcome{Verdict: engine.Unknown, Culprit: -1, Err: err, Broken: true}
		}
	}
	return engine.Outcome{Commit: commit, Members: members}
}

// confirm makes certain that committed calls are as durable as the session's synchronous_commit asks. A cancel that came
// while COMMIT waited for a standby has ended that wait, and the server says no more about it.
func (s *session) confirm(ctx context.Context) error {
	if !s.server.flushes || s.server.syncCommit == "off" {
		return nil
	}
	if !s.ended {
		_, err := s.pg.PgConn().Exec(ctx, flushText).ReadAll()
		if err == nil {
			return nil
		}
		s.ended = s.ended || endsConnection(err)
	}
	return s.flushElsewhere()
}

// flushElsewhere makes the answered calls durable, by another connection, since this one cannot do it. nil says
// that it did: a transaction is in the log before it is answered, so a later flush covers it, unless the server has lost the
// end of its log in between.
func (s *session) flushElsewhere() error {
	ctx, cancel := context.WithTimeout(context.Background(), s.settings.MaxTime)
	defer cancel()
	for within := flushWithin; ; { // each time by a new connection, because one may be silent
		same, err := s.server.flush(ctx, within, &s.pg.Config().Config)
		switch {
		case err == nil && same:
			return nil
		case err == nil:
			return errNotTheSame
		case errors.Is(err, context.DeadlineExceeded): // and not one that was refused at once
			within *= 2
		}
		if !repeat.Pause(ctx, tryAgain) {
			return err
		}
	}
}

const (
	tryAgain    = 20 * time.Millisecond
	flushWithin = time.Second // until one has taken as long in vain
)

var errNotTheSame = errors.New("groupcommit/pgx: the server has been restarted, or is another, and may not have kept what it had answered")

// flush flushes the log of the server at the other end of a new connection, and reports whether it is still the same server.
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
