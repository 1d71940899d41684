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

func (b *byID[V]) put(id string, v V) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.m == nil {
		b.m = make(map[string]V)
	}
	b.m[id] = v
}

// take removes what is kept of an id, and returns it.
func (b *byID[V]) take(id string) V {
	b.mu.Lock()
	defer b.mu.Unlock()
	v := b.m[id]
	delete(b.m, id)
	return v
}

// all returns a copy.
func (b *byID[V]) all() map[string]V {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.m)
}
