//go:build cgo

package sqlite3

import (
	"sync"
	"sync/atomic"

	"github.com/groupcommit/groupcommit/internal/lru"
)

// guards remembers the texts whose failure had to be undone by a savepoint or a rollback. In a group such a text runs
// between SAVEPOINT and RELEASE, which costs about as much as a small INSERT. To roll the group back for it would cost as
// much as half the group. A text that has not failed for a while is forgotten.
//
// All connections share one guards: a text that fails on one fails on the next.
type guards struct {
	count atomic.Int32 // of texts
	mu    sync.Mutex
	texts *lru.Cache[*int] // how many executions more, by text
}

const (
	guardedTexts = 256
	guardedSize  = 4 << 10 // of a text; a longer one is hardly used again
	guardFades   = 512     // executions
)

var guarded = guards{texts: lru.New[*int](guardedTexts, nil)}

func (g *guards) has(query string) bool {
	if g.count.Load() == 0 {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	_, ok := g.texts.Get(query)
	return ok
}

func (g *guards) failed(query string) {
	if len(query) > guardedSize {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	left := guardFades
	g.texts.Put(query, &left)
	g.count.Store(int32(g.texts.Len()))
}

func (g *guards) passed(query string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	left, ok := g.texts.Get(query)
	if !ok {
		return
	}
	if *left--; *left == 0 {
		g.texts.Take(query)
		g.count.Store(int32(g.texts.Len()))
	}
}
