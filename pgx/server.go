package pgx

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/groupcommit/groupcommit/engine"
)

// server holds the facts about a server, and about the session's settings there, that a session must know.
type server struct {
	version       int    // as server_version_num has it
	isolation     string // default_transaction_isolation
	readCommitted bool   // the same, or less
	syncCommit    string // the session's own
	pid, born     string // the server's process, and when it was started; "" if it is not told
	head          string // the statement that begins a transaction: names it
	status        string // the query that asks for the outcome of a transaction, whose id stands for %s; "" if there is none
	flushes       bool   // it may be told to flush its log
	life          life
	cluster       string // a server's, and that of its standbys; "" if it is not told
}

// life is the time between two recoveries of a server. Within a life the server forgets nothing that it has said, and gives
// no transaction's id twice. A postmaster may see several lives: where one of its processes crashes, it ends all the others
// and recovers, and its start time stays. So the pids of the server's own processes are part of the life. A life that was
// read when a connection was young is true as long as the connection lives.
type life struct{ started, processes string }

// lasts is the condition that it is still the same life.
func (l life) lasts() string {
	if l.started == "" { // not known
		return "false"
	}
	return "(extract(epoch FROM pg_postmaster_start_time())::text = " + quote(l.started) +
		" AND EXISTS (SELECT FROM " + ownProcesses + " AND pid = ANY(" + quote(l.processes) + ")))"
}

// ownProcesses are the checkpointer and its like, as far as every role may see them. They live as long as the life does. The function
// is what pg_stat_activity reads. The view also looks for the names of databases and roles, by which a new session took three times as
// long for the question.
const ownProcesses = "pg_stat_get_activity(NULL) WHERE datid IS NULL AND usesysid IS NULL"

// learnServer asks the server at the other end of a connection.
func (w *wire) learnServer(ctx context.Context, settings engine.Settings) (*server, error) {
	var v server
	row, err := w.ask(ctx, `SELECT current_setting('server_version_num'), current_setting('default_transaction_isolation'),
		current_setting('synchronous_commit'), pg_backend_pid()::text,
		coalesce((SELECT bool_and(has_function_privilege(oid, 'EXECUTE')) FROM pg_proc WHERE proname = 'pg_logical' || '_emit_message'), false)::text`)
	if err != nil {
		return nil, err
	}
	if v.version, err = strconv.Atoi(string(row[0])); err != nil {
		return nil, err
	}
	v.isolation, v.syncCommit, v.pid, v.flushes = string(row[1]), string(row[2]), string(row[3]), string(row[4]) == "true"
	row, err = w.ask(ctx, `SELECT extract(epoch FROM pg_postmaster_start_time())::text,
		(SELECT coalesce(array_agg(pid)::text, '{}') FROM `+ownProcesses+`),
		(SELECT coalesce(max(`+micros("backend_start")+`)::text, '') FROM pg_stat_get_activity(pg_backend_pid()))`)
	switch {
	case err == nil:
		v.life.started, v.life.processes, v.born = string(row[0]), string(row[1]), string(row[2])
	case ofTheMoment(err): // or else the role may not be allowed to
		return nil, err
	}
	v.readCommitted = v.isolation == "read committed" || v.isolation == "read uncommitted"
	if settings.Mode == engine.Autocommit && v.version < 90600 {
		return nil, fmt.Errorf("groupcommit/pgx: option %s: \"autocommit\" is not allowed on a server of version %d; PostgreSQL 9.6 or later is needed", settings.Spelled("Mode"), v.version)
	}
	xid := "''"
	switch {
	case v.version >= 130000:
		xid = "pg_current_xact_id()::text"
		v.status = "SELECT pg_xact_status(%s::xid8)"
	case v.version >= 100000:
		xid = "txid_current()::text"
		v.status = "SELECT txid_status(%s::bigint)"
	}
	v.head = "SELECT " + xid + ", " + thisTransaction
	if v.status != "" {
		row, err := w.ask(ctx, "SELECT system_identifier::text FROM pg_control_system()")
		switch {
		case err == nil:
			v.cluster = string(row[0])
		case ofTheMoment(err): // likewise
			return nil, err
		}
	}
	return &v, nil
}

// thisTransaction names the transaction that executes it, as two columns of a statement. The process that a client knows may
// be a pooler's.
var thisTransaction = "pg_backend_pid(), " + micros("now()")

// at is the condition on pg_stat_activity for the transaction that thisTransaction has named.
func at(pid, began string) string {
	return "pid = " + pid + " AND " + micros("xact_start") + " = " + began
}

// micros is a time as a number, which no setting of a session's writes differently.
func micros(t string) string { return "(extract(epoch FROM " + t + ") * 1000000)::bigint" }

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
