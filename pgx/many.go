package pgx

import (
	"context"
	"database/sql/driver"
	"slices"
	"time"

	"github.com/groupcommit/groupcommit/engine"

	"github.com/groupcommit/groupcommit/internal/lru"
	"github.com/groupcommit/groupcommit/internal/sqltext"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// widths are how many rows a statement of many rows may have, in falling order. What is left over are single rows.
type widths []int

// usualWidths: the server's cost of a row falls to less than the half with 10 rows a statement, and hardly falls beyond 50.
var usualWidths = widths{50, 10}

// least is the fewest rows that make a statement of many rows.
func (w widths) least() int { return w[len(w)-1] }

// of are the widths of an insert, whose statements may have so many parameters only.
func (w widths) of(insert *sqltext.PlainInsert) widths {
	for len(w) > 0 && w[0]*insert.Params > maxParams {
		w = w[1:]
	}
	return w
}

// maxManyBytes bounds the arguments of one statement with many rows. Of larger rows the statement is the smaller part.
const maxManyBytes = 256 << 10

// manyState is what a session needs to send statements of many rows.
type manyState struct {
	texts *lru.Cache[*manyText]
	rows  encodedRows
	at    *manyText // the answer that is read is to a statement with many rows of this text; nil: to another statement
}

// hasMany reports that statements of many rows may be sent on the connection. They are prepared, and so the connection must be the
// server's own. A smaller cache would forget them from group to group.
func (s *session) hasMany() bool {
	const enough = 8 // texts in the cache
	return s.settings.ManyRows && !s.simple && s.mode == pgx.QueryExecModeCacheStatement && s.capacity >= enough &&
		s.server.version >= manyFrom && s.server.version < manyUntil && s.direct()
}

// manyRows is transaction for requests of which many have the text of one plain INSERT. It is sent in two pieces:
//
//	[close…] [ROLLBACK] BEGIN SET CONSTRAINTS head Flush (rows | request)... guard... Sync
//	COMMIT Sync
//
// A statement with rows stands for as many requests that follow each other. The others of a text are sent one by one.
//
// A statement with many rows has one answer. It stands for success only: each row is there, and the guard says that the table is one on
// which nothing else can have come of it. Before that is known COMMIT must not be sent. That is one more round trip; so it is done only for
// groups that save more than that (see [memory.manyPay]). In any other case the transaction is rolled back, which is certain, and the
// requests are sent again by transaction. It finds the culprit, and gives it its own error.
//
// Calls with ids are sent one by one.
func (s *session) manyRows(ctx context.Context, requests []request) (out engine.Outcome, sent []request, culprit int) {
	ready, _, err := s.prepare(ctx, &s.watch, requests, "")
	many := false
	if err == nil {
		many, err = s.prepareMissing(ctx, ready)
	}
	if err == nil {
		err = s.probe(ctx, s.watch.silent())
	}
	switch {
	case err != nil:
		return s.refused(ctx, err), nil, -1
	case !many:
		return s.transaction(ctx, ready)
	}
	a := s.begin(ctx)
	a.held, s.many.at = true, nil
	failed := a.finish(a.executeMany(ready))
	out, sent, culprit = a.end(ctx, failed)
	switch {
	case failed == nil || a.committing:
		if failed == nil {
			s.memory.manies.Add(1)
		}
		return out, sent, culprit
	case !a.synced || s.ended: // it is certain that nothing was committed
		s.memory.manyFailed(sent, time.Now())
		if s.many.at == nil && a.answered < len(sent) { // as in transaction: that request may have ended the connection
			return out, sent, culprit
		}
		s.stuck = nil
		return engine.Outcome{Verdict: engine.Refused, Err: driver.ErrBadConn, Broken: true}, sent, -1
	}
	struck := s.watch.struck()
	s.waits, s.stuck = false, nil
	for _, r := range sent {
		if r.insert != nil && (failed == errNotAlike || !deterministic(failed)) {
			s.many.texts.Take(r.query) // its table may be another one by now
			s.memory.manyPrinted(r.query, "")
		}
	}
	if struck { // and so the requests will wait, too
		s.memory.manyFailed(sent, time.Now())
	}
	queries := insertsOf(sent)
	out, sent, culprit = s.transaction(ctx, sent)
	if !struck && (culprit < 0 || !deterministic(failed)) { // it was not one of the requests
		s.memory.manyFailed(queries, time.Now())
	}
	return out, sent, culprit
}

// insertsOf returns a request of each run with an insert. The requests themselves change.
func insertsOf(requests []request) (some []request) {
	for i, r := range requests {
		if r.insert != nil && (i == 0 || requests[i-1].insert != r.insert) {
			some = append(some, request{query: r.query, insert: r.insert})
		}
	}
	return some
}

// prepareMissing prepares what the requests need. many says that there are statements of many rows. An error is the connection's.
func (s *session) prepareMissing(ctx context.Context, ready []request) (many bool, err error) {
	for _, r := range insertsOf(ready) {
		i := slices.IndexFunc(ready, func(o request) bool { return o.insert == r.insert })
		r = ready[i]
		if s.hasManyText(&r) {
			many = true
			continue
		}
		err := s.prepareMany(ctx, &r)
		switch {
		case err == nil:
			many = true
		case err != errSingleRows && endsConnection(err):
			return false, err
		default: // the text may have to be prepared again
			s.memory.manyFailed(ready[i:i+1], time.Now())
			return false, nil
		}
	}
	return many, nil
}

// hasManyText reports that the connection has all statements of a request's text.
func (s *session) hasManyText(r *request) bool {
	m, ok := s.many.texts.Get(r.query)
	if !ok || m.single != r.described {
		return false
	}
	_, ok = s.known.Get(guardKey)
	for _, sd := range m.wide {
		_, has := s.known.Get(sd.SQL)
		ok = ok && has
	}
	return ok
}

// A unit is a statement in the pipeline: so many requests.
type unit struct {
	rows    int
	many    *manyText // nil: one request
	flushed bool      // its answer is on its way before the next one is there
}

// executeMany has the requests executed, and reads their answers.
func (a *answers) executeMany(ready []request) (sent time.Time, err error) {
	units, texts := a.sendMany(ready)
	for _, m := range texts {
		a.p.SendQueryPrepared(a.name(guardKey), [][]byte{[]byte(m.insert.Table)}, nil, nil)
	}
	sent = time.Now()
	if lost := a.p.Sync(); lost != nil {
		return sent, lost
	}
	if err = a.readHead(); err == nil {
		err = a.readUnits(units)
	}
	for _, m := range texts {
		if err != nil {
			break
		}
		var row [][]byte
		if _, row, err = a.next(true); err == nil && (len(row) != 1 || string(row[0]) != m.print) {
			err = errNotAlike
		}
	}
	return sent, a.settle(err)
}

// sendMany sends the requests, and returns the statements, and the texts that have some with many rows.
func (a *answers) sendMany(ready []request) (units []unit, texts []*manyText) {
	a.sent = ready[:0]
	for i := 0; i < len(ready); {
		n := 1
		for n < len(ready)-i && ready[i].insert != nil && ready[i+n].insert == ready[i].insert {
			n++
		}
		m, _ := a.many.texts.Get(ready[i].query)
		if m == nil || m.single != ready[i].described || n < a.database.widths.least() {
			for j := range n {
				if a.try(a.p, &ready[i+j], nil) {
					a.sent = append(a.sent, ready[i+j])
					units = append(units, unit{rows: 1})
				}
			}
		} else {
			units = a.sendRows(units, m, ready[i:i+n])
			if !slices.Contains(texts, m) {
				texts = append(texts, m)
			}
		}
		i += n
	}
	return units, texts
}

// sendRows sends requests of one text. A request that cannot be sent, or whose argument panics, has no row.
func (a *answers) sendRows(units []unit, m *manyText, run []request) []unit {
	rows := &a.many.rows
	widest := m.wide[0].rows
	for i := range run {
		r := &run[i]
		if a.attempt(r, func() error {
			if err := a.encode(r); err != nil {
				return err
			}
			rows.add(&a.eqb)
			return nil
		}) {
			a.sent = append(a.sent, *r)
		}
		if rows.n == widest || len(rows.bytes) >= maxManyBytes {
			units = a.sendEncoded(units, m)
		}
	}
	return a.sendEncoded(units, m)
}

// sendEncoded sends the rows that are encoded.
//
// The answers to the first statement, and then to ever fewer, are on their way at once: see sendAll.
func (a *answers) sendEncoded(units []unit, m *manyText) []unit {
	rows := &a.many.rows
	defer rows.clear()
	from := 0
	for _, wide := range m.wide {
		for ; rows.n-from >= wide.rows; from += wide.rows {
			a.p.SendQueryPrepared(wide.Name, rows.values[from*m.insert.Params:][:wide.rows*m.insert.Params], rows.formats[from*m.insert.Params:][:wide.rows*m.insert.Params], nil)
			units = append(units, unit{rows: wide.rows, many: m})
			if n := len(units); n&(n-1) == 0 && n != 2 && n != 8 { // 1, 4, 16
				units[n-1].flushed = true
				a.p.SendFlushRequest()
			}
		}
	}
	for ; from < rows.n; from++ {
		a.p.SendQueryPrepared(m.single.Name, rows.values[from*m.insert.Params:][:m.insert.Params], rows.formats[from*m.insert.Params:][:m.insert.Params], nil)
		units = append(units, unit{rows: 1})
	}
	return units
}

// readUnits reads the answers to statements, and answers the requests. Their turn has come.
func (a *answers) readUnits(units []unit) error {
	a.executing, a.began = true, time.Now()
	a.watch.hear(a.began)
	last, heard := a.began, 0
	for i, u := range units {
		at := a.answered
		a.many.at = u.many
		var n int64
		var err error
		if u.many == nil {
			n, err = a.answer(a.sent[at])
			a.sent[at].rows = n
		} else if n, _, err = a.next(false); err == nil && n != int64(u.rows) {
			return errNotAlike
		}
		if err != nil {
			if err == errTooMany || !endsConnection(err) {
				a.failed = at
			}
			return err
		}
		if u.many != nil {
			for j := range u.rows {
				a.sent[at+j].rows = 1
				a.sent[at+j].call.Answer(result(1), nil)
			}
		}
		a.answered += u.rows
		if u.flushed || i == len(units)-1 {
			last = a.heardUnits(units[heard:i+1], last)
			heard = i + 1
		}
	}
	a.members = last.Sub(a.began)
	a.watch.executed()
	return nil
}

// heardUnits notes how long units took that have come since the last time, if they have many rows and one text. If the text has
// become too slow, it has the server stop.
func (a *answers) heardUnits(units []unit, last time.Time) (now time.Time) {
	now = time.Now()
	a.watch.hear(now)
	m, rows := units[0].many, 0
	for _, u := range units {
		if u.many != m || m == nil {
			return now
		}
		rows += u.rows
	}
	each := now.Sub(last) / time.Duration(rows)
	if a.memory.took(a.sent[a.answered-1].query, each, now) && !a.stopped {
		a.stopped = a.watch.stop(now, each*time.Duration(len(a.sent)-a.answered))
	}
	return now
}

// encodedRows are the arguments of rows that are still to be sent.
type encodedRows struct {
	n       int
	values  [][]byte
	formats []int16
	bytes   []byte // of the values
}

// add adds a row. What the builder has of it lasts until the next one is built.
func (e *encodedRows) add(eqb *pgx.ExtendedQueryBuilder) {
	e.n++
	for _, v := range eqb.ParamValues {
		if v != nil {
			from := len(e.bytes)
			e.bytes = append(e.bytes, v...)
			v = e.bytes[from:len(e.bytes):len(e.bytes)]
		}
		e.values = append(e.values, v)
	}
	e.formats = append(e.formats, eqb.ParamFormats...)
}

func (e *encodedRows) clear() {
	clear(e.values)
	e.n, e.values, e.formats, e.bytes = 0, e.values[:0], e.formats[:0], e.bytes[:0]
	if cap(e.bytes) > 2*maxManyBytes {
		e.bytes = nil
	}
}

// A wideStatement is a statement with many rows.
type wideStatement struct {
	*pgconn.StatementDescription
	rows int
}
