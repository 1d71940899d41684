package durable

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// NewMemory returns an empty Store in this process's memory, for tests and for programs that need no durability. It forgets
// no promise until it is garbage. A search looks at every promise.
func NewMemory() Store {
	return &store{&memory{promises: map[string]Promise{}}, time.Now}
}

type memory struct {
	mu       sync.Mutex
	promises map[string]Promise // guarded by mu; no caller has these values
}

func (m *memory) read(ctx context.Context, id string) (*Promise, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p, ok := m.promises[id]; ok {
		p = p.clone()
		return &p, ctx.Err()
	}
	return nil, ctx.Err()
}

func (m *memory) insert(ctx context.Context, p Promise) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.promises[p.ID]; ok || ctx.Err() != nil {
		return false, ctx.Err()
	}
	m.promises[p.ID] = p.clone()
	return true, nil
}

func (m *memory) settle(ctx context.Context, p Promise) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	old, ok := m.promises[p.ID]
	if !ok || old.State != Pending || !old.Created.Equal(p.Created) || ctx.Err() != nil {
		return false, ctx.Err()
	}
	m.promises[p.ID] = p.clone()
	return true, nil
}

func (m *memory) find(ctx context.Context, q Query, n int, now time.Time) (found []Promise, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(m.promises)) {
		if len(found) == n {
			break
		}
		if p := m.promises[id]; id > q.Cursor && q.fits(p.at(now)) {
			found = append(found, p.clone())
		}
	}
	return found, ctx.Err()
}

func (q Query) fits(p Promise) bool {
	for key, value := range q.Tags {
		if v, ok := p.Tags[key]; !ok || v != value {
			return false
		}
	}
	return (q.ID == "" || like(p.ID, q.ID)) && (len(q.States) == 0 || slices.Contains(q.States, p.State))
}

// like reports that the text fits the pattern, whose stars stand for any text.
func like(text, pattern string) bool {
	parts := strings.Split(pattern, "*")
	last := len(parts) - 1
	if last == 0 {
		return text == pattern
	}
	rest, ok := strings.CutPrefix(text, parts[0])
	for _, part := range parts[1:last] {
		if ok {
			_, rest, ok = strings.Cut(rest, part)
		}
	}
	return ok && strings.HasSuffix(rest, parts[last])
}
