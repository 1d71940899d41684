package pgx

import (
	"database/sql/driver"
	"slices"

	"github.com/groupcommit/groupcommit/engine"

	"github.com/groupcommit/groupcommit/internal/lru"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// statements are the texts of one connection that the server has described or prepared, and the encoder of their arguments.
type statements struct {
	wire     *wire
	watch    *watch
	mode     pgx.QueryExecMode
	capacity int // of known
	known    *lru.Cache[*pgconn.StatementDescription]
	dropped  []string // names of those that are no longer known; a pipeline that is under way may use them
	closing  []string // of these, those that no pipeline uses any more; the next one has the server forget them
	eqb      pgx.ExtendedQueryBuilder
	args     []any // of the request that is being encoded
}

func newStatements(w *wire, over *watch, config *pgx.ConnConfig) *statements {
	s := &statements{wire: w, watch: over, mode: config.DefaultQueryExecMode, capacity: max(1, config.StatementCacheCapacity)}
	s.known = lru.New(s.capacity, s.forget)
	return s
}

// encode encodes a request's arguments.
func (s *statements) encode(r *request) error {
	args := s.args[:0]
	for i := range r.call.Args {
		args = append(args, r.call.Args[i].Value)
	}
	s.args = args
	defer clear(args)
	sd := r.described
	if len(args) == 0 && sd == nil {
		return nil
	}
	if err := s.eqb.Build(s.wire.pg.TypeMap(), sd, args); err != nil {
		return err
	}
	if r.call.WantsRows() && sd != nil {
		s.eqb.ResultFormats = formatsOf(s.eqb.ResultFormats[:0], sd)
	}
	return fits(sd, &s.eqb)
}

// send calls first and puts a request into the pipeline. An error is the request's, and no part of the request was sent.
func (s *statements) send(p *pgconn.Pipeline, r *request, first func()) error {
	if err := s.encode(r); err != nil {
		return err
	}
	if first != nil {
		first()
	}
	switch sd := r.described; {
	case len(r.call.Args) == 0 && sd == nil:
		sendText(p, r.query)
	case sd == nil: // QueryExecModeExec
		p.SendQueryParams(r.query, s.eqb.ParamValues, nil, s.eqb.ParamFormats, s.eqb.ResultFormats)
	case sd.Name == "":
		p.SendQueryParams(r.query, s.eqb.ParamValues, sd.ParamOIDs, s.eqb.ParamFormats, s.eqb.ResultFormats)
	default: // not SendQueryStatement: where the server skips one, behind an error, pgx reads the next one by its description
		p.SendQueryPrepared(sd.Name, s.eqb.ParamValues, s.eqb.ParamFormats, s.eqb.ResultFormats)
	}
	return nil
}

// try sends a request. A request that cannot be sent is put off: the description of its text may be out of date, and the
// plain driver gives the right error. A request whose argument panics is answered.
func (s *statements) try(p *pgconn.Pipeline, r *request, first func()) (sent bool) {
	if r.hasGuests() {
		return s.attempt(r, func() error { return s.send(p, r, first) })
	}
	// Without a goroutine for guests nothing of it is on the heap.
	return s.attempted(r, r.call.Try(func(*engine.Call) (driver.Result, error) { return nil, s.send(p, r, first) }))
}

// attempt is try with another way to send the request.
func (s *statements) attempt(r *request, send func() error) (sent bool) {
	return s.attempted(r, r.try(r.hasGuests(), func(*engine.Call) (driver.Result, error) { return nil, send() }))
}

// attempted is the end of an attempt, which has returned or not.
func (s *statements) attempted(r *request, returned bool) (sent bool) {
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

// same reports that the plain driver would give a request the same error.
func (s *statements) same(r request, err error) bool {
	return (len(r.call.Args) > 0 || r.call.WantsRows()) && // an Exec without arguments uses the simple protocol, where some errors differ
		!s.invalidate(r.query, err) // after the dropping of the text it may succeed
}

func (s *statements) drop(query string) {
	if sd, ok := s.known.Take(query); ok {
		s.forget(sd)
	}
}
