package pgx

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"

	"github.com/groupcommit/groupcommit/engine"
)

// server is what a session must know of the server and of its own settings there.
type server struct {
	version       int    // as server_version_num has it
	isolation     string // default_transaction_isolation
	readCommitted bool   // the same, or less
	syncCommit    string // the session's own
	pid, born     string // the server's process, and when it was started; "" if it is not told
	head          string // the statement that begins a transaction: names it
	status        string // the statement that asks what became of it; "" if there is none
	flushes       bool   // it may be told to flush its log
	life          life
	cluster       string // a server's, and that of its standbys; "" if it is not told
}

// life is the time between two recoveries of a server, in which it forgets nothing that it has said and gives no id of a
// transaction twice. A postmaster may see several: where one of its processes crashes, it ends all the others and recovers,
// and its start time stays. So the pids of the server's own processes are part of it. What was learned when a connection
// was young is true for as long as it lives.
type life struct{ started, processes string }

// lasts is the condition that it is still the same life.
func (l life) lasts() string {
	if l.started == "" { // not known
		return "false"
	}
	return "(extract(epoch FROM pg_postmaster_start_time())::text = " + quote(l.started) +
		" AND EXISTS (SELECT FROM pg_stat_activity WHERE " + ownProcess + " AND pid = ANY(" + quote(l.processes) + ")))"
}

// ownProcess is what everybody may see of the checkpointer and its like, which live as long as the life does.
const ownProcess = "datid IS NULL AND usesysid IS NULL"

// learnServer asks once a connection, before its first group.
func (s *session) learnServer(ctx context.Context) error {
	var v server
	err := s.pg.QueryRow(ctx, `SELECT current_setting('server_version_num')::int, current_setting('default_transaction_isolation'),
		current_setting('synchronous_commit'), pg_backend_pid()::text,
		coalesce((SELECT bool_and(has_function_privilege(oid, 'EXECUTE')) FROM pg_proc WHERE proname = 'pg_logical' || '_emit_message'), false)`).
		Scan(&v.version, &v.isolation, &v.syncCommit, &v.pid, &v.flushes)
	if err != nil {
		return err
	}
	err = s.pg.QueryRow(ctx, `SELECT extract(epoch FROM pg_postmaster_start_time())::text,
		(SELECT coalesce(array_agg(pid)::text, '{}') FROM pg_stat_activity WHERE `+ownProcess+`),
		(SELECT coalesce(max(`+micros("backend_start")+`)::text, '') FROM pg_stat_activity WHERE pid = pg_backend_pid())`).
		Scan(&v.life.started, &v.life.processes, &v.born)
	if err != nil && asPg(err) == nil { // the role may not be allowed to
		return err
	}
	v.readCommitted = v.isolation == "read committed" || v.isolation == "read uncommitted"
	if s.settings.Mode == engine.Autocommit && v.version < 90600 {
		return fmt.Errorf("groupcommit/pgx: option %s: \"autocommit\" is not allowed on a server of version %d; PostgreSQL 9.6 or later is needed", s.settings.Spelled("Mode"), v.version)
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
	v.head = "SELECT " + xid + ", " + thisTransaction
	if v.status != "" {
		err := s.pg.QueryRow(ctx, "SELECT system_identifier::text FROM pg_control_system()").Scan(&v.cluster)
		if err != nil && asPg(err) == nil { // the role may not be allowed to
			return err
		}
	}
	s.server = &v
	return nil
}

// token is what a group leaves behind to ask about.
type token struct {
	xid    string
	server *server
}

// Resolve asks a server what became of a group. A backend that still works on it is ended: its client is gone.
//
// Within one life of one server the answer is the truth. After a crash a server may give an id again that it had not
// written down, and a standby that took over one that it had not heard of: so "committed" may be said of another's
// transaction. All else says that ours has left nothing, because whoever knows of its commit gives its id to nobody.
func (s *session) Resolve(ctx context.Context, asked any) (engine.Verdict, error) {
	t := asked.(token)
	if s.server == nil {
		if err := s.learnServer(ctx); err != nil {
			return engine.Unknown, err
		}
	}
	if s.server.status == "" || t.xid == "" {
		return engine.Unknown, nil
	}
	var standby, same bool
	if err := s.pg.QueryRow(ctx, "SELECT pg_is_in_recovery()").Scan(&standby); err != nil {
		return engine.Unknown, err
	}
	if standby {
		return engine.Unknown, errStandby
	}
	status, err := s.status(ctx, t.xid)
	if err != nil {
		return engine.Unknown, err
	}
	// After the status, so that it is of the same life: a pooler may have led the two to different connections.
	if err := s.pg.QueryRow(ctx, "SELECT "+t.server.life.lasts()).Scan(&same); err != nil {
		return engine.Unknown, err
	}
	switch {
	case same && status == inProgress:
		s.pg.Exec(ctx, endBackend, t.xid) // if it may; if not, it ends by itself
		return engine.Unknown, errStillRunning
	case same && status == committed:
		return engine.Committed, nil
	case same && status == aborted:
		return engine.RolledBack, nil
	case same, t.server.cluster == "", t.server.cluster != s.server.cluster:
		return engine.Unknown, nil
	case status == aborted, status == inProgress, status == unborn:
		return engine.RolledBack, nil
	}
	return engine.Unknown, nil
}

// What a server says of an id.
const (
	committed  = "committed"
	aborted    = "aborted"
	inProgress = "in progress"
	unborn     = "unborn" // it has yet to give it
	forgotten  = "forgotten"
)

func (s *session) status(ctx context.Context, xid string) (string, error) {
	var status *string
	err := s.pg.QueryRow(ctx, s.server.status, xid).Scan(&status)
	if pg := asPg(err); pg != nil && strings.HasPrefix(pg.Code, "22") {
		return unborn, nil
	}
	if err != nil {
		return "", err
	}
	if status == nil {
		return forgotten, nil
	}
	return *status, nil
}

// endBackend ends the backend that runs a transaction. It is found by the transaction: the process that a client knows
// may be a pooler's. backend_xid has the lower 32 bits of an id.
const endBackend = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_xid::text = ($1::text::numeric % 4294967296)::text"

var (
	errStillRunning = errors.New("groupcommit/pgx: the server is still busy with the group")
	errStandby      = fmt.Errorf("groupcommit/pgx: a standby cannot know yet what became of the group: %w", driver.ErrBadConn) // another connection may do
)
