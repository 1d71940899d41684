package pgx

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/lru"
	"github.com/groupcommit/groupcommit/internal/sqltext"
)

// memory remembers, for all sessions of a database, what its statement texts cost their groups, which of them keep failing,
// and which wait for locks. All of it fades or is tried again, so that a text that has changed is found out.
//
// A group of n calls takes once + n·cost: once is what it pays however many calls it has, and cost is the text's. A call by
// itself takes once + cost. So a group saves its calls once, each, and a call costs its neighbours cost, each. A text that
// costs more than once is better off by itself: its calls are apart, and do not come into a queue (see [experience]).
//
// A cost is the gap between two answers of one pipeline, and never the time of a call that ran alone or of a whole group: on
// a loaded server these look slow for whatever text, and a text that is apart loads the server.
//
// A text of which nothing is known is taken for one like the last texts that were new. So where every text is new, by a
// comment in it say, the new ones are learned together.
type memory struct {
	aparts atomic.Int64 // texts that are apart, and fresh, for a look without the lock

	mu       sync.Mutex
	texts    *lru.Cache[*experience]
	fresh    experience    // of the texts of which nothing is known
	news     int           // texts that came for the first time
	round    int           // groups
	once     time.Duration // what a group pays once, moving average
	trip     time.Duration // of the first answer to a group, which is a round trip and little more
	always   bool          // many rows a statement even where they do not pay; for tests
	fixed    bool          // nothing is learned that changes a text's way; for tests
	manies   atomic.Int64  // groups that were committed with statements of many rows; for tests
	measured bool          // once is of a group, and not only of the opening of a connection
}

const (
	maxExperiences = 1024

	// failingOften is the part of failing calls from which the autocommit pipeline is the cheaper way for a text: a
	// transaction of many calls would hardly ever come through.
	failingOften = 0.08
	failingFade  = 1.0 / 256 // what one call weighs

	sampleFirst = 3  // calls of a new text that are timed
	sampleEvery = 64 // and later on one in so many. A sample costs the server a write, which is a fraction of a short call
	sampleNew   = 8  // the same of texts that come for the first time, which may be all that there are

	// leastCost: a shorter gap makes no text slow, even where a group saves less. The machine gives another process as long,
	// in the middle of a short call.
	leastCost = time.Millisecond
)

func newMemory() *memory {
	m := &memory{}
	m.texts = lru.New(maxExperiences, func(e *experience) {
		if e.apart {
			m.aparts.Add(-1)
		}
	})
	return m
}

func (m *memory) of(query string) *experience {
	e, ok := m.texts.Get(query)
	if !ok {
		e = new(experience)
		m.texts.Put(query, e)
	}
	return e
}

// judge is the experience that decides about a text.
func (m *memory) judge(e *experience) *experience {
	if e == nil || e.cost == 0 && !e.apart { // one that waits for locks may be apart without a sample
		return &m.fresh
	}
	return e
}

// way is the engine's [engine.Traits.Way].
func (m *memory) way(query string) engine.Way { return m.wayAt(query, time.Now()) }

