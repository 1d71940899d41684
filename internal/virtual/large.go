package virtual

import (
	"sync"
	"sync/atomic"
)

// Large remembers the texts of queries that have had more rows than a group keeps, or might have had them where a group cannot be rolled
// back. A group was rolled back for each, or had to do without it, so the next ones with the text join none. A text is forgotten after a while: the same UPDATE may give a thousand rows once and one row ever after.
type Large struct {
	count atomic.Int32 // of texts
	mu    sync.Mutex
	left  map[string]int // queries that a text keeps out of groups
}

const (
	largeTexts = 256
	largeSize  = 4 << 10 // of a text; a longer one is hardly used again
	largeFades = 512     // queries
)

// Note remembers a text.
func (l *Large) Note(query string) {
	if len(query) > largeSize {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.left == nil || len(l.left) >= largeTexts {
		l.left = make(map[string]int)
	}
	l.left[query] = largeFades
	l.count.Store(int32(len(l.left)))
}

// Has reports that a text is one of those.
func (l *Large) Has(query string) bool {
	if l.count.Load() == 0 {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.left[query]
	return ok
}

// fade counts a query that its text has kept out of a group.
func (l *Large) fade(query string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if left := l.left[query]; left > 1 {
		l.left[query] = left - 1
		return
	}
	delete(l.left, query)
	l.count.Store(int32(len(l.left)))
}
