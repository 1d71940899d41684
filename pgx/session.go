package pgx

import (
	"context"
	"database/sql/driver"
	"errors"
	"slices"
	"time"

	"github.com/groupcommit/groupcommit/engine"

	"github.com/groupcommit/groupcommit/internal/lru"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// session runs groups on one connection of the driver.
type session struct {
	conn     driver.Conn // what the plain driver's calls go through
	pg       *pgx.Conn   // the same or inside it
	settings engine.Settings
	memory   *memory
	adapter  *adapter
	simple   bool // by the simple protocol: nothing can be pipelined

	server *server // what is known of the server; nil before the first group
	known  *lru.Cache[*pgconn.StatementDescription]
	eqb    pgx.ExtendedQueryBuilder
	args   []any // of the request that is being encoded
	failed bool  // the last transaction failed and is still to be rolled back
	ended  bool  // the connection is of no more use

	stuck *engine.Call // what the server was at when the group was lost
	watch watch        // over the waiting for answers

	dropped []*pgconn.StatementDescription // no longer known; the server is still to forget them
}

func newSession(conn driver.Conn, pg *pgx.Conn, s engine.Settings, e *adapter) *session {
	config := pg.Config()
	ses := &session{conn: conn, pg: pg, settings: s, memory: e.memory, adapter: e}
	ses.simple = config.DefaultQueryExecMode == pgx.QueryExecModeSimpleProtocol
	ses.known = lru.New(max(1, config.StatementCacheCapacity), ses.forget)
	ses.watch.session, ses.watch.limit = ses, s.LockTimeout
	return ses
}

func (s *session) Traits() engine.Traits { return s.adapter.traits }

func (s *session) Idle() bool {
	return !s.pg.IsClosed() && s.pg.PgConn().TxStatus() == 'I'
}

// IsValid makes a session a driver.Validator.
func (s *session) IsValid() bool { return !s.pg.IsClosed() }

func (s *session) Close() {} // the statements end with the connection

func (s *session) Alone(c *engine.Call) (driver.Result, error) {
	if c.ID() != "" {
		return s.once(c)
	}
	return engine.ExecOn(c.Context(), s.conn, c)
}

// Group commits what it can in one transaction, what has a way of its own by that, and puts off what must not keep the
// others waiting.
func (s *session) Group(ctx context.Context, calls []*engine.Call) engine.Outcome {
	if s.server == nil {
		if err := s.learnServer(ctx); err != nil {
			return s.refused(ctx, err)
		}
	}
	defer s.watch.close()
	apiece, err := s.apiece(ctx)
	if err != nil {
		return s.refused(ctx, err)
	}
	together, single := s.sort(calls, apiece)
	s.stuck = nil
	out := s.share(ctx, together, &single)
	if out.Verdict != engine.Committed {
		out.Culprit = slices.Index(calls, s.stuck)
		putOff(single) // not begun
		return out
	}
	if s.simple || !s.server.flushes {
		putOff(single)
	} else {
		if err := s.each(ctx, single); err != nil {
			if !slices.ContainsFunc(calls, func(c *engine.Call) bool { return c.Err() == nil }) {
				return s.refused(ctx, err) // nothing of the group was executed
			}
			putOff(single)
		}
	}
	s.rollback(ctx)
	out.Broken = s.ended || !s.Idle()
	return out
}

// A request is a call in a pipeline.
type request struct {
	call   *engine.Call
	query  string // the call's: the memory is told after it has been answered
	sample bool   // its time is to be taken
	rows   int64  // that it has affected
	known  *pgconn.StatementDescription
}

// sort says which way each call goes; apiece, that none may share a transaction.
func (s *session) sort(calls []*engine.Call, apiece bool) (together, single []request) {
	now := time.Now()
	together = make([]request, 0, len(calls))
	for _, c := range calls {
		way, sample := s.memory.road(c.Query, now)
		r := request{call: c, query: c.Query, sample: sample}
		switch {
		case way == apart, c.ID() != "" && (way == own || apiece || s.simple):
			c.PutOff()
		case way == own || apiece:
			single = append(single, r)
		default:
			together = append(together, r)
		}
	}
	return together, single
}

// mayFail is how many culprits are taken out of a transaction before the others go each by its own.
const mayFail = 1

// share commits the requests in one transaction, without those that fail. What is too many is added to single.
func (s *session) share(ctx context.Context, together []request, single *[]request) engine.Outcome {
	var out engine.Outcome
	for failed := 0; len(together) > 0; failed++ {
		if failed > mayFail {
			*single = append(withoutIDs(together), *single...)
			return engine.Outcome{}
		}
		transaction := s.transaction
		switch {
		case s.simple:
			transaction = s.oneByOne
		case s.hasID(together):
			transaction = s.ledgered
		}
		var culprit int
		out, together, culprit = transaction(ctx, together)
		s.teach(together, culprit)
		if out.Verdict != engine.RolledBack || out.Broken {
			return out
		}
		if culprit < 0 && s.hasID(together) { // perhaps a statement of the ledger's
			together, out = withoutIDs(together), engine.Outcome{}
			continue
		}
		if culprit < 0 { // COMMIT itself failed
			*single = append(together, *single...)
			return engine.Outcome{}
		}
		together[culprit].call.PutOff()
		together = append(together[:culprit:culprit], together[culprit+1:]...)
	}
	return out
}

// teach tells the memory what has been executed: everything up to the culprit, or everything if there is none.
func (s *session) teach(requests []request, culprit int) {
	ran := requests
	if culprit >= 0 {
		ran = requests[:culprit]
		s.memory.ran(requests[culprit].query, 1, 1)
	}
	for len(ran) > 0 {
		n := 1
		for n < len(ran) && ran[n].query == ran[0].query {
			n++
		}
		s.memory.ran(ran[0].query, n, 0)
		ran = ran[n:]
	}
}

// refused is the outcome of a group of which nothing was committed, because of its connection.
func (s *session) refused(ctx context.Context, err error) engine.Outcome {
	if pgconn.SafeToRetry(err) || s.pg.IsClosed() && ctx.Err() == nil {
		err = driver.ErrBadConn // another connection may do
	}
	return engine.Outcome{Verdict: engine.Refused, Err: err, Broken: s.pg.IsClosed()}
}

// asPg returns the server's own error in err.
func asPg(err error) *pgconn.PgError {
	var pg *pgconn.PgError
	errors.As(err, &pg)
	return pg
}
