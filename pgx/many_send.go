package pgx

import (
	"database/sql/driver"
	"slices"

	"github.com/groupcommit/groupcommit/engine"
	"github.com/jackc/pgx/v5"
)

// A unit is a statement in the pipeline: so many requests.
type unit struct {
	rows    int
	many    *manyText // nil: one request
	flushed bool      // its answer is on its way before the next one is there
}

// sendMany sends the requests, and the guards of their tables. The session keeps the statements as units, and the texts that have some
// with many rows. It leaves in sent the requests that were sent. It returns false as sendAll does.
func (a *answers) sendMany(ready []request) bool {
	a.sent = ready[:0]
	a.many.units, a.many.guarded = a.many.units[:0], a.many.guarded[:0]
	a.makeRoom(a.pg.PgConn().Frontend(), ready)
	for i := 0; i < len(ready); {
		n := 1
		for n < len(ready)-i && ready[i].insert != nil && ready[i+n].insert == ready[i].insert {
			n++
		}
		m, _ := a.many.texts.Get(ready[i].query)
		if m == nil || m.single != ready[i].described || n < a.database.widths.least() {
			for j := range n {
				switch r := &ready[i+j]; {
				case a.try(a.p, r, nil):
					a.sent = append(a.sent, *r)
					a.many.units = append(a.many.units, unit{rows: 1})
				case r.call.ID() != "":
					return a.stopAt(ready[i+j:])
				}
			}
		} else {
			if unsent := a.sendRows(m, ready[i:i+n]); unsent >= 0 {
				return a.stopAt(ready[i+unsent:])
			}
			if !slices.Contains(a.many.guarded, m) {
				a.many.guarded = append(a.many.guarded, m)
			}
		}
		i += n
	}
	for _, m := range a.many.guarded {
		a.p.SendQueryPrepared(a.name(guardKey), [][]byte{[]byte(m.insert.Table)}, nil, nil)
	}
	return true
}

// stopAt leaves the rest of the requests in sent. The first of them has been claimed, and cannot be sent.
func (a *answers) stopAt(rest []request) bool {
	a.failed = len(a.sent)
	a.sent = append(a.sent, rest...)
	return false
}

// sendRows sends requests of one text. A request that cannot be sent, or whose argument panics, has no row. If it has been claimed,
// nothing more is sent, and unsent is its index.
func (a *answers) sendRows(m *manyText, run []request) (unsent int) {
	rows := &a.many.rows
	widest := m.wide[0].rows
	for i := range run {
		r := &run[i]
		add := func(*engine.Call) (driver.Result, error) {
			err := a.encode(r)
			if err == nil {
				rows.add(&a.eqb)
			}
			return nil, err
		}
		switch {
		case a.attempted(r, r.try(r.hasGuests(), add)):
			a.sent = append(a.sent, *r)
		case r.call.ID() != "":
			rows.clear()
			return i
		}
		if rows.n == widest || len(rows.bytes) >= maxManyBytes {
			a.sendEncoded(m)
		}
	}
	a.sendEncoded(m)
	return -1
}

// sendEncoded sends the rows that are encoded.
//
// The answers to the first statement, and then to ever fewer, are on their way at once: see sendAll.
func (a *answers) sendEncoded(m *manyText) {
	rows, units := &a.many.rows, a.many.units
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
	a.many.units = units
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
