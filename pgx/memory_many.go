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
	cost   time.Duration        // of a row, moving average; 0: not known
	single time.Time            // until when the text has single rows
	pause  time.Duration        // how long that was
}

const (
	// manyGuard is about what the guard of a table costs: the server reads half a dozen rows of its catalogs.
	manyGuard = 100 * time.Microsecond

	// manyRisk bounds the failures to be expected in a group. One costs up to as much as the group has saved, and a round trip.
	manyRisk = 0.25

	// manyForget is how many groups see a cost of many rows that does not pay halve: it may be another by now.
	manyForget = 1.0 / 64

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

// manyPay reports that a group is better off with statements of many rows: what they save is more than the round trip which they cost.
func (m *memory) manyPay(requests []request, least int) bool {
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
		if requests[i].insert != nil && n >= least {
			any = true
			e := m.of(requests[i].query)
			rows := n / least * least
			risk += e.failing * float64(rows)
			saved += e.saves(rows)
		}
		i += n
	}
	return any && (m.always || m.trip > 0 && risk <= manyRisk && saved > m.trip+manyGuard)
}

// saves is what so many rows save. Until it is known, they are taken to cost the half.
func (e *experience) saves(rows int) time.Duration {
	each := e.cost / 2
	if e.many.cost > 0 {
		each = e.cost - e.many.cost
	}
	if each <= 0 {
		e.many.cost -= time.Duration(float64(e.many.cost) * manyForget)
	}
	return each * time.Duration(rows)
}

// tookMany notes that a row of a statement with many took so long, and reports whether the text is apart.
func (m *memory) tookMany(query string, each time.Duration, now time.Time) (apart bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.of(query)
	if c := &e.many.cost; *c == 0 {
		*c = max(each, 1)
	} else {
		*c += (min(each, 2**c) - *c) / 8
	}
	if each > e.cost {
		m.note(e, each, now)
	}
	return m.judge(e).apart
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
