package pgx

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/groupcommit/groupcommit"
)

// server is what a session must know of the server and of its own settings there.
type server struct {
	version       int    // as server_version_num has it
	readCommitted bool   // default_transaction_isolation
	lockTimeout   string // the session's own
	syncCommit    string // the session's own
	head          string // the statement that begins a transaction: names it, and bounds the waiting for locks
	status        string // the statement that asks what became of it; "" if there is none
}

// learnServer asks once a connection, before its first group.
func (s *session) learnServer(ctx context.Context) error {
	var v server
	var isolation string
	err := s.pg.QueryRow(ctx, `SELECT current_setting('server_version_num')::int, current_setting('default_transaction_isolation'),
		current_setting('lock_timeout'), current_setting('synchronous_commit')`).
		Scan(&v.version, &isolation, &v.lockTimeout, &v.syncCommit)
	if err != nil {
		return err
	}
	v.readCommitted = isolation == "read committed" || isolation == "read uncommitted"
	if s.settings.Mode == groupcommit.Autocommit && v.version < 90600 {
		return fmt.Errorf("groupcommit/pgx: option mode: \"autocommit\" is not allowed on a server of version %d; PostgreSQL 9.6 or later is needed", v.version)
	}
	xid := "''"
	switch {
	case v.version >= 130000:
		xid = "pg_current_xact_id()::text"
		v.status = "SELECT pg_xact_status($1::text::xid8)"
	case v.version >= 100000:
		xid = "txid_current()::text"
		v.status = "SELECT txid_status($1::text::bigint)"
	}
	v.head = "SELECT " + xid + ", extract(epoch FROM pg_postmaster_start_time())::text"
	if s.settings.LockTimeout > 0 {
		v.head += ", set_config('lock_timeout', " + quote(lockTimeout(s.settings)) + ", true)" // of the transaction
	}
	s.server = &v
	return nil
}

// lockTimeout is the option in the setting's unit, which is a millisecond.
func lockTimeout(s groupcommit.Settings) string {
	return strconv.FormatInt(min(max(1, s.LockTimeout.Milliseconds()), math.MaxInt32), 10)
}

// token is what a group leaves behind to ask about.
type token struct {
	xid     string
	started string // when the server was: after a restart an id may have been given to another transaction
	pid     uint32
}

// Resolve asks the server what became of a group. A backend that still works on it is ended: its client is gone.
func (s *session) Resolve(ctx context.Context, asked any) (groupcommit.Verdict, error) {
	t := asked.(token)
	if s.server == nil {
		if err := s.learnServer(ctx); err != nil {
			return groupcommit.Unknown, err
		}
	}
	if s.server.status == "" || t.xid == "" {
		return groupcommit.Unknown, nil
	}
	var started string
	if err := s.pg.QueryRow(ctx, "SELECT extract(epoch FROM pg_postmaster_start_time())::text").Scan(&started); err != nil {
		return groupcommit.Unknown, err
	}
	restarted := started != t.started
	var status *string
	err := s.pg.QueryRow(ctx, s.server.status, t.xid).Scan(&status)
	if pg := asPg(err); pg != nil && strings.HasPrefix(pg.Code, "22") {
		return groupcommit.RolledBack, nil // an id that the server has yet to give: it does not remember it
	}
	if err != nil {
		return groupcommit.Unknown, err
	}
	switch {
	case status == nil:
		return groupcommit.Unknown, nil // too old
	case *status == "aborted":
		return groupcommit.RolledBack, nil
	case *status == "committed" && !restarted:
		return groupcommit.Committed, nil
	case *status == "in progress" && restarted:
		return groupcommit.RolledBack, nil // the id is another's now, so ours left nothing
	case *status == "in progress":
		s.pg.Exec(ctx, "SELECT pg_terminate_backend($1)", int32(t.pid)) // if it may; if not, it ends by itself
		return groupcommit.Unknown, errStillRunning
	}
	return groupcommit.Unknown, nil
}

var errStillRunning = errors.New("groupcommit/pgx: the server is still busy with the group")
