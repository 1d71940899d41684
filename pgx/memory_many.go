package pgx

import (
	"time"

	"github.com/groupcommit/groupcommit/internal/sqltext"
)

// manyExperience is what is known of a text's statements with many rows. memory guards it.
//
//	single rows ── the group saves more than a round trip, and hardly any row fails ──→ many rows
//	many rows   ── a failure that is no row's own ──→ single rows, for a while
type manyExperience struct {
	read   bool                 // insert is known
	insert *sqltext.PlainInsert // nil: the text is none
	single time.Time            // until when the text has single rows
	pause  time.Duration        // how long that was
	print  string               // of the table, when it was found to be one that may have many; "" if none was
}

const (
	// manySaves is about what a row's own statement costs the server, be the row large or small, with or without indexes. The gaps
	// between the answers of a group do not tell it: answers come bundled, so that a gap is a tenth of that or ten times as much.
	manySaves = 3 * time.Microsecond

	// manyGuard is about what the guard of a table costs: the server reads a dozen rows of its catalogs.
	manyGuard = 200 * time.Microsecond

	// manyRisk bounds the failures to be expected in a group. One costs up to as much as the group has saved, and a round trip.
	manyRisk = 0.25

	singleFirst = time.Second
	singleMost  = time.Minute
)

// insertOf is a text's insert, if it may have many rows now. always: it is asked for each time.
func (e *experience) insertOf(query string, now time.Time, always bool) *sqltext.PlainInsert {
	if e.cost == 0 && !always { // it may not come again
		return nil
	}
	if !e.many.read {
		e.many.read, e.many.insert = true, sqltext.PlainInsertOf(query)
	}
	if now.Before(e.many.single) && !always {
		return nil
	}
	return e.many.insert
}

// manyPay reports that a group is better off with statements of many rows: what they save is more than the round trip which they cost. It
// leaves an insert only to those requests that may be in one. With held, COMMIT waits for the answers anyway.
func (m *memory) manyPay(requests []request, least int, held bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	var saved time.Duration
	var risk float64
	any := false
	for i := 0; i < len(requests); {
		n := 1
		for n < len(requests)-i && requests[i].insert != nil && requests[i+n].insert == requests[i].insert {
			n++
		}
		if n < least {
			for j := range n {
				requests[i+j].insert = nil
			}
		} else if requests[i].insert != nil {
			any = true
			rows := n / least * least
			risk += m.of(requests[i].query).failing * float64(rows)
			saved += time.Duration(rows) * manySaves
		}
		i += n
	}
	cost := manyGuard
	if !held {
		cost += m.trip
	}
	return any && (m.always || (held || m.trip > 0) && risk <= manyRisk && saved > cost)
}

// tripped notes how long a group's first answer took, which is a round trip and the server's work for some short statements.
func (m *memory) tripped(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.trip == 0 || d < m.trip {
		m.trip = d
	}
	m.trip += (min(d, 2*m.trip) - m.trip) / 32 // slowly: a large group's first answer waits until the group has been written
}

// manyFailed leaves the texts of the requests to single rows for a while, the longer the oftener.
func (m *memory) manyFailed(requests []request, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, r := range requests {
		if r.insert == nil || i > 0 && requests[i-1].insert == r.insert {
			continue
		}
		x := &m.of(r.query).many
		if now.Before(x.single) {
			continue
		}
		if now.Sub(x.single) > 2*x.pause {
			x.pause = singleFirst / 2
		}
		x.pause = min(2*x.pause, singleMost)
		x.single = now.Add(x.pause)
	}
}

// manyPrint is the print of the table for which a text may have many rows, as some connection has found out; "" if none has.
func (m *memory) manyPrint(query string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.of(query).many.print
}

// manyPrinted notes it.
func (m *memory) manyPrinted(query, print string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.of(query).many.print = print
}
