// Package shares lets users that come one by one, such as connections that are opened one by one, have something in common.
package shares

import (
	"sync"
	"time"
)

// Shares are values by key. A value lives as long as it has a user, and for a while after: a pool that keeps no idle
// connection opens one for each use.
type Shares[V any] struct {
	Make func(key string) (V, error)
	// Keep is called when the last user has left, and tells how long the value is kept for the next. 0: it ends. There may be a
	// next one already.
	Keep func(V) time.Duration
	// Ask is called when that time is over. It may become a user itself, and then the value does not end.
	Ask func(V)
	End func(V) error

	mu    sync.Mutex // guards the rest, and the fields of each Share
	byKey map[string]*Share[V]
}

// A Share is a value with its users.
type Share[V any] struct {
	Value V

	of    *Shares[V]
	key   string
	users int
	left  int  // how often a user has left
	own   bool // it is of one user only
}

// Take makes the caller a user of the value with a key, until it calls Leave.
func (s *Shares[V]) Take(key string) (*Share[V], error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.byKey[key]; h != nil {
		h.users++
		return h, nil
	}
	v, err := s.Make(key)
	if err != nil {
		return nil, err
	}
	h := &Share[V]{Value: v, of: s, key: key, users: 1}
	if s.byKey == nil {
		s.byKey = make(map[string]*Share[V])
	}
	s.byKey[key] = h
	return h, nil
}

// Own takes the value for the caller alone. It returns false if another user has done so: the caller must then leave.
func (h *Share[V]) Own() bool {
	s := h.of
	s.mu.Lock()
	defer s.mu.Unlock()
	if h.own {
		return false
	}
	h.own = true
	s.forget(h)
	return true
}

// forget keeps h from new users.
func (s *Shares[V]) forget(h *Share[V]) {
	if s.byKey[h.key] == h {
		delete(s.byKey, h.key)
	}
}

// Leave ends one use. It returns the error of End, if the value ends.
func (h *Share[V]) Leave() error {
	s := h.of
	s.mu.Lock()
	h.users--
	h.left++
	left := h.left
	unused, own := h.users == 0, h.own
	s.mu.Unlock()
	if !unused {
		return nil
	}
	var keep time.Duration
	if !own {
		keep = s.Keep(h.Value)
	}
	if keep == 0 {
		return h.endUnused(left)
	}
	time.AfterFunc(keep, func() {
		if h.unused(left) {
			s.Ask(h.Value)
			h.endUnused(left)
		}
	})
	return nil
}

// unused reports that the value has had no user since it was left for the nth time.
func (h *Share[V]) unused(n int) bool {
	h.of.mu.Lock()
	defer h.of.mu.Unlock()
	return h.users == 0 && h.left == n
}

// endUnused ends the value if it has had no user since it was left for the nth time.
func (h *Share[V]) endUnused(n int) error {
	s := h.of
	s.mu.Lock()
	ends := h.users == 0 && h.left == n
	if ends {
		s.forget(h)
	}
	s.mu.Unlock()
	if !ends {
		return nil
	}
	return s.End(h.Value)
}
