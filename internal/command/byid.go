package command

import (
	"maps"
	"sync"
)

// A byID keeps something of commands by their ids, for any number of goroutines. The zero value is empty.
type byID[V any] struct {
	mu sync.Mutex
	m  map[string]V
}

func (b *byID[V]) put(id string, v V) { b.update(id, func(V) V { return v }) }

// update keeps what f makes of what is kept of an id, which is the zero value if that is nothing.
func (b *byID[V]) update(id string, f func(V) V) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.m == nil {
		b.m = make(map[string]V)
	}
	b.m[id] = f(b.m[id])
}

// take removes what is kept of an id, and returns it.
func (b *byID[V]) take(id string) V { return b.takeIf(id, func(V) bool { return true }) }

// takeIf is take, if that is what it is for. Otherwise it removes nothing.
func (b *byID[V]) takeIf(id string, is func(V) bool) (v V) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if kept, ok := b.m[id]; ok && is(kept) {
		v = kept
		delete(b.m, id)
	}
	return v
}

func (b *byID[V]) len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.m)
}

// all returns a copy.
func (b *byID[V]) all() map[string]V {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.m)
}
