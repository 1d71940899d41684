package pgx

import (
	"context"
	"database/sql/driver"
	"sync"
	"sync/atomic"
	"time"

	"github.com/groupcommit/groupcommit/engine"

	"github.com/groupcommit/groupcommit/internal/lru"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// database is shared by all sessions of one database.
type database struct {
	memory    *memory
	functions functions
	asker     asker
	isolation atomic.Pointer[string] // of a session, if it is stricter than read committed
	replays   atomic.Bool            // the last claim of ids has met some that were there
	widths    widths

	once     sync.Once
	traits   engine.Traits // of the first connection: all are of one connector
	settings engine.Settings
}

// session runs groups on one connection of the driver.
//
// Its parts know nothing of it: the wire is the connection, the statements are prepared and sent on the wire, and the watch
// is over the wire. The ways of a call know the session: group.go chooses among them, and each has a file.
type session struct {
	wire
	*statements
	watch watch // over the waiting for answers
	rows  rowsReader
	room
	many manyState

	controls controls
	requests []request // of the group that is under way

	conn     driver.Conn // for the plain driver's calls; the wire is the same or inside it
	settings engine.Settings
	database *database
	memory   *memory
	simple   bool // nothing can be pipelined: the protocol is the simple one, or a wrapper must see each call
	seen     bool // a wrapper, or pgx's tracer, sees each call that the driver executes
	onNotice pgconn.NoticeHandler
	later    *beginning // the transaction whose BEGIN may be still to come

	waits bool         // the culprit of the transaction has waited for a lock, or was in a deadlock
	stuck *engine.Call // the server was at this call when the group was lost
}

// isSimple reports that nothing can be pipelined on a connection.
func isSimple(conn driver.Conn, config *pgx.ConnConfig) bool {
	_, bare := conn.(*stdlib.Conn)
	return !bare || config.DefaultQueryExecMode == pgx.QueryExecModeSimpleProtocol
}

func newSession(conn driver.Conn, pg *pgx.Conn, s engine.Settings, d *database) *session {
	ses := &session{wire: wire{pg: pg}, conn: conn, settings: s, database: d, memory: d.memory}
	_, bare := conn.(*stdlib.Conn)
	config := pg.Config() // a copy, which takes its time
	ses.simple = isSimple(conn, config)
	ses.seen, ses.onNotice = !bare || config.Tracer != nil, config.OnNotice
	ses.watch.wire, ses.watch.asker, ses.watch.limit = &ses.wire, &d.asker, s.LockTimeout
	ses.many.texts = lru.New[*manyText](max(1, config.StatementCacheCapacity), nil)
	ses.statements = newStatements(&ses.wire, &ses.watch, config)
	return ses
}

func (s *session) Traits() engine.Traits { return s.database.traits }

// IsValid makes a session a driver.Validator.
func (s *session) IsValid() bool { return !s.pg.IsClosed() }

func (s *session) Close() {} // the statements end with the connection

// learn asks the server, once a connection.
func (s *session) learn(ctx context.Context) (err error) {
	if s.server == nil {
		start := time.Now()
		s.server, err = s.learnServer(ctx, s.settings)
		s.memory.opened(time.Since(start))
	}
	return err
}

// refused is the outcome of a group of which nothing was committed, because of its connection, or of a statement of ours. The
// server's error about such a statement is no caller's: each runs its call by itself.
func (s *session) refused(ctx context.Context, err error) engine.Outcome {
	if asPg(err) != nil && !endsConnection(err) && !s.pg.IsClosed() {
		return engine.Outcome{Verdict: engine.RolledBack, Culprit: -1, Broken: true}
	}
	if pgconn.SafeToRetry(err) || s.pg.IsClosed() && ctx.Err() == nil {
		err = driver.ErrBadConn // another connection may do
	}
	return engine.Outcome{Verdict: engine.Refused, Err: err, Broken: s.pg.IsClosed()}
}
