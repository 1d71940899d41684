package pgx

import (
	"sync"
	"time"

	"github.com/groupcommit/groupcommit/internal/lru"
)

// memory remembers, for all sessions of a database, which statement texts keep failing, and which take far longer than the
// others. Both fade, so that a text that has got better is found out.
type memory struct {
	mu    sync.Mutex
	texts *lru.Cache[*experience]
	usual time.Duration // what one call takes, moving average of the samples that are not slow
}

type experience struct {
	failing float64   // the part of its calls that fail, moving average
	calls   int       // that asked for their road
	slow    int       // samples in a row that were slow
	slowAt  time.Time // when the last of them was taken
}

const (
	maxExperiences = 1024

	// failingOften is the part of failing calls from which the autocommit pipeline is the cheaper way for a text: a
	// transaction of many calls would hardly ever come through.
	failingOften = 0.08
	failingFade  = 1.0 / 256 // what one call weighs

	sampleFirst = 3  // calls of a new text that are timed
	sampleEvery = 64 // and later on one in so many, and all from the first slow one on
	slowTimes   = 20 // a sample is slow if it is so many times the usual
	slowLeast   = 5 * time.Millisecond
	slowInARow  = 3                // a text is slow after so many: one may be the machine's fault
	slowFor     = 30 * time.Second // how long a slow text runs by itself before it is tried again
)

func newMemory() *memory { return &memory{texts: lru.New[*experience](maxExperiences, nil)} }

func (m *memory) of(query string) *experience {
	e, ok := m.texts.Get(query)
	if !ok {
		e = new(experience)
		m.texts.Put(query, e)
	}
	return e
}

// road chooses the road of a text's next call, and says whether its time should be taken.
func (m *memory) road(query string, now time.Time) (r road, sample bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.of(query)
	sample = e.calls < sampleFirst || e.slow > 0 || e.calls%sampleEvery == 0
	e.calls++
	switch {
	case e.slow >= slowInARow && now.Sub(e.slowAt) < slowFor:
		return roadAlone, false
	case e.failing > failingOften:
		return roadPipeline, sample
	}
	return roadGroup, sample
}

type road uint8

const (
	roadGroup    road = iota // in the group's transaction
	roadPipeline             // in a transaction of its own, by the autocommit pipeline
	roadAlone                // put off, and run by its caller
)

// ran notes so many calls of a text, of which so many failed.
func (m *memory) ran(query string, calls, failed int) {
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

// took notes how long one call of a text took.
func (m *memory) took(query string, d time.Duration, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.of(query)
	switch {
	case m.usual == 0:
		m.usual = d
	case d > slowLeast && d > slowTimes*m.usual:
		e.slow++
		e.slowAt = now
	default:
		e.slow = 0
		m.usual += (d - m.usual) / 16
	}
}