func (m *memory) wayAt(query string, now time.Time) engine.Way {
	if m.aparts.Load() == 0 {
		return engine.InGroup
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	e, _ := m.texts.Get(query)
	switch e = m.judge(e); {
	case !e.apart:
		return engine.InGroup
	case e.mayTry(now):
		return engine.OnTrial
	}
	return engine.Apart
}

// isApart is the engine's [engine.Traits.IsApart].
func (m *memory) isApart(query string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, _ := m.texts.Get(query)
	return m.judge(e).apart
}

// leaves reports that the calls of a text which are left of a group should not stay in it.
func (m *memory) leaves(query string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, _ := m.texts.Get(query)
	if e != nil && e.waits >= mostWaits {
		return true
	}
	e = m.judge(e)
	return e.apart && e.tries == 0
}

type road uint8

const (
	roadGroup    road = iota // in the group's transaction
	roadPipeline             // in a transaction of its own, by the autocommit pipeline
	roadAlone                // put off, and run by its caller
)

// A route is what the memory says of one call of a group.
type route struct {
	road   road
	sample bool          // its time is to be taken
	known  bool          // the cost is the text's own
	most   int           // rows that it can have
	cost   time.Duration // that it is expected to have; 0 if no text is known
}

// routes makes requests of a group's calls, in the place of room, and chooses their roads.
func (m *memory) routes(room []request, calls []*engine.Call, now time.Time) []request {
	requests := slices.Grow(room[:0], len(calls))[:len(calls)]
	m.mu.Lock()
	defer m.mu.Unlock()
	m.round++
	var e *experience
	var insert *sqltext.PlainInsert
	for i, c := range calls {
		if i == 0 || c.Query != calls[i-1].Query {
			e = m.of(c.Query)
			insert = e.insertOf(c.Query, now, m.always)
		}
		requests[i] = request{call: c, query: c.Query, route: m.route(e, now)}
		requests[i].route.most = e.mostRows(c)
		if insert != nil && len(c.Args) == insert.Params {
			requests[i].insert = insert
		}
	}
	return requests
}

func (m *memory) route(e *experience, now time.Time) (r route) {
	j := m.judge(e)
	r = route{road: roadGroup, cost: j.cost, known: e.cost > 0}
	if e.calls == 0 {
		r.sample = m.news%sampleNew == 0
		m.news++
	} else {
		r.sample = e.calls < sampleFirst || e.streak > 0 || e.calls%sampleEvery == 0
	}
	e.calls++
	switch {
	case j.apart && j.tries == 0: // it was queued before that was known
		r.road = roadAlone
	case j.apart:
		j.tries--
		r.sample = true
		if j.locked {
			r.road = roadPipeline
		}
	case e.failing > failingOften, now.Before(e.piped), !e.takes(m.round):
		r.road = roadPipeline
	}
	return r
}

// took notes that a call of a text took so long after the answer before, and reports whether the text is apart.
func (m *memory) took(query string, d time.Duration, now time.Time) (apart bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.of(query)
	if e.cost == 0 { // each text has one vote
		m.note(&m.fresh, d, now)
	}
	m.note(e, d, now)
	return m.judge(e).apart
}

// tookAll notes that each of the requests took so long, if that tells something of one text, or of texts of which nothing was
// known. It reports whether that text is apart.
func (m *memory) tookAll(run []request, each time.Duration, now time.Time) (apart bool) {
	same, unknown := true, true
	for _, r := range run {
		same = same && r.query == run[0].query
		unknown = unknown && !r.route.known
	}
	switch {
	case same:
		return m.took(run[0].query, each, now)
	case unknown:
		m.mu.Lock()
		defer m.mu.Unlock()
		m.note(&m.fresh, each, now)
		return m.fresh.apart
	}
	return false
}

func (m *memory) note(e *experience, d time.Duration, now time.Time) {
	if m.fixed {
		return
	}
	m.change(e, func() { e.note(d, max(m.once, leastCost), now) })
}

// change has f change an experience, and counts those that are apart.
func (m *memory) change(e *experience, f func()) {
	before := e.apart
	f()
	switch {
	case e.apart && !before:
		m.aparts.Add(1)
	case !e.apart && before:
		m.aparts.Add(-1)
	}
}

// waited notes that a call of a text has waited for a lock, or was in a deadlock, in the autocommit pipeline or else in a
// transaction of several calls.
func (m *memory) waited(query string, pipeline bool, limit time.Duration, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.of(query)
	m.change(e, func() { e.waited(pipeline, limit, now) })
}

// window is how many of the requests, from the first on, may be in one autocommit pipeline. Of a text that has waited for a
// lock not long ago it is few at first.
func (m *memory) window(requests []request) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	var used map[*experience]int
	for i, r := range requests {
		e := m.of(r.query)
		if e.window == 0 {
			continue
		}
		if used == nil {
			used = make(map[*experience]int)
		}
		if used[e]++; used[e] > e.window {
			return i
		}
	}
	return len(requests)
}

// passed notes that the requests were in one autocommit pipeline, or in one transaction, and those that are left in it have
// not waited for a lock.
func (m *memory) passed(requests []request, pipeline bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var told map[*experience]bool
	for i, r := range requests {
		if i > 0 && r.query == requests[i-1].query {
			continue
		}
		if e := m.of(r.query); (e.lot > 0 || e.window > 0) && !told[e] {
			if told == nil {
				told = make(map[*experience]bool)
			}
			told[e] = true
			e.passed(pipeline)
		}
	}
}

// ran notes so many calls of a text, of which so many failed.
func (m *memory) ran(query string, calls, failed int) {
	if m.fixed {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.of(query)
	for i := range calls {
		outcome := 0.0
		if i < failed {
			outcome = 1
		}
		e.failing += (outcome - e.failing) * failingFade
	}
}

// teach notes the requests of a transaction that have been executed: all before the culprit, or all if there is none.
func (m *memory) teach(requests []request, culprit int) {
	ran := requests
	if culprit >= 0 {
		ran = requests[:culprit]
		m.ran(requests[culprit].query, 1, 1)
	}
	for len(ran) > 0 {
		n := 1
		for n < len(ran) && ran[n].query == ran[0].query {
			n++
		}
		m.ran(ran[0].query, n, 0)
		ran = ran[n:]
	}
}

// opened notes how long a new connection took to answer. Until a group has told, that is what one pays once: both are some
// round trips and the server's work for them.
func (m *memory) opened(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.once == 0 {
		m.once = d
	}
}

// paid notes what a group has paid once.
func (m *memory) paid(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.measured {
		m.once, m.measured = d, true
	}
	m.once += (min(d, 2*m.once) - m.once) / 8 // so that one checkpoint counts little
}

// pays is what a group pays once.
func (m *memory) pays() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.once
}
