package pgx

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"

	"github.com/groupcommit/groupcommit/engine"
)

// token names the transaction of a group whose outcome is not known, so that a later connection can ask for it.
type token struct {
	xid    string
	server *server
}

// Resolve asks a server for the outcome of a group. A backend that still works on the group is ended: its client is gone.
//
// Within one life of one server the answer is the truth. After a crash a server may give an id again if it had not written
// the id down, and a standby that took over one that it had not heard of. So "committed" may then be the outcome of another
// transaction. Every other answer says that ours has left nothing, because a server that knows of its commit does not give
// its id again.
func (s *session) Resolve(ctx context.Context, asked any) (engine.Verdict, error) {
	t := asked.(token)
	if err := s.learn(ctx); err != nil {
		return engine.Unknown, err
	}
	if s.server.status == "" || t.xid == "" {
		return engine.Unknown, nil
	}
	standby, err := s.ask(ctx, "SELECT pg_is_in_recovery()::text")
	if err != nil {
		return engine.Unknown, err
	}
	if string(standby[0]) == "true" {
		return engine.Unknown, errStandby
	}
	status, err := s.xactStatus(ctx, t.xid)
	if err != nil {
		return engine.Unknown, err
	}
	// After the status, so that it is of the same life: a pooler may have led the two to different connections.
	lasts, err := s.ask(ctx, "SELECT ("+t.server.life.lasts()+")::text")
	if err != nil {
		return engine.Unknown, err
	}
	same := string(lasts[0]) == "true"
	switch {
	case same && status == statusInProgress:
		s.pg.PgConn().Exec(ctx, fmt.Sprintf(endBackend, quote(t.xid))).Close() // if it may; if not, it ends by itself
		return engine.Unknown, errStillRunning
	case same && status == statusCommitted:
		return engine.Committed, nil
	case same && status == statusAborted:
		return engine.RolledBack, nil
	case same, t.server.cluster == "", t.server.cluster != s.server.cluster:
		return engine.Unknown, nil
	case status == statusAborted, status == statusInProgress, status == statusUnborn:
		return engine.RolledBack, nil
	}
	return engine.Unknown, nil
}

// The answers of a server about a transaction's id.
const (
	statusCommitted  = "committed"
	statusAborted    = "aborted"
	statusInProgress = "in progress"
	statusUnborn     = "unborn" // the server has yet to give this id
	statusForgotten  = "forgotten"
)

func (w *wire) xactStatus(ctx context.Context, xid string) (string, error) {
	status, err := w.ask(ctx, fmt.Sprintf(w.server.status, quote(xid)))
	if pg := asPg(err); pg != nil && strings.HasPrefix(pg.Code, "22") {
		return statusUnborn, nil
	}
	if err != nil {
		return "", err
	}
	if status[0] == nil {
		return statusForgotten, nil
	}
	return string(status[0]), nil
}

// endBackend ends the backend that runs a transaction. It finds the backend by the transaction: the process that a client
// knows may be a pooler's. backend_xid has the lower 32 bits of an id.
const endBackend = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_xid::text = (%s::numeric %% 4294967296)::text"

var (
	errStillRunning = errors.New("groupcommit/pgx: the server is still busy with the group")
	errStandby      = fmt.Errorf("groupcommit/pgx: a standby cannot know yet what became of the group: %w", driver.ErrBadConn) // another connection may do
)
