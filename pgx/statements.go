package pgx

import (
	"context"
	"crypto/sha256"
	"database/sql/driver"
	"encoding/hex"
	"slices"

	"github.com/groupcommit/groupcommit/engine"

	"github.com/groupcommit/groupcommit/internal/lru"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// statements are the texts of one connection that the server has described or prepared, and the encoder of their arguments.
type statements struct {
	wire    *wire
	watch   *watch
	known   *lru.Cache[*pgconn.StatementDescription]
	dropped []*pgconn.StatementDescription // no longer known; the server is still to forget them
	eqb     pgx.ExtendedQueryBuilder
	args    []any // of the request that is being encoded
}

func newStatements(w *wire, over *watch) *statements {
	s := &statements{wire: w, watch: over}
	s.known = lru.New(max(1, w.pg.Config().StatementCacheCapacity), s.forget)
	return s
}

// describe returns the server's description of a text; nil if the connection's mode does not ask for one. Descriptions are
// kept up to the capacity of pgx's own cache. The text is prepared where the mode prepares, under a name of ours: pgx closes
// its own when a call fails and when a sql.Stmt of the same text is closed.
func (s *statements) describe(ctx context.Context, query string, prepared bool) (*pgconn.StatementDescription, error) {
	mode := s.wire.pg.Config().DefaultQueryExecMode
	if mode == pgx.QueryExecModeExec && !prepared { // a prepared text's arguments are encoded for the server's types, in each mode
		return nil, nil
	}
	if sd, ok := s.known.Get(query); ok {
		return sd, nil
	}
	name := ""
	if mode == pgx.QueryExecModeCacheStatement {
		digest := sha256.Sum256([]byte(query))
		name = "groupcommit_" + hex.EncodeToString(digest[:24])
	}
	if err := s.wire.rollback(ctx); err != nil { // nothing can be prepared in a transaction that failed
		return nil, err
	}
	sd, err := s.parse(ctx, name, query)
	if err != nil {
		return nil, err
	}
	s.known.Put(query, sd)
	return sd, nil
}

// parse has the server prepare a text, which takes locks. Behind a pooler this is a transaction of two statements: the first
// tells which transaction to watch.
func (s *statements) parse(ctx context.Context, name, query string) (*pgconn.StatementDescription, error) {
	target := s.wire.itself()
	s.watch.begin(target)
	defer s.watch.end(ctx)
	if target != "" || s.watch.limit <= 0 {
		return s.wire.pg.Prepare(ctx, name, query)
	}
	p := s.wire.pg.PgConn().StartPipeline(ctx)
	sendText(p, "SELECT "+thisTransaction)
	p.SendFlushRequest()
	p.SendPrepare(name, query, nil)
	err := p.Sync()
	if err == nil {
		_, err = s.watch.named(p)
	}
	var sd *pgconn.StatementDescription
	if err == nil {
		var res any
		if res, err = p.GetResults(); err == nil {
			sd, _ = res.(*pgconn.StatementDescription)
		}
	}
	if closeErr := p.Close(); err == nil {
		err = closeErr
	}
	if err == nil && sd == nil {
		err = errNoAnswer
	}
	if err != nil {
		return nil, err
	}
	sd.Name, sd.SQL = name, query
	return sd, nil
}

// forget is called for a statement that fell out of the cache. A pipeline that uses it may be in preparation or under way.
func (s *statements) forget(sd *pgconn.StatementDescription) {
	if sd.Name != "" {
		s.dropped = append(s.dropped, sd)
	}
}

// deallocate has the server forget the statements that fell out of the cache.
func (s *statements) deallocate(ctx context.Context) error {
	for len(s.dropped) > 0 {
		sd := s.dropped[0]
		if _, again := s.known.Get(sd.SQL); !again {
			if err := s.wire.pg.Deallocate(ctx, sd.Name); err != nil {
				return err
			}
		}
		s.dropped = s.dropped[1:]
	}
	return nil
}

// prepare describes the texts of the requests before their pipeline. It puts off the requests that the server refuses or
// that cannot be sent: the plain driver gives the right error. It returns the others, in the place of requests. An error is
// the connection's.
func (s *statements) prepare(ctx context.Context, requests []request) ([]request, error) {
	if err := s.deallocate(ctx); err != nil {
		return nil, err
	}
	if s.wire.pg.Config().DefaultQueryExecMode == pgx.QueryExecModeDescribeExec {
		s.known = lru.New(max(1, len(requests)), s.forget) // the mode is to ask each time
	}
	kept := requests[:0]
	for _, r := range requests {
		if !r.sendable() {
			r.call.PutOff()
			continue
		}
		if len(r.call.Args) > 0 {
			sd, err := s.describe(ctx, r.query, r.call.Prepared)
			switch {
			case err == nil:
				r.described = sd
			case asPg(err) == nil || s.wire.pg.IsClosed():
				return nil, err
			default:
				r.call.PutOff()
				continue
			}
		}
		kept = append(kept, r)
	}
	return kept, nil
}

// send calls first and puts a request into the pipeline. An error is the request's, and no part of the request was sent.
func (s *statements) send(p *pgconn.Pipeline, r request, first func()) error {
	args := s.args[:0]
	for i := range r.call.Args {
		args = append(args, r.call.Args[i].Value)
	}
	s.args = args
	defer clear(args)
	sd := r.described
	if len(args) > 0 {
		if err := s.eqb.Build(s.wire.pg.TypeMap(), sd, args); err != nil {
			return err
		}
		if err := fits(sd, &s.eqb); err != nil {
			return err
		}
	}
	if first != nil {
		first()
	}
	switch {
	case len(args) == 0:
		sendText(p, r.query)
	case sd == nil: // QueryExecModeExec
		p.SendQueryParams(r.query, s.eqb.ParamValues, nil, s.eqb.ParamFormats, s.eqb.ResultFormats)
	case sd.Name == "":
		p.SendQueryParams(r.query, s.eqb.ParamValues, sd.ParamOIDs, s.eqb.ParamFormats, s.eqb.ResultFormats)
	default:
		p.SendQueryStatement(sd, s.eqb.ParamValues, s.eqb.ParamFormats, s.eqb.ResultFormats)
	}
	return nil
}

// try sends a request. A request that cannot be sent is put off: the description of its text may be out of date, and the
// plain driver gives the right error. A request whose argument panics is answered.
func (s *statements) try(p *pgconn.Pipeline, r request, first func()) (sent bool) {
	returned := r.call.Try(func(*engine.Call) (driver.Result, error) { return nil, s.send(p, r, first) })
	if returned && r.call.Err() != nil {
		s.drop(r.query)
		r.call.PutOff()
	}
	return returned && r.call.Err() == nil
}

// invalidate drops a text whose statement failed, unless the error is a constraint's, of other sessions or of the program's
// making. The schema may have changed since the text was prepared, and a value was sent as a type that is no longer right.
// It reports whether that may be the reason.
func (s *statements) invalidate(query string, err error) bool {
	pg := asPg(err)
	if pg == nil || len(pg.Code) < 2 || slices.Contains([]string{"23", "40", "55", "57", "P0"}, pg.Code[:2]) {
		return false
	}
	s.drop(query)
	return true
}

func (s *statements) drop(query string) {
	if sd, ok := s.known.Take(query); ok {
		s.forget(sd)
	}
}
